//! What the connections have done, each end for itself, and what went wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;
use crate::content::{Content, Way};
use crate::pauses::Pauses;

/// What a connection does all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The client sends without end.
    Up,
    /// The server sends without end.
    Down,
    /// Requests and answers take turns.
    Requests,
    /// The same, with seconds in between.
    Idle,
}

/// All connections.
pub(crate) struct Tally {
    seed: u64,
    began: Instant,
    all: Vec<Connection>,
    pub(crate) pauses: Pauses,
    /// Bytes that arrived, at either end, and were judged.
    verified: AtomicU64,
    /// Those of them that were not what was sent.
    wrong: AtomicU64,
    /// Connections that ended otherwise than in good order.
    lost: AtomicU64,
    requests: AtomicU64,
}

/// One of them.
struct Connection {
    part: Part,
    /// When it last made progress, in microseconds since the beginning.
    progress: AtomicU64,
    /// Bytes of content the sender of bulk has written.
    sent: AtomicU64,
    ended: AtomicU64,
}

impl Tally {
    /// So many connections, of which two in five are bulk, two in five requests, and the rest idle.
    pub(crate) fn new(seed: u64, connections: usize) -> Self {
        let connection = |number: usize| {
            let part = match number % 5 {
                0 => Part::Up,
                1 => Part::Down,
                2 | 3 => Part::Requests,
                _ => Part::Idle,
            };
            Connection {
                part,
                progress: AtomicU64::new(0),
                sent: AtomicU64::new(0),
                ended: AtomicU64::new(0),
            }
        };
        Self {
            seed,
            began: clock::now(),
            all: (0..connections).map(connection).collect(),
            pauses: Pauses::new(connections),
            verified: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn part(&self, number: usize) -> Option<Part> {
        self.all.get(number).map(|connection| connection.part)
    }

    /// What it says one way.
    pub(crate) fn content(&self, number: usize, way: Way) -> Content {
        Content::new(self.seed, number, way)
    }

    /// Something arrived: so many bytes of it, so many of them wrong.
    pub(crate) fn judged(&self, bytes: usize, wrong: u64) {
        self.verified.fetch_add(bytes as u64, Ordering::Relaxed);
        self.wrong.fetch_add(wrong, Ordering::Relaxed);
    }

    /// A connection that should be moving has moved; it had not done so since `from`.
    pub(crate) fn moved(&self, number: usize, from: Instant, to: Instant) {
        self.pauses.gap(number, from, to);
        self.all[number].progress.store(self.since_began(to), Ordering::Relaxed);
    }

    /// A request was answered.
    pub(crate) fn answered(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Bulk was sent.
    pub(crate) fn sent(&self, number: usize, bytes: u64) {
        self.all[number].sent.store(bytes, Ordering::Relaxed);
    }

    /// How much was.
    pub(crate) fn was_sent(&self, number: usize) -> u64 {
        self.all[number].sent.load(Ordering::Relaxed)
    }

    /// A connection has ended; with a reason if not in good order.
    pub(crate) fn ended(&self, number: usize, fault: Option<&str>) {
        self.all[number].ended.store(1, Ordering::Relaxed);
        if let Some(fault) = fault {
            let part = self.all[number].part;
            println!("LOST: connection {number} ({part:?}) after {:.3?}: {fault}", clock::now() - self.began);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether all connections that move all the time and have not ended have moved since then.
    pub(crate) fn all_moved_since(&self, then: Instant) -> bool {
        let then = self.since_began(then);
        self.all.iter().all(|connection| {
            connection.part == Part::Idle
                || connection.ended.load(Ordering::Relaxed) > 0
                || connection.progress.load(Ordering::Relaxed) > then
        })
    }

    /// Bytes verified, bytes wrong, connections lost, requests answered.
    pub(crate) fn figures(&self) -> [u64; 4] {
        [&self.verified, &self.wrong, &self.lost, &self.requests].map(|count| count.load(Ordering::Relaxed))
    }

    /// How long it has been.
    pub(crate) fn elapsed(&self) -> Duration {
        clock::now() - self.began
    }

    fn since_began(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }
}
