//! Whom a router trusts, beyond what a certificate says: revocation, allow-lists, pins, who may serve, anonymous peers,
//! and certificates that come to their end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test looks at the wall clock for certificates that end soon"
)]
#![allow(clippy::large_futures, reason = "a test is polled in place")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::pki::{Bundle, TestCa};
use common::{credentials, document, key, loopback, plane, plane_with, until, within};
use sitelink::config::Carriers;
use sitelink::{
    Access, AccessSpec, CarrierNumber, CertificateOwner, ClientAuth, CloseCode, Credentials,
    CredentialsParts, Destination, DialError, EventKind, Events, KeyPin, KeysRefusedReason, LinkId, LinkRole,
    LinkSecrets, Manifest, OpenRequest, Ordinal, PeerIdentity, PeerPolicy, PeerRefusal, Phase, Plane,
    PlaneConfig, Principal, RouterName, SessionEnd, Site, TlsReason,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// East, which listens, and what it tells.
struct East {
    ca: TestCa,
    plane: Plane,
    events: Events,
    access: Access,
}

impl East {
    async fn with(spec: impl FnOnce(AccessSpec) -> AccessSpec) -> Self {
        let ca = TestCa::new("ca");
        let server = ca.server(&["127.0.0.1"]);
        Self::listening(ca, server, spec).await
    }

    async fn listening(ca: TestCa, server: Bundle, spec: impl FnOnce(AccessSpec) -> AccessSpec) -> Self {
        let plane = plane("east").await;
        let events = plane.events();
        let spec = spec(AccessSpec::new(loopback(), LinkRole::InterRouter));
        let access = plane.listen(spec, credentials("server", &server)).await.unwrap();
        Self { ca, plane, events, access }
    }

    async fn refusal(&mut self) -> (Phase, PeerRefusal) {
        let is = |kind: &EventKind| matches!(kind, EventKind::PeerRefused { .. });
        match until(&mut self.events, is).await.kind {
            EventKind::PeerRefused { access, address, phase, refusal } => {
                assert_eq!((access, address.ip()), (self.access.id(), loopback().ip()));
                (phase, refusal)
            }
            _ => unreachable!(),
        }
    }

    async fn session_up(&mut self) -> Principal {
        match until(&mut self.events, |kind| matches!(kind, EventKind::SessionUp { .. })).await.kind {
            EventKind::SessionUp { peer, .. } => peer.principal,
            _ => unreachable!(),
        }
    }
}

/// A site that dials east, and what it tells.
struct Dialer {
    plane: Plane,
    events: Events,
    link: LinkId,
}

impl Dialer {
    async fn new(name: &str, to: SocketAddr, secrets: impl Into<LinkSecrets>) -> Self {
        Self::of(plane(name).await, to, secrets).await
    }

    async fn of(plane: Plane, to: SocketAddr, secrets: impl Into<LinkSecrets>) -> Self {
        let events = plane.events();
        let manifest = Manifest::parse(document("east", "127.0.0.1", to.port()), "test");
        let link = plane.link(manifest.link("east").unwrap().clone(), secrets).await.unwrap();
        Self { plane, events, link }
    }

    /// Waits for the session and for all its carriers: one still on its way would be refused, or given up, for reasons of
    /// its own.
    async fn up(&mut self) {
        let mut carriers = 0;
        until(&mut self.events, |kind| {
            assert!(!matches!(kind, EventKind::DialFailed { .. }), "{kind:?}");
            carriers += usize::from(matches!(kind, EventKind::CarrierUp { .. }));
            carriers == Carriers::default().0
        })
        .await;
    }

    async fn failure(&mut self) -> DialError {
        let is = |kind: &EventKind| matches!(kind, EventKind::DialFailed { .. });
        match until(&mut self.events, is).await.kind {
            EventKind::DialFailed { error, .. } => error,
            _ => unreachable!(),
        }
    }
}

async fn session_end(events: &mut Events) -> SessionEnd {
    match until(events, |kind| matches!(kind, EventKind::SessionDown { .. })).await.kind {
        EventKind::SessionDown { end, .. } => end,
        _ => unreachable!(),
    }
}

fn named(subject: &str) -> Principal {
    Principal::Certificate { issuer: "CN=ca".into(), subject: subject.into() }
}

fn pin_of(bundle: &Bundle) -> KeyPin {
    credentials("any", bundle).leaf().unwrap().key
}

fn serial_of(bundle: &Bundle) -> std::sync::Arc<str> {
    credentials("any", bundle).leaf().unwrap().serial.clone()
}

fn is_not_authorized(error: &DialError) -> bool {
    matches!(error, DialError::Closed { code: CloseCode::NOT_AUTHORIZED, .. })
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

#[tokio::test]
async fn a_revoked_dialer_is_refused_by_serial_and_a_revoked_acceptor_is_not_linked_to() {
    let ca = TestCa::new("ca");
    let (west, server) = (ca.client("west"), ca.server(&["127.0.0.1"]));
    let lists = ca.revoking(&[&west], (2020, 4000));
    let mut east = East::listening(ca.clone(), server.clone().heeding(&lists), |spec| spec).await;
    let mut dialer = Dialer::new("west", east.access.address(), credentials("west", &west)).await;
    let revoked = |bundle: &Bundle, subject: &str| TlsReason::Revoked {
        subject: subject.into(),
        serial: serial_of(bundle),
    };
    assert_eq!(east.refusal().await, (Phase::Tls, PeerRefusal::Tls(revoked(&west, "CN=west"))));
    let alert = TlsReason::CertificateRefused { alert: "certificate_unknown".into() };
    assert_eq!(dialer.failure().await, DialError::Tls(alert));

    let lists = ca.revoking(&[&server], (2020, 4000));
    let north = credentials("north", &ca.client("north").heeding(&lists));
    let mut dialer = Dialer::new("north", east.access.address(), north).await;
    assert_eq!(dialer.failure().await, DialError::Tls(revoked(&server, "CN=127.0.0.1")));
}

#[tokio::test]
async fn a_stale_revocation_list_is_told_and_still_holds() {
    let ca = TestCa::new("ca");
    let west = ca.client("west");
    let lists = ca.revoking(&[&west], (2001, 2002));
    let server = ca.server(&["127.0.0.1"]).heeding(&lists);
    let mut east = East::listening(ca.clone(), server, |spec| spec).await;
    let is = |kind: &EventKind| matches!(kind, EventKind::RevocationListStale { .. });
    let owner = CertificateOwner::Access { access: east.access.id(), name: "server".into() };
    let told = EventKind::RevocationListStale { owner, issuer: "CN=ca".into(), next_update: 1_009_843_200 };
    assert_eq!(until(&mut east.events, is).await.kind, told);
    let _dialer = Dialer::new("west", east.access.address(), credentials("west", &west)).await;
    assert!(matches!(east.refusal().await, (Phase::Tls, PeerRefusal::Tls(TlsReason::Revoked { .. }))));
    let mut dialer =
        Dialer::new("north", east.access.address(), credentials("north", &ca.client("north"))).await;
    dialer.up().await;
}

#[tokio::test]
async fn an_access_lets_in_whom_it_lists_and_tells_both_ends_of_the_others() {
    let mut east = East::with(|spec| spec.policy(PeerPolicy::only([PeerIdentity::subject("CN=west")]))).await;
    let (west, north) = (east.ca.client("west"), east.ca.client("north"));
    let mut stranger = Dialer::new("north", east.access.address(), credentials("north", &north)).await;
    let refusal = PeerRefusal::NotAllowed { principal: named("CN=north"), key: Some(pin_of(&north)) };
    assert_eq!(east.refusal().await, (Phase::Hello, refusal));
    let error = stranger.failure().await;
    assert!(is_not_authorized(&error), "{error:?}");
    assert_eq!(east.plane.status().sessions, []);

    let mut dialer = Dialer::new("west", east.access.address(), credentials("west", &west)).await;
    dialer.up().await;
    assert_eq!(east.session_up().await, named("CN=west"));
}

#[tokio::test]
async fn pins_tell_apart_whose_certificates_share_a_subject() {
    let mut east = East::with(|spec| spec).await;
    let (one, other) = (east.ca.client("cli"), east.ca.client("cli"));
    let policy = |pins: &[&Bundle]| PeerPolicy::only(pins.iter().map(|of| PeerIdentity::key(pin_of(of))));
    east.access.set_policy(policy(&[&one]));
    let mut first = Dialer::new("west", east.access.address(), credentials("cli", &one)).await;
    first.up().await;
    let router = |name: &str| RouterName::new(name).unwrap();
    let namesake = |site: &str, name: &str| {
        Plane::builder(Site::new(site, "west").unwrap()).router_name(router(name)).start()
    };
    // The other holder of the subject is a stranger, until it is listed, too.
    let same_router = namesake("west-id", "west").await.unwrap();
    let mut second = Dialer::of(same_router, east.access.address(), credentials("cli", &other)).await;
    assert!(is_not_authorized(&second.failure().await));
    east.access.set_policy(policy(&[&one, &other]));
    // Now it may link, but not in the other's place: the subject alone would have let it.
    let mut refused = None;
    until(&mut east.events, |kind| {
        assert!(!matches!(kind, EventKind::SessionDown { .. }), "{kind:?}");
        if let EventKind::PeerRefused { refusal: PeerRefusal::SiteIdConflict { site }, .. } = kind {
            refused = Some(site.clone());
        }
        refused.is_some()
    })
    .await;
    assert_eq!(refused.unwrap().as_str(), "west-id");
    assert_eq!(east.plane.status().sessions.len(), 1);
    second.plane.shutdown(Duration::ZERO).await;
    let another_site = namesake("north-id", "north").await.unwrap();
    let mut third = Dialer::of(another_site, east.access.address(), credentials("cli", &other)).await;
    third.up().await;
}

#[tokio::test]
async fn a_link_is_answered_by_whom_it_lists_and_by_nobody_else() {
    let mut east = East::with(|spec| spec).await;
    let server = pin_of_server(&east);
    let west = credentials("west", &east.ca.client("west"));
    let wanted = PeerPolicy::only([PeerIdentity::key(KeyPin([7; 32]))]);
    let secrets = LinkSecrets::from(west).with_policy(wanted.clone());
    let mut dialer = Dialer::new("west", east.access.address(), secrets).await;
    let refused = DialError::NotAllowed { principal: named("CN=127.0.0.1"), key: Some(server) };
    assert_eq!(dialer.failure().await, refused);
    assert_eq!(session_end(&mut east.events).await, SessionEnd::PeerClosed(CloseCode::NOT_AUTHORIZED));

    dialer.plane.set_link_policy(dialer.link, PeerPolicy::only([PeerIdentity::key(server)])).unwrap();
    until(&mut dialer.events, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    dialer.plane.set_link_policy(dialer.link, wanted).unwrap();
    assert_eq!(session_end(&mut dialer.events).await, SessionEnd::Closed(CloseCode::NOT_AUTHORIZED));
    assert_eq!(dialer.failure().await, refused);
}

fn pin_of_server(east: &East) -> KeyPin {
    east.plane.status().accesses[0].credentials.as_ref().unwrap().certificate.as_ref().unwrap().key
}

#[tokio::test]
async fn a_policy_that_changes_ends_the_sessions_of_those_it_does_not_list() {
    let mut east = East::with(|spec| spec).await;
    let west = credentials("west", &east.ca.client("west"));
    let mut dialer = Dialer::new("west", east.access.address(), west).await;
    dialer.up().await;
    east.session_up().await;
    // One that lists the peer touches nothing: what is told next is told of the session that was there.
    east.plane.set_policy(PeerPolicy::only([PeerIdentity::subject("CN=west")]));
    dialer.plane.serve(&key("backend")).unwrap();
    let served = Destination::Key(key("backend"));
    until(&mut east.events, |kind| {
        assert!(!matches!(kind, EventKind::SessionDown { .. }), "{kind:?}");
        matches!(kind, EventKind::PathSelected { destination, .. } if *destination == served)
    })
    .await;

    east.plane.set_policy(PeerPolicy::only([PeerIdentity::subject("CN=north")]));
    assert_eq!(session_end(&mut east.events).await, SessionEnd::Closed(CloseCode::NOT_AUTHORIZED));
    assert_eq!(session_end(&mut dialer.events).await, SessionEnd::PeerClosed(CloseCode::NOT_AUTHORIZED));
    assert!(is_not_authorized(&dialer.failure().await));
    assert!(matches!(east.refusal().await, (Phase::Hello, PeerRefusal::NotAllowed { .. })));
    east.plane.set_policy(PeerPolicy::any());
    assert_eq!(east.session_up().await, named("CN=west"));
}

#[tokio::test]
async fn a_peer_serves_the_keys_it_may_and_the_others_are_ignored_and_told() {
    let mut east = East::with(|spec| spec).await;
    let may_serve = |keys: &[&str]| {
        PeerPolicy::any().serving(PeerIdentity::subject("CN=west"), keys.iter().map(|text| key(text)))
    };
    east.plane.set_policy(may_serve(&["good"]));
    let west = credentials("west", &east.ca.client("west"));
    let mut dialer = Dialer::new("west", east.access.address(), west).await;
    dialer.up().await;
    for name in ["good", "bad", "worse"] {
        dialer.plane.serve(&key(name)).unwrap();
    }
    let mut refused = Vec::new();
    until(&mut east.events, |kind| {
        if let EventKind::KeysRefused { keys, count, reason, .. } = kind {
            assert_eq!((*count, *reason), (keys.len() as u64, KeysRefusedReason::NotAllowed));
            refused.extend(keys.clone());
        }
        refused.len() == 2
    })
    .await;
    assert_eq!(refused, [key("bad"), key("worse")]);
    let reachable = |name: &str| east.plane.has_path(&Destination::Key(key(name)));
    assert_eq!(["good", "bad", "worse"].map(reachable), [true, false, false]);
    assert_eq!(east.plane.status().sessions[0].refused_keys, 2);

    // Both ways at run time, and the session goes on.
    east.plane.set_policy(may_serve(&["bad"]));
    let both = |good: bool, bad: bool| {
        let (plane, events) = (east.plane.clone(), east.plane.events());
        async move {
            let mut events = events;
            let state = || ["good", "bad"].map(|name| plane.has_path(&Destination::Key(key(name))));
            while state() != [good, bad] {
                within(events.next()).await.unwrap();
            }
        }
    };
    both(false, true).await;
    east.plane.set_policy(PeerPolicy::any());
    both(true, true).await;
    let status = east.plane.status();
    assert_eq!((status.sessions.len(), status.sessions[0].refused_keys), (1, 0));
}

fn ca_only(ca: &TestCa) -> Credentials {
    let parts = CredentialsParts { ca: ca.root().into(), ..CredentialsParts::default() };
    Credentials::from_pem("ca only", &parts, Ordinal(1)).unwrap()
}

/// A link that shows no certificate.
async fn anonymous(plane: Plane, to: SocketAddr, ca: &TestCa) -> Dialer {
    let events = plane.events();
    let text = format!(
        "apiVersion: skupper.io/v1alpha1\nkind: Link\nmetadata: {{ name: east }}\nspec:\n  noClientAuth: true\n  \
         tlsCredentials: east\n  interRouter: {{ host: 127.0.0.1, port: {} }}\n",
        to.port()
    );
    let manifest = Manifest::parse(text, "test");
    let spec = manifest.link("east").unwrap().clone();
    let link = plane.link(spec, ca_only(ca)).await.unwrap();
    Dialer { plane, events, link }
}

#[tokio::test]
async fn an_anonymous_peer_may_open_streams_and_serve_nothing() {
    let mut east = East::with(|spec| spec.client_auth(ClientAuth::Optional)).await;
    let mut guest = anonymous(plane("guest").await, east.access.address(), &east.ca).await;
    guest.up().await;
    assert_eq!(east.session_up().await, Principal::Anonymous);
    let status = east.plane.status();
    assert_eq!(status.sessions[0].peer.principal, Principal::Anonymous);
    assert_eq!(status.sessions[0].carriers[0].certificate, None);

    guest.plane.serve(&key("loot")).unwrap();
    let is = |kind: &EventKind| matches!(kind, EventKind::KeysRefused { .. });
    let told = EventKind::KeysRefused {
        session: status.sessions[0].session,
        keys: vec![key("loot")],
        count: 1,
        reason: KeysRefusedReason::Anonymous,
    };
    assert_eq!(until(&mut east.events, is).await.kind, told);
    assert!(!east.plane.has_path(&Destination::Key(key("loot"))));
    assert_eq!(east.plane.status().sessions[0].refused_keys, 1);

    east.plane.serve(&key("backend")).unwrap();
    let served = Destination::Key(key("backend"));
    until(
        &mut guest.events,
        |kind| matches!(kind, EventKind::PathSelected { destination, .. } if *destination == served),
    )
    .await;
    let (opened, taken) = tokio::join!(guest.plane.open(OpenRequest::to_key(key("backend"))), async {
        let incoming = within(east.plane.accept()).await.unwrap();
        assert_eq!(incoming.peer().unwrap().principal, Principal::Anonymous);
        incoming.accept()
    });
    let (mut near, mut far) = (opened.unwrap(), taken.unwrap());
    within(near.write_all(b"hello")).await.unwrap();
    let mut heard = [0; 5];
    within(far.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"hello");

    // No list names it.
    east.access.set_policy(PeerPolicy::only([PeerIdentity::subject("CN=west")]));
    assert_eq!(session_end(&mut east.events).await, SessionEnd::Closed(CloseCode::NOT_AUTHORIZED));
    let refusal = PeerRefusal::NotAllowed { principal: Principal::Anonymous, key: None };
    assert_eq!(east.refusal().await, (Phase::Hello, refusal));
}

#[tokio::test]
async fn an_anonymous_peer_claims_no_live_site_and_displaces_nobody() {
    let mut east = East::with(|spec| spec.client_auth(ClientAuth::Optional)).await;
    let to = east.access.address();
    let mut west = Dialer::new("west", to, credentials("west", &east.ca.client("west"))).await;
    west.up().await;
    east.session_up().await;
    // The same site and router; another router of it; the acceptor's own site.
    let site = |id: &str| Site::new(id, "guest").unwrap();
    let router = |name: &str| RouterName::new(name).unwrap();
    for (id, name) in [("west-id", "west"), ("west-id", "second"), ("east-id", "second")] {
        let guest = Plane::builder(site(id)).router_name(router(name)).start().await.unwrap();
        let mut guest = anonymous(guest, to, &east.ca).await;
        let refused = PeerRefusal::SiteIdConflict { site: site(id).id };
        assert_eq!(east.refusal().await, (Phase::Hello, refused), "{id} {name}");
        let error = guest.failure().await;
        assert!(matches!(error, DialError::Closed { code: CloseCode::SITE_ID_CONFLICT, .. }), "{error:?}");
        guest.plane.shutdown(Duration::ZERO).await;
    }
    let status = east.plane.status();
    assert_eq!(status.sessions.len(), 1);
    assert_eq!(status.sessions[0].peer.principal, named("CN=west"));

    // The other way round a certificate takes the name from an anonymous peer.
    let mut guest = anonymous(plane("north").await, to, &east.ca).await;
    guest.up().await;
    let mut north = Dialer::new("north", to, credentials("north", &east.ca.client("north"))).await;
    north.up().await;
    assert_eq!(session_end(&mut guest.events).await, SessionEnd::PeerClosed(CloseCode::SITE_ID_CONFLICT));
}

#[tokio::test]
async fn certificates_are_shown_as_they_were_loaded_and_their_end_is_told_ahead_and_when_it_comes() {
    let ca = TestCa::new("ca");
    let (west_end, server_end) = (now() + 3, now() + 1800);
    let server = ca.ending_at(server_end).server(&["127.0.0.1", "east.example"]);
    let mut config = PlaneConfig::default();
    config.clock_skew.0 = Duration::ZERO;
    let plane = plane_with("east", config).await;
    let mut events = plane.events();
    let spec = AccessSpec::new(loopback(), LinkRole::InterRouter);
    let access = plane.listen(spec, credentials("server", &server)).await.unwrap();
    until(&mut events, |kind| {
        assert!(!matches!(kind, EventKind::CredentialsExpiring { .. }), "before the access is up");
        matches!(kind, EventKind::AccessUp { .. })
    })
    .await;
    let is = |kind: &EventKind| matches!(kind, EventKind::CredentialsExpiring { .. });
    let owner = CertificateOwner::Access { access: access.id(), name: "server".into() };
    match until(&mut events, is).await.kind {
        EventKind::CredentialsExpiring { owner: of, subject, serial, not_after, left } => {
            assert_eq!((of, &*subject, serial), (owner, "CN=127.0.0.1", serial_of(&server)));
            assert_eq!(not_after, server_end);
            assert!(left <= Duration::from_secs(1800) && left > Duration::from_secs(1700), "{left:?}");
        }
        _ => unreachable!(),
    }
    let west = ca.ending_at(west_end).client("west");
    let mut dialer = Dialer::new("west", access.address(), credentials("west", &west)).await;
    dialer.up().await;
    let status = plane.status();
    let loaded = status.accesses[0].credentials.as_ref().unwrap();
    assert_eq!((&*loaded.name, loaded.ordinal), ("server", Ordinal(1)));
    let leaf = loaded.certificate.as_ref().unwrap();
    assert_eq!(leaf.names, ["127.0.0.1".into(), "east.example".into()]);
    assert_eq!((&leaf.serial, leaf.not_after), (&serial_of(&server), server_end));
    let shown = status.sessions[0].carriers[0].certificate.clone().unwrap();
    assert_eq!((&*shown.subject, &shown.serial, shown.not_after), ("CN=west", &serial_of(&west), west_end));
    let own = dialer.plane.status().links[0].credentials.clone().unwrap();
    assert_eq!((&*own.name, own.certificate.clone().unwrap().serial.clone()), ("west", serial_of(&west)));

    let session = status.sessions[0].session;
    let mut carrier_up = false;
    until(&mut events, |kind| {
        carrier_up |= matches!(kind, EventKind::CarrierUp { serial, not_after, .. }
            if *serial == Some(serial_of(&west)) && *not_after == Some(west_end));
        matches!(kind, EventKind::CredentialsExpiring { owner: CertificateOwner::Peer { session: of, .. }, .. }
            if *of == session)
    })
    .await;
    assert!(carrier_up, "told of a carrier before it was up");
    let is = |kind: &EventKind| matches!(kind, EventKind::CredentialsExpired { .. });
    let expired = EventKind::CredentialsExpired {
        owner: CertificateOwner::Peer { session, carrier: CarrierNumber(0) },
        subject: "CN=west".into(),
        serial: serial_of(&west),
        not_after: west_end,
    };
    assert_eq!(until(&mut events, is).await.kind, expired);
    assert!(now() >= west_end);
}

#[test]
fn a_secret_may_ask_for_the_public_roots_in_so_many_words() {
    let secret = |ca: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{ name: east }}\ntype: kubernetes.io/tls\n\
             stringData:\n  ca.crt: {ca}\n"
        )
    };
    let manifest = Manifest::parse(secret("webpki-roots"), "test");
    let found = Credentials::from_secret(manifest.secret("", "east").unwrap()).unwrap();
    assert!(found.trusts_public_roots());
    let manifest = Manifest::parse(secret("webpki-roots please"), "test");
    assert_eq!(manifest.refused().len(), 1);
}
