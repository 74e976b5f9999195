//! What carries the client's connections to the server.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fmt, fs, thread};

use clap::ValueEnum;
use serde_json::Value;
use tempfile::TempDir;

use crate::options::Options;
use crate::process::Process;
use crate::support::{Authority, Outcome, link};

/// A way from the client to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum System {
    /// Nothing between them.
    Direct,
    /// Two HAProxy processes, TLS between them.
    Haproxy,
    /// Two `router` processes with a link.
    Sitelink,
    /// The same of another build.
    Other,
}

/// What the systems are made of.
#[derive(Debug)]
pub(crate) struct Files {
    /// Certificates, documents and configurations.
    folder: TempDir,
    router: PathBuf,
    other: Option<PathBuf>,
    router_threads: Option<u16>,
    haproxy_threads: u16,
    haproxy_buffer: u32,
}

/// A system that carries connections.
#[derive(Debug)]
pub(crate) struct Running {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// The one that clients connect to, then the one that connects to the server.
    pub(crate) routers: Vec<Process>,
}

impl System {
    /// Whether it can be measured here; says so if not.
    pub(crate) fn is_there(self, files: &Files) -> bool {
        match self {
            Self::Direct | Self::Sitelink => true,
            Self::Other => files.other.is_some(),
            Self::Haproxy => {
                let output = Command::new("haproxy").arg("-v").stderr(Stdio::null()).output();
                let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
                match &version {
                    Ok(version) => eprintln!("{}", version.lines().next().unwrap_or_default()),
                    Err(error) => eprintln!("haproxy is left out: {error}"),
                }
                version.is_ok()
            }
        }
    }

    /// Starts it before a server.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn start(self, files: &Files, server: SocketAddr) -> Outcome<Running> {
        match self {
            Self::Direct => Ok(Running { address: server, routers: Vec::new() }),
            Self::Haproxy => haproxies(files, server),
            Self::Sitelink => routers(&files.router, files, server),
            Self::Other => {
                let router = files.other.as_deref().ok_or("--other names it")?;
                routers(router, files, server)
            }
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::Sitelink => "sitelink",
            Self::Other => "other",
        })
    }
}

impl Files {
    /// Makes the certificates, which all systems use.
    ///
    /// # Errors
    /// The disk is full, or the like.
    pub(crate) fn new(router: PathBuf, options: &Options) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new("bench")?;
        for name in ["west", "east"] {
            let bundle = authority.issue(name)?;
            bundle.write(&folder.path().join(name))?;
            fs::write(folder.path().join(format!("{name}.pem")), bundle.tls_crt + &bundle.tls_key)?;
        }
        Ok(Self {
            folder,
            router,
            other: options.other.clone(),
            router_threads: options.router_threads,
            haproxy_threads: options.haproxy_threads,
            haproxy_buffer: options.haproxy_buffer,
        })
    }
}

/// East connects to the server, west takes clients.
fn routers(router: &Path, files: &Files, server: SocketAddr) -> Outcome<Running> {
    let threads = files.router_threads.map(|threads| format!("--threads={threads}"));
    let start = |site: &str, arguments: &[String]| {
        let common = ["--site", site, "--events", "json"];
        Process::start(Command::new(router).args(common).args(&threads).args(arguments))
    };
    let folder = files.folder.path();
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let argument = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let east = start(
        "east",
        &argument(&[
            "--listen",
            "inter-router=127.0.0.1:0",
            "--server-credentials",
            &path("east"),
            "--tcp-connector",
            &format!("app={server}"),
        ]),
    )?;
    let access = address_of(&east, "access_up")?;
    let document = path(&format!("link-{}.yaml", access.port()));
    fs::write(&document, link("east", access.port(), "west"))?;
    let west = start(
        "west",
        &argument(&[
            "--resources",
            &document,
            "--credentials",
            &path(""),
            "--tcp-listener",
            "app=127.0.0.1:0",
        ]),
    )?;
    let address = address_of(&west, "tcp_listener_up")?;
    Ok(Running { address, routers: vec![west, east] })
}

/// The address that the next event of a kind names.
fn address_of(router: &Process, kind: &str) -> Outcome<SocketAddr> {
    router.line(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["event"] == kind).then(|| event["address"].as_str()?.parse().ok())?
    })
}

/// West takes clients and opens a TLS connection for each of them to east, which connects to the server.
fn haproxies(files: &Files, server: SocketAddr) -> Outcome<Running> {
    let folder = files.folder.path();
    let (address, between) = (free_address()?, free_address()?);
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (ca, west, east) = (file("west/ca.crt"), file("west.pem"), file("east.pem"));
    let near = format!(
        "listen west\n bind {address}\n server east {between} ssl verify required verifyhost localhost \
         ca-file {ca} crt {west} ssl-min-ver TLSv1.3\n"
    );
    let far = format!(
        "listen east\n bind {between} ssl crt {east} ca-file {ca} verify required ssl-min-ver TLSv1.3\n \
         server app {server}\n"
    );
    let start = |name: &str, section: &str| {
        let config = folder.join(format!("{name}-{}.cfg", address.port()));
        let (threads, buffer) = (files.haproxy_threads, files.haproxy_buffer);
        let global = format!("global\n nbthread {threads}\n tune.bufsize {buffer}\n");
        fs::write(&config, format!("{global}{HAPROXY}{section}"))?;
        Process::start(Command::new("haproxy").arg("-db").arg("-q").arg("-f").arg(config))
    };
    let routers = vec![start("west", &near)?, start("east", &far)?];
    for attempt in 0.. {
        if [address, between].into_iter().all(|address| TcpStream::connect(address).is_ok()) {
            break;
        }
        if attempt == 100 {
            return Err("haproxy does not listen".into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(Running { address, routers })
}

/// An address that was free a moment ago: HAProxy does not say which it took.
fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// What both HAProxy processes share: TLS 1.3 with the suite that the link takes, no log, no time-outs in the way of idle
/// connections. Sessions are resumed, as it does by default.
const HAPROXY: &str = " ssl-default-bind-ciphersuites TLS_AES_256_GCM_SHA384
 ssl-default-server-ciphersuites TLS_AES_256_GCM_SHA384
defaults
 mode tcp
 timeout connect 10s
 timeout client 1h
 timeout server 1h
";
