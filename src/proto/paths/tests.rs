use proptest::prelude::*;

use super::*;

fn cost(cost: u32) -> Cost {
    Cost::new(cost).unwrap()
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
        cost: Cost::new(cost).unwrap(),
        may_serve: true,
        standby: false,
    }
}

/// Sessions 0, 1, … of these costs, all serving "backend", in order of their names.
fn serving(costs: &[u32]) -> Paths {
    let mut paths = Paths::new(10);
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
    std::iter::from_fn(|| paths.poll_event()).collect()
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
        let open: Vec<u64> = paths.explain(&to("backend")).iter().map(|view| view.open).collect();
        assert_eq!(open, expected, "{costs:?}");
    }
}

#[test]
fn equal_scores_go_by_the_stable_order() {
    let mut paths = Paths::new(10);
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
        let views = paths.explain(&to("backend"));
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
    assert_eq!(paths.explain(&to("backend"))[0].why_not, Some(WhyNot::NotServed));
    paths.serve(number(0), key("backend")).unwrap();
    assert_eq!(paths.explain(&to("backend"))[0].open, 1);
    paths.withdraw(number(0), &key("backend"));
    paths.release(&to("backend"), number(0));
    assert_eq!(paths.explain(&to("backend")), []);
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
    let mut paths = Paths::new(10);
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
    paths.handle_change(PathChange::Cost { session: number(0), cost: cost(9) });
    assert_eq!(of_key(&mut paths), [selected(1, 2)]);
    paths.handle_change(PathChange::Down { session: number(1) });
    assert_eq!(of_key(&mut paths), [selected(0, 9)]);
    paths.handle_change(PathChange::Live { session: number(0), live: false });
    assert_eq!(of_key(&mut paths), [EventKind::PathLost { destination: to("backend") }]);
    paths.handle_change(PathChange::Down { session: number(0) });
    assert_eq!(of_key(&mut paths), []);
    assert!(paths.places.is_empty() && paths.slots.is_empty() && paths.by_number.is_empty());
}

/// The naive model: a list of sessions, sorted and searched at every step.
#[derive(Debug, Default)]
struct Model {
    sessions: Vec<ModelSession>,
}

#[derive(Debug)]
struct ModelSession {
    number: SessionNumber,
    name: String,
    cost: u32,
    usable: [bool; 4],
    serves: [bool; 3],
    open: [u64; 3],
}

impl Model {
    fn choose(&mut self, key: usize) -> Option<SessionNumber> {
        let candidates = self.sessions.iter_mut();
        let usable =
            candidates.filter(|session| session.serves[key] && session.usable.iter().all(|yes| *yes));
        let score = |session: &ModelSession| u64::from(session.cost) + session.open[key];
        let best = usable.min_by_key(|session| (score(session), session.name.clone(), session.number))?;
        best.open[key] += 1;
        Some(best.number)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Up { name: u8, cost: u32 },
    Down(usize),
    Alter { at: usize, flag: usize, on: bool },
    Cost { at: usize, cost: u32 },
    Serve { at: usize, key: usize },
    Withdraw { at: usize, key: usize },
    Open(usize),
    Release(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0_u8..4, 1_u32..6).prop_map(|(name, cost)| Op::Up { name, cost }),
        (0_usize..6).prop_map(Op::Down),
        (0_usize..6, 0_usize..4, any::<bool>()).prop_map(|(at, flag, on)| Op::Alter { at, flag, on }),
        (0_usize..6, 1_u32..6).prop_map(|(at, cost)| Op::Cost { at, cost }),
        (0_usize..6, 0_usize..3).prop_map(|(at, key)| Op::Serve { at, key }),
        (0_usize..6, 0_usize..3).prop_map(|(at, key)| Op::Withdraw { at, key }),
        (0_usize..3).prop_map(Op::Open),
        (0_usize..3).prop_map(Op::Open),
        (0_usize..20).prop_map(Op::Release),
    ]
}

const KEYS: [&str; 3] = ["a", "b", "c"];

fn apply(
    paths: &mut Paths,
    model: &mut Model,
    streams: &mut Vec<(usize, SessionNumber)>,
    next: &mut u64,
    op: Op,
) {
    let at = |at: usize| {
        if model.sessions.is_empty() { None } else { Some(at % model.sessions.len()) }
    };
    match op {
        Op::Up { name, cost } => {
            *next += 1;
            let (number, name) = (SessionNumber(*next), format!("link-{name}"));
            paths.handle_change(PathChange::Up { session: number, candidate: candidate(&name, cost) });
            let (usable, serves, open) = ([true; 4], [false; 3], [0; 3]);
            // The candidates of one name differ in their numbers alone.
            model.sessions.push(ModelSession { number, name, cost, usable, serves, open });
        }
        Op::Down(index) => {
            if let Some(index) = at(index) {
                let session = model.sessions.remove(index).number;
                paths.handle_change(PathChange::Down { session });
            }
        }
        Op::Alter { at: index, flag, on } => {
            let Some(index) = at(index) else { return };
            let known = &mut model.sessions[index];
            let session = known.number;
            let on = on && flag != 3;
            known.usable[flag] = on;
            paths.handle_change(match flag {
                0 => PathChange::Live { session, live: on },
                1 => PathChange::Suspect { session, suspect: !on },
                2 => PathChange::Standby { session, standby: !on },
                _ => PathChange::Draining { session },
            });
        }
        Op::Cost { at: index, cost } => {
            let Some(index) = at(index) else { return };
            model.sessions[index].cost = cost;
            let (session, cost) = (model.sessions[index].number, Cost::new(cost).unwrap());
            paths.handle_change(PathChange::Cost { session, cost });
        }
        Op::Serve { at: index, key: name } => {
            let Some(index) = at(index) else { return };
            model.sessions[index].serves[name] = true;
            paths.serve(model.sessions[index].number, key(KEYS[name])).unwrap();
        }
        Op::Withdraw { at: index, key: name } => {
            let Some(index) = at(index) else { return };
            model.sessions[index].serves[name] = false;
            paths.withdraw(model.sessions[index].number, &key(KEYS[name]));
        }
        Op::Open(name) => {
            let chosen = paths.choose(&to(KEYS[name]), &[]);
            assert_eq!(chosen, model.choose(name));
            streams.extend(chosen.map(|session| (name, session)));
        }
        Op::Release(index) => {
            if streams.is_empty() {
                return;
            }
            let (name, session) = streams.swap_remove(index % streams.len());
            paths.release(&to(KEYS[name]), session);
            if let Some(known) = model.sessions.iter_mut().find(|known| known.number == session) {
                known.open[name] -= 1;
            }
        }
    }
}

proptest! {
    /// Law 8: what is chosen is usable and least by the rule, as a search through a list finds it.
    #[test]
    fn paths_choose_as_a_naive_search_does(ops in proptest::collection::vec(op(), 1..120)) {
        let (mut paths, mut model) = (Paths::new(10), Model::default());
        let (mut streams, mut next) = (Vec::new(), 0);
        for op in ops {
            apply(&mut paths, &mut model, &mut streams, &mut next, op);
            while paths.poll_event().is_some() {}
            for (name, key) in KEYS.iter().enumerate() {
                let views = paths.explain(&to(key));
                let open: u64 = views.iter().map(|view| view.open).sum();
                let counted: u64 = model.sessions.iter().map(|session| session.open[name]).sum();
                prop_assert_eq!(open, counted);
                prop_assert!(views.iter().filter(|view| view.chosen).count() <= 1);
            }
        }
        for session in std::mem::take(&mut model.sessions) {
            paths.handle_change(PathChange::Down { session: session.number });
        }
        while paths.poll_event().is_some() {}
        prop_assert!(paths.places.is_empty() && paths.dirty.is_empty());
    }
}
