//! What was measured, as a table and as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use serde_json::json;

use crate::figures::{median, paired_ratio, three_digits};
use crate::options::{Pace, Row};
use crate::rows::{Figure, Figures};
use crate::support::Outcome;
use crate::systems::System;
use crate::table::Table;

/// Samples of each figure in each system, one for a round.
#[derive(Debug)]
pub(crate) struct Report {
    systems: Vec<System>,
    samples: BTreeMap<Figure, BTreeMap<System, Vec<Option<f64>>>>,
}

/// What a figure must reach.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// At least so many times HAProxy's.
    TimesHaproxy(f64),
    /// No more than HAProxy's, within [`BAND`].
    AsHaproxy,
    /// Nothing: it tells how the others came about.
    Untargeted,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(systems: &[System]) -> Self {
        Self { systems: systems.to_vec(), samples: BTreeMap::new() }
    }

    /// Takes what one round measured in a system.
    pub(crate) fn take(&mut self, system: System, figures: Figures) {
        for (figure, value) in figures {
            self.samples.entry(figure).or_default().entry(system).or_default().push(Some(value));
        }
    }

    /// Fills up what a system did not measure in this round, so that rounds stay comparable.
    pub(crate) fn end_round(&mut self, row: Row) {
        for (_, of_systems) in self.samples.iter_mut().filter(|(figure, _)| figure.row() == row) {
            let rounds = of_systems.values().map(Vec::len).max().unwrap_or(0);
            for system in &self.systems {
                of_systems.entry(*system).or_default().resize(rounds, None);
            }
        }
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        let systems = self.systems.iter().map(ToString::to_string);
        let columns = ["what".to_owned()].into_iter().chain(systems);
        let mut table = Table::new(columns.chain(["× haproxy", "target", "met"].map(str::to_owned)));
        for figure in self.samples.keys() {
            let mut cells = vec![figure.name().to_owned()];
            let value = |system| self.median(*figure, system).map_or_else(|| "n/a".to_owned(), three_digits);
            cells.extend(self.systems.iter().map(|system| value(*system)));
            let ratio = self.ratio(*figure);
            cells.push(ratio.map_or_else(|| "n/a".to_owned(), three_digits));
            cells.push(figure.target().to_string());
            cells.push(self.met(*figure).map_or("", |met| if met { "yes" } else { "no" }).to_owned());
            table.push(cells);
        }
        println!();
        table.print();
    }

    /// Writes every sample.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path, pace: Pace) -> Outcome<()> {
        let figures: Vec<_> = self
            .samples
            .iter()
            .map(|(figure, of_systems)| {
                let samples: BTreeMap<String, _> =
                    of_systems.iter().map(|(system, samples)| (system.to_string(), samples)).collect();
                let medians: BTreeMap<String, _> = of_systems
                    .keys()
                    .map(|system| (system.to_string(), self.median(*figure, *system)))
                    .collect();
                json!({
                    "figure": figure.name(),
                    "row": figure.row().to_string(),
                    "samples": samples,
                    "medians": medians,
                    "ratio_to_haproxy": self.ratio(*figure),
                    "target": figure.target().to_string(),
                    "met": self.met(*figure),
                })
            })
            .collect();
        let report = json!({
            "bench": "router",
            "processors": available_parallelism().map_or(0, usize::from),
            "window_seconds": pace.window.as_secs_f64(),
            "idle_connections": pace.idle,
            "figures": figures,
        });
        fs::write(path, format!("{report:#}\n"))?;
        Ok(())
    }

    fn of(&self, figure: Figure, system: System) -> &[Option<f64>] {
        self.samples.get(&figure).and_then(|of_systems| of_systems.get(&system)).map_or(&[], Vec::as_slice)
    }

    fn median(&self, figure: Figure, system: System) -> Option<f64> {
        median(&self.of(figure, system).iter().copied().flatten().collect::<Vec<_>>())
    }

    fn ratio(&self, figure: Figure) -> Option<f64> {
        paired_ratio(self.of(figure, System::Sitelink), self.of(figure, System::Haproxy))
    }

    /// Whether the target is met, as far as that can be said.
    fn met(&self, figure: Figure) -> Option<bool> {
        let ours = self.median(figure, System::Sitelink)?;
        match figure.target() {
            Target::AtLeast(least) => Some(ours >= least),
            Target::AtMost(most) => Some(ours <= most),
            Target::TimesHaproxy(times) => Some(self.ratio(figure)? >= times),
            Target::AsHaproxy => Some(self.ratio(figure)? <= 1.0 + BAND),
            Target::Untargeted => None,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::TimesHaproxy(times) => write!(f, "≥ {times} × haproxy"),
            Self::AsHaproxy => write!(f, "≤ haproxy"),
            Self::Untargeted => Ok(()),
        }
    }
}

impl Figure {
    /// What it is, with its unit. Up is from the client to the server.
    fn name(self) -> &'static str {
        match self {
            Self::Bulk1Up => "bulk, 1 connection up, GB/s",
            Self::Bulk1Down => "bulk, 1 connection down, GB/s",
            Self::Processor1Up => "CPU of both routers, 1 connection up, s/GB",
            Self::Processor1Down => "CPU of both routers, 1 connection down, s/GB",
            Self::Bulk64Up => "bulk, 64 connections up, GB/s",
            Self::Bulk64Down => "bulk, 64 connections down, GB/s",
            Self::Ping50 => "ping-pong 100 B, p50, µs",
            Self::Ping99 => "ping-pong 100 B, p99, µs",
            Self::Beside50 => "the same beside 8 bulk uploads, p50, µs",
            Self::Beside99 => "the same beside 8 bulk uploads, p99, µs",
            Self::BesideBulk => "these uploads, GB/s",
            Self::Opens => "open + 100 B echo + close, 32 at a time, k/s",
            Self::IdleNear => "memory per idle connection, client's router, KiB",
            Self::IdleFar => "memory per idle connection, server's router, KiB",
            Self::KeptNear => "kept of it after closing, client's router, %",
            Self::KeptFar => "kept of it after closing, server's router, %",
        }
    }

    fn row(self) -> Row {
        match self {
            Self::Bulk1Up | Self::Processor1Up => Row::Bulk1Up,
            Self::Bulk1Down | Self::Processor1Down => Row::Bulk1Down,
            Self::Bulk64Up => Row::Bulk64Up,
            Self::Bulk64Down => Row::Bulk64Down,
            Self::Ping50 | Self::Ping99 => Row::Ping,
            Self::Beside50 | Self::Beside99 | Self::BesideBulk => Row::PingBeside,
            Self::Opens => Row::Opens,
            Self::IdleNear | Self::IdleFar | Self::KeptNear | Self::KeptFar => Row::Idle,
        }
    }

    fn target(self) -> Target {
        match self {
            Self::Bulk1Up | Self::Bulk1Down | Self::Bulk64Up | Self::Bulk64Down => Target::TimesHaproxy(1.3),
            Self::Processor1Up | Self::Processor1Down => Target::AtMost(1.1),
            Self::Ping50 | Self::Ping99 => Target::AsHaproxy,
            Self::Beside50 => Target::AtMost(200.0),
            Self::Beside99 => Target::AtMost(2000.0),
            Self::BesideBulk => Target::Untargeted,
            // Three times what skupper-router 3.5.1 did on the machine that the targets were set on.
            Self::Opens => Target::AtLeast(11.1),
            Self::IdleNear | Self::IdleFar => Target::AtMost(12.0),
            // Given back: a quarter may stay, for tables that have grown and with the allocator.
            Self::KeptNear | Self::KeptFar => Target::AtMost(25.0),
        }
    }
}

/// Within this share two figures are the same: runs on a quiet machine differ by as much.
const BAND: f64 = 0.05;
