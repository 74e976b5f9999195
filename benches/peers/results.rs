//! What a run has measured: its table, and its JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::end::Flavor;
use crate::figures::{median, paired_ratio, three_digits};
use crate::host;
use crate::metric::{Better, Metric, Target};
use crate::names::PeerName;
use crate::table::Table;

/// All samples of one runtime.
#[derive(Debug)]
pub(crate) struct Results {
    flavor: Flavor,
    /// By round; `None` where nothing moved.
    samples: BTreeMap<(Metric, PeerName), Vec<Option<f64>>>,
}

impl Results {
    /// Of that runtime, none yet.
    pub(crate) fn new(flavor: Flavor) -> Self {
        Self { flavor, samples: BTreeMap::new() }
    }

    /// Adds what a round has measured.
    pub(crate) fn add(&mut self, peer: PeerName, samples: impl IntoIterator<Item = (Metric, Option<f64>)>) {
        for (metric, sample) in samples {
            self.samples.entry((metric, peer)).or_default().push(sample);
        }
    }

    /// Prints the table: medians, and in brackets the ratio to the row's reference; then sitelink's targets.
    pub(crate) fn print(&self) {
        let shown: Vec<PeerName> = PeerName::ALL
            .into_iter()
            .filter(|peer| self.samples.keys().any(|(_, measured)| measured == peer))
            .collect();
        let columns = shown.iter().map(|peer| peer.label());
        let mut table = Table::new(["what"].into_iter().chain(columns).chain([
            "sitelink must reach",
            "reaches",
            "of the best peer",
        ]));
        for metric in Metric::ALL {
            if self.samples.keys().any(|(measured, _)| *measured == metric) {
                let mut row = vec![metric.label().to_owned()];
                row.extend(shown.iter().map(|peer| self.cell(metric, *peer)));
                row.extend(self.verdict(metric));
                row.push(self.best_of(metric).map_or_else(String::new, |(_, ratio)| format!("× {ratio:.2}")));
                table.push(row);
            }
        }
        println!("\n{}\nruntime: {}\n", host::describe(), name_of(self.flavor));
        table.print();
    }

    /// All samples.
    pub(crate) fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .samples
            .iter()
            .map(|((metric, peer), samples)| {
                json!({
                    "metric": metric.key(),
                    "peer": peer.label(),
                    "median": self.median(*metric, *peer),
                    "samples": samples,
                })
            })
            .collect();
        json!({ "runtime": name_of(self.flavor), "rows": rows })
    }

    fn samples(&self, metric: Metric, peer: PeerName) -> &[Option<f64>] {
        self.samples.get(&(metric, peer)).map_or(&[], Vec::as_slice)
    }

    fn median(&self, metric: Metric, peer: PeerName) -> Option<f64> {
        let moved: Vec<f64> = self.samples(metric, peer).iter().copied().flatten().collect();
        median(&moved)
    }

    fn cell(&self, metric: Metric, peer: PeerName) -> String {
        let samples = self.samples(metric, peer);
        if samples.is_empty() {
            return "–".to_owned();
        }
        // Half of the rounds without a byte are no rate.
        if samples.iter().filter(|sample| sample.is_none()).count() * 2 >= samples.len() {
            return "blocked".to_owned();
        }
        let value = self.median(metric, peer).map_or_else(String::new, three_digits);
        let reference = match metric.target() {
            Target::Of(_, reference) => reference,
            Target::Best => PeerName::Tls,
            Target::Figure(_) | Target::None => return value,
        };
        match paired_ratio(samples, self.samples(metric, reference)) {
            Some(ratio) => format!("{value} ({ratio:.2})"),
            None => value,
        }
    }

    /// What sitelink must reach, and what it does.
    fn verdict(&self, metric: Metric) -> [String; 2] {
        let (better, ours) = (metric.better(), self.samples(metric, PeerName::Sitelink));
        let sign = if better == Better::Higher { '≥' } else { '≤' };
        let (wanted, text, reached) = match metric.target() {
            Target::None => return Default::default(),
            Target::Figure(figure) => {
                (figure, format!("{sign} {figure}"), self.median(metric, PeerName::Sitelink))
            }
            Target::Of(times, peer) => (
                times,
                format!("{sign} {times} × {}", peer.label()),
                paired_ratio(ours, self.samples(metric, peer)),
            ),
            Target::Best => {
                (1.0, format!("{sign} the best peer"), self.best_of(metric).map(|(_, ratio)| ratio))
            }
        };
        let Some(reached) = reached else { return [text, String::new()] };
        let share = if better == Better::Higher { reached / wanted } else { wanted / reached };
        let word = match share {
            share if share >= 1.0 => "met",
            share if share >= 1.0 - BAND => "within 5 %",
            _ => "missed",
        };
        [text, format!("{}, {word}", three_digits(reached))]
    }

    /// The best rival, and sitelink's ratio to it.
    fn best_of(&self, metric: Metric) -> Option<(PeerName, f64)> {
        let rivals = PeerName::ALL.into_iter().filter(|peer| peer.is_rival());
        let measured = rivals.filter_map(|peer| Some((peer, self.median(metric, peer)?)));
        let better = metric.better();
        let (best, _) = measured.reduce(|best, next| {
            let wins = if better == Better::Higher { next.1 > best.1 } else { next.1 < best.1 };
            if wins { next } else { best }
        })?;
        let ours = self.samples(metric, PeerName::Sitelink);
        paired_ratio(ours, self.samples(metric, best)).map(|ratio| (best, ratio))
    }
}

fn name_of(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::Current => "current-thread, one thread per end",
        Flavor::Multi => "multi-thread",
    }
}

/// Differences below this are noise.
const BAND: f64 = 0.05;
