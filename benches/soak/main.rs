//! Mixed load for a long time, carriers cut again and again: every byte arrives, no stream is lost, memory stays flat.
//!
//! ```text
//! cargo bench --bench soak -- --seconds 600
//! cargo bench --bench soak -- --smoke                    12 seconds, for CI
//! ```
//!
//! Two planes on threads of their own and a relay between them, which resets all connections every 10 seconds. Over the
//! link go bulk both ways, requests, streams that are opened and dropped, and streams whose readers stall until their
//! writers give up. Every byte is held against what was sent. Resident memory is sampled every second; a line is laid
//! through the samples after the first minute, and its slope is the figure. The exit status says whether everything
//! held.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Parser;
use sitelink::PlaneConfig;
use tokio::runtime::Handle;

use crate::end::{End, Flavor};
use crate::load::Counts;
use crate::pki::Pki;
use crate::relay::Relay;
use crate::trend::Trend;

mod answer;
#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../support/clock.rs"]
mod clock;
#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../support/end.rs"]
mod end;
mod load;
#[path = "../support/memory.rs"]
mod memory;
#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../support/pki.rs"]
mod pki;
#[path = "../support/planes.rs"]
mod planes;
mod relay;
mod text;
mod trend;

/// Mixed load for a long time.
#[derive(Clone, Copy, Debug, Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Seconds at the beginning that the trend leaves out.
    #[arg(long, default_value_t = 60)]
    warm_up: u64,
    /// Seconds from one cut of all carriers to the next.
    #[arg(long, default_value_t = 10)]
    cut_every: u64,
    /// Bulk each way, in MB/s.
    #[arg(long, default_value_t = 300)]
    megabytes: u64,
    /// Prints every sample as `second<TAB>KiB`.
    #[arg(long)]
    samples: bool,
    /// 12 seconds, a cut every 3, and memory not judged: that it runs, and that nothing is lost.
    #[arg(long)]
    smoke: bool,
    /// As `smoke`; given by CI to every benchmark.
    #[arg(long, hide = true)]
    test: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let smoke = arguments.smoke || arguments.test;
    if smoke {
        arguments.seconds = 12;
        arguments.warm_up = 4;
        arguments.cut_every = 3;
        arguments.megabytes = 50;
    }
    let counts = Arc::new(Counts::default());
    let (west, east) = (End::start("west", Flavor::Current), End::start("east", Flavor::Current));
    let relay = begin(&west, &east, &counts, arguments.megabytes);
    let samples = watch(arguments, &relay, &counts);
    let stopped = counts.stop();
    let Some(trend) =
        Trend::of(&samples[samples.len().min(usize::try_from(arguments.warm_up).unwrap_or(0))..])
    else {
        println!("too few samples after the first {} s for a trend", arguments.warm_up);
        return ExitCode::FAILURE;
    };
    println!("{stopped}");
    println!(
        "resident memory after the first {} s: {:.1} MB at its middle, slope {:+.2} % per minute, target below {MOST_SLOPE} %",
        arguments.warm_up,
        trend.middle / 1e6,
        trend.percent_per_minute()
    );
    let flat = smoke || trend.percent_per_minute() < MOST_SLOPE;
    if !flat {
        println!("MISSED: memory grows");
    }
    if flat && stopped.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Starts both planes, the relay between them, and the load.
fn begin(west: &End, east: &End, counts: &Arc<Counts>, megabytes: u64) -> Relay {
    let pki = Pki::new();
    let theirs = pki.clone();
    let to = east.wait(PATIENCE, async move {
        let (plane, access) = planes::listen(&theirs, PlaneConfig::default()).await;
        let to = access.address();
        Handle::current().spawn(async move {
            let _access = access;
            answer::all(plane).await;
        });
        to
    });
    let to = to.expect("a free port is found at once");
    let relay = west.wait(PATIENCE, Relay::start(to)).expect("a free port is found at once");
    let (through, counts) = (relay.address(), Arc::clone(counts));
    west.handle().spawn(async move {
        let plane = planes::dial(&pki, PlaneConfig::default(), through).await;
        load::run(plane, counts, megabytes).await;
    });
    relay
}

/// Lets time pass: a sample of resident memory every second, a cut now and then.
fn watch(arguments: Arguments, relay: &Relay, counts: &Counts) -> Vec<f64> {
    let began = clock::now();
    let mut samples = Vec::new();
    for second in 1..=arguments.seconds {
        thread::sleep((began + Duration::from_secs(second)).saturating_duration_since(clock::now()));
        let resident = memory::resident_bytes();
        samples.push(as_float(resident));
        if arguments.samples {
            println!("{second}\t{}", resident >> 10);
        } else if second % 10 == 0 {
            println!("{second:>5} s  {:>7.1} MB  {counts}", as_float(resident) / 1e6);
        }
        if second % arguments.cut_every == 0 && second < arguments.seconds {
            relay.cut();
        }
    }
    samples
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one process")]
fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

/// Per cent of resident memory in a minute.
const MOST_SLOPE: f64 = 1.0;

/// How long anything may take that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
