//! A router in a process of its own: its events are shown as they come, and can be waited for.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::router::events::readable;
use crate::support::Outcome;

/// A running router. Dropping it kills the process.
pub(crate) struct Router {
    name: &'static str,
    child: Child,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
    /// Events that came while another was waited for.
    seen: Vec<Value>,
}

impl Router {
    /// Starts this program as a router.
    pub(crate) fn start(name: &'static str, arguments: impl IntoIterator<Item = OsString>) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["router", "--site", name, "--events", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the router has no output")?;
        Ok(Self { name, child, lines: BufReader::new(stdout).lines(), seen: Vec::new() })
    }

    /// Waits for the next event of a kind. Each event is given out once.
    pub(crate) async fn event(&mut self, kind: &str) -> Outcome<Value> {
        self.find(|event| event["event"] == kind)
            .await
            .map_err(|error| format!("{}: {kind}: {error}", self.name).into())
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
        while let Some(line) = timeout(PATIENCE, self.lines.next_line()).await?? {
            self.show(&line);
        }
        let status = timeout(PATIENCE, self.child.wait()).await??;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", self.name).into()) }
    }

    async fn find(&mut self, wanted: impl Fn(&Value) -> bool) -> Outcome<Value> {
        if let Some(index) = self.seen.iter().position(&wanted) {
            return Ok(self.seen.remove(index));
        }
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await.map_err(|_| "not seen in time")??;
            let event = self.show(&line.ok_or("the router has ended")?);
            if wanted(&event) {
                return Ok(event);
            }
            self.seen.push(event);
        }
    }

    fn show(&self, line: &str) -> Value {
        let event = serde_json::from_str(line).unwrap_or_default();
        println!("   {:<6}{}", self.name, readable(&event));
        event
    }
}

/// Longer than any phase of linking may take.
const PATIENCE: Duration = Duration::from_secs(30);
