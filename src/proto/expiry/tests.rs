//! Certificates that come to their end, under a clock that runs, jumps and is set back.

use super::*;
use crate::id::{AccessId, KeyPin, LinkId};

const DAY: i64 = 86_400;
const SKEW: i64 = 30;
/// Where the tests begin, far from the ends of time.
const START: i64 = 1_700_000_000;

fn expiry() -> Expiry {
    Expiry::new(Duration::from_secs(30))
}

fn leaf(not_after: i64) -> Arc<LeafSummary> {
    let names = Vec::new();
    let (subject, issuer) = ("CN=west".into(), "CN=ca".into());
    Arc::new(LeafSummary::new(subject, issuer, "01".into(), (0, not_after), names, KeyPin([1; 32])))
}

fn own() -> CertificateOwner {
    CertificateOwner::Link { link: LinkId(1), name: "west".into() }
}

fn peer(carrier: u32) -> CertificateOwner {
    CertificateOwner::Peer { session: SessionNumber(1), carrier: CarrierNumber(carrier) }
}

/// What is told, in short: seconds left, or `None` for what has expired.
fn told(expiry: &mut Expiry) -> Vec<Option<i64>> {
    let events = std::iter::from_fn(|| expiry.poll_event()).map(|event| match event {
        EventKind::CredentialsExpiring { left, .. } => Some(left.as_secs().cast_signed()),
        EventKind::CredentialsExpired { .. } | EventKind::RevocationListStale { .. } => None,
        other => panic!("{other:?}"),
    });
    events.collect()
}

#[test]
fn a_certificate_is_announced_at_each_step_once_and_told_when_it_is_over() {
    let mut expiry = expiry();
    let end = START + 40 * DAY;
    expiry.handle_certificate(START, own(), leaf(end));
    assert_eq!(told(&mut expiry), []);
    for ahead in AHEAD {
        assert_eq!(expiry.poll_timeout(), Some(end - ahead));
        expiry.handle_time(end - ahead - 1);
        assert_eq!(told(&mut expiry), []);
        expiry.handle_time(end - ahead);
        assert_eq!(told(&mut expiry), [Some(ahead)]);
        expiry.handle_time(end - ahead + 1);
        assert_eq!(told(&mut expiry), []);
    }
    assert_eq!(expiry.poll_timeout(), Some(end + SKEW), "only when the clock cannot be wrong");
    expiry.handle_time(end + SKEW - 1);
    assert_eq!(told(&mut expiry), []);
    expiry.handle_time(end + SKEW);
    assert_eq!(told(&mut expiry), [None]);
    assert_eq!(expiry.poll_timeout(), None);
    expiry.handle_time(end + 100 * DAY);
    assert_eq!(told(&mut expiry), []);
}

#[test]
fn a_clock_is_looked_at_for_as_long_as_a_certificate_is_watched_told_or_not() {
    let mut expiry = expiry();
    assert_eq!(expiry.next_look(START), None);
    for (left, look) in [(40 * DAY, 60), (30 * DAY + 7, 7), (30 * DAY, 60), (60 * DAY, 60)] {
        expiry.handle_certificate(START, own(), leaf(START + left));
        assert_eq!(expiry.next_look(START), Some(Duration::from_secs(look)), "{left}");
    }
    // All was told of it; should the clock be set back, that is not true any more.
    expiry.handle_certificate(START, own(), leaf(START - DAY));
    assert_eq!(expiry.next_look(START), Some(Duration::from_secs(60)));
    expiry.forget(&own());
    assert_eq!(expiry.next_look(START), None);
}

#[test]
fn what_is_shown_late_is_told_by_its_most_urgent_step_at_once() {
    for (left, expected) in [(31 * DAY, vec![]), (2 * DAY, vec![Some(2 * DAY)]), (60, vec![Some(60)])] {
        let mut expiry = expiry();
        expiry.handle_certificate(START, own(), leaf(START + left));
        assert_eq!(told(&mut expiry), expected, "{left}");
    }
    let mut expiry = expiry();
    expiry.handle_certificate(START, own(), leaf(START - DAY));
    assert_eq!(told(&mut expiry), [None]);
}

#[test]
fn a_clock_that_jumps_forward_tells_what_it_jumped_over_once() {
    let mut expiry = expiry();
    let end = START + 40 * DAY;
    expiry.handle_certificate(START, own(), leaf(end));
    expiry.handle_time(end - 2 * DAY);
    assert_eq!(told(&mut expiry), [Some(2 * DAY)]);
    expiry.handle_time(end + 10 * DAY);
    assert_eq!(told(&mut expiry), [None]);
}

#[test]
fn a_clock_that_is_set_back_tells_again_in_its_time_unless_it_is_only_adjusted() {
    let mut expiry = expiry();
    let end = START + 40 * DAY;
    expiry.handle_certificate(START, own(), leaf(end));
    expiry.handle_time(end - DAY + 5);
    assert_eq!(told(&mut expiry), [Some(DAY - 5)]);
    expiry.handle_time(end - DAY - SKEW);
    expiry.handle_time(end - DAY + 5);
    assert_eq!(told(&mut expiry), [], "adjusted");

    expiry.handle_time(START);
    assert_eq!(expiry.poll_timeout(), Some(end - 30 * DAY), "set back");
    expiry.handle_time(end - DAY);
    assert_eq!(told(&mut expiry), [Some(DAY)]);
}

#[test]
fn a_renewed_certificate_takes_the_place_of_the_old_one() {
    let mut expiry = expiry();
    expiry.handle_certificate(START, own(), leaf(START + 60));
    assert_eq!(told(&mut expiry), [Some(60)]);
    expiry.handle_certificate(START, own(), leaf(START + 60 * DAY));
    expiry.handle_time(START + 120);
    assert_eq!(told(&mut expiry), []);
    assert_eq!(expiry.poll_timeout(), Some(START + 30 * DAY));
}

#[test]
fn a_peers_expiry_is_told_of_its_carrier_and_one_that_is_gone_is_not_told() {
    let mut expiry = expiry();
    let certificate = leaf(START + 60);
    expiry.handle_certificate(START, peer(0), Arc::clone(&certificate));
    expiry.handle_certificate(START, peer(1), Arc::clone(&certificate));
    assert_eq!(told(&mut expiry), [Some(60), Some(60)]);
    expiry.forget(&peer(0));
    expiry.handle_time(START + 60 + SKEW);
    let expired = PeerExpired { session: SessionNumber(1), carrier: CarrierNumber(1), certificate };
    assert_eq!(expiry.poll_expired(), Some(expired));
    assert_eq!((expiry.poll_expired(), expiry.poll_event()), (None, None));
}

#[test]
fn a_revocation_list_is_told_when_its_successor_is_overdue() {
    let mut expiry = expiry();
    let owner = CertificateOwner::Access { access: AccessId(1), name: "east".into() };
    let list = |next| RevocationList::new("CN=ca".into(), START, next);
    expiry.handle_lists(START, &owner, &[list(Some(START + 60)), list(None)]);
    expiry.handle_time(START + 60 + SKEW);
    assert_eq!(
        expiry.poll_event(),
        Some(EventKind::RevocationListStale {
            owner: owner.clone(),
            issuer: "CN=ca".into(),
            next_update: START + 60
        })
    );
    expiry.handle_lists(START, &owner, &[]);
    assert!(expiry.entries.is_empty() && expiry.due.is_empty());
}

#[test]
fn what_is_watched_already_is_not_told_again() {
    let mut expiry = expiry();
    let (list, end) = (RevocationList::new("CN=ca".into(), START, Some(START + 60)), START + DAY);
    for time in [START + 60 + SKEW, START + 60 + SKEW + 1] {
        expiry.handle_lists(time, &own(), std::slice::from_ref(&list));
        expiry.handle_certificate(time, own(), leaf(end));
        let expected = if time == START + 60 + SKEW { vec![None, Some(end - time)] } else { vec![] };
        assert_eq!(told(&mut expiry), expected);
    }
    assert_eq!(expiry.poll_timeout(), Some(end - 3600), "and goes on being watched");
}

#[test]
fn a_validity_at_the_ends_of_time_is_no_trouble() {
    let mut expiry = expiry();
    for end in [i64::MIN, i64::MAX] {
        expiry.handle_certificate(i64::MAX, own(), leaf(end));
        expiry.handle_time(i64::MIN);
        expiry.handle_time(i64::MAX);
    }
    expiry.retain(|_| false);
    assert!(expiry.entries.is_empty() && expiry.due.is_empty());
}
