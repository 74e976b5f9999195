mod churn;
mod laws;
mod moving;
mod sites;
mod storms;
mod successors;
mod uplink_laws;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::certificate::LeafSummary;
use crate::config::PlaneConfig;
use crate::error::{CarrierEnd, PeerRefusal};
use crate::id::{
    CarrierNumber, Cost, Instance, KeyPin, LinkName, Ordinal, Principal, RouterName, RouterRole, RoutingKey,
    SessionId, SiteId, SiteName,
};
use crate::policy::{PeerIdentity, PeerPolicy};
use crate::proto::dial::Target;
use crate::proto::facts::{Admission, Arrival, Local, SessionFact};
use crate::proto::link::LinkWanted;
use crate::proto::paths::Costs;
use crate::proto::some_moment;
use crate::proto::trust::Scope;
use crate::resource::secret::ProxySpec;
use crate::resource::settings::Settings;
use crate::snapshot::{GroupState, SessionState};
use crate::stats::{RoundTrip, Traffic};
use crate::wire::hello::{Hello, SessionSecret};

const LINK: LinkId = LinkId(1);
const ACCESS: AccessId = AccessId(1);
const GRACE: Duration = Duration::from_secs(5);

fn config() -> FleetConfig {
    let local = Local {
        site_id: SiteId::new("home").unwrap(),
        site_name: SiteName::new("home").unwrap(),
        router: RouterName::new("r0").unwrap(),
        instance: Instance([0; 16]),
        role: RouterRole::Interior,
    };
    FleetConfig { accepted_sessions: 8, carriers: 1, ..FleetConfig::new(local, &PlaneConfig::default()) }
}

/// A link with these groups, each with so many endpoints.
fn wanted(groups: &[(&str, u16)]) -> LinkWanted {
    let targets = |name: &str, count: u16| {
        (1..=count).map(|port| Target { host: Arc::from(format!("host-{name}")), port }).collect()
    };
    LinkWanted {
        name: LinkName::new("east").unwrap(),
        namespace: "".into(),
        generation: Some(1),
        cost: Cost::DEFAULT,
        groups: groups.iter().map(|(name, count)| (name.parse().unwrap(), targets(name, *count))).collect(),
        credentials: None,
        settings: Settings::default(),
        proxy: None,
        no_client_auth: false,
        usable: Ok(()),
    }
}

fn hello(instance: u8, carrier: u32, session: SessionClaim) -> Box<Hello> {
    Box::new(Hello {
        features: 0,
        site_id: format!("site-{instance}").parse().unwrap(),
        site_name: SiteName::new("a site").unwrap(),
        router: RouterName::new("r1").unwrap(),
        instance: Instance([instance; 16]),
        role: LinkRole::InterRouter,
        link: LinkName::new("west").unwrap(),
        group: GroupName::new("").unwrap(),
        cost: Cost::DEFAULT,
        max_streams: 1,
        initial_window: 16_384,
        ordinal: Ordinal(0),
        resume_window: Duration::from_secs(20),
        carrier: CarrierNumber(carrier),
        session,
        dead: Vec::new(),
    })
}

fn certificate(subject: &str) -> Principal {
    Principal::Certificate { issuer: "CN=ca".into(), subject: Arc::from(subject) }
}

fn facts(hello: Box<Hello>) -> DialedFacts {
    let address = "192.0.2.1:5671".parse().unwrap();
    DialedFacts {
        hello,
        principal: certificate("server"),
        certificate: None,
        local: address,
        remote: address,
    }
}

/// An acceptor's hello of that instance, for a new session with an id of that byte.
fn begun(instance: u8, id: u8) -> DialedFacts {
    let (session, secret) = (SessionId([id; 16]), SessionSecret([id; 32]));
    facts(hello(instance, 0, SessionClaim::Begun { session, secret }))
}

fn joined(instance: u8, id: u8, carrier: u32) -> DialedFacts {
    facts(hello(instance, carrier, SessionClaim::Joined { session: SessionId([id; 16]) }))
}

/// A dialer's hello of that instance, to begin a session with an id of that byte.
fn arrival(instance: u8, id: u8) -> Arrival {
    let address = "192.0.2.2:40000".parse().unwrap();
    Arrival {
        cost: Cost::DEFAULT,
        access: ACCESS,
        role: LinkRole::InterRouter,
        hello: hello(instance, 0, SessionClaim::New),
        principal: certificate("west"),
        certificate: None,
        ordinal: Ordinal(0),
        local: address,
        remote: address,
        fresh_id: SessionId([id; 16]),
        fresh_secret: SessionSecret([id; 32]),
    }
}

fn down(carrier: u32) -> SessionFact {
    SessionFact::CarrierDown {
        carrier: CarrierNumber(carrier),
        end: CarrierEnd::Eof,
        last_received_ago: Duration::ZERO,
        traffic: Traffic::default(),
        round_trip: RoundTrip::default(),
    }
}

fn ended(end: SessionEnd) -> SessionFact {
    SessionFact::Ended { end, traffic: Traffic::default() }
}

fn unreachable_endpoint() -> DialError {
    let address = "192.0.2.1:5671".parse().unwrap();
    DialError::Connect { address, kind: std::io::ErrorKind::ConnectionRefused }
}

/// A fleet driven by hand.
struct Bench {
    fleet: Fleet,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { fleet: Fleet::new(config(), 1), now: some_moment() }
    }

    /// With a link whose groups are each dialed once; what is dialed is returned.
    fn linked(groups: &[(&str, u16)]) -> (Self, Vec<DialOrder>) {
        let mut bench = Self::new();
        bench.fleet.handle_link(bench.now, LINK, wanted(groups));
        let dials = bench.dials();
        bench.events();
        (bench, dials)
    }

    /// With a link of one group, whose session 1 (instance 1, id 1) is up for a minute.
    fn up() -> Self {
        let (mut bench, dials) = Self::linked(&[("a", 1)]);
        bench.dialed(dials[0].attempt, Ok(begun(1, 1)));
        bench.actions();
        bench.events();
        bench.now += Duration::from_secs(60);
        bench
    }

    fn dialed(&mut self, attempt: AttemptId, result: Result<DialedFacts, DialError>) -> Verdict {
        self.fleet.handle_dialed(self.now, attempt, result)
    }

    fn fact(&mut self, fact: SessionFact) {
        self.fleet.handle_session(self.now, SessionNumber(1), fact);
    }

    fn actions(&mut self) -> Vec<FleetAction> {
        std::iter::from_fn(|| self.fleet.poll_action()).collect()
    }

    fn dials(&mut self) -> Vec<DialOrder> {
        let dial = |action| match action {
            FleetAction::Dial(order) => Some(order),
            _ => None,
        };
        self.actions().into_iter().filter_map(dial).collect()
    }

    fn events(&mut self) -> Vec<EventKind> {
        std::iter::from_fn(|| self.fleet.poll_event()).collect()
    }

    /// The events by their names alone.
    fn told(&mut self) -> Vec<String> {
        self.events().iter().map(name_of).collect()
    }

    fn status(&self) -> PlaneStatus {
        self.fleet.snapshot(self.now, 1_000_000_000, 0)
    }
}

/// `SessionUp`, `LinkOperational(1/2)`, …
fn name_of(event: &EventKind) -> String {
    match event {
        EventKind::LinkOperational { groups_up, groups, .. } => {
            format!("LinkOperational({groups_up}/{groups})")
        }
        other => format!("{other:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn a_dialed_session_comes_up_in_causal_order() {
    let (mut bench, dials) = Bench::linked(&[("a", 1), ("b", 1)]);
    let purposes: Vec<_> = dials.iter().map(|order| (order.group.as_str(), order.purpose)).collect();
    assert_eq!(purposes, [("a", Purpose::Begin), ("b", Purpose::Begin)]);
    let verdict = bench.dialed(dials[0].attempt, Ok(begun(1, 1)));
    assert_eq!(verdict, Verdict::Begin { session: SessionNumber(1) });
    assert_eq!(bench.told(), ["SessionUp", "CarrierUp", "GroupUp", "LinkOperational(1/2)"]);
    bench.dialed(dials[1].attempt, Ok(begun(2, 2)));
    assert_eq!(bench.told(), ["SessionUp", "CarrierUp", "GroupUp", "LinkOperational(2/2)"]);
}

#[test]
fn an_alternate_that_was_overtaken_is_told_of_before_the_group_is_up() {
    let (mut bench, _) = Bench::linked(&[("a", 2)]);
    bench.now += Duration::from_millis(300);
    bench.fleet.handle_timeout(bench.now);
    let second = bench.dials().remove(0);
    bench.fleet.handle_reached(bench.now, second.attempt);
    bench.now += Duration::from_millis(50);
    bench.dialed(second.attempt, Ok(begun(1, 1)));
    let events = bench.events();
    let names: Vec<_> = events.iter().map(name_of).collect();
    assert_eq!(names, ["SessionUp", "CarrierUp", "DialOvertaken", "GroupUp", "LinkOperational(1/1)"]);
    let overtaken = EventKind::DialOvertaken {
        link: LINK,
        name: LinkName::new("east").unwrap(),
        group: GroupName::new("a").unwrap(),
        endpoint: "host-a:1".into(),
        attempt: 1,
        reached: false,
        by: "host-a:2".into(),
        after: Duration::from_millis(350),
    };
    assert_eq!(events[2], overtaken);
}

#[test]
fn a_lost_carrier_is_replaced_and_the_session_goes_on() {
    let mut bench = Bench::up();
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    assert_eq!(bench.told(), ["CarrierDown", "GroupDown", "LinkOperational(0/1)", "SessionRecovering"]);
    let dials = bench.dials();
    assert_eq!(dials[0].purpose, Purpose::Join { session: SessionNumber(1) });
    bench.now += Duration::from_millis(300);
    assert!(bench.status().links[0].operational, "the status gives a redial a second");
    let verdict = bench.dialed(dials[0].attempt, Ok(joined(1, 1, 1)));
    assert_eq!(verdict, Verdict::Join { session: SessionNumber(1) });
    assert_eq!(bench.told(), ["CarrierUp", "GroupUp", "LinkOperational(1/1)"]);
    bench.fact(SessionFact::Resumed { resent_bytes: 7 });
    let after = Duration::from_millis(300);
    let resumed = EventKind::SessionResumed { session: SessionNumber(1), after, resent_bytes: 7 };
    assert_eq!(bench.events(), [resumed]);
}

#[test]
fn the_status_calls_a_link_down_a_second_after_its_last_carrier() {
    let mut bench = Bench::up();
    let up_since = bench.status().links[0].operational_since_micros;
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    bench.now += Duration::from_millis(999);
    assert_eq!(bench.status().links[0].operational_since_micros, up_since - 999_000);
    bench.now += Duration::from_millis(1);
    let view = bench.status().links.remove(0);
    assert_eq!((view.operational, view.operational_since_micros), (false, 1_000_000_000));
    assert_eq!(view.groups[0].state, GroupState::Recovering);
}

/// How many milliseconds ago Configured, Operational and Ready became what they are, and whether the first two hold.
fn ages(bench: &Bench) -> [(bool, u64); 3] {
    let view = bench.status().links.remove(0);
    let age = |micros: u64| (1_000_000_000 - micros) / 1000;
    [
        (view.configured, age(view.configured_since_micros)),
        (view.operational, age(view.operational_since_micros)),
        (view.configured && view.operational, age(view.ready_since_micros)),
    ]
}

#[test]
fn configured_is_as_old_as_its_last_flip_and_ready_as_what_made_it_so() {
    let mut bench = Bench::up();
    let change = |bench: &mut Bench, usable: Result<(), Arc<str>>| {
        bench.fleet.handle_link(bench.now, LINK, LinkWanted { usable, ..wanted(&[("a", 1)]) });
    };
    let second = Duration::from_secs(1);
    bench.now += second;
    let [_, (true, up), ready] = ages(&bench) else { panic!("{:?}", ages(&bench)) };
    assert_eq!(ready, (true, up));
    // Its session stays, but nothing would be dialed.
    change(&mut bench, Err("no proxy".into()));
    assert_eq!(ages(&bench), [(false, 0), (true, up), (false, 0)]);
    bench.now += second;
    // Another reason is no flip.
    change(&mut bench, Err("no credentials".into()));
    assert_eq!(ages(&bench), [(false, 1000), (true, up + 1000), (false, 1000)]);
    change(&mut bench, Ok(()));
    bench.now += second;
    assert_eq!(ages(&bench), [(true, 1000), (true, up + 2000), (true, 1000)]);
    change(&mut bench, Err("no proxy".into()));
    bench.now += second;
    assert_eq!(ages(&bench), [(false, 1000), (true, up + 3000), (false, 1000)]);
    // What is not Ready for one reason is not Ready anew for another: neither by what comes nor by what goes.
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    bench.now += 2 * second;
    change(&mut bench, Ok(()));
    assert_eq!(ages(&bench), [(true, 0), (false, 1000), (false, 3000)]);
}

#[test]
fn a_reconnect_is_a_transition_of_operational_and_ready_alone() {
    let mut bench = Bench::up();
    let second = Duration::from_secs(1);
    let [configured, ..] = ages(&bench);
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    bench.now += second - Duration::from_millis(1);
    let [(true, _), (true, _), (true, _)] = ages(&bench) else { panic!("{:?}", ages(&bench)) };
    bench.now += 3 * second + Duration::from_millis(1);
    // Nobody looked when the second was over.
    assert_eq!(ages(&bench), [(true, configured.1 + 4000), (false, 3000), (false, 3000)]);
    let dial = bench.dials().pop().unwrap();
    bench.dialed(dial.attempt, Ok(joined(1, 1, 1)));
    bench.now += second;
    assert_eq!(ages(&bench), [(true, configured.1 + 5000), (true, 1000), (true, 1000)]);
}

#[test]
fn a_session_gone_at_the_peer_is_followed_by_a_new_one() {
    let mut bench = Bench::up();
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    let join = bench.dials().remove(0);
    bench.events();
    let (code, detail) = (CloseCode::SESSION_GONE, "".into());
    bench.dialed(join.attempt, Err(DialError::Closed { code, detail, retry_after: None }));
    let session = SessionNumber(1);
    let actions = bench.actions();
    let [FleetAction::EndSession { .. }, FleetAction::Path(_), FleetAction::Dial(begin)] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(actions[0], FleetAction::EndSession { session, end: SessionEnd::Gone, code });
    assert_eq!(begin.purpose, Purpose::Begin);
    bench.fact(ended(SessionEnd::Gone));
    assert_eq!(bench.told(), ["DialFailed", "SessionDown"]);
}

#[test]
fn a_second_group_that_reaches_the_same_instance_waits_as_a_duplicate() {
    let (mut bench, dials) = Bench::linked(&[("a", 1), ("b", 1)]);
    bench.dialed(dials[0].attempt, Ok(begun(1, 1)));
    let verdict = bench.dialed(dials[1].attempt, Ok(begun(1, 2)));
    let Verdict::Close { scope: CloseScope::Session, code: CloseCode::DUPLICATE, .. } = verdict else {
        panic!("{verdict:?}")
    };
    let groups = bench.status().links.remove(0).groups;
    assert_eq!((groups[0].state, groups[1].state), (GroupState::Up, GroupState::Duplicate));
    let of = GroupName::new("a").unwrap();
    assert_eq!(groups[1].error, Some(DialError::Duplicate { of }));
    bench.actions();
    bench.fact(ended(SessionEnd::PeerClosed(CloseCode::SHUTDOWN)));
    let dialed: Vec<_> = bench.dials().into_iter().map(|order| order.group.as_str().to_owned()).collect();
    assert_eq!(dialed, ["b"], "the duplicate looks again as soon as the other is gone");
}

#[test]
fn a_new_cost_touches_no_connection() {
    let mut bench = Bench::up();
    let (session, cost) = (SessionNumber(1), Cost::new(10).unwrap());
    bench.fleet.handle_link(bench.now, LINK, LinkWanted { cost, ..wanted(&[("a", 1)]) });
    let path = |own, peer| FleetAction::Path(PathChange::Cost { session, costs: Costs { own, peer } });
    assert_eq!(bench.actions(), [FleetAction::SetCost { session, cost }, path(cost, Cost::DEFAULT)]);
    assert_eq!(bench.told(), ["LinkChanged", "CostChanged"]);
    // The peer's larger cost is in force; this end's smaller one then changes nothing but what the peer is told.
    let peer = Cost::new(20).unwrap();
    bench.fact(SessionFact::PeerCost(peer));
    assert_eq!(bench.told(), ["CostChanged"]);
    bench.actions();
    bench.fleet.handle_link(bench.now, LINK, wanted(&[("a", 1)]));
    let cost = Cost::DEFAULT;
    assert_eq!(bench.actions(), [FleetAction::SetCost { session, cost }, path(cost, peer)]);
    assert_eq!(bench.told(), ["LinkChanged"]);
}

#[test]
fn a_changed_group_list_dials_what_is_new_and_drains_what_is_gone() {
    let mut bench = Bench::up();
    bench.fleet.handle_link(bench.now, LINK, wanted(&[("b", 1)]));
    let actions = bench.actions();
    let session = SessionNumber(1);
    assert!(actions.contains(&FleetAction::DrainSession { session }), "{actions:?}");
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, FleetAction::Dial(order) if order.group.as_str() == "b"))
    );
    assert_eq!(bench.told(), ["LinkChanged", "SessionDraining", "LinkOperational(1/2)"]);
    bench.fact(SessionFact::Drained);
    let code = CloseCode::DRAINED;
    assert!(bench.actions().contains(&FleetAction::EndSession {
        session,
        end: SessionEnd::Closed(code),
        code
    }));
    bench.fact(ended(SessionEnd::Closed(code)));
    assert_eq!(bench.told(), ["GroupDown", "LinkOperational(0/1)", "CarrierDown", "SessionDown"]);
    assert_eq!(bench.status().links[0].groups.len(), 1);
}

#[test]
fn an_unlinked_session_drains_until_the_grace_is_over() {
    let mut bench = Bench::up();
    bench.fleet.handle_unlink(bench.now, LINK, GRACE);
    assert_eq!(bench.told(), ["SessionDraining"]);
    // A carrier lost meanwhile is still replaced: the streams that drain need it.
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    let join = bench.dials().remove(0);
    bench.dialed(join.attempt, Ok(joined(1, 1, 1)));
    bench.events();
    bench.actions();
    assert_eq!(bench.fleet.poll_timeout(), Some(bench.now + GRACE));
    bench.now += GRACE;
    bench.fleet.handle_timeout(bench.now);
    let (session, code) = (SessionNumber(1), CloseCode::DISCONNECTED);
    let end = SessionEnd::Closed(code);
    assert_eq!(bench.actions()[0], FleetAction::EndSession { session, end: end.clone(), code });
    assert_eq!(bench.status().sessions[0].state, SessionState::Ending);
    bench.fact(ended(end));
    let told = ["GroupDown", "LinkOperational(0/1)", "CarrierDown", "SessionDown", "LinkRemoved"];
    assert_eq!(bench.told(), told);
    assert!(bench.fleet.is_idle());
}

#[test]
fn a_link_that_cannot_be_used_is_refused_and_dialed_once_it_can() {
    let mut bench = Bench::new();
    let unusable = LinkWanted { usable: Err("no credentials named \"x\"".into()), ..wanted(&[("a", 1)]) };
    bench.fleet.handle_link(bench.now, LINK, unusable);
    assert_eq!((bench.told(), bench.dials()), (vec!["LinkRefused".to_owned()], vec![]));
    assert!(!bench.status().links[0].configured);
    bench.fleet.handle_link(bench.now, LINK, wanted(&[("a", 1)]));
    assert_eq!((bench.told(), bench.dials().len()), (vec!["LinkConfigured".to_owned()], 1));
}

#[test]
fn new_credentials_are_tried_at_once() {
    let (mut bench, dials) = Bench::linked(&[("a", 1)]);
    bench.dialed(dials[0].attempt, Err(unreachable_endpoint()));
    assert_eq!(bench.status().links[0].groups[0].state, GroupState::Waiting);
    bench.actions();
    let credentials = Some(("east".into(), Ordinal(1)));
    bench.fleet.handle_link(bench.now, LINK, LinkWanted { credentials, ..wanted(&[("a", 1)]) });
    assert_eq!(bench.dials().len(), 1);
}

#[test]
fn changed_settings_touch_nothing_that_is_up_and_are_tried_at_once_where_nothing_is() {
    let settings = Settings { keepalive: Some(Duration::from_secs(5)), ..Settings::default() };
    let changed = || LinkWanted { settings: settings.clone(), ..wanted(&[("a", 1)]) };
    let mut bench = Bench::up();
    bench.told();
    bench.fleet.handle_link(bench.now, LINK, changed());
    let [EventKind::LinkChanged { changes, .. }] = &bench.events()[..] else { unreachable!() };
    assert_eq!(*changes, ["settings".into()]);
    assert_eq!(bench.actions(), []);

    let (mut bench, dials) = Bench::linked(&[("a", 1)]);
    bench.dialed(dials[0].attempt, Err(unreachable_endpoint()));
    bench.actions();
    bench.fleet.handle_link(bench.now, LINK, changed());
    assert_eq!(bench.dials().len(), 1);
}

#[test]
fn a_late_answer_is_closed_and_changes_nothing() {
    let (mut bench, dials) = Bench::linked(&[("a", 1)]);
    bench.fleet.handle_unlink(bench.now, LINK, GRACE);
    assert_eq!(bench.actions(), [FleetAction::Cancel { attempt: dials[0].attempt }]);
    assert_eq!(bench.told(), ["LinkRemoved"]);
    let verdict = bench.dialed(dials[0].attempt, Ok(begun(1, 1)));
    assert!(matches!(verdict, Verdict::Close { scope: CloseScope::Session, code: CloseCode::NORMAL, .. }));
    assert_eq!((bench.actions(), bench.events()), (vec![], vec![]));
}

#[test]
fn a_router_that_dials_itself_is_told_so() {
    let (mut bench, dials) = Bench::linked(&[("a", 1)]);
    let verdict = bench.dialed(dials[0].attempt, Ok(begun(0, 1)));
    assert!(matches!(verdict, Verdict::Close { code: CloseCode::SELF_LINK, .. }), "{verdict:?}");
    assert_eq!(bench.told(), ["DialFailed"]);
}

#[test]
fn a_join_that_reaches_another_instance_leaves_the_session_alone() {
    let mut bench = Bench::up();
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    let join = bench.dials().remove(0);
    bench.events();
    let verdict = bench.dialed(join.attempt, Ok(begun(2, 2)));
    let Verdict::Close { scope: CloseScope::Carrier, code: CloseCode::OTHER_INSTANCE, .. } = verdict else {
        panic!("{verdict:?}")
    };
    let [EventKind::DialFailed { endpoint, attempt, phase, error, .. }] = &bench.events()[..] else {
        panic!("one event")
    };
    assert_eq!((&**endpoint, *attempt, *phase), ("host-a:1", 1, crate::error::Phase::Hello));
    let (expected, found) = (Instance([1; 16]), Instance([2; 16]));
    assert_eq!(*error, DialError::OtherInstance { expected, found });
    let text = error.to_string();
    assert!(text.contains(&expected.to_string()) && text.contains(&found.to_string()), "{text}");
    assert_eq!(bench.status().sessions[0].state, SessionState::Recovering);
}

#[test]
fn what_is_dialed_past_a_proxy_that_is_wanted_now_is_given_up() {
    let (mut bench, dials) = Bench::linked(&[("a", 1)]);
    let settings = Settings { proxy_configuration: Some("proxy".into()), ..Settings::default() };
    let proxy = |port| Some(ProxySpec::new("proxy.example".parse().unwrap(), port));
    let mut attempt = dials[0].attempt;
    // First there is none, then another.
    for port in [3128, 8080] {
        let changed = LinkWanted { settings: settings.clone(), proxy: proxy(port), ..wanted(&[("a", 1)]) };
        bench.fleet.handle_link(bench.now, LINK, changed);
        let actions = bench.actions();
        assert!(actions.contains(&FleetAction::Cancel { attempt }), "{actions:?}");
        let dialed = actions.iter().find_map(|action| match action {
            FleetAction::Dial(order) => Some(order.attempt),
            _ => None,
        });
        attempt = dialed.unwrap();
        let late = bench.dialed(AttemptId(0), Ok(begun(1, 1)));
        assert!(matches!(late, Verdict::Close { .. }), "{late:?}");
    }
}

#[test]
fn a_restarted_dialer_takes_the_place_of_its_old_instance() {
    let mut bench = Bench::new();
    bench.fleet.handle_arrival(bench.now, &arrival(1, 1), |_| false);
    bench.events();
    bench.actions();
    let mut restarted = arrival(1, 2);
    restarted.hello.instance = Instance([7; 16]);
    let admission = bench.fleet.handle_arrival(bench.now, &restarted, |_| false);
    assert_eq!(admission, Admission::Begin { session: SessionNumber(2) });
    let (session, end) = (SessionNumber(1), SessionEnd::Replaced { instance: Instance([7; 16]) });
    assert_eq!(
        bench.actions()[0],
        FleetAction::EndSession { session, end: end.clone(), code: CloseCode::REPLACED }
    );
    bench.fact(ended(end));
    assert_eq!(bench.told(), ["SessionUp", "CarrierUp", "CarrierDown", "SessionDown"]);
}

#[test]
fn a_refused_arrival_is_an_event_and_nothing_else() {
    let mut bench = Bench::new();
    bench.fleet.handle_arrival(bench.now, &arrival(1, 1), |_| false);
    bench.events();
    bench.actions();
    let mut usurper = arrival(1, 2);
    usurper.principal = certificate("other");
    let admission = bench.fleet.handle_arrival(bench.now, &usurper, |_| false);
    assert!(matches!(admission, Admission::Refuse(_)));
    let refusal = PeerRefusal::SiteIdConflict { site: SiteId::new("site-1").unwrap() };
    let (access, address, phase) = (ACCESS, usurper.remote, crate::error::Phase::Hello);
    assert_eq!(bench.events(), [EventKind::PeerRefused { access, address, phase, refusal }]);
    assert_eq!(bench.actions(), []);
}

/// What a peer shows: a leaf with a key of that byte.
fn leaf(key: u8) -> Option<Arc<LeafSummary>> {
    let (subject, issuer) = ("CN=west".into(), "CN=ca".into());
    let leaf = LeafSummary::new(subject, issuer, "01".into(), (0, i64::MAX), Vec::new(), KeyPin([key; 32]));
    Some(Arc::new(leaf))
}

fn joining(carrier: u32, key: u8) -> Arrival {
    let mut join = arrival(1, 9);
    let (session, proof) = (SessionId([1; 16]), [0; 32]);
    *join.hello = Hello { carrier: CarrierNumber(carrier), ..(*join.hello).clone() };
    join.hello.session = SessionClaim::Join { session, proof };
    join.certificate = leaf(key);
    join
}

#[test]
fn a_carrier_joins_with_a_key_of_the_same_set_and_the_keys_it_serves_are_looked_at_anew() {
    let mut bench = Bench::new();
    let pins = |keys: &[u8]| PeerIdentity::Keys(keys.iter().map(|key| KeyPin([*key; 32])).collect());
    let policy = PeerPolicy::only([pins(&[1, 2]), pins(&[3])]);
    bench.fleet.handle_policy(bench.now, Scope::Door(Door::Access(ACCESS)), policy);
    let first = Arrival { certificate: leaf(1), ..arrival(1, 1) };
    let admission = bench.fleet.handle_arrival(bench.now, &first, |_| false);
    assert_eq!(admission, Admission::Begin { session: SessionNumber(1) });
    bench.actions();
    for (carrier, key, refused) in [
        (1, 1, None),
        (2, 2, None),
        (3, 3, Some(CloseCode::OTHER_PRINCIPAL)),
        (3, 4, Some(CloseCode::NOT_AUTHORIZED)),
    ] {
        let code = match bench.fleet.handle_arrival(bench.now, &joining(carrier, key), |_| true) {
            Admission::Refuse(refusal) => Some(refusal.code),
            _ => None,
        };
        assert_eq!(code, refused, "key {key}");
        let reviewed = bench.actions().contains(&FleetAction::ReviewKeys { session: SessionNumber(1) });
        assert_eq!(reviewed, key == 2, "key {key}");
    }
}

#[test]
fn policies_of_links_and_accesses_that_are_gone_are_forgotten_with_their_sessions() {
    let mut bench = Bench::new();
    let address = "192.0.2.1:5671".parse().unwrap();
    bench.fleet.handle_access_up(bench.now, ACCESS, address, LinkRole::InterRouter);
    let nobody = || PeerPolicy::any().serving(PeerIdentity::subject("CN=nobody"), []);
    bench.fleet.handle_policy(bench.now, Scope::Door(Door::Access(ACCESS)), nobody());
    bench.fleet.handle_arrival(bench.now, &arrival(1, 1), |_| false);
    let key = RoutingKey::new("backend").unwrap();
    let may_serve = |bench: &mut Bench| {
        let mut keys = [(key.clone(), true)];
        bench.fleet.handle_keys(SessionNumber(1), &mut keys);
        keys[0].1
    };
    assert!(!may_serve(&mut bench));
    bench.fleet.handle_access_down(ACCESS);
    assert!(!may_serve(&mut bench), "its session goes on under it");
    bench.fact(ended(SessionEnd::Closed(CloseCode::NORMAL)));
    // Another access goes, and takes along what is left of the first.
    bench.fleet.handle_access_up(bench.now, AccessId(8), address, LinkRole::InterRouter);
    bench.fleet.handle_access_down(AccessId(8));
    assert!(bench.fleet.trust.is_plain());
}

#[test]
fn a_policy_that_ends_the_active_session_of_an_edge_makes_another_active_in_the_same_step() {
    let mut edge = config();
    edge.local.role = RouterRole::Edge;
    let mut bench = Bench { fleet: Fleet::new(edge, 1), now: some_moment() };
    for link in [1, 2] {
        bench.fleet.handle_link(bench.now, LinkId(link), wanted(&[("a", 1)]));
        let attempt = bench.dials()[0].attempt;
        let id = u8::try_from(link).unwrap();
        bench.dialed(attempt, Ok(begun(id, id)));
        bench.actions();
    }
    let nobody = PeerPolicy::only([PeerIdentity::subject("CN=nobody")]);
    bench.fleet.handle_policy(bench.now, Scope::Door(Door::Link(LINK)), nobody);
    let other = FleetAction::SetActive { session: SessionNumber(2), active: true };
    assert!(bench.actions().contains(&other));
}

#[test]
fn carrier_numbers_only_grow() {
    let mut bench = Bench::new();
    bench.fleet.handle_arrival(bench.now, &arrival(1, 1), |_| false);
    for (number, taken) in [(0, false), (5, true), (3, false), (5, false), (6, true)] {
        let mut join = arrival(1, 9);
        let (session, proof) = (SessionId([1; 16]), [0; 32]);
        *join.hello = Hello { carrier: CarrierNumber(number), ..(*join.hello).clone() };
        join.hello.session = SessionClaim::Join { session, proof };
        let admission = bench.fleet.handle_arrival(bench.now, &join, |_| true);
        assert_eq!(matches!(admission, Admission::Join { .. }), taken, "{number}: {admission:?}");
    }
}

#[test]
fn a_shutdown_drains_everything_and_lets_nobody_in() {
    let mut bench = Bench::up();
    bench.fleet.handle_arrival(bench.now, &arrival(2, 2), |_| false);
    bench.actions();
    bench.fleet.handle_shutdown(bench.now, GRACE);
    let drained: BTreeSet<SessionNumber> = bench
        .actions()
        .into_iter()
        .filter_map(|action| match action {
            FleetAction::DrainSession { session } => Some(session),
            _ => None,
        })
        .collect();
    assert_eq!(drained, BTreeSet::from([SessionNumber(1), SessionNumber(2)]));
    let admission = bench.fleet.handle_arrival(bench.now, &arrival(3, 3), |_| false);
    assert!(matches!(admission, Admission::Refuse(refusal) if refusal.code == CloseCode::SHUTDOWN));
    bench.now += GRACE;
    bench.fleet.handle_timeout(bench.now);
    for session in drained {
        let end = SessionEnd::Closed(CloseCode::SHUTDOWN);
        bench.fleet.handle_session(bench.now, session, ended(end));
    }
    assert!(bench.fleet.is_idle());
}
