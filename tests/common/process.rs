//! Example programs as processes of their own.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a process that cannot be run fails its test")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::within;

/// A router process. Dropping it kills the process.
pub(crate) struct Router {
    name: &'static str,
    /// The process.
    pub(crate) child: Child,
    /// Its standard output; one event a line.
    pub(crate) events: Lines<BufReader<ChildStdout>>,
}

impl Router {
    /// Starts one with events as JSON.
    pub(crate) fn start(name: &'static str, arguments: &[String]) -> Self {
        let mut child = Command::new(example("router"))
            .args(["--site", name, "--events", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let events = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { name, child, events }
    }

    /// The next event of a kind; those before it are left out.
    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        let mut seen = Vec::new();
        let search = async {
            loop {
                let line = self.events.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("{} ended; seen: {seen:#?}", self.name));
                let event: Value = serde_json::from_str(&line).unwrap();
                if event["event"] == kind {
                    return event;
                }
                seen.push(line);
            }
        };
        within(search).await
    }

    /// The address that the next event of a kind names.
    pub(crate) async fn address(&mut self, kind: &str) -> SocketAddr {
        self.event(kind).await["address"].as_str().unwrap().parse().unwrap()
    }

    /// The addresses that the next event of each kind names, in whatever order they come.
    pub(crate) async fn addresses<const N: usize>(&mut self, kinds: [&str; N]) -> [SocketAddr; N] {
        let mut found = [None; N];
        while found.iter().any(Option::is_none) {
            let line = within(self.events.next_line()).await.unwrap().unwrap();
            let event: Value = serde_json::from_str(&line).unwrap();
            if let Some(at) = kinds.iter().position(|kind| event["event"] == **kind) {
                found[at] = event["address"].as_str().map(|address| address.parse().unwrap());
            }
        }
        found.map(Option::unwrap)
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Kills it; nobody is told.
    pub(crate) async fn kill(&mut self) {
        within(self.child.kill()).await.unwrap();
    }

    /// Sends SIGTERM; the exit status must be 0.
    pub(crate) async fn stop(&mut self) {
        let id = self.child.id().unwrap().to_string();
        let killed = Command::new("sh").args(["-c", "kill -TERM $0", &id]).status().await.unwrap();
        assert!(killed.success());
        // Its output is read to the end, or it could wait for that.
        while within(self.events.next_line()).await.unwrap().is_some() {}
        let status = within(self.child.wait()).await.unwrap();
        assert!(status.success(), "{} ended with {status}", self.name);
    }
}

/// The built example: `cargo test` builds the examples first, and puts them beside the folder of the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(built.exists(), "no {}; `cargo build --example {name}` makes it", built.display());
    built
}
