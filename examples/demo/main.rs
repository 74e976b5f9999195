//! The main job in one command: two sites, a link, a transfer that survives the loss of the link's connections, and
//! their replacement.
//!
//! `cargo run --release --example demo` makes throwaway certificates and real documents, starts two routers as
//! processes of their own, pushes random data through TCP → link → TCP, cuts the link's TCP connections half way, gives
//! each end a new certificate, and compares checksums. Then a third site with a foreign certificate is refused. The exit status is 0 only if all of it
//! held.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::time::timeout;

use self::process::Router;
use self::relay::Relay;
use self::router::events::readable;
use self::screen::Screen;
use self::support::mount::Mount;
use self::support::{Authority, Outcome};

#[path = "../support/process.rs"]
mod process;
#[path = "../support/relay.rs"]
mod relay;
#[path = "../router/mod.rs"]
mod router;
mod screen;
#[path = "../support/mod.rs"]
mod support;
mod traffic;

/// Shows two sites link, and real connections cross.
#[derive(Debug, Parser)]
struct Args {
    /// How much to transfer, in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    mib: u64,
}

fn main() -> ExitCode {
    // The routers of the demonstration are this very program, called by another name.
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|first| first == "router") {
        return router::main(std::iter::once("router".into()).chain(arguments));
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let shown = runtime.map_err(Into::into).and_then(|runtime| {
        runtime
            .block_on(async { timeout(DEADLINE, show(args.mib << 20)).await.map_err(|_| "took too long")? })
    });
    match shown {
        Ok(summary) => {
            println!("\n{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn show(bytes: u64) -> Outcome<String> {
    let screen = Screen::new();
    let folder = tempfile::tempdir()?;
    let (sink, echo) = (traffic::sink().await?, traffic::echo().await?);

    screen.heading("1. Two sites, each a router process, and a link with mutual TLS between them");
    let authority = Authority::new("demo authority")?;
    let east = Mount::new(&folder.path().join("east"), &authority.issue("east")?)?;
    let mut stage = Stage { folder: folder.path(), authority, east, screen: &screen };
    let (mut east, link_port) = stage.east(sink, echo).await?;
    // The link runs through a relay, so that there is something to cut.
    let relay = Relay::start(link_port).await?;
    let mut west = stage.west(relay.port())?;
    // The listeners come up in the order of their paths, so each is looked for by its key.
    let far_sink = west.address_of("tcp_listener_up", "sink").await?;
    let far_echo = west.address_of("tcp_listener_up", "echo").await?;

    screen.heading("2. Ping-pong of 100 bytes through TCP, link and TCP");
    let direct = traffic::ping_pong(([127, 0, 0, 1], echo).into()).await?;
    let linked = traffic::ping_pong(far_echo).await?;
    screen.result(&format!("p50 {:.0?}, p99 {:.0?}", linked.median, linked.p99));
    screen.result(&format!("without routers: p50 {:.0?}, p99 {:.0?}", direct.median, direct.p99));

    screen.heading(&format!(
        "3. {} MiB or more through the same way; meanwhile the link is cut, and each end gets a new certificate",
        bytes >> 20
    ));
    let meanwhile = async {
        relay.cut();
        let resumed = west.event("session_resumed").await?;
        stage.rotate_east(&mut east).await?;
        stage.rotate_west(&mut west).await?;
        Ok(resumed)
    };
    let (transfer, resumed) = traffic::push(far_sink, bytes, &screen, meanwhile).await?;
    screen.result(&format!("{:.2} GB/s, cut, rotations and hashing included", transfer.rate / 1e9));
    screen.result(&format!(
        "{} bytes were sent again after the cut; the application's connection noticed nothing",
        resumed["resent_bytes"]
    ));

    screen.heading("4. A third site, north, whose certificate another authority issued");
    stage.refuse_foreigner(&mut east, link_port).await?;
    screen.result("refused, and both ends know why");

    screen.heading("5. Both routers are told to stop");
    west.stop().await?;
    east.stop().await?;
    Ok(format!("verified: {} bytes, sha256 match", transfer.bytes))
}

/// Where the routers play.
struct Stage<'a> {
    folder: &'a Path,
    /// Whom east and west trust.
    authority: Authority,
    /// East's credentials.
    east: Mount,
    screen: &'a Screen,
}

impl Stage<'_> {
    /// Starts a router whose events are shown.
    fn router(&self, name: &'static str, arguments: Vec<OsString>) -> Outcome<Router> {
        let (mut command, screen) = (Router::command(name)?, self.screen.clone());
        command.args(arguments);
        Router::start(name, command, move |event| screen.event(name, &readable(event)))
    }

    /// Starts east, which takes links and serves both keys. The port is that of its link access.
    async fn east(&self, sink: u16, echo: u16) -> Outcome<(Router, u16)> {
        let mut arguments: Vec<OsString> = Vec::new();
        arguments.extend(["--listen".into(), "inter-router=127.0.0.1:0".into()]);
        arguments.extend(["--server-credentials".into(), self.east.path().as_os_str().to_owned()]);
        arguments.extend(["--tcp-connector".into(), format!("sink=127.0.0.1:{sink}").into()]);
        arguments.extend(["--tcp-connector".into(), format!("echo=127.0.0.1:{echo}").into()]);
        let mut east = self.router("east", arguments)?;
        let access = east.event("access_up").await?;
        let address: SocketAddr = access["address"].as_str().ok_or("an access has an address")?.parse()?;
        Ok((east, address.port()))
    }

    /// Starts west from real documents: a Link and the Secret it names.
    fn west(&self, port: u16) -> Outcome<Router> {
        let resources = self.folder.join(WEST_RESOURCES);
        std::fs::create_dir_all(&resources)?;
        let secret = self.authority.issue("west")?.secret(SECRET);
        std::fs::write(resources.join("link.yaml"), support::link("to-east", port, SECRET))?;
        std::fs::write(resources.join("secret.yaml"), secret)?;
        let mut arguments: Vec<OsString> = vec!["--resources".into(), resources.into_os_string()];
        arguments.extend(["--tcp-listener".into(), "sink=127.0.0.1:0".into()]);
        arguments.extend(["--tcp-listener".into(), "echo=127.0.0.1:0".into()]);
        self.router("west", arguments)
    }

    /// Brings east a new bundle, as Kubernetes brings a changed Secret, and waits until the carriers of the old one are gone.
    async fn rotate_east(&mut self, east: &mut Router) -> Outcome<()> {
        self.east.swap(&self.authority.issue("east")?)?;
        self.rotated(east).await
    }

    /// Writes west's Secret anew, and waits likewise.
    async fn rotate_west(&self, west: &mut Router) -> Outcome<()> {
        let secret = self.authority.issue("west")?.secret(SECRET);
        // Written elsewhere and renamed, so that no reader sees half of it.
        let written = self.folder.join("new-secret.yaml");
        std::fs::write(&written, secret)?;
        std::fs::rename(written, self.folder.join(WEST_RESOURCES).join("secret.yaml"))?;
        self.rotated(west).await
    }

    async fn rotated(&self, router: &mut Router) -> Outcome<()> {
        let completed = router.event("rotation_completed").await?;
        let after = Duration::from_secs_f64(completed["after"].as_f64().ok_or("it took some time")?);
        self.screen.result(&format!("the link's connections were replaced, one by one, within {after:.1?}"));
        Ok(())
    }

    /// Starts a third site that trusts the right authority and was certified by another, and waits until both
    /// ends have said why it may not link.
    async fn refuse_foreigner(&self, east: &mut Router, port: u16) -> Outcome<()> {
        let mut bundle = Authority::new("foreign authority")?.issue("north")?;
        bundle.ca_crt = self.authority.issue("unused")?.ca_crt;
        let resources = self.folder.join("north.yaml");
        let (link, secret) = (support::link("to-east", port, "north-tls"), bundle.secret("north-tls"));
        std::fs::write(&resources, format!("{link}---\n{secret}"))?;
        let mut north = self.router("north", vec!["--resources".into(), resources.into_os_string()])?;

        let refused = east.event("peer_refused").await?;
        let failed = north.event("dial_failed").await?;
        if refused["refusal"]["tls"].get("unknown_issuer").is_none() {
            return Err(format!("east refused north for another reason: {}", refused["refusal"]).into());
        }
        if failed["error"]["tls"].get("certificate_refused").is_none() {
            return Err(format!("north was told another reason: {}", failed["error"]).into());
        }
        north.stop().await
    }
}

/// Where west's documents are, within the folder of the demonstration.
const WEST_RESOURCES: &str = "west-resources";

/// The Secret that west's Link names.
const SECRET: &str = "to-east-tls";

/// A machine ten times slower than the one this was written on still makes it.
const DEADLINE: Duration = Duration::from_secs(170);
