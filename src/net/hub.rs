//! What all handles of a plane and its supervisor share.
//!
//! Each part has its own short lock, none held across I/O or `.await`. Where two are held, the order is: keys, then
//! a session; kept or accesses, then fleet, then dialing; kept or accesses, then expiry; paths alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::config::PlaneConfig;
use crate::error::PlaneError;
use crate::event::EventKind;
use crate::id::{AccessId, Cost, GroupName, LinkId, LinkName, LinkRole, Ordinal, RoutingKey, SessionNumber};
use crate::net::fanout::Fanout;
use crate::net::inbox::Inbox;
use crate::net::incoming::IncomingQueue;
use crate::net::kept::{Kept, Listening};
use crate::net::listener::AccessReport;
use crate::net::names::Names;
#[cfg(feature = "watch")]
use crate::net::notices::Notices;
use crate::net::resolve::Resolver;
use crate::net::shared::SessionHandle;
use crate::net::tally::OpenTally;
use crate::net::{clock, log};
use crate::policy::PeerPolicy;
use crate::proto::expiry::Expiry;
use crate::proto::facts::Local;
use crate::proto::fleet::Fleet;
use crate::proto::ledger::Ledger;
use crate::proto::link::LinkWanted;
use crate::proto::paths::Paths;
use crate::proto::session::ProcessPool;
use crate::proto::trust::{Door, Scope};
use crate::resource::secret::ProxySpec;
use crate::resource::settings::Settings;
use crate::snapshot::CredentialsView;
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
    /// What each link was asked to be.
    pub(crate) kept: Mutex<HashMap<LinkId, Kept>>,
    /// What each access listens with.
    pub(crate) accesses: Mutex<HashMap<AccessId, Listening>>,
    /// When certificates expire.
    expiry: Mutex<Expiry>,
    /// The routing keys this site serves.
    keys: Mutex<BTreeSet<RoutingKey>>,
    /// Where events go.
    pub(crate) fanout: Fanout,
    /// What the events have told so far.
    pub(crate) ledger: Mutex<Ledger>,
    /// What became of the streams that were opened here.
    pub(crate) opens: OpenTally,
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
    /// What the plane's tasks run in, for the log.
    pub(crate) span: Span,
    /// Every task of the plane.
    pub(crate) tasks: TaskTracker,
    /// The plane is to end at once.
    pub(crate) cancel: CancellationToken,
    /// No request is taken any more.
    pub(crate) closing: CancellationToken,
    /// How many looks at the disk may be under way.
    pub(crate) looks: Arc<Semaphore>,
    /// Who is told of changed folders.
    #[cfg(feature = "watch")]
    pub(crate) notices: Notices,
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
    /// What its credentials say, for status.
    pub(crate) credentials: Arc<CredentialsView>,
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
            paths: Arc::new(Mutex::new(Paths::new(config.session.keys, config.selection))),
            sessions: RwLock::default(),
            dialing: Mutex::default(),
            kept: Mutex::default(),
            accesses: Mutex::default(),
            expiry: Mutex::new(Expiry::new(config.clock_skew.0)),
            keys: Mutex::default(),
            fanout: Fanout::new(config.event_capacity),
            ledger: Mutex::default(),
            opens: OpenTally::default(),
            incoming: Arc::new(IncomingQueue::new()),
            inbox: Arc::default(),
            stir: Notify::new(),
            path_news: Notify::new(),
            reports,
            pool: ProcessPool::new(config.session.process_pool),
            span: log::plane_span(&local),
            tasks,
            cancel,
            closing: CancellationToken::new(),
            looks: Arc::new(Semaphore::new(LOOKS)),
            #[cfg(feature = "watch")]
            notices: Notices::default(),
            numbers: AtomicU64::new(1),
            local,
            config,
        }
    }

    /// The next number for a link or an access.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a link on, or changes it; `dialing` is `None` for a link that cannot be dialed as it is, `policy` to leave
    /// that as it is. `told` is news of its credentials: told first of all that comes of the change, and when it is so.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`] for a known link that is gone.
    pub(crate) fn link(
        &self,
        known: Option<LinkId>,
        wanted: LinkWanted,
        dialing: Option<Dialing>,
        policy: Option<PeerPolicy>,
        told: Option<EventKind>,
    ) -> Result<LinkId, PlaneError> {
        let link = known.unwrap_or_else(|| LinkId(self.number()));
        let credentials = dialing.as_ref().map(|dialing| Arc::clone(&dialing.credentials));
        let (now, mut fleet) = (clock::now(), lock(&self.fleet));
        if known.is_some() && !fleet.has_link(link) {
            return Err(PlaneError::Unknown);
        }
        match dialing {
            Some(dialing) => lock(&self.dialing).insert(link, dialing),
            None => lock(&self.dialing).remove(&link),
        };
        fleet.tell(told);
        // In one step: nobody is dialed whom the policy would not let answer.
        if let Some(policy) = policy {
            fleet.handle_policy(now, Scope::Door(Door::Link(link)), policy);
        }
        fleet.handle_link(now, link, wanted);
        drop(fleet);
        // After the link is news, or its certificate's end would be told first.
        self.expect_end_of_link(link, credentials.as_deref());
        self.stir.notify_one();
        Ok(link)
    }

    /// Gives a link up.
    pub(crate) fn unlink(&self, link: LinkId, grace: Duration) {
        lock(&self.fleet).handle_unlink(clock::now(), link, grace);
        self.stir.notify_one();
    }

    /// An access listens, for those whom `policy` lets link.
    pub(crate) fn access_up(
        &self,
        access: AccessId,
        address: SocketAddr,
        role: LinkRole,
        policy: PeerPolicy,
        credentials: &CredentialsView,
    ) {
        {
            let (now, mut fleet) = (clock::now(), self.fleet());
            fleet.handle_access_up(now, access, address, role);
            fleet.handle_policy(now, Scope::Door(Door::Access(access)), policy);
        }
        self.expect_end_of_access(access, Some(credentials));
        self.stir.notify_one();
    }

    /// Closes a listening socket. Sessions that came through it go on.
    pub(crate) fn close_access(&self, access: AccessId) {
        let Some(listening) = lock(&self.accesses).remove(&access) else { return };
        listening.cancel.cancel();
        self.expect_end_of_access(access, None);
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

    /// The plane's watch over certificates.
    pub(crate) fn expiry(&self) -> MutexGuard<'_, Expiry> {
        lock(&self.expiry)
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

    /// Tells what happened: to the ledger, then to subscribers and the log.
    pub(crate) fn publish(&self, event: EventKind) {
        lock(&self.ledger).handle(clock::unix_micros(), &event);
        self.fanout.publish(event);
    }
}

/// Locks a mutex. A panic while it was held is a bug of ours that is not made worse by going on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks of a plane at the disk at a time. Each may occupy a thread for as long as a file server is gone, and names are
/// looked up on the same threads, of which tokio has 512.
const LOOKS: usize = 16;
