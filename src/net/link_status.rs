//! A link's status object, from the snapshot of the plane.

use std::sync::Arc;

use crate::event::Peer;
use crate::id::LinkId;
use crate::resource::status::{LegacyStatus, LinkFacts, LinkStatus};
use crate::snapshot::{
    FailureView, GroupState, GroupView, LinkView, PlaneStatus, SessionState, SessionView, Standing,
};

impl LinkStatus {
    /// The status of one link in Skupper's own words; `None` if the snapshot has none of that id.
    #[must_use]
    pub fn of(status: &PlaneStatus, link: LinkId) -> Option<Self> {
        facts(status, link).map(|facts| Self::new(&facts))
    }
}

impl LegacyStatus {
    /// The status of one link as the form before v2alpha1 had it; `None` if the snapshot has none of that id.
    #[must_use]
    pub fn of(status: &PlaneStatus, link: LinkId) -> Option<Self> {
        facts(status, link).map(|facts| Self::new(&facts))
    }
}

fn facts(status: &PlaneStatus, link: LinkId) -> Option<LinkFacts> {
    let view = status.links.iter().find(|view| view.link == link)?;
    // Before the first session and the first failure nothing is known, which Skupper shows as an absent condition.
    let known = view.operational || !matches!(view.standing(), Standing::Unknown | Standing::Refused);
    let live = view.groups.iter().find(|group| group.state == GroupState::Up).or_else(|| view.groups.first());
    let peer = peer(status, view, live);
    let seconds = |micros: u64| i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX);
    let mut facts = LinkFacts::default();
    facts.since.configured = seconds(view.configured_since_micros);
    facts.since.operational = seconds(view.operational_since_micros);
    facts.since.ready = seconds(view.ready_since_micros);
    facts.configured = Some(view.refusal.clone().map_or(Ok(()), Err));
    let leaves = leaves_since(status, view);
    facts.operational = known.then_some(view.operational && leaves.is_none());
    facts.cause = if leaves.is_some() { Some(DRAINING.into()) } else { cause(view) };
    if let Some(since) = leaves.map(seconds) {
        facts.since.operational = since.max(facts.since.operational);
        facts.since.ready = since.max(facts.since.ready);
    }
    facts.url = live.and_then(|group| group.endpoint.clone());
    facts.remote_site_id = peer.map(|peer| peer.site_id.as_str().into());
    facts.remote_site_name = peer.map(|peer| peer.site_name.as_str().into());
    facts.generation = view.generation;
    Some(facts)
}

/// Since when, in Unix microseconds, all sessions of the link that are up have been draining: it has no path for anything
/// new. `None` if one is not, or there is none.
fn leaves_since(status: &PlaneStatus, view: &LinkView) -> Option<u64> {
    let up = view.groups.iter().filter(|group| matches!(group.state, GroupState::Up | GroupState::Suspect));
    let sessions = up.filter_map(|group| status.sessions.iter().find(|of| Some(of.session) == group.session));
    let since = |of: &SessionView| (of.state == SessionState::Draining).then_some(of.since_micros);
    let all: Option<Vec<u64>> = sessions.map(since).collect();
    all?.into_iter().max()
}

/// The router linked to; while there is none, the one that was, as Skupper keeps it.
fn peer<'a>(status: &'a PlaneStatus, view: &'a LinkView, live: Option<&'a GroupView>) -> Option<&'a Peer> {
    let session = live.and_then(|group| group.session);
    let present = status.sessions.iter().find(|of| Some(of.session) == session).map(|of| &of.peer);
    present.or_else(|| {
        let last = |group: &'a GroupView| {
            group.history.last_peer.as_ref().map(|peer| (group.history.counts.last_up_micros, peer))
        };
        view.groups.iter().filter_map(last).max_by_key(|(at, _)| *at).map(|(_, peer)| peer)
    })
}

/// The newest failure of the groups that are not up, with the endpoint it befell; where nothing has failed yet
/// since, why the last session ended.
fn cause(view: &LinkView) -> Option<Arc<str>> {
    if !view.groups.is_empty() && view.groups.iter().all(|group| group.drained) {
        return Some("drained until it is resumed".into());
    }
    let down = || view.groups.iter().filter(|group| group.error.is_some());
    let failures = down().filter_map(|group| group.history.last_failure.as_ref());
    if let Some(FailureView { endpoint, message, .. }) = failures.max_by_key(|failure| failure.at_micros) {
        return Some(format!("{endpoint}: {message}").into());
    }
    let ends = view.groups.iter().filter_map(|group| group.history.last_end.as_ref());
    ends.max_by_key(|end| end.at_micros).map(|end| Arc::clone(&end.message))
}

/// Why a link whose sessions drain is not operational, in the words of its status.
const DRAINING: &str = "draining, takes no new streams";
