//! Bounds, and the ways a stream can begin and end: real sockets, real TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::stage::{Stage, opening, pair, plane_with, poll_until, reachable};
use common::{key, within};
use sitelink::{
    Destination, LinkStream, OpenError, OpenRequest, Plane, PlaneConfig, PlaneError, SiteId, StreamCode,
    StreamError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What each stream carries in the test of stalled ones.
const LOAD: usize = 4 << 20;

/// Opens `count` streams; gives the openers' and the acceptors' ends, in the same order.
async fn open_many(stage: &Stage, count: usize) -> (Vec<LinkStream>, Vec<LinkStream>) {
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (one, other) = stage.stream().await;
        near.push(one);
        far.push(other);
    }
    (near, far)
}

/// Writes the load on each; reads it from those of `read`. Returns how long it took them.
async fn transfer(near: Vec<LinkStream>, read: Vec<LinkStream>) -> Duration {
    let chunk = Bytes::from(vec![7; 64 << 10]);
    let writers: Vec<_> = near
        .into_iter()
        .map(|mut stream| {
            let chunk = chunk.clone();
            tokio::task::spawn(async move {
                for _ in 0..LOAD / chunk.len() {
                    if stream.send(chunk.clone()).await.is_err() {
                        return;
                    }
                }
                stream.finish();
                let _ = stream.recv().await;
            })
        })
        .collect();
    let begun = Instant::now();
    let readers: Vec<_> = read
        .into_iter()
        .map(|mut stream| {
            tokio::task::spawn(async move {
                let mut received = 0;
                while let Some(chunk) = stream.recv().await.unwrap() {
                    received += chunk.len();
                }
                assert_eq!(received, LOAD);
            })
        })
        .collect();
    for reader in readers {
        within(reader).await.unwrap();
    }
    let took = begun.elapsed();
    writers.iter().for_each(tokio::task::JoinHandle::abort);
    took
}

#[tokio::test]
async fn stalled_readers_hold_their_window_and_nothing_else() {
    let pool = 32 << 20;
    let mut config = PlaneConfig::default();
    config.session.pool = pool;
    let stage = Stage::new(config.clone(), config).await;
    let (near, far) = open_many(&stage, 48).await;
    let alone = transfer(near, far).await;

    let (near, mut far) = open_many(&stage, 64).await;
    let stalled = far.split_off(48);
    let beside = transfer(near, far).await;
    let rate = |took: Duration| (48 * LOAD) as f64 / took.as_secs_f64() / 1e6;
    println!("48 streams alone {:.0} MB/s, beside 16 stalled ones {:.0} MB/s", rate(alone), rate(beside));
    assert!(rate(beside) >= rate(alone) / 2.0, "{beside:?} beside stalled streams, {alone:?} alone");

    let status = stage.east.status();
    let session = &status.sessions[0];
    println!(
        "unread {} bytes, windows beyond the minimum {} bytes",
        session.unread_bytes, session.window_bytes
    );
    // A reader that never read anything has the window every stream begins with: 16 KiB, full.
    assert_eq!(session.unread_bytes, 16 * (16 << 10));
    assert!(session.window_bytes <= pool);
    drop(stalled);
    poll_until(|| stage.east.status().sessions[0].streams == 0).await;
    let session = &stage.east.status().sessions[0];
    assert_eq!((session.unread_bytes, session.window_bytes), (0, 0), "everything is given back");
}

#[tokio::test]
async fn each_half_closes_by_itself() {
    let stage = Stage::plain().await;
    for opener_first in [true, false] {
        let (near, far) = stage.stream().await;
        let (mut first, mut second) = if opener_first { (near, far) } else { (far, near) };
        first.write_all(b"question").await.unwrap();
        first.finish();
        let mut text = String::new();
        within(second.read_to_string(&mut text)).await.unwrap();
        assert_eq!(text, "question");
        assert_eq!(first.send(Bytes::from_static(b"more")).await, Err(StreamError::Closed));
        second.write_all(b"answer").await.unwrap();
        second.shutdown().await.unwrap();
        text.clear();
        within(first.read_to_string(&mut text)).await.unwrap();
        assert_eq!(text, "answer");
    }
}

#[tokio::test]
async fn each_half_is_reset_by_itself_with_its_code() {
    let stage = Stage::plain().await;
    for opener_first in [true, false] {
        let (near, far) = stage.stream().await;
        let (mut first, mut second) = if opener_first { (near, far) } else { (far, near) };
        let code = StreamCode::application(77);
        first.reset(code);
        assert_eq!(within(second.recv()).await, Err(StreamError::Reset(code)));
        assert_eq!(first.send(Bytes::from_static(b"more")).await, Err(StreamError::Closed));
        // The other half goes on.
        second.write_all(b"answer").await.unwrap();
        second.finish();
        let mut text = String::new();
        within(first.read_to_string(&mut text)).await.unwrap();
        assert_eq!(text, "answer");
    }
}

#[tokio::test]
async fn a_writer_learns_that_its_reader_stopped() {
    let stage = Stage::plain().await;
    for opener_first in [true, false] {
        let (near, far) = stage.stream().await;
        let (mut first, mut second) = if opener_first { (near, far) } else { (far, near) };
        let code = StreamCode::application(3);
        first.stop(code);
        assert_eq!(within(second.stopped()).await, StreamError::Stopped(code));
        assert_eq!(second.send(Bytes::from_static(b"more")).await, Err(StreamError::Stopped(code)));
        let error = second.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(error.get_ref().and_then(|e| e.downcast_ref()), Some(&StreamError::Stopped(code)));
        // The other half goes on.
        first.write_all(b"onward").await.unwrap();
        first.finish();
        let mut text = String::new();
        within(second.read_to_string(&mut text)).await.unwrap();
        assert_eq!(text, "onward");
    }
}

#[tokio::test]
async fn a_stream_dropped_without_finish_is_a_reset_and_no_end_of_file() {
    let stage = Stage::plain().await;
    for opener_first in [true, false] {
        let (near, far) = stage.stream().await;
        let (mut first, mut second) = if opener_first { (near, far) } else { (far, near) };
        first.write_all(b"half a sen").await.unwrap();
        assert_eq!(within(second.recv()).await.unwrap().as_deref(), Some(&b"half a sen"[..]));
        drop(first);
        assert_eq!(within(second.failed()).await, StreamError::Reset(StreamCode::CANCELLED));
        assert_eq!(within(second.recv()).await, Err(StreamError::Reset(StreamCode::CANCELLED)));
        assert_eq!(within(second.stopped()).await, StreamError::Stopped(StreamCode::CANCELLED));
    }
}

#[tokio::test]
async fn metadata_and_initial_data_arrive_with_the_open() {
    let stage = Stage::plain().await;
    let (metadata, initial) = (Bytes::from(vec![1; 4096]), Bytes::from(vec![2; 16 << 10]));
    let request = OpenRequest::to_key(key("k")).metadata(metadata.clone()).initial_data(initial.clone());
    let (near, incoming) = opening(&stage.west, &stage.east, request, "k").await;
    assert_eq!(incoming.metadata(), &metadata);
    assert_eq!(incoming.routing_key(), Some(&key("k")));
    assert_eq!(incoming.peer().unwrap().site_name.as_str(), "west");
    let mut far = incoming.accept().unwrap();
    let mut near = within(near).await.unwrap().unwrap();
    near.finish();
    let mut all = Vec::new();
    within(far.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, initial);
}

#[tokio::test]
async fn an_open_may_end_the_writing_half_and_the_answer_still_comes() {
    let stage = Stage::plain().await;
    for initial in [Bytes::from_static(b"a whole request"), Bytes::new()] {
        let request = OpenRequest::to_key(key("k")).initial_data(initial.clone()).finish();
        let (near, incoming) = opening(&stage.west, &stage.east, request, "k").await;
        let mut far = incoming.accept().unwrap();
        let mut all = Vec::new();
        // The acceptor reads to the end before the opener has done anything with the stream.
        within(far.read_to_end(&mut all)).await.unwrap();
        assert_eq!(all, initial);
        let mut near = within(near).await.unwrap().unwrap();
        let late = within(near.send(Bytes::from_static(b"more"))).await;
        assert_eq!(late, Err(StreamError::Closed));
        far.send(Bytes::from_static(b"answer")).await.unwrap();
        far.finish();
        assert_eq!(within(near.recv()).await.unwrap().as_deref(), Some(&b"answer"[..]));
        assert_eq!(within(near.recv()).await, Ok(None));
    }
}

#[tokio::test]
async fn a_finished_open_that_is_refused_is_over_at_both_ends() {
    let stage = Stage::plain().await;
    let request = OpenRequest::to_key(key("k")).initial_data(Bytes::from_static(b"x")).finish();
    let (near, incoming) = opening(&stage.west, &stage.east, request, "k").await;
    incoming.refuse(StreamCode::REFUSED);
    assert_eq!(within(near).await.unwrap().unwrap_err(), OpenError::Refused(StreamCode::REFUSED));
    poll_until(|| stage.west.status().sessions[0].streams == 0).await;
    poll_until(|| stage.east.status().sessions[0].streams == 0).await;
}

#[tokio::test]
async fn what_is_too_long_for_an_open_never_leaves() {
    let stage = Stage::plain().await;
    stage.east.serve(&key("k")).unwrap();
    reachable(&stage.west, "k").await;
    let cases = [
        (4097, 0, OpenError::TooLong { what: "metadata", limit: 4096 }),
        (16 << 10, 0, OpenError::TooLong { what: "metadata", limit: 4096 }),
        (0, (16 << 10) + 1, OpenError::TooLong { what: "initial data", limit: 16 << 10 }),
    ];
    for (metadata, initial, expected) in cases {
        let request = OpenRequest::to_key(key("k"))
            .metadata(Bytes::from(vec![0; metadata]))
            .initial_data(Bytes::from(vec![0; initial]));
        assert_eq!(stage.west.open(request).await.unwrap_err(), expected);
    }
    assert_eq!(stage.east.status().sessions[0].streams, 0);
}

#[tokio::test]
async fn a_refusal_tells_the_opener_why() {
    let stage = Stage::plain().await;
    let application = StreamCode::application(9);
    for code in [StreamCode::REFUSED, StreamCode::UNREACHABLE, StreamCode::BUSY, application] {
        let (near, incoming) = opening(&stage.west, &stage.east, OpenRequest::to_key(key("k")), "k").await;
        incoming.refuse(code);
        assert_eq!(within(near).await.unwrap().unwrap_err(), OpenError::Refused(code));
    }
    let (near, incoming) = opening(&stage.west, &stage.east, OpenRequest::to_key(key("k")), "k").await;
    drop(incoming);
    assert_eq!(within(near).await.unwrap().unwrap_err(), OpenError::Refused(StreamCode::REFUSED));
    poll_until(|| stage.west.status().sessions[0].streams == 0).await;
    poll_until(|| stage.east.status().sessions[0].streams == 0).await;
}

#[tokio::test]
async fn streams_that_nobody_accepts_are_bounded() {
    let mut config = PlaneConfig::default();
    config.session.unaccepted = 4;
    let stage = Stage::new(PlaneConfig::default(), config).await;
    stage.east.serve(&key("k")).unwrap();
    reachable(&stage.west, "k").await;
    let mut waiting: Vec<_> = (0..4)
        .map(|_| {
            let west = stage.west.clone();
            tokio::task::spawn(async move { west.open(OpenRequest::to_key(key("k"))).await })
        })
        .collect();
    poll_until(|| stage.east.status().sessions[0].streams == 4).await;
    let fifth = within(stage.west.open(OpenRequest::to_key(key("k")))).await;
    assert_eq!(fifth.unwrap_err(), OpenError::Refused(StreamCode::BUSY));
    // One that is accepted makes room for one more.
    let _far = within(stage.east.accept()).await.unwrap().accept().unwrap();
    let west = stage.west.clone();
    waiting.push(tokio::task::spawn(async move { west.open(OpenRequest::to_key(key("k"))).await }));
    for _ in 0..4 {
        drop(within(stage.east.accept()).await.unwrap());
    }
    let mut verdicts = Vec::new();
    for one in waiting {
        verdicts.push(within(one).await.unwrap().map(drop));
    }
    assert_eq!(verdicts.iter().filter(|verdict| verdict.is_ok()).count(), 1);
    let refused = Err(OpenError::Refused(StreamCode::REFUSED));
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == refused).count(), 4);
}

#[tokio::test]
async fn a_stream_that_nobody_accepts_in_time_is_refused() {
    let mut config = PlaneConfig::default();
    config.deadlines.accept = Duration::from_millis(200);
    let stage = Stage::new(PlaneConfig::default(), config).await;
    let (near, incoming) = opening(&stage.west, &stage.east, OpenRequest::to_key(key("k")), "k").await;
    assert_eq!(within(near).await.unwrap().unwrap_err(), OpenError::Refused(StreamCode::TIMED_OUT));
    assert_eq!(incoming.accept().unwrap_err(), StreamError::TimedOut);
}

#[tokio::test]
async fn a_peer_opens_no_more_streams_than_it_may_and_more_when_others_end() {
    let mut config = PlaneConfig::default();
    config.session.max_streams = 3;
    let stage = Stage::new(PlaneConfig::default(), config).await;
    let (near, far) = open_many(&stage, 3).await;
    let fourth = within(stage.west.open(OpenRequest::to_key(key("k")))).await;
    assert_eq!(fourth.unwrap_err(), OpenError::StreamLimit);
    // The other way round there is another bound.
    drop(pair(&stage.east, &stage.west, "back").await);
    drop((near, far));
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    let (near, incoming) = within(async {
        loop {
            tick.tick().await;
            let opened = tokio::select! {
                opened = stage.west.open(OpenRequest::to_key(key("k"))) => opened,
                incoming = stage.east.accept() => break (tokio::task::yield_now(), incoming.unwrap()),
            };
            assert_eq!(opened.unwrap_err(), OpenError::StreamLimit);
        }
    })
    .await;
    near.await;
    drop(incoming);
}

#[tokio::test]
async fn an_open_waits_for_a_path_as_long_as_it_is_told() {
    let stage = Stage::plain().await;
    let nobody = OpenRequest::to_key(key("nobody"));
    assert_eq!(stage.west.open(nobody.clone()).await.unwrap_err(), OpenError::NoPath);
    let wait = Duration::from_millis(100);
    let begun = Instant::now();
    assert_eq!(within(stage.west.open(nobody.wait_for_path(wait))).await.unwrap_err(), OpenError::NoPath);
    assert!(begun.elapsed() >= wait);
    // One that is served meanwhile is found.
    let late = OpenRequest::to_key(key("late")).wait_for_path(common::DEADLINE);
    let west = stage.west.clone();
    let near = tokio::task::spawn(async move { west.open(late).await });
    tokio::task::yield_now().await;
    stage.east.serve(&key("late")).unwrap();
    let _far = within(stage.east.accept()).await.unwrap().accept().unwrap();
    within(near).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_withdrawn_key_is_served_no_more_but_its_streams_go_on() {
    let stage = Stage::plain().await;
    let (mut near, mut far) = stage.stream().await;
    stage.east.withdraw(&key("k"));
    let destination = Destination::Key(key("k"));
    poll_until(|| !stage.west.has_path(&destination)).await;
    let opened = within(stage.west.open(OpenRequest::to_key(key("k")))).await;
    assert_eq!(opened.unwrap_err(), OpenError::NoPath);
    near.send(Bytes::from_static(b"still")).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"still"[..]));
    stage.east.serve(&key("k")).unwrap();
    reachable(&stage.west, "k").await;
    assert!(stage.west.has_path(&destination));
}

#[tokio::test]
async fn a_site_is_reached_by_its_id() {
    let stage = Stage::plain().await;
    let ways: [(&Plane, &Plane, &str); 2] =
        [(&stage.west, &stage.east, "east-id"), (&stage.east, &stage.west, "west-id")];
    for (from, to, site) in ways {
        let (near, incoming) =
            opening(from, to, OpenRequest::to_site(SiteId::new(site).unwrap()), "unused").await;
        assert_eq!(incoming.routing_key(), None);
        let mut far = incoming.accept().unwrap();
        let mut near = within(near).await.unwrap().unwrap();
        far.send(Bytes::from_static(b"here")).await.unwrap();
        assert_eq!(within(near.recv()).await.unwrap().as_deref(), Some(&b"here"[..]));
    }
    let nowhere = OpenRequest::to_site(SiteId::new("north-id").unwrap());
    assert_eq!(stage.west.open(nowhere).await.unwrap_err(), OpenError::NoPath);
}

#[tokio::test]
async fn a_plane_serves_so_many_keys_and_no_more() {
    let mut config = PlaneConfig::default();
    config.session.keys = 2;
    let plane = plane_with("west", config).await;
    plane.serve(&key("a")).unwrap();
    plane.serve(&key("b")).unwrap();
    plane.serve(&key("b")).unwrap();
    assert_eq!(plane.serve(&key("c")), Err(PlaneError::TooManyKeys { limit: 2 }));
    plane.withdraw(&key("a"));
    plane.serve(&key("c")).unwrap();
}

#[tokio::test]
async fn a_stream_that_waits_to_be_accepted_when_its_session_ends_is_lost_with_it() {
    for take in [true, false] {
        let stage = Stage::plain().await;
        let (near, incoming) = opening(&stage.west, &stage.east, OpenRequest::to_key(key("k")), "k").await;
        let Stage { west, east, mut east_diary, .. } = stage;
        within(west.shutdown(Duration::ZERO)).await;
        let end = east_diary.session_end().await;
        if take {
            assert_eq!(incoming.accept().unwrap_err(), StreamError::SessionLost(end));
        } else {
            drop(incoming);
        }
        drop(near);
        within(east.shutdown(Duration::ZERO)).await;
    }
}
