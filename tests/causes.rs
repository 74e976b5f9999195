//! Why a link is not up, as the example router tells it: each cause by its exact type in the events, and in words in
//! `router status`. No two of them read alike, and none is an endless retry without a word.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::pki::{Bundle, TestCa};
use common::process::{Router, example};
use common::{document, loopback, within};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;

#[tokio::test]
async fn a_site_of_another_authority() {
    let (ca, other) = (TestCa::new("ca"), TestCa::new("other"));
    let east = East::start(&other.server(&["127.0.0.1"]).trusting(&ca)).await;
    let told = Told::by_dialer(&ca.client("west"), east.access).await;
    told.assert(
        "tls",
        &json!({"tls": {"unknown_issuer": {"subject": "CN=127.0.0.1", "issuer": "CN=other"}}}),
        "peer certificate of CN=127.0.0.1 was issued by CN=other, which ca.crt does not hold",
    );
}

#[tokio::test]
async fn a_site_that_is_switched_off() {
    // Bound, so that nobody else takes the port, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(loopback()).unwrap();
    let address = socket.local_addr().unwrap();
    let told = Told::by_dialer(&TestCa::new("ca").client("west"), address).await;
    told.assert(
        "connect",
        &json!({"connect": {"address": address.to_string(), "kind": "connection refused"}}),
        &format!("no connection to {address}: connection refused"),
    );
}

#[tokio::test]
async fn a_site_of_another_name() {
    let ca = TestCa::new("ca");
    let east = East::start(&ca.server(&["east.example", "192.0.2.7"])).await;
    let told = Told::by_dialer(&ca.client("west"), east.access).await;
    let found = ["east.example", "192.0.2.7"];
    told.assert(
        "tls",
        &json!({"tls": {"wrong_name": {"expected": "127.0.0.1", "found": found}}}),
        "peer certificate is for east.example, 192.0.2.7, expected 127.0.0.1",
    );
}

#[tokio::test]
async fn a_client_certificate_that_the_site_refuses() {
    let (ca, other) = (TestCa::new("ca"), TestCa::new("other"));
    let mut east = East::start(&ca.server(&["127.0.0.1"]).trusting(&other)).await;
    let told = Told::by_dialer(&ca.client("west"), east.access).await;
    told.assert(
        "tls",
        &json!({"tls": {"certificate_refused": {"alert": "certificate_unknown"}}}),
        "own certificate refused by the peer: certificate_unknown",
    );
    // The other end tells the same story, with the address.
    let refused = east.router.event("peer_refused").await;
    let cause = json!({"tls": {"unknown_issuer": {"subject": "CN=west", "issuer": "CN=ca"}}});
    assert_eq!(refused["refusal"], cause);
    let address: SocketAddr = refused["address"].as_str().unwrap().parse().unwrap();
    assert!(address.ip().is_loopback());
}

#[tokio::test]
async fn a_web_server_in_place_of_the_site() {
    let ca = TestCa::new("ca");
    let address = web_server(Some(&ca.server(&["127.0.0.1"]))).await;
    let told = Told::by_dialer(&ca.client("west"), address).await;
    told.assert(
        "tls",
        &json!({"tls": {"no_common_protocol": {"expected": "sitelink/1"}}}),
        "peer does not speak sitelink/1 (ALPN)",
    );
}

#[tokio::test]
async fn a_web_server_without_tls_in_place_of_the_site() {
    let address = web_server(None).await;
    let told = Told::by_dialer(&TestCa::new("ca").client("west"), address).await;
    told.assert("tls", &json!({"tls": "not_tls"}), "peer does not speak TLS");
}

#[tokio::test]
async fn a_link_that_is_up_has_no_cause_and_the_exit_status_says_so() {
    let ca = TestCa::new("ca");
    let east = East::start(&ca.server(&["127.0.0.1"])).await;
    let (mut west, admin, _folder) = dialer(&ca.client("west"), east.access).await;
    west.event("group_up").await;
    let (code, table) = status(admin, "table").await;
    assert_eq!(code, 0, "{table}");
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["NAME", "STATUS", "COST", "MESSAGE"]);
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["to-east", "Ready", "1", "OK"]);
    assert!(table.contains("Link to-east: 1 of 1 groups up; up 1 times, down 0"), "{table}");
    west.stop().await;
}

/// What was told of one failure.
struct Told {
    event: Value,
    table: String,
    page: Value,
    address: SocketAddr,
}

impl Told {
    /// Lets a router dial the address with the bundle until it fails, and asks for its status.
    async fn by_dialer(bundle: &Bundle, address: SocketAddr) -> Self {
        let (mut west, admin, _folder) = dialer(bundle, address).await;
        let event = west.event("dial_failed").await;
        let ((code, table), (json_code, page)) = (status(admin, "table").await, status(admin, "json").await);
        assert_eq!((code, json_code), (1, 1), "a link that is not Ready");
        west.stop().await;
        Self { event, table, page: serde_json::from_str(&page).unwrap(), address }
    }

    fn assert(&self, phase: &str, error: &Value, words: &str) {
        let Self { event, table, page, address } = self;
        assert_eq!(event["error"], *error);
        assert_eq!((&event["phase"], &event["name"]), (&json!(phase), &json!("to-east")));
        assert_eq!(event["endpoint"], json!(address.to_string()));
        assert!(event["next_attempt_in"].as_f64().is_some_and(|seconds| seconds <= 5.0), "{event}");

        // In Skupper's own words, for which it is not there yet.
        let status = &page["link_statuses"][0]["status"];
        let message = format!("Not operational: {address}: {words}");
        assert_eq!((&status["status"], &status["message"]), (&json!("Pending"), &json!(message)));
        let group = &page["links"][0]["groups"][0];
        assert_eq!(group["history"]["last_failure"]["error"], *error);
        assert_eq!(group["endpoint"], json!(address.to_string()));

        let row = table.lines().nth(1).unwrap();
        assert!(row.starts_with("to-east   Pending   1      ") && row.ends_with(&message), "{table}");
        assert!(table.contains(&format!("{phase}: {words}\n")), "{table}");
    }
}

/// A router that dials; its admin page; its folder.
async fn dialer(bundle: &Bundle, to: SocketAddr) -> (Router, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    bundle.write(&folder.path().join("to-east"));
    let link = folder.path().join("link.yaml");
    std::fs::write(&link, document("to-east", &to.ip().to_string(), to.port())).unwrap();
    let arguments = [
        "--resources",
        link.to_str().unwrap(),
        "--credentials",
        folder.path().to_str().unwrap(),
        "--admin",
        "127.0.0.1:0",
    ];
    let mut router = Router::start("west", &arguments.map(str::to_owned));
    let admin = address(&router.event("admin_up").await);
    (router, admin, folder)
}

/// A router that takes links.
struct East {
    router: Router,
    access: SocketAddr,
    _folder: tempfile::TempDir,
}

impl East {
    async fn start(bundle: &Bundle) -> Self {
        let folder = tempfile::tempdir().unwrap();
        bundle.write(folder.path());
        let credentials = folder.path().to_str().unwrap();
        let arguments = ["--listen", "inter-router=127.0.0.1:0", "--server-credentials", credentials];
        let mut router = Router::start("east", &arguments.map(str::to_owned));
        let access = address(&router.event("access_up").await);
        Self { router, access, _folder: folder }
    }
}

/// A server of another protocol: HTTP, over TLS with that bundle or without.
async fn web_server(bundle: Option<&Bundle>) -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = bundle.map(|bundle| {
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(bundle.cert.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(bundle.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    });
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            match &acceptor {
                Some(acceptor) => drop(acceptor.accept(tcp).await),
                None => {
                    let mut request = [0; 1024];
                    let _ = tcp.read(&mut request).await;
                    let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
                }
            }
        }
    });
    address
}

/// The exit status and the output of `router status`.
async fn status(admin: SocketAddr, format: &str) -> (i32, String) {
    let mut command = Command::new(example("router"));
    command.args(["status", "--admin", &admin.to_string(), "-o", format]);
    let output = within(command.output()).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(errors, "");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn address(event: &Value) -> SocketAddr {
    event["address"].as_str().unwrap().parse().unwrap()
}
