//! The example router, as two processes with a link between them: how connections end, and how routers end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::pki::TestCa;
use common::process::{Router, example};
use common::{document, loopback, within};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

#[tokio::test]
async fn a_client_that_shut_down_writing_still_reads_the_answer() {
    let (mut routers, server) = Routers::start().await;
    let (mut near, mut far) = routers.connection(&server).await;
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(rest(&mut far).await.unwrap(), b"question");
    // Larger than what any buffer on the way holds.
    let answer = vec![42; 8 << 20];
    let answering = async {
        far.write_all(&answer).await.unwrap();
        far.shutdown().await.unwrap();
    };
    let (read, ()) = within(async { tokio::join!(rest(&mut near), answering) }).await;
    assert!(read.unwrap() == answer, "the answer came changed");
    routers.stop().await;
}

#[tokio::test]
async fn a_server_that_shut_down_writing_still_reads_what_follows() {
    let (mut routers, server) = Routers::start().await;
    let (mut near, mut far) = routers.connection(&server).await;
    far.write_all(b"greeting").await.unwrap();
    far.shutdown().await.unwrap();
    assert_eq!(rest(&mut near).await.unwrap(), b"greeting");
    near.write_all(b"what follows").await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(rest(&mut far).await.unwrap(), b"what follows");
    routers.stop().await;
}

#[tokio::test]
async fn a_reset_by_the_client_reaches_the_server_as_a_reset() {
    let (mut routers, server) = Routers::start().await;
    let (near, mut far) = routers.connection(&server).await;
    reset(near);
    assert_eq!(rest(&mut far).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    routers.stop().await;
}

#[tokio::test]
async fn a_reset_by_the_server_reaches_the_client_as_a_reset() {
    let (mut routers, server) = Routers::start().await;
    let (mut near, far) = routers.connection(&server).await;
    reset(far);
    assert_eq!(rest(&mut near).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    routers.stop().await;
}

#[tokio::test]
async fn a_reset_by_a_client_that_does_not_read_reaches_a_server_that_cannot_write() {
    let (mut routers, server) = Routers::start().await;
    let (near, far) = routers.connection(&server).await;
    fill(&far).await;
    reset(near);
    within(far.ready(Interest::ERROR)).await.unwrap();
    assert_eq!(far.take_error().unwrap().unwrap().kind(), ErrorKind::ConnectionReset);
    routers.stop().await;
}

#[tokio::test]
async fn a_reset_by_the_server_reaches_a_client_that_does_not_read() {
    let (mut routers, server) = Routers::start().await;
    let (near, far) = routers.connection(&server).await;
    fill(&far).await;
    reset(far);
    within(near.ready(Interest::ERROR)).await.unwrap();
    assert_eq!(near.take_error().unwrap().unwrap().kind(), ErrorKind::ConnectionReset);
    routers.stop().await;
}

#[tokio::test]
async fn clients_are_refused_while_nobody_serves_their_key_and_taken_again_after_that() {
    let (mut routers, server) = Routers::start().await;
    drop(routers.connection(&server).await);
    let listener = routers.listener;

    routers.east.stop().await;
    routers.west.event("tcp_listener_down").await;
    let refused = within(TcpStream::connect(listener)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    let arguments = east_arguments(routers.folder.path(), routers.access, &server);
    routers.east = Router::start("east", &arguments);
    assert_eq!(routers.west.address("tcp_listener_up").await, listener);
    let (mut near, mut far) = routers.connection(&server).await;
    near.write_all(b"again").await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(rest(&mut far).await.unwrap(), b"again");
    drop((near, far));
    routers.stop().await;
}

#[tokio::test]
async fn a_router_without_a_path_refuses_and_stops_when_told_to() {
    let mut router = Router::start("alone", &["--tcp-listener".into(), "app=127.0.0.1:0".into()]);
    let bound = router.address("tcp_listener_bound").await;
    let refused = within(TcpStream::connect(bound)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    router.stop().await;
}

#[tokio::test]
async fn an_address_is_given_to_one_listener_only() {
    let mut first = Router::start("first", &["--tcp-listener".into(), "app=127.0.0.1:0".into()]);
    let bound = first.address("tcp_listener_bound").await;
    // It does not listen, for there is no path, and holds the address all the same: against another process...
    let taken = format!("app={bound}");
    refuses_to_start(&["--tcp-listener".into(), taken.clone()], bound).await;
    first.stop().await;
    // ...and against another key of its own.
    refuses_to_start(&["--tcp-listener".into(), taken.clone(), "--tcp-listener".into(), taken], bound).await;
}

#[tokio::test]
async fn an_address_is_kept_from_others_after_a_pause_and_free_after_a_restart() {
    let (mut routers, server) = Routers::start().await;
    let listener = routers.listener;
    // A connection of before lingers at the listener's address.
    let (mut near, far) = routers.connection(&server).await;
    drop(far);
    within(near.read_to_end(&mut Vec::new())).await.unwrap();
    drop(near);
    routers.east.stop().await;
    routers.west.event("tcp_listener_down").await;
    refuses_to_start(&["--tcp-listener".into(), format!("app={listener}")], listener).await;
    routers.west.stop().await;
    let mut again = Router::start("west", &["--tcp-listener".into(), format!("app={listener}")]);
    assert_eq!(again.address("tcp_listener_bound").await, listener);
    again.stop().await;
}

/// A router with these arguments must end at once, and say that the address is in use.
async fn refuses_to_start(arguments: &[String], address: SocketAddr) {
    let mut command = Command::new(example("router"));
    command.args(["--site", "second"]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = within(command.output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&address.to_string()), "{}: {said}", output.status);
}

/// West listens for TCP, east serves the key by connecting to the test; a link is between them.
struct Routers {
    west: Router,
    east: Router,
    /// Where west takes the connections of clients.
    listener: SocketAddr,
    /// Where east takes links.
    access: SocketAddr,
    folder: tempfile::TempDir,
}

impl Routers {
    /// Both up, the key reachable; with the server behind east.
    async fn start() -> (Self, TcpListener) {
        let server = TcpListener::bind(loopback()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca = TestCa::new("ca");
        ca.server(&["127.0.0.1"]).write(&folder.path().join("east"));
        ca.client("west").write(&folder.path().join("to-east"));

        let mut east = Router::start("east", &east_arguments(folder.path(), loopback(), &server));
        let access = east.address("access_up").await;
        let link = folder.path().join("link.yaml");
        std::fs::write(&link, document("to-east", "127.0.0.1", access.port())).unwrap();
        let mut west = Router::start(
            "west",
            &[
                "--resources".into(),
                text(&link),
                "--credentials".into(),
                text(folder.path()),
                "--tcp-listener".into(),
                "app=127.0.0.1:0".into(),
            ],
        );
        let listener = west.address("tcp_listener_up").await;
        (Self { west, east, listener, access, folder }, server)
    }

    /// A client's connection, and what it became at the server.
    async fn connection(&self, server: &TcpListener) -> (TcpStream, TcpStream) {
        let near = within(TcpStream::connect(self.listener)).await.unwrap();
        let (far, _) = within(server.accept()).await.unwrap();
        (near, far)
    }

    /// Stops both; each must end in good order.
    async fn stop(&mut self) {
        self.west.stop().await;
        self.east.stop().await;
    }
}

fn east_arguments(folder: &Path, access: SocketAddr, server: &TcpListener) -> Vec<String> {
    vec![
        "--listen".into(),
        format!("inter-router={access}"),
        "--server-credentials".into(),
        text(&folder.join("east")),
        "--tcp-connector".into(),
        format!("app={}", server.local_addr().unwrap()),
    ]
}

/// What is left to read, to the end or the error.
async fn rest(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    within(stream.read_to_end(&mut all)).await.map(|_| all)
}

/// Writes until every buffer on the way is full and nothing moves any more.
async fn fill(stream: &TcpStream) {
    let block = vec![1; 1 << 20];
    while tokio::time::timeout(STILL, stream.writable()).await.is_ok() {
        match stream.try_write(&block) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

/// Closes a connection by a reset.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// When nothing was taken for so long, the way is full: on loopback a write that has room takes microseconds.
const STILL: Duration = Duration::from_secs(1);
