//! The main job in one command: two sites, a link, a transfer that survives the loss of the link's connection.
//!
//! `cargo run --release --example demo` makes throwaway certificates and real documents, starts two routers as
//! processes of their own, pushes random data through TCP → link → TCP, cuts the link's TCP connection half way, and
//! compares checksums. Then a third site with a foreign certificate is refused. The exit status is 0 only if all of it
//! held.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::time::timeout;

use self::process::Router;
use self::relay::Relay;
use self::support::{Authority, Outcome};

mod process;
mod relay;
#[path = "../router/mod.rs"]
mod router;
#[path = "../support/mod.rs"]
mod support;
mod traffic;

/// Shows two sites link, and real connections cross.
#[derive(Debug, Parser)]
struct Args {
    /// How much to transfer, in MiB
    #[arg(long, default_value_t = 1024)]
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
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn show(bytes: u64) -> Outcome<String> {
    let folder = tempfile::tempdir()?;
    let (sink, echo) = (traffic::sink().await?, traffic::echo().await?);

    println!("== two sites, each a router process; mutual TLS between them");
    let authority = Authority::new("demo authority")?;
    let (mut east, link_port) = start_east(folder.path(), &authority, sink, echo).await?;
    // The link runs through a relay, so that there is something to cut.
    let relay = Relay::start(link_port).await?;
    let mut west = start_west(folder.path(), &authority, relay.port()).await?;
    // The listeners come up in the order of their paths, so each is looked for by its key.
    let sink = west.address_of("tcp_listener_up", "sink").await?;
    let echo = west.address_of("tcp_listener_up", "echo").await?;

    println!("== ping-pong of 100 bytes through the link");
    let latency = traffic::ping_pong(echo).await?;
    println!("   p50 {:.0?}, p99 {:.0?}", latency.median, latency.p99);

    println!("== {} MiB through the link; its TCP connection is cut half way", bytes >> 20);
    let transfer = traffic::push(sink, bytes, || relay.cut()).await?;
    west.event("session_resumed").await?;
    println!(
        "   {:.2} GB/s, the cut included; the application's connection did not notice",
        transfer.rate / 1e9
    );

    println!("== a site whose certificate is of another authority");
    refuse_foreigner(folder.path(), &authority, &mut east, link_port).await?;

    println!("== both routers are told to stop");
    west.stop().await?;
    east.stop().await?;
    Ok(format!("verified: {} bytes, sha256 match", transfer.bytes))
}

/// Starts east, which takes links and serves both keys. The port is that of its link access.
async fn start_east(folder: &Path, authority: &Authority, sink: u16, echo: u16) -> Outcome<(Router, u16)> {
    let credentials = folder.join("east");
    authority.issue("east")?.write(&credentials)?;
    let mut east = Router::start(
        "east",
        [
            "--listen".into(),
            "inter-router=127.0.0.1:0".into(),
            "--server-credentials".into(),
            credentials.into_os_string(),
            "--tcp-connector".into(),
            format!("sink=127.0.0.1:{sink}").into(),
            "--tcp-connector".into(),
            format!("echo=127.0.0.1:{echo}").into(),
        ],
    )?;
    let access = east.event("access_up").await?;
    let address = access["address"].as_str().ok_or("an access has an address")?;
    let port = address.parse::<std::net::SocketAddr>()?.port();
    Ok((east, port))
}

/// Starts west from real documents: a Link and the Secret it names.
async fn start_west(folder: &Path, authority: &Authority, port: u16) -> Outcome<Router> {
    let resources = folder.join("west-resources");
    std::fs::create_dir_all(&resources)?;
    std::fs::write(resources.join("link.yaml"), support::link("to-east", port, "to-east-tls"))?;
    std::fs::write(resources.join("secret.yaml"), authority.issue("west")?.secret("to-east-tls"))?;
    Router::start(
        "west",
        [
            "--resources".into(),
            resources.into_os_string(),
            "--tcp-listener".into(),
            "sink=127.0.0.1:0".into(),
            "--tcp-listener".into(),
            "echo=127.0.0.1:0".into(),
        ],
    )
}

/// Starts a third site that trusts the right authority and was certified by another, and waits until both ends
/// have said why it may not link.
async fn refuse_foreigner(folder: &Path, authority: &Authority, east: &mut Router, port: u16) -> Outcome<()> {
    let mut bundle = Authority::new("foreign authority")?.issue("north")?;
    bundle.ca_crt = authority.issue("unused")?.ca_crt;
    let resources = folder.join("north.yaml");
    let documents =
        format!("{}---\n{}", support::link("to-east", port, "north-tls"), bundle.secret("north-tls"));
    std::fs::write(&resources, documents)?;
    let mut north = Router::start("north", ["--resources".into(), resources.into_os_string()])?;

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

/// A machine ten times slower than the one this was written on still makes it.
const DEADLINE: Duration = Duration::from_secs(170);
