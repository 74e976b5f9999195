//! A peer's certificate expires under a carrier.

use std::time::Duration;

use super::{Bench, down, joined};
use crate::id::{CarrierNumber, SessionNumber};
use crate::proto::dial::Purpose;
use crate::proto::facts::{FleetAction, SessionFact};
use crate::snapshot::GroupState;
use crate::wire::code::CloseCode;

const SESSION: SessionNumber = SessionNumber(1);

fn close(carrier: u32) -> FleetAction {
    FleetAction::CloseCarrier { session: SESSION, carrier: CarrierNumber(carrier), code: CloseCode::EXPIRED }
}

impl Bench {
    fn expire(&mut self, carrier: u32) {
        self.fleet.handle_expired(self.now, SESSION, CarrierNumber(carrier));
    }

    /// What is closed by what was asked for.
    fn closed(&mut self) -> Vec<FleetAction> {
        let actions = self.actions();
        actions.into_iter().filter(|action| matches!(action, FleetAction::CloseCarrier { .. })).collect()
    }
}

#[test]
fn a_carrier_whose_certificate_expired_is_closed_once_another_has_joined() {
    let mut bench = Bench::up();
    bench.expire(0);
    let join = bench.dials().remove(0);
    assert_eq!(join.purpose, Purpose::Join { session: SESSION });
    assert_eq!(bench.status().links[0].groups[0].state, GroupState::Up, "it carries as long as it is there");
    bench.dialed(join.attempt, Ok(joined(1, 1, 1)));
    assert_eq!(bench.closed(), [close(0)]);
    bench.fact(down(0));
    assert_eq!(bench.closed(), []);
    assert_eq!(bench.fleet.poll_timeout(), None, "nothing is waited for any more");
}

#[test]
fn a_carrier_whose_certificate_expired_is_closed_in_the_end_though_no_other_can_be_had() {
    let mut bench = Bench::up();
    bench.expire(0);
    bench.dials();
    // Told a second time it gets no longer.
    bench.now += Duration::from_secs(29);
    bench.expire(0);
    bench.fleet.handle_timeout(bench.now);
    assert_eq!(bench.closed(), []);
    bench.now += Duration::from_secs(1);
    assert!(bench.fleet.poll_timeout().is_some_and(|at| at <= bench.now));
    bench.fleet.handle_timeout(bench.now);
    assert_eq!(bench.closed(), [close(0)]);
    bench.fact(down(0));
    bench.fact(SessionFact::Recovering);
    assert_eq!(bench.status().links[0].groups[0].state, GroupState::Recovering);
}

#[test]
fn an_expired_certificate_of_a_carrier_that_is_gone_changes_nothing() {
    let mut bench = Bench::up();
    bench.expire(7);
    assert_eq!(bench.actions(), []);
}
