//! What has ended leaves nothing behind: no task, no socket, no entry. One test, so that nothing else runs beside it.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::pki::TestCa;
use common::relay::{Cut, Door};
use common::stage::{Diary, Stage, brisk, poll_until, reachable};
use common::{credentials, key, link, loopback, within};
use sitelink::config::Carriers;
use sitelink::{
    AccessSpec, CloseCode, Credentials, EventKind, LinkRole, OpenRequest, PeerRefusal, Phase, Plane,
    SessionEnd, StreamError, TlsReason,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// What must be as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Census {
    tasks: usize,
    files: usize,
    /// Of both planes: sessions, carriers, streams, links.
    entries: [usize; 8],
}

impl Census {
    fn take(stage: &Stage) -> Self {
        let entries = |plane: &Plane| {
            let status = plane.status();
            let carriers = status.sessions.iter().map(|session| session.carriers.len()).sum();
            let streams: u64 = status.sessions.iter().map(|session| session.streams).sum();
            [status.sessions.len(), carriers, usize::try_from(streams).unwrap(), status.links.len()]
        };
        let (west, east) = (entries(&stage.west), entries(&stage.east));
        Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            files: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            entries: std::array::from_fn(|at| if at < 4 { west[at] } else { east[at - 4] }),
        }
    }

    /// Waits until everything is as it was, and says what is not.
    async fn is_restored(&self, stage: &Stage, after: &str) {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let search = async {
            while Self::take(stage) != *self {
                tick.tick().await;
            }
        };
        let _ = tokio::time::timeout(common::DEADLINE, search).await;
        assert_eq!(Self::take(stage), *self, "after {after}");
    }
}

#[tokio::test]
async fn streams_links_and_refused_dials_leave_nothing_behind() {
    let mut west = brisk();
    west.session.resume_window = WINDOW;
    let stage = Stage::new(west, brisk()).await;
    let server = credentials("server", &stage.ca.server(&["127.0.0.1"]));
    let for_edges = stage.east.listen(AccessSpec::new(loopback(), LinkRole::Edge), server).await.unwrap();
    stage.east.serve(&key("echo")).unwrap();
    reachable(&stage.west, "echo").await;
    let east = stage.east.clone();
    let (tell, mut lost) = mpsc::channel(CUT_OFF);
    let server = tokio::task::spawn(async move {
        while let Some(incoming) = east.accept().await {
            let mut stream = incoming.accept().unwrap();
            let tell = tell.clone();
            tokio::task::spawn(async move {
                let mut request = Vec::new();
                if let Err(error) = stream.read_to_end(&mut request).await {
                    let error = error.get_ref().and_then(|error| error.downcast_ref::<StreamError>());
                    tell.try_send(error.unwrap().clone()).unwrap();
                    return;
                }
                stream.write_all(&request).await.unwrap();
                stream.finish();
            });
        }
    });
    let both_whole =
        || [1, 5].map(|carriers| Census::take(&stage).entries[carriers]) == [Carriers::default().0; 2];
    poll_until(both_whole).await;
    let census = Census::take(&stage);
    open_and_close(&stage.west).await;
    census.is_restored(&stage, "10,000 streams").await;
    come_and_go(&stage).await;
    census.is_restored(&stage, "100 links").await;

    // Of another authority than east knows: TLS fails at both ends, after west has taken east's certificate.
    let stranger = credentials("client", &TestCa::new("other").client("west").trusting(&stage.ca));
    let is_tls = |refusal: &PeerRefusal| matches!(refusal, PeerRefusal::Tls(TlsReason::UnknownIssuer { .. }));
    be_refused(&stage, stage.access.address(), stranger, Phase::Tls, is_tls).await;
    census.is_restored(&stage, "100 dials refused in TLS").await;
    let known = credentials("client", &stage.ca.client("west"));
    let is_hello = |refusal: &PeerRefusal| matches!(refusal, PeerRefusal::Hello(CloseCode::ROLE_REFUSED));
    be_refused(&stage, for_edges.address(), known, Phase::Hello, is_hello).await;
    census.is_restored(&stage, "100 dials refused in the hello").await;

    be_cut_off(&stage, &mut lost).await;
    census.is_restored(&stage, "streams whose session was lost").await;

    server.abort();
    for plane in [&stage.west, &stage.east] {
        within(plane.shutdown(Duration::from_secs(5))).await;
    }
}

/// 10,000 requests, 32 at a time.
async fn open_and_close(west: &Plane) {
    let clients: Vec<_> = (0..32)
        .map(|client| {
            let west = west.clone();
            tokio::task::spawn(async move {
                for request in 0..10_000 / 32 + usize::from(client < 10_000 % 32) {
                    let text = format!("{client}/{request}");
                    let mut stream = west.open(OpenRequest::to_key(key("echo"))).await.unwrap();
                    stream.write_all(text.as_bytes()).await.unwrap();
                    stream.finish();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).await.unwrap();
                    assert_eq!(answer, text);
                }
            })
        })
        .collect();
    for client in clients {
        within(client).await.unwrap();
    }
}

/// The network is gone for longer than the resume window: streams in mid-request end at both ends, and say why.
async fn be_cut_off(stage: &Stage, lost: &mut mpsc::Receiver<StreamError>) {
    let mut diary = Diary::of(&stage.west);
    let mut streams = Vec::new();
    for _ in 0..CUT_OFF {
        let mut stream = stage.west.open(OpenRequest::to_key(key("echo"))).await.unwrap();
        stream.write_all(b"half a requ").await.unwrap();
        streams.push(stream);
    }
    stage.relay.door(Door::Refusing);
    stage.relay.cut(Cut::Reset);
    // The smaller window of the two holds at both ends.
    let end = SessionEnd::ResumeExpired(WINDOW);
    for mut stream in streams {
        assert_eq!(within(stream.recv()).await, Err(StreamError::SessionLost(end.clone())));
        assert_eq!(within(lost.recv()).await, Some(StreamError::SessionLost(end.clone())));
    }
    assert_eq!(diary.session_end().await, end);
    stage.relay.door(Door::Open);
    diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    // It serves as before.
    reachable(&stage.west, "echo").await;
    diary.leave().await;
}

/// 100 links to the same router, one after the other, each used once it is up.
async fn come_and_go(stage: &Stage) {
    let client = credentials("client", &stage.ca.client("west"));
    for number in 0..100 {
        let mut diary = Diary::of(&stage.west);
        let added = link(&stage.west, &format!("link-{number}"), stage.relay.address(), client.clone()).await;
        diary.one(|kind| matches!(kind, EventKind::GroupUp { link, .. } if *link == added)).await;
        stage.west.unlink(added, Duration::from_secs(5)).await.unwrap();
        diary.one(|kind| matches!(kind, EventKind::LinkRemoved { link, .. } if *link == added)).await;
        diary.leave().await;
    }
}

/// A link that is refused 100 times, as both ends tell, and is given up then.
async fn be_refused(
    stage: &Stage,
    at: SocketAddr,
    with: Credentials,
    failed: Phase,
    is_so: impl Fn(&PeerRefusal) -> bool,
) {
    let (mut west, mut east) = (Diary::of(&stage.west), Diary::of(&stage.east));
    let refused = link(&stage.west, "refused", at, with).await;
    let is_failure =
        |kind: &EventKind| matches!(kind, EventKind::DialFailed { phase, .. } if *phase == failed);
    west.many(100, is_failure).await;
    east.many(100, |kind| matches!(kind, EventKind::PeerRefused { refusal, .. } if is_so(refusal))).await;
    stage.west.unlink(refused, Duration::from_secs(5)).await.unwrap();
    west.one(|kind| matches!(kind, EventKind::LinkRemoved { link, .. } if *link == refused)).await;
    west.leave().await;
    east.leave().await;
}

/// How long a session is kept without a carrier.
const WINDOW: Duration = Duration::from_millis(300);

/// Streams that are open when the network goes.
const CUT_OFF: usize = 200;
