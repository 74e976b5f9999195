//! One connection of the link on its way through the relay, and what is done to it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    /// They go on.
    #[default]
    Pass,
    /// They go on a few at a time, with pauses.
    Drip,
    /// They are not taken; they go on later.
    Hold,
    /// They vanish, and so does the end of the connection.
    Vanish,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A reset to both ends; what was under way is lost.
    Reset,
    /// A FIN to both ends.
    Finish,
}

/// What a path obeys.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Orders {
    pub(crate) up: Flow,
    pub(crate) down: Flow,
    pub(crate) cut: Option<Cut>,
}

/// A connection that is being relayed.
#[derive(Debug)]
pub(crate) struct Path {
    /// Where the dialer calls from: by this its events name the carrier.
    pub(crate) dialer: SocketAddr,
    orders: watch::Sender<Orders>,
    /// Bytes that may still pass before it is reset; [`u64::MAX`] if there is no such bound.
    budget: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Path {
    pub(crate) fn new(dialer: SocketAddr, orders: Orders, budget: Option<u64>) -> Self {
        let budget = AtomicU64::new(budget.unwrap_or(u64::MAX));
        Self { dialer, orders: watch::Sender::new(orders), budget }
    }

    /// Changes what it obeys.
    pub(crate) fn order(&self, change: impl FnOnce(&mut Orders)) {
        self.orders.send_modify(change);
    }

    /// Whether nothing is wrong with it.
    pub(crate) fn is_sound(&self) -> bool {
        let orders = *self.orders.borrow();
        orders.cut.is_none() && (orders.up, orders.down) == (Flow::Pass, Flow::Pass)
    }

    /// Relays until both halves have ended, or it is cut.
    pub(crate) async fn run(&self, mut near: TcpStream, mut far: TcpStream) {
        let mut orders = self.orders.subscribe();
        let cut = {
            let (near_read, near_write) = near.split();
            let (far_read, far_write) = far.split();
            let both = async {
                tokio::join!(
                    self.pump(near_read, far_write, Way::Up),
                    self.pump(far_read, near_write, Way::Down)
                )
            };
            tokio::select! {
                biased;
                cut = orders.wait_for(|orders| orders.cut.is_some()) => cut.ok().and_then(|orders| orders.cut),
                _ = both => None,
            }
        };
        match cut {
            Some(Cut::Reset) => {
                for end in [&near, &far] {
                    // Closed like this it is a reset. It fails only on a socket that is gone already.
                    let _ = SockRef::from(end).set_linger(Some(Duration::ZERO));
                }
            }
            Some(Cut::Finish) => {
                // Closed with bytes unread it would be a reset.
                let _ = timeout(FAREWELL, async { tokio::join!(farewell(near), farewell(far)) }).await;
            }
            None => {}
        }
    }

    /// Forwards one way until its end.
    async fn pump(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way) -> io::Result<()> {
        let mut orders = self.orders.subscribe();
        let mut buffer = vec![0; BUFFER];
        let mut pieces = fastrand::Rng::new();
        loop {
            let flow = flow(&orders.borrow_and_update(), way);
            let room = match flow {
                Flow::Hold => {
                    if orders.changed().await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                Flow::Drip => {
                    sleep(DRIP).await;
                    pieces.usize(1..DROP)
                }
                Flow::Pass | Flow::Vanish => BUFFER,
            };
            let read = tokio::select! {
                read = from.read(&mut buffer[..room]) => read?,
                changed = orders.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    continue;
                }
            };
            match (flow, read) {
                // The other end is told nothing. It is up to it to give the connection up.
                (Flow::Vanish, 0) => std::future::pending().await,
                (Flow::Vanish, _) => {}
                (_, 0) => return to.shutdown().await,
                (_, read) => {
                    let allowed = self.spend(read);
                    to.write_all(&buffer[..allowed]).await?;
                    if allowed < read {
                        self.order(|orders| orders.cut = Some(Cut::Reset));
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    /// How many of `wanted` bytes may still pass.
    fn spend(&self, wanted: usize) -> usize {
        let left = |budget: u64| match budget {
            u64::MAX => None,
            budget => Some(budget.saturating_sub(wanted as u64)),
        };
        match self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
            Ok(before) => usize::try_from(before).unwrap_or(wanted).min(wanted),
            Err(_) => wanted,
        }
    }
}

fn flow(orders: &Orders, way: Way) -> Flow {
    if way == Way::Up { orders.up } else { orders.down }
}

/// Says that nothing more comes, and takes what still does.
async fn farewell(mut tcp: TcpStream) {
    let _ = tcp.shutdown().await;
    let mut buffer = [0; 1024];
    while tcp.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// Large enough that the relay is not what is measured.
const BUFFER: usize = 64 << 10;

/// Between the pieces of a slow connection, which are below so many bytes: some 600 kB/s, less than the load.
const DRIP: Duration = Duration::from_millis(2);
const DROP: usize = 2500;

/// How long the ends of a connection have to take note of a FIN.
const FAREWELL: Duration = Duration::from_secs(5);
