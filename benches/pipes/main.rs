//! One link over long and fat lines: how soon a stream is at full speed, and how long a small request takes beside bulk.
//!
//! A relay delays and limits every connection; its buffer holds what is on its way and no more. What counts is the ratio
//! to one plain tokio-rustls connection over a line of the same kind, and to the bare round trip.
//!
//! ```text
//! cargo bench --bench pipes                       every line, then fairness over loopback
//! cargo bench --bench pipes -- --quick            the lines that targets are set for
//! cargo bench --bench pipes -- --lines 1000/50    1 Gbit/s at 50 ms
//! cargo bench --bench pipes -- --fairness         fairness alone
//! cargo bench --bench pipes -- --smoke            one short look at each: that it works
//! ```

#![expect(clippy::disallowed_methods, reason = "a benchmark owns its tasks")]

use std::str::FromStr;
use std::time::Duration;

use clap::Parser;

use crate::delay::Line;
use crate::figures::three_digits;
use crate::pki::Pki;
use crate::table::Table;

mod bench;
#[expect(dead_code, reason = "other benches use the rest")]
#[path = "../support/clock.rs"]
mod clock;
#[path = "../support/delay.rs"]
mod delay;
#[path = "../support/end.rs"]
mod end;
mod fairness;
#[expect(dead_code, reason = "other benches use the rest")]
#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/host.rs"]
mod host;
mod line;
#[path = "../support/pki.rs"]
mod pki;
mod subject;
#[path = "../support/table.rs"]
mod table;

/// A link over long and fat lines.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these lines, as Mbit/s and ms of a round trip.
    #[arg(long, value_delimiter = ',')]
    lines: Vec<Kind>,
    /// Only the lines that targets are set for.
    #[arg(long)]
    quick: bool,
    /// Only fairness over loopback.
    #[arg(long)]
    fairness: bool,
    /// Each once and short; the figures say nothing.
    #[arg(long)]
    smoke: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A kind of line.
#[derive(Clone, Copy, Debug)]
struct Kind {
    mbit: u64,
    trip: Duration,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mbit, trip) = text.split_once('/').ok_or("not Mbit/s and ms, as in 1000/50")?;
        let number = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
        Ok(Self { mbit: number(mbit)?, trip: Duration::from_millis(number(trip)?) })
    }
}

impl Kind {
    fn line(self) -> Line {
        Line { one_way: self.trip / 2, bytes_per_second: self.mbit * 125_000 }
    }
}

fn main() {
    let arguments = Arguments::parse();
    let pki = Pki::new();
    if !arguments.fairness {
        lines(&pki, &arguments);
    }
    if arguments.fairness || (!arguments.quick && arguments.lines.is_empty()) {
        fairness::measure(&pki, if arguments.smoke { 1 } else { SECONDS });
    }
}

fn lines(pki: &Pki, arguments: &Arguments) {
    let kind = |mbit, trip| Kind { mbit, trip: Duration::from_millis(trip) };
    let kinds = match arguments {
        Arguments { smoke: true, .. } => vec![kind(100, 10)],
        Arguments { lines, .. } if !lines.is_empty() => lines.clone(),
        Arguments { quick: true, .. } => [50, 100, 300].map(|trip| kind(1000, trip)).to_vec(),
        _ => RATES.into_iter().flat_map(|mbit| TRIPS.map(|trip| kind(mbit, trip))).collect(),
    };
    let mut table = Table::new([
        "line",
        "tls MB/s",
        "sitelink MB/s",
        "ratio",
        "tls at 0.9 after",
        "sitelink at 0.9 after",
        "bare trip ms",
        "beside 64 bulk ms",
        "ratio",
        "64 bulk MB/s",
    ]);
    for kind in kinds {
        let found = line::measure(pki, kind.line(), arguments.smoke);
        let trip = kind.trip.as_secs_f64();
        let trips = |after: Option<f64>| {
            after.map_or_else(|| "never".into(), |after| format!("{:.1} trips", after / trip))
        };
        let row = vec![
            format!("{} Mbit/s, {} ms", kind.mbit, kind.trip.as_millis()),
            three_digits(found.tls.steady / 1e6),
            three_digits(found.sitelink.steady / 1e6),
            three_digits(found.sitelink.steady / found.tls.steady),
            trips(found.tls.time_to(0.9 * found.tls.steady, kind.trip)),
            trips(found.sitelink.time_to(0.9 * found.tls.steady, kind.trip)),
            three_digits(found.bare * 1e3),
            three_digits(found.beside * 1e3),
            three_digits(found.beside / found.bare),
            three_digits(found.crowd / 1e6),
        ];
        println!("{}", row.join("  "));
        table.push(row);
    }
    println!("\n{}", host::describe());
    table.print();
}

/// In Mbit/s.
const RATES: [u64; 3] = [100, 1000, 10_000];

/// Round trips in ms.
const TRIPS: [u64; 5] = [1, 10, 50, 100, 300];

/// How long each look at fairness takes, in seconds.
const SECONDS: u64 = 5;
