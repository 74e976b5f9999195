//! Which way a stream goes, by cost: over real sockets and real TLS the split is the one that the rule predicts.

#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::pki::TestCa;
use common::stage::{Diary, Stage, brisk, listen, plane_with, poll_until};
use common::{credentials, document, key, loopback, within};
use sitelink::config::Selection;
use sitelink::snapshot::{Because, CandidateView, WhyNot};
use sitelink::{
    Access, AccessSpec, Cost, Destination, EventKind, LinkId, LinkRole, LinkStream, Manifest, OpenError,
    OpenRequest, Plane, PlaneConfig, SessionNumber, SiteId,
};
use tokio::sync::mpsc;

/// A plane that links to sites, each at a cost of its own, that all serve "app". The links are named in the order of the
/// costs.
struct Field {
    ca: TestCa,
    west: Plane,
    diary: Diary,
    sites: Vec<Site>,
    /// What the sites have accepted, by number.
    arrived: mpsc::UnboundedReceiver<(usize, LinkStream)>,
    arrivals: mpsc::UnboundedSender<(usize, LinkStream)>,
}

struct Site {
    plane: Plane,
    access: Access,
    link: LinkId,
}

impl Field {
    async fn new(config: PlaneConfig, costs: &[u32]) -> Self {
        let west = plane_with("west", config).await;
        let (arrivals, arrived) = mpsc::unbounded_channel();
        let (ca, diary) = (TestCa::new("ca"), Diary::of(&west));
        let mut field = Self { ca, west, diary, sites: Vec::new(), arrived, arrivals };
        for cost in costs {
            field.add(*cost).await;
        }
        field.candidates(costs.len()).await;
        field
    }

    async fn add(&mut self, cost: u32) {
        let number = self.sites.len();
        let name = format!("site-{number}");
        let plane = plane_with(&name, brisk()).await;
        plane.serve(&key("app")).unwrap();
        let access = listen(&plane, loopback(), &self.ca).await;
        let link = self.west.link(spec(&name, &access, cost), self.client()).await.unwrap();
        let (accepting, arrivals) = (plane.clone(), self.arrivals.clone());
        tokio::task::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let _ = arrivals.send((number, incoming.accept().unwrap()));
            }
        });
        self.sites.push(Site { plane, access, link });
    }

    fn client(&self) -> sitelink::Credentials {
        credentials("client", &self.ca.client("west"))
    }

    fn view(&self) -> sitelink::PathView {
        self.west.explain(&to("app"))
    }

    async fn candidates(&self, count: usize) {
        let usable = |of: &&CandidateView| of.why_not.is_none();
        poll_until(|| self.view().candidates.iter().filter(usable).count() == count).await;
    }

    /// Opens a stream: both ends of it, and the number of the site it has come to.
    async fn open(&mut self) -> (usize, LinkStream, LinkStream) {
        let near = within(self.west.open(OpenRequest::to_key(key("app")))).await.unwrap();
        let (site, far) = within(self.arrived.recv()).await.unwrap();
        (site, near, far)
    }

    /// Open streams by site, as this end counts them; the links' names are in order of the sites.
    fn split(&self) -> Vec<u64> {
        self.view().candidates.iter().map(|candidate| candidate.open).collect()
    }
}

fn to(name: &str) -> Destination {
    Destination::Key(key(name))
}

fn spec(name: &str, access: &Access, cost: u32) -> sitelink::LinkSpec {
    let text = document(name, "127.0.0.1", access.address().port());
    let text = text.replace("spec:\n", &format!("spec:\n  cost: {cost}\n"));
    Manifest::parse(text, "test").link(name).unwrap().clone()
}

fn cost(cost: u32) -> Cost {
    Cost::new(cost).unwrap()
}

/// Where the next stream must go: the first of those for which cost and open streams are least.
fn least(costs: &[u32], open: &[u64]) -> usize {
    let mut best = 0;
    for site in 1..costs.len() {
        if u64::from(costs[site]) + open[site] < u64::from(costs[best]) + open[best] {
            best = site;
        }
    }
    best
}

/// How so many streams must be split.
fn predicted(costs: &[u32], streams: u64) -> Vec<u64> {
    let mut open = vec![0; costs.len()];
    for _ in 0..streams {
        let next = least(costs, &open);
        open[next] += 1;
    }
    open
}

const STREAMS: u64 = 1000;

const COSTS: [&[u32]; 3] = [&[1, 3], &[1, 1], &[2, 5, 99_999]];

#[test]
fn the_prediction_is_what_a_person_works_out() {
    let by_hand: [&[u64]; 3] = [&[501, 499], &[500, 500], &[502, 498, 0]];
    assert_eq!(COSTS.map(|costs| predicted(costs, STREAMS)), by_hand);
}

#[tokio::test]
async fn a_thousand_streams_one_after_the_other_split_exactly_by_the_costs() {
    for costs in COSTS {
        let mut field = Field::new(PlaneConfig::default(), costs).await;
        let (mut open, mut streams) = (vec![0; costs.len()], Vec::new());
        for stream in 0..STREAMS {
            let expected = least(costs, &open);
            let (site, near, far) = field.open().await;
            assert_eq!(site, expected, "stream {stream} of {costs:?}");
            open[site] += 1;
            streams.push((near, far));
        }
        assert_eq!((&open, field.split()), (&predicted(costs, STREAMS), open.clone()), "{costs:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_streams_at_once_split_exactly_by_the_costs() {
    for costs in COSTS {
        let mut field = Field::new(PlaneConfig::default(), costs).await;
        let barrier = Arc::new(tokio::sync::Barrier::new(8));
        let openers: Vec<_> = (0..8)
            .map(|_| {
                let (west, barrier) = (field.west.clone(), Arc::clone(&barrier));
                tokio::task::spawn(async move {
                    barrier.wait().await;
                    let mut streams = Vec::new();
                    for _ in 0..STREAMS / 8 {
                        streams.push(west.open(OpenRequest::to_key(key("app"))).await.unwrap());
                    }
                    streams
                })
            })
            .collect();
        let (mut open, mut far) = (vec![0; costs.len()], Vec::new());
        for _ in 0..STREAMS {
            let (site, stream) = within(field.arrived.recv()).await.unwrap();
            open[site] += 1;
            far.push(stream);
        }
        let mut near = Vec::new();
        for opener in openers {
            near.extend(within(opener).await.unwrap());
        }
        assert_eq!((&open, field.split()), (&predicted(costs, STREAMS), open.clone()), "{costs:?}");
    }
}

#[tokio::test]
async fn with_streams_that_close_at_random_each_goes_where_the_rule_says() {
    for (seed, costs) in (1..).zip(COSTS) {
        let mut field = Field::new(PlaneConfig::default(), costs).await;
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut open, mut streams) = (vec![0; costs.len()], Vec::new());
        for step in 0..600 {
            if !streams.is_empty() && rng.u8(0..5) < 2 {
                let (site, near, _far): (usize, LinkStream, LinkStream) =
                    streams.swap_remove(rng.usize(0..streams.len()));
                drop(near);
                open[site] -= 1;
            } else {
                let expected = least(costs, &open);
                let (site, near, far) = field.open().await;
                assert_eq!(site, expected, "step {step} of {costs:?}");
                open[site] += 1;
                streams.push((site, near, far));
            }
            assert_eq!(field.split(), open, "step {step} of {costs:?}");
        }
    }
}

#[tokio::test]
async fn by_the_lowest_cost_every_stream_goes_one_way_until_that_is_gone_or_dearer() {
    let mut config = brisk();
    config.selection = Selection::LowestCost;
    let mut field = Field::new(config, &[2, 1, 99_999]).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        let (site, near, far) = field.open().await;
        assert_eq!(site, 1);
        streams.push((near, far));
    }
    let view = field.view();
    let shown: Vec<_> = view.candidates.iter().map(|of| (of.cost.get(), of.open, of.score)).collect();
    assert_eq!(shown, [(2, 0, 2), (1, 100, 1), (99_999, 0, 99_999)]);
    assert_eq!((view.selection, view.because), (Selection::LowestCost, Some(Because::LeastScore)));
    field.west.set_cost(field.sites[1].link, cost(3)).await.unwrap();
    poll_until(|| field.view().candidates[1].cost == cost(3)).await;
    assert_eq!(field.open().await.0, 0);
    for (gone, next) in [(0, 1), (1, 2)] {
        within(field.sites[gone].plane.shutdown(Duration::ZERO)).await;
        field.candidates(2 - gone).await;
        assert_eq!(field.open().await.0, next);
    }
}

#[tokio::test]
async fn a_site_that_accepted_its_links_opens_over_them_by_the_same_rule_and_reaches_a_site_by_its_id() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let access = listen(&east, loopback(), &ca).await;
    for (name, cost) in [("a", 1), ("b", 3)] {
        west.link(spec(name, &access, cost), credentials("client", &ca.client("west"))).await.unwrap();
    }
    west.serve(&key("w")).unwrap();
    let site = Destination::Site(SiteId::new("west-id").unwrap());
    for destination in [to("w"), site] {
        poll_until(|| east.explain(&destination).candidates.len() == 2).await;
        let mut streams = Vec::new();
        for _ in 0..101 {
            let opening = tokio::task::spawn({
                let (east, destination) = (east.clone(), destination.clone());
                async move { east.open(OpenRequest::to(destination)).await.unwrap() }
            });
            streams.push((within(west.accept()).await.unwrap().accept().unwrap(), opening.await.unwrap()));
        }
        let view = east.explain(&destination);
        let shown =
            |of: &CandidateView| (of.name.to_string(), of.own_cost.get(), of.peer_cost.get(), of.open);
        let expected = predicted(&[1, 3], 101);
        assert_eq!(
            view.candidates.iter().map(shown).collect::<Vec<_>>(),
            [("a".into(), 1, 1, expected[0]), ("b".into(), 1, 3, expected[1])]
        );
    }
}

/// The effective costs that a plane has told of.
fn told(diary: &Diary) -> Vec<u32> {
    let cost = |kind| match kind {
        EventKind::CostChanged { cost, .. } => Some(cost.get()),
        _ => None,
    };
    diary.kinds().into_iter().filter_map(cost).collect()
}

/// This end's cost, the peer's and the one in force of the only session.
fn costs_of(plane: &Plane) -> (u32, u32, u32) {
    let session = &plane.status().sessions[0];
    (session.own_cost.get(), session.peer_cost.get(), session.cost.get())
}

#[tokio::test]
async fn a_cost_changed_by_either_end_is_told_once_at_both_and_touches_no_stream() {
    let mut stage = Stage::new(PlaneConfig::default(), PlaneConfig::default()).await;
    stage.west_diary.many(2, |kind| matches!(kind, EventKind::CarrierUp { .. })).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(stage.stream().await);
    }
    let dialed = stage.relay.accepted();
    // By which end, to what, and both ends' costs then.
    let changes =
        [(true, 7, (7, 1)), (false, 9, (7, 9)), (true, 8, (8, 9)), (false, 1, (8, 1)), (true, 2, (2, 1))];
    for (by_dialer, to, (west, east)) in changes {
        if by_dialer {
            stage.west.set_cost(stage.link, cost(to)).await.unwrap();
        } else {
            stage.access.set_cost(cost(to)).unwrap();
        }
        let in_force = west.max(east);
        poll_until(|| costs_of(&stage.west) == (west, east, in_force)).await;
        poll_until(|| costs_of(&stage.east) == (east, west, in_force)).await;
        for (near, far) in &mut streams {
            near.send(Bytes::from_static(b"?")).await.unwrap();
            assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"?"[..]));
        }
        assert_eq!([&stage.west, &stage.east].map(|plane| plane.status().sessions[0].streams), [20; 2]);
    }
    assert_eq!(stage.relay.accepted(), dialed, "no connection was made for it");
    // The document with another cost, too; and the one it has changes nothing.
    for again in [5, 5] {
        let relay = stage.relay.address().port();
        let text =
            document("east", "127.0.0.1", relay).replace("spec:\n", &format!("spec:\n  cost: {again}\n"));
        let spec = Manifest::parse(text, "test").link("east").unwrap().clone();
        let client = credentials("client", &stage.ca.client("west"));
        stage.west.relink(stage.link, spec, Some(client)).await.unwrap();
    }
    poll_until(|| costs_of(&stage.east) == (1, 5, 5)).await;
    stage.west.set_cost(stage.link, cost(6)).await.unwrap();
    for diary in [&mut stage.west_diary, &mut stage.east_diary] {
        diary.one(|kind| matches!(kind, EventKind::CostChanged { cost, .. } if cost.get() == 6)).await;
        // 8 after 9 is no change of what is in force, and is told by nobody.
        assert_eq!(told(diary), [7, 9, 8, 2, 5, 6]);
        assert_eq!(diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
    }
    // The client certificate came anew with the document, and carriers of its own with that; no stream noticed.
    for (near, far) in &mut streams {
        far.send(Bytes::from_static(b"!")).await.unwrap();
        assert_eq!(within(near.recv()).await.unwrap().as_deref(), Some(&b"!"[..]));
    }
}

#[tokio::test]
async fn links_that_come_through_an_access_have_the_cost_it_was_given_last() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let server = credentials("server", &ca.server(&["127.0.0.1"]));
    let asked = AccessSpec::new(loopback(), LinkRole::InterRouter).cost(cost(4));
    let access = east.listen(asked, server).await.unwrap();
    let mut diary = Diary::of(&west);
    access.set_cost(cost(9)).unwrap();
    west.link(spec("east", &access, 2), credentials("client", &ca.client("west"))).await.unwrap();
    let up = diary.one(|kind| matches!(kind, EventKind::SessionUp { .. })).await;
    let EventKind::SessionUp { cost: in_force, .. } = up.kind else { unreachable!() };
    assert_eq!((in_force, costs_of(&west), costs_of(&east)), (cost(9), (2, 9, 9), (9, 2, 9)));
    access.close();
    assert_eq!(access.set_cost(cost(1)), Err(sitelink::PlaneError::Unknown));
}

#[tokio::test]
async fn the_way_there_is_explained_with_all_that_speaks_for_and_against_each_candidate() {
    let mut field = Field::new(brisk(), &[1, 3, 7]).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(field.open().await);
    }
    field.west.drain(field.sites[2].link, common::DEADLINE).await.unwrap();
    field.sites[0].access.set_cost(cost(2)).unwrap();
    poll_until(|| field.view().candidates[0].peer_cost == cost(2)).await;
    // A session without streams is gone as soon as it drains.
    field.candidates(2).await;
    let view = field.view();
    let shown = |of: &CandidateView| {
        let (costs, score) = ((of.own_cost.get(), of.peer_cost.get(), of.cost.get()), of.score);
        (of.name.to_string(), costs, of.open, score, of.chosen, of.why_not)
    };
    let shown: Vec<_> = view.candidates.iter().map(shown).collect();
    assert_eq!(
        shown[..2],
        [
            ("site-0".to_owned(), (1, 2, 2), 3, 5, false, None),
            ("site-1".to_owned(), (3, 1, 3), 1, 4, true, None)
        ]
    );
    assert!(shown[2..].iter().all(|of| of.5 == Some(WhyNot::Draining)), "{shown:?}");
    assert_eq!((view.because, view.selection), (Some(Because::LeastScore), Selection::Balanced));
    assert_eq!(view.chosen, Some(view.candidates[1].session));
    // What is explained is what is done.
    assert_eq!(field.open().await.0, 1);
    // The events that say when it became so.
    let selected = |session: SessionNumber| {
        let is = move |kind: &EventKind| {
            matches!(kind, EventKind::PathSelected { destination, session: of, .. }
                if *destination == to("app") && *of == session)
        };
        field.diary.count(is)
    };
    assert_eq!(selected(view.candidates[0].session), 1);
    assert_eq!(
        selected(view.candidates[1].session),
        0,
        "the other one is cheaper for an idle destination still"
    );
    let nowhere = field.west.explain(&to("nowhere"));
    assert_eq!((nowhere.chosen, nowhere.because, nowhere.candidates), (None, None, Vec::new()));
    let opened = within(field.west.open(OpenRequest::to_key(key("nowhere")))).await;
    assert_eq!(opened.unwrap_err(), OpenError::NoPath);
}
