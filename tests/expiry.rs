//! Certificates that expire under a live link: the carrier is replaced, and no stream notices.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::pki::TestCa;
use common::stage::{Diary, brisk, pair, single};
use common::{credentials, document, loopback, within};
use sitelink::config::ClockSkew;
use sitelink::{
    Access, AccessSpec, CarrierEnd, CertificateOwner, CloseCode, Credentials, EventKind, LinkId, LinkRole,
    LinkSecrets, LinkStream, Manifest, Plane, ReplaceCause, Site,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The seconds a certificate lasts here: longer than any handshake of a busy machine takes, and short enough to wait for.
const LIFE: i64 = 4;

/// The end of a certificate that lasts [`LIFE`].
fn soon() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + LIFE
}

struct Ends {
    ca: TestCa,
    west: Plane,
    east: Plane,
    link: LinkId,
    access: Access,
    west_diary: Diary,
    east_diary: Diary,
}

impl Ends {
    async fn new(server: Credentials, client: Credentials, ca: TestCa) -> Self {
        let mut config = single(brisk());
        config.clock_skew = ClockSkew(Duration::ZERO);
        let plane = async |name: &str| {
            let site = Site::new(format!("{name}-id"), name).unwrap();
            Plane::builder(site).config(config.clone()).start().await.unwrap()
        };
        let (west, east) = (plane("west").await, plane("east").await);
        let (mut west_diary, east_diary) = (Diary::of(&west), Diary::of(&east));
        let access = east.listen(AccessSpec::new(loopback(), LinkRole::InterRouter), server).await.unwrap();
        let manifest = Manifest::parse(document("east", "127.0.0.1", access.address().port()), "test");
        let spec = manifest.link("east").unwrap().clone();
        let link = west.link(spec, LinkSecrets::from(client)).await.unwrap();
        west_diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
        Self { ca, west, east, link, access, west_diary, east_diary }
    }

    /// Waits until each end has its second carrier and has lost its first, without ever having had none.
    async fn is_replaced(&mut self, ends: [&[CarrierEnd]; 2]) {
        for (diary, ends) in [&mut self.west_diary, &mut self.east_diary].into_iter().zip(ends) {
            let down = diary.one(|kind| matches!(kind, EventKind::CarrierDown { .. })).await.kind;
            let EventKind::CarrierDown { end, .. } = &down else { unreachable!() };
            assert!(ends.contains(end), "{down:#?}");
            diary.many(2, |kind| matches!(kind, EventKind::CarrierUp { .. })).await;
            let place = |wanted: fn(&EventKind) -> bool| diary.kinds().iter().rposition(wanted);
            let up = place(|kind| matches!(kind, EventKind::CarrierUp { .. }));
            assert!(up < place(|kind| matches!(kind, EventKind::CarrierDown { .. })), "{:#?}", diary.kinds());
            let lost = diary.count(|kind| matches!(kind, EventKind::SessionRecovering { .. }));
            assert_eq!(lost, 0, "there was a moment without a carrier");
            assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
        }
    }

    async fn end(self) {
        self.west.shutdown(Duration::ZERO).await;
        self.east.shutdown(Duration::ZERO).await;
    }
}

async fn talk(near: &mut LinkStream, far: &mut LinkStream) {
    near.write_all(b"still here").await.unwrap();
    let mut heard = [0; 10];
    within(far.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"still here");
}

fn expired(serial: &Arc<str>) -> impl Fn(&EventKind) -> bool {
    let wanted = Arc::clone(serial);
    move |kind| matches!(kind, EventKind::CredentialsExpired { owner: CertificateOwner::Peer { .. }, serial, .. } if *serial == wanted)
}

#[tokio::test]
async fn a_dialer_replaces_a_carrier_whose_certificate_expired_before_it_closes_it() {
    let ca = TestCa::new("ca");
    let old = credentials("server", &ca.ending_at(soon()).server(&["127.0.0.1"]));
    let client = credentials("client", &ca.client("west"));
    let mut ends = Ends::new(old.clone(), client, ca).await;
    let (mut near, mut far) = pair(&ends.west, &ends.east, "k").await;
    ends.west_diary.one(expired(&old.leaf().unwrap().serial)).await;
    // No other can be had until the acceptor shows another certificate.
    ends.west_diary.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await;
    talk(&mut near, &mut far).await;
    let new = credentials("server", &ends.ca.server(&["127.0.0.1"]));
    ends.access.rotate(new.clone()).unwrap();
    let by_us = CarrierEnd::Closed(CloseCode::EXPIRED);
    // That the old one is dead may be heard over the new one first.
    let by_peer = [CarrierEnd::PeerClosed(CloseCode::EXPIRED), CarrierEnd::Replaced];
    ends.is_replaced([&[by_us], &by_peer]).await;
    talk(&mut near, &mut far).await;
    let status = ends.west.status();
    let shown = status.sessions[0].carriers[0].certificate.clone().unwrap();
    assert_eq!(shown.serial, new.leaf().unwrap().serial);
    ends.end().await;
}

#[tokio::test]
async fn an_acceptor_asks_for_another_carrier_where_the_certificate_expired_and_the_dialer_brings_it() {
    let ca = TestCa::new("ca");
    let server = credentials("server", &ca.server(&["127.0.0.1"]));
    let old = credentials("client", &ca.ending_at(soon()).client("west"));
    let mut ends = Ends::new(server, old.clone(), ca).await;
    let (mut near, mut far) = pair(&ends.west, &ends.east, "k").await;
    ends.east_diary.one(expired(&old.leaf().unwrap().serial)).await;
    let asked = ReplaceCause::Asked(CloseCode::EXPIRED);
    ends.west_diary
        .one(|kind| matches!(kind, EventKind::CarrierReplacing { cause, .. } if *cause == asked))
        .await;
    ends.west_diary.one(|kind| matches!(kind, EventKind::DialFailed { .. })).await;
    talk(&mut near, &mut far).await;
    let new = credentials("client", &ends.ca.client("west"));
    ends.west.rotate(ends.link, new.clone()).await.unwrap();

    let by_us = CarrierEnd::Closed(CloseCode::EXPIRED);
    let by_peer = [CarrierEnd::PeerClosed(CloseCode::EXPIRED), CarrierEnd::Replaced];
    ends.is_replaced([&[by_us], &by_peer]).await;
    talk(&mut near, &mut far).await;
    let status = ends.east.status();
    let shown = status.sessions[0].carriers[0].certificate.clone().unwrap();
    assert_eq!(shown.serial, new.leaf().unwrap().serial);
    ends.end().await;
}
