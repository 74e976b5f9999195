//! Routing keys: told at once, bounded, and never out of step however fast they come and go. Real sockets, real TLS.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::pki::TestCa;
use common::raw::{self, RawPeer};
use common::stage::{Diary, Stage, brisk, listen, plane_with, poll_until, single};
use common::{credentials, key, loopback, within};
use sitelink::config::EventCapacity;
use sitelink::wire::frame::{CloseScope, ControlChange, Frame};
use sitelink::wire::hello::SessionClaim;
use sitelink::{
    CloseCode, Destination, EventKind, OpenError, OpenRequest, Plane, PlaneConfig, RoutingKey, SessionEnd,
    StreamCode, Violation,
};
use tokio::task::JoinSet;

/// The most keys that are taken of a peer, unless a plane is set up otherwise.
const MOST: usize = 10_000;

fn names(count: usize) -> Vec<RoutingKey> {
    (0..count).map(|index| key(&format!("service-{index:05}"))).collect()
}

fn reaches(plane: &Plane, key: &RoutingKey) -> bool {
    plane.has_path(&Destination::Key(key.clone()))
}

/// A plane, and a peer that says only what it is told to.
async fn guest() -> (Plane, Diary, RawPeer) {
    let ca = TestCa::new("ca");
    let mut config = single(brisk());
    // Each key is a path that is told of when it is there, and when it is lost.
    config.event_capacity = EventCapacity(4 * MOST);
    let east = plane_with("east", config).await;
    let diary = Diary::of(&east);
    let access = listen(&east, loopback(), &ca).await;
    let mut peer = RawPeer::dial(access.address(), raw::client(&ca.client("guest"))).await.unwrap();
    peer.greet(raw::hello("guest", 0, SessionClaim::New)).await.unwrap();
    (east, diary, peer)
}

async fn next_change(peer: &mut RawPeer) -> ControlChange {
    loop {
        if let Frame::Control { change, .. } = peer.next().await.unwrap() {
            return change;
        }
    }
}

fn control(sequence: usize, change: ControlChange) -> Frame {
    Frame::Control { sequence: sequence as u64, change }
}

#[tokio::test]
async fn a_key_is_told_and_taken_back_without_any_answer_of_the_peer() {
    let (east, _diary, mut peer) = guest().await;
    for name in ["a", "b"] {
        east.serve(&key(name)).unwrap();
        assert_eq!(next_change(&mut peer).await, ControlChange::Serve(key(name)));
    }
    east.withdraw(&key("a"));
    assert_eq!(next_change(&mut peer).await, ControlChange::Withdraw(key("a")));
    // And the other way round: what it says is in force when it has come.
    peer.send(&[control(0, ControlChange::Serve(key("g")))]).await;
    poll_until(|| reaches(&east, &key("g"))).await;
    peer.send(&[control(1, ControlChange::Withdraw(key("g")))]).await;
    poll_until(|| !reaches(&east, &key("g"))).await;
    let opened = within(east.open(OpenRequest::to_key(key("g")))).await;
    assert_eq!(opened.unwrap_err(), OpenError::NoPath);
}

#[tokio::test]
async fn every_peer_learns_of_a_key_and_one_that_comes_later_learns_of_all() {
    let ca = TestCa::new("ca");
    let hub = plane_with("hub", brisk()).await;
    let access = listen(&hub, loopback(), &ca).await;
    let keys = names(100);
    let mut peers = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        let plane = plane_with(name, brisk()).await;
        common::link(&plane, "hub", access.address(), credentials("client", &ca.client(name))).await;
        peers.push(plane);
    }
    keys[..50].iter().for_each(|key| hub.serve(key).unwrap());
    let late = plane_with("late", brisk()).await;
    common::link(&late, "hub", access.address(), credentials("client", &ca.client("late"))).await;
    peers.push(late);
    keys[50..].iter().for_each(|key| hub.serve(key).unwrap());
    keys[..10].iter().for_each(|key| hub.withdraw(key));
    poll_until(|| {
        let knows = |plane: &Plane| {
            let mut served = (0..).zip(&keys).map(|(index, key)| reaches(plane, key) == (index >= 10));
            served.all(|right| right)
        };
        peers.iter().all(knows)
    })
    .await;
}

#[tokio::test]
async fn of_a_peer_ten_thousand_keys_are_taken_and_one_more_ends_its_session_with_the_code() {
    let (east, mut diary, mut peer) = guest().await;
    let keys = names(MOST + 1);
    let serve = |(sequence, key): (usize, &RoutingKey)| control(sequence, ControlChange::Serve(key.clone()));
    let all: Vec<_> = keys.iter().enumerate().map(serve).collect();
    peer.send(&all[..MOST]).await;
    poll_until(|| reaches(&east, &keys[MOST - 1])).await;
    assert!(keys[..MOST].iter().all(|key| reaches(&east, key)));
    // Twice the same is no more.
    peer.send(&[control(MOST, ControlChange::Serve(keys[0].clone()))]).await;
    assert!(peer.is_answered(1).await);
    peer.send(&[control(MOST + 1, ControlChange::Serve(keys[MOST].clone()))]).await;
    assert_eq!(peer.closed().await, Some((CloseScope::Session, CloseCode::KEY_LIMIT)));
    assert_eq!(diary.session_end().await, SessionEnd::Violation(Violation::KeyLimit));
    poll_until(|| !keys.iter().any(|key| reaches(&east, key))).await;
    assert_eq!((east.status().paths.len(), east.status().paths_left_out), (0, 0));
}

#[tokio::test]
async fn a_full_table_of_keys_is_exchanged_for_another_and_nothing_is_lost() {
    let mut config = brisk();
    config.session.keys = 100;
    let stage = Stage::new(config.clone(), config).await;
    // Every new table comes before the old one in the order of keys, which is the order in which they are told.
    let tables = |round: usize| -> Vec<RoutingKey> {
        (0..100).map(|index| key(&format!("{:02}-{index:03}", 50 - round))).collect()
    };
    for round in 0..20 {
        if round > 0 {
            tables(round - 1).iter().for_each(|key| stage.east.withdraw(key));
        }
        tables(round).iter().for_each(|key| stage.east.serve(key).unwrap());
        if round % 5 == 0 {
            poll_until(|| tables(round).iter().all(|key| reaches(&stage.west, key))).await;
        }
        tokio::task::yield_now().await;
    }
    poll_until(|| tables(19).iter().all(|key| reaches(&stage.west, key))).await;
    assert!((0..19).all(|round| !tables(round).iter().any(|key| reaches(&stage.west, key))));
    assert_eq!(stage.west_diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
}

/// Which keys are served, since when.
#[derive(Debug)]
struct Truth {
    keys: Vec<RoutingKey>,
    /// `Err` is since when one is not.
    served: Mutex<Vec<Result<Instant, Instant>>>,
}

impl Truth {
    fn state(&self, index: usize) -> Result<Instant, Instant> {
        self.served.lock().unwrap()[index]
    }
}

/// What became of the opens.
#[derive(Debug, Default)]
struct Opens {
    accepted: usize,
    no_path: usize,
    /// Withdrawn while it was on its way.
    not_served: usize,
    /// The longest after a key was withdrawn that an open to it was still put on a session.
    latest: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_keys_come_and_go_under_a_thousand_opens_a_second_and_no_stream_goes_astray() {
    let stage = Stage::new(PlaneConfig::default(), PlaneConfig::default()).await;
    let past = Instant::now();
    let truth = Arc::new(Truth { keys: names(MOST), served: Mutex::new(vec![Err(past); MOST]) });
    let east = stage.east.clone();
    let accepting = tokio::task::spawn(async move {
        while let Some(incoming) = east.accept().await {
            // It may have been given up meanwhile.
            let _ = incoming.accept();
        }
    });
    let end = Instant::now() + Duration::from_secs(4);
    let churning = tokio::task::spawn(churn(stage.east.clone(), Arc::clone(&truth), end));
    let mut opening = JoinSet::new();
    for seed in 0..8 {
        opening.spawn(open_at_random(stage.west.clone(), Arc::clone(&truth), end, seed));
    }
    let rounds = churning.await.unwrap();
    let mut all = Opens::default();
    while let Some(opens) = opening.join_next().await {
        let opens = opens.unwrap();
        all.accepted += opens.accepted;
        all.no_path += opens.no_path;
        all.not_served += opens.not_served;
        all.latest = all.latest.max(opens.latest);
    }
    println!("{rounds} rounds of {MOST} keys; {all:?}");
    assert!(rounds >= 1 && all.accepted + all.no_path + all.not_served >= 4 * 1000, "{all:?}");
    assert!(all.accepted > 0 && all.no_path > 0, "{all:?}");
    // Loopback: a round trip is far less, but the machine may be busy. What is open by then is refused where it arrives.
    assert!(all.latest < Duration::from_secs(2), "{all:?}");

    // No update is lost: both ends have the same keys, whatever state they were left in.
    let (west, truth_now) = (&stage.west, || (0..MOST).map(|index| truth.state(index).is_ok()));
    poll_until(|| truth_now().zip(&truth.keys).all(|(served, key)| reaches(west, key) == served)).await;
    // Memory is bounded: what is gone is gone.
    truth.keys.iter().for_each(|key| stage.east.withdraw(key));
    poll_until(|| west.status().paths.len() == 1).await;
    let status = west.status();
    assert_eq!((status.paths_left_out, status.sessions[0].streams), (0, 0), "{:?}", status.paths);
    for diary in [&stage.west_diary, &stage.east_diary] {
        assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
    }
    accepting.abort();
}

/// Serves all keys and withdraws them, over and over, and leaves them in a random state; returns how often.
async fn churn(east: Plane, truth: Arc<Truth>, end: Instant) -> usize {
    let mut rng = fastrand::Rng::with_seed(1);
    let set = |index: usize, serve: bool| {
        // Before it is served, and after it is withdrawn: no open is blamed for what is between.
        if serve {
            truth.served.lock().unwrap()[index] = Ok(Instant::now());
            east.serve(&truth.keys[index]).unwrap();
        } else {
            east.withdraw(&truth.keys[index]);
            truth.served.lock().unwrap()[index] = Err(Instant::now());
        }
    };
    let mut rounds = 0;
    while Instant::now() < end {
        for serve in [true, false] {
            for index in 0..MOST {
                set(index, serve);
                if index % 20 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        rounds += 1;
    }
    (0..MOST).for_each(|index| set(index, rng.bool()));
    rounds
}

/// Opens streams to random keys and closes them, some 200 a second.
async fn open_at_random(west: Plane, truth: Arc<Truth>, end: Instant, seed: u64) -> Opens {
    let (mut rng, mut opens) = (fastrand::Rng::with_seed(seed), Opens::default());
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    while Instant::now() < end {
        pace.tick().await;
        let index = rng.usize(0..MOST);
        let (begun, before) = (Instant::now(), truth.state(index));
        let opened = within(west.open(OpenRequest::to_key(truth.keys[index].clone()))).await;
        // Withdrawn before the open began, and not served again until it was over.
        let withdrawn = before.err().filter(|_| truth.state(index) == before);
        let late = withdrawn.map(|at| begun.saturating_duration_since(at));
        match opened {
            Ok(_) => {
                assert_eq!(late, None, "a stream went to a key that was withdrawn before it was opened");
                opens.accepted += 1;
            }
            Err(OpenError::NoPath) => opens.no_path += 1,
            Err(OpenError::Refused(StreamCode::NOT_SERVED)) => {
                opens.not_served += 1;
                opens.latest = opens.latest.max(late.unwrap_or_default());
            }
            Err(error) => panic!("{error}"),
        }
    }
    opens
}
