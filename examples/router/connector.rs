//! The TCP connectors: each stream to a key they serve becomes a connection to their address.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sitelink::{Incoming, Plane, RoutingKey, StreamCode};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::events::{Fact, Reporter};
use super::{Keyed, copy};

/// The connectors of a router.
pub(super) struct Connectors {
    targets: HashMap<RoutingKey, Arc<Target>>,
}

/// Where the streams of a key go.
struct Target {
    key: RoutingKey,
    /// Host and port.
    address: String,
    reporter: Reporter,
    told: Mutex<Told>,
}

/// What was told of failures, so that a server that is down does not fill the log.
#[derive(Default)]
struct Told {
    last: Option<Instant>,
    /// Failures since then.
    untold: u64,
}

impl Connectors {
    pub(super) fn new(targets: Vec<Keyed>, reporter: Reporter) -> Self {
        let target = |Keyed { key, address }: Keyed| {
            let (reporter, told) = (reporter.clone(), Mutex::default());
            (key.clone(), Arc::new(Target { key, address, reporter, told }))
        };
        Self { targets: targets.into_iter().map(target).collect() }
    }

    /// Takes streams until stopped, each in a task of its own.
    pub(super) async fn run(self, plane: Plane, stop: CancellationToken, tasks: TaskTracker) {
        loop {
            let incoming = tokio::select! {
                () = stop.cancelled() => return,
                incoming = plane.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            match incoming.routing_key().and_then(|key| self.targets.get(key)) {
                Some(target) => {
                    tasks.spawn(connect(incoming, Arc::clone(target)));
                }
                None => incoming.refuse(StreamCode::NOT_SERVED),
            }
        }
    }
}

impl Target {
    /// Tells of a failure, unless one was told a moment ago.
    #[expect(clippy::disallowed_methods, reason = "a program outside the crate reads the clock")]
    fn failed(&self, error: &io::Error) {
        let untold = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.last.is_some_and(|last| last.elapsed() < QUIET) {
                told.untold += 1;
                return;
            }
            told.last = Some(Instant::now());
            std::mem::take(&mut told.untold)
        };
        tracing::warn!(key = %self.key, target = %self.address, %error, untold, "cannot connect");
        let message = error.to_string();
        self.reporter.fact(&Fact::TcpConnectorFailed {
            key: &self.key,
            target: &self.address,
            message,
            untold,
        });
    }
}

async fn connect(incoming: Incoming, target: Arc<Target>) {
    // Connecting needs more room than carrying, and not for long.
    let connecting = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(&target.address));
    let connecting = Box::pin(connecting).await;
    match connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(server) => match incoming.accept() {
            Ok(stream) => copy::carry(server, stream).await,
            // It was reset, or its session was lost, while we connected.
            Err(error) => {
                tracing::debug!(%error, "stream gone before it was accepted");
                copy::reset(&server);
            }
        },
        Err(error) => {
            target.failed(&error);
            incoming.refuse(StreamCode::UNREACHABLE);
        }
    }
}

/// Below the ten seconds a stream may wait to be accepted, so that its opener learns the true cause.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// How long a key is quiet after it told of a failure.
const QUIET: Duration = Duration::from_secs(5);
