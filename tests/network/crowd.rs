//! Two hundred links to sites that are not there.

use std::fs;
use std::time::Duration;

use sitelink::{Event, EventKind, LinkSecrets, Manifest};

use crate::common::pki::TestCa;
use crate::common::stage::Diary;
use crate::common::{credentials, document};
use crate::lab::Lab;
use crate::plane_in;

/// Half of the sites refuse connections, half swallow every packet.
const LINKS: u32 = 200;

#[tokio::test]
#[ignore = "needs root, and takes a minute"]
async fn two_hundred_links_to_nowhere_cost_little_and_do_not_dial_in_step() {
    let lab = Lab::two_paths();
    lab.swallow_first();
    let (plane, mut diary) = plane_in(&lab.west, "west").await;
    let client = credentials("client", &TestCa::new("ca").client("west"));
    let linking = plane.clone();
    lab.west
        .run(async move {
            for number in 0..LINKS {
                let (name, place) = (format!("site-{number}"), number / 2 + 3);
                let host =
                    if number % 2 == 0 { format!("127.0.0.{place}") } else { format!("10.77.1.{place}") };
                let manifest = Manifest::parse(document(&name, &host, 5671), "test");
                let spec = manifest.link(&name).unwrap().clone();
                linking.link(spec, LinkSecrets::from(client.clone())).await.unwrap();
            }
        })
        .await;
    // Until the waits have grown to their bound.
    for number in 0..LINKS {
        let name = format!("site-{number}");
        let of = |kind: &EventKind| matches!(kind, EventKind::DialFailed { name: of, attempt: 8.., .. } if of.as_str() == name);
        diary.one(of).await;
    }
    let (before, memory) = (processor_time(), resident_kilobytes());
    let seen = diary.kinds().len();
    // The minute is what is asked for.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (used, grown) = (processor_time() - before, resident_kilobytes().saturating_sub(memory));
    let (busiest, dials) = busiest_tenth(&diary, seen);
    println!(
        "{used:?} of processor time and {grown} KiB in a minute; {dials} dials, at most {busiest} in 0.1 s"
    );
    assert!(used <= Duration::from_secs(3), "more than 5 % of a core: {used:?}");
    // The diary keeps each event: some 400 bytes. What else grows is the allocator's.
    assert!(grown <= 1024 + dials as u64, "{grown} KiB for {dials} dials");
    // 100 that are refused, on average each 2.5 s, are 4 in a tenth of a second; in step they would be 100.
    assert!(busiest <= 20, "{busiest} dials within 0.1 s");
    plane.shutdown(Duration::ZERO).await;
}

/// The most attempts that were begun within a tenth of a second, and all of them, after the first `seen` events.
fn busiest_tenth(diary: &Diary, seen: usize) -> (usize, usize) {
    let begins = |event: &Event| match event.kind {
        EventKind::DialFailed { next_attempt_in, .. } => {
            Some(event.at_micros + u64::try_from(next_attempt_in.as_micros()).unwrap())
        }
        _ => None,
    };
    let begun: Vec<u64> = diary.events().iter().skip(seen).filter_map(begins).collect();
    let within = |from: u64| begun.iter().filter(|at| (from..from + 100_000).contains(at)).count();
    (begun.iter().map(|at| within(*at)).max().unwrap_or(0), begun.len())
}

/// What this process has used of processors so far (proc(5): fields 14 and 15 of stat, in hundredths of a second).
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn resident_kilobytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
