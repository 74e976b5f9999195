//! Groups of endpoints: alternates, edges, and who is told to come back later. Real sockets, real TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::pki::TestCa;
use common::raw::{self, RawPeer};
use common::relay::{Cut, Door, Relay};
use common::stage::{Diary, brisk, listen, pair, plane_with, poll_until, single};
use common::{credentials, key, loopback, within};
use sitelink::wire::frame::{CloseScope, Frame};
use sitelink::wire::hello::SessionClaim;
use sitelink::{
    Access, AccessSpec, CloseCode, Cost, Destination, DialError, EventKind, Instance, LinkId, LinkRole,
    Manifest, Phase, Plane, PlaneConfig, RouterRole, SessionEnd, SessionNumber, Site, StreamError,
};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// Keeps a link of that name with these endpoints of one group.
async fn link_to(plane: &Plane, ca: &TestCa, name: &str, role: &str, endpoints: &[SocketAddr]) -> LinkId {
    let mut text = format!(
        "apiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata:\n  name: {name}\nspec:\n  endpoints:\n"
    );
    for address in endpoints {
        text += &format!("  - name: {role}\n    host: {}\n    port: {}\n", address.ip(), address.port());
    }
    let manifest = Manifest::parse(text, "test");
    let client = credentials("client", &ca.client("west"));
    plane.link(manifest.link(name).unwrap().clone(), Some(client)).await.unwrap()
}

/// An address whose queue of connections is full: what is sent there is dropped, as by a black hole.
struct BlackHole {
    address: SocketAddr,
    _held: Vec<Socket>,
}

impl BlackHole {
    fn new() -> Self {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&loopback().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held: Vec<Socket> = (0..4).map(|_| socket()).collect();
        for filling in &held {
            filling.set_nonblocking(true).unwrap();
            // Those beyond the queue stay under way.
            let _ = filling.connect(&address);
        }
        held.push(listener);
        Self { address: address.as_socket().unwrap(), _held: held }
    }
}

/// West reaches east at the second endpoint, the first being `dead`; gives what was told, and how long it took.
async fn reach_second(dead: SocketAddr) -> (Vec<EventKind>, Duration) {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", PlaneConfig::default()).await, plane_with("east", brisk()).await);
    let access = listen(&east, loopback(), &ca).await;
    let mut diary = Diary::of(&west);
    let begun = Instant::now();
    link_to(&west, &ca, "east", "inter-router", &[dead, access.address()]).await;
    diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    let took = begun.elapsed();
    let status = west.status();
    assert_eq!(status.sessions[0].carriers[0].remote, access.address());
    let told = diary.kinds();
    let counted = status.links[0].groups[0].history.overtaken;
    assert_eq!(usize::try_from(counted).unwrap(), overtaken(&told).len());
    (told, took)
}

/// What was overtaken: endpoint, attempt, whether it was reached, and whether it was by the one that is up.
fn overtaken(told: &[EventKind]) -> Vec<(&str, u64, bool, bool)> {
    let up = |by: &str| {
        let is = |kind: &EventKind| matches!(kind, EventKind::CarrierUp { remote, .. } if remote.to_string() == by);
        told.iter().any(is)
    };
    let one = |kind| match kind {
        &EventKind::DialOvertaken { ref endpoint, attempt, reached, ref by, .. } => {
            Some((&**endpoint, attempt, reached, up(by)))
        }
        _ => None,
    };
    told.iter().filter_map(one).collect()
}

fn failures(told: &[EventKind]) -> Vec<(&str, u64, Phase, Duration)> {
    let failure = |kind| match kind {
        &EventKind::DialFailed { ref endpoint, attempt, phase, next_attempt_in, .. } => {
            Some((&**endpoint, attempt, phase, next_attempt_in))
        }
        _ => None,
    };
    told.iter().filter_map(failure).collect()
}

#[tokio::test]
async fn a_refused_first_endpoint_costs_no_time() {
    let dead = TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap();
    let (told, took) = reach_second(dead).await;
    assert_eq!(failures(&told), [(&*dead.to_string(), 1, Phase::Connect, Duration::ZERO)]);
    assert_eq!(overtaken(&told), [], "it had failed before");
    assert!(took < Duration::from_millis(250), "it did not wait for the stagger: {took:?}");
}

#[tokio::test]
async fn a_black_holed_first_endpoint_is_passed_within_a_second() {
    let hole = BlackHole::new();
    let (told, took) = reach_second(hole.address).await;
    assert_eq!(failures(&told), [], "it has not failed yet, it was given up");
    assert_eq!(overtaken(&told), [(&*hole.address.to_string(), 1, false, true)]);
    let tried = told.iter().find_map(|kind| match kind {
        EventKind::DialOvertaken { after, .. } => Some(*after),
        _ => None,
    });
    assert!(tried.is_some_and(|tried| tried >= Duration::from_millis(250) && tried <= took), "{tried:?}");
    let place = |wanted: fn(&EventKind) -> bool| told.iter().position(wanted).unwrap();
    let places = [
        place(|kind| matches!(kind, EventKind::SessionUp { .. })),
        place(|kind| matches!(kind, EventKind::DialOvertaken { .. })),
        place(|kind| matches!(kind, EventKind::GroupUp { .. })),
    ];
    assert!(places.is_sorted(), "{told:#?}");
    assert!(took >= Duration::from_millis(250), "it had its head start: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn a_first_endpoint_that_accepts_and_says_nothing_is_passed_within_a_second() {
    let mute = Relay::to(loopback()).await;
    mute.door(Door::Mute);
    let (told, took) = reach_second(mute.address()).await;
    assert_eq!(failures(&told), []);
    assert_eq!(overtaken(&told), [(&*mute.address().to_string(), 1, false, true)]);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn a_first_endpoint_that_never_says_hello_is_passed_within_a_second() {
    let ca = TestCa::new("ca");
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let silent = listener.local_addr().unwrap();
    let (west, east) = (plane_with("west", PlaneConfig::default()).await, plane_with("east", brisk()).await);
    let access = listen(&east, loopback(), &ca).await;
    let mut diary = Diary::of(&west);
    let begun = Instant::now();
    link_to(&west, &ca, "east", "inter-router", &[silent, access.address()]).await;
    let mut peer = RawPeer::accept(&listener, raw::server(&ca.server(&["127.0.0.1"]))).await.unwrap();
    diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let told = diary.kinds();
    assert_eq!(failures(&told), [(&*silent.to_string(), 1, Phase::Hello, Duration::ZERO)]);
    assert_eq!(overtaken(&told), [], "one that was silent has failed");
    // What it may have begun for the hello it got is over: it is told so.
    assert!(matches!(peer.next().await, Some(Frame::Hello(_))));
    let told = peer.closed().await;
    assert_eq!(told, Some((CloseScope::Session, CloseCode::NORMAL)));
    assert_eq!(east.status().sessions.len(), 1);
}

#[tokio::test]
async fn an_only_endpoint_that_never_says_hello_is_told_when_its_time_is_up() {
    let ca = TestCa::new("ca");
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let mut config = brisk();
    config.deadlines.hello = Duration::from_millis(300);
    let west = plane_with("west", config).await;
    link_to(&west, &ca, "east", "inter-router", &[listener.local_addr().unwrap()]).await;
    let mut peer = RawPeer::accept(&listener, raw::server(&ca.server(&["127.0.0.1"]))).await.unwrap();
    let told = peer.closed().await;
    assert_eq!(told, Some((CloseScope::Session, CloseCode::NORMAL)));
}

#[tokio::test]
async fn one_hello_is_said_however_many_alternates_are_reached() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", PlaneConfig::default()).await, plane_with("east", brisk()).await);
    let (one, other) = (listen(&east, loopback(), &ca).await, listen(&east, loopback(), &ca).await);
    let mut diary = Diary::of(&east);
    link_to(&west, &ca, "east", "inter-router", &[one.address(), other.address()]).await;
    diary.one(|kind| matches!(kind, EventKind::SessionUp { .. })).await;
    within(west.shutdown(Duration::ZERO)).await;
    diary.one(|kind| matches!(kind, EventKind::SessionDown { .. })).await;
    assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionUp { .. })), 1);
}

#[tokio::test]
async fn a_carrier_that_a_load_balancer_leads_to_another_router_is_refused_and_both_are_named() {
    let ca = TestCa::new("ca");
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let (west, east) = (plane_with("west", single(brisk())).await, plane_with("east", brisk()).await);
    let access = listen(&east, loopback(), &ca).await;
    let balancer = Relay::between(&[access.address(), listener.local_addr().unwrap()]).await;
    let mut diary = Diary::of(&west);
    link_to(&west, &ca, "east", "inter-router", &[balancer.address()]).await;
    diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    let (mut near_end, mut far_end) = pair(&west, &east, "k").await;
    balancer.cut(Cut::Reset);
    // The next carrier gets to a router that would take it, whoever it is.
    let tls = raw::server(&ca.server(&["127.0.0.1"]));
    let mut stranger = Box::pin(within(RawPeer::accept(&listener, tls))).await.unwrap();
    let Some(Frame::Hello(asked)) = within(stranger.next()).await else { panic!("no hello") };
    let SessionClaim::Join { session, .. } = asked.session else { panic!("{asked:?}") };
    let answer = raw::hello("east", asked.carrier.0, SessionClaim::Joined { session });
    stranger.send(&[Frame::Hello(Box::new(answer))]).await;
    let told = within(stranger.closed()).await;
    assert_eq!(told, Some((CloseScope::Carrier, CloseCode::OTHER_INSTANCE)));
    let failed = diary.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await;
    let EventKind::DialFailed { endpoint, phase, error, .. } = failed.kind else { unreachable!() };
    assert_eq!((&*endpoint, phase), (&*balancer.address().to_string(), Phase::Hello));
    let expected = DialError::OtherInstance { expected: east.instance(), found: Instance([7; 16]) };
    assert_eq!(error, expected);
    // The one after it gets to the right one, and nothing is lost.
    diary.one(|kind| matches!(kind, EventKind::SessionResumed { .. })).await;
    near_end.send(bytes::Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(within(far_end.recv()).await.unwrap().as_deref(), Some(&b"still here"[..]));
    assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
}

#[tokio::test]
async fn a_join_that_is_balanced_to_a_router_without_the_session_ends_it_and_a_successor_begins() {
    let ca = TestCa::new("ca");
    let (west, one) = (plane_with("west", single(brisk())).await, plane_with("east", brisk()).await);
    let other = plane_with("east", brisk()).await;
    let (at_one, at_other) = (listen(&one, loopback(), &ca).await, listen(&other, loopback(), &ca).await);
    let balancer = Relay::between(&[at_one.address(), at_other.address()]).await;
    let mut diary = Diary::of(&west);
    link_to(&west, &ca, "east", "inter-router", &[balancer.address()]).await;
    diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    let (mut near_end, _far_end) = pair(&west, &one, "k").await;
    balancer.cut(Cut::Reset);
    let failed = diary.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await;
    let EventKind::DialFailed { phase, error, .. } = failed.kind else { unreachable!() };
    assert!(
        matches!(error, DialError::Closed { code: CloseCode::SESSION_GONE, .. }) && phase == Phase::Hello,
        "{error:?}"
    );
    assert_eq!(diary.session_end().await, SessionEnd::Gone);
    assert_eq!(within(near_end.recv()).await, Err(StreamError::SessionLost(SessionEnd::Gone)));
    let up = diary.many(2, |kind| matches!(kind, EventKind::SessionUp { .. })).await;
    let met = up.into_iter().map(|event| match event.kind {
        EventKind::SessionUp { peer, .. } => peer.instance,
        _ => unreachable!(),
    });
    // The third connection is led to the first router again, which has let go of what it held for the first one.
    assert_eq!(met.collect::<Vec<_>>(), [one.instance(); 2]);
    poll_until(|| one.status().sessions.len() == 1 && other.status().sessions.is_empty()).await;
}

#[tokio::test]
async fn a_second_carrier_that_is_balanced_to_a_router_without_the_session_ends_nothing() {
    let ca = TestCa::new("ca");
    let (west, one) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let other = plane_with("east", brisk()).await;
    let (at_one, at_other) = (listen(&one, loopback(), &ca).await, listen(&other, loopback(), &ca).await);
    let balancer = Relay::between(&[at_one.address(), at_other.address()]).await;
    let mut diary = Diary::of(&west);
    link_to(&west, &ca, "east", "inter-router", &[balancer.address()]).await;
    // The second connection is led to the other router; the third one joins.
    let failed = diary.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await;
    let EventKind::DialFailed { error, .. } = failed.kind else { unreachable!() };
    assert!(matches!(error, DialError::Closed { code: CloseCode::SESSION_GONE, .. }), "{error:?}");
    diary.many(2, |kind| matches!(kind, EventKind::CarrierUp { .. })).await;
    let status = west.status();
    assert_eq!(status.sessions.len(), 1);
    assert_eq!(status.sessions[0].peer.instance, one.instance());
    assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
    assert!(other.status().sessions.is_empty());
}

#[tokio::test]
async fn one_sent_away_for_load_comes_back_when_it_was_told_to() {
    let ca = TestCa::new("ca");
    let mut small = brisk();
    small.access.sessions = 1;
    let (west, south) = (plane_with("west", brisk()).await, plane_with("south", brisk()).await);
    let east = plane_with("east", small).await;
    let access = listen(&east, loopback(), &ca).await;
    let (mut first, mut second) = (Diary::of(&west), Diary::of(&south));
    link_to(&west, &ca, "east", "inter-router", &[access.address()]).await;
    first.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    link_to(&south, &ca, "east", "inter-router", &[access.address()]).await;
    let failed = second.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await;
    let EventKind::DialFailed { error, next_attempt_in, .. } = failed.kind else { unreachable!() };
    let asked = Duration::from_secs(5);
    let DialError::Closed { code: CloseCode::BUSY, retry_after: Some(told), .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(told, asked);
    assert!(next_attempt_in > asked && next_attempt_in < asked + Duration::from_millis(25));
    within(west.shutdown(Duration::ZERO)).await;
    second.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
}

/// An edge plane.
async fn edge(name: &str) -> Plane {
    let site = Site::new(format!("{name}-id"), name).unwrap();
    Plane::builder(site).role(RouterRole::Edge).config(brisk()).start().await.unwrap()
}

async fn listen_for_edges(plane: &Plane, ca: &TestCa) -> Access {
    let server = credentials("server", &ca.server(&["127.0.0.1"]));
    plane.listen(AccessSpec::new(loopback(), LinkRole::Edge), server).await.unwrap()
}

/// The names of the sites whose session is active.
fn active(plane: &Plane) -> Vec<String> {
    let active = plane.status().sessions.into_iter().filter(|session| !session.standby);
    active.map(|session| session.peer.site_name.to_string()).collect()
}

/// What a plane was last told of a session's standby: whether it is, and whether by its peer.
fn standby_told(diary: &Diary, of: SessionNumber) -> Option<(bool, bool)> {
    diary.kinds().into_iter().rev().find_map(|kind| match kind {
        EventKind::SessionStandby { session, standby, by_peer } if session == of => Some((standby, by_peer)),
        _ => None,
    })
}

/// The session of a plane with a site.
fn session_with(plane: &Plane, site: &str) -> SessionNumber {
    let sessions = plane.status().sessions;
    sessions.iter().find(|session| session.peer.site_name.as_str() == site).unwrap().session
}

#[tokio::test]
async fn an_interior_access_takes_the_role_it_was_set_up_for() {
    let ca = TestCa::new("ca");
    let (interior, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let edge = edge("south").await;
    let (for_edges, for_routers) = (listen_for_edges(&east, &ca).await, listen(&east, loopback(), &ca).await);
    for (plane, role, right, wrong) in [
        (&interior, "inter-router", for_routers.address(), for_edges.address()),
        (&edge, "edge", for_edges.address(), for_routers.address()),
    ] {
        let mut diary = Diary::of(plane);
        link_to(plane, &ca, "wrong", role, &[wrong]).await;
        let failed = diary.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await;
        let EventKind::DialFailed { error, .. } = failed.kind else { unreachable!() };
        assert!(matches!(error, DialError::Closed { code: CloseCode::ROLE_REFUSED, .. }), "{error:?}");
        link_to(plane, &ca, "right", role, &[right]).await;
        diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    }
}

#[tokio::test]
async fn an_edge_has_one_active_session_and_the_others_take_over_from_it() {
    let ca = TestCa::new("ca");
    let edge = edge("edge").await;
    let (one, other) = (plane_with("one", brisk()).await, plane_with("other", brisk()).await);
    let (at_one, at_other) = (listen_for_edges(&one, &ca).await, listen_for_edges(&other, &ca).await);
    for interior in [&one, &other] {
        interior.serve(&key("k")).unwrap();
    }
    edge.serve(&key("e")).unwrap();
    let mut diary = Diary::of(&edge);
    let (at_near, at_far) = (Diary::of(&one), Diary::of(&other));
    let near = link_to(&edge, &ca, "near", "edge", &[at_one.address()]).await;
    link_to(&edge, &ca, "far", "edge", &[at_other.address()]).await;
    diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    poll_until(|| active(&edge) == ["one"]).await;
    // The far end of the one on standby opens nothing on it.
    let to_edge = Destination::Key(key("e"));
    poll_until(|| one.has_path(&to_edge) && !other.has_path(&to_edge)).await;
    poll_until(|| other.status().sessions[0].peer_standby).await;
    // Both ends are told which session stands by.
    let (to_one, to_other) = (session_with(&edge, "one"), session_with(&edge, "other"));
    let (from_one, from_other) = (session_with(&one, "edge"), session_with(&other, "edge"));
    poll_until(|| standby_told(&diary, to_other) == Some((true, false))).await;
    poll_until(|| standby_told(&at_far, from_other) == Some((true, true))).await;
    let (mut near_end, mut far_end) = pair(&edge, &one, "k").await;

    // A dearer link is left at once, and its streams stay where they are.
    edge.set_cost(near, Cost::new(10).unwrap()).await.unwrap();
    poll_until(|| active(&edge) == ["other"]).await;
    poll_until(|| !one.has_path(&to_edge) && other.has_path(&to_edge)).await;
    poll_until(|| standby_told(&diary, to_one) == Some((true, false))).await;
    poll_until(|| standby_told(&diary, to_other) == Some((false, false))).await;
    poll_until(|| standby_told(&at_near, from_one) == Some((true, true))).await;
    poll_until(|| standby_told(&at_far, from_other) == Some((false, true))).await;
    near_end.send(bytes::Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(within(far_end.recv()).await.unwrap().as_deref(), Some(&b"still here"[..]));

    // The active one goes: the other takes over.
    within(other.shutdown(Duration::ZERO)).await;
    poll_until(|| active(&edge) == ["one"]).await;
    poll_until(|| one.has_path(&to_edge)).await;
    poll_until(|| standby_told(&diary, to_one) == Some((false, false))).await;
    poll_until(|| standby_told(&at_near, from_one) == Some((false, true))).await;
    let (_near_end, _far_end) = pair(&edge, &one, "k").await;
}
