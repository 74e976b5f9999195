//! The choice against a naive model: a list of sessions that is searched at every step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Where streams go: three keys, then two sites.
const PLACES: usize = 5;

/// Of those, keys.
const KEYS: [&str; 3] = ["a", "b", "c"];

/// Fewer than there are keys, so that the bound is met.
const MOST_KEYS: usize = 2;

#[derive(Debug)]
struct Model {
    selection: Selection,
    sessions: Vec<Known>,
    /// What was last told of each place.
    told: BTreeMap<usize, SessionNumber>,
}

#[derive(Debug)]
struct Known {
    number: SessionNumber,
    candidate: Candidate,
    /// Carriers, trusted, active, not draining.
    able: [bool; 4],
    serves: [bool; KEYS.len()],
    open: [u64; PLACES],
}

impl Known {
    fn leads_to(&self, place: usize) -> bool {
        match KEYS.get(place) {
            Some(_) => self.serves[place],
            None => self.candidate.site == site(["east", "west"][place - KEYS.len()]),
        }
    }

    fn score(&self, selection: Selection, place: usize) -> u64 {
        let cost = u64::from(self.candidate.costs.own.max(self.candidate.costs.peer).get());
        if selection == Selection::LowestCost { cost } else { cost + self.open[place] }
    }

    fn order(&self) -> (String, String, bool, String, [u8; 16], SessionNumber) {
        let Candidate { name, group, side, site, instance, .. } = &self.candidate;
        let accepted = *side == Side::Acceptor;
        (name.to_string(), group.to_string(), accepted, site.to_string(), instance.0, self.number)
    }
}

impl Model {
    fn able(&self, place: usize) -> impl Iterator<Item = &Known> {
        self.sessions.iter().filter(move |known| known.leads_to(place) && known.able == [true; 4])
    }

    fn best(&self, place: usize, exclude: &[SessionNumber]) -> Option<SessionNumber> {
        let left = self.able(place).filter(|known| !exclude.contains(&known.number));
        left.min_by_key(|known| (known.score(self.selection, place), known.order())).map(|known| known.number)
    }

    /// The first choice of an idle destination.
    fn first(&self, place: usize) -> Option<SessionNumber> {
        let cost = |known: &Known| known.score(Selection::LowestCost, place);
        self.able(place).min_by_key(|known| (cost(known), known.order())).map(|known| known.number)
    }

    fn of(&mut self, number: SessionNumber) -> Option<&mut Known> {
        self.sessions.iter_mut().find(|known| known.number == number)
    }
}

fn place(index: usize) -> Destination {
    match KEYS.get(index) {
        Some(name) => to(name),
        None => Destination::Site(site(["east", "west"][index - KEYS.len()])),
    }
}

#[derive(Clone, Debug)]
enum Op {
    Up {
        of: (u8, u8, bool, bool, u8),
        costs: (u32, u32),
        may_serve: bool,
        standby: bool,
    },
    Down(usize),
    Alter {
        at: usize,
        flag: usize,
        on: bool,
    },
    Cost {
        at: usize,
        costs: (u32, u32),
    },
    Serve {
        at: usize,
        key: usize,
    },
    Withdraw {
        at: usize,
        key: usize,
    },
    /// With the candidates that have refused it, by place.
    Open(usize, Vec<usize>),
    Close(usize),
    Tell(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let of = (0_u8..2, 0_u8..2, any::<bool>(), any::<bool>(), 0_u8..2);
    let costs = || (1_u32..6, 1_u32..6);
    let rarely = |weight| prop::bool::weighted(weight);
    prop_oneof![
        2 => (of, costs(), rarely(0.9), rarely(0.1))
            .prop_map(|(of, costs, may_serve, standby)| Op::Up { of, costs, may_serve, standby }),
        1 => (0_usize..6).prop_map(Op::Down),
        2 => (0_usize..6, 0_usize..4, any::<bool>()).prop_map(|(at, flag, on)| Op::Alter { at, flag, on }),
        2 => (0_usize..6, costs()).prop_map(|(at, costs)| Op::Cost { at, costs }),
        4 => (0_usize..6, 0_usize..3).prop_map(|(at, key)| Op::Serve { at, key }),
        2 => (0_usize..6, 0_usize..3).prop_map(|(at, key)| Op::Withdraw { at, key }),
        6 => (0_usize..PLACES, prop::collection::vec(0_usize..6, 0..2)).prop_map(|(to, not)| Op::Open(to, not)),
        3 => (0_usize..20).prop_map(Op::Close),
        2 => (0_usize..4).prop_map(Op::Tell),
    ]
}

struct Bench {
    paths: Paths,
    model: Model,
    /// Open streams, those of sessions that are over included: their ends are told late.
    streams: Vec<(usize, SessionNumber)>,
    begun: u64,
}

impl Bench {
    fn new(selection: Selection) -> Self {
        let model = Model { selection, sessions: Vec::new(), told: BTreeMap::new() };
        Self { paths: Paths::new(MOST_KEYS, selection), model, streams: Vec::new(), begun: 0 }
    }

    fn begin(&mut self, candidate: Candidate) {
        self.begun += 1;
        let session = SessionNumber(self.begun);
        self.paths.handle_change(PathChange::Up { session, candidate: candidate.clone() });
        self.model.sessions.push(Known {
            number: session,
            able: [true, true, !candidate.standby, true],
            candidate,
            serves: [false; KEYS.len()],
            open: [0; PLACES],
        });
    }

    fn apply(&mut self, op: Op) {
        let count = self.model.sessions.len();
        let pick = |at: usize| if count == 0 { None } else { Some(at % count) };
        match op {
            Op::Up { of, costs: (own, peer), may_serve, standby } => {
                let candidate = Candidate {
                    name: LinkName::new(["one", "two"][usize::from(of.0)]).unwrap(),
                    group: GroupName::new(["", "a"][usize::from(of.1)]).unwrap(),
                    side: if of.2 { Side::Dialer } else { Side::Acceptor },
                    site: site(if of.3 { "east" } else { "west" }),
                    instance: Instance([of.4; 16]),
                    costs: costs(own, peer),
                    may_serve,
                    standby,
                };
                self.begin(candidate);
            }
            Op::Down(at) => {
                let Some(at) = pick(at) else { return };
                let session = self.model.sessions.remove(at).number;
                self.paths.handle_change(PathChange::Down { session });
            }
            Op::Alter { at, flag, on } => {
                let Some(known) = pick(at).map(|at| &mut self.model.sessions[at]) else { return };
                let session = known.number;
                known.able[flag] = on && flag != 3;
                self.paths.handle_change(match flag {
                    0 => PathChange::Live { session, live: on },
                    1 => PathChange::Suspect { session, suspect: !on },
                    2 => PathChange::Standby { session, standby: !on },
                    _ => PathChange::Draining { session },
                });
            }
            Op::Cost { at, costs: (own, peer) } => {
                let Some(known) = pick(at).map(|at| &mut self.model.sessions[at]) else { return };
                known.candidate.costs = costs(own, peer);
                let (session, costs) = (known.number, known.candidate.costs);
                self.paths.handle_change(PathChange::Cost { session, costs });
            }
            Op::Serve { at, key: name } => {
                let Some(known) = pick(at).map(|at| &mut self.model.sessions[at]) else { return };
                let served = known.serves.iter().filter(|served| **served).count();
                let over = known.candidate.may_serve && !known.serves[name] && served >= MOST_KEYS;
                known.serves[name] |= known.candidate.may_serve && !over;
                let expected = if over { Err(TooManyKeys) } else { Ok(()) };
                assert_eq!(self.paths.serve(known.number, key(KEYS[name])), expected);
            }
            Op::Withdraw { at, key: name } => {
                let Some(known) = pick(at).map(|at| &mut self.model.sessions[at]) else { return };
                known.serves[name] = false;
                self.paths.withdraw(known.number, &key(KEYS[name]));
            }
            Op::Open(to, refused_by) => {
                let refused = refused_by.into_iter().filter_map(pick);
                let refused: Vec<_> = refused.map(|at| self.model.sessions[at].number).collect();
                let expected = self.model.best(to, &refused);
                assert_eq!(self.paths.choose(&place(to), &refused), expected);
                if let Some(session) = expected {
                    self.streams.push((to, session));
                    self.model.of(session).unwrap().open[to] += 1;
                }
            }
            Op::Close(at) => {
                if self.streams.is_empty() {
                    return;
                }
                let (to, session) = self.streams.swap_remove(at % self.streams.len());
                self.paths.release(&place(to), session);
                if let Some(known) = self.model.of(session) {
                    known.open[to] -= 1;
                }
            }
            Op::Tell(most) => {
                let news = self.paths.poll_events(most).unwrap_or_default();
                assert!(news.len() <= most, "no more than were asked for");
                self.hear(news);
            }
        }
    }

    /// Takes note of what is told: each event changes what was told before.
    fn hear(&mut self, news: Vec<EventKind>) {
        let index =
            |destination: &Destination| (0..PLACES).find(|index| place(*index) == *destination).unwrap();
        for event in news {
            match event {
                EventKind::PathSelected { destination, session, site, cost } => {
                    let known = self.model.of(session).unwrap();
                    let costs = known.candidate.costs;
                    assert_eq!((site, cost), (known.candidate.site.clone(), costs.own.max(costs.peer)));
                    assert_ne!(self.model.told.insert(index(&destination), session), Some(session));
                }
                EventKind::PathLost { destination } => {
                    assert!(self.model.told.remove(&index(&destination)).is_some());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// What is shown of every place is what the model has.
    fn compare(&self) {
        for to in 0..PLACES {
            let view = self.paths.explain(&place(to));
            assert_eq!(view.chosen, self.model.best(to, &[]));
            let shown =
                view.candidates.iter().map(|of| (of.session, of.open, of.score, of.why_not.is_none()));
            let mut known: Vec<&Known> = self.model.sessions.iter().collect();
            known.retain(|known| known.leads_to(to) || known.open[to] > 0);
            known.sort_by_key(|known| known.order());
            let expected = known.into_iter().map(|known| {
                let able = known.leads_to(to) && known.able == [true; 4];
                (known.number, known.open[to], known.score(self.model.selection, to), able)
            });
            assert_eq!(shown.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }

    fn hear_out(&mut self) {
        while let Some(news) = self.paths.poll_events(3) {
            self.hear(news);
        }
        let first = |to| Some((to, self.model.first(to)?));
        assert_eq!(self.model.told, (0..PLACES).filter_map(first).collect());
    }
}

fn runs(selection: Selection, ops: Vec<Op>) {
    let mut bench = Bench::new(selection);
    for op in ops {
        bench.apply(op);
        bench.compare();
    }
    bench.hear_out();
    while !bench.model.sessions.is_empty() {
        bench.apply(Op::Down(0));
    }
    bench.hear_out();
    let Paths { slots, by_number, places, dirty, .. } = &bench.paths;
    assert!(
        slots.is_empty() && by_number.is_empty() && places.is_empty() && dirty.is_empty(),
        "nothing is left"
    );
}

proptest! {
    /// Law 8: what is chosen can be used and is least by the rule, as a search through a list finds it; what is shown and
    /// told is so, too.
    #[test]
    fn paths_choose_as_a_naive_search_does(ops in prop::collection::vec(op(), 1..150)) {
        runs(Selection::Balanced, ops);
    }

    /// The same where the least cost wins.
    #[test]
    fn the_lowest_cost_is_chosen_as_a_naive_search_does(ops in prop::collection::vec(op(), 1..150)) {
        runs(Selection::LowestCost, ops);
    }
}
