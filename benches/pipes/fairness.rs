//! Many streams over loopback: whether each gets its part, and whether small ones stay quick.

use std::thread;
use std::time::Duration;

use crate::bench::{Bench, as_float};
use crate::figures::{quantile, three_digits};
use crate::pki::Pki;
use crate::subject::Sitelink;
use crate::table::Table;

/// Prints how fair it is.
pub(crate) fn measure(pki: &Pki, seconds: u64) {
    let mut table = Table::new(["fairness over loopback", "figure", "target"]);
    let mut row = |what: &str, figure: f64, target: &str| {
        println!("{what}: {}", three_digits(figure));
        table.push(vec![what.to_owned(), three_digits(figure), target.to_owned()]);
    };
    let bench = Bench::<Sitelink>::start(pki, None);
    (0..BULK).for_each(|name| bench.bulk(name));
    thread::sleep(Duration::from_secs(1));
    let indices: Vec<f64> = (0..seconds * 2).map(|_| index_of_a_second(&bench)).collect();
    row(
        "32 bulk streams, Jain's index of a second, median",
        quantile(&indices, 0.5).unwrap_or(0.0),
        ">= 0.95",
    );
    row(
        "32 bulk streams, Jain's index of a second, least",
        quantile(&indices, 0.0).unwrap_or(0.0),
        ">= 0.90",
    );
    let count = usize::try_from(seconds * 500).expect("a few");
    let times = bench.ask(count, 1, Duration::from_millis(1));
    row("a byte a millisecond beside them, p50 ms", quantile(&times, 0.5).unwrap_or(0.0) * 1e3, "");
    row("a byte a millisecond beside them, p99 ms", quantile(&times, 0.99).unwrap_or(0.0) * 1e3, "< 5");
    drop(bench);

    let bench = Bench::<Sitelink>::start(pki, None);
    bench.bulk(0);
    thread::sleep(Duration::from_millis(500));
    let alone = rate(&bench, seconds);
    bench.flood(FLOOD);
    thread::sleep(Duration::from_millis(500));
    row("bulk beside 10,000 short requests a second, of bulk alone", rate(&bench, seconds) / alone, ">= 0.5");
    println!();
    table.print();
}

/// (Σx)² / n Σx² of what each stream moved in a second.
fn index_of_a_second(bench: &Bench<Sitelink>) -> f64 {
    let counts = || (0..BULK).map(|name| bench.counters.of(name)).collect::<Vec<_>>();
    let before = counts();
    thread::sleep(Duration::from_secs(1));
    let moved: Vec<f64> = counts().iter().zip(before).map(|(now, before)| as_float(now - before)).collect();
    let (sum, squares) = (moved.iter().sum::<f64>(), moved.iter().map(|x| x * x).sum::<f64>());
    sum * sum / (f64::from(BULK) * squares)
}

fn rate(bench: &Bench<Sitelink>, seconds: u64) -> f64 {
    let before = bench.counters.sum();
    thread::sleep(Duration::from_secs(seconds));
    as_float(bench.counters.sum() - before) / as_float(seconds)
}

/// Streams of bulk.
const BULK: u8 = 32;

/// Short requests a second.
const FLOOD: u64 = 10_000;
