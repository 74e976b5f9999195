//! Two network namespaces, what is between them, and a thread that lives in each.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Where east is over the first path, and over the second.
pub(crate) const EAST_FIRST: &str = "10.77.1.2";
pub(crate) const EAST_SECOND: &str = "10.77.2.2";

/// Two sites with a network between them. Dropping it takes everything down.
pub(crate) struct Lab {
    pub(crate) west: Room,
    pub(crate) east: Room,
    /// Forwards between the TUN devices, where there are any.
    wan: Option<Child>,
}

/// A network namespace and a runtime whose sockets are in it.
pub(crate) struct Room {
    name: String,
    handle: Handle,
    /// Dropping it ends the runtime.
    _open: oneshot::Sender<()>,
}

impl Lab {
    /// Two cables of their own: 10.77.1.0/24 and 10.77.2.0/24, west is .1 and east is .2 on both.
    pub(crate) fn two_paths() -> Self {
        let (west, east) = (namespace("w"), namespace("e"));
        for path in [1, 2] {
            let (near, far) = (format!("sl-w{path}"), format!("sl-e{path}"));
            run(&[
                "ip", "-n", &west, "link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &east,
            ]);
            address(&west, &near, &format!("10.77.{path}.1/24"));
            address(&east, &far, &format!("10.77.{path}.2/24"));
        }
        Self { west: Room::new(west), east: Room::new(east), wan: None }
    }

    /// One line that takes `latency` each way, carries `megabits` a second with a buffer of one round trip, and loses
    /// `percent` of all packets each way.
    pub(crate) fn wan(latency: Duration, megabits: u32, percent: u32) -> Self {
        let (west, east) = (namespace("w"), namespace("e"));
        let mut wan = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/network/wan.py"))
            .args([
                &format!("{west}t"),
                &format!("{east}t"),
                &latency.as_secs_f64().to_string(),
                &megabits.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(wan.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        for (name, place) in [(&west, "1"), (&east, "2")] {
            let device = format!("{name}t");
            run(&["ip", "link", "set", &device, "netns", name]);
            run(&["ip", "-n", name, "link", "set", &device, "mtu", "1400"]);
            address(name, &device, &format!("10.77.1.{place}/24"));
            let loss = format!("numgen random mod 100 < {percent} drop");
            rule(name, "wan", &["iifname", &device].into_iter().chain(loss.split(' ')).collect::<Vec<_>>());
        }
        Self { west: Room::new(west), east: Room::new(east), wan: Some(wan) }
    }

    /// From now on the first path swallows every packet; no socket is told.
    pub(crate) fn swallow_first(&self) {
        rule(&self.west.name, "hole", &["iifname", "sl-w1", "drop"]);
        rule(&self.east.name, "hole", &["iifname", "sl-e1", "drop"]);
    }

    /// The first path carries again.
    pub(crate) fn heal_first(&self) {
        for room in [&self.west, &self.east] {
            run(&["ip", "netns", "exec", &room.name, "nft", "delete", "table", "inet", "hole"]);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(wan) = &mut self.wan {
            // It ends when its input does; this is for one that does not.
            let _ = wan.kill();
            let _ = wan.wait();
        }
        for room in [&self.west, &self.east] {
            let _ = Command::new("ip").args(["netns", "del", &room.name]).status();
        }
    }
}

impl Room {
    fn new(name: String) -> Self {
        let path = format!("/run/netns/{name}");
        let (open, shut) = oneshot::channel();
        let (told, handle) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let namespace = File::open(path).unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            // Its helper threads are made from this one, and are in the same namespace.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            told.send(runtime.handle().clone()).unwrap();
            let _ = runtime.block_on(shut);
        });
        Self { name, handle: handle.recv().unwrap(), _open: open }
    }

    /// Does something inside.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.handle.spawn(work).await.unwrap()
    }

    /// Begins something inside.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }
}

/// A new namespace with its loopback up.
fn namespace(side: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Interface names have at most 15 characters.
    let name = format!("sl{side}{}{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    run(&["ip", "netns", "add", &name]);
    run(&["ip", "-n", &name, "link", "set", "lo", "up"]);
    name
}

fn address(namespace: &str, device: &str, address: &str) {
    run(&["ip", "-n", namespace, "addr", "add", address, "dev", device]);
    run(&["ip", "-n", namespace, "link", "set", device, "up"]);
}

/// Adds a rule on what comes in, in a table of that name.
fn rule(namespace: &str, table: &str, rule: &[&str]) {
    let nft = ["ip", "netns", "exec", namespace, "nft"];
    let with = |rest: &[&str]| run(&[&nft[..], rest].concat());
    with(&["add", "table", "inet", table]);
    with(&[
        "add", "chain", "inet", table, "in", "{", "type", "filter", "hook", "input", "priority", "0", ";",
        "}",
    ]);
    with(&[&["add", "rule", "inet", table, "in"], rule].concat());
}

fn run(words: &[&str]) {
    let status = Command::new(words[0]).args(&words[1..]).status().unwrap();
    assert!(status.success(), "{words:?}: {status}");
}
