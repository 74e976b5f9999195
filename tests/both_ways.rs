//! A session carries streams both ways, whichever side dialed it: the choice among paths is the same. Real sockets,
//! real TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks and measures with a clock")]

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::pki::TestCa;
use common::stage::{Diary, brisk, listen, pair, plane_with, poll_until};
use common::{credentials, document, key, loopback, within};
use sitelink::snapshot::WhyNot;
use sitelink::{
    Access, Cost, Destination, EventKind, Incoming, LinkId, LinkStream, Manifest, OpenError, OpenRequest,
    Plane, SessionNumber, Side,
};

/// Where so many streams go, one after the other: where open streams + cost is least, and of equals to the first.
fn split(costs: [u32; 2], streams: usize) -> [u32; 2] {
    let mut open = [0; 2];
    for _ in 0..streams {
        let best = usize::from(open[1] + costs[1] < open[0] + costs[0]);
        open[best] += 1;
    }
    open
}

async fn link(from: &Plane, ca: &TestCa, name: &str, cost: u32, to: &Access) -> LinkId {
    let text = document(name, "127.0.0.1", to.address().port());
    let text = text.replace("spec:\n", &format!("spec:\n  cost: {cost}\n"));
    let client = credentials("client", &ca.client("client"));
    let mut diary = Diary::of(from);
    let link = from.link(Manifest::parse(text, "test").link(name).unwrap().clone(), client).await.unwrap();
    diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    link
}

/// Waits until a key can be reached over so many sessions, and gives them in the order that decides between equals.
async fn ways(plane: &Plane, served: &str, count: usize) -> Vec<SessionNumber> {
    let destination = Destination::Key(key(served));
    let open = || plane.explain(&destination).candidates.into_iter().filter(|of| of.why_not.is_none());
    poll_until(|| open().count() == count).await;
    open().map(|candidate| candidate.session).collect()
}

/// Opens a stream, and takes it wherever it comes.
async fn open_to(from: &Plane, takers: [&Plane; 2], served: &str) -> (LinkStream, LinkStream) {
    let opening = tokio::task::spawn({
        let from = from.clone();
        let request = OpenRequest::to_key(key(served));
        async move { from.open(request).await }
    });
    let [one, other] = takers;
    let incoming: Option<Incoming> = within(async {
        tokio::select! {
            incoming = one.accept() => incoming,
            incoming = other.accept() => incoming,
        }
    })
    .await;
    let far = incoming.unwrap().accept().unwrap();
    (within(opening).await.unwrap().unwrap(), far)
}

/// How many streams of one end are on each of two sessions.
fn count<'a>(streams: impl Iterator<Item = &'a LinkStream>, ways: &[SessionNumber]) -> [u32; 2] {
    let mut counted: BTreeMap<SessionNumber, u32> = BTreeMap::new();
    streams.for_each(|stream| *counted.entry(stream.session()).or_default() += 1);
    [0, 1].map(|way| counted.get(&ways[way]).copied().unwrap_or_default())
}

async fn talk((near, far): &mut (LinkStream, LinkStream)) {
    near.send(Bytes::from_static(b"still here")).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"still here"[..]));
}

#[tokio::test]
async fn over_sessions_that_others_dialed_streams_split_by_the_rule_and_a_withdrawn_key_takes_no_more() {
    let ca = TestCa::new("ca");
    let hub = plane_with("hub", brisk()).await;
    let (one, other) = (plane_with("one", brisk()).await, plane_with("other", brisk()).await);
    let access = listen(&hub, loopback(), &ca).await;
    link(&one, &ca, "a", 1, &access).await;
    let to_other = link(&other, &ca, "b", 3, &access).await;
    for plane in [&one, &other] {
        plane.serve(&key("k")).unwrap();
    }
    let found = ways(&hub, "k", 2).await;
    assert!(hub.status().sessions.iter().all(|session| session.side == Side::Acceptor));
    let mut streams = Vec::new();
    for _ in 0..60 {
        streams.push(open_to(&hub, [&one, &other], "k").await);
    }
    assert_eq!(split([1, 3], 60), [31, 29]);
    assert_eq!(count(streams.iter().map(|(near, _)| near), &found), [31, 29]);

    // The dialer's cost counts at the end that accepted.
    other.set_cost(to_other, Cost::new(20).unwrap()).await.unwrap();
    poll_until(|| hub.explain(&Destination::Key(key("k"))).candidates[1].score == 29 + 20).await;
    for _ in 0..10 {
        streams.push(open_to(&hub, [&one, &other], "k").await);
    }
    assert_eq!(count(streams.iter().map(|(near, _)| near), &found), [41, 29]);

    one.withdraw(&key("k"));
    assert_eq!(ways(&hub, "k", 1).await, [found[1]]);
    assert_eq!(hub.explain(&Destination::Key(key("k"))).candidates[0].why_not, Some(WhyNot::NotServed));
    for _ in 0..5 {
        streams.push(within(pair(&hub, &other, "k")).await);
    }
    assert_eq!(count(streams.iter().map(|(near, _)| near), &found), [41, 34]);
    for stream in &mut streams {
        talk(stream).await;
    }
    other.withdraw(&key("k"));
    poll_until(|| !hub.has_path(&Destination::Key(key("k")))).await;
    let refused = within(hub.open(OpenRequest::to_key(key("k")))).await;
    assert!(matches!(refused, Err(OpenError::NoPath)), "{refused:?}");
    // Once the last stream is over, nothing is remembered of it.
    drop(streams);
    poll_until(|| hub.explain(&Destination::Key(key("k"))).candidates.is_empty()).await;
}

#[tokio::test]
async fn a_link_that_both_sides_dial_is_two_ways_and_each_end_splits_over_both() {
    let ca = TestCa::new("ca");
    let (west, east) = (plane_with("west", brisk()).await, plane_with("east", brisk()).await);
    let (at_west, at_east) = (listen(&west, loopback(), &ca).await, listen(&east, loopback(), &ca).await);
    link(&west, &ca, "to-east", 1, &at_east).await;
    link(&east, &ca, "to-west", 3, &at_west).await;
    west.serve(&key("w")).unwrap();
    east.serve(&key("e")).unwrap();
    for (from, to, served) in [(&west, &east, "e"), (&east, &west, "w")] {
        let found = ways(from, served, 2).await;
        let sides = found.iter().map(|number| {
            let sessions = from.status().sessions;
            let session = sessions.iter().find(|session| session.session == *number).unwrap();
            (session.name.as_str().to_owned(), session.cost.get())
        });
        assert_eq!(sides.collect::<Vec<_>>(), [("to-east".to_owned(), 1), ("to-west".to_owned(), 3)]);
        let mut streams = Vec::new();
        for _ in 0..31 {
            streams.push(within(pair(from, to, served)).await);
        }
        assert_eq!(count(streams.iter().map(|(near, _)| near), &found), split([1, 3], 31));
        for stream in &mut streams {
            talk(stream).await;
        }
    }
}
