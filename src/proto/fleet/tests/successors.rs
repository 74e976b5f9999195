//! Sessions that cannot be supplied any longer, or are not wanted as they are: they drain, and others begin beside them.

use super::*;
use crate::proto::carrier::Carrier;
use crate::resource::status::{LinkStatus, Reason};

const SESSION: SessionNumber = SessionNumber(1);
const JOIN: Purpose = Purpose::Join { session: SESSION };
const DRAIN: FleetAction = FleetAction::DrainSession { session: SESSION };

fn with_credentials(ordinal: u64) -> LinkWanted {
    LinkWanted { credentials: Some(("own".into(), Ordinal(ordinal))), ..wanted(&[("a", 1)]) }
}

fn at(groups: &[(&str, &[u16])]) -> LinkWanted {
    let targets = |ports: &[u16]| ports.iter().map(|port| Target { host: "h".into(), port: *port }).collect();
    let groups = groups.iter().map(|(name, ports)| (name.parse().unwrap(), targets(ports))).collect();
    LinkWanted { groups, ..with_credentials(1) }
}

fn closed(code: CloseCode) -> DialError {
    DialError::Closed { code, detail: "".into(), retry_after: None }
}

fn ask(carrier: u32) -> SessionFact {
    let (carrier, code) = (CarrierNumber(carrier), CloseCode::REPLACED);
    SessionFact::CarrierRequested { carrier, code, deadline: GRACE }
}

impl Bench {
    /// With a link whose session has carriers 0 and 1, up for a minute.
    fn paired(wanted: LinkWanted) -> Self {
        let config = FleetConfig { carriers: 2, ..config() };
        let mut bench = Self { fleet: Fleet::new(config, 1), now: some_moment() };
        bench.fleet.handle_link(bench.now, LINK, wanted);
        let begin = bench.dials().remove(0);
        bench.dialed(begin.attempt, Ok(begun(1, 1)));
        let join = bench.dials().remove(0);
        bench.dialed(join.attempt, Ok(joined(1, 1, 1)));
        bench.actions();
        bench.events();
        bench.now += Duration::from_secs(60);
        bench
    }

    /// The purposes of what is dialed now, its last attempt, and whether the session was drained before that.
    fn succession(&mut self) -> (Vec<Purpose>, Option<AttemptId>, bool) {
        let actions = self.actions();
        let orders: Vec<_> = actions
            .iter()
            .enumerate()
            .filter_map(|(place, action)| match action {
                FleetAction::Dial(order) => Some((place, order.clone())),
                _ => None,
            })
            .collect();
        let drained = actions.iter().position(|action| *action == DRAIN);
        let before = drained.is_some_and(|drained| orders.iter().any(|(place, _)| drained < *place));
        let last = orders.last().map(|(_, order)| order.attempt);
        (orders.into_iter().map(|(_, order)| order.purpose).collect(), last, before)
    }

    /// The successor of session 1 begins, with that instance, and both are there.
    fn succeeds(&mut self, attempt: Option<AttemptId>, instance: u8) {
        let verdict = self.dialed(attempt.expect("an attempt"), Ok(begun(instance, 2)));
        assert_eq!(verdict, Verdict::Begin { session: SessionNumber(2) });
        let states: Vec<_> = self.status().sessions.iter().map(|view| view.state).collect();
        assert_eq!(states, [SessionState::Draining, SessionState::Up]);
        let group = &self.status().links[0].groups[0];
        assert_eq!((group.state, group.session), (GroupState::Up, Some(SessionNumber(2))));
    }

    /// Moves on to what is due next.
    fn wait(&mut self) {
        self.now = self.fleet.poll_timeout().expect("a timer");
        self.fleet.handle_timeout(self.now);
    }
}

#[test]
fn credentials_of_another_principal_get_a_session_of_their_own_beside_the_one_that_drains() {
    let mut bench = Bench::paired(with_credentials(1));
    bench.fleet.handle_link(bench.now, LINK, with_credentials(2));
    let join = bench.dials().pop().unwrap();
    bench.events();
    bench.dialed(join.attempt, Err(closed(CloseCode::OTHER_PRINCIPAL)));
    let (purposes, attempt, drained) = bench.succession();
    assert_eq!((purposes, drained), (vec![Purpose::Begin], true));
    assert_eq!(bench.told(), ["DialFailed", "SessionDraining", "GroupDown", "LinkOperational(0/1)"]);
    bench.succeeds(attempt, 1);
    // The streams of the old one have ended.
    bench.fact(ended(SessionEnd::Closed(CloseCode::DRAINED)));
    assert!(bench.told().contains(&"RotationCompleted".to_owned()));
}

#[test]
fn a_session_without_a_trusted_carrier_that_takes_none_of_this_principal_is_over_at_once() {
    let stranger = DialedFacts { principal: certificate("other"), ..joined(1, 1, 1) };
    for answer in [Err(closed(CloseCode::OTHER_PRINCIPAL)), Ok(stranger)] {
        let mut bench = Bench::up();
        bench.fact(down(0));
        bench.fact(SessionFact::Recovering);
        let join = bench.dials().remove(0);
        bench.dialed(join.attempt, answer);
        let actions = bench.actions();
        let code = CloseCode::OTHER_PRINCIPAL;
        let end = FleetAction::EndSession { session: SESSION, end: SessionEnd::Closed(code), code };
        assert!(actions.contains(&end), "{actions:?}");
        let begins = |action: &FleetAction| matches!(action, FleetAction::Dial(order) if order.purpose == Purpose::Begin);
        assert!(actions.iter().any(begins), "{actions:?}");
    }
}

#[test]
fn a_router_that_shows_another_principal_is_named_with_both_and_succeeds_itself_once_nothing_else_lasts() {
    let mut bench = Bench::paired(with_credentials(1));
    let stranger = |carrier| DialedFacts { principal: certificate("other"), ..joined(1, 1, carrier) };
    bench.fact(ask(1));
    let join = bench.dials().pop().unwrap();
    bench.events();
    let verdict = bench.dialed(join.attempt, Ok(stranger(2)));
    assert!(matches!(verdict, Verdict::Close { code: CloseCode::OTHER_PRINCIPAL, .. }), "{verdict:?}");
    let events = bench.events();
    let [EventKind::DialFailed { error, .. }] = &events[..] else { panic!("{events:?}") };
    let (expected, found) = (certificate("server"), certificate("other"));
    assert_eq!(*error, DialError::OtherPrincipal { expected, found });
    assert_eq!(bench.status().sessions[0].state, SessionState::Up, "carrier 0 lasts");
    bench.actions();

    bench.fact(ask(0));
    let attempt = loop {
        if let Some(dial) = bench.dials().pop() {
            break dial.attempt;
        }
        bench.wait();
    };
    bench.dialed(attempt, Ok(stranger(2)));
    let told = bench.now;
    assert_eq!(bench.actions().iter().filter(|action| **action == DRAIN).count(), 1);
    bench.wait();
    // Or the acceptor might see the successor's hello first, and end the session.
    assert_eq!(bench.now - told, Duration::from_secs(1));
    let (purposes, attempt, _) = bench.succession();
    assert_eq!(purposes, [Purpose::Begin]);
    bench.succeeds(attempt, 1);
}

#[test]
fn an_acceptor_lets_the_successor_of_a_session_stand_beside_it_once_its_dialer_drains_it() {
    for principal in [certificate("renewed"), Principal::Anonymous] {
        let mut bench = Bench::new();
        bench.fleet.handle_arrival(bench.now, &arrival(1, 1), |_| false);
        let successor = Arrival { principal: principal.clone(), ..arrival(1, 2) };
        let early = bench.fleet.handle_arrival(bench.now, &successor, |_| false);
        let Admission::Refuse(refusal) = early else { panic!("{early:?}") };
        assert_eq!(refusal.code, CloseCode::SITE_ID_CONFLICT);

        bench.fact(SessionFact::PeerDraining);
        bench.actions();
        let mut other_run = successor.clone();
        other_run.hello.instance = Instance([9; 16]);
        let usurped = bench.fleet.handle_arrival(bench.now, &other_run, |_| false);
        assert!(matches!(usurped, Admission::Refuse(_)), "{usurped:?}");

        let admission = bench.fleet.handle_arrival(bench.now, &successor, |_| false);
        assert_eq!(admission, Admission::Begin { session: SessionNumber(2) });
        let ends = |action: &FleetAction| matches!(action, FleetAction::EndSession { .. });
        assert!(!bench.actions().iter().any(ends), "nobody is displaced by {principal:?}");
    }
    // Nor is an anonymous one that drains by its successor with a certificate.
    let mut bench = Bench::new();
    let anonymous = Arrival { principal: Principal::Anonymous, ..arrival(1, 1) };
    bench.fleet.handle_arrival(bench.now, &anonymous, |_| false);
    bench.fact(SessionFact::PeerDraining);
    bench.actions();
    let admission = bench.fleet.handle_arrival(bench.now, &arrival(1, 2), |_| false);
    assert_eq!(admission, Admission::Begin { session: SessionNumber(2) });
    assert_eq!(bench.status().sessions[0].state, SessionState::Draining);
}

#[test]
fn a_peer_that_lets_sessions_begin_and_none_be_supplied_is_dialed_ever_less_often() {
    let mut bench = Bench::paired(with_credentials(1));
    let (start, mut begun_at) = (bench.now, Vec::new());
    bench.fact(ask(0));
    bench.fact(ask(1));
    while bench.now < start + Duration::from_secs(20) {
        for order in bench.dials() {
            match order.purpose {
                Purpose::Begin => {
                    begun_at.push(bench.now);
                    let id = u8::try_from(begun_at.len() + 1).unwrap();
                    let verdict = bench.dialed(order.attempt, Ok(begun(1, id)));
                    let Verdict::Begin { session } = verdict else { panic!("{verdict:?}") };
                    bench.fleet.handle_session(bench.now, session, ask(0));
                }
                Purpose::Join { .. } => {
                    bench.dialed(order.attempt, Err(closed(CloseCode::OTHER_PRINCIPAL)));
                }
            }
        }
        bench.wait();
    }
    assert!((3..=20).contains(&begun_at.len()), "{} sessions", begun_at.len());
}

#[test]
fn a_group_by_another_name_begins_beside_the_session_that_drains() {
    let mut bench = Bench::paired(at(&[("a", &[1])]));
    bench.fleet.handle_link(bench.now, LINK, at(&[("b", &[1])]));
    let (purposes, attempt, _) = bench.succession();
    assert_eq!(purposes, [Purpose::Begin]);
    // The same run of the same router.
    bench.succeeds(attempt, 1);
}

#[test]
fn a_link_whose_sessions_all_drain_is_not_called_ready() {
    let mut bench = Bench::paired(at(&[("a", &[1])]));
    let shown = |bench: &Bench| {
        let status = LinkStatus::of(&bench.status(), LINK).unwrap();
        (status.status, status.message)
    };
    assert_eq!(shown(&bench), (Reason::Ready, "OK".to_owned()));
    bench.fleet.handle_unlink(bench.now, LINK, GRACE);
    let message = "Not operational: draining, takes no new streams".to_owned();
    assert_eq!(shown(&bench), (Reason::Pending, message));

    // Another that is up beside it is a path.
    let mut bench = Bench::paired(at(&[("a", &[1])]));
    bench.fleet.handle_link(bench.now, LINK, at(&[("b", &[1])]));
    assert_eq!(shown(&bench).0, Reason::Pending);
    let (_, attempt, _) = bench.succession();
    bench.dialed(attempt.unwrap(), Ok(begun(1, 2)));
    assert_eq!(shown(&bench), (Reason::Ready, "OK".to_owned()));
}

#[test]
fn a_group_that_is_listed_again_while_its_session_drains_begins_another_at_once() {
    let mut bench = Bench::paired(at(&[("a", &[1])]));
    bench.fleet.handle_link(bench.now, LINK, at(&[("b", &[9])]));
    bench.actions();
    bench.now += Duration::from_secs(1);
    bench.fleet.handle_link(bench.now, LINK, at(&[("a", &[1])]));
    let (purposes, attempt, _) = bench.succession();
    assert_eq!(purposes, [Purpose::Begin]);
    bench.succeeds(attempt, 1);
}

#[test]
fn a_certificate_that_is_withheld_or_shown_again_has_a_session_of_its_own_at_once() {
    let mut bench = Bench::paired(with_credentials(1));
    let withheld = LinkWanted { no_client_auth: true, ..with_credentials(1) };
    bench.fleet.handle_link(bench.now, LINK, withheld);
    let (purposes, _, drained) = bench.succession();
    assert_eq!((purposes.last(), drained), (Some(&Purpose::Begin), true));
    bench.fleet.handle_link(bench.now, LINK, with_credentials(1));
    let (purposes, attempt, _) = bench.succession();
    assert_eq!(purposes.last(), Some(&Purpose::Begin));
    bench.succeeds(attempt, 1);
}

#[test]
fn carriers_of_an_endpoint_that_is_listed_no_more_are_replaced_over_those_that_are() {
    let mut bench = Bench::paired(at(&[("a", &[1])]));
    bench.fleet.handle_link(bench.now, LINK, at(&[("a", &[7])]));
    for carrier in [2, 3] {
        let join = bench.dials().pop().unwrap();
        assert_eq!((join.purpose, join.target.port), (JOIN, 7));
        assert_eq!(
            bench.status().links[0].groups[0].endpoint.as_deref(),
            Some(if carrier == 2 { "h:1" } else { "h:7" })
        );
        bench.dialed(join.attempt, Ok(joined(1, 1, carrier)));
    }
    let lasting: Vec<_> =
        bench.fleet.roster.member(SESSION).unwrap().carriers.values().map(Carrier::is_lasting).collect();
    assert_eq!(lasting, [false, false, true, true]);
    // Another endpoint beside it is no reason to move.
    bench.fleet.handle_link(bench.now, LINK, at(&[("a", &[8, 7])]));
    assert_eq!(bench.dials(), []);
}

#[test]
fn endpoints_of_another_router_get_a_successor_after_three_answers() {
    for gone in [true, false] {
        let mut bench = Bench::paired(at(&[("a", &[1])]));
        bench.fleet.handle_link(bench.now, LINK, at(&[("a", &[7])]));
        let mut answers = 0;
        let begin = loop {
            let Some(order) = bench.dials().pop() else {
                bench.wait();
                continue;
            };
            if order.purpose == Purpose::Begin {
                break order;
            }
            answers += 1;
            let answer = if gone { Err(closed(CloseCode::SESSION_GONE)) } else { Ok(begun(2, 2)) };
            bench.dialed(order.attempt, answer);
        };
        assert_eq!((answers, begin.target.port), (3, 7));
        bench.succeeds(Some(begin.attempt), 2);
    }
}

#[test]
fn endpoints_that_cannot_be_reached_leave_what_carries_in_force() {
    let mut bench = Bench::paired(at(&[("a", &[1])]));
    bench.fleet.handle_link(bench.now, LINK, at(&[("a", &[7])]));
    for _ in 0..50 {
        for order in bench.dials() {
            assert_eq!((order.purpose, order.target.port), (JOIN, 7));
            bench.dialed(order.attempt, Err(unreachable_endpoint()));
        }
        bench.wait();
    }
    let view = bench.status();
    assert_eq!((view.sessions[0].state, view.sessions[0].carriers.len()), (SessionState::Up, 2));
    assert_eq!(view.links[0].groups[0].endpoint.as_deref(), Some("h:1"));
}
