//! Two honest sessions over connections that are cut at any byte: nothing is lost, doubled or reordered.
//!
//! The simulated world in small, without a seed: every choice is the fuzzer's. A connection is two queues of bytes.
//! Either end may see it fail first, what was on the way may still arrive, a joining hello may come after its
//! sender gave up, an answer may never come.

mod network;
mod script;
mod settling;

use std::collections::{BTreeSet, VecDeque};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use self::script::operations_seeds;
use crate::error::StreamError;
use crate::id::{CarrierNumber, Cost, RoutingKey, Side};
use crate::proto::session::entries::{Input, params};
use crate::proto::session::stream::OpenRequest;
use crate::proto::session::{Session, StreamKey};
use crate::wire::code::StreamCode;
use crate::wire::decoder::Decoder;
use crate::wire::frame::OpenTo;
use crate::wire::hello::DeadCarrier;

/// Drives two sessions joined by an in-memory wire with what the input says, then heals the wire and compares.
///
/// # Panics
/// When a law is broken: a byte is lost, doubled or reordered, an end of file comes that nobody made, a session ends
/// though both ends are honest, or something is left when all is done.
pub fn fuzz_operations(start: Instant, data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(start);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.audit();
    }
    world.finish();
}

/// Both ends, and what lies between them.
struct World {
    now: Instant,
    /// Dialer, acceptor.
    ends: [End; 2],
    connections: Vec<Connection>,
    joins: Vec<Join>,
    flows: Vec<Flow>,
}

/// One end.
struct End {
    session: Session,
    /// Keys it serves.
    serves: BTreeSet<u8>,
    /// Keys it was told of.
    told: BTreeSet<RoutingKey>,
    /// Streams of the peer it was handed and has not judged.
    waiting: VecDeque<usize>,
}

/// A connection: bytes on their way, and who still holds it.
struct Connection {
    number: CarrierNumber,
    /// By the end that reads.
    pipes: [Pipe; 2],
    /// Ends that use it.
    open: [bool; 2],
    /// Whether the dialer has read the acceptor's hello.
    answered: bool,
}

/// One way of a connection.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    decoder: Decoder,
}

/// A joining hello on its way.
struct Join {
    number: CarrierNumber,
    dead: Vec<DeadCarrier>,
    /// What the acceptor answered.
    answer: Option<Vec<DeadCarrier>>,
    /// Whether the dialer still waits for the answer.
    wanted: bool,
}

/// A stream and what its two applications did.
struct Flow {
    /// By end; none once let go of.
    keys: [Option<StreamKey>; 2],
    opener: usize,
    accepted: bool,
    /// By the end that writes.
    ways: [Way; 2],
}

/// One way of a stream.
#[derive(Default)]
struct Way {
    written: u64,
    read: u64,
    finished: bool,
    /// The reader has seen the end that the writer made.
    ended: bool,
    /// Given up by either application, so an error may come in place of bytes.
    torn: bool,
}

impl Flow {
    /// Whether a way has come to its end: its reader saw it, or it was given up. Nobody hears of the refusal of a
    /// stream that its opener has let go of.
    fn is_settled(&self, way: &Way) -> bool {
        way.torn || way.ended || (!self.accepted && self.keys[self.opener].is_none())
    }
}

impl World {
    fn new(now: Instant) -> Self {
        let end = |side| End {
            session: Session::new(now, params(side, RESUME_WINDOW)),
            serves: BTreeSet::new(),
            told: BTreeSet::new(),
            waiting: VecDeque::new(),
        };
        let mut world = Self {
            now,
            ends: [end(Side::Dialer), end(Side::Acceptor)],
            connections: Vec::new(),
            joins: Vec::new(),
            flows: Vec::new(),
        };
        world.join_at_once();
        world
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % script::OPERATIONS {
            script::OPEN => self.open(input),
            script::ACCEPT => self.judge(input.below(2), true),
            script::REFUSE => self.judge(input.below(2), false),
            script::WRITE => {
                if let Some((end, flow)) = self.pick(input) {
                    self.write(end, flow, 1 + (usize::from(input.byte()) << 7));
                }
            }
            script::READ => {
                if let Some((end, flow)) = self.pick(input) {
                    self.read(end, flow);
                }
            }
            script::FINISH => {
                if let Some((end, flow)) = self.pick(input) {
                    self.finish_way(end, flow);
                }
            }
            operation @ (script::RESET | script::STOP | script::RELEASE) => {
                if let Some((end, flow)) = self.pick(input) {
                    self.tear(operation, end, flow);
                }
            }
            operation @ (script::SERVE | script::ANNOUNCE) => self.control(operation, input),
            script::TRANSMIT => {
                let (index, end) = (input.below(self.connections.len()), input.below(2));
                self.transmit(index, end);
            }
            script::DELIVER => {
                let (index, end) = (input.below(self.connections.len()), input.below(2));
                let count = usize::from(input.byte());
                self.deliver(index, end, 1 + count * count);
            }
            script::PUMP => {
                let (index, end) = (input.below(self.connections.len()), input.below(2));
                self.transmit(index, end);
                self.deliver(index, 1 - end, usize::MAX);
            }
            operation @ (script::CUT | script::NOTICE) => {
                let (index, end) = (input.below(self.connections.len()), input.below(2));
                self.cut(operation == script::CUT, index, end);
            }
            script::JOIN => self.join(),
            script::ARRIVE => self.arrive(input.below(self.joins.len())),
            script::ANSWER => self.answer(input.below(self.joins.len())),
            script::GIVE_UP => self.give_up(input.below(self.joins.len())),
            script::RETIRE => {
                let (index, end) = (input.below(self.connections.len()), input.below(2));
                self.retire(index, end);
            }
            _ => self.tick(input.wait()),
        }
    }

    fn pick(&self, input: &mut Input<'_>) -> Option<(usize, usize)> {
        let (end, flow) = (input.below(2), input.below(self.flows.len()));
        self.flows.get(flow)?.keys[end]?;
        Some((end, flow))
    }

    fn open(&mut self, input: &mut Input<'_>) {
        let end = input.below(2);
        let initial = usize::from(input.byte()) << 6;
        if self.flows.len() >= MAX_FLOWS {
            return;
        }
        let index = self.flows.len();
        let mut way = Way::default();
        let request =
            OpenRequest { to: OpenTo::Site, metadata: Bytes::from(index.to_le_bytes()[..1].to_vec()) };
        let bytes = text(index, end, 0, initial);
        let Ok(key) = self.ends[end].session.open(self.now, request, bytes) else { return };
        way.written = initial as u64;
        let mut flow = Flow { keys: [None, None], opener: end, accepted: false, ways: <[Way; 2]>::default() };
        flow.keys[end] = Some(key);
        flow.ways[end] = way;
        self.flows.push(flow);
    }

    /// Takes what came in, and accepts or refuses the oldest.
    fn judge(&mut self, end: usize, accept: bool) {
        self.take_incoming(end);
        let Some(index) = self.ends[end].waiting.pop_front() else { return };
        let flow = &mut self.flows[index];
        let Some(key) = flow.keys[end] else { return };
        if accept && self.ends[end].session.accept(key) {
            flow.accepted = true;
            return;
        }
        self.ends[end].session.refuse(key, StreamCode::REFUSED);
        flow.ways.iter_mut().for_each(|way| way.torn = true);
    }

    fn take_incoming(&mut self, end: usize) {
        while let Some((key, request)) = self.ends[end].session.poll_incoming() {
            let index = usize::from(request.metadata[0]);
            let flow = &mut self.flows[index];
            assert_eq!(flow.opener, 1 - end, "a stream came back to its opener");
            assert_eq!(flow.keys[end].replace(key), None, "a stream came twice");
            self.ends[end].waiting.push_back(index);
        }
    }

    fn write(&mut self, end: usize, index: usize, want: usize) {
        let flow = &mut self.flows[index];
        let (Some(key), false) = (flow.keys[end], flow.ways[end].finished) else { return };
        if end != flow.opener && !flow.accepted {
            return;
        }
        let session = &mut self.ends[end].session;
        match session.poll_reserve(key, want, Waker::noop()) {
            Poll::Ready(Ok(room)) => {
                let way = &mut flow.ways[end];
                session.write(key, text(index, end, way.written, room)).expect("there was room");
                way.written += room as u64;
            }
            Poll::Ready(Err(error)) => self.fail(end, index, end, &error),
            Poll::Pending => {}
        }
    }

    fn finish_way(&mut self, end: usize, index: usize) {
        let flow = &mut self.flows[index];
        let (Some(key), true) = (flow.keys[end], flow.accepted || end == flow.opener) else { return };
        self.ends[end].session.finish(key);
        flow.ways[end].finished = true;
    }

    fn read(&mut self, end: usize, index: usize) {
        let Some(key) = self.flows[index].keys[end] else { return };
        loop {
            let read = self.ends[end].session.poll_read(self.now, key, Waker::noop());
            let way = &mut self.flows[index].ways[1 - end];
            match read {
                Poll::Ready(Ok(Some(chunk))) => {
                    assert!(way.read + chunk.len() as u64 <= way.written, "more read than written");
                    assert_eq!(
                        chunk,
                        text(index, 1 - end, way.read, chunk.len()),
                        "other bytes than were written"
                    );
                    way.read += chunk.len() as u64;
                }
                Poll::Ready(Ok(None)) => {
                    assert!(way.finished, "an end of file that nobody made");
                    assert_eq!(way.read, way.written, "an end of file before the end");
                    way.ended = true;
                    return;
                }
                Poll::Ready(Err(error)) => return self.fail(end, index, 1 - end, &error),
                Poll::Pending => return,
            }
        }
    }

    /// An error on a way is right only after an application gave it up, or the open was not accepted.
    fn fail(&mut self, end: usize, index: usize, way: usize, error: &StreamError) {
        let flow = &mut self.flows[index];
        if matches!(error, StreamError::Refused(_)) {
            assert!(!flow.accepted, "accepted and refused");
            flow.ways.iter_mut().for_each(|way| way.torn = true);
        }
        let way = &flow.ways[way];
        assert!(way.torn || (!flow.accepted && end != flow.opener), "{error} on a way that nobody gave up");
    }

    fn tear(&mut self, operation: u8, end: usize, index: usize) {
        let flow = &mut self.flows[index];
        let Some(key) = flow.keys[end] else { return };
        let session = &mut self.ends[end].session;
        match operation {
            script::RESET => {
                if end != flow.opener && !flow.accepted {
                    return;
                }
                session.reset(key, StreamCode::CANCELLED);
                flow.ways[end].torn = true;
            }
            script::STOP => {
                session.stop(key, StreamCode::CANCELLED);
                flow.ways[1 - end].torn = true;
            }
            _ => {
                session.release(key);
                flow.keys[end] = None;
                flow.ways[end].torn |= !flow.ways[end].finished;
                flow.ways[1 - end].torn = true;
                if end != flow.opener {
                    self.ends[end].waiting.retain(|waiting| *waiting != index);
                }
            }
        }
    }

    fn control(&mut self, operation: u8, input: &mut Input<'_>) {
        let end = input.below(2);
        let choice = input.byte();
        let End { session, serves, .. } = &mut self.ends[end];
        if operation == script::ANNOUNCE {
            return session.announce_cost(Cost::new(u32::from(choice) + 1).unwrap_or(Cost::DEFAULT));
        }
        let choice = choice % KEYS;
        let served = input.bool();
        session.serve(&key(choice), served);
        if served {
            serves.insert(choice)
        } else {
            serves.remove(&choice)
        };
    }

    fn tick(&mut self, wait: Duration) {
        self.now += wait;
        self.ends.iter_mut().for_each(|end| end.session.handle_timeout(self.now));
    }
}

/// What is written at an offset of one way of a stream.
fn text(flow: usize, way: usize, offset: u64, len: usize) -> Bytes {
    let start = offset + (flow * 2 + way) as u64 * 101;
    (start..start + len as u64).map(|at| (at ^ at >> 8 ^ at >> 16).to_le_bytes()[0]).collect()
}

fn key(choice: u8) -> RoutingKey {
    RoutingKey::new(format!("key-{choice}")).expect("a legal key")
}

const DIALER: usize = 0;
const ACCEPTOR: usize = 1;

/// Steps of one input.
const MAX_STEPS: usize = 1000;

/// Streams of one input; a metadata byte names one.
const MAX_FLOWS: usize = 48;

/// Keys an end may serve: as many as are taken of it.
const KEYS: u8 = 16;

/// Longer than any input lasts.
const RESUME_WINDOW: Duration = Duration::from_secs(24 * 3600);
