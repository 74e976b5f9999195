use std::time::Duration;

use super::*;
use crate::error::{CarrierEnd, DialError, PeerRefusal, Phase, SessionEnd, TlsReason};
use crate::event::Peer;
use crate::id::{CarrierNumber, Cost, Instance, LinkName, Principal, Side};
use crate::stats::{RoundTrip, Traffic};

const LINK: LinkId = LinkId(1);
const ACCESS: AccessId = AccessId(2);
const SESSION: SessionNumber = SessionNumber(3);

fn group() -> GroupName {
    GroupName::new("a").unwrap()
}

fn peer() -> Peer {
    let (site, name) = ("east".parse().unwrap(), "east".parse().unwrap());
    Peer::new(site, name, "r1".parse().unwrap(), Instance([1; 16]), Principal::Anonymous)
}

fn configured() -> EventKind {
    EventKind::LinkConfigured {
        link: LINK,
        name: LinkName::new("east").unwrap(),
        namespace: "".into(),
        generation: None,
        groups: vec![group()],
        cost: Cost::DEFAULT,
    }
}

fn operational(operational: bool) -> EventKind {
    let groups_up = usize::from(operational);
    EventKind::LinkOperational {
        link: LINK,
        name: LinkName::new("east").unwrap(),
        operational,
        groups_up,
        groups: 1,
    }
}

fn up() -> [EventKind; 3] {
    let session_up = EventKind::SessionUp {
        session: SESSION,
        id: crate::id::SessionId([0; 16]),
        side: Side::Dialer,
        link: Some(LINK),
        access: None,
        name: LinkName::new("east").unwrap(),
        group: group(),
        peer: peer(),
        cost: Cost::DEFAULT,
    };
    [
        session_up,
        EventKind::GroupUp { link: LINK, group: group(), session: SESSION, peer: peer() },
        operational(true),
    ]
}

fn failed(attempt: u64) -> EventKind {
    EventKind::DialFailed {
        link: LINK,
        name: LinkName::new("east").unwrap(),
        group: group(),
        endpoint: "east:1".into(),
        attempt,
        phase: Phase::Tls,
        error: DialError::Tls(TlsReason::NotTls),
        next_attempt_in: Duration::ZERO,
    }
}

#[test]
fn ups_and_downs_are_counted_and_the_last_cause_outlives_the_recovery() {
    let mut ledger = Ledger::default();
    ledger.handle(1, &configured());
    ledger.handle(2, &failed(1));
    ledger.handle(3, &failed(2));
    up().iter().for_each(|event| ledger.handle(4, event));
    // The same again is no transition: it tells of another group.
    ledger.handle(5, &operational(true));
    ledger.handle(6, &EventKind::GroupDown { link: LINK, group: group(), session: SESSION });
    ledger.handle(6, &operational(false));
    let end = SessionEnd::ResumeExpired(Duration::from_secs(30));
    ledger.handle(
        7,
        &EventKind::SessionDown { session: SESSION, end: end.clone(), traffic: Traffic::default() },
    );
    up().iter().for_each(|event| ledger.handle(8, event));

    let entry = &ledger.links[&LINK];
    let turned = |ups, downs, up, down| Ups { ups, downs, last_up_micros: up, last_down_micros: down };
    assert_eq!(entry.counts, turned(2, 1, Some(8), Some(6)));
    let history = &entry.groups[&group()];
    assert_eq!(history.counts, turned(2, 1, Some(8), Some(6)));
    assert_eq!((history.failures, history.last_failure.as_ref().map(|last| last.at_micros)), (2, Some(3)));
    assert_eq!(
        history.last_end,
        Some(EndView { at_micros: 7, session: SESSION, message: end.to_string().into(), end })
    );
    assert_eq!(history.last_peer, Some(peer()));
    ledger.handle(9, &EventKind::LinkRemoved { link: LINK, name: LinkName::new("east").unwrap() });
    assert!(ledger.links.is_empty());
}

#[test]
fn overtaken_attempts_are_counted_and_are_no_failures() {
    let mut ledger = Ledger::default();
    ledger.handle(1, &configured());
    let overtaken = EventKind::DialOvertaken {
        link: LINK,
        name: LinkName::new("east").unwrap(),
        group: group(),
        endpoint: "east:1".into(),
        attempt: 1,
        reached: false,
        by: "east:2".into(),
        after: Duration::from_millis(250),
    };
    ledger.handle(2, &overtaken);
    ledger.handle(3, &overtaken);
    let history = &ledger.links[&LINK].groups[&group()];
    assert_eq!((history.overtaken, history.failures, &history.last_failure), (2, 0, &None));
}

#[test]
fn refused_peers_are_counted_by_their_reason() {
    let mut ledger = Ledger::default();
    let refused = |refusal| EventKind::PeerRefused {
        access: ACCESS,
        address: ([127, 0, 0, 1], 9).into(),
        phase: Phase::Tls,
        refusal,
    };
    ledger.handle(0, &refused(PeerRefusal::Evicted));
    assert!(ledger.accesses.is_empty(), "an access that is not there counts nothing");
    let address = ([127, 0, 0, 1], 1).into();
    ledger
        .handle(1, &EventKind::AccessUp { access: ACCESS, address, role: crate::id::LinkRole::InterRouter });
    ledger.handle(2, &refused(PeerRefusal::Tls(TlsReason::NoPeerCertificate)));
    ledger.handle(3, &refused(PeerRefusal::Tls(TlsReason::NoPeerCertificate)));
    ledger.handle(4, &refused(PeerRefusal::Evicted));
    let history = &ledger.accesses[&ACCESS];
    assert_eq!(history.refused, BTreeMap::from([("evicted", 1), ("no_peer_certificate", 2)]));
    assert_eq!(history.last_refused.as_ref().map(|last| &last.refusal), Some(&PeerRefusal::Evicted));
}

#[test]
fn a_session_keeps_what_befell_its_carriers_and_is_forgotten_with_its_end() {
    let mut ledger = Ledger::default();
    ledger.handle(1, &up()[0]);
    let carrier = CarrierNumber(0);
    let address = ([127, 0, 0, 1], 1).into();
    ledger.handle(
        2,
        &EventKind::CarrierUp {
            session: SESSION,
            carrier,
            local: address,
            remote: address,
            serial: None,
            not_after: None,
        },
    );
    let (traffic, round_trip) = (Traffic::default(), RoundTrip::default());
    let last_received_ago = Duration::ZERO;
    ledger.handle(3, &EventKind::CarrierSuspect { session: SESSION, carrier, last_received_ago, round_trip });
    let end = CarrierEnd::Eof;
    let down = EventKind::CarrierDown {
        session: SESSION,
        carrier,
        end: end.clone(),
        last_received_ago,
        traffic,
        round_trip,
    };
    ledger.handle(4, &down);
    ledger.handle(
        5,
        &EventKind::SessionRecovering { session: SESSION, resume_window: Duration::from_secs(30) },
    );
    let history = &ledger.sessions[&SESSION].history;
    let mut expected = SessionHistory::default();
    (expected.carriers_up, expected.carriers_down, expected.suspicions, expected.recoveries) = (1, 1, 1, 1);
    expected.last_carrier_end = Some(CarrierEndView { at_micros: 4, carrier, end });
    assert_eq!(*history, expected);
    let end = SessionEnd::Gone;
    ledger.handle(6, &EventKind::SessionDown { session: SESSION, end, traffic });
    assert!(ledger.sessions.is_empty());
}

#[test]
fn a_document_whose_groups_are_renamed_for_ever_is_remembered_in_bounded_memory() {
    let mut ledger = Ledger::default();
    ledger.handle(1, &configured());
    for number in 0..2 * MAX_GROUPS {
        let group = GroupName::new(format!("g{number}")).unwrap();
        ledger.handle(2, &EventKind::GroupUp { link: LINK, group, session: SESSION, peer: peer() });
    }
    assert_eq!(ledger.links[&LINK].groups.len(), MAX_GROUPS);
}
