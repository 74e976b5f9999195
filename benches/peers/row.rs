//! The rows of the table: what is done for each, and what is measured by it.

use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use crate::delay::Line;
use crate::end::Flavor;
use crate::metric::Metric;
use crate::pair::Pair;
use crate::peer::Peer;
use crate::pki::Pki;
use crate::{figures, memory};

/// Something that is done with a peer, and measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// One stream as fast as it goes, and the processor time it takes.
    Bulk1,
    /// 64 streams as fast as they go.
    Bulk64,
    /// A small message there and back, all asleep in between.
    Ping,
    /// The same beside 8 bulk streams.
    Loaded,
    /// Streams that are opened for one small message there and back.
    Opens,
    /// Memory of streams that do nothing.
    Memory,
    /// One bulk stream beside 16 that nobody reads.
    Stalled,
    /// One bulk stream over a line of 50 ms round trip and 1 Gbit/s.
    Wan1,
    /// One bulk stream over a line of 50 ms round trip and 10 Gbit/s.
    Wan10,
}

/// How long everything takes.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Before it is measured.
    pub(crate) warm_up: Duration,
    /// While it is measured.
    pub(crate) window: Duration,
    /// The same over a long line.
    pub(crate) wan_warm_up: Duration,
    /// The same over a long line.
    pub(crate) wan_window: Duration,
    /// Streams whose memory is measured.
    pub(crate) idle_streams: usize,
}

/// What was measured; `None` when nothing moved.
pub(crate) type Samples = Vec<(Metric, Option<f64>)>;

impl Row {
    /// Does it once, with ends of its own. [`Row::Memory`] is to be done in a process of its own.
    pub(crate) fn measure<P: Peer>(self, pki: &Pki, flavor: Flavor, pace: &Pace) -> Samples {
        let line = match self {
            Self::Wan1 => Some(Line { one_way: ONE_WAY, bytes_per_second: 125_000_000 }),
            Self::Wan10 => Some(Line { one_way: ONE_WAY, bytes_per_second: 1_250_000_000 }),
            _ => None,
        };
        let pair = Pair::<P>::start(pki, flavor, line);
        match self {
            Self::Bulk1 => {
                let rate = bulk(&pair, 1, pace.warm_up, pace.window);
                vec![
                    (Metric::Bulk1, Some(rate.bytes_per_second / 1e9)),
                    (Metric::Processor, Some(rate.seconds_per_gb)),
                ]
            }
            Self::Bulk64 => {
                let rate = bulk(&pair, 64, pace.warm_up, pace.window);
                vec![(Metric::Bulk64, Some(rate.bytes_per_second / 1e9))]
            }
            Self::Ping => {
                let (times, ()) = pair.ping(pace.warm_up, pace.window, || ());
                vec![(Metric::Ping, times.and_then(|times| figures::median(&times)))]
            }
            Self::Loaded => loaded(&pair, pace),
            Self::Opens => {
                vec![(Metric::Opens, Some(pair.requests(AT_A_TIME, pace.warm_up, pace.window) / 1e3))]
            }
            Self::Memory => vec![(Metric::Memory, Some(memory_per_stream(&pair, pace.idle_streams)))],
            Self::Stalled => stalled(&pair, pace),
            Self::Wan1 | Self::Wan10 => {
                let metric = if self == Self::Wan1 { Metric::Wan1 } else { Metric::Wan10 };
                let rate = bulk(&pair, 1, pace.wan_warm_up, pace.wan_window);
                vec![(metric, Some(rate.bytes_per_second / 1e9))]
            }
        }
    }
}

fn bulk<P: Peer>(pair: &Pair<P>, streams: usize, warm_up: Duration, window: Duration) -> crate::pair::Rate {
    pair.begin_bulk(streams);
    thread::sleep(warm_up);
    pair.bulk_rate(window)
}

fn loaded<P: Peer>(pair: &Pair<P>, pace: &Pace) -> Samples {
    let alone = bulk(pair, 8, pace.warm_up, pace.window).bytes_per_second;
    let (times, beside) = pair.ping(pace.warm_up, pace.window, || {
        thread::sleep(pace.warm_up);
        pair.bulk_rate(pace.window).bytes_per_second
    });
    let middle = times.and_then(|times| figures::median(&times));
    vec![
        (Metric::LoadedPing, middle.map(|micros| micros / 1e3)),
        (Metric::LoadedBulk, Some(beside / alone)),
        (Metric::LoadedRate, Some(beside / 1e9)),
    ]
}

fn stalled<P: Peer>(pair: &Pair<P>, pace: &Pace) -> Samples {
    let alone = bulk(pair, 1, pace.warm_up, pace.window).bytes_per_second;
    pair.begin_stalled(STALLED);
    let beside = pair.bulk_rate(pace.window.max(BLOCKED)).bytes_per_second;
    let moved = (beside > 0.0).then_some(beside);
    vec![
        (Metric::Stalled, moved.map(|beside| beside / alone)),
        (Metric::StalledRate, moved.map(|beside| beside / 1e9)),
    ]
}

/// Bytes of both ends for each stream, beyond what the first thousand take.
fn memory_per_stream<P: Peer>(pair: &Pair<P>, streams: usize) -> f64 {
    let first = pair.idle(streams / 10);
    thread::sleep(SETTLING);
    let before = memory::resident_bytes();
    let kept = pair.idle(streams);
    thread::sleep(SETTLING);
    let after = memory::resident_bytes();
    drop((first, kept));
    #[expect(clippy::cast_precision_loss, reason = "less than memory")]
    let per_stream = after.saturating_sub(before) as f64 / streams as f64;
    per_stream
}

/// Half of the round trip of a long line.
const ONE_WAY: Duration = Duration::from_millis(25);

/// Requests at a time.
const AT_A_TIME: usize = 32;

/// Streams that nobody reads.
const STALLED: usize = 16;

/// Without a byte for so long it is blocked.
const BLOCKED: Duration = Duration::from_secs(1);

/// What is freed and acknowledged late is so by then.
const SETTLING: Duration = Duration::from_millis(300);
