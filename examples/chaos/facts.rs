//! What the two routers tell, as far as it matters here.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use serde_json::Value;
use tokio::sync::watch;

/// One of the two routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It accepts.
    East,
    /// It dials.
    West,
}

/// What was told so far.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The carriers that are up at west, by session and number: where each calls from.
    carriers: HashMap<(u64, u64), SocketAddr>,
    /// Those that are up and held suspect by either end.
    pub(crate) suspects: u64,
    /// The ordinal of the newest bundle taken, by end.
    taken: [u64; 2],
    /// The newest of which no carrier is left that is older, by end.
    completed: [u64; 2],
    /// The longest that took, in seconds.
    pub(crate) longest_rotation: f64,
    /// How often a kind of event was told, both ends together.
    counts: BTreeMap<String, u64>,
    /// Bytes sent again when a session had no carrier and got one.
    pub(crate) resent: u64,
}

/// Facts that can be waited for.
#[derive(Clone)]
pub(crate) struct Told(watch::Sender<Facts>);

impl Told {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Facts::default()))
    }

    /// Takes note of an event.
    pub(crate) fn note(&self, end: End, event: &Value) {
        self.0.send_modify(|facts| facts.note(end, event));
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, holds: impl FnMut(&Facts) -> bool) {
        // It cannot fail: this very value keeps the sender.
        let _ = self.0.subscribe().wait_for(holds).await;
    }

    /// Looks.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Facts) -> T) -> T {
        at(&self.0.borrow())
    }
}

impl Facts {
    /// Which bundle an end has taken last.
    pub(crate) fn taken(&self, end: End) -> u64 {
        self.taken[end as usize]
    }

    /// Whether all carriers of an end are of that bundle.
    pub(crate) fn has_rotated(&self, end: End) -> bool {
        self.completed[end as usize] >= self.taken(end)
    }

    /// How often an event was told.
    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.counts.get(kind).copied().unwrap_or(0)
    }

    /// Where the carriers that are up call from.
    pub(crate) fn callers(&self) -> impl Iterator<Item = SocketAddr> {
        self.carriers.values().copied()
    }

    fn note(&mut self, end: End, event: &Value) {
        let Some(kind) = event["event"].as_str() else { return };
        *self.counts.entry(kind.to_owned()).or_default() += 1;
        let number = |field: &str| event[field].as_u64().unwrap_or(0);
        let carrier = (number("session"), number("carrier"));
        match kind {
            "carrier_up" if end == End::West => {
                let local = event["local"].as_str().and_then(|local| local.parse().ok());
                self.carriers.extend(local.map(|local| (carrier, local)));
            }
            "carrier_down" if end == End::West => {
                self.carriers.remove(&carrier);
            }
            "carrier_suspect" => self.suspects += 1,
            "credentials_rotated" => self.taken[end as usize] = number("ordinal"),
            "rotation_completed" => {
                self.completed[end as usize] = number("ordinal");
                self.longest_rotation = self.longest_rotation.max(event["after"].as_f64().unwrap_or(0.0));
            }
            "session_resumed" => self.resent += number("resent_bytes"),
            _ => {}
        }
    }
}
