//! The table at the end, and whether the goals were met.

use std::time::Duration;

use crate::fault::{Kind, Row};
use crate::injector::Done;
use crate::stage::Stage;
use crate::tally::Tally;

/// Prints what was done and what came of it. True if nothing was lost or stood still, and no byte was wrong.
pub(crate) fn print(done: &Done, tally: &Tally, stage: &Stage, goals: bool) -> bool {
    let samples = tally.pauses.finish();
    println!(
        "\n{:<24} {:<9} {:>6} {:>9} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "fault", "carriers", "times", "lasts to", "samples", "p50", "p99", "p99.9", "longest"
    );
    for (row, (times, lasted)) in &done.faults {
        let pauses = samples.get(row);
        let at = |quantile: f64| {
            pauses.map_or(Duration::ZERO, |of| Duration::from_micros(of.value_at_quantile(quantile)))
        };
        println!(
            "{:<24} {:<9} {:>6} {:>9} {:>8} {:>9} {:>9} {:>9} {:>9}",
            row.kind,
            match row {
                Row { kind: Kind::Control | Kind::Rotation, .. } => "untouched",
                Row { left: true, .. } => "one left",
                Row { left: false, .. } => "none left",
            },
            times,
            milliseconds(*lasted),
            pauses.map_or(0, |of| of.len()),
            milliseconds(at(0.5)),
            milliseconds(at(0.99)),
            milliseconds(at(0.999)),
            milliseconds(at(1.0)),
        );
    }
    let [verified, wrong, lost, requests] = tally.figures();
    let faults: u64 =
        done.faults.iter().filter(|(row, _)| row.kind != Kind::Control).map(|(_, (times, _))| times).sum();
    println!(
        "\nfaults: {}, {} rotations among them, {} of those beside another fault; {} handshakes cut",
        faults + done.beside,
        done.rotations,
        done.beside,
        done.handshakes
    );
    stage.told.look(|facts| {
        println!(
            "the longest rotation took {:.0} ms from the new bundle to the end of the last carrier of the old one",
            facts.longest_rotation * 1e3
        );
        println!(
            "carriers: {} up, {} down, {} times suspect; sessions: {} lost, {} times resumed, {} bytes sent again then",
            facts.count("carrier_up"),
            facts.count("carrier_down"),
            facts.suspects,
            facts.count("session_down"),
            facts.count("session_resumed"),
            facts.resent,
        );
    });
    println!("connections: {}, {lost} lost; {requests} requests answered", tally.connections());
    println!("bytes verified: {verified}, wrong: {wrong}");
    if goals {
        judge(done, &samples);
    }
    lost == 0 && wrong == 0 && done.stuck == 0
}

/// Says whether the pauses are as short as they are meant to be.
fn judge(done: &Done, samples: &std::collections::BTreeMap<Row, hdrhistogram::Histogram<u64>>) {
    let worst = |kinds: &[Kind], left: bool| {
        let of = samples.iter().filter(|(row, _)| kinds.contains(&row.kind) && row.left == left);
        let mut all = hdrhistogram::Histogram::<u64>::new(3).ok()?;
        of.for_each(|(_, one)| {
            // Of the same bounds, so it fits.
            let _ = all.add(one);
        });
        (!all.is_empty()).then(|| Duration::from_micros(all.value_at_quantile(0.999)))
    };
    let control = worst(&[Kind::Control], true).unwrap_or_default();
    let goals = [
        (
            "a cut with a carrier left",
            worst(&[Kind::CutReset, Kind::CutFinish, Kind::CutHandshake], true),
            CUT,
        ),
        ("a black hole", worst(&[Kind::BlackHole, Kind::HalfOpenUp, Kind::HalfOpenDown], true), BLACK_HOLE),
        ("a rotation", worst(&[Kind::Rotation], true), control),
    ];
    for (what, found, most) in goals {
        let Some(found) = found else { continue };
        let verdict = if found <= most { "holds" } else { "MISSED" };
        println!("p99.9 of {what}: {}, at most {}: {verdict}", milliseconds(found), milliseconds(most));
    }
    if done.stuck > 0 {
        println!("after {} faults something stood still", done.stuck);
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// With a carrier left, a cut costs the news of it and sending again.
const CUT: Duration = Duration::from_millis(100);

/// Suspicion takes a quarter of a second at least, and then a handshake.
const BLACK_HOLE: Duration = Duration::from_millis(1200);
