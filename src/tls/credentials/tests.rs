//! Bundles that are taken and bundles that are refused.

use super::*;
use crate::tls::config::{ClientAuth, DialerIdentity, client_config, server_config};
use crate::tls::testing::{Bundle, TestCa, credentials, parts};

const RSA_CERT: &str = include_str!("../../../tests/data/keys/rsa.crt");
const EC_CERT: &str = include_str!("../../../tests/data/keys/ec.crt");

fn load(ca: &str, cert: Option<&str>, key: Option<&str>) -> Result<Credentials, CredentialsError> {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let parts = CredentialsParts { ca: bytes(ca), cert: cert.map(bytes), key: key.map(bytes), crl: None };
    Credentials::from_pem("east", &parts, Ordinal(3))
}

#[test]
fn a_bundle_tells_its_name_ordinal_and_leaf() {
    let Bundle { ca, cert, key, .. } = TestCa::new("CA").server(&["east.example", "192.0.2.7"]);
    let bundle = load(&ca, Some(&cert), Some(&key)).unwrap();
    assert_eq!((&**bundle.name(), bundle.ordinal()), ("east", Ordinal(3)));
    assert!(bundle.has_identity());
    let leaf = bundle.leaf().unwrap();
    assert_eq!((&*leaf.subject, &*leaf.issuer), ("CN=east.example", "CN=CA"));
    assert_eq!(leaf.names, ["east.example".into(), "192.0.2.7".into()]);
    assert_eq!(bundle.warnings(), []);
}

#[test]
fn keys_come_as_pkcs1_pkcs8_and_sec1() {
    let cases = [
        (RSA_CERT, include_str!("../../../tests/data/keys/rsa-pkcs1.key"), "-----BEGIN RSA PRIVATE KEY-----"),
        (RSA_CERT, include_str!("../../../tests/data/keys/rsa-pkcs8.key"), "-----BEGIN PRIVATE KEY-----"),
        (EC_CERT, include_str!("../../../tests/data/keys/ec-sec1.key"), "-----BEGIN EC PRIVATE KEY-----"),
    ];
    for (cert, key, header) in cases {
        assert!(key.contains(header));
        assert!(load(cert, Some(cert), Some(key)).unwrap().has_identity(), "{header}");
    }
}

#[test]
fn a_bundle_of_ca_crt_alone_trusts_but_has_no_identity() {
    let Bundle { ca, .. } = TestCa::new("CA").client("west");
    // Skupper writes a missing key as an empty file.
    for (cert, key) in [(None, None), (Some(""), Some("\n")), (None, Some(""))] {
        let bundle = load(&ca, cert, key).unwrap();
        assert!(!bundle.has_identity());
        assert_eq!(bundle.leaf(), None);
        let missing = CredentialsError::Missing { part: "tls.crt" };
        assert_eq!(client_config(&bundle, DialerIdentity::Shown, None).unwrap_err(), missing);
        assert_eq!(server_config(&bundle, ClientAuth::Optional, None).unwrap_err(), missing);
        assert!(client_config(&bundle, DialerIdentity::Withheld, None).is_ok());
    }
}

#[test]
fn a_bad_bundle_is_refused_by_the_part_that_is_wrong() {
    let ca = TestCa::new("CA");
    let Bundle { ca: root, cert, key, .. } = ca.client("west");
    let other = ca.client("west").key;
    let (root, cert, key) = (root.as_str(), cert.as_str(), key.as_str());
    let missing = |part| CredentialsError::Missing { part };
    let unreadable = |part, problem: &str| CredentialsError::Unreadable { part, problem: problem.into() };
    let cut = &cert[..cert.len() - 30];
    let bent = cert.replacen("MII", "!!!", 1);
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let encrypted = include_str!("../../../tests/data/keys/encrypted.key");
    let no_key_found = "holds no private key (PKCS#1, PKCS#8 or SEC1) in PEM";
    let cases = [
        ("no CA", "", Some(cert), Some(key), missing("ca.crt")),
        ("no key", root, Some(cert), None, missing("tls.key")),
        ("an empty key", root, Some(cert), Some(" \n"), missing("tls.key")),
        ("no certificate", root, None, Some(key), missing("tls.crt")),
        ("the key of another", root, Some(cert), Some(&other), CredentialsError::KeyMismatch),
        (
            "a CA that is not PEM",
            "x",
            Some(cert),
            Some(key),
            unreadable("ca.crt", "holds no certificate in PEM"),
        ),
        ("a key as CA", key, Some(cert), Some(key), unreadable("ca.crt", "holds no certificate in PEM")),
        (
            "a CA that is no certificate",
            no_der,
            Some(cert),
            Some(key),
            unreadable("ca.crt", "holds what is not a usable X.509 certificate"),
        ),
        (
            "a certificate without end",
            root,
            Some(cut),
            Some(key),
            unreadable("tls.crt", "a PEM section has no end line"),
        ),
        (
            "a certificate with odd letters",
            root,
            Some(&bent),
            Some(key),
            unreadable("tls.crt", "a PEM section is not base64"),
        ),
        (
            "no certificate in it",
            root,
            Some(no_der),
            Some(key),
            unreadable("tls.crt", "not a readable X.509 certificate"),
        ),
        ("a certificate as key", root, Some(cert), Some(cert), unreadable("tls.key", no_key_found)),
        ("an encrypted key", root, Some(cert), Some(encrypted), unreadable("tls.key", no_key_found)),
        (
            "no key in it",
            root,
            Some(cert),
            Some(no_key),
            unreadable("tls.key", "is no private key of a kind that is supported"),
        ),
    ];
    for (what, ca, cert, key, error) in cases {
        assert_eq!(load(ca, cert, key).unwrap_err(), error, "{what}");
    }
}

#[test]
fn a_bundle_at_odds_with_itself_is_taken_with_a_warning() {
    let (ca, other) = (TestCa::new("CA"), TestCa::new("Other"));
    let no_name = CredentialsWarning::NoAlternativeName;
    let other_issuer = || CredentialsWarning::OtherIssuer { issuer: "CN=Other".into() };
    let cases = [
        ("a client's leaf", ca.client("west"), vec![no_name.clone()]),
        ("a leaf of another CA", other.server(&["east"]).trusting(&ca), vec![other_issuer()]),
        ("a client's leaf of another CA", other.client("west").trusting(&ca), vec![no_name, other_issuer()]),
        ("a chain to its own CA", ca.intermediate("Below").server(&["east"]), vec![]),
        ("an expired leaf of its own CA", ca.expired().server(&["east"]), vec![]),
    ];
    for (what, bundle, warnings) in cases {
        assert_eq!(credentials(&bundle).warnings(), warnings, "{what}");
    }
}

#[test]
fn a_key_is_in_no_debug_text() {
    let bundle = TestCa::new("CA").server(&["east.example"]);
    let secret = bundle.key.lines().nth(1).unwrap();
    let shown = format!("{:?} {:?}", credentials(&bundle), parts(&bundle));
    assert!(shown.contains("CN=east.example"));
    assert!(!shown.contains(secret));
    assert!(!shown.contains("BEGIN"));
}

#[test]
fn a_list_that_cannot_be_read_or_is_empty_refuses_its_bundle() {
    let ca = TestCa::new("CA");
    let west = ca.client("west");
    let load = |lists: &str| Credentials::from_pem("west", &parts(&west.clone().heeding(lists)), Ordinal(1));
    let lists = ca.revoking(&[&west], (2025, 2027));
    assert_eq!(load(&lists).unwrap().revocation_lists().len(), 1);
    let unreadable =
        |problem: &str| CredentialsError::Unreadable { part: "crl.pem", problem: problem.into() };
    let no_list = "-----BEGIN X509 CRL-----\nMAMCAQA=\n-----END X509 CRL-----\n";
    assert_eq!(load(no_list).unwrap_err(), unreadable(UNREADABLE));
    // A file that is being written is empty first: taken for none, it would let in whom it had kept out.
    for empty in ["", " \n"] {
        assert_eq!(load(empty).unwrap_err(), unreadable("holds no revocation list in PEM"), "{empty:?}");
    }
    assert_eq!(load(&west.cert).unwrap_err(), unreadable("holds no revocation list in PEM"));
}

#[test]
fn a_list_of_an_authority_that_is_trusted_with_two_keys_is_warned_of() {
    let (old, new, other) = (TestCa::new("CA"), TestCa::new("CA"), TestCa::new("Other"));
    let warnings = |ca: &str| {
        let bundle = new.client("west").heeding(&new.revoking(&[], (2025, 2030)));
        let found = credentials(&Bundle { ca: ca.to_owned(), ..bundle });
        let of_lists =
            |warning: &&CredentialsWarning| matches!(warning, CredentialsWarning::Namesakes { .. });
        found.warnings().iter().filter(of_lists).cloned().collect::<Vec<_>>()
    };
    let [old, new, other] = [&old, &new, &other].map(|ca| ca.client("any").ca);
    for fine in [new.clone(), format!("{new}{other}"), format!("{new}{new}"), other] {
        assert_eq!(warnings(&fine), []);
    }
    assert_eq!(warnings(&format!("{old}{new}")), [CredentialsWarning::Namesakes { issuer: "CN=CA".into() }]);
}

#[test]
fn a_list_that_a_newer_one_has_taken_the_place_of_is_not_told() {
    let (ca, other) = (TestCa::new("CA"), TestCa::new("Other"));
    let lists =
        [ca.revoking(&[], (2024, 2025)), other.revoking(&[], (2023, 2030)), ca.revoking(&[], (2025, 2030))];
    let found = credentials(&ca.client("west").heeding(&lists.concat()));
    let told: Vec<_> =
        found.revocation_lists().iter().map(|list| (&*list.issuer, list.this_update)).collect();
    assert_eq!(told, [("CN=CA", 1_735_689_600), ("CN=Other", 1_672_531_200)]);
}

#[test]
fn a_bent_list_is_refused_or_read_but_never_panics() {
    let ca = TestCa::new("CA");
    let west = ca.client("west");
    let pem = ca.revoking(&[&west, &ca.client("north")], (2025, 2027));
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    let provider = provider().unwrap();
    let roots = Arc::new(read_roots(west.ca.as_bytes()).unwrap());
    let mut taken = 0;
    for at in 0..der.len() {
        for byte in [0, 1, 0x30, 0x7f, 0x80, 0x84, 0xff] {
            let mut bent = der.clone();
            bent[at] = byte;
            taken += usize::from(read_revocations(&in_pem(&bent), &roots, &provider).is_ok());
        }
        assert!(read_revocations(&in_pem(&der[..at]), &roots, &provider).is_err(), "cut at {at}");
    }
    // A bent signature is seen only when the list is asked.
    assert!(taken > 64, "{taken}");
}

/// As much of a list as there is, in PEM.
fn in_pem(der: &[u8]) -> Vec<u8> {
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    format!("-----BEGIN X509 CRL-----\n{text}\n-----END X509 CRL-----\n").into_bytes()
}

proptest::proptest! {
    #[test]
    fn bytes_that_are_no_list_are_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..512)) {
        proptest::prop_assert!(Revocations::from_pem(&in_pem(&bytes)).is_err());
        proptest::prop_assert!(Revocations::from_pem(&bytes).is_err());
    }
}

#[test]
#[cfg(feature = "webpki-roots")]
fn the_public_roots_are_trusted_when_asked_for_in_so_many_words_and_never_beside_a_ca() {
    let ca = TestCa::new("CA");
    let west = ca.client("west");
    let public = Credentials::from_pem("west", &parts(&west).with_public_roots(), Ordinal(1)).unwrap();
    assert!(public.trusts_public_roots() && public.roots().len() > 50);
    assert_eq!(public.warnings(), [CredentialsWarning::NoAlternativeName]);
    assert!(client_config(&public, DialerIdentity::Shown, None).is_ok());
    let refused = server_config(&public, ClientAuth::Required, None).unwrap_err();
    assert_eq!(refused, CredentialsError::PublicRoots);

    let in_a_file = load(" webpki-roots\n", Some(&west.cert), Some(&west.key)).unwrap();
    assert!(in_a_file.trusts_public_roots());
    let own = credentials(&west);
    assert!(!own.trusts_public_roots());
    assert_eq!(own.roots().len(), 1);
    // Beside a certificate it is text between PEM sections, which means nothing.
    let beside = load(&format!("webpki-roots\n{}", west.ca), Some(&west.cert), Some(&west.key)).unwrap();
    assert_eq!((beside.trusts_public_roots(), beside.roots().len()), (false, 1));
}

#[test]
#[cfg(not(feature = "webpki-roots"))]
fn a_build_without_the_public_roots_says_so() {
    let problem = "asks for the public roots, which this build does not have".into();
    let expected = CredentialsError::Unreadable { part: "ca.crt", problem };
    assert_eq!(load("webpki-roots", None, None).unwrap_err(), expected);
}
