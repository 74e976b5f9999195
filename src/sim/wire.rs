//! A carrier as the world sees it: two pipes, and at each end a driver that behaves as the real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::id::CarrierNumber;
use crate::sim::blow::Errand;
use crate::sim::faults::{Fault, Seen};
use crate::sim::pipe::{Pipe, Shape};
use crate::wire::decoder::{Decoded, Decoder};

/// A connection between the two ends.
#[derive(Debug)]
pub(super) struct Wire {
    /// The carrier it is to be.
    pub(super) number: CarrierNumber,
    /// By the end that writes.
    pub(super) pipes: [Pipe; 2],
    /// By end.
    pub(super) drivers: [Driver; 2],
    /// What is to happen to it.
    pub(super) fault: Fault,
    /// When it was dialed.
    pub(super) born: Duration,
    /// What it was dialed for, if not for want of carriers.
    pub(super) errand: Option<Errand>,
}

/// One end's driver.
#[derive(Debug)]
pub(super) struct Driver {
    /// How far its life has come.
    pub(super) stage: Stage,
    /// Past what was read.
    pub(super) decoder: Decoder,
    /// Taken from the session and not yet in the pipe.
    pub(super) outbox: Bytes,
    /// The session has nothing to send until the bell rings.
    pub(super) idle: bool,
    /// Rung by the session.
    pub(super) bell: Bell,
    /// Read and not handed over yet. Nothing is read before, and nothing seen of the connection.
    pub(super) rest: Vec<Decoded>,
    /// When it is.
    pub(super) rest_at: Option<Duration>,
    /// When this end sees that the connection is gone.
    pub(super) loss_seen_at: Option<Duration>,
    /// When it waits no longer: for a hello, or for the peer's end after a close.
    pub(super) deadline: Option<Duration>,
    /// When the kernel gives up on what the pipe does not take (TCP_USER_TIMEOUT).
    pub(super) gives_up_at: Option<Duration>,
}

/// The life of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waits for the peer's hello.
    Greeting,
    /// Drives.
    Up,
    /// Has said farewell.
    Leaving,
    /// Fenced: waits for the dialer to end the connection.
    Aside,
    /// Is no more.
    Over,
}

impl Wire {
    /// A connection just made; the dialer's hello goes over it first.
    pub(super) fn new(
        now: Duration,
        number: CarrierNumber,
        shape: Shape,
        fault: Fault,
        hello: Bytes,
        seed: u64,
    ) -> Self {
        let fuse = |direction| match fault {
            Fault::Cut { way, after, .. } | Fault::HalfOpen { way, after, .. } => {
                (way == direction).then_some(after)
            }
            _ => None,
        };
        let mut drivers = [Driver::new(), Driver::new()];
        drivers[0].outbox = hello;
        Self {
            number,
            pipes: [0, 1].map(|way| Pipe::new(shape, fuse(way), random(seed, number, way))),
            drivers,
            fault,
            born: now,
            errand: None,
        }
    }

    /// The connection is gone, at both ends or as far as each sees it.
    pub(super) fn sever(&mut self, now: Duration, seen: Seen, lose: bool) {
        self.pipes.iter_mut().for_each(|pipe| pipe.break_off(lose));
        self.show(now, seen);
    }

    /// Each end sees after a while that something is wrong with it, or never.
    pub(super) fn show(&mut self, now: Duration, seen: Seen) {
        for (driver, after) in self.drivers.iter_mut().zip(seen) {
            if let Some(after) = after {
                let at = now + after;
                driver.loss_seen_at = Some(driver.loss_seen_at.map_or(at, |before| before.min(at)));
            }
        }
    }

    /// When something of it is due.
    pub(super) fn next_at(&self) -> Option<Duration> {
        let fault = match self.fault {
            Fault::Stall { from, .. } | Fault::Drag { from, .. } | Fault::End { from, .. } => {
                Some(self.born + from)
            }
            _ => None,
        };
        let due = (0..2).filter(|end| self.drivers[*end].stage != Stage::Over).flat_map(|end| {
            let driver = &self.drivers[end];
            match driver.rest_at {
                Some(at) => [Some(at), None, None, None],
                None => {
                    [self.pipes[1 - end].next_at(), driver.loss_seen_at, driver.deadline, driver.gives_up_at]
                }
            }
        });
        due.chain([fault]).flatten().min()
    }

    /// Whether both ends have done with it.
    pub(super) fn is_over(&self) -> bool {
        self.drivers.iter().all(|driver| driver.stage == Stage::Over)
    }
}

impl Driver {
    fn new() -> Self {
        Self {
            stage: Stage::Greeting,
            decoder: Decoder::new(),
            outbox: Bytes::new(),
            idle: false,
            bell: Bell::default(),
            rest: Vec::new(),
            rest_at: None,
            loss_seen_at: None,
            deadline: None,
            gives_up_at: None,
        }
    }
}

/// Each direction of each carrier makes its own choices, whatever becomes of the others.
fn random(seed: u64, number: CarrierNumber, way: usize) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed.rotate_left(32) ^ (u64::from(number.0) * 2 + way as u64 + 1))
}

/// A waker that says whether it was woken.
#[derive(Clone, Debug, Default)]
pub(super) struct Bell(Arc<Rung>);

#[derive(Debug, Default)]
struct Rung(AtomicBool);

impl Bell {
    /// For the session.
    pub(super) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }

    /// Whether it was rung since it was last asked.
    pub(super) fn was_rung(&self) -> bool {
        self.0.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Rung {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
