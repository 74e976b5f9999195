//! Who is let in and who is not: every refusal is typed at the end that has to tell it, and none looks like a link.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "the scripts of peers are tasks of the test")]
#![allow(clippy::large_futures, reason = "a test is polled in place")]

mod common;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use common::pki::{Bundle, TestCa};
use common::raw::{self, RawPeer, hello, proof};
use common::{Pair, credentials, document, loopback, plane, plane_with, until, within};
use sitelink::wire::frame::{CloseScope, Frame};
use sitelink::wire::hello::{Hello, SessionClaim};
use sitelink::{
    Access, AccessSpec, CarrierEnd, CarrierNumber, CloseCode, Credentials, CredentialsError,
    CredentialsParts, DialError, EventKind, Events, Instance, LinkId, LinkRole, Manifest, Ordinal,
    PeerRefusal, Phase, Plane, PlaneConfig, PlaneError, SessionEnd, SessionId, SiteId, TlsReason, Violation,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// West with a link to somewhere, and what it tells.
struct West {
    plane: Plane,
    events: Events,
    link: LinkId,
    endpoint: String,
}

impl West {
    async fn dials(host: &str, port: u16, with: Credentials, config: PlaneConfig) -> Self {
        let plane = plane_with("west", config).await;
        let events = plane.events();
        let manifest = Manifest::parse(document("east", host, port), "test");
        let spec = manifest.link("east").unwrap().clone();
        let link = plane.link(spec, Some(with)).await.unwrap();
        Self { plane, events, link, endpoint: format!("{host}:{port}") }
    }

    /// The error of the next attempt; its phase is the error's own. Nothing looks up before it, nor after it.
    async fn refused(&mut self) -> DialError {
        let mut told = None;
        until(&mut self.events, |kind| {
            assert!(!shows_up(kind), "{kind:?}");
            let EventKind::DialFailed { link, endpoint, phase, error, .. } = kind else { return false };
            assert_eq!((*link, &**endpoint, *phase), (self.link, &*self.endpoint, error.phase()));
            told = Some(error.clone());
            true
        })
        .await;
        let (error, status) = (told.unwrap(), self.plane.status());
        assert_eq!(status.sessions, []);
        assert!(!status.links[0].operational);
        let shown = self.plane.link_status(self.link).unwrap();
        // A later attempt may be told there already, which fails in the same way, a second later perhaps.
        let words = format!("Not operational: {}: ", self.endpoint);
        assert!(shown.message.starts_with(&words), "{}", shown.message);
        timeless(error)
    }
}

/// East with an access, and what it tells.
struct East {
    plane: Plane,
    events: Events,
    access: Access,
}

impl East {
    async fn listens(with: Credentials, config: PlaneConfig) -> Self {
        let plane = plane_with("east", config).await;
        let events = plane.events();
        let access = plane.listen(AccessSpec::new(loopback(), LinkRole::InterRouter), with).await.unwrap();
        Self { plane, events, access }
    }

    fn address(&self) -> SocketAddr {
        self.access.address()
    }

    /// Why the next peer was refused. Nothing looks up before it, nor after it.
    async fn refused(&mut self) -> (Phase, PeerRefusal) {
        let told = self.next_refusal().await;
        assert_eq!(self.plane.status().sessions, []);
        told
    }

    /// The same where sessions live.
    async fn next_refusal(&mut self) -> (Phase, PeerRefusal) {
        let mut told = None;
        until(&mut self.events, |kind| {
            assert!(!shows_up(kind), "{kind:?}");
            let EventKind::PeerRefused { access, address, phase, refusal } = kind else { return false };
            assert_eq!((*access, address.ip()), (self.access.id(), loopback().ip()));
            told = Some((*phase, refusal.clone()));
            true
        })
        .await;
        match told.unwrap() {
            (phase, PeerRefusal::Tls(reason)) => (phase, PeerRefusal::Tls(timeless_reason(reason))),
            told => told,
        }
    }
}

fn shows_up(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::GroupUp { .. }
            | EventKind::SessionUp { .. }
            | EventKind::CarrierUp { .. }
            | EventKind::LinkOperational { operational: true, .. }
    )
}

/// The same with the clock's part taken out, and with what is only the words of the TLS library.
fn timeless(error: DialError) -> DialError {
    match error {
        DialError::Tls(reason) => DialError::Tls(timeless_reason(reason)),
        error => error,
    }
}

fn timeless_reason(reason: TlsReason) -> TlsReason {
    match reason {
        TlsReason::Expired { not_after, now } => {
            assert!(now > not_after, "{now}");
            TlsReason::Expired { not_after, now: 0 }
        }
        TlsReason::NotYetValid { not_before, now } => {
            assert!(now < not_before, "{now}");
            TlsReason::NotYetValid { not_before, now: 0 }
        }
        TlsReason::Other { .. } => TlsReason::Other { problem: "".into() },
        reason => reason,
    }
}

fn short_deadlines() -> PlaneConfig {
    let mut config = PlaneConfig::default();
    config.deadlines.hello = SHORT;
    config
}

fn certificate_refused(alert: &str) -> TlsReason {
    TlsReason::CertificateRefused { alert: alert.into() }
}

fn unknown_issuer(subject: &str, issuer: &str) -> TlsReason {
    TlsReason::UnknownIssuer { subject: subject.into(), issuer: issuer.into() }
}

fn wrong_name(found: &[&str]) -> TlsReason {
    TlsReason::WrongName {
        expected: "127.0.0.1".into(),
        found: found.iter().map(|name| (*name).into()).collect(),
    }
}

fn no_common_protocol() -> TlsReason {
    TlsReason::NoCommonProtocol { expected: "sitelink/1".into() }
}

fn lost_in_hello(kind: io::ErrorKind) -> DialError {
    DialError::Lost { phase: Phase::Hello, kind }
}

/// West's bundle, east's bundle, what west says of the refusal, what east says.
struct Meeting {
    what: &'static str,
    west: Bundle,
    east: Bundle,
    dialed: TlsReason,
    accepted: TlsReason,
}

fn meetings() -> Vec<Meeting> {
    let (ca, foreign) = (TestCa::new("ca"), TestCa::new("foreign"));
    let (client, server) = (|| ca.client("west"), || ca.server(&["127.0.0.1"]));
    let expired = || TlsReason::Expired { not_after: 788_918_400, now: 0 };
    let not_yet = || TlsReason::NotYetValid { not_before: 32_503_680_000, now: 0 };
    let purpose =
        || TlsReason::BadCertificate { problem: "its extended key usage does not allow this use".into() };
    let meeting = |what, west, east, dialed, accepted| Meeting { what, west, east, dialed, accepted };
    let of_acceptor =
        |what, east, dialed, alert| meeting(what, client(), east, dialed, certificate_refused(alert));
    let of_dialer =
        |what, west, accepted, alert| meeting(what, west, server(), certificate_refused(alert), accepted);
    vec![
        of_acceptor(
            "an acceptor of a foreign authority",
            foreign.server(&["127.0.0.1"]).trusting(&ca),
            unknown_issuer("CN=127.0.0.1", "CN=foreign"),
            "certificate_unknown",
        ),
        of_dialer(
            "a dialer of a foreign authority",
            foreign.client("west").trusting(&ca),
            unknown_issuer("CN=west", "CN=foreign"),
            "certificate_unknown",
        ),
        of_dialer(
            "a dialer of another authority with the same name",
            TestCa::new("ca").client("west").trusting(&ca),
            unknown_issuer("CN=west", "another CN=ca of the same name"),
            "certificate_unknown",
        ),
        of_acceptor(
            "an acceptor that has expired",
            ca.expired().server(&["127.0.0.1"]),
            expired(),
            "certificate_expired",
        ),
        of_dialer("a dialer that has expired", ca.expired().client("west"), expired(), "certificate_expired"),
        of_acceptor(
            "an acceptor that is not valid yet",
            ca.not_yet_valid().server(&["127.0.0.1"]),
            not_yet(),
            "certificate_expired",
        ),
        of_dialer(
            "a dialer that is not valid yet",
            ca.not_yet_valid().client("west"),
            not_yet(),
            "certificate_expired",
        ),
        of_acceptor(
            "an acceptor of another name",
            ca.server(&["east.example", "127.0.0.2"]),
            wrong_name(&["east.example", "127.0.0.2"]),
            "bad_certificate",
        ),
        of_acceptor(
            "an acceptor with a common name alone",
            ca.client("127.0.0.1"),
            wrong_name(&[]),
            "bad_certificate",
        ),
        of_dialer(
            "a dialer with a certificate for servers",
            ca.for_servers_only().client("west"),
            purpose(),
            "unsupported_certificate",
        ),
    ]
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_refused_and_told_at_both_ends() {
    for Meeting { what, west, east, dialed, accepted } in meetings() {
        let config = PlaneConfig::default();
        let mut east = East::listens(credentials("east", &east), config.clone()).await;
        let port = east.address().port();
        let mut west = West::dials("127.0.0.1", port, credentials("west", &west), config).await;
        // Twice, since what comes after a refusal counts as well.
        for attempt in 1..=2 {
            assert_eq!(west.refused().await, DialError::Tls(dialed.clone()), "{what}, attempt {attempt}");
            let (phase, refusal) = east.refused().await;
            assert_eq!(
                (phase, refusal),
                (Phase::Tls, PeerRefusal::Tls(accepted.clone())),
                "{what}, attempt {attempt}"
            );
        }
    }
}

#[tokio::test]
async fn a_certificate_for_an_address_or_a_name_holds_for_it() {
    let ca = TestCa::new("ca");
    for (host, names) in [("127.0.0.1", ["127.0.0.1", "::1"]), ("localhost", ["localhost", "other.example"])]
    {
        let with = credentials("east", &ca.server(&names));
        let east = East::listens(with, PlaneConfig::default()).await;
        let (port, with) = (east.address().port(), credentials("west", &ca.client("west")));
        let mut west = West::dials(host, port, with, PlaneConfig::default()).await;
        until(&mut west.events, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
        assert_eq!(west.plane.link_status(west.link).unwrap().message, "OK", "{host}");
    }
}

fn ca_only(ca: &TestCa) -> Credentials {
    let parts = CredentialsParts { ca: ca.root().into(), cert: None, key: None, crl: None };
    Credentials::from_pem("ca-only", &parts, Ordinal(1)).unwrap()
}

#[tokio::test]
async fn a_bundle_without_identity_neither_dials_nor_listens() {
    let (ca, plane) = (TestCa::new("ca"), plane("west").await);
    let missing = PlaneError::Credentials(CredentialsError::Missing { part: "tls.crt" });
    let manifest = Manifest::parse(document("east", "127.0.0.1", 1), "test");
    let spec = manifest.link("east").unwrap().clone();
    assert_eq!(plane.link(spec, Some(ca_only(&ca))).await, Err(missing.clone()));
    let listening = plane.listen(AccessSpec::new(loopback(), LinkRole::InterRouter), ca_only(&ca)).await;
    assert_eq!(listening.unwrap_err(), missing);
    assert_eq!((plane.status().links, plane.status().accesses), (vec![], vec![]));
}

#[tokio::test]
async fn a_dialer_without_certificate_is_refused_where_one_is_asked_for() {
    let ca = TestCa::new("ca");
    for with in [ca_only(&ca), credentials("whole", &ca.client("west"))] {
        let server = credentials("east", &ca.server(&["127.0.0.1"]));
        let mut east = East::listens(server, PlaneConfig::default()).await;
        let plane = plane("west").await;
        let events = plane.events();
        let endpoint = east.address().to_string();
        let manifest = Manifest::parse(document("east", "127.0.0.1", east.address().port()), "test");
        let mut spec = manifest.link("east").unwrap().clone();
        spec.no_client_auth = true;
        let link = plane.link(spec, Some(with)).await.unwrap();
        let mut west = West { plane, events, link, endpoint };
        assert_eq!(west.refused().await, DialError::Tls(certificate_refused("certificate_required")));
        assert_eq!(east.refused().await, (Phase::Tls, PeerRefusal::Tls(TlsReason::NoPeerCertificate)));
    }
}

#[test]
fn the_key_of_another_certificate_makes_no_bundle() {
    let ca = TestCa::new("ca");
    let parts = CredentialsParts {
        ca: ca.root().into(),
        cert: Some(ca.client("west").cert.into()),
        key: Some(ca.client("west").key.into()),
        crl: None,
    };
    assert_eq!(Credentials::from_pem("west", &parts, Ordinal(1)).unwrap_err(), CredentialsError::KeyMismatch);
}

/// A peer that does not even speak TLS: what it answers to the first bytes it gets.
async fn plain_server(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> u16 {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut first = [0; 16_384];
            let count = tcp.read(&mut first).await.unwrap();
            tcp.write_all(&answer(&first[..count])).await.unwrap();
            // Until the dialer has gone.
            while tcp.read(&mut first).await.is_ok_and(|count| count > 0) {}
        }
    });
    port
}

#[tokio::test]
async fn a_server_without_tls_is_told_as_such() {
    let ca = TestCa::new("ca");
    let with = || credentials("west", &ca.client("west"));
    let port = plain_server(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    let mut west = West::dials("127.0.0.1", port, with(), PlaneConfig::default()).await;
    assert_eq!(west.refused().await, DialError::Tls(TlsReason::NotTls));
    // An echo is TLS, but no answer.
    let port = plain_server(<[u8]>::to_vec).await;
    let mut west = West::dials("127.0.0.1", port, with(), PlaneConfig::default()).await;
    assert_eq!(west.refused().await, DialError::Tls(TlsReason::Other { problem: "".into() }));
}

#[tokio::test]
async fn a_client_without_tls_is_told_as_such() {
    let ca = TestCa::new("ca");
    let with = credentials("east", &ca.server(&["127.0.0.1"]));
    let mut east = East::listens(with, PlaneConfig::default()).await;
    let mut tcp = TcpStream::connect(east.address()).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: east\r\n\r\n").await.unwrap();
    assert_eq!(east.refused().await, (Phase::Tls, PeerRefusal::Tls(TlsReason::NotTls)));
    let mut answer = Vec::new();
    within(tcp.read_to_end(&mut answer)).await.unwrap();
    // A fatal alert, and the end.
    assert_eq!((answer[0], answer[5]), (21, 2), "{answer:?}");

    let tcp = TcpStream::connect(east.address()).await.unwrap();
    drop(tcp);
    let lost = PeerRefusal::Lost { phase: Phase::Tls, kind: io::ErrorKind::UnexpectedEof };
    assert_eq!(east.refused().await, (Phase::Tls, lost));
}

#[tokio::test]
async fn a_dialer_of_another_protocol_or_version_is_refused() {
    let ca = TestCa::new("ca");
    let with = credentials("east", &ca.server(&["127.0.0.1"]));
    let mut east = East::listens(with, PlaneConfig::default()).await;
    let bundle = ca.client("west");
    let (mut silent, mut other) = (raw::client(&bundle), raw::client(&bundle));
    silent.alpn_protocols.clear();
    other.alpn_protocols = vec![b"h2".to_vec()];
    let old = raw::client_of(&bundle, &rustls::version::TLS12);
    for (tls, reason) in
        [(silent, no_common_protocol()), (other, no_common_protocol()), (old, TlsReason::Version)]
    {
        // At this end TLS may come about: it is the other one that minds.
        if let Ok(mut peer) = RawPeer::dial(east.address(), tls).await {
            assert_eq!(peer.next().await, None);
        }
        assert_eq!(east.refused().await, (Phase::Tls, PeerRefusal::Tls(reason)));
    }
}

#[tokio::test]
async fn an_acceptor_of_another_protocol_or_version_is_refused() {
    let ca = TestCa::new("ca");
    let bundle = ca.server(&["127.0.0.1"]);
    let (mut silent, mut other) = (raw::server(&bundle), raw::server(&bundle));
    silent.alpn_protocols.clear();
    other.alpn_protocols = vec![b"h2".to_vec()];
    let old = raw::server_of(&bundle, &rustls::version::TLS12);
    for (tls, reason) in
        [(silent, no_common_protocol()), (other, no_common_protocol()), (old, TlsReason::Version)]
    {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let (port, with) = (listener.local_addr().unwrap().port(), credentials("west", &ca.client("west")));
        let mut west = West::dials("127.0.0.1", port, with, PlaneConfig::default()).await;
        let accepting =
            async { RawPeer::accept(&listener, tls).await.map(|mut peer| async move { peer.next().await }) };
        let (peer, error) = tokio::join!(accepting, west.refused());
        assert_eq!(error, DialError::Tls(reason));
        if let Ok(next) = peer {
            assert_eq!(next.await, None);
        }
    }
}

/// What a peer does when TLS is done, and what comes of it.
struct Manners {
    what: &'static str,
    sends: Vec<u8>,
    /// The close it gets.
    code: CloseCode,
    violation: Violation,
}

fn manners() -> Vec<Manners> {
    let manners =
        |what, sends: &[u8], code, violation| Manners { what, sends: sends.to_vec(), code, violation };
    vec![
        manners(
            "another protocol",
            b"GET / HTTP/1.1\r\n\r\n",
            CloseCode::UNKNOWN_KIND,
            Violation::UnknownKind,
        ),
        manners(
            "another frame",
            &raw::encoded(&[Frame::Ping { token: 1 }]),
            CloseCode::UNEXPECTED,
            Violation::Unexpected,
        ),
        manners("an unknown frame", &[0xc0, 0, 0, 0], CloseCode::UNEXPECTED, Violation::Unexpected),
        manners("no magic", b"\x40\0\0\x04LINK", CloseCode::BAD_HELLO, Violation::BadHello),
        manners("an empty hello", b"\x40\0\0\x04SLNK", CloseCode::BAD_HELLO, Violation::BadHello),
        manners("an endless hello", b"\x40\xff\xff\xff", CloseCode::TOO_LARGE, Violation::TooLarge),
    ]
}

#[tokio::test]
async fn a_dialer_that_does_not_say_hello_is_told_why_it_is_refused() {
    let ca = TestCa::new("ca");
    let with = credentials("east", &ca.server(&["127.0.0.1"]));
    let mut east = East::listens(with, short_deadlines()).await;
    let bundle = ca.client("west");
    let mut manners = manners();
    let begun = SessionClaim::Joined { session: SessionId([1; 16]) };
    manners.push(Manners {
        what: "an acceptor's hello",
        sends: raw::encoded(&[Frame::Hello(Box::new(hello("west", 0, begun)))]),
        code: CloseCode::BAD_HELLO,
        violation: Violation::BadHello,
    });
    for Manners { what, sends, code, violation } in manners {
        let mut peer = RawPeer::dial(east.address(), raw::client(&bundle)).await.unwrap();
        peer.send_bytes(&sends).await.unwrap();
        assert_eq!(peer.closed().await, Some((CloseScope::Carrier, code)), "{what}");
        assert_eq!(east.refused().await, (Phase::Hello, PeerRefusal::Violation(violation)), "{what}");
    }

    let mut silent = RawPeer::dial(east.address(), raw::client(&bundle)).await.unwrap();
    assert_eq!(silent.closed().await, Some((CloseScope::Carrier, CloseCode::HELLO_TIMEOUT)));
    let late = PeerRefusal::TimedOut { phase: Phase::Hello, after: SHORT };
    assert_eq!(east.refused().await, (Phase::Hello, late));

    let mut leaving = RawPeer::dial(east.address(), raw::client(&bundle)).await.unwrap();
    leaving.stream.shutdown().await.unwrap();
    let lost = |kind| PeerRefusal::Lost { phase: Phase::Hello, kind };
    assert_eq!(east.refused().await, (Phase::Hello, lost(io::ErrorKind::UnexpectedEof)));

    let close = Frame::Close {
        scope: CloseScope::Carrier,
        code: CloseCode::NORMAL,
        retry_after_millis: 0,
        detail: String::new(),
    };
    let mut polite = RawPeer::dial(east.address(), raw::client(&bundle)).await.unwrap();
    polite.send(&[close]).await;
    assert_eq!(east.refused().await, (Phase::Hello, lost(io::ErrorKind::ConnectionAborted)));

    let mut below = RawPeer::dial(east.address(), raw::client(&bundle)).await.unwrap();
    below.stream.get_mut().0.write_all(b"no record of TLS at all").await.unwrap();
    assert_eq!(east.refused().await, (Phase::Hello, PeerRefusal::Tls(TlsReason::NotTls)));
}

/// West dials a scripted acceptor, once; what west says of it.
async fn dialed(ca: &TestCa, script: impl AsyncFnOnce(&mut RawPeer)) -> DialError {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let (port, with) = (listener.local_addr().unwrap().port(), credentials("west", &ca.client("west")));
    let mut west = West::dials("127.0.0.1", port, with, short_deadlines()).await;
    let acting = async {
        let mut peer = RawPeer::accept(&listener, raw::server(&ca.server(&["127.0.0.1"]))).await.unwrap();
        script(&mut peer).await;
        peer
    };
    let (_peer, error) = tokio::join!(acting, west.refused());
    error
}

async fn hello_of(peer: &mut RawPeer) -> Hello {
    match peer.next().await {
        Some(Frame::Hello(hello)) => *hello,
        other => panic!("{other:?} instead of a hello"),
    }
}

#[tokio::test]
async fn an_acceptor_that_does_not_say_hello_is_told_why_it_is_left() {
    let ca = TestCa::new("ca");
    let mut manners = manners();
    let of = |session| raw::encoded(&[Frame::Hello(Box::new(hello("east", 0, session)))]);
    for (what, sends) in [
        ("a dialer's hello", of(SessionClaim::New)),
        ("the answer to another claim", of(SessionClaim::Joined { session: SessionId([1; 16]) })),
    ] {
        manners.push(Manners { what, sends, code: CloseCode::BAD_HELLO, violation: Violation::BadHello });
    }
    for Manners { what, sends, code, violation } in manners {
        let error = dialed(&ca, async |peer| {
            hello_of(peer).await;
            peer.send_bytes(&sends).await.unwrap();
            assert_eq!(peer.closed().await, Some((CloseScope::Carrier, code)), "{what}");
        });
        assert_eq!(error.await, DialError::Violation(violation), "{what}");
    }

    let error = dialed(&ca, async |peer| drop(hello_of(peer).await)).await;
    assert_eq!(error, DialError::TimedOut { phase: Phase::Hello, after: SHORT });

    let error = dialed(&ca, async |peer| {
        hello_of(peer).await;
        peer.stream.shutdown().await.unwrap();
    });
    assert_eq!(error.await, lost_in_hello(io::ErrorKind::UnexpectedEof));

    let error = dialed(&ca, async |peer| {
        hello_of(peer).await;
        peer.stream.get_mut().0.write_all(b"no record of TLS at all").await.unwrap();
    });
    assert_eq!(error.await, DialError::Tls(TlsReason::NotTls));

    let error = dialed(&ca, async |peer| {
        hello_of(peer).await;
        let (scope, code, detail) =
            (CloseScope::Session, CloseCode::NOT_AUTHORIZED, "ask\nsomebody".to_owned());
        peer.send(&[Frame::Close { scope, code, retry_after_millis: 1500, detail }]).await;
    });
    let DialError::Closed { code, detail, retry_after } = error.await else { panic!("not closed") };
    assert_eq!((code, retry_after), (CloseCode::NOT_AUTHORIZED, Some(Duration::from_millis(1500))));
    assert!(!detail.contains('\n') && detail.starts_with("ask"), "{detail:?}");
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_no_such_host() {
    let ca = TestCa::new("ca");
    let with = || credentials("west", &ca.client("west"));
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut west = West::dials("127.0.0.1", address.port(), with(), PlaneConfig::default()).await;
    let refused = DialError::Connect { address, kind: io::ErrorKind::ConnectionRefused };
    assert_eq!(west.refused().await, refused);

    // Longer than a resolver waits for its servers, if it asks any.
    let mut config = PlaneConfig::default();
    config.deadlines.resolve = Duration::from_secs(25);
    let mut west = West::dials("no-such-host.invalid", 1, with(), config).await;
    let error = west.refused().await;
    assert!(
        matches!(&error, DialError::Resolve { host, .. } if &**host == "no-such-host.invalid"),
        "{error:?}"
    );
}

/// East, and a session that a raw peer has begun there.
struct Begun {
    ca: TestCa,
    bundle: Bundle,
    east: East,
    first: RawPeer,
    id: SessionId,
    secret: sitelink::wire::hello::SessionSecret,
}

impl Begun {
    async fn new() -> Self {
        let ca = TestCa::new("ca");
        let with = credentials("east", &ca.server(&["127.0.0.1"]));
        let mut east = East::listens(with, PlaneConfig::default()).await;
        let bundle = ca.client("west");
        let mut first = RawPeer::dial(east.address(), raw::client(&bundle)).await.unwrap();
        let answer = first.greet(lasting(0, SessionClaim::New)).await.unwrap();
        let SessionClaim::Begun { session: id, secret } = answer.session else { panic!("{answer:?}") };
        until(&mut east.events, |kind| matches!(kind, EventKind::CarrierUp { .. })).await;
        Self { ca, bundle, east, first, id, secret }
    }

    async fn dial(&self) -> RawPeer {
        RawPeer::dial(self.east.address(), raw::client(&self.bundle)).await.unwrap()
    }

    /// The proof that is due on a connection.
    fn proof(&self, peer: &RawPeer, carrier: u32) -> [u8; 32] {
        proof(&self.secret, &peer.exporter(), self.id, carrier)
    }

    fn join(&self, carrier: u32, proof: [u8; 32]) -> Hello {
        lasting(carrier, SessionClaim::Join { session: self.id, proof })
    }

    /// A hello is refused with that code, and the session goes on as if nothing had been.
    async fn refuses(&mut self, what: &str, mut peer: RawPeer, hello: Hello, code: CloseCode) {
        self.refuses_as(what, &mut peer, hello, code, PeerRefusal::Hello(code)).await;
    }

    async fn refuses_as(
        &mut self,
        what: &str,
        peer: &mut RawPeer,
        hello: Hello,
        code: CloseCode,
        told: PeerRefusal,
    ) {
        assert_eq!(peer.greet(hello).await, Err(Some((CloseScope::Carrier, code))), "{what}");
        assert_eq!(peer.next().await, None, "{what}");
        assert_eq!(self.east.next_refusal().await, (Phase::Hello, told), "{what}");
        self.is_untouched(what, 1).await;
    }

    async fn is_untouched(&mut self, what: &str, carriers: usize) {
        assert!(self.first.is_answered(9).await, "{what}");
        let sessions = self.east.plane.status().sessions;
        assert_eq!(sessions.iter().map(|session| session.id).collect::<Vec<_>>(), [self.id], "{what}");
        assert_eq!(sessions[0].carriers.len(), carriers, "{what}");
    }
}

/// The hello of a raw west whose sessions outlive their carriers.
fn lasting(carrier: u32, session: SessionClaim) -> Hello {
    Hello { resume_window: Duration::from_secs(30), ..hello("raw-west", carrier, session) }
}

#[tokio::test]
async fn only_who_holds_the_secret_joins_and_only_over_his_own_connection() {
    let mut begun = Begun::new().await;

    let peer = begun.dial().await;
    let hello = begun.join(1, [0; 32]);
    begun.refuses("a wrong proof", peer, hello, CloseCode::BAD_PROOF).await;

    let (peer, other) = (begun.dial().await, begun.dial().await);
    let hello = begun.join(2, begun.proof(&other, 2));
    begun.refuses("the proof of another connection", peer, hello, CloseCode::BAD_PROOF).await;
    drop(other);
    begun.east.next_refusal().await;

    let peer = begun.dial().await;
    let hello = begun.join(3, begun.proof(&peer, 4));
    begun.refuses("the proof of another carrier", peer, hello, CloseCode::BAD_PROOF).await;

    let thief = raw::client(&begun.ca.client("thief"));
    let peer = RawPeer::dial(begun.east.address(), thief).await.unwrap();
    let hello = begun.join(4, begun.proof(&peer, 4));
    begun.refuses("another principal", peer, hello, CloseCode::OTHER_PRINCIPAL).await;

    let peer = begun.dial().await;
    let hello = Hello { instance: Instance([8; 16]), ..begun.join(5, begun.proof(&peer, 5)) };
    begun.refuses("another instance", peer, hello, CloseCode::OTHER_INSTANCE).await;

    let peer = begun.dial().await;
    let session = SessionId([9; 16]);
    let proof = proof(&begun.secret, &peer.exporter(), session, 6);
    let hello = lasting(6, SessionClaim::Join { session, proof });
    begun.refuses("an unknown session", peer, hello, CloseCode::SESSION_GONE).await;

    let mut second = begun.dial().await;
    let hello = begun.join(7, begun.proof(&second, 7));
    let answer = second.greet(hello).await.unwrap();
    assert_eq!(answer.session, SessionClaim::Joined { session: begun.id });
    until(
        &mut begun.east.events,
        |kind| matches!(kind, EventKind::CarrierUp { carrier, .. } if carrier.0 == 7),
    )
    .await;
    assert!(second.is_answered(1).await);
    begun.is_untouched("the right proof", 2).await;
}

#[tokio::test]
async fn a_carrier_number_counts_once_and_only_upward() {
    let mut begun = Begun::new().await;
    let mut second = begun.dial().await;
    let hello = begun.join(5, begun.proof(&second, 5));
    second.greet(hello).await.unwrap();
    until(
        &mut begun.east.events,
        |kind| matches!(kind, EventKind::CarrierUp { carrier, .. } if carrier.0 == 5),
    )
    .await;
    for (what, carrier) in [("the first again", 0), ("the second again", 5), ("one passed over", 3)] {
        let mut peer = begun.dial().await;
        let hello = begun.join(carrier, begun.proof(&peer, carrier));
        let refused = Err(Some((CloseScope::Carrier, CloseCode::BAD_HELLO)));
        assert_eq!(peer.greet(hello).await, refused, "{what}");
        let told = PeerRefusal::Hello(CloseCode::BAD_HELLO);
        assert_eq!(begun.east.next_refusal().await, (Phase::Hello, told), "{what}");
        assert!(second.is_answered(2).await, "{what}");
        begun.is_untouched(what, 2).await;
    }
    // A dialer that tells of a carrier it gave up has passed that number, too.
    begun.first.send(&[Frame::CarrierDead { carrier: CarrierNumber(20), received: 0 }]).await;
    assert!(begun.first.is_answered(3).await);
    let mut peer = begun.dial().await;
    let hello = begun.join(15, begun.proof(&peer, 15));
    assert_eq!(peer.greet(hello).await, Err(Some((CloseScope::Carrier, CloseCode::BAD_HELLO))));
    until(&mut begun.east.events, |kind| match kind {
        EventKind::CarrierDown { carrier, end, .. } => {
            assert_eq!((carrier.0, end), (15, &CarrierEnd::Replaced), "it may be honest, and late");
            true
        }
        _ => false,
    })
    .await;
    begun.is_untouched("one below what was told of", 2).await;
}

#[tokio::test]
async fn a_hello_that_policy_does_not_take_is_refused_by_its_code() {
    let mut begun = Begun::new().await;
    let edge = Hello { role: LinkRole::Edge, ..hello("other", 0, SessionClaim::New) };
    let itself = Hello { instance: begun.east.plane.instance(), ..hello("other", 0, SessionClaim::New) };
    for (what, hello, code) in
        [("an edge", edge, CloseCode::ROLE_REFUSED), ("this very router", itself, CloseCode::SELF_LINK)]
    {
        let peer = begun.dial().await;
        begun.refuses(what, peer, hello, code).await;
    }
    let conflict = |site: &SiteId| PeerRefusal::SiteIdConflict { site: site.clone() };
    let mut namesake = hello("east", 0, SessionClaim::New);
    namesake.site_id = SiteId::new("east-id").unwrap();
    namesake.router = sitelink::RouterName::new("east").unwrap();
    let (mut peer, told) = (begun.dial().await, conflict(&namesake.site_id));
    begun.refuses_as("our own name", &mut peer, namesake, CloseCode::SITE_ID_CONFLICT, told).await;

    for (what, instance) in [("another principal", [8; 16]), ("another principal as the same run", [7; 16])] {
        let hello = Hello { instance: Instance(instance), ..lasting(0, SessionClaim::New) };
        let thief = raw::client(&begun.ca.client("thief"));
        let mut peer = RawPeer::dial(begun.east.address(), thief).await.unwrap();
        let told = conflict(&hello.site_id);
        begun.refuses_as(what, &mut peer, hello, CloseCode::SITE_ID_CONFLICT, told).await;
    }
}

#[tokio::test]
async fn a_new_run_of_a_router_takes_the_place_of_the_old() {
    let Begun { ca: _ca, bundle, mut east, mut first, id, .. } = Begun::new().await;
    let old = east.plane.status().sessions[0].session;
    let instance = Instance([8; 16]);
    let mut peer = RawPeer::dial(east.address(), raw::client(&bundle)).await.unwrap();
    let answer = peer.greet(Hello { instance, ..lasting(0, SessionClaim::New) }).await.unwrap();
    let SessionClaim::Begun { session: new, .. } = answer.session else { panic!("{answer:?}") };
    assert_ne!(new, id);
    assert_eq!(first.closed().await, Some((CloseScope::Session, CloseCode::REPLACED)));
    let mut up = false;
    until(&mut east.events, |kind| match kind {
        EventKind::SessionUp { id, peer, .. } => {
            up = (*id, peer.instance) == (new, instance);
            false
        }
        EventKind::SessionDown { session, end, .. } => {
            assert_eq!((*session, end), (old, &SessionEnd::Replaced { instance }));
            true
        }
        _ => false,
    })
    .await;
    if !up {
        until(&mut east.events, |kind| matches!(kind, EventKind::SessionUp { id, .. } if *id == new)).await;
    }
    assert!(peer.is_answered(3).await);
    let sessions = east.plane.status().sessions;
    assert_eq!(sessions.iter().map(|session| session.id).collect::<Vec<_>>(), [new]);
}

#[tokio::test]
async fn a_second_router_of_the_same_name_does_not_disturb_the_first() {
    let pair = Pair::new().await;
    common::stage::poll_until(|| pair.east.status().sessions[0].carriers.len() == 2).await;
    // The pair's own events are of its coming up.
    let mut east = East { plane: pair.east.clone(), events: pair.east.events(), access: pair.access.clone() };
    let mut impostor = {
        let ca = &pair.ca;
        let (port, with) = (pair.access.address().port(), credentials("other", &ca.client("other")));
        West::dials("127.0.0.1", port, with, PlaneConfig::default()).await
    };
    let error = impostor.refused().await;
    let DialError::Closed { code, retry_after, .. } = error else { panic!("{error:?}") };
    assert_eq!((code, retry_after), (CloseCode::SITE_ID_CONFLICT, None));
    let site = SiteId::new("west-id").unwrap();
    assert_eq!(east.next_refusal().await, (Phase::Hello, PeerRefusal::SiteIdConflict { site }));
    assert_eq!(east.plane.status().sessions.len(), 1);
    assert_eq!(pair.west.link_status(pair.link).unwrap().message, "OK");
}

#[tokio::test]
async fn a_link_to_itself_is_no_link() {
    let ca = TestCa::new("ca");
    let with = credentials("east", &ca.server(&["127.0.0.1"]));
    let mut east = East::listens(with, PlaneConfig::default()).await;
    let events = east.plane.events();
    let client = credentials("client", &ca.client("east"));
    let link = common::link(&east.plane, "itself", east.address(), client).await;
    let endpoint = east.address().to_string();
    let mut west = West { plane: east.plane.clone(), events, link, endpoint };
    let error = west.refused().await;
    let DialError::Closed { code, .. } = error else { panic!("{error:?}") };
    assert_eq!(code, CloseCode::SELF_LINK);
    assert_eq!(east.refused().await, (Phase::Hello, PeerRefusal::Hello(CloseCode::SELF_LINK)));
}

/// A deadline that a test waits for.
const SHORT: Duration = Duration::from_millis(200);
