//! Two hundred links to sites that are not there.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sitelink::{EventKind, LinkName, LinkSecrets, Manifest, Plane};

use crate::common::pki::TestCa;
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
    let (plane, diary) = plane_in(&lab.west, "west").await;
    diary.leave().await;
    let log = DialLog::of(&plane);
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
    // Until the waits of all have grown to their bound, which takes those that are swallowed half a minute.
    log.until(|log| {
        log.attempts.len() == LINKS as usize && log.attempts.values().all(|attempt| *attempt >= 8)
    })
    .await;
    log.forget();
    let (before, memory) = (processor_time(), resident_kilobytes());
    // The minute is what is asked for.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let (used, grown) = (processor_time() - before, resident_kilobytes().saturating_sub(memory));
    let (busiest, dials) = log.busiest_tenth();
    println!(
        "{used:?} of processor time and {grown} KiB in a minute; {dials} dials, at most {busiest} in 0.1 s"
    );
    assert!(used <= Duration::from_secs(3), "more than 5 % of a core: {used:?}");
    // What grows is the allocator's: of 3,500 dials nothing is kept but here the times, 30 KiB of them.
    assert!(grown <= 1024, "{grown} KiB for {dials} dials");
    // 100 that are refused, on average each 2.5 s, are 4 in a tenth of a second; in step they would be 100.
    assert!(busiest <= 20, "{busiest} dials within 0.1 s");
    plane.shutdown(Duration::ZERO).await;
}

/// The dials of a plane, as its events tell them, and no more of those.
#[derive(Clone, Default)]
struct DialLog(Arc<Mutex<Dials>>);

#[derive(Default)]
struct Dials {
    /// By link, the newest attempt.
    attempts: HashMap<LinkName, u64>,
    /// When each next attempt was to begin.
    begun: Vec<u64>,
}

impl DialLog {
    fn of(plane: &Plane) -> Self {
        let (log, mut events) = (Self::default(), plane.events());
        let writing = log.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let EventKind::DialFailed { name, attempt, next_attempt_in, .. } = event.kind {
                    let mut dials = writing.0.lock().unwrap();
                    dials.attempts.insert(name, attempt);
                    dials.begun.push(event.at_micros + u64::try_from(next_attempt_in.as_micros()).unwrap());
                }
            }
        });
        log
    }

    /// Waits, at most two minutes.
    async fn until(&self, holds: impl Fn(&Dials) -> bool) {
        for _ in 0..600 {
            if holds(&self.0.lock().unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{:?}", self.0.lock().unwrap().attempts);
    }

    fn forget(&self) {
        self.0.lock().unwrap().begun = Vec::with_capacity(10_000);
    }

    /// The most attempts that were begun within a tenth of a second, and all of them.
    fn busiest_tenth(&self) -> (usize, usize) {
        let begun = &self.0.lock().unwrap().begun;
        let within = |from: u64| begun.iter().filter(|at| (from..from + 100_000).contains(at)).count();
        (begun.iter().map(|at| within(*at)).max().unwrap_or(0), begun.len())
    }
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
