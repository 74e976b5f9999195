#![expect(clippy::disallowed_methods, reason = "a test owns its tasks")]

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use bytes::Bytes;

use super::*;
use crate::config::{Liveness, SessionLimits};
use crate::error::SessionEnd;
use crate::event::Peer;
use crate::id::{Instance, RouterName, SessionNumber, Side, SiteId, SiteName, StreamId};
use crate::net::inbox::Inbox;
use crate::net::incoming::IncomingQueue;
use crate::net::testing::{Ends, accept_tls, dial_tls, listener, principal};
use crate::proto::session::{ProcessPool, Session, SessionParams};
use crate::wire::frame::{CloseScope, Frame, OpenTo};
use crate::wire::{MAX_DATA, MIN_WINDOW};

const NUMBER: CarrierNumber = CarrierNumber(0);

/// An acceptor's session with one carrier that has no driver yet, and where its streams arrive.
fn session() -> (SessionHandle, Arc<IncomingQueue<SessionHandle>>) {
    let (limits, now) = (SessionLimits::default(), clock::now());
    let params = SessionParams {
        side: Side::Acceptor,
        limits,
        liveness: Liveness::default(),
        accept_deadline: Duration::from_secs(10),
        peer_max_streams: limits.max_streams,
        peer_window: MIN_WINDOW,
        resume_window: limits.resume_window,
        pool: ProcessPool::new(limits.process_pool),
        seed: 7,
    };
    let mut session = Session::new(now, params);
    session.handle_join(now, NUMBER, &[], |_| Bytes::new()).unwrap();
    let peer = Peer::new(
        SiteId::new("west").unwrap(),
        SiteName::new("west").unwrap(),
        RouterName::new("router").unwrap(),
        Instance([1; 16]),
        principal("west"),
    );
    let incoming = Arc::new(IncomingQueue::new());
    let inbox = Arc::new(Inbox::default());
    let handle = SessionHandle::new(SessionNumber(0), peer, session, inbox, Arc::clone(&incoming));
    (handle, incoming)
}

/// A connection after its hellos: the dialing end, the accepting one.
async fn connection() -> (Secured, Secured) {
    let (ends, (listener, address)) = (Ends::new(), listener());
    tokio::join!(dial_tls(address, &ends.client), accept_tls(&listener, &ends.server))
}

#[tokio::test]
async fn a_close_that_came_with_the_hello_counts_though_the_connection_has_ended() {
    let (dialer, mut secured) = connection().await;
    let (scope, code) = (CloseScope::Session, CloseCode::NORMAL);
    let frame = Frame::Close { scope, code, retry_after_millis: 0, detail: String::new() };
    secured.frames.push(Decoded { frame, logged_bytes: 0 });
    drop(dialer);
    secured.tcp.readable().await.unwrap();
    let (session, _incoming) = session();
    drive(session.clone(), NUMBER, secured).await;
    assert_eq!(session.with(|session| session.ended().cloned()), Some(SessionEnd::PeerClosed(code)));
}

#[tokio::test(start_paused = true)]
async fn an_idle_carrier_keeps_no_memory_of_bulk_data() {
    let (mut dialer, secured) = connection().await;
    let (session, incoming) = session();
    let stream = StreamId(0);
    dialer.queue(&Frame::Open { stream, destination: OpenTo::Site, metadata: Bytes::new() }).unwrap();
    dialer.queue(&Frame::Data { stream, payload: Bytes::from(vec![1; MAX_DATA]) }).unwrap();
    dialer.flush_for_test();
    let driving = tokio::spawn(drive(session.clone(), NUMBER, secured));
    let arrived = incoming.next().await.unwrap().take_incoming().unwrap();
    assert!(session.with(|session| session.accept(arrived.key)));
    let read = poll_fn(|cx| session.with(|session| session.poll_read(clock::now(), arrived.key, cx.waker())));
    let data = read.await.unwrap().unwrap();
    assert!(!data.is_unique(), "the decoder would use its memory again");
    // It is asked for signs of life by then, and not given up.
    tokio::time::sleep(Liveness::default().dead / 2).await;
    assert!(!driving.is_finished());
    assert!(data.is_unique());
}

/// Counts how often it is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A driver to whose carrier so many opens have come at once, and a close of the session, not polled yet.
async fn driver_of_opens(opens: usize) -> (Secured, SessionHandle, Pin<Box<dyn Future<Output = ()>>>) {
    let (mut dialer, secured) = connection().await;
    let (session, _incoming) = session();
    let opens = u64::try_from(opens).unwrap();
    for number in 0..opens {
        let (stream, destination) = (StreamId(number * 2), OpenTo::Site);
        dialer.queue(&Frame::Open { stream, destination, metadata: Bytes::new() }).unwrap();
    }
    let (scope, code) = (CloseScope::Session, CloseCode::DRAINED);
    dialer.queue(&Frame::Close { scope, code, retry_after_millis: 0, detail: String::new() }).unwrap();
    dialer.flush_for_test();
    secured.tcp.readable().await.unwrap();
    (dialer, session.clone(), Box::pin(drive(session, NUMBER, secured)))
}

fn ending(session: &SessionHandle) -> Option<SessionEnd> {
    session.with(|session| session.ended().cloned())
}

fn taken(session: &SessionHandle) -> usize {
    session.with(|session| std::iter::from_fn(|| session.poll_incoming()).count())
}

#[tokio::test]
async fn what_one_read_brings_is_handed_over_in_portions_between_which_others_run() {
    let rest = 5;
    let (_dialer, session, mut driver) = driver_of_opens(3 * PORTION + rest).await;
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let woken = || wakes.0.load(Ordering::Relaxed);
    assert!(driver.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!((taken(&session), woken()), (PORTION, 0), "first the runtime looks at its sockets");
    // Whatever that finds may wake it, too.
    tokio::task::yield_now().await;
    let looked = woken();
    assert!(looked > 0);
    assert!(driver.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!((taken(&session), woken()), (2 * PORTION, looked + 1), "once for each read");
    assert!(driver.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    assert_eq!(ending(&session), Some(SessionEnd::PeerClosed(CloseCode::DRAINED)));
}

#[tokio::test]
async fn what_was_read_before_a_connection_is_found_broken_counts() {
    let (dialer, session, mut driver) = driver_of_opens(3 * PORTION).await;
    let mut cx = Context::from_waker(Waker::noop());
    assert!(driver.as_mut().poll(&mut cx).is_pending());
    SockRef::from(&dialer.tcp).set_linger(Some(Duration::ZERO)).unwrap();
    drop(dialer);
    // What is to be written finds out, with two portions to go.
    let (key, _) = session.with(Session::poll_incoming).unwrap();
    assert!(session.with(|session| session.accept(key)));
    while driver.as_mut().poll(&mut cx).is_pending() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ending(&session), Some(SessionEnd::PeerClosed(CloseCode::DRAINED)));
}

#[tokio::test]
async fn a_driver_whose_session_ends_between_two_portions_comes_to_rest() {
    let (_dialer, session, mut driver) = driver_of_opens(3 * PORTION).await;
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(driver.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    session.with(|session| session.close(clock::now(), CloseCode::NORMAL));
    let mut before = None;
    while before != Some(wakes.0.load(Ordering::Relaxed)) {
        before = Some(wakes.0.load(Ordering::Relaxed));
        assert!(before < Some(10), "it wakes itself for nothing");
        assert!(driver.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(ending(&session), Some(SessionEnd::Closed(CloseCode::NORMAL)));
}
