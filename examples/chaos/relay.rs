//! The network between the two routers: a TCP relay that knows each connection.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::path::{Flow, Orders, Path};

/// Relays connections to one address. It ends with its runtime.
#[derive(Clone)]
pub(crate) struct Relay(Arc<Shared>);

struct Shared {
    target: SocketAddr,
    port: u16,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those that are being relayed.
    paths: Vec<Arc<Path>>,
    door: Door,
    /// The next so many connections are reset after so many bytes.
    doomed: Option<(usize, u64)>,
    /// How many were so far.
    dooms: u64,
}

/// What becomes of new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Door {
    /// They are relayed.
    #[default]
    Open,
    /// They are reset.
    Refusing,
    /// They are taken, and nothing is said on them until the door is open again.
    Silent,
}

impl Relay {
    /// Starts relaying from a free port.
    pub(crate) async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let relay = Self(Arc::new(Shared { target, port, state: Mutex::default() }));
        let (relaying, tasks) = (relay.clone(), TaskTracker::new());
        tasks.clone().spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((near, dialer)) => {
                        let relay = relaying.clone();
                        tasks.spawn(async move { relay.carry(near, dialer).await });
                    }
                    // Out of descriptors, mostly: those that end give theirs back.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        });
        Ok(relay)
    }

    /// Where it takes connections.
    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }

    /// Those that are being relayed, the oldest first.
    pub(crate) fn paths(&self) -> Vec<Arc<Path>> {
        self.state().paths.clone()
    }

    /// Says what becomes of new connections.
    pub(crate) fn door(&self, door: Door) {
        self.state().door = door;
    }

    /// Resets the next so many connections after so many bytes, both ways together.
    pub(crate) fn doom(&self, times: usize, after: u64) {
        self.state().doomed = Some((times, after));
    }

    /// Spares those that have not come yet.
    pub(crate) fn spare(&self) {
        self.state().doomed = None;
    }

    /// How many connections were doomed so far.
    pub(crate) fn doomed(&self) -> u64 {
        self.state().dooms
    }

    /// Ends every fault that ends by itself: what stands still goes on, and new connections are relayed.
    pub(crate) fn open(&self) {
        self.door(Door::Open);
        self.spare();
        for path in self.paths() {
            path.order(|orders| {
                for flow in [&mut orders.up, &mut orders.down] {
                    if *flow != Flow::Vanish {
                        *flow = Flow::Pass;
                    }
                }
            });
        }
    }

    async fn carry(&self, near: TcpStream, dialer: SocketAddr) {
        let path = {
            let mut state = self.state();
            if state.door == Door::Refusing {
                drop(state);
                let _ = SockRef::from(&near).set_linger(Some(Duration::ZERO));
                return;
            }
            let budget = state.doomed.and_then(|(times, after)| {
                let left = times.checked_sub(1)?;
                state.doomed = Some((left, after));
                state.dooms += 1;
                Some(after)
            });
            let flow = if state.door == Door::Silent { Flow::Hold } else { Flow::Pass };
            let path = Arc::new(Path::new(dialer, Orders { up: flow, down: flow, cut: None }, budget));
            state.paths.push(Arc::clone(&path));
            path
        };
        if let Ok(far) = TcpStream::connect(self.0.target).await {
            // Without it the relay would add to the pauses; a failure does no harm but that.
            let _ = near.set_nodelay(true);
            let _ = far.set_nodelay(true);
            path.run(near, far).await;
        }
        self.state().paths.retain(|other| !Arc::ptr_eq(other, &path));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
