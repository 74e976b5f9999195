//! Handshakes in memory: who reports what, and what the other end sees.

use std::io;
use std::sync::Arc;

use rcgen::ExtendedKeyUsagePurpose;
use rustls::server::NoClientAuth;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, HandshakeKind, NamedGroup, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};

use crate::error::{CredentialsError, Fault, TlsReason};
use crate::id::{Ordinal, Principal};
use crate::tls::config::{ClientAuth, DialerIdentity, client_config, server_config, server_name};
use crate::tls::credentials::Credentials;
use crate::tls::proof::{EXPORTER_LABEL, EXPORTER_LEN};
use crate::tls::reason::{peer_of, reason_of, reason_of_io, require_alpn};
use crate::tls::testing::{Bundle, NOW, StandingClock, TestCa, credentials};

const HOST: &str = "east.example";

/// Both ends after all bytes have gone back and forth.
struct Ends {
    dialer: Connection,
    acceptor: Connection,
    /// What the dialer's handshake came to.
    dialed: Result<(), TlsReason>,
    /// What the acceptor's handshake came to.
    accepted: Result<(), TlsReason>,
}

fn dialing(bundle: &Bundle) -> Arc<ClientConfig> {
    client_config(&credentials(bundle), DialerIdentity::Shown, Some(Arc::new(StandingClock))).unwrap()
}

fn accepting(bundle: &Bundle) -> Arc<ServerConfig> {
    server_config(&credentials(bundle), ClientAuth::Required, Some(Arc::new(StandingClock))).unwrap()
}

fn meet(dialer: Arc<ClientConfig>, acceptor: Arc<ServerConfig>, host: &str) -> Ends {
    let mut ends = Ends {
        dialer: ClientConnection::new(dialer, server_name(host).unwrap()).unwrap().into(),
        acceptor: ServerConnection::new(acceptor).unwrap().into(),
        dialed: Ok(()),
        accepted: Ok(()),
    };
    while ends.dialer.wants_write() || ends.acceptor.wants_write() {
        carry(&mut ends.dialer, &mut ends.acceptor, &mut ends.accepted);
        carry(&mut ends.acceptor, &mut ends.dialer, &mut ends.dialed);
    }
    // What both ends do once the handshake is complete.
    ends.dialed = ends.dialed.and_then(|()| require_alpn(ends.dialer.alpn_protocol()));
    ends.accepted = ends.accepted.and_then(|()| require_alpn(ends.acceptor.alpn_protocol()));
    ends
}

/// Brings what one end has written to the other, unless that has given up.
fn carry(from: &mut Connection, to: &mut Connection, outcome: &mut Result<(), TlsReason>) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    feed(to, &bytes, outcome);
}

fn feed(to: &mut Connection, mut bytes: &[u8], outcome: &mut Result<(), TlsReason>) {
    while !bytes.is_empty() && outcome.is_ok() {
        to.read_tls(&mut bytes).unwrap();
        *outcome = to.process_new_packets().map(drop).map_err(|error| reason_of(&error));
    }
}

fn refused(alert: &str) -> Result<(), TlsReason> {
    Err(TlsReason::CertificateRefused { alert: alert.into() })
}

fn unknown_issuer(subject: &str, issuer: &str) -> Result<(), TlsReason> {
    Err(TlsReason::UnknownIssuer { subject: subject.into(), issuer: issuer.into() })
}

fn wrong_name(expected: &str, found: &[&str]) -> Result<(), TlsReason> {
    let found = found.iter().map(|name| Arc::from(*name)).collect();
    Err(TlsReason::WrongName { expected: expected.into(), found })
}

fn no_common_protocol() -> Result<(), TlsReason> {
    Err(TlsReason::NoCommonProtocol { expected: "sitelink/1".into() })
}

fn expired() -> Result<(), TlsReason> {
    Err(TlsReason::Expired { not_after: 788_918_400, now: NOW.cast_signed() })
}

fn not_yet_valid() -> Result<(), TlsReason> {
    Err(TlsReason::NotYetValid { not_before: 32_503_680_000, now: NOW.cast_signed() })
}

fn bad_certificate(problem: &str) -> Result<(), TlsReason> {
    Err(TlsReason::BadCertificate { problem: problem.into() })
}

struct Case {
    what: &'static str,
    dialer: Bundle,
    acceptor: Bundle,
    host: &'static str,
    dialed: Result<(), TlsReason>,
    accepted: Result<(), TlsReason>,
}

fn check(cases: Vec<Case>) {
    for case in cases {
        let ends = meet(dialing(&case.dialer), accepting(&case.acceptor), case.host);
        assert_eq!(ends.dialed, case.dialed, "dialer: {}", case.what);
        assert_eq!(ends.accepted, case.accepted, "acceptor: {}", case.what);
    }
}

#[test]
fn each_end_tells_what_is_wrong_with_the_others_issuer() {
    let (ca, other, namesake) = (TestCa::new("CA"), TestCa::new("Other"), TestCa::new("CA"));
    let below = ca.intermediate("Below");
    let without_intermediate = |bundle: Bundle| {
        let end = bundle.cert.find("-----END CERTIFICATE-----\n").unwrap() + 26;
        Bundle { cert: bundle.cert[..end].to_owned(), ..bundle }
    };
    let (west, east) = (ca.client("west"), ca.server(&[HOST]));
    check(vec![
        Case {
            what: "one CA",
            dialer: west.clone(),
            acceptor: east.clone(),
            host: HOST,
            dialed: Ok(()),
            accepted: Ok(()),
        },
        Case {
            what: "acceptor of a foreign CA",
            dialer: west.clone(),
            acceptor: other.server(&[HOST]).trusting(&ca),
            host: HOST,
            dialed: unknown_issuer("CN=east.example", "CN=Other"),
            accepted: refused("certificate_unknown"),
        },
        Case {
            what: "dialer of a foreign CA",
            dialer: other.client("west").trusting(&ca),
            acceptor: east.clone(),
            host: HOST,
            dialed: refused("certificate_unknown"),
            accepted: unknown_issuer("CN=west", "CN=Other"),
        },
        Case {
            what: "acceptor of another CA of the same name",
            dialer: west.clone(),
            acceptor: namesake.server(&[HOST]).trusting(&ca),
            host: HOST,
            dialed: unknown_issuer("CN=east.example", "another CN=CA of the same name"),
            accepted: refused("certificate_unknown"),
        },
        Case {
            what: "chains with an intermediate, both ways",
            dialer: below.client("west"),
            acceptor: below.server(&[HOST]),
            host: HOST,
            dialed: Ok(()),
            accepted: Ok(()),
        },
        Case {
            what: "an intermediate that is not shown",
            dialer: without_intermediate(below.client("west")),
            acceptor: east.clone(),
            host: HOST,
            dialed: refused("certificate_unknown"),
            accepted: unknown_issuer("CN=west", "CN=Below"),
        },
        Case {
            what: "a foreign leaf, then a good certificate",
            dialer: other.client("west").trusting(&ca).followed_by(&west),
            acceptor: east.clone(),
            host: HOST,
            dialed: refused("certificate_unknown"),
            accepted: unknown_issuer("CN=west", "CN=Other"),
        },
        Case {
            what: "an intermediate's leaf used as an issuer",
            dialer: west,
            acceptor: other.server(&[HOST]).trusting(&ca).followed_by(&east),
            host: HOST,
            dialed: unknown_issuer("CN=east.example", "CN=Other"),
            accepted: refused("certificate_unknown"),
        },
    ]);
}

#[test]
fn each_end_tells_when_the_others_certificate_is_valid() {
    let ca = TestCa::new("CA");
    let (west, east) = (ca.client("west"), ca.server(&[HOST]));
    check(vec![
        Case {
            what: "acceptor expired",
            dialer: west.clone(),
            acceptor: ca.expired().server(&[HOST]),
            host: HOST,
            dialed: expired(),
            accepted: refused("certificate_expired"),
        },
        Case {
            what: "dialer expired",
            dialer: ca.expired().client("west"),
            acceptor: east.clone(),
            host: HOST,
            dialed: refused("certificate_expired"),
            accepted: expired(),
        },
        Case {
            what: "acceptor not yet valid",
            dialer: west,
            acceptor: ca.not_yet_valid().server(&[HOST]),
            host: HOST,
            dialed: not_yet_valid(),
            accepted: refused("certificate_expired"),
        },
        Case {
            what: "dialer not yet valid",
            dialer: ca.not_yet_valid().client("west"),
            acceptor: east,
            host: HOST,
            dialed: refused("certificate_expired"),
            accepted: not_yet_valid(),
        },
    ]);
}

#[test]
fn a_dialer_tells_which_host_it_expected_and_which_it_found() {
    let ca = TestCa::new("CA");
    let case = |what, acceptor: Bundle, host, dialed: Result<(), TlsReason>| Case {
        what,
        dialer: ca.client("west"),
        acceptor,
        host,
        accepted: if dialed.is_ok() { Ok(()) } else { refused("bad_certificate") },
        dialed,
    };
    let ip_as_dns = vec![rcgen::SanType::DnsName("192.0.2.7".try_into().unwrap())];
    check(vec![
        case("its name", ca.server(&["other.example", HOST]), HOST, Ok(())),
        case("a wildcard", ca.server(&["*.east.example"]), "router.east.example", Ok(())),
        case("its address", ca.server(&["192.0.2.7"]), "192.0.2.7", Ok(())),
        case("its IPv6 address", ca.server(&["2001:db8::7"]), "2001:db8::7", Ok(())),
        case(
            "another name",
            ca.server(&[HOST, "192.0.2.7"]),
            "north.example",
            wrong_name("north.example", &[HOST, "192.0.2.7"]),
        ),
        case(
            "another address",
            ca.server(&["192.0.2.7"]),
            "192.0.2.8",
            wrong_name("192.0.2.8", &["192.0.2.7"]),
        ),
        case(
            "an address as a DNS name",
            ca.issue("east", ip_as_dns),
            "192.0.2.7",
            wrong_name("192.0.2.7", &["192.0.2.7"]),
        ),
        case("a common name alone", ca.client(HOST), HOST, wrong_name(HOST, &[])),
        case(
            "the right name on the second certificate",
            ca.server(&["other.example"]).followed_by(&ca.server(&[HOST])),
            HOST,
            wrong_name(HOST, &["other.example"]),
        ),
    ]);
}

#[test]
fn a_certificate_for_another_use_is_unusable() {
    let ca = TestCa::new("CA");
    check(vec![Case {
        what: "a dialer with a server's certificate",
        dialer: ca.for_servers_only().client("west"),
        acceptor: ca.server(&[HOST]),
        host: HOST,
        dialed: refused("unsupported_certificate"),
        accepted: bad_certificate("its extended key usage does not allow this use"),
    }]);
}

fn revoked(bundle: &Bundle) -> Result<(), TlsReason> {
    let leaf = credentials(bundle).leaf().unwrap().clone();
    Err(TlsReason::Revoked { subject: leaf.subject, serial: leaf.serial })
}

#[test]
fn a_revoked_certificate_is_refused_by_either_end_with_its_serial_number() {
    let ca = TestCa::new("CA");
    let (west, east) = (ca.client("west"), ca.server(&[HOST]));
    let lists = ca.revoking(&[&west, &east], (2025, 2027));
    let stale = ca.revoking(&[&west], (2001, 2002));
    let others = TestCa::new("Other").revoking(&[&west, &east], (2025, 2027));
    let unknown = || refused("certificate_unknown");
    let case = |what, dialer: &Bundle, acceptor: &Bundle, dialed, accepted| Case {
        what,
        dialer: dialer.clone(),
        acceptor: acceptor.clone(),
        host: HOST,
        dialed,
        accepted,
    };
    let heeding = |bundle: &Bundle, lists: &str| bundle.clone().heeding(lists);
    check(vec![
        case("acceptor revoked", &heeding(&west, &lists), &east, revoked(&east), unknown()),
        case("dialer revoked", &west, &heeding(&east, &lists), unknown(), revoked(&west)),
        case("a stale list still revokes", &west, &heeding(&east, &stale), unknown(), revoked(&west)),
        case("a stale list lets the others in", &heeding(&west, &stale), &east, Ok(()), Ok(())),
        case("renewed", &ca.client("west"), &heeding(&east, &lists), Ok(()), Ok(())),
        case("no list of its issuer", &heeding(&west, &others), &heeding(&east, &others), Ok(()), Ok(())),
        case("one list of several", &west, &heeding(&east, &(others + &lists)), unknown(), revoked(&west)),
    ]);
}

#[test]
fn of_several_lists_of_one_authority_the_newest_counts_wherever_it_stands() {
    let ca = TestCa::new("CA");
    let (west, east) = (ca.client("west"), ca.server(&[HOST]));
    let (older, newer) = (ca.revoking(&[], (2024, 2030)), ca.revoking(&[&west], (2025, 2030)));
    let case = |what, lists: &str| Case {
        what,
        dialer: west.clone(),
        acceptor: east.clone().heeding(lists),
        host: HOST,
        dialed: refused("certificate_unknown"),
        accepted: revoked(&west),
    };
    check(vec![
        case("the newer first", &format!("{newer}{older}")),
        case("the newer behind the older", &format!("{older}{newer}")),
    ]);
}

#[test]
fn a_revoked_authority_takes_those_below_it_along() {
    let ca = TestCa::new("CA");
    let below = ca.intermediate("Below");
    let west = below.client("west");
    let lists = ca.revoking_authority(&below);
    check(vec![Case {
        what: "the intermediate is revoked by the root",
        dialer: west.clone(),
        acceptor: ca.server(&[HOST]).heeding(&lists),
        host: HOST,
        dialed: refused("certificate_unknown"),
        accepted: revoked(&west),
    }]);
}

#[test]
fn a_list_that_is_not_its_issuers_judges_nobody_and_is_this_ends_fault() {
    let (ca, namesake) = (TestCa::new("CA"), TestCa::new("CA"));
    let forged = namesake.revoking(&[], (2025, 2027));
    let ends = meet(dialing(&ca.client("west")), accepting(&ca.server(&[HOST]).heeding(&forged)), HOST);
    let reason = ends.accepted.unwrap_err();
    assert_eq!(
        reason.to_string(),
        "own crl.pem: a list is not signed with the key of the authority it names"
    );
    assert_eq!(reason.fault(), Fault::Local);
    assert!(matches!(ends.dialed, Err(TlsReason::Alert { .. })), "{:?}", ends.dialed);
}

#[test]
fn a_chain_that_does_not_hold_together_is_refused_and_what_is_beside_it_vouches_for_nobody() {
    let ca = TestCa::new("CA");
    let (west, east) = (ca.client("west"), ca.server(&[HOST]));
    let acceptor = |what, acceptor: Bundle, dialed, accepted| Case {
        what,
        dialer: west.clone(),
        acceptor,
        host: HOST,
        dialed,
        accepted,
    };
    let dialer = |what, dialer: Bundle, accepted, dialed| Case {
        what,
        dialer,
        acceptor: east.clone(),
        host: HOST,
        dialed,
        accepted,
    };
    let impostor = TestCa::new("CA");
    let stranger = TestCa::new("Stranger").client("stranger");
    let as_leaf = || bad_certificate("it is an authority's and no leaf");
    check(vec![
        dialer(
            "an unrelated certificate behind the leaf",
            west.clone().followed_by(&stranger),
            Ok(()),
            Ok(()),
        ),
        acceptor("the same of an acceptor", east.clone().followed_by(&stranger), Ok(()), Ok(())),
        dialer(
            "a good certificate behind a foreign leaf",
            stranger.clone().trusting(&ca).followed_by(&west).followed_by(&east),
            unknown_issuer("CN=stranger", "CN=Stranger"),
            refused("certificate_unknown"),
        ),
        dialer(
            "only an acceptor's use",
            ca.for_use(ExtendedKeyUsagePurpose::ServerAuth).client("west"),
            bad_certificate("its extended key usage does not allow this use"),
            refused("unsupported_certificate"),
        ),
        acceptor(
            "only a dialer's use",
            ca.for_use(ExtendedKeyUsagePurpose::ClientAuth).server(&[HOST]),
            bad_certificate("its extended key usage does not allow this use"),
            refused("unsupported_certificate"),
        ),
        dialer("the authority itself as a leaf", ca.itself(), as_leaf(), refused("certificate_unknown")),
        acceptor("the same of an acceptor", ca.itself(), as_leaf(), refused("certificate_unknown")),
        dialer(
            "self-signed under the authority's name",
            impostor.itself().trusting(&ca),
            as_leaf(),
            refused("certificate_unknown"),
        ),
        dialer(
            "a leaf that signed itself, under the authority's name",
            TestCa::self_signed("CA", &ca),
            unknown_issuer("CN=CA", "another CN=CA of the same name"),
            refused("certificate_unknown"),
        ),
        acceptor(
            "the same of an acceptor",
            impostor.itself().trusting(&ca),
            as_leaf(),
            refused("certificate_unknown"),
        ),
    ]);
}

/// The principal is the verified leaf's; a chain in the wrong order has another leaf than its owner meant.
#[test]
fn a_leaf_that_does_not_come_first_is_not_the_leaf() {
    let ca = TestCa::new("CA");
    let below = ca.intermediate("Below");
    let west = below.client("west");
    let end = west.cert.find("-----END CERTIFICATE-----\n").unwrap() + 26;
    let (leaf, above) = west.cert.split_at(end);
    let swapped = Bundle { cert: above.to_owned() + leaf, ..west.clone() };
    let parts = crate::tls::testing::parts(&swapped);
    // An honest end cannot even make such a bundle: the key is not that of the first certificate.
    let made = Credentials::from_pem("west", &parts, Ordinal(1));
    assert_eq!(made.unwrap_err(), CredentialsError::KeyMismatch);
    // One that tries all the same cannot sign for the certificate it puts first, which may not be a leaf either.
    let key = credentials(&west).certified_key().unwrap();
    let chain = key.cert.iter().rev().cloned().collect();
    let mut dialer = ClientConfig::clone(&dialing(&ca.client("west")));
    let forged = CertifiedKey::new(chain, Arc::clone(&key.key));
    dialer.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(forged));
    let ends = meet(Arc::new(dialer), accepting(&ca.server(&[HOST])), HOST);
    assert!(matches!(ends.accepted, Err(TlsReason::BadCertificate { .. })), "{:?}", ends.accepted);
    assert!(matches!(ends.dialed, Err(TlsReason::CertificateRefused { .. })), "{:?}", ends.dialed);
}

#[test]
fn a_handshake_signed_with_another_key_is_refused() {
    let ca = TestCa::new("CA");
    let (own, stolen) = (credentials(&ca.server(&[HOST])), credentials(&ca.server(&[HOST])));
    let key = CertifiedKey::new(
        stolen.certified_key().unwrap().cert.clone(),
        own.certified_key().unwrap().key.clone(),
    );
    let mut acceptor = ServerConfig::clone(&accepting(&ca.server(&[HOST])));
    acceptor.cert_resolver = Arc::new(SingleCertAndKey::from(key));
    let ends = meet(dialing(&ca.client("west")), Arc::new(acceptor), HOST);
    assert_eq!(ends.dialed, bad_certificate("the handshake was not signed with its key"));
    assert_eq!(ends.accepted, refused("decrypt_error"));
}

#[test]
fn a_dialer_without_certificate_gets_in_only_where_that_is_optional() {
    let ca = TestCa::new("CA");
    let east = credentials(&ca.server(&[HOST]));
    let withheld = client_config(&credentials(&ca.client("west")), DialerIdentity::Withheld, None).unwrap();

    let ends = meet(withheld.clone(), server_config(&east, ClientAuth::Required, None).unwrap(), HOST);
    assert_eq!(ends.accepted, Err(TlsReason::NoPeerCertificate));
    assert_eq!(ends.dialed, refused("certificate_required"));

    let optional = server_config(&east, ClientAuth::Optional, Some(Arc::new(StandingClock))).unwrap();
    let ends = meet(withheld, optional.clone(), HOST);
    assert_eq!((ends.dialed, ends.accepted), (Ok(()), Ok(())));
    assert_eq!(
        peer_of(ends.acceptor.peer_certificates()).map(|(principal, _)| principal),
        Ok(Principal::Anonymous)
    );

    let ends = meet(dialing(&ca.expired().client("west")), optional, HOST);
    assert_eq!(ends.accepted, expired(), "a certificate that is shown must hold");
}

#[test]
fn the_principal_is_the_leafs_whatever_follows_it() {
    let ca = TestCa::new("CA");
    let dialer = ca.client("west").followed_by(&ca.client("admin"));
    let ends = meet(dialing(&dialer), accepting(&ca.server(&[HOST])), HOST);
    assert_eq!((&ends.dialed, &ends.accepted), (&Ok(()), &Ok(())));
    let west = Principal::Certificate { issuer: "CN=CA".into(), subject: "CN=west".into() };
    assert_eq!(peer_of(ends.acceptor.peer_certificates()).map(|(principal, _)| principal), Ok(west));
    let east = Principal::Certificate { issuer: "CN=CA".into(), subject: "CN=east.example".into() };
    assert_eq!(peer_of(ends.dialer.peer_certificates()).map(|(principal, _)| principal), Ok(east));
}

#[test]
fn both_ends_refuse_a_peer_that_does_not_name_our_protocol() {
    let ca = TestCa::new("CA");
    let speaking = |protocols: &[&[u8]]| {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        let mut dialer = ClientConfig::clone(&dialing(&ca.client("west")));
        let mut acceptor = ServerConfig::clone(&accepting(&ca.server(&[HOST])));
        dialer.alpn_protocols.clone_from(&protocols);
        acceptor.alpn_protocols = protocols;
        (Arc::new(dialer), Arc::new(acceptor))
    };
    let foreign: [&[&[u8]]; 2] = [&[], &[b"h2"]];
    for protocols in foreign {
        let (dialer, acceptor) = speaking(protocols);
        let ends = meet(dialer, accepting(&ca.server(&[HOST])), HOST);
        assert_eq!(ends.accepted, no_common_protocol(), "dialer with {protocols:?}");
        let ends = meet(dialing(&ca.client("west")), acceptor, HOST);
        assert_eq!(ends.dialed, no_common_protocol(), "acceptor with {protocols:?}");
    }
    let (dialer, acceptor) = speaking(&[b"h2", b"sitelink/1"]);
    let ends = meet(dialer, acceptor, HOST);
    assert_eq!((ends.dialed, ends.accepted), (no_common_protocol(), no_common_protocol()), "h2 is preferred");
}

#[test]
fn a_peer_without_tls_1_3_is_told_by_its_version() {
    let ca = TestCa::new("CA");
    let (west, east) = (credentials(&ca.client("west")), credentials(&ca.server(&[HOST])));
    let only: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

    let mut dialer = ClientConfig::builder_with_provider(west.provider().clone())
        .with_protocol_versions(only)
        .unwrap()
        .with_root_certificates(west.roots().clone())
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(west.certified_key().unwrap())));
    dialer.alpn_protocols = vec![crate::wire::ALPN.to_vec()];
    let ends = meet(Arc::new(dialer), accepting(&ca.server(&[HOST])), HOST);
    assert_eq!((ends.dialed, ends.accepted), (Err(TlsReason::Version), Err(TlsReason::Version)));

    let acceptor = ServerConfig::builder_with_provider(east.provider().clone())
        .with_protocol_versions(only)
        .unwrap()
        .with_client_cert_verifier(Arc::new(NoClientAuth))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(east.certified_key().unwrap())));
    let ends = meet(dialing(&ca.client("west")), Arc::new(acceptor), HOST);
    assert_eq!(ends.dialed, Err(TlsReason::Version));
}

#[test]
fn bytes_that_are_not_tls_are_told_as_such_at_both_ends() {
    let ca = TestCa::new("CA");
    let texts: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: east\r\n\r\n",
        b"AMQP\x03\x01\x00\x00",
        b"SSH-2.0-x\r\n",
        &[0; 64],
        &[0xff; 64],
    ];
    for text in texts {
        let mut ends = meet(dialing(&ca.client("west")), accepting(&ca.server(&[HOST])), HOST);
        ends.dialer =
            ClientConnection::new(dialing(&ca.client("west")), server_name(HOST).unwrap()).unwrap().into();
        ends.acceptor = ServerConnection::new(accepting(&ca.server(&[HOST]))).unwrap().into();
        feed(&mut ends.dialer, text, &mut ends.dialed);
        feed(&mut ends.acceptor, text, &mut ends.accepted);
        assert_eq!(ends.dialed, Err(TlsReason::NotTls), "dialer: {text:?}");
        assert_eq!(ends.accepted, Err(TlsReason::NotTls), "acceptor: {text:?}");
    }
}

#[test]
fn both_ends_derive_the_same_exporter_and_no_two_connections_do() {
    let ca = TestCa::new("CA");
    let (dialer, acceptor) = (dialing(&ca.client("west")), accepting(&ca.server(&[HOST])));
    let exporters = || {
        let ends = meet(dialer.clone(), acceptor.clone(), HOST);
        let of = |connection: &Connection| {
            connection.export_keying_material([0; EXPORTER_LEN], EXPORTER_LABEL, None).unwrap()
        };
        (of(&ends.dialer), of(&ends.acceptor))
    };
    let (first, second) = (exporters(), exporters());
    assert_eq!(first.0, first.1);
    assert_eq!(second.0, second.1);
    assert_ne!(first.0, second.0);
}

#[test]
fn nothing_is_resumed_and_the_key_exchange_is_hybrid() {
    let ca = TestCa::new("CA");
    let (dialer, acceptor) = (dialing(&ca.client("west")), accepting(&ca.server(&[HOST])));
    for _ in 0..3 {
        let ends = meet(dialer.clone(), acceptor.clone(), HOST);
        assert_eq!(ends.dialer.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(ends.acceptor.handshake_kind(), Some(HandshakeKind::Full));
        if cfg!(feature = "aws-lc-rs") {
            let group = ends.dialer.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(group, NamedGroup::X25519MLKEM768);
        }
    }
}

#[test]
fn a_reason_comes_out_of_the_io_error_that_wraps_it() {
    let wrapped = io::Error::new(io::ErrorKind::InvalidData, Error::NoCertificatesPresented);
    assert_eq!(reason_of_io(&wrapped), Some(TlsReason::NoPeerCertificate));
    assert_eq!(reason_of_io(&io::ErrorKind::ConnectionReset.into()), None);
    assert_eq!(reason_of_io(&io::Error::other("something else")), None);
}

#[test]
fn an_alert_is_told_in_the_words_of_its_rfc() {
    use rustls::AlertDescription as Alert;
    let alert = |name: &str| Err(TlsReason::Alert { alert: name.into() });
    let cases = [
        (Alert::UnknownCA, refused("unknown_ca")),
        (Alert::AccessDenied, refused("access_denied")),
        (Alert::CertificateRevoked, refused("certificate_revoked")),
        (Alert::ProtocolVersion, Err(TlsReason::Version)),
        (Alert::NoApplicationProtocol, no_common_protocol()),
        (Alert::HandshakeFailure, alert("handshake_failure")),
        (Alert::InternalError, alert("internal_error")),
        (Alert::Unknown(0xee), alert("alert 238")),
    ];
    for (received, reason) in cases {
        assert_eq!(Err(reason_of(&Error::AlertReceived(received))), reason);
    }
}

#[test]
fn what_is_no_host_is_refused_before_it_is_dialed() {
    for host in ["", "a b", "[::1]", "-", "a..b"] {
        assert!(server_name(host).is_err(), "{host:?}");
    }
}
