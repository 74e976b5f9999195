use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::config::{Liveness, SessionLimits};
use crate::error::SessionEnd;
use crate::event::Peer;
use crate::id::{Instance, RouterName, SessionNumber, Side, SiteId, SiteName};
use crate::net::inbox::Inbox;
use crate::net::incoming::IncomingQueue;
use crate::net::testing::{Ends, accept_tls, dial_tls, listener, principal};
use crate::proto::session::{ProcessPool, Session, SessionParams};
use crate::wire::MIN_WINDOW;
use crate::wire::frame::{CloseScope, Frame};

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
