//! Draining a link, a group, a session: nothing new, nothing cut. Real sockets, real TLS.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::pki::TestCa;
use common::stage::{Diary, Stage, brisk, listen, pair, plane_with, poll_until, reachable};
use common::{credentials, document, key, loopback, within};
use sitelink::snapshot::{GroupState, SessionState, SessionView};
use sitelink::{
    Access, CloseCode, Destination, EventKind, GroupName, LinkId, LinkStream, Manifest, OpenError,
    OpenRequest, Plane, PlaneError, SessionEnd, SessionNumber, StreamError,
};

async fn talk(near: &mut LinkStream, far: &mut LinkStream) {
    near.send(Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"still here"[..]));
}

/// The only session of a plane.
fn session(plane: &Plane) -> SessionView {
    let mut sessions = plane.status().sessions;
    assert_eq!(sessions.len(), 1, "{sessions:#?}");
    sessions.remove(0)
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

/// What was told of drains, resumptions and sessions, in short.
fn told(diary: &Diary) -> Vec<String> {
    let short = |kind| match kind {
        EventKind::LinkDraining { group: None, .. } => Some("link draining".into()),
        EventKind::LinkDraining { group: Some(group), .. } => Some(format!("group {group} draining")),
        EventKind::LinkResumed { group: None, .. } => Some("link resumed".into()),
        EventKind::LinkResumed { group: Some(group), .. } => Some(format!("group {group} resumed")),
        EventKind::SessionDraining { by_peer, .. } => Some(format!("session draining, by peer: {by_peer}")),
        EventKind::SessionUp { .. } => Some("session up".into()),
        EventKind::SessionDown { end, .. } => Some(format!("session down: {end:?}")),
        _ => None,
    };
    diary.kinds().into_iter().filter_map(short).collect()
}

#[tokio::test]
async fn a_drained_link_takes_no_streams_from_either_side_ends_in_peace_and_rests_until_it_is_resumed() {
    let mut stage = Stage::new(brisk(), brisk()).await;
    let (mut near, mut far) = stage.stream().await;
    stage.west.serve(&key("w")).unwrap();
    reachable(&stage.east, "w").await;
    stage.west.drain(stage.link, common::DEADLINE).await.unwrap();
    stage.east_diary.one(|kind| matches!(kind, EventKind::SessionDraining { by_peer: true, .. })).await;
    poll_until(|| !stage.west.has_path(&Destination::Key(key("k")))).await;
    poll_until(|| !stage.east.has_path(&Destination::Key(key("w")))).await;
    for (plane, to) in [(&stage.west, "k"), (&stage.east, "w")] {
        let opened = within(plane.open(OpenRequest::to_key(key(to)))).await;
        assert_eq!(opened.unwrap_err(), OpenError::NoPath);
    }
    // Both sides see which end drains it, and until when.
    let (here, there) = (session(&stage.west), session(&stage.east));
    assert_eq!((here.state, there.state), (SessionState::Draining, SessionState::Draining));
    assert_eq!((here.peer_draining, there.peer_draining), (false, true));
    assert!(here.draining_until_micros.unwrap() > stage.west.status().at_micros);
    assert_eq!(there.draining_until_micros, None);
    let status = stage.west.status();
    assert!(status.links[0].drained && status.links[0].groups[0].drained && !status.links[0].draining);
    talk(&mut near, &mut far).await;
    talk(&mut far, &mut near).await;
    drop((near, far));
    assert_eq!(stage.west_diary.session_end().await, SessionEnd::Closed(CloseCode::DRAINED));
    assert_eq!(stage.east_diary.session_end().await, SessionEnd::PeerClosed(CloseCode::DRAINED));
    stage.west_diary.one(|kind| matches!(kind, EventKind::GroupDown { .. })).await;

    // It rests, whatever its document becomes.
    let dialed = stage.relay.accepted();
    let text =
        document("east", "127.0.0.1", stage.relay.address().port()).replace("spec:", "spec:\n  cost: 5");
    let spec = Manifest::parse(text, "test").link("east").unwrap().clone();
    let client = credentials("client", &stage.ca.client("west"));
    stage.west.relink(stage.link, spec, Some(client)).await.unwrap();
    let status = stage.west.status();
    assert_eq!((status.links[0].groups[0].state, status.links[0].cost.get()), (GroupState::Idle, 5));
    assert_eq!(status.links[0].next_attempt_micros, None);
    poll_until(|| {
        stage.west.link_status(stage.link).unwrap().message == "Not operational: drained until it is resumed"
    })
    .await;

    stage.west.resume(stage.link).await.unwrap();
    let up = stage.west_diary.many(2, |kind| matches!(kind, EventKind::SessionUp { .. })).await;
    let EventKind::SessionUp { cost, .. } = up[1].kind else { unreachable!() };
    assert_eq!((cost.get(), stage.relay.accepted() > dialed), (5, true));
    let (mut near, mut far) = pair(&stage.west, &stage.east, "k").await;
    talk(&mut near, &mut far).await;
    let down = format!("session down: {:?}", SessionEnd::Closed(CloseCode::DRAINED));
    let draining = "session draining, by peer: false";
    let expected = ["session up", "link draining", draining, &down, "link resumed", "session up"];
    assert_eq!(told(&stage.west_diary), expected);
}

#[tokio::test]
async fn what_outstays_the_grace_of_a_drain_ends_with_the_reason_at_both_ends() {
    let mut stage = Stage::new(brisk(), brisk()).await;
    let (mut near, mut far) = stage.stream().await;
    stage.west.drain(stage.link, Duration::from_secs(60)).await.unwrap();
    // The earlier end of the two stands.
    stage.west.drain(stage.link, Duration::from_millis(50)).await.unwrap();
    let code = CloseCode::DISCONNECTED;
    let (here, there) = (SessionEnd::Closed(code), SessionEnd::PeerClosed(code));
    assert_eq!(within(near.recv()).await, Err(StreamError::SessionLost(here.clone())));
    assert_eq!(within(far.recv()).await, Err(StreamError::SessionLost(there.clone())));
    assert_eq!(stage.west_diary.session_end().await, here);
    assert_eq!(stage.east_diary.session_end().await, there);
    assert_eq!(stage.west_diary.count(|kind| matches!(kind, EventKind::LinkDraining { .. })), 1);
    assert_eq!(stage.west.status().links[0].groups[0].state, GroupState::Idle);
}

#[tokio::test]
async fn a_session_drained_by_either_end_gives_way_to_another() {
    for by_dialer in [true, false] {
        let mut stage = Stage::new(brisk(), brisk()).await;
        let (mut near, mut far) = stage.stream().await;
        let (plane, other) = match by_dialer {
            true => (&stage.west, &mut stage.east_diary),
            false => (&stage.east, &mut stage.west_diary),
        };
        plane.drain_session(session(plane).session, common::DEADLINE).await.unwrap();
        other.one(|kind| matches!(kind, EventKind::SessionDraining { by_peer: true, .. })).await;
        talk(&mut near, &mut far).await;
        drop((near, far));
        let (closed, told) =
            (SessionEnd::Closed(CloseCode::DRAINED), SessionEnd::PeerClosed(CloseCode::DRAINED));
        let (here, there) = if by_dialer { (closed, told) } else { (told, closed) };
        assert_eq!(stage.west_diary.session_end().await, here);
        assert_eq!(stage.east_diary.session_end().await, there);
        stage.west_diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
        let (mut near, mut far) = pair(&stage.west, &stage.east, "k").await;
        talk(&mut near, &mut far).await;
    }
}

/// West links to the routers "a" and "b" of a site, a group each.
struct Replicas {
    west: Plane,
    link: LinkId,
    diary: Diary,
    routers: Vec<(Plane, Access)>,
}

impl Replicas {
    async fn new() -> Self {
        let ca = TestCa::new("ca");
        let mut routers = Vec::new();
        for name in ["a", "b"] {
            let plane = plane_with(name, brisk()).await;
            let access = listen(&plane, loopback(), &ca).await;
            routers.push((plane, access));
        }
        let mut text =
            "apiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata:\n  name: east\nspec:\n  endpoints:\n"
                .to_owned();
        for ((_, access), group) in routers.iter().zip(["a", "b"]) {
            let port = access.address().port();
            text +=
                &format!("  - {{name: inter-router, group: {group}, host: 127.0.0.1, port: \"{port}\"}}\n");
        }
        let west = plane_with("west", brisk()).await;
        let mut diary = Diary::of(&west);
        let client = credentials("client", &ca.client("west"));
        let spec = Manifest::parse(text, "test").link("east").unwrap().clone();
        let link = west.link(spec, client).await.unwrap();
        diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
        Self { west, link, diary, routers }
    }

    fn groups(&self) -> Vec<(GroupState, bool)> {
        self.west.status().links[0].groups.iter().map(|group| (group.state, group.drained)).collect()
    }
}

#[tokio::test]
async fn a_drained_group_leaves_the_other_alone_and_the_link_operational() {
    let mut site = Replicas::new().await;
    let (west, link) = (&site.west, site.link);
    let (mut near, mut far) = pair(west, &site.routers[0].0, "k").await;
    west.drain_group(link, &group("a"), common::DEADLINE).await.unwrap();
    site.diary.one(|kind| matches!(kind, EventKind::SessionDraining { by_peer: false, .. })).await;
    // New ones go to the other.
    let (_near, _far) = pair(west, &site.routers[1].0, "k").await;
    talk(&mut near, &mut far).await;
    drop((near, far));
    assert_eq!(site.diary.session_end().await, SessionEnd::Closed(CloseCode::DRAINED));
    poll_until(|| site.groups() == [(GroupState::Idle, true), (GroupState::Up, false)]).await;
    let status = west.status();
    assert!(status.links[0].operational && !status.links[0].drained);
    let before = told(&site.diary);
    assert_eq!(before[2..4], ["group a draining", "session draining, by peer: false"]);
    west.resume_group(link, &group("a")).await.unwrap();
    site.diary.many(3, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    poll_until(|| site.groups() == [(GroupState::Up, false), (GroupState::Up, false)]).await;
    assert_eq!(told(&site.diary)[before.len()..], ["group a resumed", "session up"]);
}

#[tokio::test]
async fn a_drained_link_is_resumed_by_one_group_and_then_the_others() {
    let mut site = Replicas::new().await;
    let (west, link) = (&site.west, site.link);
    west.drain(link, Duration::ZERO).await.unwrap();
    poll_until(|| site.groups() == [(GroupState::Idle, true), (GroupState::Idle, true)]).await;
    west.resume_group(link, &group("b")).await.unwrap();
    site.diary.many(3, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    poll_until(|| site.groups() == [(GroupState::Idle, true), (GroupState::Up, false)]).await;
    west.resume(link).await.unwrap();
    poll_until(|| site.groups() == [(GroupState::Up, false), (GroupState::Up, false)]).await;
}

#[tokio::test]
async fn a_link_resumed_while_a_session_of_it_drains_lets_that_end_first() {
    let mut stage = Stage::new(brisk(), brisk()).await;
    let (mut near, mut far) = stage.stream().await;
    stage.west.drain(stage.link, common::DEADLINE).await.unwrap();
    stage.west_diary.one(|kind| matches!(kind, EventKind::SessionDraining { .. })).await;
    stage.west.resume(stage.link).await.unwrap();
    stage.west_diary.one(|kind| matches!(kind, EventKind::LinkResumed { .. })).await;
    talk(&mut near, &mut far).await;
    assert_eq!(session(&stage.west).state, SessionState::Draining);
    drop((near, far));
    assert_eq!(stage.west_diary.session_end().await, SessionEnd::Closed(CloseCode::DRAINED));
    stage.west_diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
}

#[tokio::test]
async fn streams_of_a_draining_link_outlive_its_carriers() {
    let stage = Stage::new(brisk(), brisk()).await;
    let (mut near, mut far) = stage.stream().await;
    stage.west.drain(stage.link, common::DEADLINE).await.unwrap();
    poll_until(|| session(&stage.east).peer_draining).await;
    stage.relay.cut(common::relay::Cut::Reset);
    talk(&mut near, &mut far).await;
    talk(&mut far, &mut near).await;
}

#[tokio::test]
async fn what_is_not_there_is_not_drained() {
    let stage = Stage::new(brisk(), brisk()).await;
    let (west, grace, unknown) = (&stage.west, Duration::ZERO, Err(PlaneError::Unknown));
    assert_eq!(west.drain(LinkId(77), grace).await, unknown);
    assert_eq!(west.drain_group(stage.link, &group("nowhere"), grace).await, unknown);
    assert_eq!(west.drain_session(SessionNumber(77), grace).await, unknown);
    assert_eq!(west.resume(LinkId(77)).await, unknown);
    assert_eq!(west.resume_group(stage.link, &group("nowhere")).await, unknown);
    assert_eq!(west.resume(stage.link).await, Ok(()), "nothing was drained");
    west.unlink(stage.link, common::DEADLINE).await.unwrap();
    assert_eq!(west.drain(stage.link, grace).await, unknown);
}
