//! Two sessions on one carrier at a time, against a model that keeps every byte in a queue.
//!
//! The simulated world finds what loss and time do; this finds what the order of calls does, and shrinks it.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::testing::epoch;
use super::*;
use crate::error::StreamError;
use crate::id::StreamId;
use crate::wire::MIN_WINDOW;
use crate::wire::code::StreamCode;
use crate::wire::decoder::{Decoded, Decoder};
use crate::wire::frame::OpenTo;

/// What the applications and the line may do. `end` is 0 for the dialer; `which` picks a stream.
#[derive(Clone, Debug)]
enum Op {
    Open {
        end: usize,
        initial: usize,
    },
    Accept {
        end: usize,
    },
    Refuse {
        end: usize,
    },
    Write {
        end: usize,
        which: usize,
        len: usize,
    },
    Read {
        end: usize,
        which: usize,
        chunks: usize,
    },
    Finish {
        end: usize,
        which: usize,
    },
    Reset {
        end: usize,
        which: usize,
    },
    Stop {
        end: usize,
        which: usize,
    },
    Release {
        end: usize,
        which: usize,
    },
    /// One batch of `end` is encoded, and up to `bytes` of what is on the way arrive, cut at `bytes`.
    Step {
        end: usize,
        bytes: usize,
    },
    Pass {
        millis: u64,
    },
    /// The carrier is lost with what is on the way, and another one joins.
    Cut,
}

fn op() -> impl Strategy<Value = Op> {
    let end = 0..2usize;
    let which = 0..8usize;
    prop_oneof![
        2 => (end.clone(), 0..20_000usize).prop_map(|(end, initial)| Op::Open { end, initial }),
        3 => end.clone().prop_map(|end| Op::Accept { end }),
        1 => end.clone().prop_map(|end| Op::Refuse { end }),
        6 => (end.clone(), which.clone(), 0..50_000usize).prop_map(|(end, which, len)| Op::Write { end, which, len }),
        6 => (end.clone(), which.clone(), 1..9usize).prop_map(|(end, which, chunks)| Op::Read { end, which, chunks }),
        2 => (end.clone(), which.clone()).prop_map(|(end, which)| Op::Finish { end, which }),
        1 => (end.clone(), which.clone()).prop_map(|(end, which)| Op::Reset { end, which }),
        1 => (end.clone(), which.clone()).prop_map(|(end, which)| Op::Stop { end, which }),
        1 => (end.clone(), which).prop_map(|(end, which)| Op::Release { end, which }),
        9 => (end, prop_oneof![1..40usize, 1..100_000usize]).prop_map(|(end, bytes)| Op::Step { end, bytes }),
        1 => (0..100u64).prop_map(|millis| Op::Pass { millis }),
        1 => (0..20_000u64).prop_map(|millis| Op::Pass { millis }),
        1 => Just(Op::Cut),
    ]
}

/// One direction of a stream as the model has it.
#[derive(Debug, Default)]
struct Half {
    /// Written and not yet read.
    bytes: VecDeque<u8>,
    finished: bool,
    /// The writer reset it, or let go.
    reset: Option<StreamCode>,
    /// The reader stopped, or let go.
    stopped: bool,
    /// The acceptor refused, so neither direction has to arrive.
    refused: bool,
}

/// A stream as the model has it; halves by the end that sends.
#[derive(Debug, Default)]
struct Model {
    halves: [Half; 2],
    /// By end.
    keys: [Option<StreamKey>; 2],
    /// Whether an end may write and read: the opener may at once.
    open: [bool; 2],
}

/// Both ends, the line, and the model.
struct Bench {
    now: Instant,
    carrier: CarrierNumber,
    sessions: [Session; 2],
    decoders: [Decoder; 2],
    /// On the way, by the end that sends.
    lines: [VecDeque<u8>; 2],
    models: BTreeMap<StreamId, Model>,
    /// The next byte to write: no two near each other are alike.
    next: u8,
}

/// Longer than any run.
const LONG: Duration = Duration::from_secs(24 * 3600);

impl Bench {
    fn new() -> Self {
        let now = epoch();
        let limits =
            SessionLimits { max_streams: 6, unaccepted: 3, pool: 100_000, ..SessionLimits::default() };
        let session = |side| {
            Session::new(
                now,
                SessionParams {
                    side,
                    limits,
                    // Time passes in leaps here, and nothing is ever late.
                    liveness: Liveness { dead: LONG, ..Liveness::default() },
                    accept_deadline: LONG,
                    peer_max_streams: limits.max_streams,
                    peer_window: MIN_WINDOW,
                    resume_window: limits.resume_window,
                    pool: ProcessPool::new(limits.process_pool),
                    seed: 7,
                },
            )
        };
        let carrier = CarrierNumber(0);
        let mut sessions = [session(Side::Dialer), session(Side::Acceptor)];
        sessions[0].handle_carrier_up(now, carrier, &[]).unwrap();
        sessions[1].handle_join(now, carrier, &[], |_| Bytes::new()).unwrap();
        Self {
            now,
            carrier,
            sessions,
            decoders: [Decoder::new(), Decoder::new()],
            lines: [VecDeque::new(), VecDeque::new()],
            models: BTreeMap::new(),
            next: 0,
        }
    }

    fn fresh(&mut self, len: usize) -> Bytes {
        let bytes = (0..len).map(|_| {
            self.next = self.next.wrapping_mul(5).wrapping_add(1);
            self.next
        });
        Bytes::from(bytes.collect::<Vec<u8>>())
    }

    /// A stream that an end holds.
    fn pick(&self, end: usize, which: usize) -> Option<(StreamId, StreamKey)> {
        let held = self.models.iter().filter(|(_, model)| model.open[end]);
        let held: Vec<_> = held.filter_map(|(id, model)| Some((*id, model.keys[end]?))).collect();
        held.get(which % held.len().max(1)).copied()
    }

    fn half(&mut self, id: StreamId, sender: usize) -> &mut Half {
        &mut self.models.entry(id).or_default().halves[sender]
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Open { end, initial } => self.open(end, initial),
            Op::Accept { end } => self.decide(end, true),
            Op::Refuse { end } => self.decide(end, false),
            Op::Write { end, which, len } => self.write(end, which, len),
            Op::Read { end, which, chunks } => {
                for _ in 0..chunks {
                    self.pick(end, which).into_iter().for_each(|(id, key)| self.read(end, id, key));
                }
            }
            Op::Finish { end, which } => {
                if let Some((id, key)) = self.pick(end, which) {
                    let half = self.half(id, end);
                    half.finished |= half.reset.is_none();
                    self.sessions[end].finish(key);
                }
            }
            Op::Reset { end, which } => {
                if let Some((id, key)) = self.pick(end, which) {
                    // What is finished and not yet sent is taken back.
                    self.half(id, end).reset.get_or_insert(StreamCode::APPLICATION_RESET);
                    self.sessions[end].reset(key, StreamCode::APPLICATION_RESET);
                }
            }
            Op::Stop { end, which } => {
                if let Some((id, key)) = self.pick(end, which) {
                    self.half(id, 1 - end).stopped = true;
                    self.sessions[end].stop(key, StreamCode::CANCELLED);
                }
            }
            Op::Release { end, which } => {
                if let Some((id, key)) = self.pick(end, which) {
                    self.release(end, id, key);
                }
            }
            Op::Step { end, bytes } => self.step(end, bytes),
            Op::Cut => self.cut(),
            Op::Pass { millis } => {
                self.now += Duration::from_millis(millis);
                self.sessions.iter_mut().for_each(|session| session.handle_timeout(self.now));
            }
        }
        for session in &mut self.sessions {
            session.take_wakers().wake();
            assert_eq!(session.audit(), Ok(()));
            assert_eq!(session.ended(), None);
        }
    }

    fn open(&mut self, end: usize, initial: usize) {
        let initial = self.fresh(initial.min(16_384));
        let request = OpenRequest { to: OpenTo::Site, metadata: Bytes::from_static(b"meta") };
        let held = self.models.values().filter(|model| model.keys[end].is_some()).count();
        match self.sessions[end].open(self.now, request, initial.clone()) {
            Ok(key) => {
                let model = self.models.entry(key.id).or_default();
                model.keys[end] = Some(key);
                model.open[end] = true;
                model.halves[end].bytes.extend(&initial);
            }
            Err(failure) => {
                assert_eq!(failure, OpenFailure::Limit);
                assert!(held > 0 || !self.models.is_empty(), "nothing is open, and nothing may be opened");
            }
        }
    }

    fn decide(&mut self, end: usize, accept: bool) {
        let Some((key, request)) = self.sessions[end].poll_incoming() else { return };
        assert_eq!(request.metadata, &b"meta"[..]);
        let model = self.models.get_mut(&key.id).expect("the peer opened it");
        assert_eq!(model.keys[end], None, "opened once");
        if accept {
            model.keys[end] = Some(key);
            model.open[end] = true;
            assert!(self.sessions[end].accept(key));
        } else {
            model.halves.iter_mut().for_each(|half| half.refused = true);
            self.sessions[end].refuse(key, StreamCode::REFUSED);
            self.sessions[end].release(key);
        }
    }

    fn write(&mut self, end: usize, which: usize, len: usize) {
        let Some((id, key)) = self.pick(end, which) else { return };
        match self.sessions[end].poll_reserve(key, len.max(1), Waker::noop()) {
            Poll::Pending => {}
            Poll::Ready(Ok(room)) => {
                let half = self.half(id, end);
                assert!(!half.finished && half.reset.is_none());
                let bytes = self.fresh(room);
                self.half(id, end).bytes.extend(&bytes);
                self.sessions[end].write(key, bytes).unwrap();
            }
            Poll::Ready(Err(error)) => {
                let half = self.half(id, end);
                let just = match &error {
                    StreamError::Closed => half.finished || half.reset.is_some(),
                    StreamError::Stopped(_) => half.stopped,
                    StreamError::Refused(code) => half.refused || *code == StreamCode::BUSY,
                    _ => false,
                };
                assert!(just, "{error:?} of {half:?}");
            }
        }
    }

    fn read(&mut self, end: usize, id: StreamId, key: StreamKey) {
        let read = self.sessions[end].poll_read(self.now, key, Waker::noop());
        let half = self.half(id, 1 - end);
        match read {
            Poll::Pending => {}
            Poll::Ready(Ok(Some(chunk))) => {
                let expected: Vec<u8> = half.bytes.drain(..chunk.len()).collect();
                assert_eq!(chunk, expected);
            }
            Poll::Ready(Ok(None)) => {
                assert!(half.finished && half.bytes.is_empty(), "end of file of {half:?}")
            }
            Poll::Ready(Err(error)) => {
                let just = match &error {
                    StreamError::Closed => half.stopped,
                    StreamError::Reset(code) => half.reset == Some(*code),
                    StreamError::Refused(code) => half.refused || *code == StreamCode::BUSY,
                    _ => false,
                };
                assert!(just, "{error:?} of {half:?}");
            }
        }
    }

    fn release(&mut self, end: usize, id: StreamId, key: StreamKey) {
        let model = self.models.entry(id).or_default();
        model.open[end] = false;
        if !model.halves[end].finished {
            model.halves[end].reset.get_or_insert(StreamCode::CANCELLED);
        }
        model.halves[1 - end].stopped = true;
        self.sessions[end].release(key);
    }

    fn step(&mut self, end: usize, bytes: usize) {
        let mut pieces = Vec::new();
        self.sessions[end].poll_transmit(self.now, self.carrier, &mut pieces, Waker::noop());
        for piece in &pieces {
            self.lines[end].extend(piece.head());
            self.lines[end].extend(piece.payload());
        }
        let arrived: Vec<u8> = self.lines[end].drain(..bytes.min(self.lines[end].len())).collect();
        let (mut input, mut frames) = (&arrived[..], Vec::<Decoded>::new());
        while let Some(decoded) = self.decoders[end].decode(&mut input).unwrap() {
            frames.push(decoded);
        }
        if !arrived.is_empty() {
            self.sessions[1 - end].handle_bytes(self.now, self.carrier, arrived.len());
            self.sessions[1 - end].handle_frames(self.now, self.carrier, frames.drain(..));
        }
    }

    /// The carrier is lost at both ends with what is on the way, and another one joins.
    fn cut(&mut self) {
        let [dialer, acceptor] = &mut self.sessions;
        dialer.handle_carrier_lost(self.now, self.carrier, CarrierEnd::Eof);
        acceptor.handle_carrier_lost(self.now, self.carrier, CarrierEnd::Eof);
        let (number, dead) = dialer.prepare_join();
        let mut answer = Vec::new();
        let greet = |counts| {
            answer = counts;
            Bytes::new()
        };
        acceptor.handle_join(self.now, number, &dead, greet).unwrap();
        dialer.handle_carrier_up(self.now, number, &answer).unwrap();
        self.carrier = number;
        self.decoders = [Decoder::new(), Decoder::new()];
        self.lines.iter_mut().for_each(VecDeque::clear);
    }

    /// Everything is read, finished and let go; then nothing may be left.
    fn wind_up(&mut self) {
        for _ in 0..400 {
            for end in 0..2 {
                self.apply(&Op::Step { end, bytes: usize::MAX });
                self.decide(end, true);
                for which in 0..self.models.len() {
                    self.apply(&Op::Read { end, which, chunks: 4 });
                }
            }
            self.apply(&Op::Pass { millis: 5 });
        }
        for (id, model) in &self.models {
            for sender in 0..2 {
                let half = &model.halves[sender];
                let spoilt =
                    half.reset.is_some() || half.stopped || half.refused || model.keys[1 - sender].is_none();
                assert!(
                    spoilt || half.bytes.is_empty(),
                    "{id:?} of {sender}: {} bytes never came",
                    half.bytes.len()
                );
            }
        }
        for end in 0..2 {
            while let Some((id, key)) = self.pick(end, 0) {
                self.release(end, id, key);
            }
        }
        for _ in 0..10 {
            self.apply(&Op::Step { end: 0, bytes: usize::MAX });
            self.apply(&Op::Step { end: 1, bytes: usize::MAX });
            self.apply(&Op::Pass { millis: 50 });
        }
        for session in &self.sessions {
            assert!(session.is_idle() && session.pool_used() == 0, "{}", session.unrest());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn two_sessions_do_what_queues_do(ops in proptest::collection::vec(op(), 0..120)) {
        let mut bench = Bench::new();
        ops.iter().for_each(|op| bench.apply(op));
        bench.wind_up();
    }
}
