//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use sitelink::{LinkRole, RouterRole, RoutingKey};

use super::Keyed;

/// A small site-to-site router.
#[derive(Debug, Parser)]
#[command(
    name = "router",
    version,
    after_help = "`router status --admin ADDR` shows what a running router is at."
)]
pub(super) struct Args {
    /// Name of the site, for people
    #[arg(long, value_name = "NAME")]
    pub site: String,
    /// Id of the site, unique in the network [default: its name]
    #[arg(long, value_name = "ID")]
    pub site_id: Option<String>,
    /// Name of this router within the site
    #[arg(long, value_name = "ROUTER")]
    pub name: Option<String>,
    /// What this router is in the network
    #[arg(long, value_name = "ROLE", value_parser = role, default_value = "interior")]
    pub role: RouterRole,
    /// File or folder of Link and Secret documents, followed as they change
    #[arg(long, value_name = "PATH")]
    pub resources: Vec<PathBuf>,
    /// Folder of bundle folders (<name>/{ca.crt,tls.crt,tls.key}) for links without a Secret, watched
    #[arg(long, value_name = "DIR", requires = "resources")]
    pub credentials: Option<PathBuf>,
    /// Take links: inter-router=ADDR or edge=ADDR; port 0 takes a free one
    #[arg(long, value_name = "ROLE=ADDR", value_parser = listen)]
    pub listen: Vec<Listen>,
    /// To take links with: a bundle folder, followed as it changes, or a file with a TLS Secret, read once
    #[arg(long, value_name = "PATH", requires = "listen")]
    pub server_credentials: Option<PathBuf>,
    /// Carry each TCP connection to ADDR to a site that serves KEY
    #[arg(long, value_name = "KEY=ADDR", value_parser = keyed_bind)]
    pub tcp_listener: Vec<Keyed>,
    /// Serve KEY by TCP connections to ADDR
    #[arg(long, value_name = "KEY=ADDR", value_parser = keyed)]
    pub tcp_connector: Vec<Keyed>,
    /// Answer GET /status and GET /healthz on this address; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Let --admin be an address that others than this host can reach; there is no password
    #[arg(long, requires = "admin")]
    pub admin_public: bool,
    /// Over how many connections the session of a link runs, 1 to 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8), default_value = "2")]
    pub carriers: u8,
    /// Threads that carry connections [default: one for every two processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// How events are written to standard output
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub events: Format,
}

/// How events are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line.
    Json,
    /// One readable line each.
    Text,
}

/// One `--listen`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listen {
    pub role: LinkRole,
    pub address: SocketAddr,
}

fn role(text: &str) -> Result<RouterRole, String> {
    match text {
        "interior" => Ok(RouterRole::Interior),
        "edge" => Ok(RouterRole::Edge),
        _ => Err("must be interior or edge".to_owned()),
    }
}

fn listen(text: &str) -> Result<Listen, String> {
    let (role, address) = text.split_once('=').ok_or("must be ROLE=ADDR")?;
    let role = role.parse().map_err(|error| format!("{error}"))?;
    let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    Ok(Listen { role, address })
}

fn keyed(text: &str) -> Result<Keyed, String> {
    // A key may hold '='; an address does not.
    let (key, address) = text.rsplit_once('=').ok_or("must be KEY=ADDR")?;
    let key = RoutingKey::new(key).map_err(|error| error.to_string())?;
    let port =
        address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        return Err(format!("{address:?} is not HOST:PORT"));
    }
    Ok(Keyed { key, address: address.to_owned() })
}

/// As [`keyed`], with an address to listen on, which is not looked up.
fn keyed_bind(text: &str) -> Result<Keyed, String> {
    let keyed = keyed(text)?;
    match keyed.address.parse::<SocketAddr>() {
        Ok(_) => Ok(keyed),
        Err(_) => Err(format!("{:?} is not IP:PORT", keyed.address)),
    }
}
