//! The admin page of the example router, and what else it tells of itself.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::pki::TestCa;
use common::process::{Router, example};
use common::{document, loopback, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Command;

#[tokio::test]
async fn the_page_answers_what_it_has_and_nothing_else() {
    let (mut router, admin) = alone().await;
    let (head, body) = request(admin, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "ok\n");
    let (head, body) = request(admin, "GET /status?x=y HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-type: application/json"),
        "{head}"
    );
    assert!(body.starts_with("{\"link_statuses\":[],"), "{body}");
    let page: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(page["router"]["site_name"], "alone");
    for (line, status) in [
        ("GET / HTTP/1.1", "404 Not Found"),
        ("GET /status/ HTTP/1.1", "404 Not Found"),
        ("POST /status HTTP/1.1", "405 Method Not Allowed"),
        ("DELETE /healthz HTTP/1.1", "405 Method Not Allowed"),
        ("not even HTTP", "400 Bad Request"),
    ] {
        let (head, _) = request(admin, &format!("{line}\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{line}: {head}");
    }
    router.stop().await;
}

#[tokio::test]
async fn a_client_of_the_page_that_says_nothing_holds_up_neither_the_page_nor_the_router() {
    let (mut router, admin) = alone().await;
    // More than have a place at a time.
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut client = within(TcpStream::connect(admin)).await.unwrap();
        client.write_all(b"GET /status").await.unwrap();
        silent.push(client);
    }
    let began = Instant::now();
    let (head, _) = request(admin, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // With places taken, the end of the router does not wait for them.
    router.stop().await;
}

#[tokio::test]
async fn an_address_that_others_can_reach_has_to_be_asked_for() {
    let start = |arguments: &[&str]| {
        let mut command = Command::new(example("router"));
        command.args(["--site", "public", "--events", "json"]).args(arguments);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    };
    let output = within(start(&["--admin", "0.0.0.0:0"]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "router: --admin 0.0.0.0:0 is not a loopback address: --admin-public allows it\n");

    let arguments = ["--admin", "0.0.0.0:0", "--admin-public"].map(str::to_owned);
    let mut router = Router::start("public", &arguments);
    assert!(address(&router.event("admin_up").await).ip().is_unspecified());
    router.stop().await;
}

#[tokio::test]
async fn a_page_that_cannot_be_served_is_told_and_the_router_runs() {
    let taken = TcpListener::bind(loopback()).await.unwrap();
    let admin = taken.local_addr().unwrap().to_string();
    let arguments = ["--admin", &admin, "--listen", "inter-router=127.0.0.1:0"].map(str::to_owned);
    let folder = tempfile::tempdir().unwrap();
    TestCa::new("ca").server(&["127.0.0.1"]).write(folder.path());
    let credentials = ["--server-credentials".to_owned(), folder.path().to_str().unwrap().to_owned()];
    let mut router = Router::start("east", &[&arguments[..], &credentials[..]].concat());
    let (mut failed, mut up) = (None, None);
    while failed.is_none() || up.is_none() {
        let line = within(router.events.next_line()).await.unwrap().unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        match event["event"].as_str() {
            Some("admin_failed") => failed = Some(event),
            Some("access_up") => up = Some(event),
            _ => {}
        }
    }
    let failed = failed.unwrap();
    assert_eq!(failed["address"], json!(admin));
    assert!(failed["at_micros"].as_u64().is_some_and(|at| at > 1_577_836_800_000_000), "{failed}");
    router.stop().await;
}

#[tokio::test]
async fn without_a_router_to_ask_the_status_says_so() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(loopback()).unwrap();
    let admin = socket.local_addr().unwrap().to_string();
    let output =
        within(Command::new(example("router")).args(["status", "--admin", &admin]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with(&format!("router status: {admin}: ")));

    let (mut router, admin) = alone().await;
    let output = Command::new(example("router")).args(["status", "--admin", &admin.to_string()]).output();
    let output = within(output).await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "There are no link resources\n");
    // And leads nowhere.
    let paths = ["status", "--admin", &admin.to_string(), "--paths"].map(str::to_owned);
    let output = within(Command::new(example("router")).args(paths).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "There are no paths\n");
    router.stop().await;
}

#[tokio::test]
async fn what_a_far_site_calls_itself_moves_no_cursor() {
    // A site that stands in for the router and answers with a page of its own making.
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    let answering = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let status = json!({"status": "Pending", "message": "\u{1b}[2Jall is well\u{202e}\r\n\"so\""});
        let page = json!({"link_statuses": [{"name": "west", "namespace": "", "cost": 1, "status": status}]});
        let page = page.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len());
        let mut asked = [0; 1024];
        assert!(tcp.read(&mut asked).await.unwrap() > 0);
        tcp.write_all((head + &page).as_bytes()).await.unwrap();
        // Until it has read it.
        let _ = tcp.read(&mut asked).await;
    };
    let mut command = Command::new(example("router"));
    command.args(["status", "--admin", &admin]);
    let (output, ()) = within(Box::pin(async { tokio::join!(command.output(), answering) })).await;
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("Pending   1      \\u{1b}[2Jall is well\\u{202e}\\r\\n\"so\"\n"), "{table}");
}

#[tokio::test]
async fn a_connector_without_a_server_tells_so_and_does_not_fill_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let ca = TestCa::new("ca");
    ca.server(&["127.0.0.1"]).write(&folder.path().join("east"));
    ca.client("west").write(&folder.path().join("to-east"));
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(loopback()).unwrap();
    let dead = socket.local_addr().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let east_arguments = [
        "--listen".to_owned(),
        "inter-router=127.0.0.1:0".to_owned(),
        "--server-credentials".to_owned(),
        path("east"),
        "--tcp-connector".to_owned(),
        format!("app={dead}"),
    ];
    let mut east = Router::start("east", &east_arguments);
    let access = address(&east.event("access_up").await);
    std::fs::write(path("link.yaml"), document("to-east", "127.0.0.1", access.port())).unwrap();
    let west_arguments = [
        "--resources".to_owned(),
        path("link.yaml"),
        "--credentials".to_owned(),
        path(""),
        "--tcp-listener".to_owned(),
        "app=127.0.0.1:0".to_owned(),
    ];
    let mut west = Router::start("west", &west_arguments);
    let listener = address(&west.event("tcp_listener_up").await);
    for _ in 0..5 {
        let mut client = within(TcpStream::connect(listener)).await.unwrap();
        // Reset once its stream is refused.
        assert!(within(client.read(&mut [0])).await.is_err());
    }
    let failed = east.event("tcp_connector_failed").await;
    assert_eq!((&failed["key"], &failed["target"]), (&json!("app"), &json!(dead.to_string())));
    assert_eq!(failed["untold"], 0);
    assert!(failed["message"].as_str().unwrap().contains("refused"), "{failed}");
    west.stop().await;
    // What else there was is told with the next, not line by line.
    let id = east.child.id().unwrap().to_string();
    Command::new("sh").args(["-c", "kill -TERM $0", &id]).status().await.unwrap();
    while let Some(line) = within(east.events.next_line()).await.unwrap() {
        assert!(!line.contains("tcp_connector_failed"), "{line}");
    }
}

#[tokio::test]
async fn the_keys_of_throwaway_bundles_are_their_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new(example("bundles"));
        command.args(arguments).stderr(Stdio::null());
        async move { within(command.status()).await.unwrap().code() }
    };
    let path = folder.path().as_os_str();
    assert_eq!(run(&[path]).await, Some(2));
    for _ in 0..2 {
        assert_eq!(run(&[path, "west".as_ref()]).await, Some(0));
        let mode = std::fs::metadata(folder.path().join("west/tls.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn of_a_file_with_secrets_the_first_whole_bundle_takes_links() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.yaml");
    let bundle = TestCa::new("ca").server(&["127.0.0.1"]);
    let secret = |name: &str, kind: &str, parts: &[(&str, &str)]| {
        let data: serde_json::Map<_, _> =
            parts.iter().map(|(part, text)| ((*part).to_owned(), json!(text))).collect();
        let metadata = json!({"name": name});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": data})
    };
    let whole = [("ca.crt", &*bundle.ca), ("tls.crt", &*bundle.cert), ("tls.key", &*bundle.key)];
    let others = [
        secret("a-proxy", "kubernetes.io/basic-auth", &[("host", "127.0.0.1"), ("port", "9")]),
        secret("b-authority", "Opaque", &whole[..1]),
        secret("c-broken", "kubernetes.io/tls", &[whole[0], ("tls.crt", "not PEM"), whole[2]]),
    ];
    let write = |secrets: &[Value]| {
        let documents: Vec<_> = secrets.iter().map(ToString::to_string).collect();
        std::fs::write(&file, documents.join("\n---\n")).unwrap();
    };
    let arguments = ["--listen", "inter-router=127.0.0.1:0", "--server-credentials", file.to_str().unwrap()];

    let server = secret("d-server", "kubernetes.io/tls", &whole);
    write(&[&others[..], &[server]].concat());
    let mut router = Router::start("east", &arguments.map(str::to_owned));
    assert_eq!(router.event("credentials_loaded").await["name"], "d-server");
    router.event("access_up").await;
    router.stop().await;

    let refusal = async |secrets: &[Value]| {
        write(secrets);
        let mut command = Command::new(example("router"));
        command.args(["--site", "east"]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = within(command.output()).await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let path = file.display();
    let none = format!("router: {path}: holds no Secret with TLS credentials\n");
    assert_eq!(refusal(&others[..1]).await, none);
    let broken = refusal(&others[2..]).await;
    assert!(broken.starts_with(&format!("router: {path}: ")) && broken.contains("tls.crt"), "{broken}");
}

#[tokio::test]
async fn credentials_that_a_listener_cannot_use_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let arguments = ["--site", "east", "--listen", "inter-router=127.0.0.1:0", "--server-credentials", path];
    let mut command = Command::new(example("router"));
    let output =
        within(command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let named = format!("router: --listen 127.0.0.1:0, --server-credentials {path}: ");
    assert!(said.contains(&named) && said.contains("ca.crt"), "{said}");
}

/// A router without links, and its admin page.
async fn alone() -> (Router, SocketAddr) {
    let arguments = ["--admin", "127.0.0.1:0"].map(str::to_owned);
    let mut router = Router::start("alone", &arguments);
    let admin = address(&router.event("admin_up").await);
    (router, admin)
}

/// Head and body of the answer.
async fn request(admin: SocketAddr, text: &str) -> (String, String) {
    let mut tcp = within(TcpStream::connect(admin)).await.unwrap();
    tcp.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(tcp.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (format!("{head}\r\n"), body.to_owned())
}

fn address(event: &Value) -> SocketAddr {
    event["address"].as_str().unwrap().parse().unwrap()
}
