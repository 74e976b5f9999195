//! Links over networks that lose, delay and swallow packets: network namespaces of the test's own, a real TCP below.
//!
//! They need root, `ip`, `nft` and `python3`, so `cargo test` shows them as ignored. To run them:
//! `cargo test --test network -- --ignored --test-threads 1`.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alternates;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod lab;
mod load;
mod paused;

use std::time::{Duration, Instant};

use common::pki::TestCa;
use common::stage::{Diary, poll_until};
use common::{credentials, document, key, within};
use lab::{Lab, Room};
use load::{Probe, Talk};
use sitelink::{
    AccessSpec, Cost, Destination, EventKind, LinkId, LinkRole, LinkSecrets, Manifest, Plane, PlaneConfig,
    Site,
};

/// A plane in a room, and what it tells.
async fn plane_in(room: &Room, name: &'static str) -> (Plane, Diary) {
    let made = room.run(async move {
        let site = Site::new(format!("{name}-id"), name).unwrap();
        let plane = Plane::builder(site).config(PlaneConfig::default()).start().await.unwrap();
        let diary = Diary::of(&plane);
        (plane, diary)
    });
    made.await
}

/// Lets `plane` listen in its room, for links to any of `hosts`.
async fn listen_in(room: &Room, plane: &Plane, ca: &TestCa, hosts: &[&str]) -> u16 {
    let (plane, server) = (plane.clone(), credentials("server", &ca.server(hosts)));
    let port = room.run(async move {
        let spec = AccessSpec::new("0.0.0.0:0".parse().unwrap(), LinkRole::InterRouter);
        plane.listen(spec, server).await.unwrap().address().port()
    });
    port.await
}

/// Keeps a link from `plane` in its room.
async fn link_in(room: &Room, plane: &Plane, ca: &TestCa, name: &str, to: (&str, u16), cost: u32) -> LinkId {
    let manifest = Manifest::parse(document(name, to.0, to.1), "test");
    let mut spec = manifest.link(name).unwrap().clone();
    spec.cost = Cost::new(cost).unwrap();
    let (plane, client) = (plane.clone(), credentials("client", &ca.client("west")));
    room.run(async move { plane.link(spec, LinkSecrets::from(client)).await.unwrap() }).await
}

/// Two sites with two paths between them, the first one cheaper; east answers on the key "echo".
struct TwoPaths {
    lab: Lab,
    west: Plane,
    diary: Diary,
    east: Plane,
}

impl TwoPaths {
    async fn new() -> Self {
        let lab = Lab::two_paths();
        let ca = TestCa::new("ca");
        let (west, mut diary) = plane_in(&lab.west, "west").await;
        let (east, _) = plane_in(&lab.east, "east").await;
        let port = listen_in(&lab.east, &east, &ca, &[lab::EAST_FIRST, lab::EAST_SECOND]).await;
        east.serve(&key("echo")).unwrap();
        lab.east.spawn(load::answer(east.clone()));
        link_in(&lab.west, &west, &ca, "first", (lab::EAST_FIRST, port), 1).await;
        link_in(&lab.west, &west, &ca, "second", (lab::EAST_SECOND, port), 1000).await;
        diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
        let destination = Destination::Key(key("echo"));
        poll_until(|| west.explain(&destination).candidates.len() == 2).await;
        Self { lab, west, diary, east }
    }

    async fn end(self) {
        self.west.shutdown(Duration::ZERO).await;
        self.east.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test]
#[ignore = "needs root: makes network namespaces"]
async fn new_streams_leave_a_black_hole_within_a_second_under_traffic_and_no_old_one_is_lost() {
    let mut paths = TwoPaths::new().await;
    let talks: Vec<_> = (0..4).map(|_| Talk::begin(&paths.west)).collect();
    for talk in &talks {
        talk.has_moved(50).await;
    }
    let session = paths.west.status().links.iter().find(|link| link.name.as_str() == "first").unwrap().groups
        [0]
    .session;
    paths.lab.swallow_first();
    let hole = Instant::now();
    let probes = Probe::every(Duration::from_millis(20), Duration::from_secs(4), &paths.west).await;
    let usable = load::usable_since(&probes, hole);
    println!("new streams were quick again {usable:?} after the hole");
    assert!(usable <= Duration::from_secs(1), "{usable:?}: {probes:#?}");

    paths.lab.heal_first();
    // Those that went into the hole come out of it, and nothing of the old ones is missing.
    for probe in probes {
        within(probe.outcome).await.unwrap().unwrap();
    }
    for talk in talks {
        talk.has_moved(20).await;
        talk.end().await;
    }
    let down = paths
        .diary
        .count(|kind| matches!(kind, EventKind::SessionDown { session: of, .. } if Some(*of) == session));
    assert_eq!(down, 0, "the session that was in the hole ended");
    paths
        .diary
        .one(|kind| matches!(kind, EventKind::CarrierSuspect { session: of, .. } if Some(*of) == session))
        .await;
    paths.end().await;
}

#[tokio::test]
#[ignore = "needs root: makes network namespaces"]
async fn new_streams_avoid_a_black_hole_that_opened_while_nothing_was_said() {
    let paths = TwoPaths::new().await;
    paths.lab.swallow_first();
    // Time is what is measured here: an idle link must have noticed by now.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let hole = Instant::now();
    let probes = Probe::every(Duration::from_millis(50), Duration::from_millis(500), &paths.west).await;
    assert_eq!(load::usable_since(&probes, hole), Duration::ZERO, "{probes:#?}");
    paths.lab.heal_first();
    paths.end().await;
}

#[tokio::test]
#[ignore = "needs root: makes network namespaces"]
async fn a_wan_of_300_ms_that_loses_two_packets_of_a_hundred_carries_a_link_for_a_minute() {
    let lab = Lab::wan(Duration::from_millis(150), 50, 2);
    let ca = TestCa::new("ca");
    let (west, mut diary) = plane_in(&lab.west, "west").await;
    let (east, _) = plane_in(&lab.east, "east").await;
    let port = listen_in(&lab.east, &east, &ca, &[lab::EAST_FIRST]).await;
    east.serve(&key("echo")).unwrap();
    lab.east.spawn(load::answer(east.clone()));
    link_in(&lab.west, &west, &ca, "first", (lab::EAST_FIRST, port), 1).await;
    diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    poll_until(|| west.has_path(&Destination::Key(key("echo")))).await;

    let talks: Vec<_> = (0..8).map(|_| Talk::begin(&west)).collect();
    let bulk = load::Bulk::begin(&west);
    // The minute is what is asked for.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let turns: Vec<u64> = talks.iter().map(Talk::moved).collect();
    println!("turns of the talks in a minute: {turns:?}");
    // Each waits behind bulk that TCP carries at 40 kB/s both ways.
    assert!(turns.iter().all(|turns| *turns > 10), "{turns:?} turns in a minute");
    // What it has under way would take minutes to come back at this rate: it is cut off.
    bulk.cut();
    for talk in talks {
        talk.end().await;
    }
    let flaps = diary.kinds().into_iter().filter(|kind| {
        matches!(
            kind,
            EventKind::SessionDown { .. } | EventKind::GroupDown { .. } | EventKind::SessionRecovering { .. }
        )
    });
    assert_eq!(flaps.collect::<Vec<_>>(), [], "the link flapped");
    west.shutdown(Duration::ZERO).await;
    east.shutdown(Duration::ZERO).await;
}
