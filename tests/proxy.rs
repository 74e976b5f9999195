//! Links through an HTTP proxy: one made by hand, and the ones that people run.
//!
//! The tests with tinyproxy and squid need these programs and are ignored unless asked for; `.ci/proxies` asks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::large_futures, reason = "a test is polled in place")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use common::pki::TestCa;
use common::reach::{Documents, HttpProxy, Zone, listen_as_east, west_with};
use common::stage::{Diary, brisk, pair, plane_with};
use common::{loopback, within};
use sitelink::resource::status::{ConditionKind, ConditionStatus, Reason};
use sitelink::{Access, DialError, EventKind, Fault, Phase, Plane, ProxyReason};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// East with its access, and west, who looks no name up.
struct Ends {
    ca: TestCa,
    west: Plane,
    east: Plane,
    access: Access,
    diary: Diary,
    zone: Zone,
}

impl Ends {
    async fn new() -> Self {
        let (ca, zone) = (TestCa::new("ca"), Zone::default());
        let (west, east) = (west_with(brisk(), zone.clone()).await, plane_with("east", brisk()).await);
        let access = listen_as_east(&east, loopback(), &ca).await;
        let diary = Diary::of(&west);
        Self { ca, west, east, access, diary, zone }
    }

    /// The Link by address, for proxies that would have to look `east.test` up.
    fn by_address(&self) -> Documents {
        Documents::new("127.0.0.1", self.access.address().port())
    }

    /// Waits until the link is up and has carried something.
    async fn is_up(&mut self) {
        self.diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
        let (mut near, mut far) = pair(&self.west, &self.east, "k").await;
        near.send(Bytes::from_static(b"through")).await.unwrap();
        assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"through"[..]));
    }

    /// The first failure to dial.
    async fn failure(&mut self) -> DialError {
        match self.diary.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await.kind {
            EventKind::DialFailed { phase, error, .. } => {
                assert_eq!(phase, error.phase());
                error
            }
            _ => unreachable!(),
        }
    }
}

fn denied(proxy: SocketAddr) -> DialError {
    DialError::Proxy { proxy: proxy.to_string().into(), reason: ProxyReason::AuthenticationRequired }
}

#[tokio::test]
async fn a_link_goes_through_its_proxy_which_looks_the_name_up() {
    let mut ends = Ends::new().await;
    let proxy = HttpProxy::to(ends.access.address(), None).await;
    let link =
        Documents::new("east.test", 55671).through(proxy.address, None).link(&ends.west, &ends.ca).await;
    ends.is_up().await;
    let asked = "CONNECT east.test:55671 HTTP/1.1\r\nHost: east.test:55671\r\n\r\n";
    assert!(proxy.requests().iter().all(|request| request == asked), "{:?}", proxy.requests());
    assert_eq!(ends.zone.asked("east.test"), 0);
    // Where the connection goes is said as it is, and whom the link is with, too.
    let up = ends.diary.one(|kind| matches!(kind, EventKind::CarrierUp { .. })).await;
    assert!(matches!(up.kind, EventKind::CarrierUp { remote, .. } if remote == proxy.address));
    assert_eq!(ends.west.link_status(link).unwrap().remote_site_name.as_deref(), Some("east"));
}

#[tokio::test]
async fn a_proxy_by_name_is_looked_up_like_any_host() {
    let mut ends = Ends::new().await;
    let proxy = HttpProxy::to(ends.access.address(), None).await;
    ends.zone.set("proxy.test", proxy.address);
    let mut documents = Documents::new("east.test", 55671).through(proxy.address, None);
    documents.proxy.as_mut().unwrap()["host"] = "proxy.test".into();
    documents.link(&ends.west, &ends.ca).await;
    ends.is_up().await;
    assert!(ends.zone.asked("proxy.test") > 0);
    assert_eq!(ends.zone.asked("east.test"), 0);
}

#[tokio::test]
async fn a_wrong_login_is_told_and_a_corrected_one_is_tried_at_once() {
    let mut ends = Ends::new().await;
    let wanted = "\r\nProxy-Authorization: Basic d2VzdDpwOnc=\r\n";
    let proxy = HttpProxy::to(ends.access.address(), Some(wanted)).await;
    let documents = Documents::new("east.test", 55671);
    let wrong = documents.clone().through(proxy.address, Some(("west", "guessed-secret")));
    let link = wrong.link(&ends.west, &ends.ca).await;
    let error = ends.failure().await;
    assert_eq!(error, denied(proxy.address));
    assert_eq!((error.phase(), error.fault()), (Phase::Proxy, Fault::Local));
    let message = ends.west.link_status(link).unwrap().message;
    let expected = format!("east.test:55671: proxy {}: authentication required", proxy.address);
    assert!(message.contains(&expected), "{message}");

    documents.through(proxy.address, Some(("west", "p:w"))).relink(&ends.west, link, &ends.ca).await;
    ends.diary
        .one(|kind| matches!(kind, EventKind::LinkChanged { changes, .. } if changes.contains(&"proxy".into())))
        .await;
    ends.is_up().await;
    let told = format!("{:?} {:?}", ends.diary.kinds(), ends.west);
    assert!(!told.contains("guessed-secret") && !told.contains("p:w"), "a password was told");
}

#[tokio::test]
async fn a_link_whose_proxy_is_missing_is_not_configured_and_never_dialed() {
    let mut ends = Ends::new().await;
    let target = TcpListener::bind(loopback()).await.unwrap();
    let to = target.local_addr().unwrap();
    let mut documents = Documents::new("127.0.0.1", to.port()).through(to, None);
    documents.proxy = None;
    let link = documents.link(&ends.west, &ends.ca).await;
    let expected = "Secret not found for proxy configuration: no usable Secret \"uplink\"";
    let refused = ends.diary.one(|kind| matches!(kind, EventKind::LinkRefused { .. })).await;
    assert!(matches!(&refused.kind, EventKind::LinkRefused { message, .. } if &**message == expected));
    let status = ends.west.link_status(link).unwrap();
    let configured = status.conditions.iter().find(|of| of.kind == ConditionKind::Configured).unwrap();
    assert_eq!(configured.status, ConditionStatus::False);
    assert_eq!((configured.reason, &*configured.message), (Reason::Error, expected));

    // A change that lets other links come up gives this one no way either.
    let mut other = ends.by_address();
    other.name = "other".into();
    other.link(&ends.west, &ends.ca).await;
    ends.is_up().await;
    within(ends.west.shutdown(Duration::ZERO)).await;
    // The first that the target hears of is the test itself.
    let own = TcpStream::connect(to).await.unwrap();
    assert_eq!(target.accept().await.unwrap().1, own.local_addr().unwrap(), "a direct connection");
    assert_eq!(ends.diary.count(|kind| matches!(kind, EventKind::DialFailed { .. })), 0);
}

#[tokio::test]
async fn a_proxy_at_hand_is_not_used_by_a_link_that_names_none() {
    let mut ends = Ends::new().await;
    let proxy = HttpProxy::to(ends.access.address(), None).await;
    let documents = ends.by_address().through(proxy.address, None).with(serde_json::json!({}));
    documents.link(&ends.west, &ends.ca).await;
    ends.is_up().await;
    assert!(proxy.requests().is_empty());
}

#[tokio::test]
#[ignore = "needs tinyproxy: .ci/proxies"]
async fn a_link_goes_through_tinyproxy() {
    through_a_real_one(Kind::Tinyproxy).await;
}

#[tokio::test]
#[ignore = "needs squid: .ci/proxies"]
async fn a_link_goes_through_squid() {
    through_a_real_one(Kind::Squid).await;
}

#[derive(Clone, Copy)]
enum Kind {
    Squid,
    Tinyproxy,
}

async fn through_a_real_one(kind: Kind) {
    // Open to all.
    let open = RealProxy::start(kind, None).await;
    let mut ends = Ends::new().await;
    ends.by_address().through(open.address, None).link(&ends.west, &ends.ca).await;
    ends.is_up().await;

    // With a login: the right one, none, and a wrong one.
    let login = ("west", "secret");
    let closed = RealProxy::start(kind, Some(login)).await;
    let mut ends = Ends::new().await;
    ends.by_address().through(closed.address, Some(login)).link(&ends.west, &ends.ca).await;
    ends.is_up().await;
    for wrong in [None, Some(("west", "guess"))] {
        let mut ends = Ends::new().await;
        ends.by_address().through(closed.address, wrong).link(&ends.west, &ends.ca).await;
        assert_eq!(ends.failure().await, denied(closed.address));
    }

    // To nowhere.
    let mut ends = Ends::new().await;
    let nowhere = TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap();
    let documents = Documents::new("127.0.0.1", nowhere.port()).through(open.address, None);
    documents.link(&ends.west, &ends.ca).await;
    let error = ends.failure().await;
    let DialError::Proxy { reason: ProxyReason::Refused { status, .. }, .. } = error else {
        panic!("{error:?}")
    };
    assert!((500..=504).contains(&status), "{status}");
    assert_eq!(error.fault(), Fault::Network);
}

/// A proxy that people run, as a child process on a free port. Dropping it kills the process.
struct RealProxy {
    address: SocketAddr,
    /// What squid calls its shared memory by, which it leaves behind when killed.
    name: String,
    _child: Child,
    _folder: TempDir,
}

impl RealProxy {
    async fn start(kind: Kind, login: Option<(&str, &str)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Squid started by root goes on as a user of its own, to whom the folder must be open.
        open_to_all(folder.path());
        let address = TcpListener::bind(loopback()).await.unwrap().local_addr().unwrap();
        let config = folder.path().join("proxy.conf");
        let name = format!("sitelinktest{}x{}", std::process::id(), address.port());
        let mut command = match kind {
            Kind::Squid => {
                fs::write(&config, squid(folder.path(), address.port(), login)).unwrap();
                let mut command = Command::new("squid");
                command.args(["-N", "-n", &name, "-f"]).arg(&config);
                command
            }
            Kind::Tinyproxy => {
                fs::write(&config, tinyproxy(address.port(), login)).unwrap();
                let mut command = Command::new("tinyproxy");
                command.args(["-d", "-c"]).arg(&config);
                command
            }
        };
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = quiet.env("PATH", PATH).kill_on_drop(true).spawn().unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        within(async {
            while TcpStream::connect(address).await.is_err() {
                assert_eq!(child.try_wait().unwrap(), None, "the proxy ended");
                tick.tick().await;
            }
        })
        .await;
        Self { address, name, _child: child, _folder: folder }
    }
}

impl Drop for RealProxy {
    fn drop(&mut self) {
        for left in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if left.file_name().to_string_lossy().starts_with(&self.name) {
                let _ = fs::remove_file(left.path());
            }
        }
    }
}

fn tinyproxy(port: u16, login: Option<(&str, &str)>) -> String {
    let login = login.map(|(name, password)| format!("BasicAuth {name} {password}\n")).unwrap_or_default();
    format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\n{login}")
}

fn squid(folder: &Path, port: u16, login: Option<(&str, &str)>) -> String {
    let at = folder.display();
    let access = match login {
        None => "http_access allow all\n".to_owned(),
        Some((name, password)) => {
            let program = folder.join("login");
            let script = format!(
                "#!/bin/sh\nwhile read -r login; do\n[ \"$login\" = '{name} {password}' ] && echo OK || echo ERR\ndone\n"
            );
            fs::write(&program, script).unwrap();
            open_to_all(&program);
            format!(
                "auth_param basic program {}\nauth_param basic children 1\nauth_param basic realm test\n\
                 acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n",
                program.display()
            )
        }
    };
    format!(
        "http_port 127.0.0.1:{port}\n{access}pid_filename none\naccess_log none\ncache_log stdio:{at}/cache.log\n\
         cache_store_log none\ncache deny all\nmemory_cache_shared off\ncoredump_dir {at}\nnetdb_filename none\n\
         shutdown_lifetime 0 seconds\nvisible_hostname proxy.test\n"
    )
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}

/// Where Debian puts proxies, also for users who are not root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
