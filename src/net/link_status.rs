//! A link's status object, from the snapshot of the plane.

use std::sync::Arc;

use crate::id::LinkId;
use crate::resource::status::{LinkFacts, LinkStatus};
use crate::snapshot::{GroupState, LinkView, PlaneStatus};

/// The status of one link; `None` if the snapshot has none of that id.
pub(crate) fn of(status: &PlaneStatus, link: LinkId) -> Option<LinkStatus> {
    let view = status.links.iter().find(|view| view.link == link)?;
    Some(LinkStatus::new(&facts(status, view)))
}

fn facts(status: &PlaneStatus, view: &LinkView) -> LinkFacts {
    // Before the first session and the first failure nothing is known, which Skupper shows as an absent condition.
    let known =
        view.operational || view.error.is_some() || view.groups.iter().any(|group| group.session.is_some());
    let live = view.groups.iter().find(|group| group.state == GroupState::Up).or_else(|| view.groups.first());
    let session = live.and_then(|group| group.session);
    let peer = status.sessions.iter().find(|of| Some(of.session) == session).map(|session| &session.peer);
    let seconds = |micros: u64| i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX);
    let (configured, operational) =
        (seconds(view.configured_since_micros), seconds(view.operational_since_micros));
    let mut facts = LinkFacts::default();
    facts.since.configured = configured;
    facts.since.operational = operational;
    facts.since.ready = configured.max(operational);
    facts.configured = Some(view.refusal.clone().map_or(Ok(()), Err));
    facts.operational = known.then_some(view.operational);
    facts.cause = view.error.as_ref().map(|error| cause(view, &error.to_string()));
    facts.url = live.and_then(|group| group.endpoint.clone());
    facts.remote_site_id = peer.map(|peer| peer.site_id.as_str().into());
    facts.remote_site_name = peer.map(|peer| peer.site_name.as_str().into());
    facts.generation = view.generation;
    facts
}

/// The cause with the endpoint it befell.
fn cause(view: &LinkView, error: &str) -> Arc<str> {
    let failing = view.groups.iter().find(|group| group.error.is_some());
    match failing.and_then(|group| group.endpoint.as_ref()) {
        Some(endpoint) => format!("{endpoint}: {error}").into(),
        None => error.into(),
    }
}
