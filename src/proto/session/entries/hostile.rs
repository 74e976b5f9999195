//! A session against a peer that says anything: bytes, frames that are nearly right, lies about carriers.
//!
//! The peer keeps just enough of the state of the session to break the rules on purpose rather than by noise: what
//! it sent and was allowed on each stream, and where each frame of the session ended on each carrier.

mod audit;
mod frames;
mod script;

use std::collections::BTreeMap;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use self::script::hostile_seeds;
use crate::error::{CarrierEnd, Violation};
use crate::id::{CarrierNumber, Cost, RoutingKey, Side, StreamId};
use crate::proto::session::entries::{Input, LIMITS, params};
use crate::proto::session::recover::MAX_FALLEN;
use crate::proto::session::stream::OpenRequest;
use crate::proto::session::{Session, StreamKey, Transmit};
use crate::wire::MIN_WINDOW;
use crate::wire::code::{CloseCode, StreamCode};
use crate::wire::decoder::Decoder;
use crate::wire::frame::{Frame, OpenTo};
use crate::wire::hello::DeadCarrier;

/// Drives one session with what the input says a peer, the network, the clock and the application do.
///
/// # Panics
/// When the session breaks a law: a bound on memory, a timeout that does not lie ahead, a word after the close.
pub fn fuzz_hostile(start: Instant, data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(start, &mut input);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.audit();
    }
    world.wind_up();
}

/// The session, and what the world knows of it.
struct World {
    now: Instant,
    side: Side,
    session: Session,
    carriers: Vec<Far>,
    streams: BTreeMap<StreamId, FarStream>,
    /// Streams the application holds or was handed, oldest first.
    held: Vec<StreamKey>,
    next_number: u32,
    next_stream: u64,
    sequence: u64,
    /// The frame sent last and its carrier, to be sent again.
    last: Option<(usize, Frame)>,
    /// The greatest bound on data in flight that was ever in force.
    cap: u64,
}

/// The far end of a carrier.
struct Far {
    number: CarrierNumber,
    /// Reads what the session sends.
    reader: Decoder,
    /// Reads what the far end sends, on the session's behalf.
    writer: Decoder,
    /// Where each logged frame of the session ended.
    ends: Vec<u64>,
    /// Whether the session has said its last word on it.
    closed: bool,
}

/// What the far end knows of a stream.
#[derive(Default)]
struct FarStream {
    sent: u64,
    allowed: u64,
    /// What the session sent.
    received: u64,
    /// What the session was allowed.
    granted: u64,
}

impl World {
    fn new(now: Instant, input: &mut Input<'_>) -> Self {
        let choices = input.byte();
        let side = if choices & 1 == 1 { Side::Acceptor } else { Side::Dialer };
        let resume_window = if choices & 2 == 2 { Duration::ZERO } else { LIMITS.resume_window };
        let mut world = Self {
            now,
            side,
            session: Session::new(now, params(side, resume_window)),
            carriers: Vec::new(),
            streams: BTreeMap::new(),
            held: Vec::new(),
            next_number: 0,
            next_stream: 0,
            sequence: 0,
            last: None,
            cap: 0,
        };
        world.join(Vec::new());
        world
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let operation = input.byte() % script::OPERATIONS;
        match operation {
            script::RAW => self.raw(input),
            script::OPEN..=script::HELLO | script::WINDOW | script::RETIRE | script::REQUEST => {
                self.send_frame(operation, input)
            }
            script::AGAIN => self.send_again(usize::from(input.byte()) * 40),
            script::ACCEPT_LOCAL..=script::CLOSE_CARRIER => self.application(operation, input),
            script::RETIRE_LOCAL | script::REQUEST_LOCAL => {
                let Some(number) = self.pick_carrier(input) else { return };
                if operation == script::RETIRE_LOCAL {
                    return self.session.retire_carrier(self.now, number, CloseCode::REPLACED);
                }
                let notice = input.wait();
                self.session.request_carrier(number, CloseCode::EXPIRED, notice);
            }
            script::TICK => self.tick(input.wait()),
            script::LOSE => {
                if let Some(number) = self.pick_carrier(input) {
                    self.session.handle_carrier_lost(self.now, number, CarrierEnd::Eof);
                }
            }
            script::JOIN => {
                let dead = self.dead_list(input);
                self.join(dead);
            }
            _ => {
                if let Some(number) = self.pick_carrier(input) {
                    self.transmit(number);
                }
            }
        }
    }

    fn pick_carrier(&self, input: &mut Input<'_>) -> Option<CarrierNumber> {
        let index = input.below(self.carriers.len());
        self.carriers.get(index).map(|far| far.number)
    }

    /// A list of dead carriers: honest counts for a while, then anything.
    fn dead_list(&self, input: &mut Input<'_>) -> Vec<DeadCarrier> {
        let count = match input.byte() {
            255 => 64,
            byte => usize::from(byte & 7),
        };
        (0..count)
            .map(|_| {
                let number = match input.byte() {
                    // As a varint may hold more than 32 bits, so does this; the top is cut.
                    240.. => {
                        CarrierNumber(u32::try_from(input.number() & u64::from(u32::MAX)).unwrap_or(u32::MAX))
                    }
                    byte => CarrierNumber(u32::from(byte)),
                };
                let far = self.carriers.iter().find(|far| far.number == number);
                let received = match (far, input.byte()) {
                    (_, 240..) => input.number(),
                    (Some(far), choice) => far.ends.get(usize::from(choice)).copied().unwrap_or_default(),
                    (None, _) => 0,
                };
                DeadCarrier { number, received }
            })
            .collect()
    }

    fn join(&mut self, dead: Vec<DeadCarrier>) {
        if self.session.carriers.len() >= MAX_CARRIERS || self.carriers.len() >= MAX_NUMBERS {
            return;
        }
        let (number, joined) = match self.side {
            Side::Acceptor => {
                let number = CarrierNumber(self.next_number);
                self.next_number += 1;
                let mut greeted = None;
                let greet = |counts| {
                    greeted = Some(counts);
                    Bytes::new()
                };
                let joined = self.session.handle_join(self.now, number, &dead, greet);
                if let Some(counts) = greeted {
                    assert!(counts.len() <= MAX_FALLEN, "an answer lists {} dead carriers", counts.len());
                }
                (number, joined)
            }
            Side::Dialer => {
                let (number, counts) = self.session.prepare_join();
                assert!(counts.len() <= MAX_FALLEN, "a hello lists {} dead carriers", counts.len());
                // A list that names itself stands for an attempt that fails.
                if dead.iter().any(|count| count.number == number) {
                    self.session.handle_join_failed(self.now, number);
                    return;
                }
                (number, self.session.handle_carrier_up(self.now, number, &dead))
            }
        };
        let refused = joined.is_err();
        let lives = self.session.ended().is_none();
        assert!(!refused || !lives || self.side == Side::Acceptor, "a number it gave itself was refused");
        self.carriers.push(Far {
            number,
            reader: Decoder::new(),
            writer: Decoder::new(),
            ends: vec![0],
            closed: false,
        });
    }

    fn raw(&mut self, input: &mut Input<'_>) {
        let index = input.below(self.carriers.len());
        let count = usize::from(input.byte());
        let bytes = input.bytes(count);
        self.deliver(index, bytes);
    }

    /// Bytes of the far end, read as a driver reads them.
    fn deliver(&mut self, index: usize, mut bytes: &[u8]) {
        let Some(far) = self.carriers.get_mut(index) else { return };
        self.session.handle_bytes(self.now, far.number, bytes.len());
        let mut frames = Vec::new();
        let failed = loop {
            match far.writer.decode(&mut bytes) {
                Ok(Some(decoded)) => frames.push(decoded),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        self.session.handle_frames(self.now, far.number, frames.drain(..));
        if let Some(error) = failed {
            self.session.handle_violation(self.now, far.number, Violation::from(error));
        }
    }

    /// What the application does. Each call is one that a handle makes.
    fn application(&mut self, operation: u8, input: &mut Input<'_>) {
        let noop = Waker::noop();
        match operation {
            script::OPEN_LOCAL => {
                let initial = Bytes::from(vec![0; usize::from(input.byte()) << 6]);
                let request = OpenRequest { to: OpenTo::Site, metadata: Bytes::new() };
                if self.held.len() < MAX_HELD
                    && let Ok(key) = self.session.open(self.now, request, initial)
                {
                    self.streams.entry(key.id).or_default().allowed = MIN_WINDOW;
                    self.held.push(key);
                }
                return;
            }
            script::TAKE => {
                self.take();
                return;
            }
            script::SERVE => return self.session.serve(&key(input.byte()), input.bool()),
            script::ANNOUNCE => {
                let cost = Cost::new(u32::from(input.byte()) + 1).unwrap_or(Cost::DEFAULT);
                return self.session.announce_cost(cost);
            }
            script::DRAIN => return self.session.drain(),
            script::CLOSE_LOCAL => return self.session.close(self.now, CloseCode::NORMAL),
            script::CLOSE_CARRIER => {
                let Some(number) = self.pick_carrier(input) else { return };
                return self.session.close_carrier(self.now, number, CloseCode::REPLACED);
            }
            _ => {}
        }
        if operation == script::ACCEPT_LOCAL {
            self.take();
        }
        let index = input.below(self.held.len());
        let Some(key) = self.held.get(index).copied() else { return };
        match operation {
            script::ACCEPT_LOCAL => drop(self.session.accept(key)),
            script::REFUSE_LOCAL => self.session.refuse(key, StreamCode::REFUSED),
            script::READ => {
                while let Poll::Ready(Ok(Some(chunk))) = self.session.poll_read(self.now, key, noop) {
                    assert!(!chunk.is_empty(), "an empty chunk");
                }
                drop(self.session.poll_verdict(key, noop));
            }
            script::WRITE => {
                let want = 1 + (usize::from(input.byte()) << 7);
                if let Poll::Ready(Ok(room)) = self.session.poll_reserve(key, want, noop) {
                    drop(self.session.write(key, Bytes::from(vec![0; room])));
                }
            }
            script::FINISH_LOCAL => self.session.finish(key),
            script::RESET_LOCAL => self.session.reset(key, StreamCode::CANCELLED),
            script::STOP_LOCAL => self.session.stop(key, StreamCode::CANCELLED),
            script::ABANDON => self.session.abandon(key, StreamCode::CANCELLED),
            script::RELEASE => {
                self.held.swap_remove(index);
                self.session.release(key);
            }
            _ => {}
        }
    }

    /// Takes a stream of the peer, not yet accepted.
    fn take(&mut self) {
        if let Some((key, _)) = self.session.poll_incoming() {
            self.held.push(key);
        }
    }

    /// Time passes and drivers do what is due.
    fn tick(&mut self, wait: Duration) {
        self.now += wait;
        self.session.handle_timeout(self.now);
        for number in self.carriers.iter().map(|far| far.number).collect::<Vec<_>>() {
            self.transmit(number);
        }
        let now = self.now;
        let ahead = |at: Option<Instant>| at.is_none_or(|at| at > now);
        assert!(ahead(self.session.poll_session_timeout()), "the session's timeout does not lie ahead");
        for far in &self.carriers {
            assert!(
                ahead(self.session.poll_timeout(far.number)),
                "a timeout of {:?} does not lie ahead",
                far.number
            );
        }
    }

    /// A driver takes all there is to send, and the far end reads it.
    fn transmit(&mut self, number: CarrierNumber) {
        let Some(index) = self.carriers.iter().position(|far| far.number == number) else { return };
        let mut batches = 0;
        loop {
            let mut out = Vec::new();
            let said = self.session.poll_transmit(self.now, number, &mut out, Waker::noop());
            let over = self.session.ended().is_some();
            let mut bytes = Vec::new();
            out.iter().for_each(|piece| bytes.extend([piece.head(), piece.payload()].concat()));
            for frame in self.receive(index, &bytes) {
                let close = matches!(frame, Frame::Close { .. });
                assert!(close || !over, "{frame:?} after the session ended");
                assert!(close || matches!(said, Transmit::Batch | Transmit::Last), "{frame:?} with {said:?}");
            }
            match said {
                Transmit::Batch | Transmit::Last => {
                    assert!(!self.carriers[index].closed, "a batch after the last word")
                }
                Transmit::Farewell => {
                    assert!(!std::mem::replace(&mut self.carriers[index].closed, true), "two last words");
                    break;
                }
                Transmit::Idle | Transmit::Gone | Transmit::Fenced => {
                    assert!(out.is_empty(), "{said:?} with something to send");
                    break;
                }
            }
            batches += 1;
            assert!(batches < MAX_BATCHES, "a carrier that never has said all");
        }
    }

    /// The far end reads what the session sent and holds it to the protocol.
    fn receive(&mut self, index: usize, mut bytes: &[u8]) -> Vec<Frame> {
        let far = &mut self.carriers[index];
        let mut frames = Vec::new();
        while let Some(decoded) = far.reader.decode(&mut bytes).expect("the session sends what is no frame") {
            if decoded.logged_bytes > 0 {
                let end = far.ends.last().copied().unwrap_or_default() + decoded.logged_bytes;
                far.ends.push(end);
            }
            frames.push(decoded.frame);
        }
        assert!(far.reader.is_empty(), "the session sends a part of a frame");
        for frame in &frames {
            match frame {
                Frame::Open { stream, .. } => {
                    let far = self.streams.entry(*stream).or_default();
                    far.allowed = far.allowed.max(MIN_WINDOW);
                    far.granted = far.granted.max(MIN_WINDOW);
                }
                Frame::Credit { stream, limit } => {
                    let far = self.streams.entry(*stream).or_default();
                    far.allowed = far.allowed.max(*limit);
                }
                Frame::Shrink { stream, limit } => {
                    let far = self.streams.entry(*stream).or_default();
                    assert!(*limit <= far.allowed.max(MIN_WINDOW), "asked for more than it gave");
                }
                Frame::Kept { stream, limit } => {
                    let far = self.streams.entry(*stream).or_default();
                    assert!(*limit <= far.granted.max(MIN_WINDOW), "keeps to more than it was given");
                }
                Frame::Data { stream, payload } => {
                    self.streams.entry(*stream).or_default().received += payload.len() as u64;
                }
                _ => {}
            }
        }
        frames
    }
}

/// One of the keys, more than are taken of a peer.
fn key(choice: u8) -> RoutingKey {
    RoutingKey::new(format!("key-{}", choice % 32)).expect("a legal key")
}

/// Steps of one input: enough for every bound, few enough for thousands of inputs a second.
const MAX_STEPS: usize = 2000;

/// Live carriers of a session; how many there may be is the fleet's business.
const MAX_CARRIERS: usize = 8;

/// Carriers in the life of a session: as many as can be unsettled, and a few.
const MAX_NUMBERS: usize = 100;

/// Streams the application opens: it is not what is tested.
const MAX_HELD: usize = 32;

/// Batches in a row: all logs together are shorter.
const MAX_BATCHES: usize = 10_000;
