//! One row in one system: what is done, and which figures come of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;

use crate::options::{Pace, Row};
use crate::process::Process;
use crate::support::Outcome;
use crate::systems::{Files, Running, System};

/// What is known by a name and a number.
pub(crate) type Figures = Vec<(Figure, f64)>;

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    Bulk1Up,
    Bulk1Down,
    Processor1Up,
    Processor1Down,
    Bulk64Up,
    Bulk64Down,
    Ping50,
    Ping99,
    Beside50,
    Beside99,
    BesideBulk,
    Opens,
    IdleNear,
    IdleFar,
    KeptNear,
    KeptFar,
}

/// The load and the systems, all up at once; those that are not measured do nothing.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    files: &'a Files,
    pace: Pace,
    client: Process,
    server: Process,
    /// Where the server listens.
    address: SocketAddr,
    running: BTreeMap<System, Running>,
}

impl<'a> Bench<'a> {
    /// Starts everything.
    ///
    /// # Errors
    /// A process does not come up.
    pub(crate) fn start(
        files: &'a Files,
        systems: &[System],
        mut pace: Pace,
        descriptors: usize,
    ) -> Outcome<Self> {
        // A proxy needs two for each connection.
        let possible = descriptors.saturating_sub(200) / 2;
        if pace.idle > possible {
            eprintln!("only {possible} idle connections: this system allows {descriptors} descriptors");
            pace.idle = possible;
        }
        let (client, server) = (Process::load("client")?, Process::load("server")?);
        let address = server.line(|line| line.parse().ok())?;
        let mut running = BTreeMap::new();
        for system in systems {
            let started = system.start(files, address).map_err(|error| format!("{system}: {error}"))?;
            running.insert(*system, started);
        }
        Ok(Self { files, pace, client, server, address, running })
    }

    /// Measures a row in a system once.
    ///
    /// # Errors
    /// The system or the load failed.
    pub(crate) fn measure(&mut self, row: Row, system: System) -> Outcome<Figures> {
        let address = self.running.get(&system).ok_or("it is not running")?.address;
        let figures = match row {
            Row::Bulk1Up => self.bulk(system, "up", 1, [Figure::Bulk1Up, Figure::Processor1Up]),
            Row::Bulk1Down => self.bulk(system, "down", 1, [Figure::Bulk1Down, Figure::Processor1Down]),
            Row::Bulk64Up => self.bulk(system, "up", 64, [Figure::Bulk64Up; 2]),
            Row::Bulk64Down => self.bulk(system, "down", 64, [Figure::Bulk64Down; 2]),
            Row::Ping => self.ping(address, [Figure::Ping50, Figure::Ping99]),
            Row::PingBeside => self.ping_beside(address),
            Row::Opens => self.opens(address),
            Row::Idle if system == System::Direct => Ok(Vec::new()),
            Row::Idle => self.idle(system),
        };
        // Whatever came of it, the next starts from nothing.
        self.client.ask("drop")?;
        self.server.ask("settle")?;
        figures
    }

    fn bulk(
        &mut self,
        system: System,
        direction: &str,
        connections: usize,
        [rate, cost]: [Figure; 2],
    ) -> Outcome<Figures> {
        let running = self.running.get(&system).ok_or("it is not running")?;
        self.client.ask(&format!("bulk {direction} {connections} {}", running.address))?;
        thread::sleep(self.pace.warm_up);
        let receiver = if direction == "up" { &mut self.server } else { &mut self.client };
        let used = |running: &Running| -> Outcome<f64> {
            running.routers.iter().map(Process::processor_seconds).sum()
        };
        let before = used(running)?;
        let (bytes, nanos) = receiver.ask_two(&format!("measure {}", self.pace.window.as_millis()))?;
        let seconds = used(running)? - before;
        if bytes == 0.0 {
            return Err("nothing came".into());
        }
        let mut figures = vec![(rate, bytes / nanos)];
        if cost != rate && !running.routers.is_empty() {
            figures.push((cost, seconds / (bytes / 1e9)));
        }
        Ok(figures)
    }

    fn ping(&mut self, address: SocketAddr, [median, tail]: [Figure; 2]) -> Outcome<Figures> {
        let (half, most) =
            self.client.ask_two(&format!("ping {} {address}", self.pace.window.as_millis()))?;
        Ok(vec![(median, half / 1e3), (tail, most / 1e3)])
    }

    /// Beside uploads; what they come to meanwhile is counted afterwards, at the same load.
    fn ping_beside(&mut self, address: SocketAddr) -> Outcome<Figures> {
        self.client.ask(&format!("bulk up 8 {address}"))?;
        thread::sleep(self.pace.warm_up);
        let mut figures = self.ping(address, [Figure::Beside50, Figure::Beside99])?;
        let (bytes, nanos) = self.server.ask_two(&format!("measure {}", self.pace.window.as_millis() / 2))?;
        figures.push((Figure::BesideBulk, bytes / nanos));
        Ok(figures)
    }

    fn opens(&mut self, address: SocketAddr) -> Outcome<Figures> {
        let (count, nanos) =
            self.client.ask_two(&format!("opens 32 {} {address}", self.pace.window.as_millis()))?;
        Ok(vec![(Figure::Opens, count / nanos * 1e6)])
    }

    /// In processes of its own, which have not held anything before.
    fn idle(&mut self, system: System) -> Outcome<Figures> {
        let running = system.start(self.files, self.address)?;
        let resident =
            || -> Outcome<Vec<f64>> { running.routers.iter().map(Process::resident_bytes).collect() };
        // What is there once, and not for each connection.
        self.client.ask(&format!("hold 32 {}", running.address))?;
        self.client.ask("drop")?;
        self.server.ask("settle")?;
        thread::sleep(self.pace.rest);
        let before = resident()?;
        self.client.ask(&format!("hold {} {}", self.pace.idle, running.address))?;
        thread::sleep(self.pace.rest);
        let held = resident()?;
        self.client.ask("drop")?;
        self.server.ask("settle")?;
        thread::sleep(self.pace.rest);
        let after = resident()?;
        #[expect(clippy::cast_precision_loss, reason = "thousands")]
        let each = |now: &[f64], router: usize| {
            Some((now.get(router)? - before.get(router)?) / 1024.0 / self.pace.idle as f64)
        };
        let kept = |router| Some(each(&after, router)? / each(&held, router)? * 100.0);
        let figures = [
            (Figure::IdleNear, each(&held, 0)),
            (Figure::IdleFar, each(&held, 1)),
            (Figure::KeptNear, kept(0)),
            (Figure::KeptFar, kept(1)),
        ];
        Ok(figures.into_iter().filter_map(|(figure, value)| Some((figure, value?))).collect())
    }
}
