//! A site in high availability: two routers, a group each, and one of them dies and comes back.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::pki::TestCa;
use common::process::Router;
use common::stage::{Diary, brisk, plane_with, poll_until};
use common::{credentials, key, loopback, within};
use sitelink::resource::status::Reason;
use sitelink::snapshot::GroupState;
use sitelink::{
    Destination, EventKind, LinkId, LinkStream, Manifest, OpenRequest, Plane, PlaneConfig, SessionEnd,
    SessionNumber, StreamError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The site "east" with the routers "a" and "b" as processes, and a plane that links to both as one Link.
struct Site {
    folder: tempfile::TempDir,
    server: TcpListener,
    routers: [(Router, SocketAddr); 2],
    west: Plane,
    link: LinkId,
    diary: Diary,
}

impl Site {
    async fn new() -> Self {
        Self::with(brisk()).await
    }

    /// Seen from a plane of those settings.
    async fn with(config: PlaneConfig) -> Self {
        let (ca, folder) = (TestCa::new("ca"), tempfile::tempdir().unwrap());
        ca.server(&["127.0.0.1"]).write(&folder.path().join("server"));
        let server = TcpListener::bind(loopback()).await.unwrap();
        let mut routers = Vec::new();
        for name in ["a", "b"] {
            routers.push(router(name, loopback(), &folder, &server).await);
        }
        let routers: [_; 2] = routers.try_into().ok().unwrap();
        let endpoint = |group: &str, at: SocketAddr| {
            format!("  - {{name: inter-router, group: {group}, host: 127.0.0.1, port: \"{}\"}}\n", at.port())
        };
        let text = format!(
            "apiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata:\n  name: east\nspec:\n  endpoints:\n{}{}",
            endpoint("a", routers[0].1),
            endpoint("b", routers[1].1)
        );
        let west = plane_with("west", config).await;
        let mut diary = Diary::of(&west);
        let client = credentials("client", &ca.client("west"));
        let link =
            west.link(Manifest::parse(text, "test").link("east").unwrap().clone(), client).await.unwrap();
        diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
        let site = Self { folder, server, routers, west, link, diary };
        site.candidates(2).await;
        site
    }

    /// Waits until so many sessions lead to the key.
    async fn candidates(&self, count: usize) {
        let destination = Destination::Key(key("app"));
        poll_until(|| {
            let candidates = self.west.explain(&destination).candidates;
            candidates.iter().filter(|of| of.why_not.is_none()).count() == count
        })
        .await;
    }

    /// A stream, and the connection that it became at the server.
    async fn stream(&self) -> (LinkStream, TcpStream) {
        let near = within(self.west.open(OpenRequest::to_key(key("app")))).await.unwrap();
        (near, within(self.server.accept()).await.unwrap().0)
    }

    /// The session with a router.
    fn session(&self, name: &str) -> SessionNumber {
        let status = self.west.status();
        let of = |group: &&sitelink::snapshot::GroupView| group.name.as_str() == name;
        status.links[0].groups.iter().find(of).unwrap().session.unwrap()
    }

    /// How many groups are up, by the newest event that says so.
    fn groups_up(&self) -> Option<(bool, usize, usize)> {
        self.diary.kinds().into_iter().rev().find_map(|kind| match kind {
            EventKind::LinkOperational { operational, groups_up, groups, .. } => {
                Some((operational, groups_up, groups))
            }
            _ => None,
        })
    }
}

async fn router(
    name: &'static str,
    at: SocketAddr,
    folder: &tempfile::TempDir,
    server: &TcpListener,
) -> (Router, SocketAddr) {
    let mut router = Router::start(
        "east",
        &[
            "--name".into(),
            name.into(),
            "--listen".into(),
            format!("inter-router={at}"),
            "--server-credentials".into(),
            folder.path().join("server").to_str().unwrap().into(),
            "--tcp-connector".into(),
            format!("app={}", server.local_addr().unwrap()),
        ],
    );
    let address = router.address("access_up").await;
    (router, address)
}

async fn talk(near: &mut LinkStream, far: &mut TcpStream) {
    let mut heard = [0; 8];
    near.write_all(b"question").await.unwrap();
    within(far.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"question");
    far.write_all(b"response").await.unwrap();
    within(near.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"response");
}

#[tokio::test]
async fn a_link_with_two_groups_outlives_one_router_and_says_one_of_two() {
    let mut site = Site::new().await;
    assert_eq!(site.groups_up(), Some((true, 2, 2)));
    // Even split: one stream each.
    let mut streams = [site.stream().await, site.stream().await];
    let dying = site.session("a");
    let at_a = streams.iter().position(|(near, _)| near.session() == dying).unwrap();
    assert_ne!(streams[1 - at_a].0.session(), dying, "both streams went to one router");

    let at = site.routers[0].1;
    site.routers[0].0.kill().await;
    site.diary
        .one(|kind| {
            matches!(kind, EventKind::LinkOperational { groups_up: 1, groups: 2, operational: true, .. })
        })
        .await;
    let status = site.west.link_status(site.link).unwrap();
    assert_eq!((status.status, &*status.message), (Reason::Ready, "OK"));
    let (near, far) = &mut streams[1 - at_a];
    talk(near, far).await;
    // New streams work at once, on the other.
    let (mut near, mut far) = site.stream().await;
    assert_eq!(near.session(), site.session("b"));
    talk(&mut near, &mut far).await;

    let (restarted, _) = router("a", at, &site.folder, &site.server).await;
    site.routers[0].0 = restarted;
    // The streams of the dead router end as soon as the new one has answered.
    let (near, _) = &mut streams[at_a];
    let error = within(near.read(&mut [0])).await.unwrap_err();
    let error = error.get_ref().and_then(|error| error.downcast_ref::<StreamError>()).cloned();
    assert!(matches!(error, Some(StreamError::SessionLost(SessionEnd::Gone))), "{error:?}");
    site.diary
        .until(|all| {
            let last = all.iter().rev().find_map(|event| match event.kind {
                EventKind::LinkOperational { groups_up, .. } => Some(groups_up),
                _ => None,
            });
            last == Some(2)
        })
        .await;
    assert_eq!(site.groups_up(), Some((true, 2, 2)));
    let (near, far) = &mut streams[1 - at_a];
    talk(near, far).await;
    let other = site.session("b");
    let noticed = site.diary.count(|kind| {
        matches!(kind, EventKind::SessionDown { session, .. } | EventKind::SessionRecovering { session, .. } if *session == other)
    });
    assert_eq!(noticed, 0, "the other group noticed");
    site.west.shutdown(Duration::ZERO).await;
}

/// Why a stream ended.
async fn end_of(near: &mut LinkStream) -> Option<StreamError> {
    let error = within(near.read(&mut [0])).await.unwrap_err();
    error.get_ref().and_then(|error| error.downcast_ref::<StreamError>()).cloned()
}

#[tokio::test]
async fn streams_split_evenly_and_new_ones_take_the_other_router_once_the_loss_is_seen() {
    let mut config = brisk();
    config.session.resume_window = Duration::from_millis(700);
    let mut site = Site::with(config).await;
    let (a, b) = (site.session("a"), site.session("b"));
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(site.stream().await);
    }
    let on = |streams: &[(LinkStream, TcpStream)], session| {
        streams.iter().filter(|(near, _)| near.session() == session).count()
    };
    assert_eq!((on(&streams, a), on(&streams, b)), (20, 20));

    site.routers[0].0.kill().await;
    // With its last carrier the session is lost.
    let lost = site.diary.many(2, |kind| matches!(kind, EventKind::CarrierDown { .. })).await.pop().unwrap();
    for number in 0..20 {
        streams.push(site.stream().await);
        if number == 0 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
            let after = now - u128::from(lost.at_micros);
            println!("from the loss to a stream over the other router: {after} µs");
            // Milliseconds, but of a machine that other tests use as well.
            assert!(after < 1_000_000, "{after} µs");
        }
    }
    assert_eq!((on(&streams, a), on(&streams, b)), (20, 40));
    // Nobody answers: those of the dead router wait for as long as they may, and say so.
    for (near, far) in &mut streams {
        if near.session() == a {
            let expected = SessionEnd::ResumeExpired(Duration::from_millis(700));
            assert_eq!(end_of(near).await, Some(StreamError::SessionLost(expected)));
        } else {
            talk(near, far).await;
        }
    }
    let down = site.diary.one(|kind| matches!(kind, EventKind::SessionDown { .. })).await;
    let waited = Duration::from_micros(down.at_micros - lost.at_micros);
    assert!(waited >= Duration::from_millis(700), "{waited:?}");
    site.west.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn two_routers_of_one_site_never_evict_each_other() {
    let site = Site::new().await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(site.stream().await);
    }
    for (near, far) in &mut streams {
        talk(near, far).await;
    }
    let status = site.west.status();
    assert!(status.links[0].groups.iter().all(|group| group.state == GroupState::Up));
    let [one, other] = &status.sessions[..] else { panic!("{:#?}", status.sessions) };
    assert_eq!(one.peer.site_id, other.peer.site_id);
    assert_ne!(one.peer.router, other.peer.router);
    let down =
        site.diary.count(|kind| matches!(kind, EventKind::SessionDown { .. } | EventKind::GroupDown { .. }));
    assert_eq!(down, 0);
    site.west.shutdown(Duration::ZERO).await;
}
