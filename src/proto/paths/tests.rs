//! The rule by cases; `model.rs` holds it against a naive one, step by step.

mod model;

use super::*;
use crate::id::{Cost, GroupName, Instance, LinkName, Side, SiteId};
use crate::snapshot::Because;

fn cost(cost: u32) -> Cost {
    Cost::new(cost).unwrap()
}

fn costs(own: u32, peer: u32) -> Costs {
    Costs { own: cost(own), peer: cost(peer) }
}

fn key(name: &str) -> RoutingKey {
    RoutingKey::new(name).unwrap()
}

fn to(name: &str) -> Destination {
    Destination::Key(key(name))
}

fn site(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

/// A session of link `name` to a site of its own.
fn candidate(name: &str, cost: u32) -> Candidate {
    Candidate {
        name: LinkName::new(name).unwrap(),
        group: GroupName::new("").unwrap(),
        side: Side::Dialer,
        site: site(name),
        instance: Instance([0; 16]),
        costs: costs(cost, 1),
        may_serve: true,
        standby: false,
    }
}

/// Sessions 0, 1, … of these costs, all serving "backend", in order of their names.
fn serving(costs: &[u32]) -> Paths {
    serving_by(Selection::Balanced, costs)
}

fn serving_by(selection: Selection, costs: &[u32]) -> Paths {
    let mut paths = Paths::new(10, selection);
    for (index, cost) in costs.iter().enumerate() {
        let session = number(index);
        let candidate = candidate(&format!("link-{index:03}"), *cost);
        paths.handle_change(PathChange::Up { session, candidate });
        paths.serve(session, key("backend")).unwrap();
    }
    paths
}

fn number(index: usize) -> SessionNumber {
    SessionNumber(u64::try_from(index).unwrap())
}

fn events(paths: &mut Paths) -> Vec<EventKind> {
    std::iter::from_fn(|| paths.poll_events(2)).flatten().collect()
}

#[test]
fn streams_split_exactly_by_the_costs() {
    // Costs, how many streams are opened, how many each session has then.
    let cases: [(&[u32], usize, &[u64]); 4] = [
        (&[1, 3], 100, &[51, 49]),
        (&[1, 1], 101, &[51, 50]),
        (&[2, 5, 99_999], 1001, &[502, 499, 0]),
        (&[7], 3, &[3]),
    ];
    for (costs, streams, expected) in cases {
        let mut paths = serving(costs);
        for _ in 0..streams {
            paths.choose(&to("backend"), &[]).unwrap();
        }
        let open: Vec<u64> = paths.explain(&to("backend")).candidates.iter().map(|view| view.open).collect();
        assert_eq!(open, expected, "{costs:?}");
    }
}

#[test]
fn by_lowest_cost_all_others_stand_by_however_many_streams_are_open() {
    let mut paths = serving_by(Selection::LowestCost, &[3, 2, 2, 99_999]);
    for _ in 0..1000 {
        assert_eq!(paths.choose(&to("backend"), &[]), Some(number(1)), "the first of equals");
    }
    let view = paths.explain(&to("backend"));
    let scores: Vec<(u64, u64)> = view.candidates.iter().map(|of| (of.open, of.score)).collect();
    assert_eq!(scores, [(0, 3), (1000, 2), (0, 2), (0, 99_999)]);
    assert_eq!((view.selection, view.because), (Selection::LowestCost, Some(Because::FirstOfEqual)));
    // They take over one after the other.
    for (lost, next) in [(1, Some(number(2))), (2, Some(number(0))), (0, Some(number(3))), (3, None)] {
        paths.handle_change(PathChange::Suspect { session: number(lost), suspect: true });
        assert_eq!(paths.choose(&to("backend"), &[]), next);
    }
}

#[test]
fn a_session_of_cost_99999_stands_by_for_as_many_streams_and_no_fewer() {
    let mut paths = serving(&[1, 99_999]);
    for opened in 0..99_998 {
        assert_eq!(paths.choose(&to("backend"), &[]), Some(number(0)), "after {opened}");
    }
    // 1 + 99,998 is as much as 99,999 + 0: the first in order still. One more, and it is not.
    assert_eq!(paths.choose(&to("backend"), &[]), Some(number(0)));
    assert_eq!(paths.choose(&to("backend"), &[]), Some(number(1)));
}

#[test]
fn the_larger_of_both_ends_costs_is_in_force_and_both_are_shown() {
    let mut paths = serving(&[4, 5]);
    paths.handle_change(PathChange::Cost { session: number(0), costs: costs(4, 9) });
    let view = paths.explain(&to("backend"));
    let shown: Vec<_> = view.candidates.iter().map(|of| (of.own_cost, of.peer_cost, of.cost)).collect();
    assert_eq!(shown, [(cost(4), cost(9), cost(9)), (cost(5), cost(1), cost(5))]);
    assert_eq!((view.chosen, view.because), (Some(number(1)), Some(Because::LeastScore)));
}

#[test]
fn equal_scores_go_by_the_stable_order() {
    let mut paths = Paths::new(10, Selection::Balanced);
    for (number, name) in [(1, "west"), (2, "east"), (3, "north")] {
        let session = SessionNumber(number);
        paths.handle_change(PathChange::Up { session, candidate: candidate(name, 1) });
        paths.serve(session, key("backend")).unwrap();
    }
    let chosen: Vec<u64> = (0..3).map(|_| paths.choose(&to("backend"), &[]).unwrap().0).collect();
    assert_eq!(chosen, [2, 3, 1]);
}

#[test]
fn a_session_that_may_not_be_used_is_not_chosen_and_says_why() {
    let cases = [
        (PathChange::Live { session: number(0), live: false }, WhyNot::NoCarrier),
        (PathChange::Suspect { session: number(0), suspect: true }, WhyNot::Suspect),
        (PathChange::Standby { session: number(0), standby: true }, WhyNot::Standby),
        (PathChange::Draining { session: number(0) }, WhyNot::Draining),
    ];
    for (change, why) in cases {
        let mut paths = serving(&[1, 1000]);
        paths.handle_change(change);
        let views = paths.explain(&to("backend")).candidates;
        assert_eq!((views[0].why_not, views[0].chosen, views[1].chosen), (Some(why), false, true));
        assert_eq!(paths.choose(&to("backend"), &[]), Some(number(1)));
    }
}

#[test]
fn a_candidate_that_refused_is_left_out() {
    let mut paths = serving(&[1, 2]);
    assert_eq!(paths.choose(&to("backend"), &[number(0)]), Some(number(1)));
    assert_eq!(paths.choose(&to("backend"), &[number(0), number(1)]), None);
}

#[test]
fn a_site_is_reached_without_any_key() {
    let mut paths = serving(&[1]);
    assert_eq!(paths.choose(&Destination::Site(site("link-000")), &[]), Some(number(0)));
    assert_eq!(paths.choose(&Destination::Site(site("elsewhere")), &[]), None);
    assert!(!paths.is_reachable(&to("frontend")));
}

#[test]
fn streams_of_a_withdrawn_key_stay_counted_until_they_are_over() {
    let mut paths = serving(&[1]);
    paths.choose(&to("backend"), &[]).unwrap();
    paths.withdraw(number(0), &key("backend"));
    assert_eq!(paths.choose(&to("backend"), &[]), None);
    assert_eq!(paths.explain(&to("backend")).candidates[0].why_not, Some(WhyNot::NotServed));
    paths.serve(number(0), key("backend")).unwrap();
    assert_eq!(paths.explain(&to("backend")).candidates[0].open, 1);
    paths.withdraw(number(0), &key("backend"));
    paths.release(&to("backend"), number(0));
    assert_eq!(paths.explain(&to("backend")).candidates, []);
}

#[test]
fn a_peer_serves_no_more_keys_than_are_taken() {
    let mut paths = serving(&[1]);
    for index in 1..10 {
        paths.serve(number(0), key(&format!("key-{index}"))).unwrap();
    }
    paths.serve(number(0), key("backend")).unwrap();
    assert_eq!(paths.serve(number(0), key("one-more")), Err(TooManyKeys));
    paths.withdraw(number(0), &key("backend"));
    assert_eq!(paths.serve(number(0), key("one-more")), Ok(()));
}

#[test]
fn an_anonymous_peer_serves_nothing() {
    let mut paths = Paths::new(10, Selection::Balanced);
    let session = number(0);
    let candidate = Candidate { may_serve: false, ..candidate("west", 1) };
    paths.handle_change(PathChange::Up { session, candidate });
    paths.serve(session, key("backend")).unwrap();
    assert!(!paths.is_reachable(&to("backend")));
    assert!(paths.is_reachable(&Destination::Site(site("west"))));
}

#[test]
fn a_change_of_the_first_choice_is_an_event_and_load_is_none() {
    let mut paths = serving(&[1, 2]);
    let selected = |session: usize, cost_now| EventKind::PathSelected {
        destination: to("backend"),
        session: number(session),
        site: site(&format!("link-{session:03}")),
        cost: cost(cost_now),
    };
    let of_key = |paths: &mut Paths| -> Vec<EventKind> {
        let to_backend = |event: &EventKind| match event {
            EventKind::PathSelected { destination, .. } | EventKind::PathLost { destination } => {
                *destination == to("backend")
            }
            _ => false,
        };
        events(paths).into_iter().filter(to_backend).collect()
    };
    assert_eq!(of_key(&mut paths), [selected(0, 1)]);
    (0..5).for_each(|_| {
        paths.choose(&to("backend"), &[]).unwrap();
    });
    assert_eq!(of_key(&mut paths), []);
    paths.handle_change(PathChange::Cost { session: number(0), costs: costs(9, 1) });
    assert_eq!(of_key(&mut paths), [selected(1, 2)]);
    paths.handle_change(PathChange::Down { session: number(1) });
    assert_eq!(of_key(&mut paths), [selected(0, 9)]);
    paths.handle_change(PathChange::Live { session: number(0), live: false });
    assert_eq!(of_key(&mut paths), [EventKind::PathLost { destination: to("backend") }]);
    paths.handle_change(PathChange::Down { session: number(0) });
    assert_eq!(of_key(&mut paths), []);
    assert!(paths.places.is_empty() && paths.slots.is_empty() && paths.by_number.is_empty());
}
