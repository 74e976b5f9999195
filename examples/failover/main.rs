//! Which way a new connection goes, and what happens when that changes: one client site, two server sites at costs 1
//! and 3, and a crowd of connections that stay open.
//!
//! `cargo run --release --example failover` starts three routers as processes of their own, with real documents and
//! mutual TLS. It opens 60 connections, raises a cost while they are open, cuts the network to a site and mends it,
//! kills a router and starts it anew, and opens more after each. Beforehand it says how the rule spreads them, from
//! a loop of its own ([`rule`]); the applications say where they got to. The exit status is 0 only if both agree in
//! all, and no connection was lost or moved but those of the router that was killed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::timeout;

use self::crowd::Crowd;
use self::process::Router;
use self::relay::Relay;
use self::rule::Way;
use self::support::mount::Mount;
use self::support::{Authority, Outcome};
use self::ways::Candidate;

mod crowd;
#[path = "../support/process.rs"]
mod process;
mod relay;
#[path = "../router/mod.rs"]
mod router;
mod rule;
#[path = "../support/mod.rs"]
mod support;
mod ways;

fn main() -> ExitCode {
    // The routers are this very program, called by another name.
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|first| first == "router") {
        return router::main(std::iter::once("router".into()).chain(arguments));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let shown = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async { timeout(DEADLINE, Box::pin(show())).await.map_err(|_| "took too long")? })
    });
    match shown {
        Ok(0) => {
            println!("\nall as predicted");
            ExitCode::SUCCESS
        }
        Ok(wrong) => {
            eprintln!("\nfailover: {wrong} lines are not as predicted");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The whole story; returns how many lines of the table were not as predicted.
async fn show() -> Outcome<usize> {
    let folder = tempfile::tempdir()?;
    let mut stage = Stage::new(folder.path()).await?;
    println!("{:<39}   predicted     counted    the router says", "");
    println!("{:<39}  {NAMES_ROW}  {NAMES_ROW}    {:<15}near", "", "far");

    stage.open("60 connections over costs 3 and 1", 60).await?;

    // A document is written anew, nothing else: both ends take the cost, and no connection is touched.
    stage.set_cost(NEAR, 9)?;
    stage.settled().await?;
    stage.open("near costs 9 now; 20 more", 20).await?;
    stage.set_cost(NEAR, 1)?;
    stage.settled().await?;
    stage.open("near costs 1 again; 20 more", 20).await?;

    // The far site is there, and cannot be reached: its connections wait for it.
    stage.relays[FAR].cut();
    stage.ways[FAR].takes_new = false;
    stage.settled().await?;
    stage.open("the network to far is cut; 20 more", 20).await?;
    stage.relays[FAR].mend();
    stage.ways[FAR].takes_new = true;
    stage.settled().await?;
    stage.crowd.ask_again(ANSWERS[FAR]).await?;
    stage.open("it is mended, all go on; 20 more", 20).await?;

    // The router of the near site is killed: nobody knows what became of its connections until another one answers.
    stage.kill(NEAR);
    stage.ways[NEAR].takes_new = false;
    stage.settled().await?;
    stage.open("the router of near is killed; 20 more", 20).await?;
    stage.start(NEAR).await?;
    stage.crowd.see_off(ANSWERS[NEAR]).await?;
    (stage.ways[NEAR].takes_new, stage.ways[NEAR].open) = (true, 0);
    stage.settled().await?;
    stage.open("a new one ended those of near; 60 more", 60).await?;

    for site in [FAR, NEAR] {
        stage.crowd.ask_again(ANSWERS[site]).await?;
    }
    let wrong = stage.wrong;
    Box::pin(stage.stop()).await?;
    Ok(wrong)
}

/// Three sites, and who is connected.
struct Stage<'a> {
    folder: &'a Path,
    west: Router,
    /// Where west's router tells what it is at.
    admin: SocketAddr,
    /// What follows is by site.
    routers: [Option<Router>; 2],
    /// Where each router takes links, and where its server is.
    ports: [(u16, u16); 2],
    relays: [Relay; 2],
    /// What should be so.
    ways: [Way; 2],
    /// What is.
    crowd: Crowd,
    wrong: usize,
}

impl<'a> Stage<'a> {
    async fn new(folder: &'a Path) -> Outcome<Self> {
        let authority = Authority::new("failover authority")?;
        let resources = folder.join("west");
        std::fs::create_dir_all(&resources)?;
        std::fs::write(resources.join("secret.yaml"), authority.issue("west")?.secret(SECRET))?;
        let (mut routers, mut ports, mut relays) = ([None, None], [(0, 0); 2], Vec::new());
        for site in [FAR, NEAR] {
            let mount = Mount::new(&folder.join(NAMES[site]), &authority.issue(NAMES[site])?)?;
            let server = crowd::serve(ANSWERS[site]).await?;
            let (router, port) = server_site(mount.path(), site, 0, server).await?;
            (routers[site], ports[site]) = (Some(router), (port, server));
            relays.push(Relay::start(port).await?);
            write_link(folder, site, relays[site].port(), COSTS[site])?;
        }
        let relays = relays.try_into().map_err(|_| "there is a relay for each site")?;

        let mut arguments: Vec<OsString> = vec!["--resources".into(), resources.into_os_string()];
        arguments.extend(["--tcp-listener".into(), format!("{KEY}=127.0.0.1:0").into()]);
        arguments.extend(["--admin".into(), "127.0.0.1:0".into()]);
        let mut west = start("west", arguments)?;
        let admin = west.event("admin_up").await?;
        let admin = admin["address"].as_str().ok_or("an admin page has an address")?.parse()?;
        let listener = west.address_of("tcp_listener_up", KEY).await?;
        let ways = COSTS.map(|cost| Way { cost, open: 0, takes_new: true });
        let crowd = Crowd::new(listener);
        let stage = Self { folder, west, admin, routers, ports, relays, ways, crowd, wrong: 0 };
        stage.settled().await?;
        Ok(stage)
    }

    /// Writes a Link document anew, with another cost.
    fn set_cost(&mut self, site: usize, cost: u64) -> Outcome<()> {
        self.ways[site].cost = cost;
        write_link(self.folder, site, self.relays[site].port(), cost)
    }

    fn kill(&mut self, site: usize) {
        self.routers[site] = None;
    }

    async fn start(&mut self, site: usize) -> Outcome<()> {
        let (port, server) = self.ports[site];
        self.routers[site] = Some(server_site(&self.folder.join(NAMES[site]), site, port, server).await?.0);
        Ok(())
    }

    /// Waits until west's router sees what there is: which site takes new connections, and at what cost.
    async fn settled(&self) -> Outcome<()> {
        let is_seen = |candidates: &[Candidate]| {
            [FAR, NEAR].into_iter().all(|site| {
                let found = candidates.iter().find(|candidate| candidate.site == NAMES[site]);
                let way = &self.ways[site];
                found.is_some_and(|found| {
                    found.why_not.is_none() == way.takes_new
                        && found.cost == way.cost
                        && found.open == way.open
                })
            })
        };
        ways::wait_for(self.admin, KEY, is_seen).await?;
        Ok(())
    }

    /// Opens more connections, and compares where they are with what the rule says.
    async fn open(&mut self, what: &str, connections: usize) -> Outcome<()> {
        rule::open(&mut self.ways, connections);
        self.crowd.grow(connections).await?;
        let predicted = self.ways.map(|way| way.open);
        let counted = ANSWERS.map(|answer| self.crowd.count(answer));
        let candidates = ways::wait_for(self.admin, KEY, |_| true).await?;
        let said = [FAR, NEAR].map(|site| candidates.iter().find(|candidate| candidate.site == NAMES[site]));
        let word = |candidate: Option<&Candidate>| match candidate {
            None => "nothing".to_owned(),
            Some(Candidate { open, why_not: Some(why_not), .. }) => format!("{open} {why_not}"),
            Some(Candidate { open, cost, .. }) => format!("{open} + {cost}"),
        };
        let right = predicted == counted && predicted.map(Some) == said.map(|of| of.map(|of| of.open));
        self.wrong += usize::from(!right);
        let [far, near] = said.map(word);
        let columns = |[far, near]: [u64; 2]| format!("{far:>5} {near:>5}");
        let (predicted, counted) = (columns(predicted), columns(counted));
        let verdict = if right { "" } else { "  WRONG" };
        println!("{what:<39}  {predicted}  {counted}    {far:<15}{near}{verdict}");
        Ok(())
    }

    async fn stop(self) -> Outcome<()> {
        drop(self.crowd);
        self.west.stop().await?;
        for router in self.routers.into_iter().flatten() {
            router.stop().await?;
        }
        Ok(())
    }
}

/// Starts the router of a server site: it takes links with a bundle, on a port or on a free one, and serves the key.
async fn server_site(bundle: &Path, site: usize, port: u16, server: u16) -> Outcome<(Router, u16)> {
    let mut arguments: Vec<OsString> = Vec::new();
    arguments.extend(["--listen".into(), format!("inter-router=127.0.0.1:{port}").into()]);
    arguments.extend(["--server-credentials".into(), bundle.as_os_str().to_owned()]);
    arguments.extend(["--tcp-connector".into(), format!("{KEY}=127.0.0.1:{server}").into()]);
    let mut router = start(NAMES[site], arguments)?;
    let access = router.event("access_up").await?;
    let address: SocketAddr = access["address"].as_str().ok_or("an access has an address")?.parse()?;
    Ok((router, address.port()))
}

fn start(name: &'static str, arguments: Vec<OsString>) -> Outcome<Router> {
    let mut command = Router::command(name)?;
    // What goes wrong here is meant to.
    command.args(arguments).env("RUST_LOG", "error");
    Router::start(name, command, |_| {})
}

/// Writes the Link document of a site. It is renamed into its place, so that no reader sees half of it.
fn write_link(folder: &Path, site: usize, port: u16, cost: u64) -> Outcome<()> {
    let document = support::link(NAMES[site], port, SECRET).replace("cost: 1", &format!("cost: {cost}"));
    let written = folder.join("link.yaml");
    std::fs::write(&written, document)?;
    Ok(std::fs::rename(written, folder.join("west").join(format!("{}.yaml", NAMES[site])))?)
}

/// The sites, in the order that decides between equals: that of the names of the links to them.
const FAR: usize = 0;
const NEAR: usize = 1;
const NAMES: [&str; 2] = ["far", "near"];

/// What the links to them cost at first.
const COSTS: [u64; 2] = [3, 1];

/// The same as the head of two columns.
const NAMES_ROW: &str = "  far  near";

/// What their servers answer.
const ANSWERS: [u8; 2] = *b"fn";

/// What both serve.
const KEY: &str = "app";

/// The Secret that west's Links name.
const SECRET: &str = "west-tls";

/// It takes two or three seconds; a machine ten times slower still makes it.
const DEADLINE: Duration = Duration::from_secs(55);
