//! A router process that is stopped for a while and then goes on.

use std::process::Command;
use std::time::{Duration, Instant};

use sitelink::{EventKind, OpenRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::pki::TestCa;
use crate::common::process::Router;
use crate::common::stage::{Diary, reachable};
use crate::common::{credentials, key, link, loopback, plane, within};

#[tokio::test]
#[ignore = "takes six seconds: a process is paused for five"]
async fn a_process_paused_for_five_seconds_loses_nothing() {
    let ca = TestCa::new("ca");
    let folder = tempfile::tempdir().unwrap();
    ca.server(&["127.0.0.1"]).write(&folder.path().join("server"));
    let server = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let mut east = Router::start(
        "east",
        &[
            "--listen".into(),
            "inter-router=127.0.0.1:0".into(),
            "--server-credentials".into(),
            folder.path().join("server").to_str().unwrap().into(),
            "--tcp-connector".into(),
            format!("app={}", server.local_addr().unwrap()),
        ],
    );
    let access = east.address("access_up").await;
    let west = plane("west").await;
    let mut diary = Diary::of(&west);
    link(&west, "east", access, credentials("client", &ca.client("west"))).await;
    reachable(&west, "app").await;

    let mut near = within(west.open(OpenRequest::to_key(key("app")))).await.unwrap();
    let (mut far, _) = within(server.accept()).await.unwrap();
    near.write_all(b"before").await.unwrap();
    let mut heard = [0; 6];
    within(far.read_exact(&mut heard)).await.unwrap();

    signal(&east, "STOP");
    let paused = Instant::now();
    near.write_all(b"during").await.unwrap();
    diary.one(|kind| matches!(kind, EventKind::CarrierSuspect { .. })).await;
    // The pause itself is what is tried.
    tokio::time::sleep(Duration::from_secs(5).saturating_sub(paused.elapsed())).await;
    signal(&east, "CONT");

    within(far.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"during");
    far.write_all(b"answer").await.unwrap();
    within(near.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"answer");
    let lost = diary
        .count(|kind| matches!(kind, EventKind::SessionDown { .. } | EventKind::SessionRecovering { .. }));
    assert_eq!(lost, 0, "{:#?}", diary.kinds());
    west.shutdown(Duration::ZERO).await;
}

fn signal(router: &Router, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &router.id().to_string()]).status().unwrap();
    assert!(sent.success());
}
