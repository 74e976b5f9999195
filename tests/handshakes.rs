//! Those who only open connections: idle, half-way through a handshake, or a byte at a time. They keep nobody out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test measures with a clock and owns its tasks")]
#![allow(clippy::large_futures, reason = "a test is polled in place")]

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::pki::TestCa;
use common::{credentials, link, loopback, plane_with, raw, until, within};
use rustls::ClientConnection;
use rustls_pki_types::ServerName;
use sitelink::config::Carriers;
use sitelink::{Access, AccessSpec, EventKind, Events, LinkRole, PeerRefusal, Phase, Plane, PlaneConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// East with an access, and what it tells.
struct East {
    ca: TestCa,
    plane: Plane,
    events: Events,
    access: Access,
}

impl East {
    async fn with(config: PlaneConfig) -> Self {
        let ca = TestCa::new("ca");
        let plane = plane_with("east", config).await;
        let events = plane.events();
        let server = credentials("server", &ca.server(&["127.0.0.1"]));
        let access = plane.listen(AccessSpec::new(loopback(), LinkRole::InterRouter), server).await.unwrap();
        Self { ca, plane, events, access }
    }

    /// How long a new site takes from the wish for a link until it is up, which it is at the first attempt.
    async fn time_to_link(&self, name: &str) -> Duration {
        // One carrier: the handshake of another might be under way when the site leaves, and would be refused, too.
        let mut config = PlaneConfig::default();
        config.carriers = Carriers(1);
        let west = plane_with(name, config).await;
        let mut events = west.events();
        let with = credentials("west", &self.ca.client(name));
        let began = Instant::now();
        link(&west, "east", self.access.address(), with).await;
        until(&mut events, |kind| {
            assert!(!matches!(kind, EventKind::DialFailed { .. }), "{kind:?}");
            matches!(kind, EventKind::GroupUp { .. })
        })
        .await;
        let took = began.elapsed();
        west.shutdown(Duration::ZERO).await;
        took
    }

    /// The middle of several links, one after the other: a machine that is busy elsewhere delays one of them.
    async fn usual_time_to_link(&self, round: &str) -> Duration {
        let mut times = Vec::new();
        for number in 0..LINKS {
            times.push(self.time_to_link(&format!("{round}-{number}")).await);
        }
        times.sort();
        times[LINKS / 2]
    }

    /// The next so many refusals are of that address and for that reason.
    async fn refuses(&mut self, count: usize, from: IpAddr, why: &PeerRefusal) {
        let mut refused = 0;
        until(&mut self.events, |kind| {
            if let EventKind::PeerRefused { address, phase, refusal, .. } = kind {
                assert_eq!((address.ip(), *phase, refusal), (from, Phase::Tls, why));
                refused += 1;
            }
            refused == count
        })
        .await;
    }

    fn address(&self) -> SocketAddr {
        self.access.address()
    }
}

/// A connection from that address.
async fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    within(socket.connect(to)).await.unwrap()
}

/// A thousand, or what the limit of open files leaves room for; each connection has two ends here.
fn crowd_size() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    let room = soft.map_or(CROWD, |files| files.saturating_sub(SPARE) / 2);
    if room < CROWD {
        println!("a crowd of {room} in place of {CROWD}: the limit of open files is {soft:?}");
    }
    CROWD.min(room)
}

/// Events enough for a whole crowd.
fn roomy() -> PlaneConfig {
    let mut config = PlaneConfig::default();
    config.event_capacity.0 = 4 * CROWD;
    config
}

fn assert_undelayed(with_crowd: Duration, without: Duration) {
    assert!(with_crowd <= without + DELAY, "{with_crowd:?} with the crowd, {without:?} without");
}

#[tokio::test]
async fn a_thousand_idle_connections_from_elsewhere_do_not_delay_a_link() {
    let mut east = East::with(roomy()).await;
    let alone = east.usual_time_to_link("alone").await;
    let mut crowd = Vec::new();
    for _ in 0..crowd_size() {
        crowd.push(connect(ELSEWHERE, east.address()).await);
    }
    let beside = east.usual_time_to_link("beside").await;
    assert_undelayed(beside, alone);
    // They put out each other, and nobody else.
    let places = PlaneConfig::default().access.handshakes_per_address;
    east.refuses(crowd.len() - places, ELSEWHERE, &PeerRefusal::Evicted).await;
    east.plane.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_thousand_idle_connections_from_the_same_address_make_room_for_a_link() {
    let mut east = East::with(roomy()).await;
    let alone = east.usual_time_to_link("alone").await;
    let mut crowd = Vec::new();
    for _ in 0..crowd_size() {
        crowd.push(connect(loopback().ip(), east.address()).await);
    }
    let beside = east.usual_time_to_link("beside").await;
    // What it costs is to put the oldest out.
    assert_undelayed(beside, alone);
    let places = PlaneConfig::default().access.handshakes_per_address;
    east.refuses(crowd.len() - places + 1, loopback().ip(), &PeerRefusal::Evicted).await;
}

#[tokio::test]
async fn a_thousand_half_open_handshakes_do_not_delay_a_link() {
    let mut east = East::with(roomy()).await;
    let alone = east.usual_time_to_link("alone").await;
    let tls = Arc::new(raw::client(&east.ca.client("guest")));
    let name = ServerName::IpAddress(east.address().ip().into());
    let mut crowd = Vec::new();
    for _ in 0..crowd_size() {
        let mut tcp = connect(ELSEWHERE, east.address()).await;
        let mut guest = ClientConnection::new(Arc::clone(&tls), name.clone()).unwrap();
        let mut flight = Vec::new();
        guest.write_tls(&mut flight).unwrap();
        tcp.write_all(&flight).await.unwrap();
        crowd.push(tcp);
    }
    // The newest have their answers and leave it at that; the others have been put out.
    let mut answer = [0; 5];
    let newest = crowd.last_mut().unwrap();
    within(newest.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer[0], 0x16, "a handshake record");
    let beside = east.usual_time_to_link("beside").await;
    assert_undelayed(beside, alone);
    let places = PlaneConfig::default().access.handshakes_per_address;
    east.refuses(crowd.len() - places, ELSEWHERE, &PeerRefusal::Evicted).await;
}

#[tokio::test]
async fn clients_that_send_a_byte_a_second_are_cut_at_the_deadline_and_delay_nobody() {
    let mut config = roomy();
    config.deadlines.tls = Duration::from_secs(3);
    let after = config.deadlines.tls;
    let places = config.access.handshakes_per_address;
    let mut east = East::with(config).await;
    let alone = east.usual_time_to_link("alone").await;
    // The beginning of a record that holds a client's hello.
    let beginning = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..places {
        let mut tcp = connect(ELSEWHERE, east.address()).await;
        slow.spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_secs(1));
            let (mut read, mut sent) = ([0; 16], 0);
            for byte in beginning {
                tokio::select! {
                    _ = pace.tick() => sent += usize::from(tcp.write_all(&[byte]).await.is_ok()),
                    _ = tcp.read(&mut read) => break,
                }
            }
            sent
        });
    }
    let beside = east.usual_time_to_link("beside").await;
    assert_undelayed(beside, alone);
    east.refuses(places, ELSEWHERE, &PeerRefusal::TimedOut { phase: Phase::Tls, after }).await;
    for sent in within(slow.join_all()).await {
        assert!((1..beginning.len()).contains(&sent), "cut after {sent} bytes");
    }
}

/// Another address of this machine: Linux answers for all of 127.0.0.0/8.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const CROWD: usize = 1000;
/// Files that the test needs for itself.
const SPARE: usize = 200;
/// What the crowd may cost a link.
const DELAY: Duration = Duration::from_millis(100);
/// Of so many links the middle one counts.
const LINKS: usize = 5;
