//! The ledger: what links, sessions and accesses have been through, counted from the events themselves.
//!
//! So the counts in a status and the events of a plane cannot disagree. What is counted of a link, session or access
//! is forgotten with it.

use std::collections::BTreeMap;

use crate::event::EventKind;
use crate::id::{AccessId, GroupName, LinkId, SessionNumber};
use crate::snapshot::{
    AccessHistory, CarrierEndView, EndView, FailureView, GroupHistory, PlaneStatus, RefusedView,
    SessionHistory, Ups,
};

/// The histories of a plane.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    links: BTreeMap<LinkId, LinkEntry>,
    sessions: BTreeMap<SessionNumber, SessionEntry>,
    accesses: BTreeMap<AccessId, AccessHistory>,
}

#[derive(Debug, Default)]
struct LinkEntry {
    operational: bool,
    counts: Ups,
    /// At most [`MAX_GROUPS`].
    groups: BTreeMap<GroupName, GroupHistory>,
}

#[derive(Debug, Default)]
struct SessionEntry {
    /// Where this end dialed it for.
    group: Option<(LinkId, GroupName)>,
    history: SessionHistory,
}

impl Ledger {
    /// Takes note of an event that happens now (Unix microseconds).
    pub(crate) fn handle(&mut self, now_micros: u64, event: &EventKind) {
        match event {
            EventKind::LinkConfigured { link, .. } | EventKind::LinkRefused { link: Some(link), .. } => {
                self.links.entry(*link).or_default();
            }
            EventKind::LinkRemoved { link, .. } => drop(self.links.remove(link)),
            EventKind::LinkOperational { link, operational, .. } => {
                if let Some(entry) = self.links.get_mut(link)
                    && std::mem::replace(&mut entry.operational, *operational) != *operational
                {
                    turn(&mut entry.counts, now_micros, *operational);
                }
            }
            EventKind::GroupUp { link, group, peer, .. } => {
                if let Some(history) = self.group(*link, group) {
                    turn(&mut history.counts, now_micros, true);
                    history.last_peer = Some(peer.clone());
                }
            }
            EventKind::GroupDown { link, group, .. } => {
                if let Some(history) = self.group(*link, group) {
                    turn(&mut history.counts, now_micros, false);
                }
            }
            EventKind::DialFailed { link, group, endpoint, phase, error, .. } => {
                if let Some(history) = self.group(*link, group) {
                    history.failures += 1;
                    let (endpoint, phase, error) = (endpoint.clone(), *phase, error.clone());
                    let message = error.to_string().into();
                    history.last_failure =
                        Some(FailureView { at_micros: now_micros, endpoint, phase, error, message });
                }
            }
            EventKind::DialOvertaken { link, group, .. } => {
                if let Some(history) = self.group(*link, group) {
                    history.overtaken += 1;
                }
            }
            EventKind::AccessUp { access, .. } => drop(self.accesses.entry(*access).or_default()),
            EventKind::AccessDown { access } => drop(self.accesses.remove(access)),
            EventKind::PeerRefused { access, address, phase, refusal } => {
                if let Some(history) = self.accesses.get_mut(access) {
                    *history.refused.entry(refusal.kind()).or_default() += 1;
                    let (address, phase, refusal) = (*address, *phase, refusal.clone());
                    let message = refusal.to_string().into();
                    history.last_refused =
                        Some(RefusedView { at_micros: now_micros, address, phase, refusal, message });
                }
            }
            _ => self.handle_session(now_micros, event),
        }
    }

    /// Puts the histories into a status.
    pub(crate) fn fill(&self, status: &mut PlaneStatus) {
        for view in &mut status.links {
            let Some(entry) = self.links.get(&view.link) else { continue };
            view.history = entry.counts;
            for group in &mut view.groups {
                group.history = entry.groups.get(&group.name).cloned().unwrap_or_default();
            }
        }
        for view in &mut status.sessions {
            view.history =
                self.sessions.get(&view.session).map_or_else(Default::default, |of| of.history.clone());
        }
        for view in &mut status.accesses {
            view.history = self.accesses.get(&view.access).cloned().unwrap_or_default();
        }
    }

    fn handle_session(&mut self, now_micros: u64, event: &EventKind) {
        match event {
            EventKind::SessionUp { session, link, access, group, .. } => {
                let entry = self.sessions.entry(*session).or_default();
                entry.group = link.map(|link| (link, group.clone()));
                if let Some(history) = access.and_then(|access| self.accesses.get_mut(&access)) {
                    history.accepted += 1;
                }
            }
            EventKind::SessionDown { session, end, .. } => {
                let entry = self.sessions.remove(session);
                let Some((link, group)) = entry.and_then(|entry| entry.group) else { return };
                if let Some(history) = self.group(link, &group) {
                    let (session, end, message) = (*session, end.clone(), end.to_string().into());
                    history.last_end = Some(EndView { at_micros: now_micros, session, end, message });
                }
            }
            EventKind::CarrierUp { session, .. } => {
                self.on_session(*session, |history| history.carriers_up += 1)
            }
            EventKind::CarrierDown { session, carrier, end, .. } => self.on_session(*session, |history| {
                history.carriers_down += 1;
                let (carrier, end) = (*carrier, end.clone());
                history.last_carrier_end = Some(CarrierEndView { at_micros: now_micros, carrier, end });
            }),
            EventKind::CarrierSuspect { session, .. } => {
                self.on_session(*session, |history| history.suspicions += 1)
            }
            EventKind::SessionRecovering { session, .. } => {
                self.on_session(*session, |history| history.recoveries += 1)
            }
            _ => {}
        }
    }

    fn on_session(&mut self, session: SessionNumber, note: impl FnOnce(&mut SessionHistory)) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            note(&mut entry.history);
        }
    }

    fn group(&mut self, link: LinkId, group: &GroupName) -> Option<&mut GroupHistory> {
        let groups = &mut self.links.get_mut(&link)?.groups;
        if groups.len() >= MAX_GROUPS && !groups.contains_key(group) {
            // A document whose groups are renamed again and again: the names of old are no longer asked for.
            groups.pop_first();
        }
        Some(groups.entry(group.clone()).or_default())
    }
}

fn turn(counts: &mut Ups, now_micros: u64, up: bool) {
    if up {
        counts.ups += 1;
        counts.last_up_micros = Some(now_micros);
    } else {
        counts.downs += 1;
        counts.last_down_micros = Some(now_micros);
    }
}

/// Groups of one link that are remembered: twice what one document may name, since those that leave are
/// counted beside those that come.
const MAX_GROUPS: usize = 512;

#[cfg(test)]
mod tests;
