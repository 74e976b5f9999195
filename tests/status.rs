//! What a plane tells of itself: the same from both ends, complete, and without a secret.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::pki::TestCa;
use common::{Pair, credentials, document, key, link, loopback, plane, until, within};
use sitelink::resource::status::{ConditionKind, LegacyStatus};
use sitelink::snapshot::{Because, LinkView, SessionView, StallCause, Standing, WhyNot};
use sitelink::{
    AccessSpec, CloseCode, Cost, Credentials, Destination, DialError, Event, EventKind, GroupName, LinkId,
    LinkName, LinkRole, LinkStatus, Manifest, OpenError, OpenRequest, Ordinal, PeerRefusal, Phase,
    RoutingKey, SessionEnd, StreamCode, TlsReason,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

#[tokio::test]
async fn a_rotation_of_one_of_two_links_is_told_of_that_one() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane("west").await, plane("east").await);
    let server = credentials("server", &ca.server(&["127.0.0.1"]));
    let access = east.listen(AccessSpec::new(loopback(), LinkRole::InterRouter), server).await.unwrap();
    let mut events = west.events();
    let first = link(&west, "first", access.address(), credentials("first", &ca.client("west"))).await;
    let other = link(&west, "other", access.address(), credentials("other", &ca.client("west"))).await;
    for _ in 0..2 {
        until(&mut events, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    }
    let new = credentials("first", &ca.client("west"));
    west.rotate(first, new.clone()).await.unwrap();
    let told = until(&mut events, |kind| matches!(kind, EventKind::CredentialsRotated { .. })).await.kind;
    let EventKind::CredentialsRotated { link: of, name, ordinal, .. } = told else { unreachable!() };
    assert_eq!((of, &*name, ordinal), (Some(first), "first", Ordinal(2)));
    let status = west.status();
    let used = |link: LinkId| {
        let view = status.links.iter().find(|view| view.link == link).unwrap();
        let credentials = view.credentials.clone().unwrap();
        let serial = credentials.certificate.as_ref().unwrap().serial.to_string();
        (view.name.to_string(), credentials.name.to_string(), credentials.ordinal, serial)
    };
    let serial = new.leaf().unwrap().serial.to_string();
    assert_eq!(used(first), ("first".into(), "first".into(), Ordinal(2), serial));
    let (link, name, ordinal, _) = used(other);
    assert_eq!((&*link, &*name, ordinal), ("other", "other", Ordinal(1)));
}

#[tokio::test]
async fn both_ends_tell_of_the_same_link_with_its_direction() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane("west").await, plane("east").await);
    let mut arrived = east.events();
    let server = credentials("server", &ca.server(&["127.0.0.1"]));
    let access = east
        .listen(AccessSpec::new(loopback(), LinkRole::InterRouter).cost(Cost::new(3).unwrap()), server)
        .await
        .unwrap();
    let text = document("to-east", "127.0.0.1", access.address().port())
        .replace("name: to-east\nspec", "name: to-east\n  namespace: shop\n  generation: 4\nspec");
    let spec = Manifest::parse(text, "test").link("shop/to-east").unwrap().clone();
    let mut events = west.events();
    west.link(spec, credentials("client", &ca.client("west"))).await.unwrap();
    let configured = until(&mut events, |kind| matches!(kind, EventKind::LinkConfigured { .. })).await.kind;
    let EventKind::LinkConfigured { namespace, generation, .. } = configured else { unreachable!() };
    assert_eq!((&*namespace, generation), ("shop", Some(4)));
    until(&mut events, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    until(&mut arrived, |kind| matches!(kind, EventKind::CarrierUp { .. })).await;

    let (near, far) = (west.status(), east.status());
    let ([dialed], [accepted]) = (&near.sessions[..], &far.sessions[..]) else { panic!("one each") };
    let same = |of: &SessionView| (of.id, of.name.clone(), of.group.clone(), of.cost, of.state);
    assert_eq!(same(dialed), same(accepted));
    assert_eq!(dialed.name, LinkName::new("shop/to-east").unwrap());
    assert_eq!((dialed.own_cost, dialed.peer_cost), (accepted.peer_cost, accepted.own_cost));
    assert_eq!((dialed.side, accepted.side), (sitelink::Side::Dialer, sitelink::Side::Acceptor));
    assert_eq!((dialed.link, accepted.access), (Some(near.links[0].link), Some(access.id())));
    // Each names the other, and the addresses are the two ends of one connection.
    let is = |peer: &sitelink::Peer, of: &sitelink::PlaneStatus| {
        (&peer.site_id, &peer.router, peer.instance)
            == (&of.router.site_id, &of.router.router, of.router.instance)
    };
    assert!(is(&dialed.peer, &far) && is(&accepted.peer, &near));
    let (ours, theirs) = (&dialed.carriers[0], &accepted.carriers[0]);
    assert_eq!((ours.carrier, ours.local, ours.remote), (theirs.carrier, theirs.remote, theirs.local));
    assert_eq!(far.accesses[0].history.accepted, 1);
    west.shutdown(Duration::ZERO).await;
    east.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn of_two_links_to_one_site_the_status_tells_which_is_used_and_why() {
    let mut pair = Pair::new().await;
    let mut events = pair.west.events();
    let backup =
        link(&pair.west, "backup", pair.access.address(), credentials("client", &pair.ca.client("west")))
            .await;
    until(&mut events, |kind| matches!(kind, EventKind::GroupUp { link, .. } if *link == backup)).await;
    pair.west.set_cost(backup, Cost::new(5).unwrap()).await.unwrap();
    until(&mut events, |kind| matches!(kind, EventKind::CostChanged { .. })).await;
    pair.east.serve(&key("app")).unwrap();
    let app = Destination::Key(key("app"));
    until(
        &mut pair.west_events,
        |kind| matches!(kind, EventKind::PathSelected { destination, .. } if *destination == app),
    )
    .await;

    let status = pair.west.status();
    let of_link = |link: LinkId| status.sessions.iter().find(|of| of.link == Some(link)).unwrap();
    let (first, second) = (of_link(pair.link), of_link(backup));
    let destinations: Vec<_> = status.paths.iter().map(|path| path.destination.clone()).collect();
    assert_eq!(destinations[0], Destination::Site("east-id".parse().unwrap()));
    for path in &status.paths {
        assert_eq!((path.chosen, path.because), (Some(first.session), Some(Because::LeastScore)));
    }
    let of_app = status.paths.iter().find(|path| path.destination == app).unwrap();
    assert!(of_app.candidates.iter().any(|candidate| candidate.session == first.session && candidate.chosen));
    assert_eq!((first.chosen_for, second.chosen_for), (status.paths.len() as u64, 0));

    // With the first gone, the other is the only one.
    pair.west.unlink(pair.link, Duration::from_secs(30)).await.unwrap();
    until(&mut events, |kind| matches!(kind, EventKind::LinkRemoved { .. })).await;
    let status = pair.west.status();
    let path = &status.paths[0];
    assert_eq!((path.chosen, path.because), (Some(second.session), Some(Because::Only)));
    let draining = path.candidates.iter().find(|candidate| candidate.session == first.session);
    assert!(draining.is_none_or(|candidate| candidate.why_not == Some(WhyNot::Draining)));
}

#[tokio::test]
async fn before_it_was_tried_a_link_is_unknown_and_not_down() {
    // Takes connections and says nothing: the first attempt goes on for seconds.
    let silent = TcpListener::bind(loopback()).await.unwrap();
    let west = plane("west").await;
    let with = credentials("client", &TestCa::new("ca").client("west"));
    let id = link(&west, "east", silent.local_addr().unwrap(), with).await;
    let (_held, _) = within(silent.accept()).await.unwrap();
    let status = west.status();
    assert_eq!(status.links[0].standing(), Standing::Unknown);
    let shown = LinkStatus::of(&status, id).unwrap();
    assert_eq!((shown.conditions.len(), shown.message.as_str()), (2, "Not Operational"));
    west.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_link_that_went_down_keeps_its_counts_its_peer_and_the_cause() {
    let mut pair = Pair::new().await;
    let view = |pair: &Pair| -> LinkView { pair.west.status().links[0].clone() };
    assert_eq!((view(&pair).standing(), view(&pair).history.ups), (Standing::Up, 1));
    pair.east.shutdown(Duration::ZERO).await;
    until(&mut pair.west_events, |kind| matches!(kind, EventKind::DialFailed { .. })).await;
    until(&mut pair.west_events, |kind| matches!(kind, EventKind::DialFailed { .. })).await;
    // Half a second of grace is left at most, after which the status says so too.
    let status = within(async {
        loop {
            let status = pair.west.status();
            if !status.links[0].operational {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let link = &status.links[0];
    assert_eq!((link.standing(), link.history.ups, link.history.downs), (Standing::Down, 1, 1));
    let history = &link.groups[0].history;
    assert!(history.failures >= 2);
    let failure = history.last_failure.as_ref().unwrap();
    assert!(matches!(failure.error, DialError::Connect { .. }), "{failure:?}");
    let end = history.last_end.as_ref().unwrap();
    assert_eq!(end.end, SessionEnd::PeerClosed(CloseCode::SHUTDOWN));
    let shown = LinkStatus::of(&status, pair.link).unwrap();
    assert_eq!(shown.remote_site_name.as_deref(), Some("east"));
    assert_eq!(shown.message, format!("Not operational: {}: {}", pair.access.address(), failure.error));
    let legacy = LegacyStatus::of(&status, pair.link).unwrap();
    assert_eq!((legacy.configured, legacy.active, &*legacy.site), (true, false, "east"));
}

#[tokio::test]
async fn each_condition_has_the_time_of_its_own_transition() {
    let pair = Pair::new().await;
    let mut status = pair.west.status();
    let link = &mut status.links[0];
    assert_eq!(link.ready_since_micros, link.configured_since_micros.max(link.operational_since_micros));
    link.configured_since_micros = 1_767_225_600_000_000;
    link.operational_since_micros = 1_767_225_601_000_000;
    link.ready_since_micros = 1_767_225_602_999_999;
    let shown = LinkStatus::of(&status, pair.link).unwrap();
    let times: Vec<_> =
        shown.conditions.iter().map(|of| (of.kind, of.last_transition_time.as_str())).collect();
    assert_eq!(
        times,
        [
            (ConditionKind::Configured, "2026-01-01T00:00:00Z"),
            (ConditionKind::Ready, "2026-01-01T00:00:02Z"),
            (ConditionKind::Operational, "2026-01-01T00:00:01Z"),
        ]
    );
}

#[tokio::test]
async fn a_stream_that_stalls_is_seen_at_both_ends_with_whose_reader_it_is() {
    let pair = Pair::new().await;
    pair.east.serve(&key("app")).unwrap();
    let request = OpenRequest::to_key(key("app")).wait_for_path(common::DEADLINE);
    let (near, far) = tokio::join!(within(pair.west.open(request)), async {
        within(pair.east.accept()).await.unwrap().accept()
    });
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    // More than any window: it ends when nothing fits any more.
    let block = vec![7; 1 << 16];
    let mut written = 0;
    while let Ok(count) = tokio::time::timeout(STILL, near.write(&block)).await {
        written += count.unwrap();
    }
    let session = |plane: &sitelink::Plane| plane.status().sessions[0].session;
    let ours = pair.west.streams(session(&pair.west), 10).unwrap();
    let theirs = pair.east.streams(session(&pair.east), 10).unwrap();
    let ([ours], [theirs]) = (&ours[..], &theirs[..]) else { panic!("one stream each") };
    assert_eq!(ours.sending.map(|stall| stall.cause), Some(StallCause::PeerReader));
    assert_eq!(theirs.receiving.map(|stall| stall.cause), Some(StallCause::OwnReader));
    assert_eq!((ours.stream, &ours.destination), (theirs.stream, &theirs.destination));
    assert_eq!((ours.credit_bytes, ours.sent_bytes), (0, theirs.unread_bytes));
    assert_eq!(ours.sent_bytes + ours.queued_bytes, written as u64);
    assert!(ours.opened_micros <= ours.sending.map(|stall| stall.since_micros));
    let status = pair.west.status();
    assert_eq!((status.sessions[0].waiting.len(), status.sessions[0].streams_stalled), (1, 0));

    near.write_all(b"").await.unwrap();
    near.finish();
    let mut all = Vec::new();
    within(far.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), written);
    assert_eq!(pair.west.streams(sitelink::SessionNumber(99), 10), None);
}

#[tokio::test]
async fn what_was_refused_is_counted_by_its_reason() {
    let mut pair = Pair::new().await;
    let nowhere = pair.west.open(OpenRequest::to_key(key("nobody"))).await;
    assert_eq!(nowhere.unwrap_err(), OpenError::NoPath);
    pair.east.serve(&key("app")).unwrap();
    let request = OpenRequest::to_key(key("app")).wait_for_path(common::DEADLINE);
    let refusing = async { within(pair.east.accept()).await.unwrap().refuse(StreamCode::APPLICATION_RESET) };
    let (refused, ()) = tokio::join!(within(pair.west.open(request)), refusing);
    assert_eq!(refused.unwrap_err(), OpenError::Refused(StreamCode::APPLICATION_RESET));
    let opens = pair.west.status().opens;
    assert_eq!((opens.no_path, opens.refused, opens.accepted), (1, 1, 0));
    let far = pair.east.status();
    assert_eq!((far.sessions[0].streams_opened_by_peer, far.sessions[0].streams_refused), (1, 1));

    let stranger = plane("stranger").await;
    let foreign = credentials("client", &TestCa::new("other").client("stranger"));
    link(&stranger, "east", pair.access.address(), foreign).await;
    let is_refused = |kind: &EventKind| matches!(kind, EventKind::PeerRefused { .. });
    until(&mut pair.east_events, is_refused).await;
    let status = pair.east.status();
    let history = &status.accesses[0].history;
    // The stranger trusts another authority too, and says so with an alert before it is judged.
    assert_eq!(history.refused.keys().copied().collect::<Vec<_>>(), ["certificate_refused"]);
    let last = history.last_refused.as_ref().unwrap();
    assert!(matches!(last.refusal, PeerRefusal::Tls(TlsReason::CertificateRefused { .. })), "{last:?}");
    assert!(last.address.ip().is_loopback());
}

#[test]
fn the_shape_of_events_and_errors_in_json_is_stable() {
    let failed = EventKind::DialFailed {
        link: LinkId(1),
        name: LinkName::new("east").unwrap(),
        group: GroupName::new("g").unwrap(),
        endpoint: "east.example:55671".into(),
        attempt: 2,
        phase: Phase::Hello,
        error: DialError::Closed {
            code: CloseCode::BUSY,
            detail: "too many sessions".into(),
            retry_after: Some(Duration::from_millis(1500)),
        },
        next_attempt_in: Duration::from_micros(250),
    };
    let expected = format!(
        "{{\"seq\":7,\"at_micros\":9,\"event\":\"dial_failed\",\"link\":1,\"name\":\"east\",\"group\":\"g\",\
         \"endpoint\":\"east.example:55671\",\"attempt\":2,\"phase\":\"hello\",\"error\":{{\"closed\":{{\"code\":{},\
         \"detail\":\"too many sessions\",\"retry_after\":1.5}}}},\"next_attempt_in\":0.00025}}",
        serde_json::to_string(&CloseCode::BUSY).unwrap()
    );
    assert_eq!(serde_json::to_string(&Event::new(7, 9, failed)).unwrap(), expected);
    let overtaken = EventKind::DialOvertaken {
        link: LinkId(1),
        name: LinkName::new("east").unwrap(),
        group: GroupName::new("g").unwrap(),
        endpoint: "one.example:55671".into(),
        attempt: 1,
        reached: false,
        by: "other.example:55671".into(),
        after: Duration::from_millis(310),
    };
    let expected = "{\"event\":\"dial_overtaken\",\"link\":1,\"name\":\"east\",\"group\":\"g\",\
                    \"endpoint\":\"one.example:55671\",\"attempt\":1,\"reached\":false,\
                    \"by\":\"other.example:55671\",\"after\":0.31}";
    assert_eq!(serde_json::to_string(&overtaken).unwrap(), expected);
    let dead = serde_json::to_string(&sitelink::CarrierEnd::Dead(Duration::from_secs(30))).unwrap();
    assert_eq!(dead, "{\"dead\":30.0}");
    let lost = EventKind::PathLost { destination: Destination::Key(RoutingKey::new("app").unwrap()) };
    assert_eq!(
        serde_json::to_string(&lost).unwrap(),
        "{\"event\":\"path_lost\",\"destination\":{\"key\":\"app\"}}"
    );
}

#[tokio::test]
async fn an_event_is_named_as_it_is_serialized_and_a_status_has_its_parts_in_order() {
    let mut pair = Pair::new().await;
    let mut names = 0;
    pair.west.shutdown(Duration::ZERO).await;
    while let Some(event) = pair.west_events.next().await {
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["event"], event.kind.name());
        names += 1;
    }
    assert!(names > 0);
    let text = serde_json::to_string(&pair.east.status()).unwrap();
    let parts = ["as_of", "at_micros", "router", "links", "sessions", "accesses", "paths", "opens", "events"];
    let places: Vec<_> = parts.iter().map(|part| text.find(&format!("\"{part}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
}

#[tokio::test]
async fn the_log_has_every_event_at_its_level_within_the_spans_of_its_tasks() {
    let log = Capture::default();
    let subscriber = tracing_subscriber::registry().with(log.clone());
    let guard = tracing::subscriber::set_default(subscriber);
    let mut pair = Pair::new().await;
    let secret = secret_of(&pair.ca);
    let broken = link(&pair.west, "broken", loopback_port(), secret.0).await;
    until(&mut pair.west_events, |kind| matches!(kind, EventKind::DialFailed { .. })).await;
    pair.west.unlink(broken, Duration::ZERO).await.unwrap();
    until(&mut pair.west_events, |kind| matches!(kind, EventKind::LinkRemoved { .. })).await;
    drop(guard);

    let seen = log.0.lock().unwrap();
    let level = |name: &str| seen.events.get(name).copied();
    for name in ["link_configured", "session_up", "carrier_up", "group_up", "access_up", "link_removed"] {
        assert_eq!(level(name), Some(Level::INFO), "{name}");
    }
    assert_eq!(level("dial_failed"), Some(Level::WARN));
    assert_eq!(level("credentials_loaded"), Some(Level::DEBUG));
    for (span, parent) in [
        ("plane", None),
        ("link", Some("plane")),
        ("group", Some("link")),
        ("session", Some("plane")),
        ("carrier", Some("session")),
        ("access", Some("plane")),
    ] {
        assert_eq!(seen.spans.get(span), Some(&parent), "{span}");
    }
    assert!(seen.text.contains("to-east") || seen.text.contains("east"), "{}", seen.text);
    let body: String = secret.1.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(!seen.text.contains("PRIVATE KEY") && !seen.text.contains(&body[..32]), "{}", seen.text);
}

/// A client's credentials, and its key as PEM.
fn secret_of(ca: &TestCa) -> (Credentials, String) {
    let bundle = ca.client("west");
    (credentials("client", &bundle), bundle.key)
}

/// An address on which nobody listens: the port is given out and given back.
fn loopback_port() -> std::net::SocketAddr {
    std::net::TcpListener::bind(loopback()).unwrap().local_addr().unwrap()
}

/// Keeps what was logged under the target `sitelink`.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// The level of each event, by its name.
    events: BTreeMap<String, Level>,
    /// The parent of each span, by name.
    spans: BTreeMap<&'static str, Option<&'static str>>,
    /// All fields of all.
    text: String,
}

#[derive(Default)]
struct Fields {
    event: Option<String>,
    text: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.event = Some(value.to_owned());
        }
        let _ = write!(self.text, " {}={value}", field.name());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.text, " {}={value:?}", field.name());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() != "sitelink" {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let span = context.span(id).unwrap();
        let mut seen = self.0.lock().unwrap();
        seen.spans.insert(span.name(), span.parent().map(|parent| parent.name()));
        seen.text.push_str(&fields.text);
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "sitelink" {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut seen = self.0.lock().unwrap();
        seen.text.push_str(&fields.text);
        if let Some(name) = fields.event {
            seen.events.insert(name, *event.metadata().level());
        }
    }
}

/// When nothing was taken for so long, every window is full.
const STILL: Duration = Duration::from_millis(300);
