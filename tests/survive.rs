//! Streams outlive the connections beneath them: real sockets, real TLS, a relay that cuts.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use bytes::{Buf, Bytes};
use common::relay::{Cut, Door};
use common::stage::{Diary, Stage, brisk, listen, pair, plane_with};
use common::{credentials, key, link, within};
use sitelink::{
    CarrierEnd, CloseCode, Event, EventKind, LinkStream, OpenRequest, Plane, PlaneConfig, SessionEnd,
    StreamError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// What a stream of the great test does until it is told that all cuts are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Part {
    /// The opener writes without end.
    Up,
    /// The acceptor writes without end; the opener's half is closed from the start.
    Down,
    /// Requests and answers take turns.
    Requests,
    /// Nothing is said until the end.
    Idle,
    /// The opener has said all and finished; the answer comes at the end.
    HalfClosed,
}

const PARTS: [Part; 5] = [Part::Up, Part::Down, Part::Requests, Part::Idle, Part::HalfClosed];

/// The content of a stream: 8 bytes at a time, a function of stream, direction and offset.
fn content(stream: u64, at: u64, len: usize) -> Vec<u8> {
    let first = at / 8;
    let words = (at % 8) as usize + len;
    let mut bytes = Vec::with_capacity(words + 8);
    for word in first..first + words.div_ceil(8) as u64 {
        let mixed = (word ^ stream.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 29)).to_le_bytes());
    }
    bytes.drain(..(at % 8) as usize);
    bytes.truncate(len);
    bytes
}

/// Writes the stream's content until all cuts are done, then finishes. Returns how much it was.
async fn pour(to: &mut (impl AsyncWriteExt + Unpin), stream: u64, done: &watch::Receiver<bool>) -> u64 {
    let mut sent = 0;
    while !*done.borrow() {
        to.write_all(&content(stream, sent, 8_000)).await.unwrap();
        sent += 8_000;
    }
    to.shutdown().await.unwrap();
    sent
}

/// Reads the stream's content to its end. Returns how much it was.
async fn drain(from: &mut LinkStream, stream: u64) -> u64 {
    let mut received = 0;
    while let Some(mut chunk) = from.recv().await.unwrap() {
        while chunk.has_remaining() {
            let len = chunk.len().min(8_000);
            assert!(
                chunk[..len] == content(stream, received, len),
                "stream {stream} is wrong after {received}"
            );
            chunk.advance(len);
            received += len as u64;
        }
    }
    received
}

/// The opener's end of a stream of the great test.
async fn open_part(mut stream: LinkStream, part: Part, id: u64, mut done: watch::Receiver<bool>) {
    match part {
        Part::Up => {
            let sent = pour(&mut stream, id, &done).await;
            assert_eq!(stream.read_u64().await.unwrap(), sent);
        }
        Part::Down => {
            stream.finish();
            drain(&mut stream, id).await;
        }
        Part::Requests => {
            let mut random = fastrand::Rng::with_seed(id);
            let mut at = 0;
            while !*done.borrow() {
                let len = random.usize(1..4_000);
                let request = content(id, at, len);
                stream.write_u32(u32::try_from(len).unwrap()).await.unwrap();
                stream.write_all(&request).await.unwrap();
                let mut answer = vec![0; len];
                stream.read_exact(&mut answer).await.unwrap();
                assert!(answer == request, "stream {id} answered wrong after {at}");
                at += len as u64;
            }
            stream.finish();
        }
        Part::Idle => {
            done.wait_for(|done| *done).await.unwrap();
            stream.write_all(&content(id, 0, 5_000)).await.unwrap();
            stream.finish();
            assert_eq!(drain(&mut stream, id).await, 5_000);
        }
        Part::HalfClosed => {
            stream.write_all(&content(id, 0, 5_000)).await.unwrap();
            stream.finish();
            assert_eq!(drain(&mut stream, id).await, 5_000);
        }
    }
    assert_eq!(within(stream.recv()).await, Ok(None), "stream {id} ends in good order");
}

/// The acceptor's end.
async fn accept_part(mut stream: LinkStream, part: Part, id: u64, mut done: watch::Receiver<bool>) {
    match part {
        Part::Up => {
            let received = drain(&mut stream, id).await;
            stream.write_u64(received).await.unwrap();
        }
        Part::Down => {
            assert_eq!(drain(&mut stream, id).await, 0);
            pour(&mut stream, id, &done).await;
        }
        Part::Requests => {
            while let Ok(len) = stream.read_u32().await {
                let mut request = vec![0; len as usize];
                stream.read_exact(&mut request).await.unwrap();
                stream.write_all(&request).await.unwrap();
            }
        }
        Part::Idle | Part::HalfClosed => {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            done.wait_for(|done| *done).await.unwrap();
            stream.write_all(&all).await.unwrap();
        }
    }
    stream.finish();
    assert_eq!(within(stream.recv()).await, Ok(None), "stream {id} ends in good order");
}

/// Opens `count` streams, one of each part in turn; both ends of each work until `done`.
async fn open_all(
    from: &Plane,
    to: &Plane,
    first: u64,
    done: &watch::Receiver<bool>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let served = key(&format!("parts-{first}"));
    to.serve(&served).unwrap();
    let mut tasks = Vec::new();
    for id in first..first + 25 {
        let part = PARTS[usize::try_from(id).unwrap() % PARTS.len()];
        let metadata = Bytes::copy_from_slice(&id.to_be_bytes());
        let request = OpenRequest::to_key(served.clone()).metadata(metadata).wait_for_path(common::DEADLINE);
        let (plane, near_done) = (from.clone(), done.clone());
        tasks.push(tokio::task::spawn(async move {
            let stream = plane.open(request).await.unwrap();
            open_part(stream, part, id, near_done).await;
        }));
    }
    for _ in 0..25 {
        let incoming = within(to.accept()).await.unwrap();
        let id = incoming.metadata().clone().get_u64();
        let part = PARTS[usize::try_from(id).unwrap() % PARTS.len()];
        let stream = incoming.accept().unwrap();
        tasks.push(tokio::task::spawn(accept_part(stream, part, id, done.clone())));
    }
    tasks
}

/// Each key that comes up goes down once, and only then may come up again.
fn assert_paired<K: PartialEq + std::fmt::Debug>(
    events: &[Event],
    step: impl Fn(&EventKind) -> Option<(K, bool)>,
) {
    let mut up: Vec<K> = Vec::new();
    for event in events {
        match step(&event.kind) {
            Some((key, true)) => {
                assert!(!up.contains(&key), "{key:?} came up twice");
                up.push(key);
            }
            Some((key, false)) => {
                let place = up.iter().position(|known| *known == key);
                let place = place.unwrap_or_else(|| panic!("{key:?} went down without coming up"));
                up.remove(place);
            }
            None => {}
        }
    }
    assert!(up.is_empty(), "never went down: {up:?}");
}

fn assert_pairs(events: &[Event]) {
    assert_paired(events, |kind| match kind {
        EventKind::CarrierUp { session, carrier, .. } => Some(((*session, *carrier), true)),
        EventKind::CarrierDown { session, carrier, .. } => Some(((*session, *carrier), false)),
        _ => None,
    });
    assert_paired(events, |kind| match kind {
        EventKind::SessionUp { session, .. } => Some((*session, true)),
        EventKind::SessionDown { session, .. } => Some((*session, false)),
        _ => None,
    });
    assert_paired(events, |kind| match kind {
        EventKind::SessionRecovering { session, .. } => Some((*session, true)),
        EventKind::SessionResumed { session, .. } => Some((*session, false)),
        _ => None,
    });
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.seq, index as u64 + 1, "no event is missing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_streams_survive_a_hundred_cuts() {
    let stage = Stage::new(brisk(), brisk()).await;
    let (tell, done) = watch::channel(false);
    let mut tasks = open_all(&stage.west, &stage.east, 0, &done).await;
    tasks.extend(open_all(&stage.east, &stage.west, 25, &done).await);
    let mut random = fastrand::Rng::with_seed(0x05ee_d0f1);
    for cut in 0..100 {
        // Short ones hit handshakes, long ones hit transfers.
        let bytes = if cut % 3 == 0 { random.u32(0..4_000) } else { random.u32(0..300_000) };
        let how = if random.bool() { Cut::Reset } else { Cut::Finish };
        stage.relay.cut_after(bytes, how).await;
    }
    tell.send(true).unwrap();
    for task in tasks {
        within(task).await.unwrap();
    }
    for plane in [&stage.west, &stage.east] {
        within(plane.shutdown(Duration::from_secs(5))).await;
    }
    let accepted = stage.relay.accepted();
    assert!(accepted > 50, "only {accepted} connections");
    for diary in [stage.west_diary, stage.east_diary] {
        let events = diary.closed().await;
        assert_pairs(&events);
        let count =
            |wanted: fn(&EventKind) -> bool| events.iter().filter(|event| wanted(&event.kind)).count();
        assert_eq!(count(|kind| matches!(kind, EventKind::SessionUp { .. })), 1, "one session all along");
        let resumed = count(|kind| matches!(kind, EventKind::SessionResumed { .. }));
        assert!(resumed > 20, "resumed only {resumed} times");
        println!("{accepted} connections, {resumed} times resumed");
    }
}

#[tokio::test]
async fn a_cut_that_only_one_end_sees_loses_nothing() {
    for how in [Cut::AtDialer, Cut::AtAccess] {
        let mut config = brisk();
        config.liveness.keepalive = Duration::from_millis(100);
        let mut stage = Stage::new(config.clone(), config).await;
        let (mut near, mut far) = stage.stream().await;
        // The acknowledgements do not get through, so that there is something to send again.
        stage.relay.stall_answers();
        let sent = content(1, 0, 100_000);
        let answer = content(2, 0, 100_000);
        let west = async {
            near.send(Bytes::from(sent.clone())).await.unwrap();
            near.finish();
            let mut all = Vec::new();
            near.read_to_end(&mut all).await.unwrap();
            assert!(all == answer);
        };
        let east = async {
            let mut first = vec![0; 10_000];
            far.read_exact(&mut first).await.unwrap();
            stage.relay.cut(how);
            stage.relay.release();
            far.send(Bytes::from(answer.clone())).await.unwrap();
            far.finish();
            far.read_to_end(&mut first).await.unwrap();
            assert!(first == sent);
        };
        within(async { tokio::join!(west, east) }).await;
        for diary in [&mut stage.west_diary, &mut stage.east_diary] {
            diary.many(2, |kind| matches!(kind, EventKind::CarrierUp { .. })).await;
            diary.one(|kind| matches!(kind, EventKind::CarrierDown { .. })).await;
            assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
        }
        // The end that did not see the cut learns of it from the other's new connection.
        let blind = if how == Cut::AtDialer { &mut stage.east_diary } else { &mut stage.west_diary };
        let down = blind.one(|kind| matches!(kind, EventKind::CarrierDown { .. })).await;
        assert!(
            matches!(&down.kind, EventKind::CarrierDown { end: CarrierEnd::Replaced, .. }),
            "{how:?}: {:?}",
            down.kind
        );
    }
}

#[tokio::test]
async fn a_restarted_acceptor_ends_the_old_streams_at_once_and_takes_new_ones() {
    let ca = common::pki::TestCa::new("ca");
    let west = plane_with("west", brisk()).await;
    let east = plane_with("east", brisk()).await;
    let mut diary = Diary::of(&west);
    let access = listen(&east, common::loopback(), &ca).await;
    let relay = common::relay::Relay::to(access.address()).await;
    link(&west, "east", relay.address(), credentials("client", &ca.client("west"))).await;
    let (mut near, _far) = pair(&west, &east, "k").await;
    near.send(Bytes::from_static(b"half a sentence")).await.unwrap();
    // The connection is lost before the router is, as when its host dies: no farewell is heard.
    relay.door(Door::Refusing);
    relay.cut(Cut::Reset);
    diary.one(|kind| matches!(kind, EventKind::SessionRecovering { .. })).await;
    let at = access.address();
    drop((east, access));
    let restarted = plane_with("east", brisk()).await;
    let _access = rebind(&restarted, at, &ca).await;
    relay.door(Door::Open);
    let lost = StreamError::SessionLost(SessionEnd::Gone);
    assert_eq!(within(near.recv()).await, Err(lost.clone()));
    assert_eq!(within(near.send(Bytes::from_static(b"more"))).await, Err(lost));
    assert_eq!(diary.session_end().await, SessionEnd::Gone);
    let (mut near, mut far) = pair(&west, &restarted, "k").await;
    near.send(Bytes::from_static(b"anew")).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"anew"[..]));
}

/// Listens where a plane that was just dropped listened: its port is free when its tasks have ended.
async fn rebind(plane: &Plane, at: std::net::SocketAddr, ca: &common::pki::TestCa) -> sitelink::Access {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    within(async {
        loop {
            tick.tick().await;
            let server = credentials("server", &ca.server(&["127.0.0.1"]));
            let spec = sitelink::AccessSpec::new(at, sitelink::LinkRole::InterRouter);
            if let Ok(access) = plane.listen(spec, server).await {
                return access;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_dropped_acceptor_says_goodbye_and_its_streams_end_as_closed() {
    let stage = Stage::plain().await;
    let (mut near, far) = stage.stream().await;
    let Stage { east, access, mut west_diary, .. } = stage;
    drop((east, access));
    let end = SessionEnd::PeerClosed(CloseCode::SHUTDOWN);
    assert_eq!(within(near.recv()).await, Err(StreamError::SessionLost(end.clone())));
    assert_eq!(west_diary.session_end().await, end);
    drop(far);
}

#[tokio::test]
async fn a_resume_window_that_runs_out_ends_the_streams_of_both_ends() {
    let mut config = brisk();
    config.session.resume_window = Duration::from_millis(300);
    let mut stage = Stage::new(config, PlaneConfig::default()).await;
    let (mut near, mut far) = stage.stream().await;
    stage.relay.door(Door::Refusing);
    stage.relay.cut(Cut::Reset);
    // The smaller window of the two holds at both ends.
    let end = SessionEnd::ResumeExpired(Duration::from_millis(300));
    let lost = Err(StreamError::SessionLost(end.clone()));
    assert_eq!(within(near.recv()).await, lost);
    assert_eq!(within(far.recv()).await, lost);
    assert_eq!(stage.west_diary.session_end().await, end);
    assert_eq!(stage.east_diary.session_end().await, end);
    // The link goes on trying.
    stage.relay.door(Door::Open);
    let (mut near, mut far) = stage.stream().await;
    near.send(Bytes::from_static(b"anew")).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"anew"[..]));
}

#[tokio::test]
async fn a_hello_that_comes_after_its_dialer_gave_it_up_leaves_no_carrier_behind() {
    let mut config = brisk();
    config.deadlines.hello = Duration::from_millis(500);
    let mut stage = Stage::new(config, brisk()).await;
    let (mut near, mut far) = stage.stream().await;
    stage.relay.door(Door::HeldAfterFirst);
    stage.relay.cut(Cut::Reset);
    // The access answers TLS, so the dialer gets as far as its hello, which is held with the rest of its handshake.
    stage.west_diary.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await;
    stage.relay.door(Door::Open);
    for diary in [&mut stage.west_diary, &mut stage.east_diary] {
        diary.one(|kind| matches!(kind, EventKind::SessionResumed { .. })).await;
    }
    stage.relay.release();
    near.send(Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"still here"[..]));
    // Once more, so that whatever the late hello did has been done before the end.
    stage.relay.cut(Cut::Reset);
    for diary in [&mut stage.west_diary, &mut stage.east_diary] {
        diary.many(2, |kind| matches!(kind, EventKind::SessionResumed { .. })).await;
    }
    near.send(Bytes::from_static(b" and here")).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b" and here"[..]));
    for plane in [&stage.west, &stage.east] {
        let carriers: Vec<_> = plane.status().sessions.iter().map(|session| session.carriers.len()).collect();
        assert_eq!(carriers, [1]);
    }
    drop((near, far));
    for plane in [&stage.west, &stage.east] {
        within(plane.shutdown(Duration::from_secs(5))).await;
    }
    for diary in [stage.west_diary, stage.east_diary] {
        assert_pairs(&diary.closed().await);
    }
}

/// All carriers are cut, and the network is gone until `back`: every stream goes on, and nothing is lost of it.
async fn outlive(door: Door, config: PlaneConfig, back: impl AsyncFnOnce(&mut Stage)) {
    let mut stage = Box::pin(Stage::new(config.clone(), config)).await;
    let (tell, done) = watch::channel(false);
    let mut tasks = open_all(&stage.west, &stage.east, 0, &done).await;
    tasks.extend(open_all(&stage.east, &stage.west, 25, &done).await);
    stage.relay.door(door);
    stage.relay.cut(Cut::Reset);
    for diary in [&mut stage.west_diary, &mut stage.east_diary] {
        diary.one(|kind| matches!(kind, EventKind::SessionRecovering { .. })).await;
    }
    back(&mut stage).await;
    stage.relay.door(Door::Open);
    for diary in [&mut stage.west_diary, &mut stage.east_diary] {
        let resumed = diary.one(|kind| matches!(kind, EventKind::SessionResumed { .. })).await;
        println!("{door:?}: {:?}", resumed.kind);
    }
    tell.send(true).unwrap();
    for task in tasks {
        within(task).await.unwrap();
    }
    for diary in [&stage.west_diary, &stage.east_diary] {
        assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0, "{door:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_gone_for_less_than_the_resume_window_ends_no_stream() {
    for door in [Door::Refusing, Door::Mute] {
        let mut config = brisk();
        // What is dialed while nothing is said is given up soon.
        config.deadlines.tls = Duration::from_millis(50);
        outlive(door, config, async |stage| {
            stage.west_diary.many(10, |kind| matches!(kind, EventKind::DialFailed { .. })).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten seconds: the short form above runs always"]
async fn a_network_gone_for_ten_seconds_ends_no_stream() {
    outlive(Door::Refusing, PlaneConfig::default(), async |_| {
        tokio::time::sleep(Duration::from_secs(10)).await;
    })
    .await;
}
