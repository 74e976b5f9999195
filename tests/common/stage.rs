//! Two planes with a relay between them, and a diary of what each tells.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a setup that fails fails its test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sitelink::config::{Carriers, FileNotices};
use sitelink::{
    Access, AccessSpec, Destination, Event, EventKind, Events, Incoming, LinkId, LinkRole, LinkStream,
    OpenRequest, Plane, PlaneConfig, SessionEnd, Site,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::pki::TestCa;
use super::relay::Relay;
use super::{credentials, key, link, loopback, within};

/// A plane of a site of that name, with settings.
pub(crate) async fn plane_with(name: &str, config: PlaneConfig) -> Plane {
    Plane::builder(Site::new(format!("{name}-id"), name).unwrap()).config(config).start().await.unwrap()
}

/// Listens on loopback for inter-router links.
pub(crate) async fn listen(plane: &Plane, at: SocketAddr, ca: &TestCa) -> Access {
    let server = credentials("server", &ca.server(&["127.0.0.1"]));
    plane.listen(AccessSpec::new(at, LinkRole::InterRouter), server).await.unwrap()
}

/// Settings that dial again soon: tests cut more often than networks do.
pub(crate) fn brisk() -> PlaneConfig {
    let mut config = PlaneConfig::default();
    config.backoff.first = Duration::from_millis(1);
    config.backoff.cap = Duration::from_millis(20);
    config
}

/// The same with one carrier to a session, for what is about one connection.
pub(crate) fn single(config: PlaneConfig) -> PlaneConfig {
    let mut config = config;
    config.carriers = Carriers(1);
    config
}

/// The ways to learn of a change: both, where notices are built in.
pub(crate) const WAYS: &[FileNotices] = if cfg!(feature = "watch") {
    &[FileNotices::Heeded, FileNotices::Ignored]
} else {
    &[FileNotices::Ignored]
};

/// Settings that look soon, in one of the two ways.
pub(crate) fn watching(notices: FileNotices) -> PlaneConfig {
    let mut config = brisk();
    config.watch.settle = Duration::from_millis(5);
    // With notices the clock must have no part in it.
    config.watch.poll = match notices {
        FileNotices::Heeded => Duration::from_secs(3600),
        _ => Duration::from_millis(20),
    };
    config.watch.notices = notices;
    config
}

/// Everything a plane has told so far, and a way to wait for more.
#[derive(Clone, Debug)]
pub(crate) struct Diary {
    seen: watch::Receiver<Vec<Event>>,
    reader: Arc<JoinHandle<()>>,
}

impl Diary {
    /// Begins to read a plane's events, from now on.
    pub(crate) fn of(plane: &Plane) -> Self {
        Self::reading(plane.events())
    }

    /// The same, streams included.
    pub(crate) fn with_streams(plane: &Plane) -> Self {
        Self::reading(plane.events_with_streams())
    }

    fn reading(mut events: Events) -> Self {
        let (told, seen) = watch::channel(Vec::new());
        let reader = tokio::task::spawn(async move {
            while let Some(event) = events.next().await {
                told.send_modify(|all| all.push(event));
            }
        });
        Self { seen, reader: Arc::new(reader) }
    }

    /// Waits until `wanted` holds for what was told, and returns that.
    pub(crate) async fn until(&mut self, mut wanted: impl FnMut(&[Event]) -> bool) -> Vec<Event> {
        if let Ok(Ok(all)) =
            tokio::time::timeout(super::DEADLINE, self.seen.wait_for(|all| wanted(all))).await
        {
            return all.clone();
        }
        panic!("never told: {:#?}", self.kinds());
    }

    /// Waits for one event.
    pub(crate) async fn one(&mut self, mut wanted: impl FnMut(&EventKind) -> bool) -> Event {
        let all = self.until(|all| all.iter().any(|event| wanted(&event.kind))).await;
        all.into_iter().find(|event| wanted(&event.kind)).unwrap()
    }

    /// Waits for that many events of a kind.
    pub(crate) async fn many(
        &mut self,
        count: usize,
        mut wanted: impl FnMut(&EventKind) -> bool,
    ) -> Vec<Event> {
        let mut all = self.until(|all| all.iter().filter(|event| wanted(&event.kind)).count() >= count).await;
        all.retain(|event| wanted(&event.kind));
        all
    }

    /// Why the first session ended, once it has.
    pub(crate) async fn session_end(&mut self) -> SessionEnd {
        match self.one(|kind| matches!(kind, EventKind::SessionDown { .. })).await.kind {
            EventKind::SessionDown { end, .. } => end,
            _ => unreachable!(),
        }
    }

    /// What was told so far, stamped.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.seen.borrow().clone()
    }

    /// What was told so far.
    pub(crate) fn kinds(&self) -> Vec<EventKind> {
        self.seen.borrow().iter().map(|event| event.kind.clone()).collect()
    }

    /// How many events of a kind were told so far.
    pub(crate) fn count(&self, wanted: impl Fn(&EventKind) -> bool) -> usize {
        self.seen.borrow().iter().filter(|event| wanted(&event.kind)).count()
    }

    /// Ends the subscription, and waits until it has ended.
    pub(crate) async fn leave(mut self) {
        self.reader.abort();
        within(async { while self.seen.changed().await.is_ok() {} }).await;
    }

    /// Everything, once the plane has ended.
    pub(crate) async fn closed(mut self) -> Vec<Event> {
        within(async { while self.seen.changed().await.is_ok() {} }).await;
        self.seen.borrow().clone()
    }
}

/// West links to east through a relay; the session is up at both ends.
pub(crate) struct Stage {
    pub(crate) ca: TestCa,
    pub(crate) west: Plane,
    pub(crate) east: Plane,
    pub(crate) relay: Relay,
    pub(crate) link: LinkId,
    pub(crate) access: Access,
    pub(crate) west_diary: Diary,
    pub(crate) east_diary: Diary,
}

impl Stage {
    pub(crate) async fn new(west: PlaneConfig, east: PlaneConfig) -> Self {
        let ca = TestCa::new("ca");
        let (west, east) = (plane_with("west", west).await, plane_with("east", east).await);
        let (mut west_diary, mut east_diary) = (Diary::of(&west), Diary::of(&east));
        let access = listen(&east, loopback(), &ca).await;
        let relay = Relay::to(access.address()).await;
        let link = link(&west, "east", relay.address(), credentials("client", &ca.client("west"))).await;
        west_diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
        east_diary.one(|kind| matches!(kind, EventKind::SessionUp { .. })).await;
        Self { ca, west, east, relay, link, access, west_diary, east_diary }
    }

    /// With the settings every plane has.
    pub(crate) async fn plain() -> Self {
        Self::new(PlaneConfig::default(), PlaneConfig::default()).await
    }

    /// A stream from west to east, both ends of it.
    pub(crate) async fn stream(&self) -> (LinkStream, LinkStream) {
        pair(&self.west, &self.east, "k").await
    }
}

/// A stream between two planes, both ends of it; nothing else may be opened to `to` meanwhile.
pub(crate) async fn pair(from: &Plane, to: &Plane, served: &str) -> (LinkStream, LinkStream) {
    let (near, incoming) = opening(from, to, OpenRequest::to_key(key(served)), served).await;
    let far = incoming.accept().unwrap();
    (within(near).await.unwrap().unwrap(), far)
}

/// A stream on its way: what its opener awaits, and what its acceptor sees.
pub(crate) async fn opening(
    from: &Plane,
    to: &Plane,
    request: OpenRequest,
    served: &str,
) -> (JoinHandle<Result<LinkStream, sitelink::OpenError>>, Incoming) {
    to.serve(&key(served)).unwrap();
    let request = request.wait_for_path(super::DEADLINE);
    let plane = from.clone();
    let near = tokio::task::spawn(async move { plane.open(request).await });
    (near, within(to.accept()).await.unwrap())
}

/// Waits until a plane has a way to a key.
pub(crate) async fn reachable(plane: &Plane, served: &str) {
    let destination = Destination::Key(key(served));
    poll_until(|| plane.has_path(&destination)).await;
}

/// Looks again and again until something holds, with the one deadline.
pub(crate) async fn poll_until(mut holds: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    // Or looks that are late would follow each other, with nothing done in between.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    within(async {
        while !holds() {
            tick.tick().await;
        }
    })
    .await;
}
