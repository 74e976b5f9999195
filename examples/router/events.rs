//! What happens, on standard output: the plane's events and the router's own.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;
use sitelink::{Events, Moment, RoutingKey};

use super::args::Format;

/// Writes one line for each event, in a thread of its own: a reader of standard output that has stopped reading must
/// not hold up a connection, nor the end of the router. What does not fit into its queue is counted and dropped.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    format: Format,
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
}

/// An event of the router's own with its time; like those of the plane, but not numbered among them.
#[derive(Debug, Serialize)]
struct Stamped<'a> {
    /// Microseconds since the Unix epoch.
    at_micros: u128,
    #[serde(flatten)]
    fact: &'a Fact<'a>,
}

/// What only the router knows.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Fact<'a> {
    /// The admin page cannot be served; the router goes on without.
    AdminFailed { address: std::net::SocketAddr, message: String },
    /// The admin page is served.
    AdminUp { address: std::net::SocketAddr },
    /// A signal came: no new connections from here on.
    Stopping,
    /// A stream was refused because its server cannot be reached. Told at most once in some seconds for each key,
    /// with the count of those that were not told.
    TcpConnectorFailed { key: &'a RoutingKey, target: &'a str, message: String, untold: u64 },
    /// A key is served by dialing an address.
    TcpConnectorUp { key: &'a RoutingKey, target: &'a str },
    /// An address is reserved for a listener; it listens as soon as its key has a path.
    TcpListenerBound { key: &'a RoutingKey, address: std::net::SocketAddr },
    /// A listener's key has no path: clients are refused.
    TcpListenerDown { key: &'a RoutingKey, address: std::net::SocketAddr },
    /// A listener takes connections. It looks for a path itself, so that this line may come before the plane's
    /// `path_selected`.
    TcpListenerUp { key: &'a RoutingKey, address: std::net::SocketAddr },
}

impl Reporter {
    /// A reporter, and what tells that it has written all and its clones are gone.
    pub(super) fn start(format: Format) -> (Self, Receiver<()>) {
        let (lines, waiting) = sync_channel::<String>(QUEUED);
        let (done, ended) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let reporter = Self { format, lines, dropped: Arc::clone(&dropped) };
        thread::spawn(move || {
            for line in waiting {
                // A reader that went away is no reason to stop carrying connections.
                let mut out = std::io::stdout().lock();
                let _ = writeln!(out, "{line}");
                let lost = dropped.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    eprintln!("router: {lost} events dropped: nobody reads standard output");
                }
            }
            let _ = done.send(());
        });
        (reporter, ended)
    }

    /// Writes one of the router's own events.
    #[expect(clippy::disallowed_methods, reason = "a program outside the crate reads the clock")]
    pub(super) fn fact(&self, fact: &Fact<'_>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.write(&Stamped { at_micros: since.as_micros(), fact });
    }

    fn write(&self, event: &impl Serialize) {
        let line = match self.format {
            // In the order of the fields, as a type is read; a `Value` would sort them.
            Format::Json => serde_json::to_string(event),
            Format::Text => serde_json::to_value(event).map(|event| readable(&event)),
        };
        let line = line.unwrap_or_else(|error| format!("an event that cannot be written: {error}"));
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes the plane's events until the plane has shut down.
pub(super) async fn print(mut events: Events, reporter: Reporter) {
    while let Some(event) = events.next().await {
        reporter.write(&event);
    }
}

/// An event as one line for people: its name, then what it tells, without what only a machine wants.
pub(crate) fn readable(event: &Value) -> String {
    let mut line = format!("{:<19}", event["event"].as_str().unwrap_or("event"));
    let mut fields: Vec<_> = event.as_object().into_iter().flatten().collect();
    // Stable: what is not in the list follows by the alphabet.
    fields.sort_by_key(|(key, _)| FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len()));
    for (key, value) in fields {
        let text = match value.as_f64().filter(|_| SPANS.contains(&key.as_str())) {
            Some(seconds) => format!("{:.1?}", Duration::try_from_secs_f64(seconds).unwrap_or_default()),
            None => told(key, value),
        };
        if !UNREAD.contains(&key.as_str()) && !text.is_empty() {
            line.push_str(&format!(" {key}={text}"));
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// A field for people: moments are written as dates.
fn told(key: &str, value: &Value) -> String {
    match value.as_i64() {
        Some(seconds) if MOMENTS.contains(&key) => Moment(seconds).to_string(),
        _ => plain(value),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            if let (Some(site), Some(router)) = (value["site_name"].as_str(), value["router"].as_str()) {
                return format!("{site}/{router}");
            }
            if let (Some(sent), Some(received)) =
                (value["sent_bytes"].as_u64(), value["received_bytes"].as_u64())
            {
                return format!("{}/{}", size(sent), size(received));
            }
            let fields = fields.iter().filter(|(key, _)| !UNREAD.contains(&key.as_str()));
            let fields: Vec<_> = fields.map(|(key, value)| format!("{key}: {}", told(key, value))).collect();
            if fields.len() > 1 { format!("{{{}}}", fields.join(", ")) } else { fields.concat() }
        }
        value => value.to_string(),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1}kB", bytes as f64 / 1e3),
        1_000_000.. => format!("{:.1}MB", bytes as f64 / 1e6),
    }
}

/// Lines that wait to be written: as many as the plane keeps for a slow subscriber.
const QUEUED: usize = 1024;

/// What is looked for first in a line: who, then where, then why.
const FIRST: [&str; 11] = [
    "name",
    "key",
    "peer",
    "destination",
    "address",
    "endpoint",
    "phase",
    "error",
    "refusal",
    "end",
    "session",
];

/// Time spans, in seconds.
const SPANS: [&str; 6] = ["after", "last_received_ago", "left", "next_attempt_in", "resume_window", "within"];
/// Unix seconds.
const MOMENTS: [&str; 5] = ["next_update", "not_after", "not_before", "now", "this_update"];

/// What a reader of lines can do without: it has the order already, or it is an id that nobody remembers.
const UNREAD: [&str; 6] = ["event", "seq", "at_micros", "id", "round_trip", "instance"];
