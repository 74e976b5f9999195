//! Whether cost grows with numbers: memory per idle stream, speed with 10,000 of them beside, and speed over two carriers
//! in place of one.
//!
//! ```text
//! cargo bench --bench scale                              10,000 beside, then 100,000 reported
//! cargo bench --bench scale -- --rounds 9 --seconds 2
//! cargo bench --bench scale -- --idle 10000 --only memory
//! cargo bench --bench scale -- --only carriers --carriers 4
//! ```
//!
//! Loopback, mutual TLS 1.3, each end a current-thread runtime on a thread of its own. Speed is measured in turns on two
//! pairs of ends, one with idle streams (or more carriers) and one without, and what counts is the median ratio of samples of the same
//! round. Memory is that of a process of its own per figure, both ends together, handles of the application included.
//! An idle stream has carried a byte each way. The exit status says whether the targets hold.

use std::env;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use sitelink::config::Carriers;

use crate::ends::Ends;
use crate::pki::Pki;

#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../support/clock.rs"]
mod clock;
#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../support/end.rs"]
mod end;
mod ends;
#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/memory.rs"]
mod memory;
#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../support/pki.rs"]
mod pki;
#[path = "../support/planes.rs"]
mod planes;
#[path = "../support/table.rs"]
mod table;

/// Cost as streams grow in number.
#[derive(Debug, Parser)]
struct Arguments {
    /// Idle streams beside.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Idle streams of the large run, of which figures are reported and nothing is asked; 0 leaves it out.
    #[arg(long, default_value_t = 100_000)]
    large: usize,
    /// Carriers that are compared with one.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=8))]
    carriers: u8,
    /// Paired rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each sample.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// What is measured; everything by default.
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// In a process of its own: opens so many idle streams, prints what they weigh, and ends.
    #[arg(long, hide = true)]
    weigh: Option<usize>,
    /// Whether it runs is all that is wanted.
    #[arg(long, hide = true)]
    test: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Bulk and opens over several carriers.
    Carriers,
    /// Memory per idle stream.
    Memory,
    /// Bulk and opens beside idle streams.
    Speed,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.test {
        arguments.idle = 200;
        arguments.large = 0;
        arguments.rounds = 1;
        arguments.seconds = 0.1;
    }
    let window = Duration::from_secs_f64(arguments.seconds);
    if let Some(count) = arguments.weigh {
        weigh(count, window);
        return ExitCode::SUCCESS;
    }
    let mut held = true;
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    if wanted(Only::Memory) {
        let weight = weigh_apart(arguments.idle, arguments.seconds);
        if arguments.large > 0 {
            weigh_apart(arguments.large, arguments.seconds);
        }
        held &= arguments.test
            || told("bytes per idle stream", weight, weight <= MOST_BYTES, "at most", MOST_BYTES);
    }
    let (rounds, pki) = (arguments.rounds, Pki::new());
    if wanted(Only::Speed) {
        let (with, without) = (Ends::start(&pki, arguments.idle, usual()), Ends::start(&pki, 0, usual()));
        let _streams = with.idle(arguments.idle);
        println!("{} idle streams beside:", arguments.idle);
        let measures = [ONE_STREAM, OPENS];
        for (what, ratio) in compare(&measures, ("with", &with), ("without", &without), rounds, window) {
            held &= arguments.test || told(what, ratio, ratio >= LEAST_RATIO, "at least", LEAST_RATIO);
        }
    }
    if wanted(Only::Carriers) {
        let many = usize::from(arguments.carriers);
        let (several, one) = (Ends::start(&pki, 0, many), Ends::start(&pki, 0, 1));
        println!("{many} carriers in place of one:");
        let measures = [ONE_STREAM, STREAMS, OPENS];
        for (what, ratio) in compare(&measures, ("several", &several), ("one", &one), rounds, window) {
            held &= arguments.test || told(what, ratio, ratio >= LEAST_OF_ONE, "at least", LEAST_OF_ONE);
        }
    }
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Carriers as every link has them.
fn usual() -> usize {
    Carriers::default().0
}

/// Says whether a target holds.
fn told(what: &str, found: f64, holds: bool, bound: &str, target: f64) -> bool {
    println!("{what}: {found:.2}, {bound} {target}: {}", if holds { "holds" } else { "MISSED" });
    holds
}

/// Weighs idle streams in a process of its own; returns bytes for each.
fn weigh_apart(count: usize, seconds: f64) -> f64 {
    let program = env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .args(["--weigh", &count.to_string(), "--seconds", &seconds.to_string()])
        .output()
        .expect("this program runs once more");
    let said = String::from_utf8(output.stdout).expect("it writes text");
    assert!(output.status.success(), "weighing {count}: {said}{}", String::from_utf8_lossy(&output.stderr));
    print!("{said}");
    let last = said.lines().last().and_then(|line| line.rsplit(' ').next()).expect("the weight comes last");
    last.parse().expect("the weight is a number")
}

/// Opens idle streams and says what that costs.
fn weigh(count: usize, window: Duration) {
    let ends = Ends::start(&Pki::new(), count, usual());
    // What is made once is made before: windows, buffers, pages that the allocator keeps.
    ends.let_go(ends.idle(WARM));
    ends.bulk_rate(1, window);
    let (before, began) = (memory::resident_bytes(), clock::now());
    let streams = ends.idle(count);
    let took = clock::now() - began;
    let weight = as_float(memory::resident_bytes().saturating_sub(before)) / count_of(count);
    println!(
        "{count} idle streams opened in {:.2} s, {:.0} a second",
        took.as_secs_f64(),
        count_of(count) / took.as_secs_f64()
    );
    println!("{count} idle streams: bulk beside {:.2} GB/s", ends.bulk_rate(1, window) / 1e9);
    let began = clock::now();
    ends.let_go(streams);
    let left = as_float(memory::resident_bytes().saturating_sub(before)) / count_of(count);
    println!(
        "{count} idle streams closed in {:.2} s, bytes left of each {left:.0}",
        (clock::now() - began).as_secs_f64()
    );
    println!("{count} idle streams, both ends, bytes of each: {weight:.0}");
}

/// What is measured: its name, its unit, and how.
type Measure = (&'static str, f64, fn(&Ends, Duration) -> f64);

/// Measures everything in turns on two pairs of ends, and prints a table. Returns the ratio of each.
fn compare(
    measures: &[Measure],
    (our_name, ours): (&'static str, &Ends),
    (their_name, theirs): (&'static str, &Ends),
    rounds: usize,
    window: Duration,
) -> Vec<(&'static str, f64)> {
    let mut samples = vec![(Vec::new(), Vec::new()); measures.len()];
    for round in 0..=rounds {
        for (kept, (.., measure)) in samples.iter_mut().zip(measures) {
            let (our, their) = in_turns(round, || measure(ours, window), || measure(theirs, window));
            // The first round warms up.
            if round > 0 {
                kept.0.push(Some(our));
                kept.1.push(Some(their));
            }
        }
    }
    let mut table = table::Table::new(["what", our_name, their_name, "ratio", "rounds"]);
    let mut ratios = Vec::new();
    for ((name, unit, _), (ours, theirs)) in measures.iter().zip(&samples) {
        let ratio = figures::paired_ratio(ours, theirs).expect("there is a round");
        let middle = |samples: &[Option<f64>]| {
            let samples: Vec<f64> = samples.iter().flatten().map(|sample| sample / unit).collect();
            figures::three_digits(figures::median(&samples).expect("there is a round"))
        };
        let rounds = ours.len().to_string();
        table.push(vec![(*name).into(), middle(ours), middle(theirs), format!("{ratio:.2}"), rounds]);
        ratios.push((*name, ratio));
    }
    table.print();
    ratios
}

/// Both, now one first and now the other.
fn in_turns(round: usize, ours: impl Fn() -> f64, theirs: impl Fn() -> f64) -> (f64, f64) {
    if round.is_multiple_of(2) {
        let ours = ours();
        return (ours, theirs());
    }
    let theirs = theirs();
    (ours(), theirs)
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one process")]
fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(clippy::cast_precision_loss, reason = "a count of streams")]
fn count_of(streams: usize) -> f64 {
    streams as f64
}

/// Both ends together.
const MOST_BYTES: f64 = 1024.0;

/// One stream as fast as it goes.
const ONE_STREAM: Measure = ("bulk, 1 stream, GB/s", 1e9, |ends, window| ends.bulk_rate(1, window));

/// Some, which several carriers share.
const STREAMS: Measure = ("bulk, 16 streams, GB/s", 1e9, |ends, window| ends.bulk_rate(16, window));

/// Streams that are opened for one small message there and back.
const OPENS: Measure =
    ("open + 100 B echo + close, 32 at a time, 1000/s", 1e3, |ends, window| ends.open_rate(window));

/// Over several carriers, of over one.
const LEAST_OF_ONE: f64 = 0.95;

/// With idle streams, of without.
const LEAST_RATIO: f64 = 0.9;

/// Streams opened and closed before anything is weighed.
const WARM: usize = 500;
