//! Several carriers at once: planned moves between them, and what goes over which.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

mod several;

/// Both ends of a session over any number of carriers.
struct Lines {
    now: Instant,
    /// Dialer, acceptor.
    ends: [Session; 2],
    /// What the ends read on each carrier goes through these, by the end that sends.
    lines: BTreeMap<CarrierNumber, [Decoder; 2]>,
    /// Carriers that deliver nothing, either way.
    silent: Vec<CarrierNumber>,
    /// What came, by the end that sent it.
    seen: [Vec<(CarrierNumber, Frame)>; 2],
}

const DIALER: usize = 0;
const ACCEPTOR: usize = 1;

const FIRST: CarrierNumber = CarrierNumber(0);
const SECOND: CarrierNumber = CarrierNumber(1);
const THIRD: CarrierNumber = CarrierNumber(2);

impl Lines {
    /// A session with that many carriers.
    fn new(carriers: usize) -> Self {
        let Pair { now, dialer, acceptor, carrier, decoders } = Pair::new();
        let mut lines = Self {
            now,
            ends: [dialer, acceptor],
            lines: BTreeMap::from([(carrier, decoders)]),
            silent: Vec::new(),
            seen: [Vec::new(), Vec::new()],
        };
        (1..carriers).for_each(|_| lines.join());
        lines.settle();
        lines.seen = [Vec::new(), Vec::new()];
        lines
    }

    /// Another carrier joins.
    fn join(&mut self) {
        let (number, dead) = self.ends[DIALER].prepare_join();
        let mut answer = Vec::new();
        let greet = |counts| {
            answer = counts;
            Bytes::new()
        };
        self.ends[ACCEPTOR].handle_join(self.now, number, &dead, greet).unwrap();
        self.ends[DIALER].handle_carrier_up(self.now, number, &answer).unwrap();
        self.lines.insert(number, [Decoder::new(), Decoder::new()]);
    }

    /// One batch of an end on a carrier arrives. Returns whether there was anything.
    fn step(&mut self, sender: usize, number: CarrierNumber) -> bool {
        let pieces = batch(&mut self.ends[sender], self.now, number);
        !self.silent.contains(&number) && self.deliver(sender, number, &pieces) && !pieces.is_empty()
    }

    /// A batch arrives. Returns whether there is such a carrier.
    fn deliver(&mut self, sender: usize, number: CarrierNumber, pieces: &[Piece]) -> bool {
        let Some(decoders) = self.lines.get_mut(&number) else { return false };
        let mut frames = Vec::new();
        for piece in pieces {
            for mut part in [piece.head(), &piece.payload()[..]] {
                frames.extend(std::iter::from_fn(|| decoders[sender].decode(&mut part).unwrap()));
            }
        }
        self.seen[sender].extend(frames.iter().map(|decoded| (number, decoded.frame.clone())));
        if !frames.is_empty() {
            self.ends[1 - sender].handle_bytes(self.now, number, 1);
            self.ends[1 - sender].handle_frames(self.now, number, frames.drain(..));
        }
        for end in &mut self.ends {
            assert_eq!(end.audit(), Ok(()));
        }
        true
    }

    /// One batch each way on every carrier.
    fn round(&mut self) -> bool {
        let numbers: Vec<_> = self.lines.keys().copied().collect();
        let mut moved = false;
        for number in numbers {
            moved |= self.step(DIALER, number);
            moved |= self.step(ACCEPTOR, number);
        }
        moved
    }

    /// Everything that can move does, acknowledgements that wait for their time included.
    fn settle(&mut self) {
        for _ in 0..4 {
            while self.round() {}
            self.pass(Duration::from_millis(25));
        }
    }

    fn pass(&mut self, wait: Duration) {
        self.now += wait;
        for end in &mut self.ends {
            end.handle_timeout(self.now);
            for number in self.lines.keys() {
                assert!(end.poll_timeout(*number).is_none_or(|at| at > self.now), "a timeout lies ahead");
            }
        }
    }

    /// The carrier is gone at both ends, with what is on the way.
    fn cut(&mut self, number: CarrierNumber) {
        self.lines.remove(&number);
        for end in &mut self.ends {
            end.handle_carrier_lost(self.now, number, CarrierEnd::Eof);
        }
    }

    fn retire(&mut self, end: usize, number: CarrierNumber) {
        self.ends[end].retire_carrier(self.now, number, CloseCode::REPLACED);
    }

    /// A stream that the dialer has opened and the acceptor accepted.
    fn open(&mut self) -> (StreamKey, StreamKey) {
        let near = self.ends[DIALER].open(self.now, request(), Bytes::new()).unwrap();
        self.settle();
        let (far, _) = self.ends[ACCEPTOR].poll_incoming().unwrap();
        assert!(self.ends[ACCEPTOR].accept(far));
        self.settle();
        (near, far)
    }

    fn write(&mut self, end: usize, key: StreamKey, bytes: &[u8]) {
        self.ends[end].write(key, Bytes::from(bytes.to_vec())).unwrap();
    }

    fn read(&mut self, end: usize, key: StreamKey) -> Vec<u8> {
        read_all(&mut self.ends[end], self.now, key)
    }

    fn live(&self, end: usize) -> Vec<CarrierNumber> {
        self.ends[end].carriers.iter().map(|carrier| carrier.number).collect()
    }

    fn home(&self, end: usize, key: StreamKey) -> Option<CarrierNumber> {
        self.ends[end].stream(key).and_then(|stream| stream.carrier)
    }

    /// How carriers ended at an end since this was last asked.
    fn ends_of_carriers(&mut self, end: usize) -> Vec<(CarrierNumber, CarrierEnd)> {
        let events = std::iter::from_fn(|| self.ends[end].poll_event());
        let down = |event| match event {
            SessionEvent::CarrierDown { number, end, .. } => Some((number, end)),
            _ => None,
        };
        events.filter_map(down).collect()
    }

    /// What an end sent on a carrier but acknowledgements, pings and pongs.
    fn logged(&self, end: usize, number: CarrierNumber) -> Vec<&Frame> {
        let chatter = |frame: &&Frame| {
            !matches!(
                frame,
                Frame::Ack { .. } | Frame::Ping { .. } | Frame::Pong { .. } | Frame::Close { .. }
            )
        };
        let on = self.seen[end].iter().filter(|(on, _)| *on == number);
        on.map(|(_, frame)| frame).filter(chatter).collect()
    }

    fn resent(&self) -> [u64; 2] {
        self.ends.each_ref().map(|end| end.traffic().resent_bytes)
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn new() -> (Arc<Self>, Waker) {
        let count = Arc::new(Self::default());
        (Arc::clone(&count), Waker::from(count))
    }

    fn so_far(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ at >> 8).to_le_bytes()[0]).collect()
}

#[test]
fn a_carrier_is_left_under_load_and_nothing_is_sent_twice() {
    for begun_by in [DIALER, ACCEPTOR] {
        let mut lines = Lines::new(1);
        let flows: Vec<_> = (0..4).map(|_| lines.open()).collect();
        lines.join();
        let sent = text(60_000);
        let mut got = vec![[Vec::new(), Vec::new()]; flows.len()];
        for (near, far) in &flows {
            lines.write(DIALER, *near, &sent);
            lines.write(ACCEPTOR, *far, &sent);
        }
        // Some of it is on the way.
        lines.step(DIALER, FIRST);
        lines.retire(begun_by, FIRST);
        for _ in 0..20 {
            lines.settle();
            for (flow, (near, far)) in got.iter_mut().zip(&flows) {
                flow[0].extend(lines.read(DIALER, *near));
                flow[1].extend(lines.read(ACCEPTOR, *far));
            }
        }
        assert!(got.iter().flatten().all(|half| *half == sent), "a byte was lost, doubled or reordered");
        assert_eq!(lines.resent(), [0, 0]);
        assert_eq!((lines.live(DIALER), lines.live(ACCEPTOR)), (vec![SECOND], vec![SECOND]));
        let closed = vec![(FIRST, CarrierEnd::Closed(CloseCode::REPLACED))];
        assert_eq!(lines.ends_of_carriers(begun_by), closed);
        assert_eq!(lines.ends_of_carriers(1 - begun_by).len(), 1);
        for end in [DIALER, ACCEPTOR] {
            let last = lines.logged(end, FIRST).last().copied().cloned();
            assert_eq!(last, Some(Frame::Retire { carrier: FIRST }), "the last that is logged on it");
        }
        assert!(lines.ends.iter().all(|end| end.fallen.is_empty()));
    }
}

#[test]
fn a_stream_waits_for_what_it_sent_and_goes_on_by_itself() {
    let mut lines = Lines::new(1);
    let (near, far) = lines.open();
    lines.join();
    lines.settle();
    lines.write(DIALER, near, b"one ");
    let on_its_way = batch(&mut lines.ends[DIALER], lines.now, FIRST);
    lines.retire(DIALER, FIRST);
    let (writer, waker) = Count::new();
    let room = SessionLimits::default().send_buffer;
    lines.write(DIALER, near, &vec![7; room]);
    assert_eq!(lines.ends[DIALER].poll_reserve(near, 1, &waker), Poll::Pending);
    let (driver, on_second) = Count::new();
    let mut out = Vec::new();
    lines.ends[DIALER].poll_transmit(lines.now, SECOND, &mut out, &on_second);
    assert_eq!((lines.home(DIALER, near), out.len()), (Some(FIRST), 0), "the first may not have come");
    // What was on the way comes, and its acknowledgement.
    let mut frames = Vec::new();
    for piece in &on_its_way {
        for mut part in [piece.head(), &piece.payload()[..]] {
            let decoder = &mut lines.lines.get_mut(&FIRST).unwrap()[DIALER];
            frames.extend(std::iter::from_fn(|| decoder.decode(&mut part).unwrap()));
        }
    }
    lines.ends[ACCEPTOR].handle_frames(lines.now, FIRST, frames.drain(..));
    lines.ends[DIALER].take_wakers().wake();
    assert_eq!((driver.so_far(), writer.so_far()), (0, 0));
    // RETIRE asks for it at once: nobody waits for the timer of the acknowledgements.
    lines.step(DIALER, FIRST);
    lines.step(ACCEPTOR, FIRST);
    lines.ends[DIALER].take_wakers().wake();
    assert_eq!((lines.home(DIALER, near), driver.so_far()), (Some(SECOND), 1));
    lines.step(DIALER, SECOND);
    lines.ends[DIALER].take_wakers().wake();
    assert_eq!(writer.so_far(), 0, "one window of 16 KiB is no half of a buffer");
    let mut got = Vec::new();
    for _ in 0..200 {
        lines.settle();
        got.extend(lines.read(ACCEPTOR, far));
    }
    lines.ends[DIALER].take_wakers().wake();
    assert_eq!((writer.so_far(), got.len(), &got[..4]), (1, 4 + room, &b"one "[..]));
    assert_eq!(lines.resent(), [0, 0]);
}

#[test]
fn streams_that_sent_nothing_since_move_at_once_and_each_where_it_does_best() {
    let mut lines = Lines::new(1);
    let keys: Vec<_> = (0..6).map(|_| lines.open().0).collect();
    lines.join();
    lines.join();
    lines.settle();
    lines.retire(DIALER, FIRST);
    let on = |number| keys.iter().filter(|key| lines.home(DIALER, **key) == Some(number)).count();
    assert_eq!([FIRST, SECOND, THIRD].map(on), [0, 3, 3]);
}

#[test]
fn the_only_carrier_is_used_though_it_retires_and_left_when_another_comes() {
    for begun_by in [DIALER, ACCEPTOR] {
        let mut lines = Lines::new(1);
        let (near, far) = lines.open();
        lines.retire(begun_by, FIRST);
        lines.settle();
        lines.write(DIALER, near, b"one ");
        lines.write(ACCEPTOR, far, b"two");
        lines.settle();
        assert_eq!(
            (lines.read(ACCEPTOR, far), lines.read(DIALER, near)),
            (b"one ".to_vec(), b"two".to_vec())
        );
        let (again, _) = lines.open();
        assert_eq!(lines.home(DIALER, again), Some(FIRST));
        assert!(!lines.logged(begun_by, FIRST).contains(&&Frame::Retire { carrier: FIRST }));
        lines.join();
        lines.settle();
        assert_eq!((lines.live(DIALER), lines.live(ACCEPTOR)), (vec![SECOND], vec![SECOND]));
        lines.write(DIALER, near, b"three");
        lines.settle();
        assert_eq!((lines.read(ACCEPTOR, far), lines.resent()), (b"three".to_vec(), [0, 0]));
    }
}

#[test]
fn when_the_new_carrier_dies_the_old_one_is_used_again_until_the_next() {
    let mut lines = Lines::new(2);
    let (near, far) = lines.open();
    lines.write(DIALER, near, b"one ");
    lines.retire(DIALER, FIRST);
    lines.retire(ACCEPTOR, FIRST);
    // Both have said it and moved; before the carrier is closed, the new one is lost with what it carries.
    lines.step(DIALER, FIRST);
    lines.step(DIALER, SECOND);
    lines.write(DIALER, near, b"two ");
    batch(&mut lines.ends[DIALER], lines.now, SECOND);
    lines.cut(SECOND);
    lines.write(DIALER, near, b"three ");
    lines.settle();
    assert_eq!((lines.live(DIALER), lines.live(ACCEPTOR)), (vec![FIRST], vec![FIRST]));
    assert_eq!(lines.read(ACCEPTOR, far), b"one two three ");
    // The next one completes what was begun, without being asked again and without sending anything twice.
    lines.write(DIALER, near, b"four");
    lines.step(DIALER, FIRST);
    let before = lines.resent();
    lines.join();
    lines.settle();
    assert_eq!((lines.live(DIALER), lines.live(ACCEPTOR)), (vec![THIRD], vec![THIRD]));
    assert_eq!((lines.read(ACCEPTOR, far), lines.resent()), (b"four".to_vec(), before));
}

#[test]
fn both_ends_may_retire_the_same_carrier_at_the_same_time() {
    let mut lines = Lines::new(2);
    let flows: Vec<_> = (0..4).map(|_| lines.open()).collect();
    for (near, far) in &flows {
        lines.write(DIALER, *near, b"one");
        lines.write(ACCEPTOR, *far, b"two");
    }
    lines.retire(DIALER, FIRST);
    lines.retire(ACCEPTOR, FIRST);
    lines.settle();
    for (near, far) in flows {
        assert_eq!((lines.read(ACCEPTOR, far), lines.read(DIALER, near)), (b"one".to_vec(), b"two".to_vec()));
    }
    assert_eq!((lines.live(DIALER), lines.live(ACCEPTOR)), (vec![SECOND], vec![SECOND]));
    assert_eq!(lines.resent(), [0, 0]);
}

#[test]
fn a_second_retiring_of_the_same_carrier_changes_nothing() {
    let mut lines = Lines::new(2);
    lines.open();
    lines.retire(DIALER, FIRST);
    lines.step(DIALER, FIRST);
    lines.ends[DIALER].retire_carrier(lines.now, FIRST, CloseCode::REVOKED);
    lines.settle();
    lines.retire(DIALER, FIRST);
    lines.settle();
    assert_eq!(lines.ends_of_carriers(DIALER), [(FIRST, CarrierEnd::Closed(CloseCode::REPLACED))]);
    let retires = lines.seen[DIALER].iter().filter(|(_, frame)| matches!(frame, Frame::Retire { .. }));
    assert_eq!((retires.count(), lines.live(DIALER)), (1, vec![SECOND]));
}

#[test]
fn the_end_that_was_only_asked_to_join_in_may_begin_too() {
    let mut lines = Lines::new(1);
    lines.open();
    lines.retire(DIALER, FIRST);
    lines.join();
    lines.step(DIALER, FIRST);
    // The dialer has said it; the acceptor is told by its own fleet, too, and its code counts where it closes.
    lines.ends[ACCEPTOR].retire_carrier(lines.now, FIRST, CloseCode::EXPIRED);
    lines.settle();
    assert_eq!((lines.live(DIALER), lines.live(ACCEPTOR)), (vec![SECOND], vec![SECOND]));
}

#[test]
fn carriers_that_all_retire_are_used_until_another_takes_all() {
    let mut lines = Lines::new(2);
    let flows: Vec<_> = (0..6).map(|_| lines.open()).collect();
    lines.retire(DIALER, FIRST);
    lines.retire(ACCEPTOR, SECOND);
    flows.iter().for_each(|(near, _)| lines.write(DIALER, *near, b"one "));
    lines.settle();
    assert_eq!(lines.live(DIALER), [FIRST, SECOND], "each was to go to the other");
    lines.join();
    flows.iter().for_each(|(near, _)| lines.write(DIALER, *near, b"two"));
    lines.settle();
    assert_eq!((lines.live(DIALER), lines.live(ACCEPTOR)), (vec![THIRD], vec![THIRD]));
    for (_, far) in flows {
        assert_eq!(lines.read(ACCEPTOR, far), b"one two");
    }
    assert_eq!(lines.resent(), [0, 0]);
}

#[test]
fn retiring_what_is_lost_already_is_no_matter() {
    let mut lines = Lines::new(1);
    let (near, far) = lines.open();
    lines.cut(FIRST);
    lines.retire(DIALER, FIRST);
    lines.retire(DIALER, CarrierNumber(77));
    lines.write(DIALER, near, b"one");
    lines.join();
    lines.settle();
    assert_eq!((lines.live(DIALER), lines.read(ACCEPTOR, far)), (vec![SECOND], b"one".to_vec()));
}

#[test]
fn a_retire_that_is_sent_again_on_another_carrier_retires_neither() {
    let mut lines = Lines::new(2);
    let (near, far) = lines.open();
    lines.write(DIALER, near, b"one");
    lines.retire(DIALER, FIRST);
    // Said, and lost with the carrier it was said on.
    batch(&mut lines.ends[DIALER], lines.now, FIRST);
    lines.cut(FIRST);
    lines.settle();
    assert!(lines.logged(DIALER, SECOND).contains(&&Frame::Retire { carrier: FIRST }));
    assert!(lines.ends.iter().all(|end| end.carriers[0].retiring.is_none()));
    assert_eq!((lines.live(DIALER), lines.read(ACCEPTOR, far)), (vec![SECOND], b"one".to_vec()));
}

/// Time passes until an answer is overdue on the carriers that are silent.
fn grow_suspicious(lines: &mut Lines) {
    for _ in 0..200 {
        while lines.round() {}
        lines.pass(Duration::from_millis(10));
    }
}

#[test]
fn a_suspect_carrier_that_is_retired_is_fenced_at_once() {
    let mut lines = Lines::new(2);
    let (near, far) = lines.open();
    let home = lines.home(DIALER, near).unwrap();
    let other = if home == FIRST { SECOND } else { FIRST };
    lines.silent = vec![home];
    lines.write(DIALER, near, b"one");
    lines.step(DIALER, home);
    grow_suspicious(&mut lines);
    assert_eq!(lines.live(DIALER).len(), 2, "suspicion alone moves nothing");
    lines.retire(DIALER, home);
    assert_eq!(lines.live(DIALER), [other], "its acknowledgements may never come");
    lines.settle();
    assert_eq!((lines.read(ACCEPTOR, far), lines.live(ACCEPTOR)), (b"one".to_vec(), vec![other]));
    assert_eq!(lines.ends_of_carriers(DIALER), [(home, CarrierEnd::Closed(CloseCode::REPLACED))]);
}

#[test]
fn a_carrier_that_falls_silent_while_it_is_left_is_fenced_when_it_is_suspect() {
    let mut lines = Lines::new(2);
    let (near, far) = lines.open();
    let home = lines.home(DIALER, near).unwrap();
    lines.write(DIALER, near, b"one ");
    lines.silent = vec![home];
    lines.retire(DIALER, home);
    lines.write(DIALER, near, b"two");
    grow_suspicious(&mut lines);
    assert_eq!((lines.read(ACCEPTOR, far), lines.live(DIALER).len()), (b"one two".to_vec(), 1));
}

#[test]
fn a_retiring_carrier_is_used_while_the_other_is_suspect() {
    let mut lines = Lines::new(2);
    let (near, far) = lines.open();
    let home = lines.home(DIALER, near).unwrap();
    let other = if home == FIRST { SECOND } else { FIRST };
    lines.silent = vec![other];
    lines.ends.iter_mut().for_each(|end| end.announce_cost(Cost::new(9).unwrap()));
    for end in [DIALER, ACCEPTOR] {
        lines.step(end, other);
    }
    grow_suspicious(&mut lines);
    lines.retire(DIALER, home);
    lines.write(DIALER, near, b"one");
    lines.settle();
    assert_eq!((lines.read(ACCEPTOR, far), lines.home(DIALER, near)), (b"one".to_vec(), Some(home)));
    // The other is trusted again: what was begun is completed.
    lines.silent.clear();
    for end in [DIALER, ACCEPTOR] {
        lines.ends[end].handle_bytes(lines.now, other, 1);
    }
    assert_eq!(lines.home(DIALER, near), Some(other));
}

#[test]
fn a_tail_that_a_retiring_carrier_has_not_sent_again_goes_ahead_of_newer_bytes() {
    let mut lines = Lines::new(2);
    let (near, far) = lines.open();
    let home = lines.home(DIALER, near).unwrap();
    let other = if home == FIRST { SECOND } else { FIRST };
    lines.write(DIALER, near, b"one ");
    batch(&mut lines.ends[DIALER], lines.now, home);
    // The other inherits it, and retires in favour of a third before it has sent it.
    lines.cut(home);
    lines.step(ACCEPTOR, other);
    assert!(lines.ends[DIALER].carriers[0].log.has_resend());
    let resent = lines.resent();
    lines.join();
    lines.retire(DIALER, other);
    lines.write(DIALER, near, b"two");
    lines.settle();
    assert_eq!((lines.read(ACCEPTOR, far), lines.resent()), (b"one two".to_vec(), resent));
    assert!(lines.logged(DIALER, other).iter().all(|frame| !matches!(frame, Frame::Data { .. })));
}

#[test]
fn streams_follow_the_unsent_tail_of_a_retiring_carrier_though_another_has_less_to_do() {
    let mut lines = Lines::new(2);
    let flows: Vec<_> = (0..128).map(|_| lines.open()).collect();
    let (first, second): (Vec<_>, Vec<_>) =
        flows.into_iter().partition(|(near, _)| lines.home(DIALER, *near) == Some(FIRST));
    first.iter().for_each(|(near, _)| lines.write(DIALER, *near, b"one "));
    batch(&mut lines.ends[DIALER], lines.now, FIRST);
    // As much as may be is on its way on the second, so that it cannot send what it inherits from the first.
    let bulk = text(16_000);
    second.iter().for_each(|(near, _)| lines.write(DIALER, *near, &bulk));
    let on_its_way: Vec<_> = std::iter::repeat_with(|| batch(&mut lines.ends[DIALER], lines.now, SECOND))
        .take_while(|pieces| !pieces.is_empty())
        .collect();
    lines.cut(FIRST);
    lines.step(ACCEPTOR, SECOND);
    assert!(!lines.step(DIALER, SECOND), "its bound is reached");
    let resent = lines.resent();
    // Two take its place. All is written before anything moves, and moves when what was on its way has come.
    lines.retire(DIALER, SECOND);
    lines.join();
    lines.join();
    first.iter().for_each(|(near, _)| lines.write(DIALER, *near, b"two"));
    assert!(first.iter().all(|(near, _)| lines.home(DIALER, *near) == Some(SECOND)));
    assert!(lines.ends[DIALER].carriers[0].log.has_resend());
    for pieces in on_its_way {
        lines.deliver(DIALER, SECOND, &pieces);
    }
    lines.step(ACCEPTOR, SECOND);
    // Whichever of the two has not got the tail is the quicker one.
    let has_tail = |carrier: &&Carrier| carrier.log.has_resend();
    let heirs: Vec<_> =
        lines.ends[DIALER].carriers.iter().filter(has_tail).map(|carrier| carrier.number).collect();
    let [heir] = heirs[..] else { panic!("one has the tail, and not {heirs:?}") };
    let quicker = lines.live(DIALER).into_iter().find(|number| ![SECOND, heir].contains(number)).unwrap();
    while lines.step(DIALER, quicker) | lines.step(ACCEPTOR, quicker) {}
    lines.settle();
    for (_, far) in &first {
        assert_eq!(lines.read(ACCEPTOR, *far), b"one two");
    }
    for (_, far) in &second {
        assert_eq!(lines.read(ACCEPTOR, *far), bulk);
    }
    assert_eq!((lines.resent(), lines.live(DIALER).len()), (resent, 2), "the tail was sent again once");
    let datas = |number| {
        let all = lines.logged(DIALER, number).into_iter();
        all.filter(|frame| matches!(frame, Frame::Data { .. })).count()
    };
    assert_eq!((datas(quicker), datas(heir) >= 2 * first.len()), (0, true), "all of it behind the tail");
}

#[test]
fn a_retire_is_free_the_first_time_and_then_a_cheap_frame() {
    let cases = [(FIRST, true), (SECOND, true), (CarrierNumber(77), false)];
    for (carrier, lives) in cases {
        let mut lines = Lines::new(2);
        let now = lines.now;
        let mut sent = 0;
        while lines.ends[ACCEPTOR].ended().is_none() {
            feed(&mut lines.ends[ACCEPTOR], now, FIRST, &Frame::Retire { carrier });
            sent += 1;
        }
        assert_eq!(lines.ends[ACCEPTOR].ended(), Some(&SessionEnd::Violation(Violation::Flood)));
        assert!(sent > 19_000, "{sent} with {lives}");
    }
}

#[test]
fn a_carrier_is_asked_for_once_by_the_acceptor_and_the_dialer_is_told() {
    let mut lines = Lines::new(2);
    let notice = Duration::from_secs(30);
    lines.ends[DIALER].request_carrier(FIRST, CloseCode::REPLACED, notice);
    for _ in 0..3 {
        lines.ends[ACCEPTOR].request_carrier(FIRST, CloseCode::EXPIRED, notice);
        lines.ends[ACCEPTOR].request_carrier(CarrierNumber(77), CloseCode::EXPIRED, notice);
        lines.settle();
    }
    let events = |lines: &mut Lines, end: usize| {
        let all = std::iter::from_fn(|| lines.ends[end].poll_event());
        all.filter(|event| matches!(event, SessionEvent::CarrierRequested { .. })).collect::<Vec<_>>()
    };
    let asked = SessionEvent::CarrierRequested { number: FIRST, code: CloseCode::EXPIRED, deadline: notice };
    assert_eq!((events(&mut lines, DIALER), events(&mut lines, ACCEPTOR)), (vec![asked], vec![]));
    // Said again by a peer that does not keep to it, of one that is no more, or for a day.
    let (now, code) = (lines.now, CloseCode::EXPIRED);
    for carrier in [FIRST, CarrierNumber(77), SECOND] {
        let frame = Frame::RequestCarrier { carrier, code, deadline_millis: 86_400_000 };
        feed(&mut lines.ends[DIALER], now, SECOND, &frame);
    }
    let deadline = Duration::from_secs(3600);
    let asked = SessionEvent::CarrierRequested { number: SECOND, code, deadline };
    assert_eq!((events(&mut lines, DIALER), lines.ends[DIALER].ended()), (vec![asked], None));
    let frame = Frame::RequestCarrier { carrier: FIRST, code, deadline_millis: 0 };
    feed(&mut lines.ends[ACCEPTOR], now, SECOND, &frame);
    assert_eq!(lines.ends[ACCEPTOR].ended(), Some(&SessionEnd::Violation(Violation::Unexpected)));
}

#[test]
fn a_request_that_was_not_said_yet_is_said_with_its_last_cause() {
    let mut lines = Lines::new(2);
    let notice = Duration::from_secs(30);
    lines.ends[ACCEPTOR].request_carrier(FIRST, CloseCode::REPLACED, notice);
    lines.ends[ACCEPTOR].request_carrier(FIRST, CloseCode::EXPIRED, notice);
    lines.settle();
    let asked = SessionEvent::CarrierRequested { number: FIRST, code: CloseCode::EXPIRED, deadline: notice };
    assert!(std::iter::from_fn(|| lines.ends[DIALER].poll_event()).any(|event| event == asked));
}

#[test]
fn a_request_is_forgotten_with_its_carrier_and_survives_that_of_another() {
    let mut lines = Lines::new(2);
    let requests = |lines: &mut Lines| {
        let all = std::iter::from_fn(|| lines.ends[DIALER].poll_event());
        all.filter(|event| matches!(event, SessionEvent::CarrierRequested { .. })).count()
    };
    lines.ends[ACCEPTOR].request_carrier(FIRST, CloseCode::REPLACED, Duration::from_secs(1));
    lines.ends[ACCEPTOR].request_carrier(SECOND, CloseCode::REPLACED, Duration::from_secs(1));
    lines.cut(FIRST);
    lines.settle();
    assert_eq!(requests(&mut lines), 1);
    lines.join();
    lines.settle();
    // Sent on one that dies with it, and then on the other.
    lines.ends[ACCEPTOR].request_carrier(THIRD, CloseCode::REPLACED, Duration::from_secs(1));
    batch(&mut lines.ends[ACCEPTOR], lines.now, SECOND);
    lines.cut(SECOND);
    lines.settle();
    assert_eq!(requests(&mut lines), 1);
}

#[test]
fn a_request_goes_over_the_carrier_it_names_behind_its_hello() {
    let mut lines = Lines::new(2);
    lines.settle();
    let sent =
        |lines: &Lines| lines.ends[ACCEPTOR].carriers.iter().map(|of| of.log.sent()).collect::<Vec<_>>();
    let before = sent(&lines);
    lines.ends[ACCEPTOR].request_carrier(SECOND, CloseCode::EXPIRED, Duration::from_secs(1));
    // Over the first it might be at the dialer before the second is up there, and mean nothing.
    lines.step(ACCEPTOR, FIRST);
    assert_eq!(sent(&lines), before);
    lines.step(ACCEPTOR, SECOND);
    assert!(sent(&lines)[1] > before[1]);
}

#[test]
fn what_belongs_to_no_stream_goes_over_a_carrier_to_be_trusted() {
    let mut lines = Lines::new(2);
    lines.silent = vec![FIRST];
    // An answer is awaited on the first, and does not come.
    let key = lines.open_somewhere(FIRST);
    lines.write(DIALER, key, b"x");
    lines.step(DIALER, FIRST);
    grow_suspicious(&mut lines);
    assert!(lines.ends[DIALER].carriers[0].life.suspect);
    lines.ends[DIALER].announce_cost(Cost::new(9).unwrap());
    let before = lines.ends[DIALER].carriers[0].log.sent();
    assert!(!lines.step(DIALER, FIRST));
    lines.settle();
    assert_eq!(lines.ends[DIALER].carriers[0].log.sent(), before);
    assert_eq!(lines.ends[ACCEPTOR].peer_cost(), Cost::new(9).ok());
    // Bytes of streams go on there meanwhile, whatever control waits.
    lines.ends[DIALER].announce_cost(Cost::new(10).unwrap());
    lines.write(DIALER, key, b"y");
    batch(&mut lines.ends[DIALER], lines.now, FIRST);
    assert!(lines.ends[DIALER].carriers[0].log.sent() > before);
    // With the trusted one gone it is all there is.
    lines.ends[DIALER].handle_carrier_lost(lines.now, SECOND, CarrierEnd::Eof);
    let before = lines.ends[DIALER].carriers[0].log.sent();
    batch(&mut lines.ends[DIALER], lines.now, FIRST);
    assert!(lines.ends[DIALER].carriers[0].log.sent() > before);
}

impl Lines {
    /// A stream that sends on that carrier at the dialer.
    fn open_somewhere(&mut self, number: CarrierNumber) -> StreamKey {
        loop {
            let key = self.ends[DIALER].open(self.now, request(), Bytes::new()).unwrap();
            if self.home(DIALER, key) == Some(number) {
                return key;
            }
        }
    }
}
