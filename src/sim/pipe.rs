//! One direction of a carrier's connection: bytes that take time, come cut anywhere, and may cease to come.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

/// Bytes on their way from one end to the other, in order.
#[derive(Debug)]
pub(super) struct Pipe {
    shape: Shape,
    spans: VecDeque<Span>,
    /// Bytes in `spans`. `held <= shape.capacity`
    held: usize,
    /// Bytes taken in all.
    carried: u64,
    /// Until then the line is busy with what was taken before.
    busy_until: Duration,
    /// Until then nothing is delivered.
    stalled_until: Duration,
    /// Until then everything takes so much longer.
    drag: (Duration, Duration),
    random: fastrand::Rng,
    /// After exactly so many bytes the pipe breaks.
    fuse: Option<u64>,
    /// Everything written disappears.
    broken: bool,
    /// When the end of the stream is seen by its reader, once all spans are.
    closed_at: Option<Duration>,
}

/// What a line is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// One way.
    pub(super) latency: Duration,
    /// The rate, turned over.
    pub(super) nanos_per_byte: u64,
    /// How much fits in; beyond it the writer has to wait.
    pub(super) capacity: usize,
    /// What is written is cut into at most so many spans.
    pub(super) cuts: u32,
    /// Of a hundred TCP segments, how many are lost on the way and sent again.
    pub(super) lost_percent: u32,
}

impl Shape {
    /// A line on which nothing takes time.
    pub(super) const PLAIN: Self =
        Self { latency: Duration::ZERO, nanos_per_byte: 0, capacity: 300_000, cuts: 1, lost_percent: 0 };

    /// How much later so many bytes arrive because TCP had to send segments of them again: after a round trip and a
    /// half, and after twice the wait before for each time one is lost again (RFC 6298 §5.5).
    fn resending(&self, bytes: usize, random: &mut fastrand::Rng) -> Duration {
        if self.lost_percent == 0 {
            return Duration::ZERO;
        }
        let losses = |random: &mut fastrand::Rng| {
            (0..MOST_LOSSES).take_while(|_| random.u32(..100) < self.lost_percent).count()
        };
        let most = (0..bytes.div_ceil(SEGMENT)).map(|_| losses(random)).max().unwrap_or(0);
        (self.latency * 3).max(LEAST_RESENDING) * ((1 << most) - 1)
    }
}

#[derive(Debug)]
struct Span {
    at: Duration,
    bytes: Bytes,
}

impl Pipe {
    /// An empty pipe; it breaks after `fuse` bytes.
    pub(super) fn new(shape: Shape, fuse: Option<u64>, random: fastrand::Rng) -> Self {
        Self {
            shape,
            spans: VecDeque::new(),
            held: 0,
            carried: 0,
            busy_until: Duration::ZERO,
            stalled_until: Duration::ZERO,
            drag: (Duration::ZERO, Duration::ZERO),
            random,
            fuse,
            broken: false,
            closed_at: None,
        }
    }

    /// Takes what fits off `bytes`; says whether the pipe broke by it.
    pub(super) fn write(&mut self, now: Duration, bytes: &mut Bytes) -> bool {
        if self.broken {
            bytes.clear();
            return false;
        }
        let room = self.shape.capacity.saturating_sub(self.held);
        if room < bytes.len().min(self.shape.capacity / 2) {
            // As a socket does: a writer is not woken for the sake of a few bytes.
            return false;
        }
        let mut taken = bytes.split_to(bytes.len().min(room));
        let before = self.carried;
        self.carried += taken.len() as u64;
        let blown = self.fuse.is_some_and(|fuse| self.carried >= fuse);
        if let Some(fuse) = self.fuse.filter(|_| blown) {
            // What does not fit a usize is longer than any span.
            taken.truncate(usize::try_from(fuse.saturating_sub(before)).unwrap_or(usize::MAX));
            self.broken = true;
            bytes.clear();
        }
        self.held += taken.len();
        for _ in 0..self.random.u32(..self.shape.cuts.max(1)) {
            if taken.len() > 1 {
                let at = self.random.usize(1..taken.len());
                let span = taken.split_to(at);
                self.carry(now, span);
            }
        }
        self.carry(now, taken);
        blown
    }

    fn carry(&mut self, now: Duration, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.busy_until =
            self.busy_until.max(now) + Duration::from_nanos(self.shape.nanos_per_byte * bytes.len() as u64);
        let (until, extra) = self.drag;
        let drag = if now < until { extra } else { Duration::ZERO };
        let resending = self.shape.resending(bytes.len(), &mut self.random);
        let at = self.busy_until + self.shape.latency + drag + resending;
        // What comes early waits for what was sent before it: only the front is ever read.
        self.spans.push_back(Span { at, bytes });
    }

    /// When the reader has something to see.
    pub(super) fn next_at(&self) -> Option<Duration> {
        let next = self.spans.front().map(|span| span.at).or(self.closed_at)?;
        Some(next.max(self.stalled_until))
    }

    /// What has arrived by now.
    pub(super) fn read(&mut self, now: Duration) -> Option<Bytes> {
        if self.stalled_until > now || self.spans.front()?.at > now {
            return None;
        }
        let span = self.spans.pop_front()?;
        self.held -= span.bytes.len();
        Some(span.bytes)
    }

    /// Whether the reader sees the end of the stream.
    pub(super) fn has_ended(&self, now: Duration) -> bool {
        self.spans.is_empty() && self.stalled_until <= now && self.closed_at.is_some_and(|at| at <= now)
    }

    /// The writer ends the stream. A broken pipe keeps that to itself.
    pub(super) fn close(&mut self, now: Duration) {
        if !self.broken && self.closed_at.is_none() {
            self.closed_at = Some(self.busy_until.max(now) + self.shape.latency);
        }
    }

    /// Breaks it; what is on the way is lost with it if so wished.
    pub(super) fn break_off(&mut self, lose: bool) {
        self.broken = true;
        if lose {
            self.spans.clear();
            self.held = 0;
        }
    }

    /// Delivers nothing for that long.
    pub(super) fn stall(&mut self, until: Duration) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// Everything takes longer until then.
    pub(super) fn drag(&mut self, until: Duration, extra: Duration) {
        self.drag = (until, extra);
    }

    /// Takes away what would make it break.
    pub(super) fn heal(&mut self) {
        self.fuse = None;
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { latency, nanos_per_byte, capacity, cuts, lost_percent } = self;
        write!(
            f,
            "lines take {latency:?} each way and {nanos_per_byte} ns for a byte, hold {capacity} bytes, "
        )?;
        write!(f, "cut what is written {} times, lose {lost_percent} % of segments", cuts.saturating_sub(1))
    }
}

/// What a TCP segment carries over Ethernet and through a tunnel.
const SEGMENT: usize = 1400;

/// Linux sends nothing again sooner than this after it was lost without a trace.
const LEAST_RESENDING: Duration = Duration::from_millis(200);

/// One segment in a hundred million is lost more often at 5 %.
const MOST_LOSSES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_breaks_after_exactly_its_bytes_and_delivers_them_in_order() {
        let shape = Shape {
            latency: Duration::from_millis(1),
            nanos_per_byte: 1,
            capacity: 100,
            cuts: 4,
            lost_percent: 0,
        };
        for fuse in 0..40 {
            let mut pipe = Pipe::new(shape, Some(fuse), fastrand::Rng::with_seed(fuse));
            let mut sent = Bytes::from((0..30).collect::<Vec<u8>>());
            let broke = pipe.write(Duration::ZERO, &mut sent);
            assert_eq!(broke, fuse <= 30);
            let mut got = Vec::new();
            while let Some(at) = pipe.next_at() {
                got.extend_from_slice(&pipe.read(at).unwrap());
            }
            let expected: Vec<u8> = (0..30).take(usize::try_from(fuse).unwrap()).collect();
            assert_eq!(got, expected);
        }
    }
}
