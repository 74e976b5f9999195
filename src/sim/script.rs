//! What happened in a run: hashed always, so that two runs of a seed can be compared, and printed when asked for.

use std::fmt;
use std::time::Duration;

/// The trace of a run.
#[derive(Debug)]
pub(super) struct Script {
    hash: u64,
    lines: u64,
    loud: bool,
}

/// A law that did not hold.
#[derive(Debug)]
pub(super) struct Broken {
    /// Which, and how.
    pub(super) what: String,
    /// The virtual time of it.
    pub(super) at: Duration,
}

impl Broken {
    /// Which law, or whatever else comes first.
    pub(super) fn law(&self) -> &str {
        self.what.split(':').next().unwrap_or_default()
    }
}

impl Script {
    /// An empty trace; a loud one is printed as it grows.
    pub(super) fn new(loud: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: 0, loud }
    }

    /// Something happened, of that kind and with those numbers.
    pub(super) fn note(&mut self, at: Duration, what: &str, numbers: [u64; 3]) {
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        what.bytes().for_each(|byte| self.mix(byte.into()));
        [nanos].into_iter().chain(numbers).for_each(|number| self.mix(number));
        self.lines += 1;
        if self.loud {
            println!("{:>14.6} ms  {what:<24} {numbers:?}", at.as_secs_f64() * 1e3);
        }
    }

    /// Something worth reading and of no further form.
    pub(super) fn tell(&self, at: Duration, what: &dyn fmt::Debug) {
        if self.loud {
            println!("{:>14.6} ms    {what:?}", at.as_secs_f64() * 1e3);
        }
    }

    /// An item of what is planned.
    pub(super) fn say(&self, item: &dyn fmt::Display) {
        if self.loud {
            println!("planned: {item}");
        }
    }

    /// What identifies the trace.
    pub(super) fn digest(&self) -> (u64, u64) {
        (self.lines, self.hash)
    }

    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }
}
