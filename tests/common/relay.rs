//! A TCP relay between dialer and access that can be told to misbehave: to cut, to stall, to refuse, to be dumb.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a relay that cannot be set up fails its test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How connections are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Both ends get a reset.
    Reset,
    /// Both ends get an end of file (or a reset, where bytes were unread).
    Finish,
    /// The dialer gets a reset; the access is left with a connection on which nothing comes any more.
    AtDialer,
    /// The access gets a reset; the dialer is left with a connection on which nothing comes any more.
    AtAccess,
}

/// What becomes of new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// They are carried on.
    Open,
    /// They are reset at once.
    Refusing,
    /// They are taken, and nothing is ever said on them.
    Mute,
    /// Of what the dialer sends, the first piece is carried on, the rest only when nothing is stalled any more.
    HeldAfterFirst,
}

/// What the connections obey.
#[derive(Clone, Copy, Debug)]
struct Orders {
    door: Door,
    /// Counts the cuts; a connection made under a lower number is cut.
    cuts: u64,
    cut: Cut,
    /// Connections beyond this one are spared.
    cut_up_to: usize,
    /// Connections up to this one forward nothing from the dialer, or from the access.
    stalled_up: usize,
    stalled_down: usize,
    /// Counts the releases of held connections.
    releases: u64,
    /// The one connection that is cut by itself, by the address its dialer calls from.
    cut_one: Option<(SocketAddr, Cut)>,
}

/// The relay. It ends with its runtime.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Connections are led to each in turn.
    targets: Vec<SocketAddr>,
    orders: watch::Sender<Orders>,
    /// How many bytes are still forwarded before a cut; negative: no such cut is ordered.
    budget: AtomicI64,
    accepted: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Relay {
    /// Relays to `target`.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        Self::between(&[target]).await
    }

    /// Leads each connection to the next of these, as a load balancer does.
    pub(crate) async fn between(targets: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind(super::loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let orders = Orders {
            door: Door::Open,
            cuts: 0,
            cut: Cut::Reset,
            cut_up_to: usize::MAX,
            stalled_up: 0,
            stalled_down: 0,
            releases: 0,
            cut_one: None,
        };
        let shared = Arc::new(Shared {
            targets: targets.to_vec(),
            orders: watch::Sender::new(orders),
            budget: AtomicI64::new(NONE),
            accepted: AtomicUsize::new(0),
        });
        let relay = Self { address, shared: Arc::clone(&shared) };
        tokio::task::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::task::spawn(Arc::clone(&shared).connection(near, number));
            }
        });
        relay
    }

    /// Where to dial.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were taken so far, refused ones included.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Cuts all connections now.
    pub(crate) fn cut(&self, how: Cut) {
        self.shared.cut(how);
    }

    /// Cuts the connection that comes from `dialer`: the `local` of a carrier at the end that dialed.
    pub(crate) fn cut_one(&self, dialer: SocketAddr, how: Cut) {
        self.shared.orders.send_modify(|orders| orders.cut_one = Some((dialer, how)));
    }

    /// Cuts those of the connections there are that were among the first so many.
    pub(crate) fn cut_first(&self, connections: usize, how: Cut) {
        self.shared.orders.send_modify(|orders| {
            orders.cuts += 1;
            (orders.cut, orders.cut_up_to) = (how, connections);
        });
    }

    /// From now on, nothing is forwarded on the first so many connections; they stay open.
    pub(crate) fn stall_first(&self, connections: usize) {
        self.shared
            .orders
            .send_modify(|orders| (orders.stalled_up, orders.stalled_down) = (connections, connections));
    }

    /// Cuts all connections when `bytes` more were forwarded, and waits for that.
    pub(crate) async fn cut_after(&self, bytes: u32, how: Cut) {
        let mut orders = self.shared.orders.subscribe();
        let before = orders.borrow_and_update().cuts;
        self.shared.orders.send_modify(|orders| orders.cut = how);
        self.shared.budget.store(bytes.into(), Ordering::SeqCst);
        super::within(orders.wait_for(|orders| orders.cuts > before)).await.unwrap();
    }

    /// From now on, nothing is forwarded on the connections there are; they stay open.
    pub(crate) fn stall(&self) {
        let accepted = self.accepted();
        self.shared
            .orders
            .send_modify(|orders| (orders.stalled_up, orders.stalled_down) = (accepted, accepted));
    }

    /// From now on, nothing the dialer sends is forwarded on the connections there are.
    pub(crate) fn stall_requests(&self) {
        let accepted = self.accepted();
        self.shared.orders.send_modify(|orders| orders.stalled_up = accepted);
    }

    /// From now on, nothing the access sends is forwarded on the connections there are.
    pub(crate) fn stall_answers(&self) {
        let accepted = self.accepted();
        self.shared.orders.send_modify(|orders| orders.stalled_down = accepted);
    }

    /// What is stalled or held goes on.
    pub(crate) fn release(&self) {
        self.shared.orders.send_modify(|orders| {
            (orders.stalled_up, orders.stalled_down) = (0, 0);
            orders.releases += 1;
        });
    }

    /// What becomes of new connections from now on.
    pub(crate) fn door(&self, door: Door) {
        self.shared.orders.send_modify(|orders| orders.door = door);
    }
}

impl Shared {
    fn cut(&self, how: Cut) {
        self.orders.send_modify(|orders| {
            orders.cuts += 1;
            (orders.cut, orders.cut_up_to) = (how, usize::MAX);
        });
    }

    async fn connection(self: Arc<Self>, near: TcpStream, number: usize) {
        let mut control = self.orders.subscribe();
        let orders = *control.borrow_and_update();
        match orders.door {
            Door::Refusing => return reset(near),
            Door::Mute => {
                // Until everything ends.
                let _ = control.wait_for(|_| false).await;
                return;
            }
            Door::Open | Door::HeldAfterFirst => {}
        }
        let target = self.targets[(number - 1) % self.targets.len()];
        let Ok(far) = TcpStream::connect(target).await else { return reset(near) };
        let (mut near, mut far) = (near, far);
        for tcp in [&near, &far] {
            tcp.set_nodelay(true).unwrap();
        }
        let caller = near.peer_addr().ok();
        let held = (orders.door == Door::HeldAfterFirst).then_some(orders.releases);
        let how = {
            let (near_read, near_write) = near.split();
            let (far_read, far_write) = far.split();
            let both = async {
                tokio::join!(
                    self.pump(near_read, far_write, Way::Up, number, held),
                    self.pump(far_read, near_write, Way::Down, number, None),
                )
            };
            let alone =
                |now: &Orders| now.cut_one.filter(|(dialer, _)| Some(*dialer) == caller).map(|(_, how)| how);
            let all = |now: &Orders| now.cuts > orders.cuts && number <= now.cut_up_to;
            let cut = control.wait_for(|now| all(now) || alone(now).is_some());
            tokio::select! {
                biased;
                cut = cut => cut.map(|orders| alone(&orders).unwrap_or(orders.cut)),
                _ = both => return,
            }
        };
        match how {
            Ok(Cut::Reset) => {
                reset(near);
                reset(far);
            }
            Ok(Cut::AtDialer) => {
                reset(near);
                linger(far).await;
            }
            Ok(Cut::AtAccess) => {
                reset(far);
                linger(near).await;
            }
            Ok(Cut::Finish) | Err(_) => {}
        }
    }

    /// Forwards one way until its end.
    async fn pump(
        &self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        way: Way,
        number: usize,
        held: Option<u64>,
    ) -> io::Result<()> {
        let mut control = self.orders.subscribe();
        let mut buffer = vec![0; 16 << 10];
        let mut first = true;
        loop {
            let read = from.read(&mut buffer).await?;
            if let Some(releases) = held.filter(|_| !std::mem::replace(&mut first, false)) {
                let _ = control.wait_for(|orders| orders.releases > releases).await;
            }
            let flows = |orders: &Orders| {
                number > if way == Way::Up { orders.stalled_up } else { orders.stalled_down }
            };
            let _ = control.wait_for(flows).await;
            if read == 0 {
                return to.shutdown().await;
            }
            let allowed = self.spend(read);
            to.write_all(&buffer[..allowed]).await?;
            if allowed < read {
                let how = self.orders.borrow().cut;
                self.cut(how);
                // The cut ends this task.
                std::future::pending::<()>().await;
            }
        }
    }

    /// How many of `wanted` bytes may still be forwarded; fewer than wanted only once for each cut ordered.
    fn spend(&self, wanted: usize) -> usize {
        let wanted = i64::try_from(wanted).unwrap();
        let before = self
            .budget
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |budget| match budget {
                NONE => None,
                budget if budget < wanted => Some(NONE),
                budget => Some(budget - wanted),
            })
            .unwrap_or(wanted);
        usize::try_from(before.min(wanted)).unwrap()
    }
}

fn reset(tcp: TcpStream) {
    // No time to linger makes closing a reset.
    let _ = SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
}

/// Keeps a connection open, without a word, until its peer gives it up.
async fn linger(mut tcp: TcpStream) {
    let mut buffer = [0; 1024];
    while tcp.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// No cut is ordered.
const NONE: i64 = -1;
