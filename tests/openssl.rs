//! A link access as OpenSSL's client meets it: another implementation of TLS at the other end, and every refusal typed.
//!
//! Without an `openssl` in the path nothing is tested here, which each test says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::large_futures, reason = "a test is polled in place")]

mod common;

use std::process::Stdio;

use common::pki::{Bundle, TestCa};
use common::raw::{encoded, hello};
use common::{credentials, loopback, plane, until, within};
use sitelink::wire::frame::Frame;
use sitelink::wire::hello::SessionClaim;
use sitelink::{
    Access, AccessSpec, EventKind, Events, LinkRole, PeerRefusal, Phase, Plane, SessionEnd, TlsReason,
    Violation,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// East with an access, and a folder for the files that OpenSSL reads.
struct East {
    ca: TestCa,
    plane: Plane,
    events: Events,
    access: Access,
    folder: tempfile::TempDir,
}

impl East {
    /// `None`, and a word about it, where there is no OpenSSL.
    async fn new() -> Option<Self> {
        let found = Command::new("openssl").arg("version").stdout(Stdio::null()).status().await;
        if !found.is_ok_and(|status| status.success()) {
            println!("ignored: there is no openssl here");
            return None;
        }
        let ca = TestCa::new("ca");
        let plane = plane("east").await;
        let events = plane.events();
        let server = credentials("server", &ca.server(&["127.0.0.1"]));
        let access = plane.listen(AccessSpec::new(loopback(), LinkRole::InterRouter), server).await.unwrap();
        Some(Self { ca, plane, events, access, folder: tempfile::tempdir().unwrap() })
    }

    /// `openssl s_client` with these arguments, and that identity.
    fn client(&self, identity: Option<&Bundle>, arguments: &[&str]) -> Child {
        let folder = self.folder.path();
        let path = |part: &str| folder.join(part).into_os_string();
        let mut command = Command::new("openssl");
        command.arg("s_client").arg("-connect").arg(self.access.address().to_string());
        command.args(["-quiet", "-verify_return_error"]).args(arguments);
        std::fs::write(folder.join("root.crt"), self.ca.root()).unwrap();
        command.arg("-CAfile").arg(path("root.crt"));
        if let Some(identity) = identity {
            identity.write(folder);
            command.arg("-cert").arg(path("tls.crt")).arg("-key").arg(path("tls.key"));
        }
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        piped.kill_on_drop(true).spawn().unwrap()
    }

    /// Why the access refused the client, from an address of this machine; nothing came up before it.
    async fn refusal(&mut self) -> (Phase, PeerRefusal) {
        let mut told = None;
        until(&mut self.events, |kind| {
            assert!(!matches!(kind, EventKind::SessionUp { .. }), "{kind:?}");
            let EventKind::PeerRefused { access, address, phase, refusal } = kind else { return false };
            assert_eq!((*access, address.ip()), (self.access.id(), loopback().ip()));
            assert_ne!(address.port(), 0);
            told = Some((*phase, refusal.clone()));
            true
        })
        .await;
        assert_eq!(self.plane.status().sessions, []);
        told.unwrap()
    }

    async fn refuses(
        &mut self,
        identity: Option<&Bundle>,
        arguments: &[&str],
        expected: TlsReason,
    ) -> String {
        let mut client = self.client(identity, arguments);
        // It holds its end open: whoever ends it is the access.
        let input = client.stdin.take();
        let (phase, refusal) = self.refusal().await;
        let mut said = String::new();
        within(client.stderr.take().unwrap().read_to_string(&mut said)).await.unwrap();
        within(client.wait()).await.unwrap();
        drop(input);
        let refusal = match refusal {
            PeerRefusal::Tls(TlsReason::Expired { not_after, now }) => {
                assert!(now > not_after);
                PeerRefusal::Tls(TlsReason::Expired { not_after, now: 0 })
            }
            refusal => refusal,
        };
        assert_eq!((phase, refusal), (Phase::Tls, PeerRefusal::Tls(expected)), "{said}");
        said
    }
}

/// The arguments of a client that keeps to the protocol.
const OURS: [&str; 3] = ["-tls1_3", "-alpn", "sitelink/1"];

#[tokio::test]
async fn a_client_without_certificate_is_refused_and_told_that_one_is_required() {
    let Some(mut east) = East::new().await else { return };
    let said = east.refuses(None, &OURS, TlsReason::NoPeerCertificate).await;
    assert!(said.contains("certificate required"), "{said}");
}

#[tokio::test]
async fn a_client_with_a_foreign_certificate_is_refused_by_its_issuer() {
    let Some(mut east) = East::new().await else { return };
    let foreign = TestCa::new("other").client("west");
    let reason = TlsReason::UnknownIssuer { subject: "CN=west".into(), issuer: "CN=other".into() };
    let said = east.refuses(Some(&foreign), &OURS, reason).await;
    assert!(said.contains("alert certificate unknown"), "{said}");
}

#[tokio::test]
async fn a_client_with_an_expired_certificate_is_refused_by_its_end() {
    let Some(mut east) = East::new().await else { return };
    let expired = east.ca.expired().client("west");
    let reason = TlsReason::Expired { not_after: 788_918_400, now: 0 };
    let said = east.refuses(Some(&expired), &OURS, reason).await;
    assert!(said.contains("certificate expired"), "{said}");
}

#[tokio::test]
async fn a_client_of_tls_1_2_is_refused_by_its_version() {
    let Some(mut east) = East::new().await else { return };
    let west = east.ca.client("west");
    let said = east.refuses(Some(&west), &["-tls1_2", "-alpn", "sitelink/1"], TlsReason::Version).await;
    assert!(said.contains("alert protocol version"), "{said}");
}

#[tokio::test]
async fn a_client_of_another_protocol_is_refused_whether_it_names_it_or_not() {
    let Some(mut east) = East::new().await else { return };
    let west = east.ca.client("west");
    let reason = TlsReason::NoCommonProtocol { expected: "sitelink/1".into() };
    let said = east.refuses(Some(&west), &["-tls1_3", "-alpn", "h2"], reason.clone()).await;
    assert!(said.contains("alert no application protocol"), "{said}");
    // Who names none gets through the handshake, and no further.
    east.refuses(Some(&west), &["-tls1_3"], reason).await;
}

#[tokio::test]
async fn garbage_behind_a_good_handshake_is_a_violation_and_closed_with_its_code() {
    let Some(mut east) = East::new().await else { return };
    let west = east.ca.client("west");
    let mut client = east.client(Some(&west), &OURS);
    let mut input = client.stdin.take().unwrap();
    within(input.write_all(b"GET / HTTP/1.1\r\nHost: east\r\n\r\n")).await.unwrap();
    let (phase, refusal) = east.refusal().await;
    assert_eq!(phase, Phase::Hello);
    let PeerRefusal::Violation(violation) = refusal else { panic!("{refusal:?}") };
    let mut answer = Vec::new();
    within(client.stdout.take().unwrap().read_to_end(&mut answer)).await.unwrap();
    let close = only_frame(&answer);
    assert!(matches!(&close, Frame::Close { code, .. } if *code == violation.into()), "{close:?}");
}

#[tokio::test]
async fn a_client_that_says_hello_is_greeted_and_cut_when_it_goes_on_with_garbage() {
    let Some(mut east) = East::new().await else { return };
    let west = east.ca.client("west");
    let mut client = east.client(Some(&west), &OURS);
    let mut input = client.stdin.take().unwrap();
    let ours = Frame::Hello(Box::new(hello("west", 0, SessionClaim::New)));
    within(input.write_all(&encoded(&[ours]))).await.unwrap();
    let up = until(&mut east.events, |kind| matches!(kind, EventKind::SessionUp { .. })).await;
    let EventKind::SessionUp { session: begun, .. } = up.kind else { unreachable!() };
    // A frame longer than any may be.
    within(input.write_all(&[0xff; 64])).await.unwrap();
    let mut ended = None;
    until(&mut east.events, |kind| {
        if let EventKind::SessionDown { session, end, .. } = kind {
            ended = Some((*session, end.clone()));
        }
        ended.is_some()
    })
    .await;
    let (session, end) = ended.unwrap();
    assert_eq!((session, end), (begun, SessionEnd::Violation(Violation::TooLarge)));
}

/// The one frame that these bytes are.
fn only_frame(bytes: &[u8]) -> Frame {
    let mut decoder = sitelink::wire::decoder::Decoder::new();
    let mut left = bytes;
    let frame = decoder.decode(&mut left).unwrap().expect("a whole frame").frame;
    assert_eq!(left, b"", "behind {frame:?}");
    frame
}
