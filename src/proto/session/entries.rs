//! The door through which fuzzing and measuring reach the session. Each function panics only when a law is broken.

mod hostile;
mod measure;
mod operations;

use std::time::Duration;

pub use self::hostile::{fuzz_hostile, hostile_seeds};
pub use self::measure::{Busy, Reading};
pub use self::operations::{fuzz_operations, operations_seeds};
use crate::config::{Liveness, SessionLimits};
use crate::id::Side;
use crate::proto::session::{ProcessPool, SessionParams};
use crate::wire::MIN_WINDOW;

/// A fuzzer's bytes, read as choices. An input that has ended chooses zero.
#[derive(Debug)]
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// One of `count`, by one byte; 0 when there is none to choose from.
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    fn bool(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number of any size, small ones oftener: up to 62 bits, as on the wire.
    fn number(&mut self) -> u64 {
        let size = [0, 1, 1, 2, 2, 3, 4, 8][self.below(8)];
        let value = self.bytes(size).iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        value & crate::wire::varint::MAX
    }

    /// A time between nothing and 16 s, short ones oftener.
    fn wait(&mut self) -> Duration {
        let byte = self.byte();
        Duration::from_micros((100 + u64::from(byte & 0x0f)) << (byte >> 4)) - Duration::from_micros(100)
    }
}

/// A session's parameters with bounds so small that they are reached.
fn params(side: Side, resume_window: Duration) -> SessionParams {
    SessionParams {
        side,
        limits: LIMITS,
        liveness: Liveness::default(),
        accept_deadline: Duration::from_secs(2),
        peer_max_streams: LIMITS.max_streams,
        peer_window: MIN_WINDOW,
        resume_window,
        pool: ProcessPool::new(LIMITS.process_pool),
        seed: 7,
    }
}

/// Small enough that a few kilobytes of input reach each of them.
const LIMITS: SessionLimits = SessionLimits {
    max_streams: 8,
    pool: 64 << 10,
    process_pool: 256 << 10,
    max_window: 64 << 10,
    unaccepted: 4,
    keys: 16,
    resume_window: Duration::from_secs(5),
    send_buffer: 32 << 10,
};
