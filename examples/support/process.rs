//! A router in a process of its own: its events are handed to whoever starts it, and can be waited for.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::support::Outcome;

/// A running router. Dropping it kills the process.
pub(crate) struct Router {
    name: &'static str,
    child: Child,
    /// Ends with the process.
    events: mpsc::Receiver<Value>,
    /// Events that came while another was waited for.
    seen: Vec<Value>,
}

impl Router {
    /// This program as the router of a site of that name, not started yet.
    pub(crate) fn command(name: &str) -> Outcome<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["router", "--site", name, "--events", "json"].map(OsStr::new));
        Ok(command)
    }

    /// Starts it; `tell` is given each event as it comes.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        tell: impl Fn(&Value) + Send + 'static,
    ) -> Outcome<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().ok_or("the router has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let (keep, events) = mpsc::channel(EVENTS);
        TaskTracker::new().spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let event = serde_json::from_str(&line).unwrap_or_default();
                tell(&event);
                // Never waited for: a router must not stand still because nobody looks.
                let _ = keep.try_send(event);
            }
        });
        Ok(Self { name, child, events, seen: Vec::new() })
    }

    /// Waits for the next event of a kind. Each event is given out once.
    pub(crate) async fn event(&mut self, kind: &str) -> Outcome<Value> {
        let found = self.find(|event| event["event"] == kind).await;
        found.map_err(|error| format!("{}: {kind}: {error}", self.name).into())
    }

    /// Waits for an event of a kind about a routing key, and takes its address.
    pub(crate) async fn address_of(&mut self, kind: &str, key: &str) -> Outcome<SocketAddr> {
        let event = self.find(|event| event["event"] == kind && event["key"] == key).await?;
        Ok(event["address"].as_str().ok_or("the event has no address")?.parse()?)
    }

    /// Asks it to stop; an error unless it ends in good order.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        let id = self.child.id().ok_or("the router has ended already")?;
        // Signals need a system call that std does not offer; every shell does.
        Command::new("sh").arg("-c").arg(format!("kill -TERM {id}")).status().await?;
        while timeout(PATIENCE, self.events.recv()).await?.is_some() {}
        let status = timeout(PATIENCE, self.child.wait()).await??;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", self.name).into()) }
    }

    async fn find(&mut self, wanted: impl Fn(&Value) -> bool) -> Outcome<Value> {
        if let Some(index) = self.seen.iter().position(&wanted) {
            return Ok(self.seen.remove(index));
        }
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await.map_err(|_| "not seen in time")?;
            let event = event.ok_or("the router has ended")?;
            if wanted(&event) {
                return Ok(event);
            }
            self.seen.push(event);
        }
    }
}

/// Longer than any phase of linking may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Far more than the routers have to tell while one event is waited for.
const EVENTS: usize = 4096;
