//! Two planes and a link between them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sitelink::{
    Access, AccessSpec, Endpoint, GroupName, Host, LinkName, LinkRole, LinkSpec, OpenRequest, Plane,
    PlaneConfig, RoutingKey, Site,
};

use crate::pki::Pki;

/// A plane that serves [`key`], and its access.
pub(crate) async fn listen(pki: &Pki, config: PlaneConfig) -> (Plane, Access) {
    let plane = plane("east", config).await;
    let spec = AccessSpec::new((Ipv4Addr::LOCALHOST, 0).into(), LinkRole::InterRouter);
    let access = plane.listen(spec, pki.credentials("east")).await.expect("loopback has a free port");
    plane.serve(&key()).expect("one key");
    (plane, access)
}

/// A plane with a link to that address, which is not up yet.
pub(crate) async fn dial(pki: &Pki, config: PlaneConfig, to: SocketAddr) -> Plane {
    let plane = plane("west", config).await;
    let group = GroupName::new("").expect("it may be empty");
    let endpoint = Endpoint::new(LinkRole::InterRouter, Host::Ip(to.ip()), to.port(), group);
    let link = LinkSpec::new(LinkName::new("east").expect("it is a name"), vec![endpoint]);
    plane.link(link, Some(pki.credentials("west"))).await.expect("the credentials fit");
    plane
}

/// A stream to the plane that listens; waits for the link.
pub(crate) fn request() -> OpenRequest {
    OpenRequest::to_key(key()).wait_for_path(PATIENCE)
}

async fn plane(name: &str, config: PlaneConfig) -> Plane {
    let site = Site::new(name, name).expect("it is a name");
    Plane::builder(site).config(config).start().await.expect("the settings hold")
}

fn key() -> RoutingKey {
    RoutingKey::new("bench").expect("it is a name")
}

/// How long a stream waits for the link: handshakes take milliseconds, and seconds under an instrument.
const PATIENCE: Duration = Duration::from_secs(60);
