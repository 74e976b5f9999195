//! Buffers for the data of large frames, used again as soon as nobody holds what was in them.
//!
//! Bulk data would otherwise cost an allocation of a page-sized block for every frame, and the system's allocator
//! gives such blocks back and fetches them anew, zeroed, many times a second.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::wire::MAX_DATA;

/// The buffers of one decoder. It keeps a handle to each it gave out lately, which costs nothing while somebody
/// reads what is in it, and makes the buffer free for the next frame afterwards.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Given out before, longest ago first; at most [`MOST`].
    lent: VecDeque<BytesMut>,
    /// One was asked for since the last rest.
    used: bool,
}

impl Buffers {
    /// An empty buffer with room for `length` bytes: for small data exactly that, so that an unread byte holds no
    /// more memory than itself; for large data a whole frame's room.
    pub(super) fn take(&mut self, length: usize) -> BytesMut {
        if length < LEAST {
            return BytesMut::with_capacity(length);
        }
        self.used = true;
        for _ in 0..self.lent.len().min(TRIES) {
            let Some(mut buffer) = self.lent.pop_front() else { break };
            if buffer.try_reclaim(MAX_DATA) {
                return buffer;
            }
            self.lent.push_back(buffer);
        }
        BytesMut::with_capacity(MAX_DATA)
    }

    /// What is in a buffer, for the reader. The buffer comes back when all handles to it are dropped.
    pub(super) fn lend(&mut self, mut buffer: BytesMut) -> Bytes {
        if buffer.len() < LEAST {
            // Splitting it would allocate what its two halves share.
            return buffer.freeze();
        }
        let data = buffer.split().freeze();
        if self.lent.len() >= MOST {
            // Its reader is slow: from now on the memory is the reader's alone.
            self.lent.pop_front();
        }
        self.lent.push_back(buffer);
        data
    }

    /// A copy of data, in a buffer of this decoder.
    pub(super) fn copy(&mut self, data: &[u8]) -> Bytes {
        let mut buffer = self.take(data.len());
        buffer.extend_from_slice(data);
        self.lend(buffer)
    }

    /// Gives back the memory of buffers that nobody reads, unless one was asked for since the last call.
    pub(super) fn rest(&mut self) {
        if !std::mem::take(&mut self.used) {
            self.lent = VecDeque::new();
        }
    }
}

/// Data from this size on gets a whole frame's room: it then weighs at most a third more than it holds.
const LEAST: usize = MAX_DATA / 4 * 3;

/// Buffers remembered at most, 512 KiB: as much as a reader leaves queued that keeps up, and well within the second
/// level of a processor's caches.
const MOST: usize = 32;

/// Buffers looked at before a new one is made: one slow reader's must not hide those of the others, and looking at
/// all of them for every frame would cost more than allocating.
const TRIES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_its_data_is_dropped() {
        let mut buffers = Buffers::default();
        let first = buffers.copy(&[1; MAX_DATA]);
        let address = first.as_ptr();
        let second = buffers.copy(&[2; MAX_DATA]);
        assert_ne!(second.as_ptr(), address);
        assert_eq!(first, vec![1; MAX_DATA], "what is still held stays as it was");
        drop(first);
        let third = buffers.copy(&[3; MAX_DATA]);
        assert_eq!(third.as_ptr(), address);
        assert_eq!(third, vec![3; MAX_DATA]);
    }

    #[test]
    fn small_data_holds_no_more_memory_than_itself() {
        let mut buffers = Buffers::default();
        assert_eq!(buffers.take(100).capacity(), 100);
        let small = buffers.copy(&[1; 100]);
        assert_eq!(small.len(), 100);
        assert!(buffers.lent.is_empty());
    }

    #[test]
    fn no_more_buffers_are_remembered_than_said() {
        let mut buffers = Buffers::default();
        let held: Vec<Bytes> = (0..MOST * 2).map(|_| buffers.copy(&[0; MAX_DATA])).collect();
        assert_eq!(buffers.lent.len(), MOST);
        buffers.rest();
        assert_eq!(buffers.lent.len(), MOST, "they were in use a moment ago");
        buffers.rest();
        assert!(buffers.lent.is_empty());
        assert!(held.iter().all(|data| data.len() == MAX_DATA));
    }
}
