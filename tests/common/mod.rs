//! What the end-to-end tests share: planes on loopback, and waiting for events with one deadline.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a setup that fails fails its test")]

pub(crate) mod pki;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod reach;
pub(crate) mod relay;
pub(crate) mod stage;
pub(crate) mod traffic;

use std::net::SocketAddr;
use std::time::Duration;

use sitelink::{
    Access, AccessSpec, Credentials, CredentialsParts, Event, EventKind, Events, LinkId, LinkRole, Manifest,
    Ordinal, Plane, PlaneConfig, RoutingKey, Site,
};

use self::pki::{Bundle, TestCa};

/// The one deadline of every wait: far beyond what anything here takes, so that reaching it is a fault.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A bundle as credentials.
pub(crate) fn credentials(name: &str, bundle: &Bundle) -> Credentials {
    let parts = CredentialsParts {
        ca: bundle.ca.clone().into_bytes(),
        cert: Some(bundle.cert.clone().into_bytes()),
        key: Some(bundle.key.clone().into_bytes()),
        crl: bundle.crl.clone().map(String::into_bytes),
    };
    Credentials::from_pem(name, &parts, Ordinal(1)).unwrap()
}

pub(crate) fn key(text: &str) -> RoutingKey {
    RoutingKey::new(text).unwrap()
}

pub(crate) fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A plane of a site of that name.
pub(crate) async fn plane(name: &str) -> Plane {
    plane_with(name, PlaneConfig::default()).await
}

/// The same with settings.
pub(crate) async fn plane_with(name: &str, config: PlaneConfig) -> Plane {
    let site = Site::new(format!("{name}-id"), name).unwrap();
    Plane::builder(site).config(config).start().await.unwrap()
}

/// A Link document with one endpoint.
pub(crate) fn document(name: &str, host: &str, port: u16) -> String {
    format!(
        "apiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata:\n  name: {name}\nspec:\n  tlsCredentials: {name}\n  \
         endpoints:\n  - name: inter-router\n    host: {host}\n    port: \"{port}\"\n"
    )
}

/// Keeps a link from `plane` to an address.
pub(crate) async fn link(plane: &Plane, name: &str, to: SocketAddr, with: Credentials) -> LinkId {
    let manifest = Manifest::parse(document(name, &to.ip().to_string(), to.port()), "test");
    plane.link(manifest.link(name).unwrap().clone(), Some(with)).await.unwrap()
}

/// West links to east; both are up.
pub(crate) struct Pair {
    pub(crate) ca: TestCa,
    pub(crate) west: Plane,
    pub(crate) east: Plane,
    pub(crate) link: LinkId,
    pub(crate) access: Access,
    pub(crate) west_events: Events,
    pub(crate) east_events: Events,
}

impl Pair {
    /// Through `via`, which is told the access's address and gives the one to dial.
    pub(crate) async fn through(via: impl AsyncFnOnce(SocketAddr) -> SocketAddr) -> Self {
        let ca = TestCa::new("ca");
        let (west, east) = (plane("west").await, plane("east").await);
        let (mut west_events, mut east_events) = (west.events(), east.events());
        let server = credentials("server", &ca.server(&["127.0.0.1"]));
        let access = east.listen(AccessSpec::new(loopback(), LinkRole::InterRouter), server).await.unwrap();
        let to = via(access.address()).await;
        let link = link(&west, "east", to, credentials("client", &ca.client("west"))).await;
        until(&mut west_events, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
        until(&mut east_events, |kind| matches!(kind, EventKind::SessionUp { .. })).await;
        Self { ca, west, east, link, access, west_events, east_events }
    }

    pub(crate) async fn new() -> Self {
        Self::through(async |address| address).await
    }
}

/// The next event that satisfies `wanted`.
pub(crate) async fn until(events: &mut Events, mut wanted: impl FnMut(&EventKind) -> bool) -> Event {
    let mut seen = Vec::new();
    let search = async {
        loop {
            let event = events.next().await.expect("the plane ended");
            if wanted(&event.kind) {
                return event;
            }
            seen.push(event.kind);
        }
    };
    match tokio::time::timeout(DEADLINE, search).await {
        Ok(event) => event,
        Err(_) => panic!("no such event; seen: {seen:#?}"),
    }
}

/// Awaits anything, with the one deadline.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("nothing within the deadline")
}
