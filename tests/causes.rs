//! What `router status` shows of links, at both of their ends; and why one is not up, as the example router tells it:
//! each cause by its exact type in the events, and in words in the table. No two of them read alike, and none is an
//! endless retry without a word.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::pki::{Bundle, TestCa};
use common::process::{Router, example};
use common::{DEADLINE, document, loopback, within};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
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
    // So does its status, and the access goes on. The dialer asked here is one that goes on, too: the last attempt of one
    // that was stopped is a connection lost.
    let (mut west, _admin, _folder) = dialer(&ca.client("west"), east.access).await;
    west.event("dial_failed").await;
    let (code, table) = status(east.admin, "table").await;
    assert_eq!(code, 0, "no link of its own is down: {table}");
    assert!(!table.contains("Links from remote sites"), "{table}");
    let [access] = &section(&table, "Link accesses:")[..] else { panic!("{table}") };
    assert_eq!(access["ADDRESS"], east.access.to_string());
    assert_eq!((access["ROLE"].as_str(), access["SESSIONS"].as_str()), ("inter-router", "0"));
    // The dialer had some time to try again.
    assert!(access["REFUSED"].parse::<u64>().unwrap() >= 1, "{table}");
    let last = access["LAST REFUSED"].split_once(" ago, 127.0.0.1:").unwrap().1.split_once(": ").unwrap().1;
    assert_eq!(last, "peer certificate of CN=west was issued by CN=ca, which ca.crt does not hold");
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

#[tokio::test]
async fn both_ends_show_the_link_with_its_sites_and_the_ways_it_opens() {
    let (ca, server) = (TestCa::new("ca"), TcpListener::bind(loopback()).await.unwrap());
    let serve = ["--name".to_owned(), "e1".to_owned(), "--tcp-connector".to_owned()];
    let serve = [&serve[..], &[format!("app={}", server.local_addr().unwrap())]].concat();
    let mut east = East::with(&ca.server(&["127.0.0.1"]), &serve).await;
    let listen = ["--name", "w1", "--tcp-listener", "app=127.0.0.1:0"].map(str::to_owned);
    let link = document("to-east", "127.0.0.1", east.access.port());
    let (mut west, _folder) = dialer_of(&ca.client("west"), &link, &listen);
    let [admin, listener] = west.addresses(["admin_up", "tcp_listener_up"]).await;
    // West has the path, and so the session; east may have to hear of it yet.
    east.router.event("session_up").await;

    let (code, table) = status(admin, "table").await;
    assert_eq!(code, 0, "{table}");
    let [group] = &section(&table, "Link to-east:")[..] else { panic!("{table}") };
    assert_eq!((group["SITE"].as_str(), group["ROUTER"].as_str()), ("east", "e1"));
    let paths = section(&table, "Paths:");
    let ways: Vec<_> =
        paths.iter().map(|of| [&*of["DESTINATION"], &*of["SITE"], &*of["COST"], &*of["WHY"]]).collect();
    assert_eq!(
        ways,
        [["site east", "east", "1", "chosen: only"], ["key app", "east", "1", "chosen: only"]],
        "{table}"
    );
    assert!(!table.contains("Links from remote sites") && !table.contains("Link accesses"), "{table}");

    let (code, table) = status(east.admin, "table").await;
    assert_eq!(code, 0, "{table}");
    assert!(table.starts_with("There are no link resources\n"), "{table}");
    let [remote] = &section(&table, "Links from remote sites:")[..] else { panic!("{table}") };
    let shown = ["NAME", "GROUP", "SITE", "ROUTER", "STATE", "COST", "STREAMS"].map(|name| &*remote[name]);
    assert_eq!(shown, ["to-east", "-", "west", "w1", "up", "1", "0"]);
    assert!(remote["ADDRESS"].starts_with("127.0.0.1:"), "{table}");
    let [access] = &section(&table, "Link accesses:")[..] else { panic!("{table}") };
    let shown = ["ADDRESS", "ROLE", "SESSIONS", "REFUSED", "LAST REFUSED"].map(|name| &*access[name]);
    assert_eq!(shown, [&*east.access.to_string(), "inter-router", "1", "0", ""]);

    // A server that does not read, and who is waited for as each end sees it.
    let mut client = within(TcpStream::connect(listener)).await.unwrap();
    let _unread = within(server.accept()).await.unwrap().0;
    let filling = tokio::spawn(async move { while client.write_all(&[7; 1 << 16]).await.is_ok() {} });
    for (admin, whose) in [(admin, "peer reader"), (east.admin, "own reader")] {
        let table = table_with(admin, |table| table.contains("\nStalled streams:\n")).await;
        let [stream] = &section(&table, "Stalled streams:")[..] else { panic!("{table}") };
        assert_eq!((&*stream["DESTINATION"], &*stream["WAITS FOR"]), ("app", whose), "{table}");
    }
    filling.abort();
    west.kill().await;
}

#[tokio::test]
async fn the_status_says_why_a_connection_goes_this_way() {
    let (ca, server) = (TestCa::new("ca"), TcpListener::bind(loopback()).await.unwrap());
    let serve = ["--tcp-connector".to_owned(), format!("app={}", server.local_addr().unwrap())];
    let bundle = ca.server(&["127.0.0.1"]);
    let (near, far) = (East::with(&bundle, &serve).await, East::with(&bundle, &serve).await);
    let link = |name: &str, at: SocketAddr, cost: u32| {
        document("to-east", "127.0.0.1", at.port())
            .replace("  name: to-east\n", &format!("  name: {name}\n"))
            .replace("spec:\n", &format!("spec:\n  cost: {cost}\n"))
    };
    let links = [link("near", near.access, 1), link("far", far.access, 3)].join("---\n");
    let listen = ["--tcp-listener", "app=127.0.0.1:0"].map(str::to_owned);
    let (mut west, _folder) = dialer_of(&ca.client("west"), &links, &listen);
    let [admin, listener] = west.addresses(["admin_up", "tcp_listener_up"]).await;
    table_with(admin, |table| section_count(table, "key app") == 2).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let client = within(TcpStream::connect(listener)).await.unwrap();
        clients.push((client, within(server.accept()).await.unwrap()));
    }
    // 1 + 3 open are 4, 3 + 1 open as well: the order of the names decides.
    let (code, said, _) = run(admin, &["--paths"]).await;
    assert_eq!(code, 0, "{said}");
    let title = "key app: by session ";
    assert!(said.contains(title) && said.contains(", by the least cost + open streams\n"), "{said}");
    let ways = section(&said, title);
    let columns =
        ["LINK", "GROUP", "DIALED BY", "SITE", "OUR COST", "PEER COST", "COST", "OPEN", "SCORE", "WHY"];
    let shown: Vec<_> = ways.iter().map(|way| columns.map(|name| &*way[name])).collect();
    assert_eq!(
        shown,
        [
            ["far", "-", "us", "east", "3", "1", "3", "1", "4", "chosen: first of equal"],
            ["near", "-", "us", "east", "1", "1", "1", "3", "4", "equal, but later in order"],
        ],
        "{said}"
    );
    let next = within(TcpStream::connect(listener)).await.unwrap();
    clients.push((next, within(server.accept()).await.unwrap()));
    let said = run(admin, &["--paths"]).await.1;
    let ways = section(&said, title);
    assert_eq!(
        ways.iter().map(|way| [&*way["SCORE"], &*way["WHY"]]).collect::<Vec<_>>(),
        [["5", "1 more than the chosen"], ["4", "chosen: least score"]],
        "{said}"
    );
    let (code, said, _) = run(admin, &["--paths", "-o", "json"]).await;
    let paths: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, paths[1]["selection"].as_str(), paths[1]["because"].as_str()),
        (0, Some("balanced"), Some("least_score")),
        "{said}"
    );
    west.kill().await;
}

/// How many rows of a table begin so.
fn section_count(table: &str, row: &str) -> usize {
    table.lines().filter(|line| line.trim_start().starts_with(row)).count()
}

#[tokio::test]
async fn a_link_of_two_groups_says_that_one_of_them_is_up() {
    let ca = TestCa::new("ca");
    let named = |name: &str| ["--name".to_owned(), name.to_owned()];
    let bundle = ca.server(&["127.0.0.1"]);
    let (east, mut other) = (East::with(&bundle, &named("a")).await, East::with(&bundle, &named("b")).await);
    let endpoint = |group: &str, at: SocketAddr| {
        format!("  - {{name: inter-router, group: {group}, host: 127.0.0.1, port: \"{}\"}}\n", at.port())
    };
    let link = document("to-east", "127.0.0.1", 1);
    let (head, _) = link.split_once("  - name: inter-router").unwrap();
    let link = head.to_owned() + &endpoint("a", east.access) + &endpoint("b", other.access);
    let (mut west, _folder) = dialer_of(&ca.client("west"), &link, &[]);
    let [admin] = west.addresses(["admin_up"]).await;
    table_with(admin, |table| table.contains("\nLink to-east: 2 of 2 groups up; up 1 times, down 0\n")).await;

    other.router.kill().await;
    let refused = |table: &str| table.contains("1 of 2 groups up") && table.contains("refused");
    let table = table_with(admin, refused).await;
    assert!(table.contains("\nLink to-east: 1 of 2 groups up; up 1 times, down 0\n"), "{table}");
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["to-east", "Ready", "1", "OK"], "one group is enough");
    let [up, down] = &section(&table, "Link to-east:")[..] else { panic!("{table}") };
    assert_eq!((&*up["GROUP"], &*up["STATE"], &*up["ROUTER"], &*up["CAUSE"]), ("a", "up", "a", ""));
    assert_eq!((&*down["GROUP"], &*down["STATE"]), ("b", "recovering"));
    let words = format!("connect: no connection to {}: connection refused", other.access);
    assert_eq!((&*down["ENDPOINT"], &*down["CAUSE"]), (&*other.access.to_string(), &*words));
    assert_eq!(run(admin, &["to-east"]).await.0, 0);
    west.kill().await;
}

#[tokio::test]
async fn a_link_asked_for_by_name_is_shown_alone() {
    let ca = TestCa::new("ca");
    let east = East::start(&ca.server(&["127.0.0.1"])).await;
    let up = document("up", "127.0.0.1", east.access.port());
    let up = up
        .replace("name: up\nspec", "name: up\n  namespace: shop\nspec")
        .replace("tlsCredentials: up", "tlsCredentials: to-east");
    let lost = document("lost", "127.0.0.1", east.access.port());
    let (mut west, _folder) = dialer_of(&ca.client("west"), &format!("{up}---\n{lost}"), &[]);
    let [admin] = west.addresses(["admin_up"]).await;
    table_with(admin, |table| table.contains("Link shop/up: 1 of 1 groups up")).await;
    for name in ["up", "shop/up"] {
        let (code, said, _) = run(admin, &[name]).await;
        assert_eq!(code, 0, "{said}");
        let head =
            "Name\t: shop/up\nStatus\t: Ready\nCost\t: 1\nMessage\t: OK\n\nLink shop/up: 1 of 1 groups up";
        assert!(said.starts_with(head), "{said}");
        assert!(!said.contains("lost") && !said.contains("Paths:"), "{said}");
    }
    let (code, said, _) = run(admin, &["lost"]).await;
    assert_eq!(code, 1, "{said}");
    let message = "TLS credentials secret \"lost\" not found";
    assert!(
        said.starts_with(&format!("Name\t: lost\nStatus\t: Error\nCost\t: 1\nMessage\t: {message}\n")),
        "{said}"
    );
    let (code, said, _) = run(admin, &["lost", "-o", "json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["status"]["message"]), (1, &json!(message)));
    for name in ["nobody", "other/up", "/up"] {
        let said = run(admin, &[name]).await;
        assert_eq!(said, (2, String::new(), format!("router status: {admin}: there is no link {name:?}\n")));
    }
    assert_eq!(status(admin, "table").await.0, 1, "one of the two is not Ready");
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
    let link = document("to-east", &to.ip().to_string(), to.port());
    let (mut router, folder) = dialer_of(bundle, &link, &[]);
    let admin = address(&router.event("admin_up").await);
    (router, admin, folder)
}

/// A router of these documents, with the bundle as the credentials "to-east"; its folder.
fn dialer_of(bundle: &Bundle, documents: &str, arguments: &[String]) -> (Router, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    bundle.write(&folder.path().join("to-east"));
    let link = folder.path().join("link.yaml");
    std::fs::write(&link, documents).unwrap();
    let own = [
        "--resources",
        link.to_str().unwrap(),
        "--credentials",
        folder.path().to_str().unwrap(),
        "--admin",
        "127.0.0.1:0",
    ];
    (Router::start("west", &[&own.map(str::to_owned)[..], arguments].concat()), folder)
}

/// A router that takes links.
struct East {
    router: Router,
    access: SocketAddr,
    admin: SocketAddr,
    _folder: tempfile::TempDir,
}

impl East {
    async fn start(bundle: &Bundle) -> Self {
        Self::with(bundle, &[]).await
    }

    async fn with(bundle: &Bundle, arguments: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        bundle.write(folder.path());
        let credentials = folder.path().to_str().unwrap();
        let own = ["--listen", "inter-router=127.0.0.1:0", "--admin", "127.0.0.1:0", "--server-credentials"];
        let own = own.into_iter().chain([credentials]).map(str::to_owned);
        let arguments: Vec<_> = own.chain(arguments.iter().cloned()).collect();
        let mut router = Router::start("east", &arguments);
        let [access, admin] = router.addresses(["access_up", "admin_up"]).await;
        Self { router, access, admin, _folder: folder }
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
    let (code, said, errors) = run(admin, &["-o", format]).await;
    assert_eq!(errors, "");
    (code, said)
}

/// The same with other arguments, and what it says on standard error.
async fn run(admin: SocketAddr, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(example("router"));
    command.args(["status", "--admin", &admin.to_string()]).args(arguments);
    let output = within(command.output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Asks again and again until the table is as wanted.
async fn table_with(admin: SocketAddr, wanted: impl Fn(&str) -> bool) -> String {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut last = String::new();
    let asking = async {
        while !wanted(&last) {
            tick.tick().await;
            last = status(admin, "table").await.1;
        }
    };
    let _ = tokio::time::timeout(DEADLINE, asking).await;
    assert!(wanted(&last), "{last}");
    last
}

/// The rows below a line that begins so, each cell by the name of its column.
fn section(table: &str, title: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = table.lines().skip_while(|line| !line.starts_with(title)).skip(1);
    let head = lines.next().unwrap_or_else(|| panic!("no {title:?}: {table}"));
    let names: Vec<_> = head.split("   ").map(str::trim).filter(|name| !name.is_empty()).collect();
    let mut starts = vec![0];
    for name in &names[1..] {
        let after = starts[starts.len() - 1] + 1;
        starts.push(after + head[after..].find(&format!("   {name}")).unwrap() + 3);
    }
    let cells = |line: &str| {
        let end = |at: usize| starts.get(at + 1).map_or(line.len(), |end| (*end).min(line.len()));
        let cell = |at: usize| line.get(starts[at]..end(at)).unwrap_or_default().trim().to_owned();
        names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), cell(at))).collect()
    };
    lines.take_while(|line| !line.is_empty()).map(cells).collect()
}

fn address(event: &Value) -> SocketAddr {
    event["address"].as_str().unwrap().parse().unwrap()
}
