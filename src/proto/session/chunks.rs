//! Bytes that wait, chunk by chunk: what a stream has queued each way.

use std::collections::VecDeque;

use bytes::Bytes;

/// A queue of chunks. Empty it holds no memory, with one chunk only the chunk's own: nearly every stream is idle, and
/// what moves on a sparse one is read before more comes.
#[derive(Debug)]
pub(crate) enum Chunks {
    /// One chunk, or none when it is empty.
    One(Bytes),
    /// Any number of chunks, most often several.
    #[expect(
        clippy::box_collection,
        reason = "a queue inline would make every idle stream as large as a busy one"
    )]
    Many(Box<VecDeque<Bytes>>),
}

impl Chunks {
    /// A queue without chunks.
    pub(crate) const fn new() -> Self {
        Self::One(Bytes::new())
    }

    /// Appends a chunk; an empty one is dropped.
    pub(crate) fn push_back(&mut self, bytes: Bytes) {
        match self {
            _ if bytes.is_empty() => {}
            Self::One(first) if first.is_empty() => *first = bytes,
            Self::One(first) => {
                *self = Self::Many(Box::new(VecDeque::from([std::mem::take(first), bytes])));
            }
            Self::Many(queue) => queue.push_back(bytes),
        }
    }

    /// Takes the first chunk.
    pub(crate) fn pop_front(&mut self) -> Option<Bytes> {
        match self {
            Self::One(bytes) if bytes.is_empty() => None,
            Self::One(bytes) => Some(std::mem::take(bytes)),
            Self::Many(queue) => {
                let first = queue.pop_front();
                if queue.is_empty() {
                    *self = Self::new();
                }
                first
            }
        }
    }

    /// The first chunk. It must not be emptied.
    pub(crate) fn front_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::One(bytes) => (!bytes.is_empty()).then_some(bytes),
            Self::Many(queue) => queue.front_mut(),
        }
    }

    /// The last chunk. It must not be emptied.
    pub(crate) fn back_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::One(bytes) => (!bytes.is_empty()).then_some(bytes),
            Self::Many(queue) => queue.back_mut(),
        }
    }

    /// The chunks in order.
    #[cfg(any(test, feature = "__entries"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        let (one, many) = match self {
            Self::One(bytes) => ((!bytes.is_empty()).then_some(bytes), None),
            Self::Many(queue) => (None, Some(queue.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_queue_is_as_small_as_a_chunk() {
        assert_eq!(size_of::<Chunks>(), size_of::<Bytes>());
    }

    #[test]
    fn a_queue_that_has_emptied_holds_no_memory() {
        let mut chunks = Chunks::new();
        (0..9).for_each(|_| chunks.push_back(Bytes::from_static(b"x")));
        while chunks.pop_front().is_some() {}
        assert!(matches!(&chunks, Chunks::One(none) if none.is_empty()));
    }

    proptest! {
        #[test]
        fn a_queue_gives_what_a_plain_one_gives(steps in prop::collection::vec((any::<bool>(), 0_u8..4), 0..200)) {
            let (mut chunks, mut plain) = (Chunks::new(), VecDeque::new());
            for (push, len) in steps {
                if push {
                    let bytes = Bytes::from(vec![len; usize::from(len)]);
                    chunks.push_back(bytes.clone());
                    plain.extend((len > 0).then_some(bytes));
                } else {
                    prop_assert_eq!(chunks.pop_front(), plain.pop_front());
                }
                prop_assert_eq!(chunks.front_mut(), plain.front_mut());
                prop_assert_eq!(chunks.back_mut(), plain.back_mut());
                prop_assert!(chunks.iter().eq(plain.iter()));
            }
        }
    }
}
