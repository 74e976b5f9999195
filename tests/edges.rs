//! Edge planes: of several uplinks one is active, another takes over when it fails, and it returns. Real sockets,
//! real TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::pki::TestCa;
use common::relay::{Cut, Door, Relay};
use common::stage::{Diary, brisk, pair, plane_with, poll_until};
use common::{credentials, key, loopback, within};
use sitelink::snapshot::{SessionState, SessionView, WhyNot};
use sitelink::{
    Access, AccessSpec, CloseCode, Cost, Destination, EventKind, LinkId, LinkRole, LinkStream, Manifest,
    OpenError, OpenRequest, Plane, RouterRole, SessionEnd, SessionNumber, Site, StreamCode,
};

/// A router that takes links of edges and serves `k`, and the network between.
struct Interior {
    plane: Plane,
    relay: Relay,
    _access: Access,
}

impl Interior {
    async fn new(name: &str, ca: &TestCa) -> Self {
        let plane = plane_with(name, brisk()).await;
        let server = credentials("server", &ca.server(&["127.0.0.1"]));
        let access = plane.listen(AccessSpec::new(loopback(), LinkRole::Edge), server).await.unwrap();
        let relay = Relay::to(access.address()).await;
        plane.serve(&key("k")).unwrap();
        Self { plane, relay, _access: access }
    }

    /// Nothing gets there any more.
    fn kill(&self) {
        self.relay.door(Door::Refusing);
        self.relay.cut(Cut::Reset);
    }

    /// Its one session with the edge.
    fn session(&self) -> SessionView {
        let sessions = self.plane.status().sessions;
        let [session] = &sessions[..] else { panic!("{sessions:#?}") };
        session.clone()
    }

    /// Why it opens no stream to the edge, if it does not.
    fn why_not(&self) -> Option<WhyNot> {
        self.plane.explain(&Destination::Key(key("e"))).candidates[0].why_not
    }
}

/// Asks an edge for a link to routers, with a group for each.
async fn link(edge: &Plane, ca: &TestCa, name: &str, cost: u32, to: &[&Interior]) -> LinkId {
    let mut text = format!(
        "apiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata:\n  name: {name}\nspec:\n  cost: {cost}\n  endpoints:\n"
    );
    for (group, interior) in to.iter().enumerate() {
        let port = interior.relay.address().port();
        text += &format!("  - {{name: edge, host: 127.0.0.1, port: {port}, group: g{group}}}\n");
    }
    let client = credentials("client", &ca.client("edge"));
    let manifest = Manifest::parse(text, "test");
    edge.link(manifest.link(name).unwrap().clone(), Some(client)).await.unwrap()
}

/// An edge plane that serves `e`.
async fn edge() -> Plane {
    let mut config = brisk();
    config.backoff.stable_after = STABLE;
    let site = Site::new("edge-id", "edge").unwrap();
    let edge = Plane::builder(site).role(RouterRole::Edge).config(config).start().await.unwrap();
    edge.serve(&key("e")).unwrap();
    edge
}

/// An edge with a link to each of two routers.
struct Stage {
    edge: Plane,
    diary: Diary,
    near: Interior,
    far: Interior,
    to_near: LinkId,
    to_far: LinkId,
}

impl Stage {
    async fn new(costs: [u32; 2]) -> Self {
        let ca = TestCa::new("ca");
        let (near, far) = (Interior::new("near", &ca).await, Interior::new("far", &ca).await);
        let edge = edge().await;
        let mut diary = Diary::of(&edge);
        let to_near = link(&edge, &ca, "to-near", costs[0], &[&near]).await;
        let to_far = link(&edge, &ca, "to-far", costs[1], &[&far]).await;
        diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
        let stage = Self { edge, diary, near, far, to_near, to_far };
        poll_until(|| active(&stage.edge) == ["near"]).await;
        poll_until(|| !stage.near.session().peer_standby && stage.far.session().peer_standby).await;
        // What both serve is known.
        poll_until(|| stage.edge.explain(&Destination::Key(key("k"))).candidates.len() == 2).await;
        stage
    }

    /// The edge's session with a site.
    fn session(&self, site: &str) -> SessionNumber {
        let sessions = self.edge.status().sessions;
        sessions.iter().find(|session| session.peer.site_name.as_str() == site).unwrap().session
    }

    /// How often the edge made a session active again, and how often it put it on standby.
    fn turns(&self, of: SessionNumber) -> [usize; 2] {
        let is = |kind: &EventKind, wanted| matches!(kind, EventKind::SessionStandby { session, standby, by_peer: false } if *session == of && *standby == wanted);
        [false, true].map(|wanted| self.diary.count(|kind| is(kind, wanted)))
    }

    /// When a session was lost the last time. What it then begins anew begins later.
    fn lost(&self, of: SessionNumber) -> u64 {
        let events = self.diary.events().into_iter().rev();
        let lost =
            |kind: &EventKind| matches!(kind, EventKind::SessionRecovering { session, .. } if *session == of);
        events.filter(|event| lost(&event.kind)).map(|event| event.at_micros).next().unwrap()
    }

    /// Opens a stream to whom there is, and takes it there.
    async fn reaches(&self, interior: &Interior) -> (LinkStream, LinkStream) {
        within(pair(&self.edge, &interior.plane, "k")).await
    }
}

/// The names of the sites whose session is active.
fn active(edge: &Plane) -> Vec<String> {
    let active = edge.status().sessions.into_iter();
    let active = active.filter(|session| !session.standby && session.state != SessionState::Ending);
    active.map(|session| session.peer.site_name.to_string()).collect()
}

async fn talk((near, far): &mut (LinkStream, LinkStream)) {
    near.send(Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"still here"[..]));
    far.send(Bytes::from_static(b"so am I")).await.unwrap();
    assert_eq!(within(near.recv()).await.unwrap().as_deref(), Some(&b"so am I"[..]));
}

fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}

/// Looks all the time, from a thread of its own.
struct Watch {
    over: Arc<AtomicBool>,
    looking: thread::JoinHandle<u64>,
}

impl Watch {
    /// Exactly one session of an edge is active, and exactly one can be taken to `k`: neither none nor two, ever.
    fn one_is_active(edge: &Plane) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (edge, until) = (edge.clone(), Arc::clone(&over));
        let looking = thread::spawn(move || {
            let mut looks = 0;
            while !until.load(Ordering::Relaxed) {
                looks += 1;
                let found = active(&edge);
                assert_eq!(found.len(), 1, "{found:?} are active");
                let candidates = edge.explain(&Destination::Key(key("k"))).candidates;
                let open = candidates.iter().filter(|candidate| candidate.why_not.is_none()).count();
                assert_eq!(open, 1, "{candidates:#?}");
                // Others want the processor, too.
                thread::sleep(Duration::from_micros(50));
            }
            looks
        });
        Self { over, looking }
    }

    /// Ends; says how often it has looked.
    fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.looking.join().unwrap()
    }
}

#[tokio::test]
async fn another_is_active_within_100_ms_of_the_loss_and_the_first_returns_and_no_stream_is_moved() {
    let mut stage = Stage::new([1, 3]).await;
    let (near, far) = (stage.session("near"), stage.session("far"));
    let mut held = stage.reaches(&stage.near).await;
    assert_eq!(held.0.session(), near);
    let watch = Watch::one_is_active(&stage.edge);

    stage.near.kill();
    let taken = |kind: &EventKind| matches!(kind, EventKind::SessionStandby { session, standby: false, .. } if *session == far);
    stage.diary.one(taken).await;
    let mut during = stage.reaches(&stage.far).await;
    let accepted = unix_micros();
    assert_eq!(during.0.session(), far);
    let events = stage.diary.events();
    let activated = events.iter().find(|event| taken(&event.kind)).unwrap().at_micros;
    let is_loss =
        |kind: &EventKind| matches!(kind, EventKind::CarrierDown { session, .. } if *session == near);
    let losses = events.iter().filter(|event| is_loss(&event.kind) && event.at_micros <= activated);
    // What it had before is lost with the last of its carriers.
    let lost = losses.map(|event| event.at_micros).max().unwrap();
    let (activated, accepted) = (activated - lost, accepted - lost);
    println!("from the loss to another one active: {activated} µs; to a stream over it: {accepted} µs");
    assert!(activated < 100_000, "{activated} µs");
    // Milliseconds, but of a machine that other tests use as well.
    assert!(accepted < 1_000_000, "{accepted} µs");

    // It returns when it has been well for a while: then it takes new streams, and no other moves.
    stage.near.relay.door(Door::Open);
    stage.diary.one(|kind| matches!(kind, EventKind::SessionResumed { .. })).await;
    talk(&mut held).await;
    let is_back = |kind: &EventKind| matches!(kind, EventKind::SessionStandby { session, standby: false, .. } if *session == near);
    let returned = stage.diary.one(is_back).await.at_micros;
    assert!(returned - stage.lost(near) >= STABLE.as_micros().try_into().unwrap());
    let mut after = stage.reaches(&stage.near).await;
    for (stream, session) in [(&mut held, near), (&mut during, far), (&mut after, near)] {
        talk(stream).await;
        assert_eq!(stream.0.session(), session);
    }
    assert_eq!(stage.turns(near), [1, 1]);
    // It began on standby, took over, and stood by again.
    assert_eq!(stage.turns(far), [1, 2]);
    let looks = watch.end();
    println!("looked {looks} times");
    assert!(looks > 10);
}

#[tokio::test]
async fn one_that_flaps_takes_the_turn_once_it_has_been_well_for_long_enough() {
    let mut stage = Stage::new([1, 3]).await;
    let near = stage.session("near");
    let watch = Watch::one_is_active(&stage.edge);
    for flaps in 1..=5 {
        stage.near.relay.cut(Cut::Reset);
        stage.diary.many(flaps, |kind| matches!(kind, EventKind::SessionResumed { .. })).await;
    }
    let is_back = |kind: &EventKind| matches!(kind, EventKind::SessionStandby { session, standby: false, .. } if *session == near);
    let returned = stage.diary.one(is_back).await.at_micros;
    assert!(returned - stage.lost(near) >= STABLE.as_micros().try_into().unwrap());
    assert_eq!(stage.turns(near), [1, 1], "it flapped five times, and came back once");
    watch.end();
}

#[tokio::test]
async fn a_black_hole_below_the_active_one_makes_another_active_and_nothing_is_lost() {
    let mut stage = Stage::new([1, 3]).await;
    let mut held = stage.reaches(&stage.near).await;
    // What is there stands still, and what is dialed in its place gets no answer.
    stage.near.relay.door(Door::Mute);
    stage.near.relay.stall();
    poll_until(|| active(&stage.edge) == ["far"]).await;
    let state = stage.edge.status().sessions[0].state;
    assert_eq!(state, SessionState::Suspect, "not dead yet");
    let mut during = stage.reaches(&stage.far).await;
    let taken = |kind: &EventKind| matches!(kind, EventKind::SessionStandby { standby: false, .. });
    let taken = stage.diary.one(taken).await.at_micros;
    let suspects = stage.diary.events().into_iter();
    let suspects = suspects.filter(|event| matches!(event.kind, EventKind::CarrierSuspect { .. }));
    let last = suspects.map(|event| event.at_micros).filter(|at| *at <= taken).max().unwrap();
    println!("from the suspicion of the last carrier to another one active: {} µs", taken - last);
    assert!(taken - last < 100_000);
    stage.near.relay.door(Door::Open);
    stage.near.relay.release();
    poll_until(|| active(&stage.edge) == ["near"]).await;
    talk(&mut held).await;
    talk(&mut during).await;
    assert_eq!(stage.diary.count(|kind| matches!(kind, EventKind::SessionDown { .. })), 0);
}

#[tokio::test]
async fn an_active_one_that_drains_hands_over_at_once_and_keeps_its_streams() {
    let mut stage = Stage::new([1, 3]).await;
    let watch = Watch::one_is_active(&stage.edge);
    let mut held = stage.reaches(&stage.near).await;
    let near = stage.near.plane.clone();
    let ending = tokio::task::spawn(async move { near.shutdown(common::DEADLINE).await });
    let drains = |kind: &EventKind| matches!(kind, EventKind::SessionDraining { by_peer: true, .. });
    let begun = stage.diary.one(drains).await.at_micros;
    let taken =
        stage.diary.one(|kind| matches!(kind, EventKind::SessionStandby { standby: false, .. })).await;
    assert!(taken.at_micros - begun < 100_000);
    let _during = stage.reaches(&stage.far).await;
    talk(&mut held).await;
    assert!(!ending.is_finished(), "it waits for the stream");
    drop(held);
    within(ending).await.unwrap();
    assert_eq!(stage.diary.session_end().await, SessionEnd::PeerClosed(CloseCode::SHUTDOWN));
    watch.end();
}

#[tokio::test]
async fn one_on_standby_dies_and_comes_back_and_nothing_changes() {
    let mut stage = Stage::new([1, 3]).await;
    let (near, far) = (stage.session("near"), stage.session("far"));
    let watch = Watch::one_is_active(&stage.edge);
    for times in 1..=3 {
        stage.far.kill();
        stage.diary.many(times, |kind| matches!(kind, EventKind::SessionRecovering { .. })).await;
        stage.far.relay.door(Door::Open);
        stage.diary.many(times, |kind| matches!(kind, EventKind::SessionResumed { .. })).await;
    }
    assert!(stage.far.session().peer_standby);
    assert_eq!((stage.turns(near), stage.turns(far)), ([0, 0], [0, 1]));
    stage.reaches(&stage.near).await;
    watch.end();
}

#[tokio::test]
async fn when_all_are_lost_the_first_that_is_back_is_active() {
    let mut stage = Stage::new([1, 3]).await;
    let mut held = stage.reaches(&stage.near).await;
    stage.near.kill();
    poll_until(|| active(&stage.edge) == ["far"]).await;
    stage.far.kill();
    stage.diary.many(2, |kind| matches!(kind, EventKind::SessionRecovering { .. })).await;
    assert_eq!(active(&stage.edge).len(), 1);
    let no_path = within(stage.edge.open(OpenRequest::to_key(key("k")))).await;
    assert!(matches!(no_path, Err(OpenError::NoPath)), "{no_path:?}");
    // One that waits gets the first way there is, on probation or not.
    let near = stage.near.plane.clone();
    let taking = tokio::task::spawn(async move { near.accept().await.unwrap().accept().unwrap() });
    let waiting = OpenRequest::to_key(key("k")).wait_for_path(common::DEADLINE);
    let waiting = tokio::task::spawn({
        let edge = stage.edge.clone();
        async move { edge.open(waiting).await }
    });
    stage.near.relay.door(Door::Open);
    let mut stream = (within(waiting).await.unwrap().unwrap(), within(taking).await.unwrap());
    assert_eq!(active(&stage.edge), ["near"]);
    talk(&mut stream).await;
    talk(&mut held).await;
}

#[tokio::test]
async fn of_equal_cost_the_first_link_is_active_and_a_cost_of_either_end_counts() {
    let stage = Stage::new([2, 2]).await;
    let watch = Watch::one_is_active(&stage.edge);
    let set = async |link, cost| stage.edge.set_cost(link, Cost::new(cost).unwrap()).await.unwrap();
    let mut held = stage.reaches(&stage.near).await;
    set(stage.to_far, 1).await;
    poll_until(|| active(&stage.edge) == ["far"]).await;
    poll_until(|| stage.far.session().cost.get() == 1).await;
    set(stage.to_far, 2).await;
    poll_until(|| active(&stage.edge) == ["near"]).await;
    set(stage.to_near, 3).await;
    poll_until(|| active(&stage.edge) == ["far"]).await;
    poll_until(|| stage.near.session().cost.get() == 3).await;
    talk(&mut held).await;
    watch.end();
}

#[tokio::test]
async fn of_the_groups_of_one_link_one_is_active_in_the_order_of_the_document() {
    let ca = TestCa::new("ca");
    let (near, far) = (Interior::new("one", &ca).await, Interior::new("other", &ca).await);
    let edge = edge().await;
    let mut diary = Diary::of(&edge);
    link(&edge, &ca, "site", 1, &[&near, &far]).await;
    diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    poll_until(|| active(&edge) == ["one"]).await;
    let standby =
        |edge: &Plane| edge.status().links[0].groups.iter().map(|group| group.standby).collect::<Vec<_>>();
    assert_eq!(standby(&edge), [false, true]);
    let _held = within(pair(&edge, &near.plane, "k")).await;
    near.kill();
    poll_until(|| active(&edge) == ["other"]).await;
    assert_eq!(standby(&edge), [true, false]);
    let _during = within(pair(&edge, &far.plane, "k")).await;
    near.relay.door(Door::Open);
    poll_until(|| active(&edge) == ["one"]).await;
}

#[tokio::test]
async fn of_two_links_to_one_router_one_is_active_and_takes_what_is_opened_either_way() {
    let ca = TestCa::new("ca");
    let interior = Interior::new("one", &ca).await;
    let edge = edge().await;
    let mut diary = Diary::of(&edge);
    link(&edge, &ca, "first", 1, &[&interior]).await;
    link(&edge, &ca, "second", 1, &[&interior]).await;
    diary.many(2, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
    let open_ways = |plane: &Plane, served| {
        let candidates = plane.explain(&Destination::Key(key(served))).candidates;
        (candidates.len(), candidates.iter().filter(|candidate| candidate.why_not.is_none()).count())
    };
    poll_until(|| open_ways(&edge, "k") == (2, 1) && open_ways(&interior.plane, "e") == (2, 1)).await;
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        up.push(within(pair(&edge, &interior.plane, "k")).await);
        down.push(within(pair(&interior.plane, &edge, "e")).await);
    }
    let first = edge.status().sessions.into_iter().find(|session| !session.standby).unwrap();
    assert_eq!(first.name.as_str(), "first");
    // Both ways it is the same session.
    assert!(up.iter().all(|(near, _)| near.session() == first.session));
    assert!(down.iter().all(|(_, at_edge)| at_edge.session() == first.session));
}

#[tokio::test]
async fn both_ends_show_which_session_stands_by_and_why_nothing_is_opened_on_it() {
    let stage = Stage::new([1, 3]).await;
    let shown = |plane: &Plane| {
        plane.status().sessions.into_iter().map(|view| (view.standby, view.peer_standby)).collect::<Vec<_>>()
    };
    let to_k = Destination::Key(key("k"));
    let why = || stage.edge.explain(&to_k).candidates.iter().map(|of| of.why_not).collect::<Vec<_>>();
    // By the names of the links: far before near.
    assert_eq!(why(), [Some(WhyNot::Standby), None]);
    assert_eq!(shown(&stage.near.plane), [(false, false)]);
    assert_eq!(shown(&stage.far.plane), [(false, true)]);
    poll_until(|| stage.near.why_not().is_none() && stage.far.why_not() == Some(WhyNot::Standby)).await;
    let refused = within(stage.far.plane.open(OpenRequest::to_key(key("e")))).await;
    assert!(matches!(refused, Err(OpenError::NoPath)), "{refused:?}");

    stage.edge.set_cost(stage.to_near, Cost::new(10).unwrap()).await.unwrap();
    poll_until(|| shown(&stage.near.plane) == [(false, true)] && shown(&stage.far.plane) == [(false, false)])
        .await;
    poll_until(|| stage.far.why_not().is_none() && stage.near.why_not() == Some(WhyNot::Standby)).await;
    assert_eq!(why(), [None, Some(WhyNot::Standby)]);
    let _stream = within(pair(&stage.far.plane, &stage.edge, "e")).await;

    // What an edge serves no more goes over neither.
    stage.edge.withdraw(&key("e"));
    let to_e = Destination::Key(key("e"));
    poll_until(|| {
        stage.far.why_not() == Some(WhyNot::NotServed)
            && stage.near.plane.explain(&to_e).candidates.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_begins_on_standby_takes_no_stream_of_its_peer_from_its_first_byte_on() {
    let stage = Stage::new([1, 3]).await;
    let accepting = tokio::task::spawn({
        let edge = stage.edge.clone();
        async move { edge.accept().await.is_some() }
    });
    let way = Destination::Site("edge-id".parse().unwrap());
    poll_until(|| !stage.far.plane.has_path(&way)).await;
    let mut refusals = 0;
    let to_edge = OpenRequest::to(way.clone()).wait_for_path(common::DEADLINE);
    for times in 1..=20 {
        // It waits for the session, and so asks before it was told of standby.
        let asking = tokio::task::spawn({
            let (far, request) = (stage.far.plane.clone(), to_edge.clone());
            async move { far.open(request).await }
        });
        stage.edge.disconnect(stage.session("far")).await;
        let mut diary = stage.diary.clone();
        diary.many(2 + times, |kind| matches!(kind, EventKind::GroupUp { .. })).await;
        let told = |one: &SessionView| one.peer_standby && !stage.far.plane.has_path(&way);
        poll_until(|| matches!(&stage.far.plane.status().sessions[..], [one] if told(one))).await;
        if asking.is_finished() {
            let refused = asking.await.unwrap();
            assert!(matches!(refused, Err(OpenError::Refused(StreamCode::STANDBY))), "{refused:?}");
            refusals += 1;
        } else {
            asking.abort();
        }
    }
    println!("{refusals} of 20 asked before they were told, and were refused");
    assert!(!accepting.is_finished(), "the edge took a stream on standby");
}

/// How long one that failed has to be well before it takes the turn again; the default is 10 s.
const STABLE: Duration = Duration::from_millis(400);
