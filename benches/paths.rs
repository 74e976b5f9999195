//! Choosing the path of a new stream among many sessions that serve many keys.
//!
//! ```text
//! cargo bench --bench paths                    128 sessions, 10,000 keys
//! cargo bench --bench paths -- --sessions 1024 --keys 1000
//! ```
//!
//! Measured is what opening a stream does: take the lock, choose, count. Each choice is timed by itself, reading the clock
//! included; the keys are drawn at random, so that nothing of one is in a cache when its turn comes. Under threads all
//! streams go to few keys, and how they are split must be exactly what the rule predicts. The exit status says whether
//! the targets hold.

use std::process::ExitCode;
use std::sync::Barrier;
use std::time::Duration;

use clap::Parser;
use sitelink::entries::Choosing;

#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "support/clock.rs"]
mod clock;
#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "support/figures.rs"]
mod figures;
#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "support/host.rs"]
mod host;
#[path = "support/table.rs"]
mod table;

/// The choice of a path.
#[derive(Debug, Parser)]
struct Arguments {
    /// Sessions, each of which serves all keys.
    #[arg(long, default_value_t = 128)]
    sessions: usize,
    /// Keys.
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// Choices that are timed.
    #[arg(long, default_value_t = 1_000_000)]
    choices: usize,
    /// Threads that choose at the same time.
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Whether it runs, and is exact, is all that is wanted.
    #[arg(long, hide = true)]
    test: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.test {
        (arguments.keys, arguments.choices) = (arguments.keys.min(200), 10_000);
    }
    let Arguments { sessions, keys, choices, threads, test, .. } = arguments;
    println!("{}", host::describe());
    println!("{sessions} sessions that serve {keys} keys");
    // Costs as sites have them: most alike, some dearer, one that stands by.
    let costs: Vec<u32> = (0..sessions).map(|at| [1, 1, 2, 5, 10, 1, 3, 99_999][at % 8]).collect();
    let choosing = Choosing::new(&costs, keys);
    let alone = time_choices(&choosing, keys, choices);
    let mut table = table::Table::new(["what", "median", "p99"]);
    let row = |what: &str, times: &[f64]| {
        let at = |share| figures::quantile(times, share).map_or_else(String::new, nanoseconds);
        vec![what.to_owned(), at(0.5), at(0.99)]
    };
    table.push(row("choose and count, any of the keys", &alone));
    table.push(row("choose and count, one key", &time_choices(&choosing, 1, choices)));
    table.push(row("reading the clock, which each of them includes", &time_nothing(choices)));
    let together = exact_under_threads(&costs, threads, choices);
    table.push(row(&format!("under {threads} threads, few keys, exact"), &together));
    table.push(row("one session falls silent: all its keys looked at", &time_silence(&choosing, sessions)));
    table.print();
    let median = figures::median(&alone).expect("there are choices");
    let tail = figures::quantile(&alone, 0.99).expect("there are choices");
    let held = test || told("median", median) & told("p99", tail);
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Nanoseconds of each choice, every stream closed again a while later.
fn time_choices(choosing: &Choosing, keys: usize, choices: usize) -> Vec<f64> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut open = std::collections::VecDeque::new();
    let mut times = Vec::with_capacity(choices);
    for _ in 0..choices {
        let key = rng.usize(0..keys);
        let began = clock::now();
        let session = choosing.open(key);
        times.push(nanos(clock::now() - began));
        open.push_back((key, session.expect("there is a path")));
        if open.len() > OPEN
            && let Some((key, session)) = open.pop_front()
        {
            choosing.close(key, session);
        }
    }
    open.into_iter().for_each(|(key, session)| choosing.close(key, session));
    assert!(
        (0..keys).all(|key| choosing.split(key).iter().all(|open| *open == 0)),
        "every count is given back"
    );
    times
}

/// The same with nothing to choose.
fn time_nothing(choices: usize) -> Vec<f64> {
    let time = |_| {
        let began = clock::now();
        nanos(clock::now() - began)
    };
    (0..choices).map(time).collect()
}

/// Nanoseconds of each choice while others choose, too.
///
/// # Panics
/// If the streams are split otherwise than the rule predicts.
fn exact_under_threads(costs: &[u32], threads: usize, choices: usize) -> Vec<f64> {
    let choosing = Choosing::new(costs, FEW);
    let (barrier, each) = (Barrier::new(threads), choices / threads / FEW);
    let work = |seed: usize| {
        let mut times = Vec::with_capacity(each * FEW);
        barrier.wait();
        for turn in 0..each * FEW {
            let key = (turn + seed) % FEW;
            let began = clock::now();
            choosing.open(key).expect("there is a path");
            times.push(nanos(clock::now() - began));
        }
        times
    };
    let work = &work;
    let times: Vec<f64> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|seed| scope.spawn(move || work(seed))).collect();
        all.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let expected = choosing.expected(each * threads);
    for key in 0..FEW {
        assert_eq!(choosing.split(key), expected, "streams to key {key} are split by the rule, exactly");
    }
    times
}

/// Nanoseconds until all keys of a session that falls silent, or speaks again, were looked at.
fn time_silence(choosing: &Choosing, sessions: usize) -> Vec<f64> {
    let mut times = Vec::new();
    for session in (0..sessions as u64).take(SILENCES) {
        for suspect in [true, false] {
            let began = clock::now();
            choosing.suspect(session, suspect);
            times.push(nanos(clock::now() - began));
        }
    }
    times
}

fn told(what: &str, found: f64) -> bool {
    let holds = found < MOST;
    let verdict = if holds { "holds" } else { "MISSED" };
    println!("{what} of a choice: {}, below {}: {verdict}", nanoseconds(found), nanoseconds(MOST));
    holds
}

fn nanoseconds(value: f64) -> String {
    if value < 10_000.0 { format!("{value:.0} ns") } else { format!("{:.0} µs", value / 1000.0) }
}

fn nanos(took: Duration) -> f64 {
    took.as_secs_f64() * 1e9
}

/// What a choice may take, in nanoseconds.
const MOST: f64 = 1000.0;

/// Streams that are open at a time.
const OPEN: usize = 10_000;

/// Keys that all threads open streams to.
const FEW: usize = 4;

/// Sessions that fall silent.
const SILENCES: usize = 16;
