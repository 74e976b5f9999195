//! The two sites: a router each, the relay between them, and the folders from which their certificates come.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use tokio::task::spawn_blocking;

use crate::facts::{End, Told};
use crate::process::Router;
use crate::relay::Relay;
use crate::support::mount::Mount;
use crate::support::{self, Authority, Outcome};

/// What a run plays on. Dropping it kills the routers.
pub(crate) struct Stage {
    west: Router,
    east: Router,
    pub(crate) relay: Relay,
    pub(crate) told: Told,
    /// Where clients connect.
    pub(crate) entrance: SocketAddr,
    pub(crate) rotator: Rotator,
}

/// Issues certificates and brings them as Kubernetes does.
pub(crate) struct Rotator {
    /// Given away while a certificate is issued.
    tools: Option<Box<(Authority, [Mount; 2])>>,
}

impl Stage {
    /// Starts both routers; the link is up and leads to `server` when it returns.
    pub(crate) async fn new(folder: &Path, server: u16, carriers: u8, log: Option<&Path>) -> Outcome<Self> {
        let (authority, told) = (Authority::new("chaos authority")?, Told::new());
        // As `--credentials` wants it: a folder for each name.
        let secrets = folder.join("secrets");
        let mounts = [
            Mount::new(&secrets.join("east"), &authority.issue("east")?)?,
            Mount::new(&secrets.join("west"), &authority.issue("west")?)?,
        ];
        let mut east = start(
            "east",
            End::East,
            (&told, log),
            [
                "--listen".into(),
                "inter-router=127.0.0.1:0".into(),
                "--server-credentials".into(),
                mounts[0].path().as_os_str().to_owned(),
                "--tcp-connector".into(),
                format!("{KEY}=127.0.0.1:{server}").into(),
            ],
        )?;
        let access = east.event("access_up").await?;
        let access = access["address"].as_str().ok_or("an access has an address")?.parse()?;
        let relay = Relay::start(access).await?;
        let document = folder.join("link.yaml");
        std::fs::write(&document, support::link("to-east", relay.port(), "west"))?;
        let mut west = start(
            "west",
            End::West,
            (&told, log),
            [
                "--resources".into(),
                document.into_os_string(),
                "--credentials".into(),
                secrets.into_os_string(),
                "--carriers".into(),
                carriers.to_string().into(),
                "--tcp-listener".into(),
                format!("{KEY}=127.0.0.1:0").into(),
            ],
        )?;
        let entrance = west.address_of("tcp_listener_up", KEY).await?;
        let rotator = Rotator { tools: Some(Box::new((authority, mounts))) };
        Ok(Self { west, east, relay, told, entrance, rotator })
    }

    /// Stops both routers in good order.
    pub(crate) async fn stop(self) -> Outcome<()> {
        self.west.stop().await?;
        self.east.stop().await
    }
}

impl Rotator {
    /// Brings a new bundle to an end.
    pub(crate) async fn rotate(&mut self, end: End) -> Outcome<()> {
        let mut tools = self.tools.take().ok_or("an earlier rotation failed")?;
        let (tools, swapped) = spawn_blocking(move || {
            let (authority, mounts) = &mut *tools;
            let name = if end == End::East { "east" } else { "west" };
            let swapped = authority
                .issue(name)
                .map_err(std::io::Error::other)
                .and_then(|bundle| mounts[end as usize].swap(&bundle));
            (tools, swapped)
        })
        .await?;
        self.tools = Some(tools);
        Ok(swapped?)
    }
}

/// A router that tells what it does. It is left alone by an interrupt of the terminal, which is ours to take.
fn start<const N: usize>(
    name: &'static str,
    end: End,
    (told, log): (&Told, Option<&Path>),
    arguments: [OsString; N],
) -> Outcome<Router> {
    let mut command = Router::command(name)?;
    command.args(arguments).process_group(0);
    if std::env::var_os("RUST_LOG").is_none() {
        // Every fault makes it warn.
        command.env("RUST_LOG", "off");
    }
    let log = log.map(|folder| File::create(folder.join(format!("{name}.jsonl")))).transpose()?;
    let told = told.clone();
    Router::start(name, command, move |event| {
        told.note(end, event);
        if let Some(mut log) = log.as_ref() {
            // A full disk is no reason to stop.
            let _ = writeln!(log, "{event}");
        }
    })
}

/// What the connections ask for.
const KEY: &str = "chaos";
