//! One group, two endpoints, and the first of them dead.

use std::time::{Duration, Instant};

use sitelink::{DialError, EventKind, LinkSecrets, Manifest, Plane};

use crate::common::credentials;
use crate::common::pki::TestCa;
use crate::common::stage::Diary;
use crate::lab::{EAST_FIRST, EAST_SECOND, Lab};
use crate::{listen_in, plane_in};

/// Links west to two endpoints of one group, the first at `first`; returns how long it took and what was told.
async fn link_by_two(lab: &Lab, first: (&str, u16)) -> (Duration, Vec<EventKind>) {
    let ca = TestCa::new("ca");
    let (west, mut diary): (Plane, Diary) = plane_in(&lab.west, "west").await;
    let (east, _) = plane_in(&lab.east, "east").await;
    let port = listen_in(&lab.east, &east, &ca, &[EAST_FIRST, EAST_SECOND]).await;
    let first_port = if first.1 == 0 { port } else { first.1 };
    let text = format!(
        "apiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata: {{name: east}}\nspec:\n  endpoints:\n  \
         - {{name: inter-router, group: a, host: {}, port: \"{first_port}\"}}\n  \
         - {{name: inter-router, group: a, host: {EAST_SECOND}, port: \"{port}\"}}\n",
        first.0
    );
    let client = LinkSecrets::from(credentials("client", &ca.client("west")));
    let linking = west.clone();
    let began = Instant::now();
    lab.west
        .run(async move {
            let manifest = Manifest::parse(text, "test");
            linking.link(manifest.link("east").unwrap().clone(), client).await.unwrap();
        })
        .await;
    diary.one(|kind| matches!(kind, EventKind::GroupUp { .. })).await;
    let took = began.elapsed();
    let reached = west.status().links[0].groups[0].endpoint.clone();
    assert_eq!(reached.as_deref(), Some(&*format!("{EAST_SECOND}:{port}")));
    west.shutdown(Duration::ZERO).await;
    east.shutdown(Duration::ZERO).await;
    (took, diary.kinds())
}

/// How a link came up, in a few words. Its further carriers come later.
fn story(told: &[EventKind]) -> Vec<&'static str> {
    let operational = |kind: &EventKind| matches!(kind, EventKind::LinkOperational { operational: true, .. });
    let came_up = told.iter().position(operational).map_or(told.len(), |place| place + 1);
    told[..came_up]
        .iter()
        .filter_map(|kind| match kind {
            EventKind::LinkConfigured { .. } => Some("configured"),
            EventKind::DialFailed { error: DialError::Connect { .. }, .. } => Some("refused"),
            EventKind::DialFailed { .. } => Some("failed"),
            EventKind::DialOvertaken { .. } => Some("overtaken"),
            EventKind::SessionUp { .. } => Some("session up"),
            EventKind::CarrierUp { .. } => Some("carrier up"),
            EventKind::GroupUp { .. } => Some("group up"),
            EventKind::LinkOperational { operational: true, .. } => Some("operational"),
            _ => None,
        })
        .collect()
}

#[tokio::test]
#[ignore = "needs root: makes network namespaces"]
async fn an_endpoint_that_swallows_everything_delays_a_link_by_less_than_a_second() {
    let lab = Lab::two_paths();
    lab.swallow_first();
    let (took, told) = link_by_two(&lab, (EAST_FIRST, 0)).await;
    println!("up after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}: {told:#?}");
    // Nothing was refused: the attempt in the hole was still under way when the other had won.
    let expected = ["configured", "session up", "carrier up", "overtaken", "group up", "operational"];
    assert_eq!(story(&told), expected, "{told:#?}");
    let overtaken = told.iter().find_map(|kind| match kind {
        EventKind::DialOvertaken { endpoint, attempt, reached, after, .. } => {
            Some((endpoint.starts_with(EAST_FIRST), *attempt, *reached, *after >= STAGGER))
        }
        _ => None,
    });
    assert_eq!(overtaken, Some((true, 1, false, true)), "{told:#?}");
}

#[tokio::test]
#[ignore = "needs root: makes network namespaces"]
async fn an_endpoint_that_refuses_hands_over_to_the_next_at_once() {
    let lab = Lab::two_paths();
    let (took, told) = link_by_two(&lab, (EAST_FIRST, 1)).await;
    println!("up after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let expected = ["configured", "refused", "session up", "carrier up", "group up", "operational"];
    assert_eq!(story(&told), expected);
}

/// How long the first endpoint is tried alone.
const STAGGER: Duration = Duration::from_millis(250);
