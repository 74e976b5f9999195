//! Links are kept: dialed, redialed, drained, ended, and told of. Real sockets, real TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]

mod common;

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::pki::TestCa;
use common::relay::{Cut, Door};
use common::stage::{Diary, Stage, brisk, listen, pair, plane_with, reachable, single};
use common::{credentials, document, key, loopback, within};
use sitelink::config::EventCapacity;
use sitelink::resource::status::Reason;
use sitelink::snapshot::{GroupState, SessionState};
use sitelink::{
    CarrierEnd, CloseCode, DialError, EventKind, GroupName, LinkId, Manifest, OpenError, OpenRequest, Phase,
    Plane, PlaneConfig, PlaneError, SessionEnd, StreamError,
};

/// An address on which nobody listens.
async fn dead_end() -> SocketAddr {
    tokio::net::TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap()
}

/// Keeps a link with these endpoints: group and address.
async fn link_to(plane: &Plane, ca: &TestCa, endpoints: &[(&str, SocketAddr)]) -> LinkId {
    let mut text = String::from(
        "apiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata:\n  name: east\nspec:\n  endpoints:\n",
    );
    for (group, address) in endpoints {
        text += &format!(
            "  - name: inter-router\n    group: {group}\n    host: {}\n    port: {}\n",
            address.ip(),
            address.port()
        );
    }
    let manifest = Manifest::parse(text, "test");
    let client = credentials("client", &ca.client("west"));
    plane.link(manifest.link("east").unwrap().clone(), Some(client)).await.unwrap()
}

fn refused(address: SocketAddr) -> DialError {
    DialError::Connect { address, kind: ErrorKind::ConnectionRefused }
}

/// Says something on one stream and hears it on the other.
async fn talk(near: &mut sitelink::LinkStream, far: &mut sitelink::LinkStream) {
    near.send(Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"still here"[..]));
}

#[tokio::test]
async fn an_unreachable_endpoint_is_dialed_for_ever_at_growing_intervals() {
    let mut config = PlaneConfig::default();
    config.backoff.first = Duration::from_millis(1);
    config.backoff.cap = Duration::from_millis(32);
    let (first, cap) = (config.backoff.first, config.backoff.cap);
    let plane = plane_with("west", config).await;
    let mut diary = Diary::of(&plane);
    let nowhere = dead_end().await;
    let link = link_to(&plane, &TestCa::new("ca"), &[("a", nowhere)]).await;
    let failures = diary.many(40, |kind| matches!(kind, EventKind::DialFailed { .. })).await;
    let mut longest = Duration::ZERO;
    for (index, failure) in (0..).zip(&failures) {
        let EventKind::DialFailed { link: of, endpoint, attempt, phase, error, next_attempt_in, .. } =
            &failure.kind
        else {
            unreachable!()
        };
        assert_eq!((*of, &**endpoint, *attempt), (link, &*nowhere.to_string(), index + 1));
        assert_eq!((*phase, error), (Phase::Connect, &refused(nowhere)));
        let bound = first.saturating_mul(1 << index.min(20)).min(cap);
        assert!(*next_attempt_in <= bound, "attempt {attempt}: {next_attempt_in:?} is beyond {bound:?}");
        longest = longest.max(*next_attempt_in);
    }
    assert!(longest > first * 4, "intervals do not grow: {longest:?}");
    assert_eq!(plane.status().links[0].error, Some(refused(nowhere)));
}

#[tokio::test]
async fn alternates_of_a_group_are_tried_in_the_order_of_the_document() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let access = listen(&east, loopback(), &ca).await;
    let mut diary = Diary::of(&west);
    let (first, second) = (dead_end().await, dead_end().await);
    let endpoints = [("a", first), ("a", second), ("a", access.address())];
    link_to(&west, &ca, &endpoints).await;
    diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    let failed: Vec<_> = diary
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::DialFailed { endpoint, attempt, next_attempt_in, .. } => {
                Some((endpoint.to_string(), attempt, next_attempt_in))
            }
            _ => None,
        })
        .collect();
    let expected = [(first.to_string(), 1, Duration::ZERO), (second.to_string(), 2, Duration::ZERO)];
    assert_eq!(failed, expected);
    assert_eq!(west.status().sessions.len(), 1);
}

#[tokio::test]
async fn each_group_has_a_session_of_its_own() {
    let ca = TestCa::new("ca");
    let west = plane_with("west", brisk()).await;
    let (one, other) = (plane_with("east", brisk()).await, plane_with("south", brisk()).await);
    let (at_one, at_other) = (listen(&one, loopback(), &ca).await, listen(&other, loopback(), &ca).await);
    let mut diary = Diary::of(&west);
    let link = link_to(&west, &ca, &[("a", at_one.address()), ("b", at_other.address())]).await;
    let up = diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    let reached: HashSet<_> = up
        .iter()
        .map(|event| match &event.kind {
            EventKind::GroupUp { group, peer, .. } => (group.clone(), peer.site_name.as_str().to_owned()),
            _ => unreachable!(),
        })
        .collect();
    let group = |name: &str| GroupName::new(name).unwrap();
    assert_eq!(reached, HashSet::from([(group("a"), "east".to_owned()), (group("b"), "south".to_owned())]));
    diary
        .one(|kind| {
            matches!(kind, EventKind::LinkOperational { operational: true, groups_up: 2, groups: 2, .. })
        })
        .await;
    assert_eq!(west.status().sessions.len(), 2);

    // One goes; the other stays, and so does the link.
    within(other.shutdown(Duration::ZERO)).await;
    let down = diary.one(|kind| matches!(kind, EventKind::GroupDown { .. })).await;
    assert!(matches!(&down.kind, EventKind::GroupDown { group: gone, .. } if *gone == group("b")));
    diary
        .one(|kind| {
            matches!(kind, EventKind::LinkOperational { operational: true, groups_up: 1, groups: 2, .. })
        })
        .await;
    assert_eq!(west.link_status(link).unwrap().status, Reason::Ready);
    within(one.shutdown(Duration::ZERO)).await;
    diary
        .one(|kind| matches!(kind, EventKind::LinkOperational { operational: false, groups_up: 0, .. }))
        .await;
}

#[tokio::test]
async fn two_groups_that_reach_one_router_are_told_apart_as_duplicates() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let access = listen(&east, loopback(), &ca).await;
    let mut diary = Diary::of(&west);
    link_to(&west, &ca, &[("a", access.address()), ("b", access.address())]).await;
    let up = diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    let EventKind::GroupUp { group: held, .. } = up.kind else { unreachable!() };
    let failed = diary.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await;
    let EventKind::DialFailed { error, .. } = failed.kind else { unreachable!() };
    assert_eq!(error, DialError::Duplicate { of: held.clone() });
    let states: Vec<_> =
        west.status().links[0].groups.iter().map(|group| (group.name == held, group.state)).collect();
    assert!(states.contains(&(true, GroupState::Up)) && states.contains(&(false, GroupState::Duplicate)));
}

#[tokio::test]
async fn an_unlinked_link_drains_and_is_gone_when_its_streams_are() {
    let mut stage = Stage::plain().await;
    let (mut near, mut far) = stage.stream().await;
    stage.west.unlink(stage.link, common::DEADLINE).await.unwrap();
    stage.west_diary.one(|kind| matches!(kind, EventKind::SessionDraining { by_peer: false, .. })).await;
    stage.east_diary.one(|kind| matches!(kind, EventKind::SessionDraining { by_peer: true, .. })).await;
    assert_eq!(stage.west.open(OpenRequest::to_key(key("k"))).await.unwrap_err(), OpenError::NoPath);
    assert_eq!(stage.west.status().sessions[0].state, SessionState::Draining);
    assert!(stage.west.status().links[0].draining);
    talk(&mut near, &mut far).await;
    talk(&mut far, &mut near).await;
    drop((near, far));
    stage.west_diary.one(|kind| matches!(kind, EventKind::LinkRemoved { .. })).await;
    assert_eq!(stage.west_diary.session_end().await, SessionEnd::Closed(CloseCode::DRAINED));
    assert_eq!(stage.east_diary.session_end().await, SessionEnd::PeerClosed(CloseCode::DRAINED));
    assert_eq!(stage.west.link_status(stage.link), None);
    assert_eq!(stage.west.unlink(stage.link, Duration::ZERO).await, Err(PlaneError::Unknown));
}

#[tokio::test]
async fn a_stream_that_outstays_the_grace_of_its_link_ends_with_the_reason() {
    let mut stage = Stage::plain().await;
    let (mut near, mut far) = stage.stream().await;
    stage.west.unlink(stage.link, Duration::from_millis(100)).await.unwrap();
    let code = CloseCode::DISCONNECTED;
    let (here, there) = (SessionEnd::Closed(code), SessionEnd::PeerClosed(code));
    assert_eq!(within(near.recv()).await, Err(StreamError::SessionLost(here.clone())));
    assert_eq!(within(far.recv()).await, Err(StreamError::SessionLost(there.clone())));
    assert_eq!(stage.west_diary.session_end().await, here);
    assert_eq!(stage.east_diary.session_end().await, there);
    stage.west_diary.one(|kind| matches!(kind, EventKind::LinkRemoved { .. })).await;
}

#[tokio::test]
async fn a_disconnected_session_ends_with_its_streams_at_both_ends_and_its_link_comes_back() {
    for by_dialer in [true, false] {
        let mut stage = Stage::new(brisk(), brisk()).await;
        let (mut near, mut far) = stage.stream().await;
        talk(&mut near, &mut far).await;
        let code = CloseCode::DISCONNECTED;
        let (here, there) = (SessionEnd::Closed(code), SessionEnd::PeerClosed(code));
        let (at_west, at_east) = if by_dialer { (here, there) } else { (there, here) };
        if by_dialer {
            stage.west.disconnect(near.session()).await;
        } else {
            stage.east.disconnect(far.session()).await;
        }
        for (stream, diary, end) in
            [(&mut near, &mut stage.west_diary, at_west), (&mut far, &mut stage.east_diary, at_east)]
        {
            let lost = StreamError::SessionLost(end.clone());
            assert_eq!(within(stream.recv()).await, Err(lost.clone()));
            assert_eq!(within(stream.send(Bytes::from_static(b"too late"))).await, Err(lost));
            assert_eq!(diary.session_end().await, end);
        }
        // Nothing is wrong with the link.
        stage.west_diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
        assert_eq!(stage.west_diary.count(|kind| matches!(kind, EventKind::DialFailed { .. })), 0);
        let (mut near, mut far) = stage.stream().await;
        talk(&mut near, &mut far).await;
    }
}

#[tokio::test]
async fn a_link_whose_session_was_disconnected_waits_before_it_dials() {
    for by_dialer in [true, false] {
        let mut patient = PlaneConfig::default();
        (patient.backoff.first, patient.backoff.cap) = (Duration::from_secs(600), Duration::from_secs(600));
        let mut stage = Stage::new(single(patient), brisk()).await;
        let dialed = stage.relay.accepted();
        let plane = if by_dialer { &stage.west } else { &stage.east };
        plane.disconnect(plane.status().sessions[0].session).await;
        stage.west_diary.one(|kind| matches!(kind, EventKind::GroupDown { .. })).await;
        assert_eq!(stage.west.status().links[0].groups[0].state, GroupState::Waiting);
        assert_eq!(stage.relay.accepted(), dialed);
    }
}

#[tokio::test]
async fn a_peer_is_disconnected_by_its_name_and_nobody_else() {
    let mut stage = Stage::new(brisk(), brisk()).await;
    let (_near, mut far) = stage.stream().await;
    let peer = far.peer().clone();
    let stranger = sitelink::SiteId::new("north-id").unwrap();
    let other = sitelink::RouterName::new("another").unwrap();
    assert_eq!(stage.east.disconnect_peer(&stranger, None).await, 0);
    assert_eq!(stage.east.disconnect_peer(&peer.site_id, Some(&other)).await, 0);
    assert_eq!(stage.east.status().sessions.len(), 1);
    assert_eq!(stage.east.disconnect_peer(&peer.site_id, Some(&peer.router)).await, 1);
    let end = SessionEnd::Closed(CloseCode::DISCONNECTED);
    assert_eq!(within(far.recv()).await, Err(StreamError::SessionLost(end)));
    stage.west_diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    stage.east_diary.many(2, |kind| matches!(kind, EventKind::SessionUp { .. })).await;
    assert_eq!(stage.east.disconnect_peer(&peer.site_id, None).await, 1);
}

#[tokio::test]
async fn a_shutdown_lets_streams_end_and_says_goodbye() {
    for of_dialer in [true, false] {
        let mut stage = Stage::plain().await;
        let (mut near, mut far) = stage.stream().await;
        let ending = if of_dialer { stage.west.clone() } else { stage.east.clone() };
        let shutdown = tokio::task::spawn(async move { ending.shutdown(common::DEADLINE).await });
        let (here, there) = if of_dialer {
            (&mut stage.west_diary, &mut stage.east_diary)
        } else {
            (&mut stage.east_diary, &mut stage.west_diary)
        };
        there.one(|kind| matches!(kind, EventKind::SessionDraining { by_peer: true, .. })).await;
        for _ in 0..10 {
            talk(&mut near, &mut far).await;
            talk(&mut far, &mut near).await;
        }
        assert!(!shutdown.is_finished());
        near.finish();
        assert_eq!(within(far.recv()).await, Ok(None));
        far.finish();
        assert_eq!(within(near.recv()).await, Ok(None));
        drop((near, far));
        within(shutdown).await.unwrap();
        assert_eq!(here.session_end().await, SessionEnd::Closed(CloseCode::SHUTDOWN));
        assert_eq!(there.session_end().await, SessionEnd::PeerClosed(CloseCode::SHUTDOWN));
        here.clone().closed().await;
    }
}

#[tokio::test]
async fn a_shutdown_ends_what_outstays_its_grace() {
    let mut stage = Stage::plain().await;
    let (mut near, mut far) = stage.stream().await;
    within(stage.west.shutdown(Duration::from_millis(100))).await;
    let code = CloseCode::SHUTDOWN;
    assert_eq!(within(near.recv()).await, Err(StreamError::SessionLost(SessionEnd::Closed(code))));
    assert_eq!(within(far.recv()).await, Err(StreamError::SessionLost(SessionEnd::PeerClosed(code))));
    assert_eq!(stage.east_diary.session_end().await, SessionEnd::PeerClosed(code));
    assert_eq!(stage.west.open(OpenRequest::to_key(key("k"))).await.unwrap_err(), OpenError::ShutDown);
    assert!(stage.west.accept().await.is_none());
    // A second one finds everything done.
    within(stage.west.shutdown(common::DEADLINE)).await;
}

#[tokio::test]
async fn a_plane_that_is_dropped_ends_at_once() {
    let stage = Stage::plain().await;
    let (mut near, mut far) = stage.stream().await;
    let Stage { west, east, west_diary, mut east_diary, .. } = stage;
    drop(west);
    let code = CloseCode::SHUTDOWN;
    assert_eq!(within(near.recv()).await, Err(StreamError::SessionLost(SessionEnd::Closed(code))));
    assert_eq!(within(far.recv()).await, Err(StreamError::SessionLost(SessionEnd::PeerClosed(code))));
    assert_eq!(east_diary.session_end().await, SessionEnd::PeerClosed(code));
    west_diary.closed().await;
    drop(east);
}

#[tokio::test]
async fn a_close_by_the_peer_is_no_recovery_and_is_redialed_at_the_pace_of_failures() {
    let mut config = PlaneConfig::default();
    // Longer than this test: whatever is dialed meanwhile was dialed without waiting.
    config.backoff.first = Duration::from_secs(60);
    config.backoff.cap = Duration::from_secs(60);
    let mut stage = Stage::new(config, PlaneConfig::default()).await;
    within(stage.east.shutdown(Duration::ZERO)).await;
    assert_eq!(stage.west_diary.session_end().await, SessionEnd::PeerClosed(CloseCode::SHUTDOWN));
    stage.west_diary.one(|kind| matches!(kind, EventKind::LinkOperational { operational: false, .. })).await;
    assert_eq!(stage.west_diary.count(|kind| matches!(kind, EventKind::SessionRecovering { .. })), 0);
    let group = &stage.west.status().links[0].groups[0];
    assert_eq!(group.state, GroupState::Waiting);
}

#[tokio::test]
async fn a_silent_connection_is_suspected_within_a_second_and_replaced() {
    let mut stage = Stage::plain().await;
    let (mut near, mut far) = stage.stream().await;
    talk(&mut near, &mut far).await;
    stage.relay.stall();
    let begun = Instant::now();
    near.send(Bytes::from_static(b"into the void")).await.unwrap();
    stage.west_diary.one(|kind| matches!(kind, EventKind::CarrierSuspect { .. })).await;
    let suspected = begun.elapsed();
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"into the void"[..]));
    println!("suspected after {suspected:?}, on its way again after {:?}", begun.elapsed());
    // A quarter of a second is the floor; the rest is for a busy machine.
    assert!(suspected < Duration::from_secs(1), "{suspected:?}");
    let down = stage.east_diary.one(|kind| matches!(kind, EventKind::CarrierDown { .. })).await;
    assert!(matches!(down.kind, EventKind::CarrierDown { end: CarrierEnd::Replaced, .. }), "{down:?}");
    for diary in [&stage.west_diary, &stage.east_diary] {
        assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
    }
}

#[tokio::test]
async fn a_suspect_connection_that_speaks_again_is_trusted_again_and_stays() {
    let mut stage = Stage::new(single(brisk()), brisk()).await;
    let (mut near, mut far) = stage.stream().await;
    talk(&mut near, &mut far).await;
    // No other connection can be had meanwhile.
    stage.relay.door(Door::Refusing);
    stage.relay.stall();
    near.send(Bytes::from_static(b"late")).await.unwrap();
    let told = stage.west_diary.one(|kind| matches!(kind, EventKind::CarrierSuspect { .. })).await;
    let EventKind::CarrierSuspect { session, carrier, .. } = told.kind else { unreachable!() };
    stage.relay.release();
    let trusted = EventKind::CarrierTrusted { session, carrier };
    stage.west_diary.one(|kind| *kind == trusted).await;
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"late"[..]));
    talk(&mut near, &mut far).await;
    for diary in [&stage.west_diary, &stage.east_diary] {
        assert_eq!(diary.count(|kind| matches!(kind, EventKind::CarrierUp { .. })), 1);
        assert_eq!(diary.count(|kind| matches!(kind, EventKind::CarrierDown { .. })), 0);
    }
}

#[tokio::test]
async fn a_closed_access_is_told_of_once_and_its_sessions_go_on() {
    let mut stage = Stage::plain().await;
    let (mut near, mut far) = stage.stream().await;
    stage.access.close();
    let down = EventKind::AccessDown { access: stage.access.id() };
    stage.east_diary.one(|kind| *kind == down).await;
    assert_eq!(stage.east.status().accesses, []);
    stage.access.close();
    talk(&mut near, &mut far).await;
    let is_down =
        |kind: &EventKind| matches!(kind, EventKind::AccessDown { .. } | EventKind::SessionDown { .. });
    assert_eq!(stage.east_diary.count(is_down), 1);
}

#[tokio::test]
async fn a_connection_that_stays_silent_is_dead_and_its_session_resumes() {
    let mut config = brisk();
    config.liveness.keepalive = Duration::from_millis(200);
    config.liveness.dead = Duration::from_secs(1);
    let mut stage = Stage::new(config.clone(), config).await;
    let (mut near, mut far) = stage.stream().await;
    stage.relay.door(Door::Refusing);
    stage.relay.stall();
    for diary in [&mut stage.west_diary, &mut stage.east_diary] {
        let down = diary.one(|kind| matches!(kind, EventKind::CarrierDown { .. })).await;
        let EventKind::CarrierDown { end: CarrierEnd::Dead(silence), .. } = down.kind else {
            panic!("{down:?}");
        };
        assert!(silence >= Duration::from_secs(1), "{silence:?}");
        assert_eq!(diary.count(|kind| matches!(kind, EventKind::CarrierSuspect { .. })), 1);
        diary.one(|kind| matches!(kind, EventKind::SessionRecovering { .. })).await;
    }
    stage.relay.door(Door::Open);
    for diary in [&mut stage.west_diary, &mut stage.east_diary] {
        diary.one(|kind| matches!(kind, EventKind::SessionResumed { .. })).await;
    }
    talk(&mut near, &mut far).await;
    talk(&mut far, &mut near).await;
}

#[tokio::test]
async fn a_mute_endpoint_fails_in_the_phase_that_got_no_answer() {
    let mut config = brisk();
    config.deadlines.tls = Duration::from_millis(100);
    let mut stage = Stage::new(config, brisk()).await;
    stage.relay.door(Door::Mute);
    stage.relay.cut(Cut::Reset);
    let failed = stage.west_diary.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await;
    let EventKind::DialFailed { phase, error, .. } = failed.kind else { unreachable!() };
    let after = Duration::from_millis(100);
    assert_eq!((phase, error), (Phase::Tls, DialError::TimedOut { phase: Phase::Tls, after }));
    stage.relay.door(Door::Open);
    stage.west_diary.one(|kind| matches!(kind, EventKind::SessionResumed { .. })).await;
}

#[tokio::test]
async fn a_slow_subscriber_is_told_how_much_it_missed() {
    let mut config = brisk();
    config.event_capacity = EventCapacity(8);
    let plane = plane_with("west", config).await;
    let (mut slow, mut diary) = (plane.events(), Diary::of(&plane));
    let link = link_to(&plane, &TestCa::new("ca"), &[("a", dead_end().await)]).await;
    diary.until(|all| all.last().is_some_and(|event| event.seq >= 20)).await;
    plane.unlink(link, Duration::ZERO).await.unwrap();
    diary.one(|kind| matches!(kind, EventKind::LinkRemoved { .. })).await;
    let lagged = within(slow.next()).await.unwrap();
    let EventKind::Lagged { missed } = lagged.kind else { panic!("{lagged:?}") };
    let newest = plane.status().as_of;
    assert_eq!(missed, newest - 8);
    for seq in missed + 1..=newest {
        assert_eq!(within(slow.next()).await.unwrap().seq, seq);
    }
}

#[tokio::test]
async fn a_snapshot_holds_what_the_events_up_to_it_told() {
    let mut stage = Stage::plain().await;
    let up = stage.west_diary.one(|kind| matches!(kind, EventKind::LinkOperational { .. })).await;
    let status = stage.west.status();
    assert!(status.as_of >= up.seq);
    let link = &status.links[0];
    assert_eq!((link.link, link.configured, link.operational), (stage.link, true, true));
    assert_eq!((&link.error, &link.refusal, link.draining), (&None, &None, false));
    let group = &link.groups[0];
    assert_eq!((group.state, group.session), (GroupState::Up, Some(status.sessions[0].session)));
    assert_eq!(group.endpoint.as_deref(), Some(&*stage.relay.address().to_string()));
    let session = &status.sessions[0];
    assert_eq!((session.state, session.link, session.streams), (SessionState::Up, Some(stage.link), 0));
    assert_eq!((session.peer.site_id.as_str(), session.peer.instance), ("east-id", stage.east.instance()));
    assert_eq!((session.carriers.len(), session.carriers[0].remote), (1, stage.relay.address()));

    let far = stage.east.status();
    assert_eq!((far.links.len(), far.sessions[0].id), (0, session.id));
    assert_eq!((far.accesses[0].access, far.accesses[0].sessions), (stage.access.id(), 1));
    assert_eq!(far.accesses[0].address, stage.access.address());

    let (near, _far) = stage.stream().await;
    assert_eq!(stage.west.status().sessions[0].streams, 1);
    drop(near);
    // What events say of streams is for those that ask; the rest goes on counting.
    let newest = stage.west_diary.kinds().len() as u64;
    assert!(stage.west.status().as_of >= newest);
}

#[tokio::test]
async fn the_status_of_a_link_names_endpoint_and_cause_until_all_is_well() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let mut diary = Diary::of(&west);
    let at = dead_end().await;
    let link = common::link(&west, "east", at, credentials("client", &ca.client("west"))).await;
    diary.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await;
    let status = west.link_status(link).unwrap();
    assert_eq!(status.status, Reason::Pending);
    assert_eq!(status.message, format!("Not operational: {at}: no connection to {at}: connection refused"));
    let _access = listen(&east, at, &ca).await;
    diary.one(|kind| matches!(kind, EventKind::LinkOperational { operational: true, .. })).await;
    let status = west.link_status(link).unwrap();
    assert_eq!((status.status, status.message.as_str()), (Reason::Ready, "OK"));
    assert_eq!(status.remote_site_id.as_deref(), Some("east-id"));
    assert_eq!(status.remote_site_name.as_deref(), Some("east"));
}

#[tokio::test]
async fn a_link_without_credentials_or_endpoints_is_an_error_until_it_is_changed() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let access = listen(&east, loopback(), &ca).await;
    let mut diary = Diary::of(&west);
    let text = document("east", "127.0.0.1", access.address().port());
    let for_edges =
        Manifest::parse(text.replace("inter-router", "edge"), "test").link("east").unwrap().clone();
    let manifest = Manifest::parse(text, "test");
    let spec = manifest.link("east").unwrap();
    let link = west.link(spec.clone(), None).await.unwrap();
    let client = || Some(credentials("client", &ca.client("west")));
    let message = |link| {
        let status = west.link_status(link).unwrap();
        assert_eq!(status.status, Reason::Error);
        status.message
    };
    assert_eq!(message(link), "TLS credentials secret \"east\" not found");
    west.relink(link, for_edges, client()).await.unwrap();
    assert_eq!(message(link), "no endpoint named \"inter-router\"");
    diary.many(2, |kind| matches!(kind, EventKind::LinkRefused { .. })).await;
    west.relink(link, spec.clone(), client()).await.unwrap();
    diary.one(|kind| matches!(kind, EventKind::LinkOperational { operational: true, .. })).await;
    assert_eq!(west.link_status(link).unwrap().message, "OK");
}

#[tokio::test]
async fn a_changed_cost_touches_no_stream_and_both_ends_learn_it() {
    let mut stage = Stage::new(single(PlaneConfig::default()), PlaneConfig::default()).await;
    let (mut near, mut far) = stage.stream().await;
    let cost = sitelink::Cost::new(7).unwrap();
    stage.west.set_cost(stage.link, cost).await.unwrap();
    for diary in [&mut stage.west_diary, &mut stage.east_diary] {
        diary.one(|kind| matches!(kind, EventKind::CostChanged { cost: now, .. } if *now == cost)).await;
    }
    talk(&mut near, &mut far).await;
    assert_eq!((stage.west.status().sessions[0].cost, stage.east.status().sessions[0].cost), (cost, cost));
    assert_eq!(stage.relay.accepted(), 1);
}

#[tokio::test]
async fn endpoints_of_another_router_under_the_same_group_take_over_and_the_old_session_drains() {
    let ca = TestCa::new("ca");
    let west = plane_with("west", brisk()).await;
    let (old, new) = (plane_with("east", brisk()).await, plane_with("south", brisk()).await);
    let (at_old, at_new) = (listen(&old, loopback(), &ca).await, listen(&new, loopback(), &ca).await);
    let mut diary = Diary::of(&west);
    let link = link_to(&west, &ca, &[("a", at_old.address())]).await;
    let (mut near, mut far) = pair(&west, &old, "k").await;
    let text =
        document("east", "127.0.0.1", at_new.address().port()).replace("    host", "    group: a\n    host");
    let manifest = Manifest::parse(text, "test");
    let client = credentials("client", &ca.client("west"));
    west.relink(link, manifest.link("east").unwrap().clone(), Some(client)).await.unwrap();
    diary.one(|kind| matches!(kind, EventKind::SessionDraining { by_peer: false, .. })).await;
    diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    talk(&mut near, &mut far).await;
    let endpoint = west.status().links[0].groups[0].endpoint.clone();
    assert_eq!(endpoint.as_deref(), Some(&*at_new.address().to_string()));
    new.serve(&key("n")).unwrap();
    reachable(&west, "n").await;
    drop((near, far));
    assert_eq!(diary.session_end().await, SessionEnd::Closed(CloseCode::DRAINED));
}

#[tokio::test]
async fn new_endpoints_are_dialed_and_old_ones_drain() {
    let ca = TestCa::new("ca");
    let west = plane_with("west", brisk()).await;
    let (old, new) = (plane_with("east", brisk()).await, plane_with("south", brisk()).await);
    let (at_old, at_new) = (listen(&old, loopback(), &ca).await, listen(&new, loopback(), &ca).await);
    let mut diary = Diary::of(&west);
    let link = link_to(&west, &ca, &[("a", at_old.address())]).await;
    let (mut near, mut far) = pair(&west, &old, "k").await;
    let text =
        document("east", "127.0.0.1", at_new.address().port()).replace("    host", "    group: b\n    host");
    let manifest = Manifest::parse(text, "test");
    let client = credentials("client", &ca.client("west"));
    west.relink(link, manifest.link("east").unwrap().clone(), Some(client)).await.unwrap();
    diary.one(|kind| matches!(kind, EventKind::SessionDraining { by_peer: false, .. })).await;
    diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    talk(&mut near, &mut far).await;
    new.serve(&key("n")).unwrap();
    reachable(&west, "n").await;
    drop((near, far));
    assert_eq!(diary.session_end().await, SessionEnd::Closed(CloseCode::DRAINED));
    assert_eq!(west.status().links[0].groups.len(), 1);
}
