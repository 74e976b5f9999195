//! Carriers that work and are to be replaced: credentials rotated, revoked or expired, another way.

use std::time::Duration;

use super::*;
use crate::event::ReplaceCause;
use crate::id::{CarrierNumber, Ordinal, SessionNumber};
use crate::proto::dial::Purpose;
use crate::proto::facts::{FleetAction, SessionFact};
use crate::proto::trust::Door;
use crate::snapshot::{CarrierState, GroupState};
use crate::wire::code::CloseCode;

const SESSION: SessionNumber = SessionNumber(1);
const JOIN: Purpose = Purpose::Join { session: SESSION };
/// How long a move may take.
const MOVE: Duration = Duration::from_secs(30);

fn close(carrier: u32, code: CloseCode) -> FleetAction {
    FleetAction::CloseCarrier { session: SESSION, carrier: CarrierNumber(carrier), code }
}

fn retire(carrier: u32, code: CloseCode) -> FleetAction {
    FleetAction::RetireCarrier { session: SESSION, carrier: CarrierNumber(carrier), code }
}

fn request(carrier: u32, code: CloseCode) -> FleetAction {
    FleetAction::RequestCarrier { session: SESSION, carrier: CarrierNumber(carrier), code, deadline: MOVE }
}

fn with_credentials(ordinal: u64) -> LinkWanted {
    LinkWanted { credentials: Some(("own".into(), Ordinal(ordinal))), ..wanted(&[("a", 1)]) }
}

impl Bench {
    /// With a link whose session has carriers 0 and 1, as many as it should, up for a minute.
    fn twofold() -> Self {
        let config = FleetConfig { carriers: 2, ..config() };
        let mut bench = Self { fleet: Fleet::new(config, 1), now: some_moment() };
        bench.fleet.handle_link(bench.now, LINK, with_credentials(1));
        let begin = bench.dials().remove(0);
        bench.dialed(begin.attempt, Ok(begun(1, 1)));
        bench.join(1);
        bench.actions();
        bench.events();
        bench.now += Duration::from_secs(60);
        bench
    }

    /// With a session that a dialer began, of two carriers that used the access's first credentials.
    fn accepted() -> Self {
        let mut bench = Self::new();
        let address = "192.0.2.3:5671".parse().unwrap();
        bench.fleet.handle_access_up(bench.now, ACCESS, address, LinkRole::InterRouter);
        bench.arrive(0, 1);
        bench.arrive(1, 1);
        bench.actions();
        bench.events();
        bench
    }

    /// What is dialed to join joins, with that number; `false` if nothing is dialed.
    fn join(&mut self, carrier: u32) -> bool {
        let Some(dial) = self.dials().pop() else { return false };
        assert_eq!(dial.purpose, JOIN);
        self.dialed(dial.attempt, Ok(joined(1, 1, carrier)));
        true
    }

    /// A dialer begins or joins with a handshake of that ordinal of the access.
    fn arrive(&mut self, carrier: u32, ordinal: u64) -> Admission {
        let mut arrival = if carrier == 0 { arrival(1, 1) } else { joining(carrier, 1) };
        arrival.certificate = None;
        arrival.ordinal = Ordinal(ordinal);
        self.fleet.handle_arrival(self.now, &arrival, |_| true)
    }

    fn rotate(&mut self, ordinal: u64) {
        self.fleet.handle_link(self.now, LINK, with_credentials(ordinal));
    }

    fn rotate_access(&mut self, ordinal: u64) {
        self.fleet.handle_access_rotated(self.now, ACCESS, Ordinal(ordinal));
    }

    fn expire(&mut self, carrier: u32) {
        self.fleet.handle_expired(self.now, SESSION, CarrierNumber(carrier));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.fleet.handle_timeout(self.now);
    }

    /// What is done about carriers that live.
    fn moves(&mut self) -> Vec<FleetAction> {
        let is_move = |action: &FleetAction| {
            matches!(
                action,
                FleetAction::CloseCarrier { .. }
                    | FleetAction::RetireCarrier { .. }
                    | FleetAction::RequestCarrier { .. }
            )
        };
        self.actions().into_iter().filter(is_move).collect()
    }

    fn states(&self) -> Vec<(CarrierState, Ordinal)> {
        let sessions = self.status().sessions;
        sessions[0].carriers.iter().map(|carrier| (carrier.state, carrier.ordinal)).collect()
    }

    /// What is told of moves.
    fn told_of_moves(&mut self) -> Vec<String> {
        let kept = ["CarrierReplacing", "CredentialsRevoked", "RotationCompleted", "RotationDelayed"];
        self.told().into_iter().filter(|name| kept.contains(&name.as_str())).collect()
    }
}

#[test]
fn a_rotation_replaces_each_carrier_once_another_is_up_and_is_told_when_complete() {
    let mut bench = Bench::twofold();
    bench.rotate(2);
    assert_eq!(bench.told_of_moves(), ["CarrierReplacing"; 2]);
    assert_eq!(bench.states(), [(CarrierState::Replacing, Ordinal(1)); 2]);
    let rotation = bench.status().links[0].rotation.unwrap();
    assert_eq!((rotation.ordinal, rotation.carriers_left), (Ordinal(2), 2));
    assert_eq!(bench.status().links[0].groups[0].state, GroupState::Up);

    assert!(bench.join(2));
    let actions = bench.actions();
    let [FleetAction::Dial(next), retired] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(*retired, retire(0, CloseCode::REPLACED), "one for one");
    bench.dialed(next.attempt, Ok(joined(1, 1, 3)));
    assert_eq!(bench.moves(), [retire(1, CloseCode::REPLACED)]);
    let (old, new) = ((CarrierState::Retiring, Ordinal(1)), (CarrierState::Up, Ordinal(2)));
    assert_eq!(bench.states(), [old, old, new, new]);

    bench.fact(down(0));
    assert_eq!(bench.told_of_moves(), Vec::<String>::new());
    bench.fact(down(1));
    let events = bench.events();
    let [EventKind::CarrierDown { .. }, EventKind::RotationCompleted { link, ordinal, .. }] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*link, *ordinal), (Some(LINK), Ordinal(2)));
    assert_eq!((bench.status().links[0].rotation, bench.actions()), (None, vec![]));
    assert_eq!(bench.fleet.poll_timeout(), None, "nothing is waited for any more");
}

#[test]
fn new_credentials_that_the_peer_refuses_leave_the_old_carriers_in_force_and_that_is_told() {
    let mut bench = Bench::twofold();
    bench.rotate(2);
    bench.events();
    let mut delays = 0;
    for _ in 0..400 {
        for dial in bench.dials() {
            bench.dialed(dial.attempt, Err(unreachable_endpoint()));
        }
        let next = bench.fleet.poll_timeout().unwrap();
        bench.now = next;
        bench.fleet.handle_timeout(next);
        for event in bench.events() {
            if let EventKind::RotationDelayed { link, access, ordinal, carriers } = event {
                assert_eq!((link, access, ordinal, carriers), (Some(LINK), None, Ordinal(2), 2));
                delays += 1;
            }
        }
        assert_eq!(bench.states(), [(CarrierState::Replacing, Ordinal(1)); 2]);
    }
    assert!(delays > 3, "told {delays} times");
    assert_eq!(bench.status().links[0].groups[0].state, GroupState::Up);
}

#[test]
fn a_rotation_of_which_one_carrier_can_be_had_retires_the_other_old_one_when_its_time_is_up() {
    let mut bench = Bench::twofold();
    bench.rotate(2);
    assert!(bench.join(2));
    assert_eq!(bench.moves(), [retire(0, CloseCode::REPLACED)]);
    bench.fact(down(0));
    bench.pass(MOVE);
    assert_eq!(bench.moves(), [retire(1, CloseCode::REPLACED)]);
}

#[test]
fn a_carrier_that_does_not_come_to_its_end_is_closed_when_its_time_is_up() {
    let mut bench = Bench::up();
    bench.rotate(1);
    bench.rotate(2);
    assert!(bench.join(1));
    assert_eq!(bench.moves(), [retire(0, CloseCode::REPLACED)]);
    bench.pass(MOVE);
    assert_eq!(bench.moves(), [close(0, CloseCode::REPLACED)]);
}

#[test]
fn what_is_retired_goes_on_when_what_took_its_place_is_lost() {
    let mut bench = Bench::up();
    bench.rotate(1);
    bench.rotate(2);
    assert!(bench.join(1));
    bench.now += Duration::from_secs(1);
    bench.fact(down(1));
    assert_eq!(bench.status().links[0].groups[0].state, GroupState::Up);
    bench.actions();
    bench.pass(MOVE);
    assert_eq!(bench.moves(), [], "its streams have nowhere to go");
    assert_eq!(bench.states(), [(CarrierState::Retiring, Ordinal(0))]);
}

#[test]
fn what_is_dialed_with_credentials_that_came_after_the_link_is_of_their_ordinal() {
    let mut bench = Bench::new();
    let without = LinkWanted { usable: Err("no TLS credentials".into()), ..wanted(&[("a", 1)]) };
    bench.fleet.handle_link(bench.now, LINK, without);
    bench.rotate(1);
    let begin = bench.dials().remove(0);
    bench.dialed(begin.attempt, Ok(begun(1, 1)));
    assert_eq!(bench.states(), [(CarrierState::Up, Ordinal(1))]);
    assert_eq!(bench.fleet.handle_revoked(bench.now, Door::Link(LINK), Ordinal(1)), 0);
    assert_eq!(bench.moves(), []);
}

#[test]
fn an_attempt_with_credentials_that_are_rotated_meanwhile_is_given_up() {
    let (mut bench, dials) = Bench::linked(&[("a", 1)]);
    bench.rotate(1);
    let old = &dials[0];
    bench.rotate(2);
    assert!(bench.actions().contains(&FleetAction::Cancel { attempt: old.attempt }));
    // There was nothing to replace.
    assert_eq!(bench.told_of_moves(), ["RotationCompleted"]);
    let late = bench.dialed(old.attempt, Ok(begun(1, 1)));
    assert!(matches!(late, Verdict::Close { .. }), "{late:?}");
}

#[test]
fn a_link_that_drains_takes_other_credentials_for_the_carriers_it_needs_yet() {
    let mut bench = Bench::twofold();
    bench.fleet.handle_unlink(bench.now, LINK, Duration::from_secs(600));
    bench.rotate(2);
    assert!(bench.join(2));
    assert_eq!(bench.moves(), [retire(0, CloseCode::REPLACED)]);
    bench.fact(ended(SessionEnd::Closed(CloseCode::DRAINED)));
    let told = bench.told();
    assert_eq!(told[told.len() - 2..], ["RotationCompleted", "LinkRemoved"]);
}

#[test]
fn an_access_that_rotates_asks_for_others_and_cuts_only_what_has_others_beside_it() {
    let mut bench = Bench::accepted();
    bench.rotate_access(2);
    assert_eq!(bench.moves(), [request(0, CloseCode::REPLACED), request(1, CloseCode::REPLACED)]);
    assert_eq!(bench.status().accesses[0].rotation.unwrap().carriers_left, 2);
    bench.events();
    bench.pass(MOVE);
    assert_eq!(bench.moves(), [], "no carrier has come that could take the streams");
    assert_eq!(bench.told_of_moves(), ["RotationDelayed"]);
    assert_eq!(bench.arrive(2, 2), Admission::Join { session: SESSION });
    bench.fact(down(0));
    bench.pass(MOVE);
    assert_eq!(bench.moves(), [close(1, CloseCode::REPLACED)]);
    bench.events();
    bench.fact(down(1));
    assert_eq!(bench.told_of_moves(), ["RotationCompleted"]);
    assert_eq!(bench.status().accesses[0].rotation, None);
}

#[test]
fn a_handshake_that_was_begun_before_the_rotation_is_refused() {
    let mut bench = Bench::accepted();
    bench.rotate_access(2);
    let Admission::Refuse(refusal) = bench.arrive(2, 1) else { panic!("admitted") };
    assert_eq!(refusal.code, CloseCode::REPLACED);
    assert_eq!(bench.arrive(2, 2), Admission::Join { session: SESSION });
}

#[test]
fn a_carrier_that_the_acceptor_wants_replaced_is_retired_with_its_code_once_another_is_up() {
    let mut bench = Bench::twofold();
    let (carrier, code) = (CarrierNumber(1), CloseCode::EXPIRED);
    bench.fact(SessionFact::CarrierRequested { carrier, code, deadline: GRACE });
    let events = bench.events();
    let [EventKind::CarrierReplacing { cause, within, .. }] = events[..] else { panic!("{events:?}") };
    assert_eq!((cause, within), (ReplaceCause::Asked(code), GRACE));
    assert!(bench.join(2));
    assert_eq!(bench.moves(), [retire(1, CloseCode::EXPIRED)]);
    assert_eq!(bench.states()[0], (CarrierState::Up, Ordinal(1)), "the other is left alone");
}

fn suspect(carrier: u32) -> SessionFact {
    let (last_received_ago, round_trip) = (Duration::from_secs(1), RoundTrip::default());
    SessionFact::CarrierSuspect { carrier: CarrierNumber(carrier), last_received_ago, round_trip }
}

#[test]
fn an_acceptor_asks_for_another_in_the_place_of_a_suspect_carrier_while_it_trusts_one() {
    let mut bench = Bench::accepted();
    bench.fact(suspect(1));
    assert_eq!(bench.moves(), [request(1, CloseCode::REPLACED)]);
    let events = bench.events();
    let cause = |event: &EventKind| match event {
        EventKind::CarrierReplacing { cause, within, .. } => Some((*cause, *within)),
        _ => None,
    };
    assert_eq!(events.iter().filter_map(cause).collect::<Vec<_>>(), [(ReplaceCause::Suspect, MOVE)]);
    bench.fact(SessionFact::CarrierTrusted { carrier: CarrierNumber(1) });
    bench.fact(suspect(1));
    assert_eq!(bench.moves(), [], "it was asked for");
    bench.fact(suspect(0));
    assert_eq!(bench.moves(), [], "there is none to ask over");
    assert_eq!(bench.arrive(2, 1), Admission::Join { session: SESSION });
    assert_eq!(bench.moves(), [request(0, CloseCode::REPLACED)]);
}

#[test]
fn an_acceptor_cuts_no_carrier_that_speaks_again() {
    for (spoke, cut) in [(true, vec![]), (false, vec![close(1, CloseCode::REPLACED)])] {
        let mut bench = Bench::accepted();
        bench.fact(suspect(1));
        if spoke {
            bench.fact(SessionFact::CarrierTrusted { carrier: CarrierNumber(1) });
        }
        bench.moves();
        bench.pass(MOVE);
        assert_eq!(bench.moves(), cut);
    }
}

#[test]
fn a_suspect_carrier_that_is_to_go_for_a_weightier_cause_goes_though_it_speaks_again() {
    type Cause = fn(&mut Bench);
    let rotated: Cause = |bench| bench.rotate_access(2);
    let expired: Cause = |bench| bench.expire(1);
    for (happens, code) in [(rotated, CloseCode::REPLACED), (expired, CloseCode::EXPIRED)] {
        let mut bench = Bench::accepted();
        bench.fact(suspect(1));
        bench.fact(SessionFact::CarrierTrusted { carrier: CarrierNumber(1) });
        bench.moves();
        happens(&mut bench);
        let moves = bench.moves();
        assert!(moves.contains(&request(1, code)), "the dialer is told why: {moves:?}");
        assert_eq!(bench.arrive(2, 2), Admission::Join { session: SESSION });
        bench.pass(MOVE);
        assert!(bench.moves().contains(&close(1, code)));
    }
}

#[test]
fn a_dialer_that_suspects_a_carrier_asks_nobody() {
    let mut bench = Bench::twofold();
    bench.fact(suspect(1));
    let actions = bench.actions();
    assert!(matches!(&actions[..], [FleetAction::Dial(order)] if order.purpose == JOIN), "{actions:?}");
}

#[test]
fn revoking_closes_what_is_older_at_once_and_dials_anew() {
    let mut bench = Bench::twofold();
    bench.rotate(2);
    assert!(bench.join(2));
    bench.actions();
    bench.events();
    let door = Door::Link(LINK);
    assert_eq!(bench.fleet.handle_revoked(bench.now, door, Ordinal(2)), 2);
    assert_eq!(bench.moves(), [close(0, CloseCode::REVOKED), close(1, CloseCode::REVOKED)]);
    assert_eq!(bench.told_of_moves(), ["CredentialsRevoked"]);
    assert_eq!(bench.fleet.handle_revoked(bench.now, door, Ordinal(2)), 0, "they are being closed");
    for carrier in [0, 1] {
        bench.fact(down(carrier));
    }
    assert_eq!(bench.told_of_moves().last().unwrap(), "RotationCompleted");
}

#[test]
fn revoking_everything_leaves_the_session_to_what_is_dialed_now() {
    let mut bench = Bench::up();
    bench.rotate(1);
    bench.rotate(2);
    assert_eq!(bench.fleet.handle_revoked(bench.now, Door::Link(LINK), Ordinal(2)), 1);
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    assert!(bench.join(1));
    assert_eq!(bench.states(), [(CarrierState::Up, Ordinal(2))]);
}

#[test]
fn another_proxy_is_a_reason_to_dial_anew_and_a_proxy_that_is_missing_for_a_while_is_none() {
    let proxy = |port| Some(ProxySpec::new("proxy.example".parse().unwrap(), port));
    let through = |port| LinkWanted { proxy: proxy(port), ..with_credentials(1) };
    let mut bench = Bench::twofold();
    bench.fleet.handle_link(bench.now, LINK, through(3128));
    assert!(bench.join(2));
    assert_eq!(bench.moves(), [retire(0, CloseCode::REPLACED)]);

    let mut bench = Bench::twofold();
    let missing = LinkWanted { usable: Err("no proxy".into()), ..with_credentials(1) };
    bench.fleet.handle_link(bench.now, LINK, missing);
    bench.fleet.handle_link(bench.now, LINK, with_credentials(1));
    assert_eq!(bench.states(), [(CarrierState::Up, Ordinal(1)); 2]);
}

#[test]
fn a_session_that_is_to_show_no_certificate_any_more_drains() {
    let mut bench = Bench::twofold();
    let withheld = LinkWanted { no_client_auth: true, ..with_credentials(1) };
    bench.fleet.handle_link(bench.now, LINK, withheld);
    assert!(bench.actions().contains(&FleetAction::DrainSession { session: SESSION }));
    let events = bench.events();
    let changed = events.iter().find_map(|event| match event {
        EventKind::LinkChanged { changes, .. } => Some(changes.clone()),
        _ => None,
    });
    assert_eq!(changed, Some(vec!["noClientAuth".into()]));
}

#[test]
fn a_carrier_whose_certificate_expired_is_retired_once_another_has_joined() {
    let mut bench = Bench::up();
    bench.expire(0);
    assert_eq!(bench.status().links[0].groups[0].state, GroupState::Up, "it carries as long as it is there");
    assert!(bench.join(1));
    assert_eq!(bench.moves(), [retire(0, CloseCode::EXPIRED)]);
    bench.fact(down(0));
    assert_eq!(bench.moves(), []);
    assert_eq!(bench.fleet.poll_timeout(), None, "nothing is waited for any more");
}

#[test]
fn a_carrier_whose_certificate_expired_is_closed_in_the_end_though_no_other_can_be_had() {
    let mut bench = Bench::up();
    bench.expire(0);
    bench.dials();
    // Told a second time it gets no longer.
    bench.pass(Duration::from_secs(29));
    bench.expire(0);
    assert_eq!(bench.moves(), []);
    bench.now += Duration::from_secs(1);
    assert!(bench.fleet.poll_timeout().is_some_and(|at| at <= bench.now));
    bench.fleet.handle_timeout(bench.now);
    assert_eq!(bench.moves(), [close(0, CloseCode::EXPIRED)]);
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    assert_eq!(bench.status().links[0].groups[0].state, GroupState::Recovering);
}

#[test]
fn an_acceptor_asks_for_another_where_the_certificate_expired_and_then_closes() {
    let mut bench = Bench::accepted();
    bench.expire(0);
    bench.expire(1);
    assert_eq!(bench.moves(), [request(0, CloseCode::EXPIRED), request(1, CloseCode::EXPIRED)]);
    bench.pass(MOVE);
    assert_eq!(bench.moves(), [close(0, CloseCode::EXPIRED), close(1, CloseCode::EXPIRED)]);
}

#[test]
fn a_certificate_that_expires_during_a_rotation_sets_an_end_to_its_carrier() {
    let mut bench = Bench::twofold();
    bench.rotate(2);
    bench.now += Duration::from_secs(10);
    bench.expire(0);
    bench.pass(MOVE);
    assert_eq!(bench.moves(), [close(0, CloseCode::EXPIRED)]);
}

#[test]
fn a_certificate_that_expires_on_a_carrier_that_retires_sets_an_end_to_it() {
    let mut bench = Bench::twofold();
    bench.rotate(2);
    assert!(bench.join(2));
    assert_eq!(bench.moves(), [retire(0, CloseCode::REPLACED)]);
    // What has come in its place is lost, and no other can be had: it stays, unless its certificate has expired.
    bench.fact(down(1));
    bench.fact(down(2));
    bench.pass(MOVE);
    assert!(!bench.moves().contains(&close(0, CloseCode::REPLACED)));
    bench.expire(0);
    bench.pass(MOVE);
    assert_eq!(bench.moves(), [close(0, CloseCode::EXPIRED)]);
}

#[test]
fn an_expired_certificate_of_a_carrier_that_is_gone_changes_nothing() {
    let mut bench = Bench::up();
    bench.expire(7);
    assert_eq!(bench.actions(), []);
}

#[test]
fn no_carrier_retires_for_the_sake_of_another_that_is_to_be_replaced_as_well() {
    let mut bench = Bench::up();
    bench.rotate(1);
    let (carrier, last_received_ago) = (CarrierNumber(0), Duration::ZERO);
    let round_trip = RoundTrip::default();
    bench.fact(SessionFact::CarrierSuspect { carrier, last_received_ago, round_trip });
    assert!(bench.join(1));
    bench.fact(SessionFact::CarrierTrusted { carrier });
    bench.actions();
    // The session should have one carrier, and has two, both of old credentials.
    bench.rotate(2);
    let actions = bench.actions();
    let [FleetAction::Dial(dial)] = &actions[..] else { panic!("{actions:?}") };
    bench.dialed(dial.attempt, Ok(joined(1, 1, 2)));
    assert_eq!(bench.moves(), [retire(0, CloseCode::REPLACED), retire(1, CloseCode::REPLACED)]);
}

/// Another access than [`ACCESS`]: the same router behind another name.
const OTHER_ACCESS: AccessId = AccessId(2);

impl Bench {
    /// A session that began at [`ACCESS`], whose second carrier came through [`OTHER_ACCESS`].
    fn two_doors() -> Self {
        let mut bench = Self::new();
        for access in [ACCESS, OTHER_ACCESS] {
            let address = "192.0.2.3:5671".parse().unwrap();
            bench.fleet.handle_access_up(bench.now, access, address, LinkRole::InterRouter);
        }
        bench.arrive(0, 5);
        bench.arrive_at_other(1, 1);
        bench.actions();
        bench.events();
        bench
    }

    fn arrive_at_other(&mut self, carrier: u32, ordinal: u64) -> Admission {
        let arrival = Arrival {
            access: OTHER_ACCESS,
            certificate: None,
            ordinal: Ordinal(ordinal),
            ..joining(carrier, 1)
        };
        self.fleet.handle_arrival(self.now, &arrival, |_| true)
    }
}

#[test]
fn what_came_through_another_access_is_revoked_and_replaced_by_that_ones_ordinals() {
    let mut bench = Bench::two_doors();
    let revoke = |bench: &mut Bench, access, ordinal| {
        bench.fleet.handle_revoked(bench.now, Door::Access(access), Ordinal(ordinal))
    };
    assert_eq!(revoke(&mut bench, ACCESS, 5), 0, "only the other's is that old");
    assert_eq!(bench.moves(), []);
    assert_eq!(revoke(&mut bench, OTHER_ACCESS, 2), 1);
    assert_eq!(bench.moves(), [close(1, CloseCode::REVOKED)]);

    let mut bench = Bench::two_doors();
    bench.fleet.handle_access_rotated(bench.now, OTHER_ACCESS, Ordinal(2));
    assert_eq!(bench.moves(), [request(1, CloseCode::REPLACED)]);
    bench.fleet.handle_access_rotated(bench.now, ACCESS, Ordinal(6));
    assert_eq!(bench.moves(), [request(0, CloseCode::REPLACED)]);
    // What comes through the other in its place counts by the other's.
    bench.arrive_at_other(2, 2);
    bench.events();
    bench.fact(down(0));
    bench.fact(down(1));
    assert_eq!(bench.told_of_moves(), ["RotationCompleted"; 2]);
}

#[test]
fn an_access_has_its_say_about_carriers_of_sessions_that_began_at_another() {
    let mut bench = Bench::two_doors();
    let nobody = || PeerPolicy::only([PeerIdentity::Keys([KeyPin([9; 32])].into())]);
    bench.fleet.handle_policy(bench.now, Scope::Door(Door::Access(OTHER_ACCESS)), nobody());
    assert_eq!(bench.moves(), [close(1, CloseCode::NOT_AUTHORIZED)]);
    let Admission::Refuse(refusal) = bench.arrive_at_other(2, 1) else { panic!("admitted") };
    assert_eq!(refusal.code, CloseCode::NOT_AUTHORIZED);
    assert!(matches!(bench.arrive(2, 5), Admission::Join { .. }), "the session is none of its business");
    // It goes on for what is left of it after the access is closed.
    bench.fleet.handle_access_down(OTHER_ACCESS);
    assert!(!bench.fleet.trust.is_plain());
}

#[test]
fn the_pins_of_an_access_are_not_got_round_through_another() {
    let mut bench = Bench::new();
    let address = "192.0.2.3:5671".parse().unwrap();
    for access in [ACCESS, OTHER_ACCESS] {
        bench.fleet.handle_access_up(bench.now, access, address, LinkRole::InterRouter);
    }
    let pinned = PeerPolicy::only([PeerIdentity::Keys([KeyPin([1; 32])].into())]);
    bench.fleet.handle_policy(bench.now, Scope::Door(Door::Access(ACCESS)), pinned);
    let begun =
        bench.fleet.handle_arrival(bench.now, &Arrival { certificate: leaf(1), ..arrival(1, 1) }, |_| false);
    assert!(matches!(begun, Admission::Begin { .. }));
    // The same names by another key: a new run of the same router, as it says.
    let mut namesake = Arrival { access: OTHER_ACCESS, certificate: leaf(2), ..arrival(1, 2) };
    namesake.hello.instance = Instance([2; 16]);
    let Admission::Refuse(refusal) = bench.fleet.handle_arrival(bench.now, &namesake, |_| false) else {
        panic!("it has displaced the pinned one")
    };
    assert_eq!(refusal.code, CloseCode::SITE_ID_CONFLICT);
}

#[test]
fn a_join_through_an_access_without_pins_is_judged_by_those_of_the_session() {
    for (key, joins) in [(2, true), (3, false)] {
        let mut bench = Bench::new();
        let pinned = PeerPolicy::only([PeerIdentity::Keys([KeyPin([1; 32]), KeyPin([2; 32])].into())]);
        bench.fleet.handle_policy(bench.now, Scope::Door(Door::Access(ACCESS)), pinned);
        bench.fleet.handle_arrival(bench.now, &Arrival { certificate: leaf(1), ..arrival(1, 1) }, |_| false);
        // The same peer under another subject, as its pins say.
        let join = Arrival { access: OTHER_ACCESS, principal: certificate("renamed"), ..joining(1, key) };
        let admission = bench.fleet.handle_arrival(bench.now, &join, |_| true);
        assert_eq!(matches!(admission, Admission::Join { .. }), joins, "{admission:?}");
    }
}
