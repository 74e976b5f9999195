//! The rows of the table: what is done for each, and what is measured by it.

use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use crate::delay::Line;
use crate::end::Flavor;
use crate::metric::Metric;
use crate::pair::{Pair, Rate};
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
        let samples = Pair::start(pki, flavor, self.line()).and_then(|pair| self.sample::<P>(&pair, pace));
        self.metrics()
            .iter()
            .enumerate()
            .map(|(at, metric)| (*metric, samples.as_ref().map(|s| s[at])))
            .collect()
    }

    /// What is measured by it.
    fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Bulk1 => &[Metric::Bulk1, Metric::Processor],
            Self::Bulk64 => &[Metric::Bulk64],
            Self::Ping => &[Metric::Ping],
            Self::Loaded => &[Metric::LoadedPing, Metric::LoadedBulk, Metric::LoadedRate],
            Self::Opens => &[Metric::Opens],
            Self::Memory => &[Metric::Memory],
            Self::Stalled => &[Metric::Stalled, Metric::StalledRate],
            Self::Wan1 => &[Metric::Wan1],
            Self::Wan10 => &[Metric::Wan10],
        }
    }

    fn line(self) -> Option<Line> {
        match self {
            Self::Wan1 => Some(Line { one_way: ONE_WAY, bytes_per_second: 125_000_000 }),
            Self::Wan10 => Some(Line { one_way: ONE_WAY, bytes_per_second: 1_250_000_000 }),
            _ => None,
        }
    }

    /// A figure for each of its metrics, in their order; `None` when nothing moved.
    fn sample<P: Peer>(self, pair: &Pair<P>, pace: &Pace) -> Option<Vec<f64>> {
        let Pace { warm_up, window, .. } = *pace;
        Some(match self {
            Self::Bulk1 => {
                let rate = bulk(pair, 1, warm_up, window)?;
                vec![rate.bytes_per_second / 1e9, rate.seconds_per_gb]
            }
            Self::Bulk64 => vec![bulk(pair, 64, warm_up, window)?.bytes_per_second / 1e9],
            Self::Ping => vec![figures::median(&pair.ping(warm_up, window, || ()).0?)?],
            Self::Loaded => loaded(pair, pace)?,
            Self::Opens => vec![pair.requests(AT_A_TIME, warm_up, window)? / 1e3],
            Self::Memory => vec![memory_per_stream(pair, pace.idle_streams)?],
            Self::Stalled => stalled(pair, pace)?,
            Self::Wan1 | Self::Wan10 => {
                vec![bulk(pair, 1, pace.wan_warm_up, pace.wan_window)?.bytes_per_second / 1e9]
            }
        })
    }
}

fn bulk<P: Peer>(pair: &Pair<P>, streams: usize, warm_up: Duration, window: Duration) -> Option<Rate> {
    pair.begin_bulk(streams)?;
    thread::sleep(warm_up);
    pair.bulk_rate(window)
}

fn loaded<P: Peer>(pair: &Pair<P>, pace: &Pace) -> Option<Vec<f64>> {
    let alone = bulk(pair, 8, pace.warm_up, pace.window)?.bytes_per_second;
    let (times, beside) = pair.ping(pace.warm_up, pace.window, || {
        thread::sleep(pace.warm_up);
        pair.bulk_rate(pace.window)
    });
    let beside = beside?.bytes_per_second;
    Some(vec![figures::median(&times?)? / 1e3, beside / alone, beside / 1e9])
}

fn stalled<P: Peer>(pair: &Pair<P>, pace: &Pace) -> Option<Vec<f64>> {
    let alone = bulk(pair, 1, pace.warm_up, pace.window)?.bytes_per_second;
    pair.begin_stalled(STALLED);
    let beside = pair.bulk_rate(pace.window.max(BLOCKED))?.bytes_per_second;
    Some(vec![beside / alone, beside / 1e9])
}

/// Bytes of both ends for each stream, beyond what the first thousand take.
fn memory_per_stream<P: Peer>(pair: &Pair<P>, streams: usize) -> Option<f64> {
    let first = pair.idle(streams / 10)?;
    thread::sleep(SETTLING);
    let before = memory::resident_bytes();
    let kept = pair.idle(streams)?;
    thread::sleep(SETTLING);
    let after = memory::resident_bytes();
    drop((first, kept));
    #[expect(clippy::cast_precision_loss, reason = "less than memory")]
    let per_stream = after.saturating_sub(before) as f64 / streams as f64;
    Some(per_stream)
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
