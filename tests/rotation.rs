//! Credentials change while links are up: handshakes use the new ones, and what was made with the old ones is replaced.
//!
//! What is watched is watched twice: with the system's notices, and by the clock alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::pki::{Bundle, TestCa};
use common::raw::{self, RawPeer};
use common::relay::{Cut, Relay};
use common::stage::{Diary, WAYS, brisk, listen, pair, plane_with, watching};
use common::traffic::busy;
use common::{credentials, document, link, loopback, within};
use rustls_pki_types::CertificateDer;
use sitelink::config::FileNotices;
use sitelink::{
    Access, AccessSpec, CloseCode, Cost, Credentials, CredentialsError, CredentialsSource, DialError,
    EventKind, LinkId, LinkRole, LinkSecrets, LinkStream, Manifest, Ordinal, PeerPolicy, PeerRefusal, Phase,
    Plane, PlaneError, SessionEnd, TlsReason,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A folder of credentials as the kubelet mounts a Secret: `tls.crt -> ..data/tls.crt`, `..data -> ..<time>`.
struct Mount {
    folder: TempDir,
    swaps: usize,
}

impl Mount {
    fn new(bundle: &Bundle) -> Self {
        let mut mount = Self { folder: tempfile::tempdir().unwrap(), swaps: 0 };
        mount.swap(bundle);
        for part in ["ca.crt", "tls.crt", "tls.key"] {
            symlink(&Path::new("..data").join(part), &mount.path().join(part));
        }
        mount
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// Makes a folder beside, points a link at it, and renames the link over the one in use.
    fn swap(&mut self, bundle: &Bundle) {
        let before = (self.swaps > 0).then(|| fs::read_link(self.path().join("..data")).unwrap());
        self.swaps += 1;
        let name = format!("..2026_01_01_00_00_00.{}", self.swaps);
        bundle.write(&self.path().join(&name));
        symlink(Path::new(&name), &self.path().join("..data_tmp"));
        fs::rename(self.path().join("..data_tmp"), self.path().join("..data")).unwrap();
        if let Some(before) = before {
            fs::remove_dir_all(self.path().join(before)).unwrap();
        }
    }

    fn source(&self, name: &str) -> CredentialsSource {
        CredentialsSource::directory(name, self.path())
    }
}

fn symlink(to: &Path, at: &Path) {
    std::os::unix::fs::symlink(to, at).unwrap();
}

/// The serial number of a bundle's leaf, as events have it.
fn serial(bundle: &Bundle) -> Arc<str> {
    let credentials = credentials("any", bundle);
    significant(&credentials.leaf().unwrap().serial)
}

/// A number in hex without zeros in front, which one notation has and another has not.
fn significant(number: &str) -> Arc<str> {
    number.trim_start_matches('0').into()
}

fn serial_of(certificates: Option<&[CertificateDer<'_>]>) -> Arc<str> {
    let leaf = certificates.and_then(|all| all.first()).expect("a certificate was shown");
    let (_, leaf) = X509Certificate::from_der(leaf).unwrap();
    let number: String = leaf.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
    significant(&number)
}

/// The serial number an access shows to a dialer that comes now.
async fn shown_by(access: SocketAddr, ca: &TestCa) -> Arc<str> {
    let tls = raw::client(&ca.client("stranger"));
    let peer = RawPeer::dial(access, tls).await.unwrap();
    serial_of(peer.stream.get_ref().1.peer_certificates())
}

/// What a rotation told: whose, which and what.
fn rotated(kind: &EventKind) -> Option<(Option<LinkId>, Ordinal, Arc<str>)> {
    match kind {
        EventKind::CredentialsRotated { link, ordinal, serial, .. } => {
            Some((*link, *ordinal, significant(serial.as_ref().unwrap())))
        }
        _ => None,
    }
}

fn refused(kind: &EventKind) -> Option<&CredentialsError> {
    match kind {
        EventKind::CredentialsRefused { error, .. } => Some(error),
        _ => None,
    }
}

/// Waits until that bundle was taken into use.
async fn taken(diary: &mut Diary, bundle: &Bundle) {
    let wanted = serial(bundle);
    diary.one(|kind| rotated(kind).is_some_and(|(.., serial)| serial == wanted)).await;
}

/// A link by hand, from a source.
async fn keep(plane: &Plane, to: SocketAddr, source: CredentialsSource) -> LinkId {
    let manifest = Manifest::parse(document("east", &to.ip().to_string(), to.port()), "test");
    plane.link(manifest.link("east").unwrap().clone(), source).await.unwrap()
}

/// Whether a stream still carries.
async fn talks((near, far): &mut (LinkStream, LinkStream)) -> bool {
    near.send(Bytes::from_static(b"still here")).await.unwrap();
    within(far.recv()).await.unwrap().as_deref() == Some(b"still here")
}

#[tokio::test]
async fn credentials_of_another_subject_get_a_session_of_their_own_beside_the_one_that_drains() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let access = listen(&east, loopback(), &ca).await;
    let mut diary = Diary::of(&west);
    let link = link(&west, "east", access.address(), credentials("own", &ca.client("west"))).await;
    let mut old = pair(&west, &east, "old").await;
    west.rotate(link, credentials("own", &ca.client("renamed"))).await.unwrap();
    diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    let mut new = pair(&west, &east, "new").await;
    assert!(talks(&mut new).await && talks(&mut old).await);
    assert_eq!(diary.count(|kind| matches!(kind, EventKind::RotationCompleted { .. })), 0);
    drop(old);
    assert_eq!(diary.session_end().await, SessionEnd::Closed(CloseCode::DRAINED));
    diary.one(|kind| matches!(kind, EventKind::RotationCompleted { .. })).await;
    assert!(talks(&mut new).await);
}

#[tokio::test]
async fn a_dialer_names_both_principals_of_an_access_that_took_another_and_begins_a_successor() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let access = listen(&east, loopback(), &ca).await;
    let mut diary = Diary::of(&west);
    link(&west, "east", access.address(), credentials("own", &ca.client("west"))).await;
    let mut old = pair(&west, &east, "old").await;
    let before = west.status().sessions[0].peer.principal.clone();
    let host = rcgen::SanType::IpAddress(loopback().ip());
    access.rotate(credentials("server", &ca.issue("renamed", vec![host]))).unwrap();
    let differs = |kind: &EventKind| {
        matches!(kind, EventKind::DialFailed { error: DialError::OtherPrincipal { expected, found }, .. }
            if *expected == before && *found != before)
    };
    diary.one(differs).await;
    diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    let mut new = pair(&west, &east, "new").await;
    assert!(talks(&mut new).await && talks(&mut old).await);
}

#[tokio::test]
async fn an_access_that_is_rotated_shows_the_new_certificate_at_the_next_handshake() {
    let ca = TestCa::new("ca");
    let east = plane_with("east", brisk()).await;
    let mut diary = Diary::of(&east);
    let access = listen(&east, loopback(), &ca).await;
    let next = ca.server(&["127.0.0.1"]);
    let ordinal = access.rotate(credentials("server", &next)).unwrap();
    assert_eq!(ordinal, Ordinal(2));
    let told = diary.one(|kind| rotated(kind).is_some()).await.kind;
    assert!(
        matches!(&told, EventKind::CredentialsRotated { access: Some(of), link: None, name, .. }
            if *of == access.id() && **name == *"server"),
        "{told:?}"
    );
    assert_eq!(rotated(&told), Some((None, Ordinal(2), serial(&next))));
    assert_eq!(shown_by(access.address(), &ca).await, serial(&next));
    // The same again is none.
    assert_eq!(access.rotate(credentials("server", &next)), Ok(Ordinal(2)));
    access.close();
    assert_eq!(access.rotate(credentials("server", &next)), Err(PlaneError::Unknown));
    assert_eq!(diary.count(|kind| rotated(kind).is_some()), 1);
}

#[tokio::test]
async fn a_link_that_is_rotated_shows_the_new_certificate_and_its_ordinal_at_the_next_handshake() {
    let ca = TestCa::new("ca");
    let west = plane_with("west", brisk()).await;
    let mut diary = Diary::of(&west);
    let socket = TcpListener::bind(loopback()).await.unwrap();
    let server = ca.server(&["127.0.0.1"]);
    let first = ca.client("west");
    let link = keep(&west, socket.local_addr().unwrap(), credentials("east", &first).into()).await;
    let mut peer = RawPeer::accept(&socket, raw::server_asking(&server)).await.unwrap();
    assert_eq!(serial_of(peer.stream.get_ref().1.peer_certificates()), serial(&first));
    assert_eq!(hello_ordinal(&mut peer).await, Ordinal(1));

    let next = ca.client("west");
    assert_eq!(west.rotate(link, credentials("east", &next)).await, Ok(Ordinal(2)));
    drop(peer);
    let mut peer = RawPeer::accept(&socket, raw::server_asking(&server)).await.unwrap();
    assert_eq!(serial_of(peer.stream.get_ref().1.peer_certificates()), serial(&next));
    assert_eq!(hello_ordinal(&mut peer).await, Ordinal(2));
    let told = diary.one(|kind| rotated(kind).is_some()).await.kind;
    assert_eq!(rotated(&told), Some((Some(link), Ordinal(2), serial(&next))));
    let nobody = LinkId(link.0 + 1000);
    assert_eq!(west.rotate(nobody, credentials("east", &next)).await, Err(PlaneError::Unknown));
}

#[tokio::test]
async fn a_rotation_leaves_the_cost_and_the_policy_that_a_link_was_given_meanwhile() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let to = listen(&east, loopback(), &ca).await.address();
    let manifest = Manifest::parse(document("east", &to.ip().to_string(), to.port()), "test");
    let spec = manifest.link("east").unwrap().clone();
    let nobody = PeerPolicy::only([]);
    let secrets = LinkSecrets::from(credentials("east", &ca.client("west"))).with_policy(nobody);
    let link = west.link(spec, secrets).await.unwrap();
    west.set_link_policy(link, PeerPolicy::any()).unwrap();
    let cost = Cost::new(7).unwrap();
    west.set_cost(link, cost).await.unwrap();
    let (mut near, mut far) = pair(&west, &east, "east-key").await;

    assert_eq!(west.rotate(link, credentials("east", &ca.client("west"))).await, Ok(Ordinal(2)));
    assert_eq!(west.status().links[0].cost, cost);
    assert_eq!(west.status().sessions[0].cost, cost);
    within(near.send(Bytes::from_static(b"still here"))).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap().unwrap(), "still here");
}

#[tokio::test]
async fn a_link_that_was_given_up_takes_other_credentials_while_it_drains_but_no_other_document() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let to = listen(&east, loopback(), &ca).await.address();
    let bundle = credentials("east", &ca.client("west"));
    let link = keep(&west, to, bundle.clone().into()).await;
    let streams = pair(&west, &east, "east-key").await;
    west.unlink(link, Duration::from_secs(60)).await.unwrap();
    let manifest = Manifest::parse(document("east", &to.ip().to_string(), to.port()), "test");
    let spec = manifest.link("east").unwrap().clone();
    assert_eq!(west.relink(link, spec, bundle).await, Err(PlaneError::Unknown));
    assert_eq!(west.rotate(link, credentials("east", &ca.client("west"))).await, Ok(Ordinal(2)));
    drop(streams);
}

async fn hello_ordinal(peer: &mut RawPeer) -> Ordinal {
    match peer.next().await {
        Some(sitelink::wire::frame::Frame::Hello(hello)) => hello.ordinal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bundle_that_cannot_be_used_is_refused_and_the_one_before_stays() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let (mut at_west, mut at_east) = (Diary::of(&west), Diary::of(&east));
    let server = ca.server(&["127.0.0.1"]);
    let spec = AccessSpec::new(loopback(), LinkRole::InterRouter);
    let access = east.listen(spec, credentials("server", &server)).await.unwrap();
    let link = keep(&west, access.address(), credentials("east", &ca.client("west")).into()).await;
    let parts = sitelink::CredentialsParts { ca: ca.root().into(), ..sitelink::CredentialsParts::default() };
    let trust_alone = Credentials::from_pem("trust", &parts, Ordinal(1)).unwrap();
    let missing = CredentialsError::Missing { part: "tls.crt" };
    assert_eq!(access.rotate(trust_alone.clone()), Err(PlaneError::Credentials(missing.clone())));
    assert_eq!(west.rotate(link, trust_alone).await, Err(PlaneError::Credentials(missing.clone())));
    for diary in [&mut at_west, &mut at_east] {
        diary.one(|kind| refused(kind) == Some(&missing)).await;
        assert_eq!(diary.count(|kind| rotated(kind).is_some()), 0);
    }
    assert_eq!(shown_by(access.address(), &ca).await, serial(&server));
    at_west.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
}

#[tokio::test]
async fn a_swapped_mount_is_taken_under_load_at_both_ends_and_no_stream_is_harmed() {
    for &notices in WAYS {
        let ca = TestCa::new("ca");
        let config = watching(notices);
        let (west, east) = (plane_with("west", config.clone()).await, plane_with("east", config).await);
        let (mut at_west, mut at_east) = (Diary::of(&west), Diary::of(&east));
        let mut server = Mount::new(&ca.server(&["127.0.0.1"]));
        let mut client = Mount::new(&ca.client("west"));
        let access = watched_access(&east, &server).await;
        let relay = Relay::to(access.address()).await;
        keep(&west, relay.address(), client.source("client")).await;
        at_west.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
        let traffic = busy(&west, &east).await;

        for round in 1..=3 {
            let (next_server, next_client) = (ca.server(&["127.0.0.1"]), ca.client("west"));
            server.swap(&next_server);
            client.swap(&next_client);
            taken(&mut at_east, &next_server).await;
            taken(&mut at_west, &next_client).await;
            assert_eq!(shown_by(access.address(), &ca).await, serial(&next_server));
            let last = at_west.kinds().iter().rev().find_map(rotated).unwrap();
            assert_eq!((last.1, last.2), (Ordinal(round as u64 + 1), serial(&next_client)));
            // The next carrier is made of the new ones, and the streams go on over it.
            relay.cut(Cut::Reset);
            at_west.many(round, |kind| matches!(kind, EventKind::SessionResumed { .. })).await;
        }
        traffic.end().await;
        for diary in [&at_west, &at_east] {
            assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
            assert_eq!(diary.count(|kind| refused(kind).is_some()), 0, "{notices:?}");
        }
    }
}

async fn watched_access(plane: &Plane, mount: &Mount) -> Access {
    let spec = AccessSpec::new(loopback(), LinkRole::InterRouter);
    plane.listen(spec, mount.source("server")).await.unwrap()
}

#[tokio::test]
async fn what_a_watched_folder_may_come_to_hold_is_taken_or_refused_once_and_the_old_serves_on() {
    for &notices in WAYS {
        let ca = TestCa::new("ca");
        let east = plane_with("east", watching(notices)).await;
        let mut diary = Diary::of(&east);
        let first = ca.server(&["127.0.0.1"]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server");
        first.write(&path);
        let spec = AccessSpec::new(loopback(), LinkRole::InterRouter);
        let access = east.listen(spec, CredentialsSource::directory("server", &path)).await.unwrap();
        let address = access.address();

        let other = ca.server(&["127.0.0.1"]);
        let half = &other.cert[..other.cert.len() / 2];
        let key_mismatch = CredentialsError::KeyMismatch;
        let rows: [Row; 6] = [
            ("a key of another", write(&path, "tls.key", &other.key), key_mismatch),
            (
                "half a certificate",
                write(&path, "tls.crt", half),
                unreadable("tls.crt", "a PEM section has no end line"),
            ),
            (
                "an empty certificate",
                write(&path, "tls.crt", ""),
                CredentialsError::Missing { part: "tls.crt" },
            ),
            ("an authority gone", remove(&path, "ca.crt"), CredentialsError::Missing { part: "ca.crt" }),
            (
                "the folder gone",
                {
                    let path = path.clone();
                    Box::new(move || fs::remove_dir_all(&path).unwrap())
                },
                CredentialsError::NotFound("server".into()),
            ),
            (
                "back, but half",
                {
                    let (path, ca_crt) = (path.clone(), first.ca.clone());
                    Box::new(move || {
                        fs::create_dir(&path).unwrap();
                        fs::write(path.join("ca.crt"), &ca_crt).unwrap();
                        fs::write(path.join("tls.key"), "-----BEGIN").unwrap();
                    })
                },
                CredentialsError::Missing { part: "tls.crt" },
            ),
        ];
        let mut told = 0;
        for (name, spoil, error) in rows {
            spoil();
            diary.until(|all| all.iter().rev().find_map(|event| refused(&event.kind)) == Some(&error)).await;
            // What is told is told once; writing it may have passed through other broken states.
            let count = diary.count(|kind| refused(kind).is_some());
            assert!(count > told, "{notices:?}: {name}");
            told = count;
            assert_eq!(shown_by(address, &ca).await, serial(&first), "{notices:?}: {name}");
        }
        let next = ca.server(&["127.0.0.1"]);
        next.write(&path);
        taken(&mut diary, &next).await;
        assert_eq!(shown_by(address, &ca).await, serial(&next));
        assert_eq!(diary.count(|kind| rotated(kind).is_some()), 1, "{notices:?}");
    }
}

/// How a folder is spoilt: a name for it, the deed, and what is told of it.
type Row = (&'static str, Box<dyn Fn()>, CredentialsError);

fn write(folder: &Path, part: &str, text: &str) -> Box<dyn Fn()> {
    let (path, text) = (folder.join(part), text.to_owned());
    Box::new(move || fs::write(&path, &text).unwrap())
}

fn remove(folder: &Path, part: &str) -> Box<dyn Fn()> {
    let path = folder.join(part);
    Box::new(move || fs::remove_file(&path).unwrap())
}

fn unreadable(part: &'static str, problem: &str) -> CredentialsError {
    CredentialsError::Unreadable { part, problem: problem.into() }
}

#[tokio::test]
async fn a_bundle_that_stays_broken_is_told_of_once_however_often_it_is_looked_at() {
    let ca = TestCa::new("ca");
    let east = plane_with("east", watching(FileNotices::Ignored)).await;
    let mut diary = Diary::of(&east);
    let (server, marker) = (ca.server(&["127.0.0.1"]), ca.server(&["127.0.0.1"]));
    let mut broken = Mount::new(&server);
    let mut other = Mount::new(&server);
    let (_kept, _other) = (watched_access(&east, &broken).await, watched_access(&east, &other).await);
    broken.swap(&Bundle { key: marker.key.clone(), ..server.clone() });
    diary.one(|kind| refused(kind) == Some(&CredentialsError::KeyMismatch)).await;
    // The other access is looked at as often: once it has rotated ten times, the broken one was looked at twenty times.
    for round in 0..10 {
        other.swap(&ca.server(&["127.0.0.1"]));
        diary.many(round + 1, |kind| rotated(kind).is_some()).await;
    }
    assert_eq!(diary.count(|kind| refused(kind).is_some()), 1);
}

#[tokio::test]
async fn a_revocation_list_that_comes_breaks_and_goes_is_heeded_at_the_next_handshake() {
    for &notices in WAYS {
        let ca = TestCa::new("ca");
        let (west, east) = (plane_with("west", brisk()).await, plane_with("east", watching(notices)).await);
        let (mut at_west, mut at_east) = (Diary::of(&west), Diary::of(&east));
        let (server, client) = (ca.server(&["127.0.0.1"]), ca.client("west"));
        let mut mount = Mount::new(&server);
        symlink(Path::new("..data/crl.pem"), &mount.path().join("crl.pem"));
        let access = watched_access(&east, &mount).await;
        let relay = Relay::to(access.address()).await;
        keep(&west, relay.address(), credentials("client", &client).into()).await;
        at_west.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
        let traffic = busy(&west, &east).await;
        let leaf = credentials("client", &client).leaf().unwrap().clone();
        let revoked = TlsReason::Revoked { subject: "CN=west".into(), serial: leaf.serial };
        let turned_away = |kind: &EventKind| {
            let EventKind::PeerRefused { phase, refusal, .. } = kind else { return false };
            assert_eq!((*phase, refusal), (Phase::Tls, &PeerRefusal::Tls(revoked.clone())), "{notices:?}");
            true
        };

        mount.swap(&server.clone().heeding(&ca.revoking(&[&client], (2020, 4000))));
        at_east.one(|kind| rotated(kind).is_some_and(|(_, ordinal, _)| ordinal == Ordinal(2))).await;
        // What lives is not touched; what would come back is refused.
        assert_eq!(at_west.count(|kind| matches!(kind, EventKind::CarrierDown { .. })), 0);
        relay.cut(Cut::Reset);
        at_east.one(turned_away).await;

        mount.swap(&server.clone().heeding("no list"));
        let problem = unreadable("crl.pem", "holds no revocation list in PEM");
        at_east.one(|kind| refused(kind) == Some(&problem)).await;
        // One of them may have been under way.
        let before = at_east.count(turned_away);
        at_east.many(before + 2, turned_away).await;
        assert_eq!(at_west.count(|kind| matches!(kind, EventKind::SessionResumed { .. })), 0);

        mount.swap(&server);
        at_east.one(|kind| rotated(kind).is_some_and(|(_, ordinal, _)| ordinal == Ordinal(3))).await;
        at_west.one(|kind| matches!(kind, EventKind::SessionResumed { .. })).await;
        traffic.end().await;
        assert_eq!(at_east.count(|kind| refused(kind).is_some()), 1, "{notices:?}");
    }
}

#[tokio::test]
async fn a_storm_of_swaps_ends_at_the_last_content() {
    for &notices in WAYS {
        let ca = TestCa::new("ca");
        let east = plane_with("east", watching(notices)).await;
        let mut diary = Diary::of(&east);
        let mut mount = Mount::new(&ca.server(&["127.0.0.1"]));
        let access = watched_access(&east, &mount).await;
        let bundles: Vec<_> = (0..100).map(|_| ca.server(&["127.0.0.1"])).collect();
        for bundle in &bundles {
            mount.swap(bundle);
        }
        let last = bundles.last().unwrap();
        taken(&mut diary, last).await;
        assert_eq!(shown_by(access.address(), &ca).await, serial(last));
        assert_eq!(diary.kinds().iter().rev().find_map(rotated).unwrap().2, serial(last));
        assert_eq!(diary.count(|kind| refused(kind).is_some()), 0, "{notices:?}: a mixture was believed");
    }
}

#[tokio::test]
async fn a_link_whose_folder_is_empty_is_up_when_a_bundle_comes() {
    for &notices in WAYS {
        let ca = TestCa::new("ca");
        let (west, east) = (plane_with("west", watching(notices)).await, plane_with("east", brisk()).await);
        let mut diary = Diary::of(&west);
        let access = listen(&east, loopback(), &ca).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later");
        let link = keep(&west, access.address(), CredentialsSource::directory("later", &path)).await;
        diary.one(|kind| refused(kind) == Some(&CredentialsError::NotFound("later".into()))).await;
        assert!(!west.status().links[0].configured);
        ca.client("west").write(&path);
        diary.one(|kind| matches!(kind, EventKind::GroupUp { link: of, .. } if *of == link)).await;
        assert!(west.status().links[0].configured);
    }
}

#[tokio::test]
async fn an_access_whose_folder_holds_no_bundle_does_not_begin_to_listen() {
    let east = plane_with("east", watching(FileNotices::Ignored)).await;
    let mut diary = Diary::of(&east);
    let folder = tempfile::tempdir().unwrap();
    let spec = AccessSpec::new(loopback(), LinkRole::InterRouter);
    let source = CredentialsSource::directory("server", folder.path());
    let missing = CredentialsError::Missing { part: "ca.crt" };
    let refusal = east.listen(spec, source).await.unwrap_err();
    assert_eq!(refusal, PlaneError::Credentials(missing.clone()));
    diary.one(|kind| refused(kind) == Some(&missing)).await;
    assert!(east.status().accesses.is_empty());
}
