//! Peers that mean ill: each is told by its code what it did and cut, and nobody else notices.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "the scripts of peers are tasks of the test")]
#![allow(clippy::large_futures, reason = "a test is polled in place")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::pki::TestCa;
use common::raw::{self, RawPeer, encoded, hello};
use common::stage::single;
use common::{credentials, key, loopback, plane, plane_with, until, within};
use sitelink::wire::frame::{CloseScope, ControlChange, Frame, OpenTo};
use sitelink::wire::hello::{DeadCarrier, SessionClaim};
use sitelink::{
    Access, AccessSpec, CarrierEnd, CarrierNumber, CloseCode, DialError, EventKind, Events, LinkRole,
    LinkStream, OpenRequest, PeerRefusal, Phase, Plane, PlaneConfig, SessionEnd, SessionNumber, StreamCode,
    StreamId, Violation,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// East, to whom an honest west is linked and streams all the while.
struct Yard {
    ca: TestCa,
    east: Plane,
    events: Events,
    access: Access,
    honest: SessionNumber,
    /// West's end of a stream that east echoes.
    stream: LinkStream,
    rounds: u8,
    _west: Plane,
}

impl Yard {
    async fn new(config: PlaneConfig) -> Self {
        let ca = TestCa::new("ca");
        let (east, west) = (plane_with("east", config).await, plane_with("west", single(steady())).await);
        let mut events = east.events();
        east.serve(&key("echo")).unwrap();
        let server = credentials("east", &ca.server(&["127.0.0.1"]));
        let access = east.listen(AccessSpec::new(loopback(), LinkRole::InterRouter), server).await.unwrap();
        common::link(&west, "east", access.address(), credentials("west", &ca.client("west"))).await;
        let mut honest = None;
        until(&mut events, |kind| {
            if let EventKind::SessionUp { session, .. } = kind {
                honest = Some(*session);
            }
            honest.is_some()
        })
        .await;
        let echo = east.clone();
        tokio::task::spawn(async move {
            let mut stream = echo.accept().await.unwrap().accept().unwrap();
            while let Ok(Some(bytes)) = stream.recv().await {
                stream.send(bytes).await.unwrap();
            }
        });
        let request = OpenRequest::to_key(key("echo")).wait_for_path(Duration::from_secs(10));
        let stream = within(west.open(request)).await.unwrap();
        let mut yard =
            Self { ca, east, events, access, honest: honest.unwrap(), stream, rounds: 0, _west: west };
        yard.is_untroubled("before").await;
        yard
    }

    /// A peer that was admitted, and its session.
    async fn guest(&mut self) -> (RawPeer, SessionNumber) {
        let tls = raw::client(&self.ca.client("guest"));
        let mut peer = RawPeer::dial(self.access.address(), tls).await.unwrap();
        peer.greet(hello("guest", 0, SessionClaim::New)).await.unwrap();
        let mut number = None;
        self.event(|kind| {
            match kind {
                EventKind::SessionUp { session, peer, .. } if peer.site_id.as_str() == "guest" => {
                    number = Some(*session);
                }
                _ => {}
            }
            number.is_some()
        })
        .await;
        (peer, number.unwrap())
    }

    /// The next such event; none until then is about the honest session.
    async fn event(&mut self, mut wanted: impl FnMut(&EventKind) -> bool) {
        let honest = self.honest;
        until(&mut self.events, |kind| {
            let troubled = match kind {
                EventKind::CarrierDown { session, .. }
                | EventKind::SessionRecovering { session, .. }
                | EventKind::SessionDown { session, .. } => *session == honest,
                _ => false,
            };
            assert!(!troubled, "{kind:?}");
            wanted(kind)
        })
        .await;
    }

    /// The guest's carrier and then its session end so.
    async fn ends(
        &mut self,
        guest: SessionNumber,
        carrier: impl Fn(&CarrierEnd) -> bool,
        session: SessionEnd,
    ) {
        self.event(|kind| match kind {
            EventKind::CarrierDown { session, end, .. } => {
                assert!(*session == guest && carrier(end), "{kind:?}");
                true
            }
            _ => false,
        })
        .await;
        self.event(|kind| match kind {
            EventKind::SessionDown { session: number, end, .. } => {
                assert_eq!((*number, end), (guest, &session));
                true
            }
            _ => false,
        })
        .await;
    }

    /// The honest stream goes on, and of nobody else anything is left.
    async fn is_untroubled(&mut self, what: &str) {
        self.rounds += 1;
        let sent = Bytes::from(vec![self.rounds; 50_000]);
        within(self.stream.send(sent.clone())).await.unwrap();
        let mut back = Vec::new();
        while back.len() < sent.len() {
            back.extend(within(self.stream.recv()).await.unwrap().unwrap());
        }
        assert!(back == sent, "{what}");
        let sessions = self.east.status().sessions;
        let numbers: Vec<_> = sessions.iter().map(|session| session.session).collect();
        assert_eq!(numbers, [self.honest], "{what}");
        assert_eq!((sessions[0].carriers.len(), sessions[0].streams), (1, 1), "{what}");
    }
}

/// Room for little, so that it is soon exceeded.
fn narrow() -> PlaneConfig {
    let mut config = steady();
    config.session.max_streams = STREAMS;
    config.session.keys = KEYS;
    config
}

/// Suspects nobody: on a busy machine an honest peer may be late, and would get a second carrier.
fn steady() -> PlaneConfig {
    let mut config = PlaneConfig::default();
    config.liveness.suspect_floor = config.liveness.suspect_cap;
    config
}

fn open(stream: u64) -> Frame {
    Frame::Open { stream: StreamId(stream), destination: OpenTo::Key(key("echo")), metadata: Bytes::new() }
}

fn data(stream: u64, length: usize) -> Frame {
    Frame::Data { stream: StreamId(stream), payload: vec![0; length].into() }
}

fn serve(sequence: u64) -> Frame {
    Frame::Control { sequence, change: ControlChange::Serve(key(&format!("key-{sequence}"))) }
}

/// What breaks the protocol at either end.
fn breaches() -> Vec<(&'static str, Vec<u8>, Violation)> {
    let (stream, code) = (StreamId(0), StreamCode(0));
    let finish = |total| Frame::Finish { stream, total };
    let pings: Vec<_> = (0..2 * BUDGET).map(|token| Frame::Ping { token }).collect();
    let strays: Vec<_> = (0..2 * BUDGET).map(|_| data(40, 1)).collect();
    let closing = |carrier| Frame::CarrierDead { carrier: CarrierNumber(carrier), received: 0 };
    vec![
        ("a frame beyond its limit", vec![0x42, 0, 0, 9], Violation::TooLarge),
        ("an unknown critical kind", vec![0x3f, 0, 0, 0], Violation::UnknownKind),
        ("a ping without token", vec![0x42, 0, 0, 0], Violation::Malformed),
        ("empty data", vec![0x04, 0, 0, 1, 0], Violation::Malformed),
        (
            "a second hello",
            encoded(&[Frame::Hello(Box::new(hello("guest", 0, SessionClaim::New)))]),
            Violation::Unexpected,
        ),
        ("data beyond the credit", encoded(&[open(0), data(0, 16_000), data(0, 385)]), Violation::Credit),
        ("data behind the end", encoded(&[open(0), finish(0), data(0, 1)]), Violation::Unexpected),
        (
            "a second end",
            encoded(&[open(0), finish(0), Frame::Reset { stream, code }]),
            Violation::Unexpected,
        ),
        ("an end at another length", encoded(&[open(0), data(0, 5), finish(6)]), Violation::FinalSize),
        ("an accept of its own stream", encoded(&[open(0), Frame::Accept { stream }]), Violation::Unexpected),
        ("a stream opened twice", encoded(&[open(0), open(0)]), Violation::Unexpected),
        ("a stream of the other end", encoded(&[open(1)]), Violation::Unexpected),
        (
            "a stream too many",
            encoded(&(0..=STREAMS).map(|k| open(2 * k)).collect::<Vec<_>>()),
            Violation::StreamLimit,
        ),
        ("a stream far ahead", encoded(&[open(1 << 40)]), Violation::StreamLimit),
        ("a key too many", encoded(&(0..=KEYS as u64).map(serve).collect::<Vec<_>>()), Violation::KeyLimit),
        ("a change twice", encoded(&[serve(0), serve(0)]), Violation::Unexpected),
        (
            "an acknowledgement of the future",
            encoded(&[Frame::Ack { received: 1 << 40, delay_micros: 0 }]),
            Violation::BadAck,
        ),
        ("the death of its own carrier", encoded(&[closing(0)]), Violation::Unexpected),
        ("a flood of pings", encoded(&pings), Violation::Flood),
        ("a flood of data for no stream", encoded(&strays), Violation::Flood),
    ]
}

#[tokio::test]
async fn a_breach_of_the_protocol_ends_its_session_with_its_code_and_no_other() {
    let mut yard = Yard::new(narrow()).await;
    for (what, bytes, violation) in breaches() {
        let code = CloseCode::from(violation);
        let (mut peer, guest) = yard.guest().await;
        // East may have closed before it has all.
        let _ = peer.send_bytes(&bytes).await;
        assert_eq!(peer.closed().await, Some((CloseScope::Session, code)), "{what}");
        yard.ends(guest, |end| *end == CarrierEnd::Closed(code), SessionEnd::Violation(violation)).await;
        yard.is_untroubled(what).await;
    }
}

/// Cheap frames without end: a name, how many are taken ahead of all work, and the bytes of each by its number.
type Cheap = (&'static str, u64, fn(u64) -> Vec<u8>);

fn floods() -> Vec<Cheap> {
    const ID: StreamId = StreamId(40);
    const CODE: StreamCode = StreamCode::CANCELLED;
    vec![
        ("opens of what is not served, reset at once", REFUSALS + BUDGET / 2, |k| {
            let stream = StreamId(2 * k);
            let destination = OpenTo::Key(key("nobody"));
            let open = Frame::Open { stream, destination, metadata: Bytes::new() };
            encoded(&[open, Frame::Reset { stream, code: CODE }])
        }),
        ("opens of what is busy", REFUSALS + BUDGET, |k| encoded(&[open(2 * k)])),
        ("opens of what is busy, reset at once", REFUSALS + BUDGET / 2, |k| {
            encoded(&[open(2 * k), Frame::Reset { stream: StreamId(2 * k), code: CODE }])
        }),
        ("credits", BUDGET, |limit| {
            let credit = Frame::Credit { stream: StreamId(0), limit };
            if limit == 0 { encoded(&[open(0), credit]) } else { encoded(&[credit]) }
        }),
        ("credits of no stream", BUDGET, |limit| encoded(&[Frame::Credit { stream: ID, limit }])),
        ("resets of no stream", BUDGET, |_| encoded(&[Frame::Reset { stream: ID, code: CODE }])),
        ("stops of no stream", BUDGET, |_| encoded(&[Frame::Stop { stream: ID, code: CODE }])),
        ("acknowledgements", BUDGET, |_| encoded(&[Frame::Ack { received: 0, delay_micros: 0 }])),
        ("pongs", BUDGET, |token| encoded(&[Frame::Pong { token }])),
        ("stream limits", BUDGET, |limit| encoded(&[Frame::MaxStreams { limit }])),
        ("key changes", KEY_CHANGES + BUDGET, |sequence| {
            encoded(&[Frame::Control { sequence, change: ControlChange::Withdraw(key("nothing")) }])
        }),
        ("other changes", BUDGET, |sequence| {
            encoded(&[Frame::Control { sequence, change: ControlChange::Active(true) }])
        }),
        ("unknown kinds that may be ignored", BUDGET, |_| vec![0x80, 0, 0, 0]),
        ("unknown kinds that do not even count", BUDGET, |_| vec![0xc0, 0, 0, 0]),
    ]
}

#[tokio::test]
async fn a_flood_of_anything_cheap_is_cut_when_its_budget_is_used_up_and_no_sooner() {
    let mut config = steady();
    (config.session.max_streams, config.session.unaccepted) = (1 << 20, 4);
    let mut yard = Yard::new(config).await;
    for (what, budget, bytes) in floods() {
        let (mut peer, guest) = yard.guest().await;
        let sent = peer.flood(budget, bytes).await;
        // Time pays for a few more; how many hangs on the machine.
        assert!(sent + CHUNK > budget, "{what}: {sent}");
        let violation = Violation::Flood;
        let code = CloseCode::from(violation);
        yard.ends(guest, |end| *end == CarrierEnd::Closed(code), SessionEnd::Violation(violation)).await;
        yard.is_untroubled(what).await;
    }
}

impl RawPeer {
    /// Sends cheap frames, a chunk when the one before was taken, until it is told to cease; returns how many.
    async fn flood(&mut self, budget: u64, bytes: fn(u64) -> Vec<u8>) -> u64 {
        let mut sent = 0;
        while sent < 4 * budget {
            let mut chunk: Vec<_> = (sent..sent + CHUNK).flat_map(bytes).collect();
            sent += CHUNK;
            chunk.extend(encoded(&[Frame::Ping { token: sent }]));
            self.send_bytes(&chunk).await.unwrap();
            loop {
                match self.next().await.expect("ended without a word") {
                    Frame::Pong { token } if token == sent => break,
                    Frame::Close { scope, code, .. } => {
                        assert_eq!((scope, code), (CloseScope::Session, CloseCode::FLOOD));
                        assert_eq!(self.next().await, None);
                        return sent;
                    }
                    _ => {}
                }
            }
        }
        panic!("{sent} were taken");
    }
}

#[tokio::test]
async fn a_breach_by_an_acceptor_ends_the_session_it_was_dialed_for() {
    let ca = TestCa::new("ca");
    for (what, bytes, violation) in [
        ("an unknown critical kind", vec![0x3f, 0, 0, 0], Violation::UnknownKind),
        (
            "an acknowledgement of the future",
            encoded(&[Frame::Ack { received: 1, delay_micros: 0 }]),
            Violation::BadAck,
        ),
        ("a stream of the other end", encoded(&[open(0)]), Violation::Unexpected),
    ] {
        let code = CloseCode::from(violation);
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let west = plane("west").await;
        let mut events = west.events();
        let (to, with) = (listener.local_addr().unwrap(), credentials("west", &ca.client("west")));
        let link = common::link(&west, "east", to, with).await;
        let mut peer = RawPeer::accept(&listener, raw::server(&ca.server(&["127.0.0.1"]))).await.unwrap();
        drop(listener);
        assert!(matches!(peer.next().await, Some(Frame::Hello(_))));
        let begun = SessionClaim::Begun {
            session: sitelink::SessionId([1; 16]),
            secret: sitelink::wire::hello::SessionSecret([2; 32]),
        };
        peer.send(&[Frame::Hello(Box::new(hello("east", 0, begun)))]).await;
        until(&mut events, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
        peer.send_bytes(&bytes).await.unwrap();
        assert_eq!(peer.closed().await, Some((CloseScope::Session, code)), "{what}");
        let mut down = 0;
        until(&mut events, |kind| {
            match kind {
                EventKind::SessionDown { end, .. } => {
                    assert_eq!(*end, SessionEnd::Violation(violation), "{what}")
                }
                EventKind::GroupDown { link: of, .. } => assert_eq!(*of, link),
                _ => return false,
            }
            down += 1;
            down == 2
        })
        .await;
        // Nobody is there any more, but the link is kept.
        until(&mut events, |kind| {
            let EventKind::DialFailed { error, .. } = kind else { return false };
            matches!(error, DialError::Connect { .. })
        })
        .await;
        assert_eq!(west.status().sessions, [], "{what}");
    }
}

#[tokio::test]
async fn what_may_be_ignored_is_ignored_and_counted() {
    let mut yard = Yard::new(narrow()).await;
    let (mut peer, guest) = yard.guest().await;
    let stream = StreamId(40);
    let logged = [
        encoded(&[
            data(40, 100),
            data(41, 1),
            Frame::Credit { stream, limit: 9 },
            Frame::Stop { stream, code: StreamCode(1) },
        ]),
        vec![0x80, 0, 0, 3, 1, 2, 3],
        vec![0xbf, 0, 0, 0],
    ]
    .concat();
    let unlogged = [vec![0xc0, 0, 0, 2, 1, 2], encoded(&[Frame::Pong { token: 77 }])].concat();
    peer.send_bytes(&[unlogged, logged.clone()].concat()).await.unwrap();
    // Both ends count alike, or acknowledging would fall apart from here on.
    loop {
        match peer.next().await.unwrap() {
            Frame::Ack { received, .. } if received == logged.len() as u64 => break,
            Frame::Ack { received, .. } => assert!(received < logged.len() as u64, "{received}"),
            Frame::Close { code, .. } => panic!("{code:?}"),
            _ => {}
        }
    }
    assert!(peer.is_answered(5).await);
    drop(peer);
    let gone = |end: &CarrierEnd| matches!(end, CarrierEnd::Eof | CarrierEnd::Io(_));
    yard.ends(guest, gone, SessionEnd::ResumeExpired(Duration::ZERO)).await;
    yard.is_untroubled("afterwards").await;
}

#[tokio::test]
async fn a_peer_that_goes_in_the_middle_of_a_frame_is_lost_and_no_more() {
    let mut yard = Yard::new(narrow()).await;
    for half in [&[0x42, 0][..], &[0x04, 0, 0x10, 0, 0, 1, 2, 3], &[0x40, 0, 0x0f]] {
        let (mut peer, guest) = yard.guest().await;
        peer.send_bytes(half).await.unwrap();
        peer.stream.shutdown().await.unwrap();
        yard.ends(guest, |end| *end == CarrierEnd::Eof, SessionEnd::ResumeExpired(Duration::ZERO)).await;
        yard.is_untroubled("half a frame").await;
    }
}

#[tokio::test]
async fn a_peer_that_falls_silent_in_the_middle_of_a_frame_is_held_dead() {
    let mut config = narrow();
    (config.liveness.keepalive, config.liveness.dead) = (Duration::from_millis(200), Duration::from_secs(2));
    let mut yard = Yard::new(config).await;
    let (mut peer, guest) = yard.guest().await;
    peer.send_bytes(&[0x04, 0, 0x10, 0, 0, 1, 2, 3]).await.unwrap();
    let dead =
        |end: &CarrierEnd| matches!(end, CarrierEnd::Dead(silence) if *silence >= Duration::from_secs(2));
    yard.ends(guest, dead, SessionEnd::ResumeExpired(Duration::ZERO)).await;
    while peer.next().await.is_some() {}
    yard.is_untroubled("silence").await;
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_and_never_ceases_is_told_and_cut() {
    let mut yard = Yard::new(narrow()).await;
    let (peer, guest) = yard.guest().await;
    let RawPeer { stream, mut decoder, received } = peer;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        let mut result = writer.write_all(&[0x3f, 0, 0, 0]).await;
        while result.is_ok() {
            result = writer.write_all(&[0x3f; 16_384]).await;
        }
    };
    let mut all = received.to_vec();
    // However it ends: a peer that does not listen may see its connection reset.
    let ((), _) = within(async { tokio::join!(writing, reader.read_to_end(&mut all)) }).await;
    let mut left = &all[..];
    let mut told = Vec::new();
    while let Some(decoded) = decoder.decode(&mut left).unwrap() {
        if let Frame::Close { scope, code, .. } = decoded.frame {
            told.push((scope, code));
        }
    }
    let violation = Violation::UnknownKind;
    let code = CloseCode::from(violation);
    assert_eq!(told, [(CloseScope::Session, code)]);
    yard.ends(guest, |end| *end == CarrierEnd::Closed(code), SessionEnd::Violation(violation)).await;
    yard.is_untroubled("garbage without end").await;
}

#[tokio::test]
async fn a_link_gets_through_a_crowd_of_half_open_connections() {
    let ca = TestCa::new("ca");
    let (east, west) = (plane("east").await, plane("west").await);
    let (mut east_events, mut west_events) = (east.events(), west.events());
    let server = credentials("east", &ca.server(&["127.0.0.1"]));
    let access = east.listen(AccessSpec::new(loopback(), LinkRole::InterRouter), server).await.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(within(TcpStream::connect(access.address())).await.unwrap());
    }
    common::link(&west, "east", access.address(), credentials("west", &ca.client("west"))).await;
    until(&mut west_events, |kind| {
        assert!(!matches!(kind, EventKind::DialFailed { .. }), "{kind:?}");
        matches!(kind, EventKind::GroupUp { .. })
    })
    .await;
    // All but those who still have a place; the link had one, too.
    let (mut evicted, mut up) = (0, false);
    until(&mut east_events, |kind| {
        match kind {
            EventKind::PeerRefused { phase, refusal, .. } => {
                assert_eq!((*phase, refusal), (Phase::Tls, &PeerRefusal::Evicted));
                evicted += 1;
            }
            EventKind::SessionUp { .. } => up = true,
            _ => {}
        }
        up && evicted == CROWD + 1 - PLACES
    })
    .await;
    assert_eq!(east.status().sessions.len(), 1);
}

/// Sends its bytes one by one until they are used up or the other end has closed; whether it had.
async fn trickle(to: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), bytes: &[u8]) -> bool {
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut answer = [0; 1024];
    for byte in bytes {
        tokio::select! {
            _ = pace.tick() => if to.write_all(&[*byte]).await.is_err() || to.flush().await.is_err() { return true },
            read = to.read(&mut answer) => if !read.is_ok_and(|count| count > 0) { return true },
        }
    }
    false
}

#[tokio::test]
async fn a_peer_that_trickles_is_cut_at_the_deadline_of_its_phase() {
    let mut config = narrow();
    (config.deadlines.tls, config.deadlines.hello) =
        (Duration::from_millis(1500), Duration::from_millis(400));
    let mut yard = Yard::new(config).await;
    // A record of 512 bytes that begins as a client's hello does.
    let mut record = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    record.resize(517, 0);
    let mut tcp = TcpStream::connect(yard.access.address()).await.unwrap();
    assert!(within(trickle(&mut tcp, &record)).await);
    let late = |phase, after| PeerRefusal::TimedOut { phase, after };
    yard.is_refused(Phase::Tls, late(Phase::Tls, Duration::from_millis(1500))).await;

    let tls = raw::client(&yard.ca.client("guest"));
    let mut peer = RawPeer::dial(yard.access.address(), tls).await.unwrap();
    let bytes = encoded(&[Frame::Hello(Box::new(hello("guest", 0, SessionClaim::New)))]);
    assert!(within(trickle(&mut peer.stream, &bytes)).await);
    yard.is_refused(Phase::Hello, late(Phase::Hello, Duration::from_millis(400))).await;
    yard.is_untroubled("trickling").await;
}

#[tokio::test]
async fn carriers_that_a_beginning_says_it_has_lost_are_not_looked_at() {
    let yard = Yard::new(PlaneConfig::default()).await;
    let tls = raw::client(&yard.ca.client("guest"));
    let mut guest = RawPeer::dial(yard.access.address(), tls).await.unwrap();
    let mut first = hello("guest", 0, SessionClaim::New);
    first.dead =
        [0, 4_000_000_000].map(|number| DeadCarrier { number: CarrierNumber(number), received: 9 }).into();
    guest.greet(first).await.unwrap();
    assert!(guest.is_answered(7).await, "its session lives");
}

#[tokio::test]
async fn a_hello_with_its_close_behind_it_takes_nobodys_place() {
    let mut yard = Yard::new(PlaneConfig::default()).await;
    let (_guest, session) = yard.guest().await;
    let mut late = RawPeer::dial(yard.access.address(), raw::client(&yard.ca.client("guest"))).await.unwrap();
    let ours = Frame::Hello(Box::new(hello("guest", 0, SessionClaim::New)));
    let (scope, code, detail) = (CloseScope::Session, CloseCode::NORMAL, "given up".to_owned());
    late.send(&[ours, Frame::Close { scope, code, retry_after_millis: 0, detail }]).await;
    assert_eq!(within(late.next()).await, None);
    let sessions: Vec<_> = yard.east.status().sessions.iter().map(|view| view.session).collect();
    assert!(sessions.contains(&session), "{sessions:?}");
}

impl Yard {
    async fn is_refused(&mut self, at: Phase, why: PeerRefusal) {
        self.event(|kind| match kind {
            EventKind::PeerRefused { phase, refusal, .. } => {
                assert_eq!((*phase, refusal), (at, &why));
                true
            }
            _ => false,
        })
        .await;
    }
}

const STREAMS: u64 = 8;
const KEYS: usize = 4;
/// Cheap frames that are taken ahead of all work.
const BUDGET: u64 = 20_000;
/// Refused opens that are forgiven, ahead of all time.
const REFUSALS: u64 = 20_000;
/// Key changes that are free of charge, ahead of all time.
const KEY_CHANGES: u64 = 40_000;
/// Frames of a flood between two looks at what it brings.
const CHUNK: u64 = 1000;
const CROWD: usize = 200;
/// Unfinished handshakes of one address.
const PLACES: usize = 64;
