//! Bad networks: names that hang, peers that accept and fall silent, drip, or hang up. Each phase of dialing ends by its
//! own deadline with its own error, and no other link notices. Real sockets, real TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "the scripts of peers are tasks of the test")]
#![allow(clippy::large_futures, reason = "a test is polled in place")]

mod common;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::pki::TestCa;
use common::reach::{Documents, Zone, listen_as_east, west_with};
use common::stage::{Diary, brisk, plane_with};
use common::{loopback, raw, within};
use serde_json::json;
use sitelink::wire::frame::Frame;
use sitelink::wire::hello::SessionClaim;
use sitelink::{Access, DialError, Event, EventKind, LinkId, Phase, Plane, PlaneConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// West, whose phases end soon, and east, to whom a link comes up whatever becomes of others.
struct Scene {
    ca: TestCa,
    west: Plane,
    diary: Diary,
    zone: Zone,
    access: Access,
    east: Plane,
}

impl Scene {
    async fn new(config: PlaneConfig) -> Self {
        let (ca, zone) = (TestCa::new("ca"), Zone::default());
        let (west, east) = (west_with(config, zone.clone()).await, plane_with("east", brisk()).await);
        let access = listen_as_east(&east, loopback(), &ca).await;
        let diary = Diary::of(&west);
        Self { ca, west, diary, zone, access, east }
    }

    /// Keeps a link; its failures are told apart by its name.
    async fn link(&self, name: &str, documents: Documents) -> LinkId {
        Documents { name: name.to_owned(), ..documents }.link(&self.west, &self.ca).await
    }

    /// Links to an address on which something is wrong.
    async fn bad(&self, at: SocketAddr) -> LinkId {
        self.link("bad", Documents::new(&at.ip().to_string(), at.port())).await
    }

    /// A link to east comes up.
    async fn good(&mut self) {
        let good = self.link("good", Documents::new("127.0.0.1", self.access.address().port())).await;
        self.diary.one(|kind| matches!(kind, EventKind::GroupUp { link, .. } if *link == good)).await;
    }

    /// The link fails thrice in the same way, for it is dialed again and again; east is reached in between.
    async fn fails(&mut self, bad: LinkId) -> DialError {
        let failed = |kind: &EventKind| matches!(kind, EventKind::DialFailed { link, .. } if *link == bad);
        let first = error(&self.diary.one(failed).await);
        self.good().await;
        for again in self.diary.many(3, failed).await {
            assert_eq!(error(&again), first);
        }
        first
    }
}

fn error(event: &Event) -> DialError {
    let EventKind::DialFailed { phase, error, .. } = &event.kind else { unreachable!() };
    assert_eq!(*phase, error.phase());
    error.clone()
}

/// Every phase ends by itself after a while that a test can wait for, and nothing else does.
fn hasty() -> PlaneConfig {
    let mut config = brisk();
    config.deadlines.resolve = SOON;
    config.deadlines.connect = SOON;
    config.deadlines.proxy = SOON;
    config.deadlines.tls = SOON;
    config.deadlines.hello = SOON;
    config
}

fn timed_out(phase: Phase) -> DialError {
    DialError::TimedOut { phase, after: SOON }
}

/// A listener, each of whose connections is treated by `script`. It ends with its runtime.
async fn listener<F: Future<Output = ()> + Send + 'static>(
    script: impl Fn(TcpStream) -> F + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let script = script.clone();
            tokio::task::spawn(async move { script(tcp).await });
        }
    });
    address
}

/// Sends a byte now and then, for ever.
async fn drip(mut to: impl AsyncWriteExt + Unpin, bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        if to.write_all(&[*byte]).await.is_err() || to.flush().await.is_err() {
            return;
        }
        tokio::time::sleep(DRIP).await;
    }
}

/// Reads until the other end hangs up.
async fn swallow(mut from: impl AsyncReadExt + Unpin) {
    let mut scratch = [0; 1024];
    while matches!(from.read(&mut scratch).await, Ok(1..)) {}
}

#[tokio::test]
async fn a_name_whose_server_is_silent_ends_by_the_deadline_of_resolve() {
    let mut scene = Scene::new(hasty()).await;
    let bad = scene.link("bad", Documents::new("hung.test", 1)).await;
    assert_eq!(scene.fails(bad).await, timed_out(Phase::Resolve));
    assert_eq!(scene.zone.asked("hung.test"), 1, "each attempt hung a look-up of its own");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_drops_packets_ends_by_the_deadline_of_connect() {
    let hole = BlackHole::new().await;
    let mut scene = Scene::new(hasty()).await;
    let bad = scene.bad(hole.address).await;
    assert_eq!(scene.fails(bad).await, timed_out(Phase::Connect));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_link_may_have_a_deadline_to_connect_of_its_own() {
    let hole = BlackHole::new().await;
    let mut scene = Scene::new(brisk()).await;
    let documents = Documents::new("127.0.0.1", hole.address.port());
    let bad = scene.link("bad", documents.with(json!({ "connect-timeout": "150ms" }))).await;
    let after = Duration::from_millis(150);
    assert_eq!(scene.fails(bad).await, DialError::TimedOut { phase: Phase::Connect, after });
}

/// A listener whose queue is full: Linux drops what comes then, as a black hole does.
#[cfg(target_os = "linux")]
struct BlackHole {
    address: SocketAddr,
    _socket: socket2::Socket,
    _queued: Vec<TcpStream>,
}

#[cfg(target_os = "linux")]
impl BlackHole {
    async fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&loopback().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        while let Ok(tcp) = tokio::time::timeout(SOON, TcpStream::connect(address)).await {
            queued.push(tcp.unwrap());
        }
        Self { address, _socket: socket, _queued: queued }
    }
}

#[tokio::test]
async fn a_listener_that_accepts_and_says_nothing_ends_by_the_deadline_of_tls() {
    let mut scene = Scene::new(hasty()).await;
    let bad = scene.bad(listener(swallow).await).await;
    assert_eq!(scene.fails(bad).await, timed_out(Phase::Tls));
}

#[tokio::test]
async fn a_peer_that_drips_its_handshake_ends_by_the_deadline_of_tls() {
    let mut scene = Scene::new(hasty()).await;
    // A record of the handshake of 16 KiB, with a server hello of as much: nothing wrong with it but that it takes hours.
    let bad =
        scene.bad(listener(|tcp| drip(tcp, &[0x16, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc, 3, 3])).await).await;
    assert_eq!(scene.fails(bad).await, timed_out(Phase::Tls));
}

/// A listener that does TLS, and then something.
async fn after_tls<F: Future<Output = ()> + Send + 'static>(
    ca: &TestCa,
    script: impl Fn(TlsStream<TcpStream>) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(raw::server(&ca.server(&["127.0.0.1"]))));
    listener(move |tcp| {
        let (acceptor, script) = (acceptor.clone(), script.clone());
        async move {
            if let Ok(tls) = acceptor.accept(tcp).await {
                script(tls).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_peer_that_never_greets_ends_by_the_deadline_of_hello() {
    let mut scene = Scene::new(hasty()).await;
    let bad = scene.bad(after_tls(&scene.ca, swallow).await).await;
    assert_eq!(scene.fails(bad).await, timed_out(Phase::Hello));
}

#[tokio::test]
async fn a_peer_that_drips_its_hello_ends_by_the_deadline_of_hello() {
    let mut scene = Scene::new(hasty()).await;
    let hello = raw::hello("east", 0, SessionClaim::New);
    let hello: &'static [u8] = raw::encoded(&[Frame::Hello(Box::new(hello))]).leak();
    let bad = scene.bad(after_tls(&scene.ca, |tls| drip(tls, &hello[..8])).await).await;
    assert_eq!(scene.fails(bad).await, timed_out(Phase::Hello));
}

#[tokio::test]
async fn a_proxy_that_drips_its_answer_ends_by_the_deadline_of_proxy() {
    let mut scene = Scene::new(hasty()).await;
    let proxy = listener(|tcp| drip(tcp, b"HTTP/1.1 100 Continue\r\n\r\n")).await;
    let documents = Documents::new("east.test", 1).through(proxy, None);
    let bad = scene.link("bad", documents).await;
    assert_eq!(scene.fails(bad).await, timed_out(Phase::Proxy));
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_told_with_the_phase_in_which_it_did() {
    let mut scene = Scene::new(brisk()).await;
    let nobody = TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap();
    let at_once = listener(async |mut tcp: TcpStream| drop(tcp.read_u8().await)).await;
    let greeted = after_tls(&scene.ca, async |mut tls: TlsStream<TcpStream>| {
        tls.read_u8().await.unwrap();
        let _ = tls.shutdown().await;
        swallow(tls).await;
    })
    .await;
    let eof = ErrorKind::UnexpectedEof;
    let cases = [
        ("connect", Documents::new("127.0.0.1", nobody.port()), Phase::Connect, ErrorKind::ConnectionRefused),
        ("proxy", Documents::new("east.test", 1).through(greedy().await, None), Phase::Proxy, eof),
        ("tls", Documents::new("127.0.0.1", at_once.port()), Phase::Tls, ErrorKind::ConnectionReset),
        ("hello", Documents::new("127.0.0.1", greeted.port()), Phase::Hello, eof),
    ];
    for (name, documents, phase, kind) in cases {
        let link = scene.link(name, documents).await;
        let failed = scene
            .diary
            .one(|event| matches!(event, EventKind::DialFailed { link: of, .. } if *of == link))
            .await;
        let expected = match phase {
            Phase::Connect => DialError::Connect { address: nobody, kind },
            _ => DialError::Lost { phase, kind },
        };
        assert_eq!(error(&failed), expected, "{name}");
    }
    scene.good().await;
}

/// A proxy that reads the request and hangs up.
async fn greedy() -> SocketAddr {
    listener(async |mut tcp: TcpStream| {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(tcp.read_u8().await.unwrap());
        }
    })
    .await
}

#[tokio::test]
async fn a_slow_dial_does_not_delay_another_destination() {
    // With the deadlines that everybody has, ten seconds: the bad link has not failed when the good one is up.
    let mut scene = Scene::new(PlaneConfig::default()).await;
    let silent = TcpListener::bind(loopback()).await.unwrap();
    let bad = scene.bad(silent.local_addr().unwrap()).await;
    let _held = within(silent.accept()).await.unwrap();
    scene.good().await;
    let failed = |kind: &EventKind| matches!(kind, EventKind::DialFailed { link, .. } if *link == bad);
    assert_eq!(scene.diary.count(failed), 0);
}

#[tokio::test]
async fn two_hundred_links_to_hung_names_do_not_delay_one_to_an_address() {
    let mut scene = Scene::new(hasty()).await;
    let mut hung = Vec::new();
    for index in 0..200 {
        let (name, host) = (format!("hung-{index}"), format!("hung-{index}.test"));
        hung.push(scene.link(&name, Documents::new(&host, 1)).await);
    }
    scene.good().await;
    for link in hung {
        let failed = |kind: &EventKind| matches!(kind, EventKind::DialFailed { link: of, .. } if *of == link);
        assert_eq!(error(&scene.diary.one(failed).await), timed_out(Phase::Resolve));
    }
}

#[tokio::test]
async fn a_name_that_moves_is_followed() {
    let mut scene = Scene::new(brisk()).await;
    let here = scene.access.address();
    scene.zone.set("east.test", here);
    let link = scene.link("moving", Documents::new("east.test", here.port())).await;
    let mut up = scene.diary.many(1, |kind| matches!(kind, EventKind::SessionUp { .. })).await;
    assert_eq!(up.len(), 1);
    // The site is restarted at another address, under the same name.
    within(scene.east.shutdown(Duration::ZERO)).await;
    let there = SocketAddr::new(IpAddr::from([127, 0, 0, 9]), here.port());
    let moved = plane_with("east", brisk()).await;
    listen_as_east(&moved, there, &scene.ca).await;
    scene.zone.set("east.test", there);
    up = scene.diary.many(2, |kind| matches!(kind, EventKind::SessionUp { .. })).await;
    assert_eq!(up.len(), 2);
    assert_eq!(carriers(&scene.west, link).last(), Some(&there));
}

#[tokio::test]
async fn failures_to_connect_lead_to_new_look_ups() {
    let mut scene = Scene::new(brisk()).await;
    let port = scene.access.address().port();
    let stale = SocketAddr::new(IpAddr::from([127, 0, 0, 9]), port);
    scene.zone.set("east.test", stale);
    scene.link("stale", Documents::new("east.test", port)).await;
    let failures = scene.diary.many(3, |kind| matches!(kind, EventKind::DialFailed { .. })).await;
    for failure in &failures[..3] {
        assert_eq!(error(failure), DialError::Connect { address: stale, kind: ErrorKind::ConnectionRefused });
    }
    assert!(scene.zone.asked("east.test") >= 3);
    scene.zone.set("east.test", scene.access.address());
    scene.diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
}

#[tokio::test]
async fn a_link_comes_from_its_bind_address_and_a_changed_one_counts_from_the_next_dial() {
    let mut scene = Scene::new(brisk()).await;
    let mut at_east = Diary::of(&scene.east);
    let documents = Documents::new("127.0.0.1", scene.access.address().port());
    let from = |address: &str| documents.clone().with(json!({ "bind-address": address, "keepalive": "5s" }));
    let link = from("127.0.0.5").link(&scene.west, &scene.ca).await;
    let arrived = at_east.one(|kind| matches!(kind, EventKind::CarrierUp { .. })).await;
    assert!(came_from(&arrived, [127, 0, 0, 5]), "{arrived:?}");
    // What is still being dialed is dialed anew, by the new settings; what is up stays.
    scene.diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;

    from("127.0.0.6").relink(&scene.west, link, &scene.ca).await;
    scene
        .diary
        .one(|kind| matches!(kind, EventKind::LinkChanged { changes, .. } if changes.contains(&"settings".into())))
        .await;
    let session = scene.west.status().sessions[0].session;
    assert_eq!(scene.diary.count(|kind| matches!(kind, EventKind::CarrierDown { .. })), 0);
    scene.west.disconnect(session).await;
    at_east.until(|all| all.iter().any(|event| came_from(event, [127, 0, 0, 6]))).await;
}

#[tokio::test]
async fn an_address_to_dial_from_that_is_not_there_is_told() {
    let mut scene = Scene::new(brisk()).await;
    // RFC 5737: documentation, nobody's.
    let settings = json!({ "bind-address": "192.0.2.1" });
    let documents = Documents::new("127.0.0.1", scene.access.address().port()).with(settings);
    let bad = scene.link("bad", documents).await;
    let address = IpAddr::from([192, 0, 2, 1]);
    assert_eq!(scene.fails(bad).await, DialError::Bind { address, kind: ErrorKind::AddrNotAvailable });
}

fn came_from(event: &Event, address: [u8; 4]) -> bool {
    matches!(event.kind, EventKind::CarrierUp { remote, .. } if remote.ip() == IpAddr::from(address))
}

/// The far addresses of the carriers of a link's live session.
fn carriers(plane: &Plane, link: LinkId) -> Vec<SocketAddr> {
    let status = plane.status();
    let live = status.links.iter().find(|view| view.link == link).unwrap().groups[0].session;
    let session = status.sessions.iter().find(|view| Some(view.session) == live).unwrap();
    session.carriers.iter().map(|carrier| carrier.remote).collect()
}

/// The deadline of every phase of a hasty plane.
const SOON: Duration = Duration::from_millis(300);

/// Between the bytes of a peer that drips: many within a deadline, so that each of them would prolong it.
const DRIP: Duration = Duration::from_millis(10);
