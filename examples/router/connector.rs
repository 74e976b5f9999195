//! The TCP connectors: each stream to a key they serve becomes a connection to their address.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use sitelink::{Incoming, Plane, StreamCode};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Keyed, copy};

/// Takes streams until stopped, each in a task of its own.
pub(super) async fn run(plane: Plane, targets: Vec<Keyed>, stop: CancellationToken, tasks: TaskTracker) {
    let targets: HashMap<_, _> = targets.into_iter().map(|target| (target.key, target.address)).collect();
    loop {
        let incoming = tokio::select! {
            () = stop.cancelled() => return,
            incoming = plane.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        match incoming.routing_key().and_then(|key| targets.get(key)) {
            Some(address) => {
                tasks.spawn(connect(incoming, address.clone()));
            }
            None => incoming.refuse(StreamCode::NOT_SERVED),
        }
    }
}

async fn connect(incoming: Incoming, address: String) {
    let connecting = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(&address)).await;
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
            tracing::debug!(address, %error, "cannot reach the application");
            incoming.refuse(StreamCode::UNREACHABLE);
        }
    }
}

/// Below the ten seconds a stream may wait to be accepted, so that its opener learns the true cause.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
