//! What a look at the streams shows when nothing moves.

use super::*;
use crate::snapshot::{StallCause, StreamState};

fn look(session: &Session) -> Vec<StreamLook> {
    session.look(0..session.slots()).collect()
}

#[test]
fn a_stalled_stream_says_since_when_and_whose_reader_it_is_at_both_ends() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    let began = pair.now;
    let window = usize::try_from(MIN_WINDOW).unwrap();
    pair.now += Duration::from_secs(1);
    pair.dialer.write(near, Bytes::from(vec![1; window + 100])).unwrap();
    pair.settle();
    let stalled = pair.now;
    pair.now += Duration::from_secs(60);

    let [sender] = &look(&pair.dialer)[..] else { panic!("one stream") };
    assert_eq!(sender.sending, Some((StallCause::PeerReader, stalled)));
    assert_eq!((sender.receiving, sender.credit, sender.queued), (None, 0, 100));
    assert_eq!((sender.sent, sender.since, sender.by_peer), (MIN_WINDOW, Some(began), false));
    assert_eq!((sender.state, &sender.to), (StreamState::Open, &OpenTo::Key(key())));
    let [reader] = &look(&pair.acceptor)[..] else { panic!("one stream") };
    assert_eq!(reader.receiving, Some((StallCause::OwnReader, stalled)));
    assert_eq!((reader.sending, reader.unread, reader.by_peer), (None, MIN_WINDOW, true));
    assert_eq!((reader.id, &reader.to), (sender.id, &OpenTo::Key(key())));

    // A reader that goes on ends both.
    assert_eq!(read_all(&mut pair.acceptor, pair.now, far).len(), window);
    pair.settle();
    assert_eq!(look(&pair.dialer)[0].sending, None);
    assert_eq!(read_all(&mut pair.acceptor, pair.now, far).len(), 100);
    assert_eq!((look(&pair.acceptor)[0].receiving, look(&pair.acceptor)[0].unread), (None, 0));
}

#[test]
fn a_reader_that_reads_a_little_has_waited_since_that() {
    let mut pair = Pair::new();
    let (near, far) = pair.open();
    for _ in 0..2 {
        pair.dialer.write(near, Bytes::from(vec![1; 4000])).unwrap();
        pair.settle();
    }
    pair.now += Duration::from_secs(3);
    let read = pair.acceptor.poll_read(pair.now, far, Waker::noop());
    assert!(matches!(read, Poll::Ready(Ok(Some(_)))));
    assert_eq!(look(&pair.acceptor)[0].receiving, Some((StallCause::OwnReader, pair.now)));
    assert_eq!(look(&pair.acceptor)[0].unread, 4000);
}

#[test]
fn a_stream_without_a_carrier_waits_for_one_unless_its_reader_is_slower() {
    let mut pair = Pair::new();
    let (near, _far) = pair.open();
    let (starved, _far) = pair.open();
    pair.dialer.write(starved, Bytes::from(vec![1; usize::try_from(MIN_WINDOW).unwrap() + 1])).unwrap();
    pair.settle();
    let dry = pair.now;
    pair.now += Duration::from_secs(2);
    pair.dialer.handle_carrier_lost(pair.now, pair.carrier, CarrierEnd::Eof);
    let lost = pair.now;
    pair.now += Duration::from_secs(2);
    pair.dialer.write(near, Bytes::from_static(b"later")).unwrap();
    let by_id = |id| look(&pair.dialer).into_iter().find(|stream| stream.id == id).unwrap();
    assert_eq!(by_id(near.id).sending, Some((StallCause::NoCarrier, lost)));
    assert_eq!(by_id(starved.id).sending, Some((StallCause::PeerReader, dry)));
}

#[test]
fn a_look_tells_how_far_a_stream_has_come_and_the_session_counts_them() {
    let mut pair = Pair::new();
    let asked = pair.dialer.open(pair.now, request(), Bytes::new()).unwrap();
    assert_eq!(look(&pair.dialer)[0].since, None);
    pair.settle();
    assert_eq!(look(&pair.dialer)[0].state, StreamState::Asked);
    assert_eq!(look(&pair.acceptor)[0].state, StreamState::Waiting);
    let (far, _) = pair.acceptor.poll_incoming().unwrap();
    pair.acceptor.accept(far);
    pair.dialer.finish(asked);
    pair.settle();
    assert_eq!(look(&pair.dialer)[0].state, StreamState::Receiving);
    assert_eq!(look(&pair.acceptor)[0].state, StreamState::Sending);
    let refused = pair.dialer.open(pair.now, request(), Bytes::new()).unwrap();
    pair.settle();
    let (far, _) = pair.acceptor.poll_incoming().unwrap();
    pair.acceptor.refuse(far, StreamCode::UNREACHABLE);
    pair.settle();
    pair.dialer.release(refused);
    let counts = |session: &Session| {
        let counts = session.stream_counts();
        (counts.opened, counts.opened_by_peer, counts.turned_down)
    };
    assert_eq!((counts(&pair.dialer), counts(&pair.acceptor)), ((2, 0, 0), (0, 2, 1)));
}
