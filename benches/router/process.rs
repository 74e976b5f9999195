//! Processes: those of the load, which are asked, and those that are measured, which are looked at.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use std::{fs, thread};

use crate::support::Outcome;

/// A process and the lines it prints. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("the process has no output")?;
        let (tell, lines) = sync_channel(LINES);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Never waited for: a router must not stand still because nobody looks.
                let _ = tell.try_send(line);
            }
        });
        Ok(Self { child, stdin, lines })
    }

    /// This program again, as a part of the load.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub(crate) fn load(part: &str) -> Outcome<Self> {
        Self::start(Command::new(std::env::current_exe()?).args(["--child", part]))
    }

    /// The next line for which `wanted` has an answer; those before are dropped.
    ///
    /// # Errors
    /// The process has ended, or has not said it in time.
    pub(crate) fn line<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> Outcome<T> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => match wanted(&line) {
                    Some(found) => return Ok(found),
                    None => continue,
                },
                Err(RecvTimeoutError::Timeout) => return Err("a process does not answer".into()),
                Err(RecvTimeoutError::Disconnected) => return Err("a process has ended".into()),
            }
        }
    }

    /// Asks a part of the load.
    ///
    /// # Errors
    /// What it could not do, or as [`Process::line`].
    pub(crate) fn ask(&mut self, command: &str) -> Outcome<String> {
        let stdin = self.stdin.as_mut().ok_or("the process takes no commands")?;
        writeln!(stdin, "{command}")?;
        let answer = self.line(|line| Some(line.to_owned()))?;
        match answer.strip_prefix("error: ") {
            Some(error) => Err(format!("{command}: {error}").into()),
            None => Ok(answer),
        }
    }

    /// As [`Process::ask`], for an answer of two numbers.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn ask_two(&mut self, command: &str) -> Outcome<(f64, f64)> {
        let answer = self.ask(command)?;
        let (first, second) = answer.split_once(' ').ok_or("an answer is of two numbers")?;
        Ok((first.parse()?, second.parse()?))
    }

    /// What it has used of the processors since it began, in seconds; the kernel counts hundredths.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn processor_seconds(&self) -> Outcome<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name before it may hold anything.
        let (_, fields) = stat.rsplit_once(')').ok_or("the kernel tells it so")?;
        let mut fields = fields.split_whitespace().skip(11);
        let (user, system) = (fields.next().ok_or("utime")?, fields.next().ok_or("stime")?);
        Ok((user.parse::<f64>()? + system.parse::<f64>()?) / TICKS)
    }

    /// What it has of the machine's memory, in bytes.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn resident_bytes(&self) -> Outcome<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? * 1024.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines that wait to be looked at.
const LINES: usize = 4096;

/// Longer than anything takes that is asked of a process.
const PATIENCE: Duration = Duration::from_secs(60);

/// `USER_HZ` of every Linux that this runs on.
const TICKS: f64 = 100.0;
