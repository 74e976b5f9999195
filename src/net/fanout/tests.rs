use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use super::*;
use crate::id::{AccessId, SessionNumber, StreamId};
use crate::stats::Traffic;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn fact(access: u64) -> EventKind {
    EventKind::AccessDown { access: AccessId(access) }
}

fn of_stream(stream: u64) -> EventKind {
    EventKind::StreamClosed {
        session: SessionNumber(1),
        stream: StreamId(stream),
        traffic: Traffic::default(),
        error: None,
    }
}

/// What there is to read now, as (seq, kind); the second is whether the subscription has ended.
fn drain(subscription: &mut Subscription) -> (Vec<(u64, EventKind)>, bool) {
    let cx = Context::from_waker(Waker::noop());
    let mut seen = Vec::new();
    loop {
        match subscription.poll_next(&cx) {
            Poll::Ready(Some(event)) => seen.push((event.seq, event.kind)),
            Poll::Ready(None) => return (seen, true),
            Poll::Pending => return (seen, false),
        }
    }
}

#[test]
fn every_subscriber_sees_every_event_in_order() {
    let fanout = Fanout::new(EventCapacity(8));
    let mut first = fanout.subscribe(Streams::Left);
    fanout.publish(fact(1));
    let mut second = fanout.subscribe(Streams::Left);
    fanout.publish(fact(2));
    assert_eq!(drain(&mut first), (vec![(1, fact(1)), (2, fact(2))], false));
    assert_eq!(drain(&mut second), (vec![(2, fact(2))], false));
}

#[test]
fn a_slow_subscriber_is_told_how_much_it_lost_and_goes_on() {
    let fanout = Fanout::new(EventCapacity(2));
    let mut slow = fanout.subscribe(Streams::Left);
    let mut quick = fanout.subscribe(Streams::Left);
    for access in 1..=5 {
        fanout.publish(fact(access));
        assert_eq!(drain(&mut quick), (vec![(access, fact(access))], false));
    }
    let lagged = EventKind::Lagged { missed: 3 };
    assert_eq!(drain(&mut slow), (vec![(3, lagged), (4, fact(4)), (5, fact(5))], false));
    fanout.publish(fact(6));
    assert_eq!(drain(&mut slow), (vec![(6, fact(6))], false));
}

#[test]
fn without_a_subscriber_events_are_counted_and_nothing_is_kept() {
    let fanout = Fanout::new(EventCapacity(8));
    fanout.publish(fact(1));
    fanout.publish(of_stream(1));
    assert_eq!(fanout.newest(), 1);
    assert_eq!(fanout.shared.lock().facts.events.capacity(), 0);
    let mut late = fanout.subscribe(Streams::Left);
    fanout.publish(fact(2));
    assert_eq!(drain(&mut late), (vec![(2, fact(2))], false));
}

#[test]
fn the_last_subscriber_to_go_gives_the_memory_back() {
    let fanout = Fanout::new(EventCapacity(8));
    let first = fanout.subscribe(Streams::Included);
    let mut second = fanout.subscribe(Streams::Left);
    fanout.publish(fact(1));
    drop(first);
    assert!(!fanout.wants_streams());
    assert_eq!(drain(&mut second), (vec![(1, fact(1))], false));
    drop(second);
    let state = fanout.shared.lock();
    assert_eq!((state.facts.events.capacity(), state.subscribers.len()), (0, 0));
}

#[test]
fn facts_of_streams_go_only_to_those_who_asked_and_cost_the_others_nothing() {
    let fanout = Fanout::new(EventCapacity(2));
    let mut plain = fanout.subscribe(Streams::Left);
    assert!(!fanout.wants_streams());
    let mut curious = fanout.subscribe(Streams::Included);
    assert!(fanout.wants_streams());
    fanout.publish(of_stream(1));
    fanout.publish(fact(2));
    fanout.publish(of_stream(3));
    fanout.publish(of_stream(4));
    assert_eq!(drain(&mut plain), (vec![(2, fact(2))], false));
    let lagged = EventKind::Lagged { missed: 1 };
    let expected = vec![(1, lagged), (2, fact(2)), (3, of_stream(3)), (4, of_stream(4))];
    assert_eq!(drain(&mut curious), (expected, false));
}

#[test]
fn a_closed_fanout_is_read_to_its_end_and_then_ends() {
    let fanout = Fanout::new(EventCapacity(8));
    let mut subscription = fanout.subscribe(Streams::Left);
    fanout.publish(fact(1));
    fanout.close();
    fanout.publish(fact(2));
    assert_eq!(drain(&mut subscription), (vec![(1, fact(1))], true));
    assert_eq!(drain(&mut fanout.subscribe(Streams::Left)), (vec![], true));
}

#[test]
fn a_waiting_subscriber_is_woken_once_by_an_event_and_by_the_end() {
    let fanout = Fanout::new(EventCapacity(8));
    let mut subscription = fanout.subscribe(Streams::Left);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let cx = Context::from_waker(&waker);
    assert!(subscription.poll_next(&cx).is_pending());
    fanout.publish(of_stream(1));
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    fanout.publish(fact(1));
    fanout.publish(fact(2));
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    drain(&mut subscription);
    assert!(subscription.poll_next(&cx).is_pending());
    fanout.close();
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_abandoned_wait_loses_nothing() {
    let fanout = Fanout::new(EventCapacity(8));
    let mut subscription = fanout.subscribe(Streams::Left);
    {
        let mut abandoned = pin!(poll_fn(|cx| subscription.poll_next(cx)));
        assert!(abandoned.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        fanout.publish(fact(1));
    }
    let event = poll_fn(|cx| subscription.poll_next(cx)).await;
    assert_eq!(event.map(|event| event.kind), Some(fact(1)));
}
