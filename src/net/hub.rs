//! What all handles of a plane and its supervisor share.
//!
//! Each part has its own short lock, none held across I/O or `.await`. Where two are held, the order is: keys, then
//! a session; fleet alone; paths alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::PlaneConfig;
use crate::error::PlaneError;
use crate::id::{AccessId, Cost, GroupName, LinkId, LinkName, LinkRole, Ordinal, RoutingKey, SessionNumber};
use crate::net::fanout::Fanout;
use crate::net::inbox::Inbox;
use crate::net::incoming::IncomingQueue;
use crate::net::listener::{self, AccessReport, ListenerSpec};
use crate::net::names::Names;
use crate::net::resolve::Resolver;
use crate::net::shared::SessionHandle;
use crate::net::{clock, socket};
use crate::proto::facts::Local;
use crate::proto::fleet::Fleet;
use crate::proto::link::LinkWanted;
use crate::proto::paths::Paths;
use crate::proto::session::ProcessPool;
use crate::resource::secret::ProxySpec;
use crate::resource::settings::Settings;
use crate::snapshot::PlaneStatus;
use crate::wire::MIN_WINDOW;
use crate::wire::hello::{DeadCarrier, Hello, SessionClaim};

/// The shared state of a plane.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Who this router is.
    pub(crate) local: Local,
    /// Checked settings.
    pub(crate) config: PlaneConfig,
    /// What is to be up, and what is.
    pub(crate) fleet: Mutex<Fleet>,
    /// Which way a stream goes.
    pub(crate) paths: Arc<Mutex<Paths>>,
    /// The sessions that live.
    pub(crate) sessions: RwLock<BTreeMap<SessionNumber, SessionHandle>>,
    /// Who looks names up.
    pub(crate) names: Names,
    /// What each link dials with.
    pub(crate) dialing: Mutex<HashMap<LinkId, Dialing>>,
    /// What each access listens with.
    pub(crate) accesses: Mutex<HashMap<AccessId, Listening>>,
    /// The routing keys this site serves.
    keys: Mutex<BTreeSet<RoutingKey>>,
    /// Where events go.
    pub(crate) fanout: Fanout,
    /// Streams of peers, for the application.
    pub(crate) incoming: Arc<IncomingQueue<SessionHandle>>,
    /// Sessions that have something to tell.
    pub(crate) inbox: Arc<Inbox>,
    /// The fleet has something to do.
    pub(crate) stir: Notify,
    /// Paths have changed.
    pub(crate) path_news: Notify,
    /// Where accesses report.
    pub(crate) reports: mpsc::Sender<AccessReport>,
    /// The pool of windows.
    pub(crate) pool: ProcessPool,
    /// Every task of the plane.
    pub(crate) tasks: TaskTracker,
    /// The plane is to end at once.
    pub(crate) cancel: CancellationToken,
    /// No request is taken any more.
    pub(crate) closing: CancellationToken,
    numbers: AtomicU64,
}

/// What a link dials with.
#[derive(Clone, Debug)]
pub(crate) struct Dialing {
    /// Made from its credentials.
    pub(crate) tls: Arc<ClientConfig>,
    /// The rotation of its credentials.
    pub(crate) ordinal: Ordinal,
    /// What the document's settings say.
    pub(crate) settings: Settings,
    /// The proxy that the settings name; without it a link that names one is not dialed.
    pub(crate) proxy: Option<ProxySpec>,
}

/// What an access listens with.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    /// What kind of links it takes.
    pub(crate) role: LinkRole,
    /// The cost it asks of links.
    pub(crate) cost: Cost,
    /// The rotation of its credentials.
    pub(crate) ordinal: Ordinal,
    /// Ends it.
    pub(crate) cancel: CancellationToken,
}

/// What differs between one hello of a plane and another.
#[derive(Debug)]
pub(crate) struct HelloParts {
    pub(crate) role: LinkRole,
    pub(crate) link: LinkName,
    pub(crate) group: GroupName,
    pub(crate) cost: Cost,
    pub(crate) ordinal: Ordinal,
    pub(crate) carrier: crate::id::CarrierNumber,
    pub(crate) session: SessionClaim,
    pub(crate) dead: Vec<DeadCarrier>,
}

impl Hub {
    /// The shared state of a plane that begins. Names are looked up by `resolver`, access reports go to `reports`.
    pub(crate) fn new(
        local: Local,
        config: PlaneConfig,
        fleet: Fleet,
        resolver: Arc<dyn Resolver>,
        reports: mpsc::Sender<AccessReport>,
    ) -> Self {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        Self {
            names: Names::new(resolver, tasks.clone(), cancel.clone()),
            fleet: Mutex::new(fleet),
            paths: Arc::new(Mutex::new(Paths::new(config.session.keys))),
            sessions: RwLock::default(),
            dialing: Mutex::default(),
            accesses: Mutex::default(),
            keys: Mutex::default(),
            fanout: Fanout::new(config.event_capacity),
            incoming: Arc::new(IncomingQueue::new()),
            inbox: Arc::default(),
            stir: Notify::new(),
            path_news: Notify::new(),
            reports,
            pool: ProcessPool::new(config.session.process_pool),
            tasks,
            cancel,
            closing: CancellationToken::new(),
            numbers: AtomicU64::new(1),
            local,
            config,
        }
    }

    /// The next number for a link or an access.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a link on, or changes it; `dialing` is `None` for a link that cannot be dialed as it is.
    pub(crate) fn link(&self, known: Option<LinkId>, wanted: LinkWanted, dialing: Option<Dialing>) -> LinkId {
        let link = known.unwrap_or_else(|| LinkId(self.number()));
        match dialing {
            Some(dialing) => lock(&self.dialing).insert(link, dialing),
            None => lock(&self.dialing).remove(&link),
        };
        lock(&self.fleet).handle_link(clock::now(), link, wanted);
        self.stir.notify_one();
        link
    }

    /// Gives a link up.
    pub(crate) fn unlink(&self, link: LinkId, grace: Duration) {
        lock(&self.fleet).handle_unlink(clock::now(), link, grace);
        self.stir.notify_one();
    }

    /// Listens. Returns the bound address.
    ///
    /// # Errors
    /// [`PlaneError::Bind`].
    pub(crate) fn listen(
        &self,
        address: SocketAddr,
        role: LinkRole,
        cost: Cost,
        tls: Arc<ServerConfig>,
        ordinal: Ordinal,
    ) -> Result<(AccessId, SocketAddr), PlaneError> {
        let refused = |error: std::io::Error| PlaneError::Bind { address, kind: error.kind() };
        let listener = socket::listen(address).map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let access = AccessId(self.number());
        let cancel = self.cancel.child_token();
        let spec = ListenerSpec {
            access,
            tls,
            deadlines: self.config.deadlines,
            limits: self.config.access,
            dead: self.config.liveness.dead,
            reports: self.reports.clone(),
            tasks: self.tasks.clone(),
            cancel: cancel.clone(),
        };
        lock(&self.accesses).insert(access, Listening { role, cost, ordinal, cancel });
        lock(&self.fleet).handle_access_up(clock::now(), access, bound, role);
        self.stir.notify_one();
        self.tasks.spawn(listener::run(listener, spec));
        Ok((access, bound))
    }

    /// Closes a listening socket. Sessions that came through it go on.
    pub(crate) fn close_access(&self, access: AccessId) {
        let Some(listening) = lock(&self.accesses).remove(&access) else { return };
        listening.cancel.cancel();
        lock(&self.fleet).handle_access_down(access);
        self.stir.notify_one();
    }

    /// Closes all listening sockets.
    pub(crate) fn close_accesses(&self) {
        let all: Vec<_> = lock(&self.accesses).keys().copied().collect();
        all.into_iter().for_each(|access| self.close_access(access));
    }

    /// Serves a routing key at every peer, or no more. Returns `false` if there would be too many.
    pub(crate) fn serve(&self, key: &RoutingKey, served: bool) -> bool {
        let mut keys = lock(&self.keys);
        if served && keys.len() >= self.config.session.keys && !keys.contains(key) {
            return false;
        }
        if served {
            keys.insert(key.clone());
        } else {
            keys.remove(key);
        }
        // Under the lock of the keys, so that two callers reach every session in the same order.
        for session in self.handles() {
            session.with(|session| session.serve(key, served));
        }
        true
    }

    /// Lets a new session live: streams can be opened on it, and its peer learns the keys.
    pub(crate) fn admit(&self, handle: SessionHandle) {
        let keys = lock(&self.keys);
        handle.with(|session| keys.iter().for_each(|key| session.serve(key, true)));
        let mut sessions = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(handle.number(), handle);
    }

    /// A session is over.
    pub(crate) fn forget(&self, session: SessionNumber) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&session);
    }

    /// A session that lives.
    pub(crate) fn session(&self, session: SessionNumber) -> Option<SessionHandle> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).get(&session).cloned()
    }

    /// All sessions that live, by number.
    pub(crate) fn handles(&self) -> Vec<SessionHandle> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The plane's paths.
    pub(crate) fn paths(&self) -> MutexGuard<'_, Paths> {
        lock(&self.paths)
    }

    /// The plane's fleet.
    pub(crate) fn fleet(&self) -> MutexGuard<'_, Fleet> {
        lock(&self.fleet)
    }

    /// This end's hello.
    pub(crate) fn hello(&self, parts: HelloParts) -> Hello {
        let HelloParts { role, link, group, cost, ordinal, carrier, session, dead } = parts;
        Hello {
            features: 0,
            site_id: self.local.site_id.clone(),
            site_name: self.local.site_name.clone(),
            router: self.local.router.clone(),
            instance: self.local.instance,
            role,
            link,
            group,
            cost,
            max_streams: self.config.session.max_streams,
            initial_window: MIN_WINDOW,
            ordinal,
            resume_window: self.config.session.resume_window,
            carrier,
            session,
            dead,
        }
    }

    /// Everything at this moment.
    pub(crate) fn status(&self) -> PlaneStatus {
        let as_of = self.fanout.newest();
        let now = clock::now();
        let mut status = self.fleet().snapshot(now, clock::unix_micros(), as_of);
        for view in &mut status.sessions {
            let Some(handle) = self.session(view.session) else { continue };
            let carriers = handle.with(|session| {
                view.traffic = session.traffic();
                view.streams = session.stream_count() as u64;
                view.unread_bytes = session.unread();
                view.window_bytes = session.pool_used();
                session.carriers()
            });
            for carrier in &mut view.carriers {
                if let Some(live) = carriers.iter().find(|live| live.number == carrier.carrier) {
                    carrier.round_trip = live.round_trip;
                    carrier.traffic = live.traffic;
                }
            }
        }
        status
    }
}

/// Locks a mutex. A panic while it was held is a bug of ours that is not made worse by going on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
