//! What recovery costs and when it comes: many streams and one cut, a router that is started anew.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::pki::TestCa;
use common::process::Router;
use common::relay::Cut;
use common::stage::{Diary, Stage, brisk, plane_with, poll_until, reachable};
use common::{credentials, key, link, loopback, within};
use sitelink::config::Carriers;
use sitelink::snapshot::CarrierView;
use sitelink::{
    CarrierNumber, EventKind, LinkStream, OpenRequest, Plane, PlaneConfig, SessionEnd, StreamError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The carriers of a plane's one session.
fn carriers(plane: &Plane) -> Vec<CarrierView> {
    plane.status().sessions[0].carriers.clone()
}

/// A stage with all its carriers.
async fn whole(config: PlaneConfig) -> Stage {
    let stage = Box::pin(Stage::new(config.clone(), config)).await;
    is_whole(&stage).await;
    stage
}

async fn is_whole(stage: &Stage) {
    poll_until(|| {
        [&stage.west, &stage.east].iter().all(|plane| carriers(plane).len() == Carriers::default().0)
    })
    .await;
}

/// So many streams, both ends of each in the same order.
async fn open_many(stage: &Stage, count: usize) -> Vec<(LinkStream, LinkStream)> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(stage.stream().await);
    }
    streams
}

/// Cuts one of the two carriers, and waits until both ends have seen it.
async fn cut_one(stage: &mut Stage) -> CarrierNumber {
    let cut = carriers(&stage.west)[0].clone();
    stage.relay.cut_one(cut.local, Cut::Reset);
    for diary in [&mut stage.west_diary, &mut stage.east_diary] {
        diary
            .one(|kind| matches!(kind, EventKind::CarrierDown { carrier, .. } if *carrier == cut.carrier))
            .await;
    }
    cut.carrier
}

/// Nobody had to wait for a carrier, and no session ended.
fn assert_uninterrupted(stage: &Stage) {
    for diary in [&stage.west_diary, &stage.east_diary] {
        let noticed = diary.count(|kind| {
            matches!(kind, EventKind::SessionRecovering { .. } | EventKind::SessionDown { .. })
        });
        assert_eq!(noticed, 0);
    }
}

/// Says a byte on each stream, both ways; returns how long it took until all were heard.
async fn say_on_all(streams: &mut [(LinkStream, LinkStream)]) -> Duration {
    let begun = Instant::now();
    let byte = Bytes::from_static(b".");
    for (near, far) in &mut *streams {
        near.send(byte.clone()).await.unwrap();
        far.send(byte.clone()).await.unwrap();
    }
    for (near, far) in streams {
        assert_eq!(within(far.recv()).await, Ok(Some(byte.clone())));
        assert_eq!(within(near.recv()).await, Ok(Some(byte.clone())));
    }
    begun.elapsed()
}

#[tokio::test]
async fn ten_thousand_idle_streams_are_usable_at_once_after_a_cut() {
    let mut stage = whole(brisk()).await;
    let mut streams = open_many(&stage, 10_000).await;
    say_on_all(&mut streams).await;
    let before = say_on_all(&mut streams).await;
    cut_one(&mut stage).await;
    let after = say_on_all(&mut streams).await;
    println!(
        "a byte both ways on 10,000 streams: {before:?} before the cut, {after:?} once both ends had seen it"
    );
    assert_uninterrupted(&stage);
    // Far beyond what it takes on a slow machine, and far below any timer that a stream could have waited for.
    assert!(after < before * 4 + Duration::from_secs(1), "{after:?} after the cut, {before:?} before");
    is_whole(&stage).await;
}

#[tokio::test]
async fn a_cut_below_a_thousand_bulk_streams_sends_no_more_again_than_was_unacknowledged() {
    let mut config = brisk();
    // Nobody suspects a carrier that stands still for the sake of being looked at.
    config.liveness.suspect_floor = Duration::from_secs(20);
    config.liveness.suspect_cap = Duration::from_secs(20);
    let mut stage = whole(config).await;
    let mut tasks = Vec::new();
    for (mut near, mut far) in open_many(&stage, 1_000).await {
        tasks.push(tokio::task::spawn(async move {
            near.write_all(&[5; LOAD]).await.unwrap();
            near.finish();
            assert_eq!(near.recv().await, Ok(None));
        }));
        tasks.push(tokio::task::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            assert!(all == [5; LOAD]);
            far.finish();
        }));
    }
    let sent = |plane: &Plane| plane.status().sessions[0].traffic.sent_bytes;
    poll_until(|| sent(&stage.west) > 10_000_000).await;
    // What had arrived is acknowledged still; what is sent from now on fills up to its bound, and then all is quiet.
    stage.relay.stall_requests();
    let (mut last, mut quiet) = (None, 0);
    poll_until(|| {
        let look =
            [&stage.west, &stage.east].map(|plane| (sent(plane), carriers(plane)[0].unacknowledged_bytes));
        quiet = if last.replace(look) == Some(look) { quiet + 1 } else { 0 };
        quiet == 150
    })
    .await;
    let [west, east] = last.unwrap();
    cut_one(&mut stage).await;
    stage.relay.release();
    for task in tasks {
        within(task).await.unwrap();
    }
    let again = [&stage.west, &stage.east].map(|plane| plane.status().sessions[0].traffic.resent_bytes);
    println!("sent again: {} of {} bytes under way, and {} of {} back", again[0], west.1, again[1], east.1);
    assert!(again[0] > 0, "the cut hit nothing that was under way");
    assert!(again[0] <= west.1, "{} bytes sent again, {} were under way", again[0], west.1);
    assert!(again[1] <= east.1, "{} bytes sent again, {} were under way", again[1], east.1);
    assert_uninterrupted(&stage);
}

/// East as a process, that serves `app` by connections to `server`.
async fn router(ca: &TestCa, at: SocketAddr, server: SocketAddr) -> (Router, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    ca.server(&["127.0.0.1"]).write(folder.path());
    let mut router = Router::start(
        "east",
        &[
            "--listen".into(),
            format!("inter-router={at}"),
            "--server-credentials".into(),
            folder.path().to_str().unwrap().into(),
            "--tcp-connector".into(),
            format!("app={server}"),
        ],
    );
    let address = router.address("access_up").await;
    (router, address, folder)
}

/// Takes a stream that writes without end to its end; that is why it ended.
async fn write_on(mut stream: LinkStream) -> StreamError {
    let block = Bytes::from(vec![7; 16 << 10]);
    loop {
        if let Err(error) = stream.send(block.clone()).await {
            return error;
        }
    }
}

#[tokio::test]
async fn a_router_started_anew_ends_the_streams_of_before_when_it_answers_and_not_later() {
    let ca = TestCa::new("ca");
    let server = TcpListener::bind(loopback()).await.unwrap();
    let sink = server.local_addr().unwrap();
    tokio::task::spawn(async move {
        while let Ok((mut client, _)) = server.accept().await {
            tokio::task::spawn(async move {
                // What is sent there is taken, until it is cut.
                let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
            });
        }
    });
    let (mut east, at, _folder) = router(&ca, loopback(), sink).await;
    let west = plane_with("west", brisk()).await;
    let mut diary = Diary::with_streams(&west);
    link(&west, "east", at, credentials("client", &ca.client("west"))).await;
    reachable(&west, "app").await;
    let mut writers = Vec::new();
    for _ in 0..STREAMS {
        let stream = within(west.open(OpenRequest::to_key(key("app")))).await.unwrap();
        writers.push(tokio::task::spawn(write_on(stream)));
    }
    poll_until(|| west.status().sessions[0].traffic.sent_bytes > 10_000_000).await;

    east.kill().await;
    diary.one(|kind| matches!(kind, EventKind::SessionRecovering { .. })).await;
    diary.many(3, |kind| matches!(kind, EventKind::DialFailed { .. })).await;
    let is_closed = |kind: &EventKind| matches!(kind, EventKind::StreamClosed { .. });
    assert_eq!(diary.count(is_closed), 0, "streams wait while nobody answers");
    let (_east, ..) = router(&ca, at, sink).await;
    let lost = StreamError::SessionLost(SessionEnd::Gone);
    for writer in writers {
        assert_eq!(within(writer).await.unwrap(), lost);
    }
    // New ones work as soon as the new session is up, which is when the dial after that answer is through.
    let mut stream =
        within(west.open(OpenRequest::to_key(key("app")).wait_for_path(common::DEADLINE))).await.unwrap();
    stream.write_all(b"anew").await.unwrap();
    stream.finish();
    assert_eq!(within(stream.recv()).await, Ok(None));

    let events = diary.events();
    let place =
        |wanted: &dyn Fn(&EventKind) -> bool| events.iter().position(|event| wanted(&event.kind)).unwrap();
    let ended = place(&|kind| matches!(kind, EventKind::SessionDown { end: SessionEnd::Gone, .. }));
    let again = ended
        + events[ended..].iter().position(|event| matches!(event.kind, EventKind::SessionUp { .. })).unwrap();
    let closed: Vec<usize> = (0..events.len())
        .filter(|at| matches!(&events[*at].kind, EventKind::StreamClosed { error: Some(error), .. } if *error == lost))
        .collect();
    assert_eq!(closed.len(), STREAMS);
    // The answer ends the session, that its streams, and only then is there another: no timer has a part in it.
    assert!(closed.iter().all(|closed| *closed < again), "{closed:?} closed, another session at {again}");
    let waited = Duration::from_micros(events[again].at_micros - events[ended].at_micros);
    println!("from the answer to the new session: {waited:?}");
    assert!(waited < Duration::from_secs(5), "the new session came {waited:?} after the answer");
}

/// What each bulk stream carries.
const LOAD: usize = 256 << 10;

/// Streams in mid-transfer when their router is killed.
const STREAMS: usize = 20;
