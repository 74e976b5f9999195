//! Carriers are replaced, revoked, cut and silenced while streams run: no stream notices.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks")]

mod common;

use std::time::Duration;

use common::credentials;
use common::pki::TestCa;
use common::relay::{Cut, Relay};
use common::stage::{Diary, brisk, listen, plane_with, poll_until};
use common::traffic::{Traffic, busy};
use sitelink::snapshot::CarrierState;
use sitelink::{Access, CarrierEnd, CloseCode, EventKind, LinkId, Ordinal, Plane};

/// Two planes with two carriers between them, a relay in between, and bytes that never stop.
struct Scene {
    ca: TestCa,
    west: Plane,
    east: Plane,
    relay: Relay,
    link: LinkId,
    access: Access,
    at_west: Diary,
    at_east: Diary,
    traffic: Traffic,
}

impl Scene {
    async fn new() -> Self {
        let ca = TestCa::new("ca");
        let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
        let (mut at_west, mut at_east) = (Diary::of(&west), Diary::of(&east));
        let access = listen(&east, common::loopback(), &ca).await;
        let relay = Relay::to(access.address()).await;
        let client = credentials("client", &ca.client("west"));
        let link = common::link(&west, "east", relay.address(), client).await;
        for diary in [&mut at_west, &mut at_east] {
            diary.many(2, |kind| matches!(kind, EventKind::CarrierUp { .. })).await;
        }
        let traffic = busy(&west, &east).await;
        Self { ca, west, east, relay, link, access, at_west, at_east, traffic }
    }

    /// The live carriers of both ends: this end's ordinal, the peer's, the state.
    fn carriers(&self) -> [Vec<(Ordinal, Ordinal, CarrierState)>; 2] {
        [&self.west, &self.east].map(|plane| {
            let status = plane.status();
            let all = status.sessions.iter().flat_map(|session| &session.carriers);
            all.map(|carrier| (carrier.ordinal, carrier.peer_ordinal, carrier.state)).collect()
        })
    }

    /// Waits until there are two sound carriers at each end, with handshakes of these ordinals.
    async fn settled(&self, west: u64, east: u64) {
        let (west, east) = (Ordinal(west), Ordinal(east));
        let sound = [(west, east), (east, west)].map(|(own, peer)| vec![(own, peer, CarrierState::Up); 2]);
        poll_until(|| self.carriers() == sound).await;
    }

    /// Ends the traffic and looks at it: nothing was lost, and there never was a moment without a carrier.
    async fn end(self) {
        self.traffic.end().await;
        for diary in [&self.at_west, &self.at_east] {
            assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionRecovering { .. })), 0);
            assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
        }
        self.west.shutdown(Duration::ZERO).await;
        self.east.shutdown(Duration::ZERO).await;
    }
}

fn completed(ordinal: Ordinal) -> impl Fn(&EventKind) -> bool {
    move |kind| matches!(kind, EventKind::RotationCompleted { ordinal: of, .. } if *of == ordinal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_end_is_rotated_twenty_times_under_load_and_no_stream_is_harmed() {
    let mut scene = Scene::new().await;
    for round in 2..=11 {
        let client = credentials("client", &scene.ca.client("west"));
        let ordinal = scene.west.rotate(scene.link, client).await.unwrap();
        assert_eq!(ordinal, Ordinal(round));
        scene.at_west.one(completed(ordinal)).await;
        assert_eq!(scene.west.status().links[0].rotation, None);

        let server = credentials("server", &scene.ca.server(&["127.0.0.1"]));
        let ordinal = scene.access.rotate(server).unwrap();
        assert_eq!(ordinal, Ordinal(round));
        scene.at_east.one(completed(ordinal)).await;
        scene.settled(round, round).await;
    }
    for diary in [&scene.at_west, &scene.at_east] {
        assert_eq!(diary.count(|kind| matches!(kind, EventKind::RotationDelayed { .. })), 0);
        let replaced = |kind: &EventKind| {
            let EventKind::CarrierDown { end, .. } = kind else { return false };
            let planned = [
                CarrierEnd::Closed(CloseCode::REPLACED),
                CarrierEnd::PeerClosed(CloseCode::REPLACED),
                CarrierEnd::Replaced,
            ];
            assert!(planned.contains(end), "{end:?}");
            true
        };
        assert_eq!(diary.count(replaced), 40, "each carrier once, and for nothing else");
    }
    scene.end().await;
}

#[tokio::test]
async fn credentials_that_the_peer_refuses_leave_the_carriers_in_force_until_better_ones_come() {
    let mut scene = Scene::new().await;
    let stranger = TestCa::new("stranger");
    let useless = credentials("client", &stranger.client("west"));
    scene.west.rotate(scene.link, useless).await.unwrap();
    scene.at_west.many(5, |kind| matches!(kind, EventKind::DialFailed { .. })).await;
    let (one, first) = (Ordinal(1), (Ordinal(1), Ordinal(1)));
    let [at_west, at_east] = scene.carriers();
    assert_eq!(at_west, [(one, one, CarrierState::Replacing); 2]);
    assert_eq!(at_east.iter().map(|of| (of.0, of.1)).collect::<Vec<_>>(), [first; 2]);
    let rotation = scene.west.status().links[0].rotation.unwrap();
    assert_eq!((rotation.ordinal, rotation.carriers_left), (Ordinal(2), 2));

    let good = credentials("client", &scene.ca.client("west"));
    scene.west.rotate(scene.link, good).await.unwrap();
    scene.at_west.one(completed(Ordinal(3))).await;
    scene.settled(3, 1).await;
    scene.end().await;
}

#[tokio::test]
async fn what_is_revoked_is_closed_at_once_at_either_end_and_its_streams_go_on() {
    let mut scene = Scene::new().await;
    let by_us = |kind: &EventKind| {
        matches!(kind, EventKind::CarrierDown { end: CarrierEnd::Closed(CloseCode::REVOKED), .. })
    };
    let client = credentials("client", &scene.ca.client("west"));
    let ordinal = scene.west.rotate(scene.link, client).await.unwrap();
    let closed = scene.west.revoke_older_than(scene.link, ordinal).unwrap();
    scene.at_west.many(closed, by_us).await;
    scene.at_west.one(completed(ordinal)).await;
    scene.settled(2, 1).await;

    let server = credentials("server", &scene.ca.server(&["127.0.0.1"]));
    let ordinal = scene.access.rotate(server).unwrap();
    let closed_at_east = scene.access.revoke_older_than(ordinal).unwrap();
    scene.at_east.many(closed_at_east, by_us).await;
    scene.at_east.one(completed(ordinal)).await;
    scene.settled(2, 2).await;
    // None was replaced within the time between the two calls, which take no turn of the network.
    assert_eq!((closed, closed_at_east), (2, 2));
    // What is in use is never revoked.
    assert_eq!(scene.west.revoke_older_than(scene.link, Ordinal(99)), Ok(0));
    assert_eq!(scene.access.revoke_older_than(Ordinal(99)), Ok(0));
    scene.traffic.end().await;
    for diary in [&scene.at_west, &scene.at_east] {
        assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
    }
}

#[tokio::test]
async fn one_of_two_carriers_is_cut_and_the_session_never_recovers_because_it_never_was_without() {
    for how in [Cut::Reset, Cut::Finish, Cut::AtDialer, Cut::AtAccess] {
        let mut scene = Scene::new().await;
        scene.relay.cut_first(1, how);
        for diary in [&mut scene.at_west, &mut scene.at_east] {
            diary.one(|kind| matches!(kind, EventKind::CarrierDown { carrier, .. } if carrier.0 == 0)).await;
            diary.one(|kind| matches!(kind, EventKind::CarrierUp { carrier, .. } if carrier.0 >= 2)).await;
        }
        scene.settled(1, 1).await;
        scene.end().await;
    }
}

#[tokio::test]
async fn one_of_two_carriers_falls_silent_and_is_fenced_by_its_replacement() {
    let mut scene = Scene::new().await;
    scene.relay.stall_first(1);
    scene
        .at_west
        .one(|kind| matches!(kind, EventKind::CarrierSuspect { carrier, .. } if carrier.0 == 0))
        .await;
    for diary in [&mut scene.at_west, &mut scene.at_east] {
        diary.one(|kind| matches!(kind, EventKind::CarrierUp { carrier, .. } if carrier.0 >= 2)).await;
        let down =
            diary.one(|kind| matches!(kind, EventKind::CarrierDown { carrier, .. } if carrier.0 == 0)).await;
        let EventKind::CarrierDown { end, .. } = down.kind else { unreachable!() };
        assert_eq!(end, CarrierEnd::Replaced);
    }
    scene.settled(1, 1).await;
    scene.end().await;
}

#[tokio::test]
async fn a_link_has_as_many_carriers_as_it_is_set_to_and_replaces_all_of_them() {
    let ca = TestCa::new("ca");
    let mut config = brisk();
    config.carriers = sitelink::config::Carriers::MAX;
    let (west, east) = (plane_with("west", config).await, plane_with("east", brisk()).await);
    let mut diary = Diary::of(&west);
    let access = listen(&east, common::loopback(), &ca).await;
    let client = credentials("client", &ca.client("west"));
    common::link(&west, "east", access.address(), client).await;
    diary.many(8, |kind| matches!(kind, EventKind::CarrierUp { .. })).await;
    let mut at_east = Diary::of(&east);
    let ordinal = access.rotate(credentials("server", &ca.server(&["127.0.0.1"]))).unwrap();
    at_east.one(completed(ordinal)).await;
    poll_until(|| east.status().sessions[0].carriers.len() == 8).await;
    assert_eq!(diary.count(|kind| matches!(kind, EventKind::DialFailed { .. })), 0);
}
