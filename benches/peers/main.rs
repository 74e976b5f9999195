//! sitelink beside its peers: plain TCP, tokio-rustls, yamux, h2 and quinn.
//!
//! Loopback, mutual TLS 1.3 with the same provider and suite everywhere, each end on threads of its own, each peer by
//! the calls that are native to it and in the configuration that suits it best. A sample is taken with fresh ends; the
//! peers take turns (A B C A B C …), and what counts are medians and the ratios of samples of the same round.
//!
//! ```text
//! cargo bench --bench peers                                         everything, on both kinds of runtime
//! cargo bench --bench peers -- --quick                              within 3 minutes
//! cargo bench --bench peers -- --rows bulk1,ping --peers tls,sitelink
//! cargo bench --bench peers -- --rows bulk1 --peers sitelink --rounds 1 --seconds 20     for a profiler
//! ```

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, thread};

use clap::{Parser, ValueEnum};
use serde_json::json;

use crate::end::Flavor;
use crate::metric::Metric;
use crate::names::PeerName;
use crate::pki::Pki;
use crate::results::Results;
use crate::row::{Pace, Row};

mod answer;
#[path = "../support/clock.rs"]
mod clock;
#[path = "../support/delay.rs"]
mod delay;
#[path = "../support/end.rs"]
mod end;
#[path = "../support/figures.rs"]
mod figures;
mod h2;
#[path = "../support/host.rs"]
mod host;
mod io_stream;
#[path = "../support/memory.rs"]
mod memory;
mod metric;
mod names;
mod pair;
mod peer;
#[path = "../support/pki.rs"]
mod pki;
mod quinn;
mod results;
mod row;
mod sitelink;
#[path = "../support/table.rs"]
mod table;
mod tcp;
mod tls;
mod yamux;

/// sitelink beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these rows.
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Row>,
    /// Only these peers.
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<PeerName>,
    /// Only this kind of runtime [default: both, with --quick the first].
    #[arg(long, value_enum)]
    runtime: Option<Flavor>,
    /// How often the peers take turns [default: 5, with --quick 3].
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each sample is measured [default: 0.5, over long lines 2].
    #[arg(long)]
    seconds: Option<f64>,
    /// Ends within 3 minutes.
    #[arg(long)]
    quick: bool,
    /// Each row once, just long enough to see that it works; the figures say nothing.
    #[arg(long)]
    smoke: bool,
    /// Where all samples are written [default: peers.json in the target folder].
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measures the memory of that peer's streams and prints it: what the memory row runs for each sample.
    #[arg(long, hide = true)]
    child: Option<PeerName>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let (pki, pace) = (Pki::new(), arguments.pace());
    if let Some(peer) = arguments.child {
        let flavor = arguments.runtime.unwrap_or(Flavor::Current);
        for (_, sample) in peer.measure(Row::Memory, &pki, flavor, &pace) {
            println!("{}", sample.unwrap_or(f64::NAN));
        }
        return;
    }
    let all: Vec<Results> =
        arguments.flavors().iter().map(|flavor| arguments.run(&pki, *flavor, &pace)).collect();
    let path = arguments.json.clone().unwrap_or_else(json_path);
    let runs: Vec<_> = all.iter().map(Results::json).collect();
    let written = json!({
        "processors": thread::available_parallelism().map_or(0, usize::from),
        "rounds": arguments.rounds(),
        "seconds": pace.window.as_secs_f64(),
        "runs": runs,
    });
    fs::write(&path, format!("{written:#}\n")).expect("the folder can be written to");
    println!("\nall samples: {}", path.display());
}

impl Arguments {
    fn run(&self, pki: &Pki, flavor: Flavor, pace: &Pace) -> Results {
        let mut results = Results::new(flavor);
        for row in self.rows() {
            // Memory is no matter of chance.
            let rounds = if row == Row::Memory && (self.quick || self.smoke) { 1 } else { self.rounds() };
            for round in 1..=rounds {
                for peer in self.peers(row) {
                    eprint!("\r\x1b[K{row:?} {round}/{rounds} {}", peer.label());
                    let samples = match row {
                        Row::Memory => vec![(Metric::Memory, self.memory_of(peer, flavor))],
                        _ => peer.measure(row, pki, flavor, pace),
                    };
                    results.add(peer, samples);
                }
            }
        }
        eprint!("\r\x1b[K");
        results.print();
        results
    }

    /// Memory is measured in a process that did nothing before.
    fn memory_of(&self, peer: PeerName, flavor: Flavor) -> Option<f64> {
        let mut child = Command::new(env::current_exe().expect("it is running"));
        let name = |value: clap::builder::PossibleValue| value.get_name().to_owned();
        child.args(["--child", &peer.to_possible_value().map(name)?]);
        child.args(["--runtime", &flavor.to_possible_value().map(name)?]);
        if self.smoke {
            child.arg("--smoke");
        }
        let output = child.output().expect("it can be run again");
        let text = String::from_utf8_lossy(&output.stdout);
        let bytes = text.trim().parse().ok();
        if bytes.is_none() {
            eprintln!("\nmemory of {}: {}", peer.label(), String::from_utf8_lossy(&output.stderr));
        }
        bytes
    }

    fn rows(&self) -> Vec<Row> {
        if self.rows.is_empty() { Row::value_variants().to_vec() } else { self.rows.clone() }
    }

    fn peers(&self, row: Row) -> Vec<PeerName> {
        let brief = (self.quick || self.smoke) && matches!(row, Row::Wan1 | Row::Wan10);
        let wanted = |peer: &PeerName| match (self.peers.is_empty(), brief) {
            (true, true) => matches!(peer, PeerName::Tls | PeerName::Sitelink),
            (true, false) => true,
            (false, _) => self.peers.contains(peer),
        };
        PeerName::ALL.into_iter().filter(|peer| peer.is_in(row)).filter(wanted).collect()
    }

    fn rounds(&self) -> usize {
        match (self.rounds, self.smoke, self.quick) {
            (Some(rounds), ..) => rounds.max(1),
            (None, true, _) => 1,
            (None, false, true) => 3,
            (None, false, false) => 5,
        }
    }

    fn flavors(&self) -> Vec<Flavor> {
        match self.runtime {
            Some(flavor) => vec![flavor],
            None if self.quick || self.smoke => vec![Flavor::Current],
            None => vec![Flavor::Current, Flavor::Multi],
        }
    }

    fn pace(&self) -> Pace {
        let (warm_up, window, wan_warm_up, wan_window, idle_streams) = match (self.smoke, self.quick) {
            (true, _) => (50, 50, 300, 200, 1000),
            (false, true) => (200, 300, 1500, 700, 10_000),
            (false, false) => (300, 500, 2000, 2000, 10_000),
        };
        let millis = Duration::from_millis;
        let (mut window, mut wan_window) = (millis(window), millis(wan_window));
        if let Some(seconds) = self.seconds {
            window = Duration::from_secs_f64(seconds.clamp(0.01, 3600.0));
            wan_window = window;
        }
        Pace { warm_up: millis(warm_up), window, wan_warm_up: millis(wan_warm_up), wan_window, idle_streams }
    }
}

/// Beside cargo's own output.
fn json_path() -> PathBuf {
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    // Run by hand there may be no such folder.
    if folder.is_dir() { folder.join("peers.json") } else { env::temp_dir().join("peers.json") }
}
