//! Where streams are placed among several carriers, joins that come to nothing, and who is woken for what.

use super::*;
use crate::wire::frame::ControlChange;

#[test]
fn streams_are_placed_on_the_carriers_by_turns_of_many() {
    let mut lines = Lines::new(2);
    let homes: Vec<_> = (0..160).map(|_| lines.open().0).collect();
    let homes: Vec<_> = homes.into_iter().map(|key| lines.home(DIALER, key).unwrap()).collect();
    let expected = [(FIRST, 64), (SECOND, 64), (FIRST, 32)];
    assert_eq!(homes, expected.map(|(number, count)| vec![number; count]).concat());
}

#[test]
fn a_stream_is_placed_where_the_fewest_wait_for_another_turn() {
    let mut lines = Lines::new(2);
    // More than a batch takes.
    let bulk: Vec<_> = (0..20).map(|_| lines.open().0).collect();
    assert!(bulk.iter().all(|key| lines.home(DIALER, *key) == Some(FIRST)));
    bulk.iter().for_each(|key| lines.write(DIALER, *key, &text(16_000)));
    lines.step(DIALER, FIRST);
    let next = lines.ends[DIALER].open(lines.now, request(), Bytes::new()).unwrap();
    assert_eq!(lines.home(DIALER, next), Some(SECOND));
}

#[test]
fn answers_do_not_begin_on_a_carrier_that_is_left() {
    let mut lines = Lines::new(2);
    let near = lines.open_somewhere(FIRST);
    lines.ends[ACCEPTOR].retire_carrier(lines.now, FIRST, CloseCode::REPLACED);
    lines.step(DIALER, FIRST);
    let (far, _) = lines.ends[ACCEPTOR].poll_incoming().unwrap();
    assert_eq!(lines.home(ACCEPTOR, far), Some(SECOND));
    assert!(lines.ends[ACCEPTOR].accept(far));
    lines.settle();
    assert_eq!(lines.ends[DIALER].poll_verdict(near, Waker::noop()), Poll::Ready(Ok(())));
}

#[test]
fn a_carrier_is_not_told_of_its_own_death_however_many_there_are() {
    let mut lines = Lines::new(2);
    let now = lines.now;
    feed(&mut lines.ends[ACCEPTOR], now, FIRST, &Frame::CarrierDead { carrier: FIRST, received: 0 });
    assert_eq!(lines.ends[ACCEPTOR].ended(), Some(&SessionEnd::Violation(Violation::Unexpected)));
}

#[test]
fn however_many_joins_come_to_nothing_a_live_carrier_settles_them() {
    let mut lines = Lines::new(1);
    let (near, far) = lines.open();
    for at in 0..300 {
        let (number, dead) = lines.ends[DIALER].prepare_join();
        lines.ends[ACCEPTOR].handle_join(lines.now, number, &dead, |_| Bytes::new()).unwrap();
        // The answer never comes. One of them sees it first, or the acceptor alone.
        if at % 3 == 0 {
            lines.ends[DIALER].handle_join_failed(lines.now, number);
            lines.settle();
        }
        lines.ends[ACCEPTOR].handle_carrier_lost(lines.now, number, CarrierEnd::Eof);
        if at % 3 == 1 {
            lines.ends[DIALER].handle_join_failed(lines.now, number);
        }
        lines.settle();
        assert_eq!(lines.ends.each_ref().map(|end| (end.fallen.len(), end.attempted.len())), [(0, 0); 2]);
    }
    lines.write(DIALER, near, b"one");
    lines.settle();
    assert_eq!((lines.read(ACCEPTOR, far), lines.live(ACCEPTOR)), (b"one".to_vec(), vec![FIRST]));
}

#[test]
fn a_session_that_drains_says_so_after_its_moves() {
    let mut lines = Lines::new(2);
    let (near, far) = lines.open();
    lines.ends[DIALER].drain();
    lines.write(DIALER, near, b"last");
    lines.ends[DIALER].finish(near);
    lines.retire(DIALER, FIRST);
    lines.settle();
    assert_eq!(lines.read(ACCEPTOR, far), b"last");
    lines.ends[ACCEPTOR].finish(far);
    lines.ends[ACCEPTOR].release(far);
    lines.settle();
    lines.ends[DIALER].release(near);
    lines.settle();
    assert!(lines.ends.iter().all(Session::is_idle));
    let drained = std::iter::from_fn(|| lines.ends[DIALER].poll_event());
    assert_eq!(drained.filter(|event| *event == SessionEvent::Drained).count(), 1);
}

#[test]
fn a_session_has_drained_only_when_no_open_can_be_on_its_way_on_another_carrier() {
    let mut lines = Lines::new(2);
    let near = lines.open_somewhere(SECOND);
    let on_its_way = batch(&mut lines.ends[DIALER], lines.now, SECOND);
    lines.ends[ACCEPTOR].drain();
    while lines.step(DIALER, FIRST) | lines.step(ACCEPTOR, FIRST) {}
    let drained = |lines: &mut Lines| {
        std::iter::from_fn(|| lines.ends[ACCEPTOR].poll_event()).any(|event| event == SessionEvent::Drained)
    };
    assert!(lines.ends[DIALER].peer_draining(), "it has heard of it");
    assert!(lines.ends[ACCEPTOR].is_idle() && !drained(&mut lines));
    lines.deliver(DIALER, SECOND, &on_its_way);
    lines.settle();
    let verdict = lines.ends[DIALER].poll_verdict(near, Waker::noop());
    assert_eq!(verdict, Poll::Ready(Err(OpenFailure::Refused(StreamCode::DRAINING))));
    lines.ends[DIALER].release(near);
    lines.settle();
    assert!(drained(&mut lines));
}

/// The acceptor's hello and an open behind it were on their way while the dialer drained: the open was lost with the session.
#[test]
fn a_session_has_not_drained_while_a_carrier_that_is_dialed_may_bring_an_open() {
    let mut lines = Lines::new(1);
    let (number, dead) = lines.ends[DIALER].prepare_join();
    let mut answer = Vec::new();
    let greet = |counts| {
        answer = counts;
        Bytes::new()
    };
    lines.ends[ACCEPTOR].handle_join(lines.now, number, &dead, greet).unwrap();
    let mut opens = Vec::new();
    while opens.last().is_none_or(|key| lines.home(ACCEPTOR, *key) != Some(number)) {
        opens.push(lines.ends[ACCEPTOR].open(lines.now, request(), Bytes::new()).unwrap());
    }
    // All but the last go by the first carrier, and are refused and gone.
    let late = opens.pop().unwrap();
    let drained = |lines: &mut Lines| {
        std::iter::from_fn(|| lines.ends[DIALER].poll_event()).any(|event| event == SessionEvent::Drained)
    };
    lines.ends[DIALER].drain();
    for _ in 0..4 {
        while lines.step(DIALER, FIRST) | lines.step(ACCEPTOR, FIRST) {}
        opens.drain(..).for_each(|key| lines.ends[ACCEPTOR].release(key));
        lines.pass(Duration::from_millis(25));
    }
    assert!(lines.ends[DIALER].is_idle() && lines.ends[ACCEPTOR].peer_draining() && !drained(&mut lines));
    lines.ends[DIALER].handle_carrier_up(lines.now, number, &answer).unwrap();
    lines.lines.insert(number, [Decoder::new(), Decoder::new()]);
    lines.settle();
    let verdict = lines.ends[ACCEPTOR].poll_verdict(late, Waker::noop());
    assert_eq!(verdict, Poll::Ready(Err(OpenFailure::Refused(StreamCode::DRAINING))));
    lines.ends[ACCEPTOR].release(late);
    lines.settle();
    assert!(drained(&mut lines));
}

#[test]
fn a_session_drains_though_its_keys_keep_changing() {
    let mut lines = Lines::new(1);
    lines.ends[DIALER].drain();
    let key: RoutingKey = "db".parse().unwrap();
    let mut drained = false;
    for round in 0..40 {
        // One change for each batch, so that the log would never be empty.
        lines.ends[DIALER].serve(&key, round % 2 == 0);
        lines.round();
        lines.pass(Duration::from_millis(25));
        let mut told = std::iter::from_fn(|| lines.ends[DIALER].poll_event());
        drained |= told.any(|event| event == SessionEvent::Drained);
    }
    assert!(drained);
}

#[test]
fn a_stale_place_in_a_schedule_is_gone_when_a_stream_comes_back() {
    let mut lines = Lines::new(1);
    let (near, far) = lines.open();
    lines.retire(DIALER, FIRST);
    for _ in 0..20 {
        lines.write(DIALER, near, b"x");
        lines.join();
        let newest = lines.live(DIALER)[1];
        assert_eq!(lines.home(DIALER, near), Some(newest));
        lines.cut(newest);
        lines.step(ACCEPTOR, FIRST);
        assert_eq!(lines.home(DIALER, near), Some(FIRST), "there is no other");
        let waiting: usize = lines.ends[DIALER].carriers.iter().map(|carrier| carrier.schedule.len()).sum();
        assert!(waiting <= 1, "{waiting} places of one stream");
    }
    lines.settle();
    assert_eq!((lines.live(DIALER), lines.read(ACCEPTOR, far).len()), (vec![FIRST], 20));
}

#[test]
fn of_a_thousand_bulk_streams_no_more_is_sent_again_than_was_on_its_way() {
    let mut lines = Lines::new(2);
    let flows: Vec<_> =
        (0..1000).map(|_| lines.ends[DIALER].open(lines.now, request(), Bytes::new()).unwrap()).collect();
    lines.settle();
    let mut far = Vec::new();
    while let Some((key, _)) = lines.ends[ACCEPTOR].poll_incoming() {
        assert!(lines.ends[ACCEPTOR].accept(key));
        far.push(key);
    }
    lines.settle();
    let sent = text(16_000);
    for key in &flows {
        lines.write(DIALER, *key, &sent);
    }
    for _ in 0..3 {
        lines.round();
    }
    // The last batch is lost with the carrier, the one before it came.
    batch(&mut lines.ends[DIALER], lines.now, FIRST);
    let carrier = &lines.ends[DIALER].carriers[0];
    let (acked, end) = (carrier.log.acked(), carrier.log.sent());
    let received = lines.ends[ACCEPTOR].carriers[0].acks.received;
    assert!(acked <= received && received < end && end > 100_000, "{acked} {received} {end}");
    lines.cut(FIRST);
    lines.settle();
    assert_eq!(lines.resent()[DIALER], end - received);
    assert!(far.iter().all(|key| lines.ends[ACCEPTOR].stream(*key).unwrap().recv.received == 16_000));
}

#[test]
fn a_join_that_failed_is_told_of_at_once() {
    let mut lines = Lines::new(1);
    lines.open();
    let (number, dead) = lines.ends[DIALER].prepare_join();
    lines.ends[ACCEPTOR].handle_join(lines.now, number, &dead, |_| Bytes::new()).unwrap();
    lines.settle();
    let (driver, waker) = Count::new();
    let mut out = Vec::new();
    lines.ends[DIALER].poll_transmit(lines.now, FIRST, &mut out, &waker);
    assert!(out.is_empty());
    lines.ends[DIALER].handle_join_failed(lines.now, number);
    lines.ends[DIALER].take_wakers().wake();
    assert_eq!((lines.ends[DIALER].has_untold(), driver.so_far()), (true, 1));
}

#[test]
fn a_count_is_told_on_a_live_carrier_though_a_hello_is_on_its_way() {
    let mut lines = Lines::new(2);
    let near = lines.open_somewhere(FIRST);
    lines.settle();
    let (far, _) = lines.ends[ACCEPTOR].poll_incoming().unwrap();
    assert!(lines.ends[ACCEPTOR].accept(far));
    lines.settle();
    assert_eq!(lines.home(ACCEPTOR, far), Some(FIRST));
    lines.write(ACCEPTOR, far, b"answer");
    lines.cut(FIRST);
    // The redial says hello before the driver of the second has run; no answer comes.
    let (number, dead) = lines.ends[DIALER].prepare_join();
    assert_eq!(dead.len(), 1);
    lines.settle();
    lines.pass(Duration::from_secs(1));
    lines.settle();
    let got = lines.read(DIALER, near);
    assert_eq!(got, b"answer", "a live carrier was there all the time; {number:?}");
}

#[test]
fn a_number_that_was_answered_for_is_not_admitted_any_more() {
    let mut lines = Lines::new(1);
    let (two, three) = (CarrierNumber(2), CarrierNumber(3));
    let dead = [DeadCarrier { number: three, received: 0 }];
    let mut answer = Vec::new();
    let greet = |counts| {
        answer = counts;
        Bytes::new()
    };
    lines.ends[ACCEPTOR].handle_join(lines.now, two, &dead, greet).unwrap();
    assert!(answer.contains(&DeadCarrier { number: three, received: 0 }));
    let late = lines.ends[ACCEPTOR].handle_join(lines.now, three, &[], |_| Bytes::new());
    assert_eq!(late, Err(Violation::Unexpected));
}

#[test]
fn a_carrier_that_goes_on_for_want_of_a_refuge_is_woken() {
    let mut lines = Lines::new(2);
    let near = lines.open_somewhere(FIRST);
    lines.settle();
    lines.write(DIALER, near, b"one");
    lines.step(DIALER, FIRST);
    lines.write(DIALER, near, b"two");
    lines.retire(DIALER, FIRST);
    let (driver, waker) = Count::new();
    let mut out = Vec::new();
    // It says RETIRE and sleeps.
    while lines.ends[DIALER].poll_transmit(lines.now, FIRST, &mut out, &waker) == Transmit::Batch {}
    out.clear();
    lines.ends[DIALER].poll_transmit(lines.now, FIRST, &mut out, &waker);
    assert!(out.is_empty());
    let before = driver.so_far();
    lines.retire(DIALER, SECOND);
    lines.ends[DIALER].take_wakers().wake();
    assert_eq!(lines.ends[DIALER].sleeps_on(FIRST), None);
    assert!(driver.so_far() > before);
}

#[test]
fn an_answer_to_a_count_wakes_the_refuge_that_is_to_bring_it() {
    let mut lines = Lines::new(2);
    lines.settle();
    lines.retire(DIALER, FIRST);
    // The acceptor does not know yet and tells on the first of one that nobody knows.
    let (_, _) = lines.ends[DIALER].prepare_join();
    let failed = CarrierNumber(2);
    lines.ends[ACCEPTOR].handle_join(lines.now, failed, &[], |_| Bytes::new()).unwrap();
    lines.ends[DIALER].handle_join_failed(lines.now, failed);
    let (driver, waker) = Count::new();
    let mut out = Vec::new();
    while lines.ends[DIALER].poll_transmit(lines.now, SECOND, &mut out, &waker) == Transmit::Batch {}
    out.clear();
    lines.ends[DIALER].fallen.clear();
    lines.ends[DIALER].poll_transmit(lines.now, SECOND, &mut out, &waker);
    let before = driver.so_far();
    let now = lines.now;
    feed(&mut lines.ends[DIALER], now, FIRST, &Frame::CarrierDead { carrier: failed, received: 0 });
    lines.ends[DIALER].take_wakers().wake();
    assert!(lines.ends[DIALER].has_untold());
    assert!(driver.so_far() > before, "the refuge sleeps");
}

#[test]
fn a_refused_open_holds_no_metadata() {
    let mut lines = Lines::new(1);
    let now = lines.now;
    for at in 0..100 {
        let open = Frame::Open {
            stream: StreamId(at * 2),
            destination: OpenTo::Key(RoutingKey::new("nobody").unwrap()),
            metadata: Bytes::from(vec![1; 4096]),
        };
        feed(&mut lines.ends[ACCEPTOR], now, FIRST, &open);
    }
    while !batch(&mut lines.ends[ACCEPTOR], now, FIRST).is_empty() {}
    let held = lines.ends[ACCEPTOR].streams.iter().filter(|(_, stream)| stream.request.is_some()).count();
    assert_eq!(held, 0);
}

/// A driver as the real one: asks only when woken, when something came, or when its timer rang.
#[test]
fn a_tail_is_not_held_back_by_joins_that_fail_one_after_another() {
    let mut lines = Lines::new(2);
    let near = lines.open_somewhere(FIRST);
    lines.settle();
    let (far, _) = lines.ends[ACCEPTOR].poll_incoming().unwrap();
    assert!(lines.ends[ACCEPTOR].accept(far));
    lines.settle();
    lines.write(ACCEPTOR, far, b"answer");
    let drivers = [Count::new(), Count::new()];
    let mut heard = [usize::MAX; 2];
    let begin = lines.now;
    let mut attempt: Option<(CarrierNumber, Instant)> = None;
    let mut redial_at = begin;
    lines.cut(FIRST);
    let mut got = Vec::new();
    while got.is_empty() && lines.now < begin + Duration::from_secs(60) {
        // Dials fail for want of an answer after 5 s, and again after the usual wait.
        match attempt {
            None if lines.now >= redial_at => {
                let (number, _) = lines.ends[DIALER].prepare_join();
                attempt = Some((number, lines.now + Duration::from_secs(5)));
            }
            Some((number, at)) if lines.now >= at => {
                lines.ends[DIALER].handle_join_failed(lines.now, number);
                attempt = None;
                redial_at = lines.now + Duration::from_millis(200);
            }
            _ => {}
        }
        for end in [DIALER, ACCEPTOR] {
            loop {
                lines.ends[end].take_wakers().wake();
                let rang = lines.ends[end].poll_timeout(SECOND).is_some_and(|at| at <= lines.now);
                if rang {
                    lines.ends[end].handle_timeout(lines.now);
                }
                let count = drivers[end].0.so_far();
                if !rang && count == heard[end] {
                    break;
                }
                heard[end] = count;
                let mut out = Vec::new();
                lines.ends[end].poll_transmit(lines.now, SECOND, &mut out, &drivers[end].1);
                if !out.is_empty() {
                    lines.deliver(end, SECOND, &out);
                    heard = [usize::MAX; 2];
                }
            }
        }
        got = lines.read(DIALER, near);
        lines.now += Duration::from_millis(10);
    }
    assert!(lines.now < begin + Duration::from_secs(1), "after {:?}", lines.now - begin);
}

#[test]
fn a_request_is_not_said_before_the_dialer_has_the_carrier() {
    let mut lines = Lines::new(1);
    let (number, dead) = lines.ends[DIALER].prepare_join();
    lines.ends[ACCEPTOR].handle_join(lines.now, number, &dead, |_| Bytes::new()).unwrap();
    // The answer takes its time; meanwhile the carrier is suspect at the acceptor, whose credentials change.
    batch(&mut lines.ends[ACCEPTOR], lines.now, number);
    let begin = lines.now;
    while lines.now < begin + Duration::from_secs(3) {
        lines.pass(Duration::from_millis(50));
        lines.round();
    }
    assert!(
        lines.ends[ACCEPTOR].carriers.iter().any(|carrier| carrier.number == number && carrier.life.suspect)
    );
    lines.ends[ACCEPTOR].request_carrier(number, CloseCode::REPLACED, Duration::from_secs(30));
    lines.round();
    lines.ends[DIALER].handle_carrier_up(lines.now, number, &[]).unwrap();
    lines.lines.insert(number, [Decoder::new(), Decoder::new()]);
    lines.settle();
    let asked = std::iter::from_fn(|| lines.ends[DIALER].poll_event())
        .filter(|event| matches!(event, SessionEvent::CarrierRequested { .. }))
        .count();
    assert_eq!(asked, 1);
}

#[test]
fn the_loss_of_a_carrier_on_which_all_was_acknowledged_holds_up_no_stream() {
    let mut lines = Lines::new(2);
    let near = lines.open_somewhere(FIRST);
    lines.settle();
    let (far, _) = lines.ends[ACCEPTOR].poll_incoming().unwrap();
    lines.ends[DIALER].handle_carrier_lost(lines.now, FIRST, CarrierEnd::Eof);
    // Nothing has come from the peer, which has not even noticed.
    assert_eq!(lines.home(DIALER, near), Some(SECOND));
    lines.write(DIALER, near, b"one");
    lines.step(DIALER, SECOND);
    assert_eq!(lines.read(ACCEPTOR, far), b"one");
    lines.settle();
    assert_eq!(lines.ends.each_ref().map(|end| end.fallen.len()), [0, 0]);
}

#[test]
fn changes_go_over_one_carrier_so_that_none_overtakes_another() {
    let mut lines = Lines::new(2);
    let name = |index: usize| RoutingKey::new(format!("k{index:05}")).unwrap();
    lines.ends[ACCEPTOR].serve(&name(0), true);
    let late = batch(&mut lines.ends[ACCEPTOR], lines.now, FIRST);
    (1..9_000).for_each(|index| lines.ends[ACCEPTOR].serve(&name(index), true));
    assert!(batch(&mut lines.ends[ACCEPTOR], lines.now, SECOND).is_empty());
    lines.deliver(ACCEPTOR, FIRST, &late);
    lines.settle();
    // With the one that the bench serves from the beginning.
    assert_eq!(lines.ends[DIALER].peer.served(), 9_001);
}

#[test]
fn keys_that_keep_to_the_allowance_end_no_session_while_a_carrier_falls_silent() {
    let mut lines = Lines::new(2);
    let name = |index: usize| RoutingKey::new(format!("k{index:05}")).unwrap();
    lines.ends[ACCEPTOR].serve(&name(0), true);
    // Lost on its way, and nobody knows yet.
    let late = batch(&mut lines.ends[ACCEPTOR], lines.now, FIRST);
    lines.silent = vec![FIRST];
    grow_suspicious(&mut lines);
    let begun = lines.now;
    for round in 0_u32.. {
        (1..9_000).for_each(|index| lines.ends[ACCEPTOR].serve(&name(index), round % 2 == 0));
        lines.settle();
        assert_eq!(lines.ends[DIALER].ended(), None, "round {round}");
        lines.pass(Duration::from_millis(20));
        if lines.now > begun + Duration::from_secs(3) {
            break;
        }
    }
    assert_eq!(lines.ends[DIALER].peer.served(), 1, "one change is missing, and all others wait for it");
    lines.silent.clear();
    lines.deliver(ACCEPTOR, FIRST, &late);
    lines.settle();
    assert_eq!((lines.ends[DIALER].ended(), lines.ends[DIALER].peer.served() > 1), (None, true));
}

#[test]
fn a_key_table_leaves_most_of_each_batch_to_data_that_waits() {
    let mut lines = Lines::new(1);
    let (near, _) = lines.open();
    lines.write(DIALER, near, &text(16_000));
    (0..9_000).for_each(|at| lines.ends[DIALER].serve(&RoutingKey::new(format!("k{at}")).unwrap(), true));
    let key = lines.ends[DIALER].open(lines.now, request(), Bytes::new()).unwrap();
    lines.seen = [Vec::new(), Vec::new()];
    lines.step(DIALER, FIRST);
    let seen: Vec<_> = lines.seen[DIALER].iter().map(|(_, frame)| frame).collect();
    let keys = seen.iter().filter(|frame| matches!(frame, Frame::Control { .. })).count();
    let data = seen.iter().filter(|frame| matches!(frame, Frame::Data { .. })).count();
    assert!(keys > 100 && keys < 3000, "{keys}");
    assert_eq!(
        (data, seen.iter().any(|frame| matches!(frame, Frame::Open { stream, .. } if *stream == key.id))),
        (1, true)
    );
    lines.settle();
    assert_eq!(lines.ends[ACCEPTOR].peer.served(), 9_000);
}

#[test]
fn going_on_standby_is_dearer_the_more_keys_are_served() {
    let mut lines = Lines::new(1);
    (0..9_000).for_each(|at| lines.ends[ACCEPTOR].serve(&RoutingKey::new(format!("k{at}")).unwrap(), true));
    lines.settle();
    // This end keeps to half of what the other takes.
    for change in 0..1000 {
        lines.ends[ACCEPTOR].set_active(change % 2 == 0);
        lines.settle();
    }
    assert_eq!(lines.ends[DIALER].ended(), None);
    // One that does not floods it.
    let mut changes = 0;
    while lines.ends[DIALER].ended().is_none() {
        let change = ControlChange::Active(changes % 2 == 0);
        let frame = Frame::Control { sequence: 1_000_000 + changes, change };
        let mut frames = vec![Decoded { frame, logged_bytes: 0 }];
        changes += 1;
        lines.ends[DIALER].handle_frames(epoch(), CarrierNumber(0), frames.drain(..));
    }
    assert_eq!(lines.ends[DIALER].ended(), Some(&SessionEnd::Violation(Violation::Flood)));
    assert!((30..=40).contains(&changes), "{changes}");
}
