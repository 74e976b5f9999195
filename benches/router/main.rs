//! The router, whole: client, router, mutual-TLS link, router and server, five processes on the same processors.
//!
//! `cargo bench --bench router` measures the `router` example beside a direct TCP connection and, where it is
//! installed, beside HAProxy in the same place: two processes with mutual TLS 1.3 of the same cipher suite between
//! them, one TLS connection for each of the client's. Every round measures one system after the other, so that what
//! else the machine does falls on all of them. Medians, the ratio to HAProxy as the median of the rounds' ratios.
//!
//! The load is this program again: `--child client` and `--child server`. Linux only: it reads `/proc`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::options::{Child, Options};
use self::report::Report;
use self::rows::Bench;
use self::systems::{Files, System};

mod client;
#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/host.rs"]
mod host;
mod load;
mod options;
mod process;
mod report;
mod rows;
mod server;
#[path = "../../examples/support/mod.rs"]
#[expect(dead_code, reason = "the examples use the rest")]
mod support;
mod systems;
#[path = "../support/table.rs"]
mod table;

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match options.child {
        Some(Child::Client) => client::main(),
        Some(Child::Server) => server::main(),
        None => run(&options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("router bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> support::Outcome<()> {
    let descriptors = raise_descriptors();
    let router = match &options.router {
        Some(router) => router.clone(),
        None => built_router()?,
    };
    let files = Files::new(router, options)?;
    let systems: Vec<System> =
        options.systems().into_iter().filter(|system| system.is_there(&files)).collect();
    let mut bench = Bench::start(&files, &systems, options.pace(), descriptors)?;
    let mut report = Report::new(&systems);
    for row in options.rows() {
        for round in 0..options.rounds(row) {
            eprintln!("{row}: round {} of {}", round + 1, options.rounds(row));
            // Each is first in its turn, and each comes after another: whoever follows the same one every time has its caches.
            for system in systems.iter().cycle().skip(round).take(systems.len()) {
                match bench.measure(row, *system) {
                    Ok(figures) => report.take(*system, figures),
                    Err(error) => eprintln!("{row}: {system}: {error}"),
                }
            }
            report.end_round(row);
        }
    }
    println!("\n{}", host::describe());
    report.print();
    match &options.json {
        Some(path) => report.write(path, options.pace()),
        None => Ok(()),
    }
}

/// Lets this process and its children have as many descriptors as the system allows; returns how many.
fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("router bench: the limit of descriptors stays as it is: {error}");
    }
    getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX))
}

/// The release build of the example, beside this program; cargo brings it up to date.
fn built_router() -> support::Outcome<PathBuf> {
    let bench = std::env::current_exe()?;
    // <target>/release/deps/router-<hash>
    let profile = bench.parent().and_then(Path::parent).ok_or("this program is not in a target folder")?;
    let target = profile.parent().ok_or("this program is not in a target folder")?;
    let router = target.join("release/examples/router");
    let build = ["build", "--release", "--example", "router", "--quiet", "--target-dir"];
    match std::env::var_os("CARGO") {
        Some(cargo) => {
            let status = Command::new(cargo).args(build).arg(target).status()?;
            if !status.success() {
                return Err("`cargo build --release --example router` failed".into());
            }
        }
        None if router.exists() => {}
        None => return Err("no router: `cargo build --release --example router` makes it".into()),
    }
    Ok(router)
}
