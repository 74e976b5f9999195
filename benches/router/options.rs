//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::systems::System;

/// The router example beside direct TCP and HAProxy.
#[derive(Debug, Parser)]
#[command(name = "router")]
pub(crate) struct Options {
    /// Fewer and shorter rounds: two minutes
    #[arg(long)]
    pub(crate) quick: bool,
    /// One very short round, to see that everything runs: the figures say nothing
    #[arg(long, alias = "test")]
    pub(crate) smoke: bool,
    /// Rounds of each row
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only these rows
    #[arg(long, value_delimiter = ',', value_enum)]
    rows: Vec<Row>,
    /// Only these systems
    #[arg(long, value_delimiter = ',', value_enum)]
    systems: Vec<System>,
    /// Writes every sample to a file
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,
    /// This build of the router instead of the one that cargo makes
    #[arg(long, value_name = "PATH")]
    pub(crate) router: Option<PathBuf>,
    /// Another build of the router, measured in the same rounds
    #[arg(long, value_name = "PATH")]
    pub(crate) other: Option<PathBuf>,
    /// Threads of each router [default: the router's own]
    #[arg(long, value_name = "N")]
    pub(crate) router_threads: Option<u16>,
    /// Threads of each HAProxy
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) haproxy_threads: u16,
    /// Size of HAProxy's buffers
    #[arg(long, value_name = "BYTES", default_value_t = 16_384)]
    pub(crate) haproxy_buffer: u32,
    /// What this process is, when the bench started it
    #[arg(long, hide = true, value_enum)]
    pub(crate) child: Option<Child>,
    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the load.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Child {
    Client,
    Server,
}

/// What is measured. Up is from the client to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    #[value(name = "bulk-1-up")]
    Bulk1Up,
    #[value(name = "bulk-1-down")]
    Bulk1Down,
    #[value(name = "bulk-64-up")]
    Bulk64Up,
    #[value(name = "bulk-64-down")]
    Bulk64Down,
    Ping,
    PingBeside,
    Opens,
    Idle,
}

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// What is measured in one go.
    pub(crate) window: Duration,
    /// How long bulk runs before it is measured.
    pub(crate) warm_up: Duration,
    /// Connections held idle.
    pub(crate) idle: usize,
    /// How long memory may take to settle.
    pub(crate) rest: Duration,
}

impl Options {
    /// What is measured.
    pub(crate) fn rows(&self) -> Vec<Row> {
        if self.rows.is_empty() { Row::value_variants().to_vec() } else { self.rows.clone() }
    }

    /// In which systems, as far as they are there.
    pub(crate) fn systems(&self) -> Vec<System> {
        if self.systems.is_empty() { System::value_variants().to_vec() } else { self.systems.clone() }
    }

    /// How often a row is measured. Memory hardly varies.
    pub(crate) fn rounds(&self, row: Row) -> usize {
        let usual = match (self.smoke, self.quick) {
            (true, _) => 1,
            (_, true) if row == Row::Idle => 1,
            (_, true) => 3,
            _ if row == Row::Idle => 3,
            _ => 9,
        };
        self.rounds.unwrap_or(usual)
    }

    /// How long and how much.
    pub(crate) fn pace(&self) -> Pace {
        let pace = |window, warm_up, idle, rest| Pace {
            window: Duration::from_millis(window),
            warm_up: Duration::from_millis(warm_up),
            idle,
            rest: Duration::from_millis(rest),
        };
        match (self.smoke, self.quick) {
            (true, _) => pace(100, 50, 200, 200),
            (_, true) => pace(700, 300, 5000, 2000),
            _ => pace(1500, 500, 5000, 3000),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As it is asked for.
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}
