//! One kind of line: throughput from the first byte on, and requests beside bulk.

use std::thread;
use std::time::Duration;

use crate::bench::{Bench, Trace, as_float, since};
use crate::clock;
use crate::delay::Line;
use crate::figures::median;
use crate::pki::Pki;
use crate::subject::{Sitelink, Subject, Tls};

/// What was found.
pub(crate) struct Found {
    pub(crate) tls: Trace,
    pub(crate) sitelink: Trace,
    /// Seconds of a small request over a line that is empty.
    pub(crate) bare: f64,
    /// Seconds of a small request beside bulk.
    pub(crate) beside: f64,
    /// Bytes per second of all bulk then.
    pub(crate) crowd: f64,
}

/// Measures a line.
pub(crate) fn measure(pki: &Pki, line: Line, smoke: bool) -> Found {
    let trip = line.one_way * 2;
    let time = if smoke { Duration::from_millis(300) } else { (trip * TRIPS).max(LEAST) };
    let tls = trace::<Tls>(pki, line, time);
    let sitelink = trace::<Sitelink>(pki, line, time);
    let bench = Bench::<Sitelink>::start(pki, Some(line));
    let asks = if smoke { 3 } else { ASKS };
    let bare = median(&bench.ask(asks, REQUEST, Duration::ZERO)).expect("it was asked");
    (0..CROWD).for_each(|name| bench.bulk(name));
    thread::sleep(time);
    let (began, before) = (clock::now(), bench.counters.sum());
    let beside = median(&bench.ask(asks, REQUEST, Duration::ZERO)).expect("it was asked");
    let crowd = as_float(bench.counters.sum() - before) / since(began);
    Found { tls, sitelink, bare, beside, crowd }
}

fn trace<S: Subject>(pki: &Pki, line: Line, time: Duration) -> Trace {
    let bench = Bench::<S>::start(pki, Some(line));
    bench.trace(time, (line.one_way / 10).max(Duration::from_millis(1)))
}

/// Bulk streams beside a request.
const CROWD: u8 = 64;

/// Requests of which the median is taken.
const ASKS: usize = 21;

/// How many round trips one stream is watched.
const TRIPS: u32 = 24;

/// And how long at least.
const LEAST: Duration = Duration::from_secs(2);

/// A small request, in bytes, as in the other benchmarks.
const REQUEST: usize = 100;
