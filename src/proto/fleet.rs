//! The fleet: what to dial, who may link, what is up.
//!
//! One per plane. It decides and never touches a byte: sessions move bytes and tell it facts. This file holds the
//! links and their dialing; `fleet/sessions.rs` what becomes of sessions, dialed and accepted.

mod sessions;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::error::{DialError, SessionEnd, Violation};
use crate::event::EventKind;
use crate::id::{AccessId, Cost, GroupName, LinkId, LinkRole, SessionNumber};
use crate::proto::dial::{AttemptId, Purpose};
use crate::proto::facts::{DialOrder, DialedFacts, FleetAction, FleetConfig, Verdict};
use crate::proto::group::{Group, Orders, Step};
use crate::proto::link::{Link, LinkWanted, News};
use crate::proto::paths::PathChange;
use crate::proto::roster::{Beginning, Origin, Roster};
use crate::snapshot::{AccessView, PlaneStatus};
use crate::wire::code::CloseCode;
use crate::wire::frame::CloseScope;
use crate::wire::hello::SessionClaim;

/// All links, accesses and sessions of a plane.
///
/// After every input the caller empties [`Fleet::poll_action`] and [`Fleet::poll_event`]; between two inputs they
/// hold at most what one input caused.
#[derive(Debug)]
pub(crate) struct Fleet {
    config: FleetConfig,
    links: BTreeMap<LinkId, Link>,
    accesses: BTreeMap<AccessId, Access>,
    roster: Roster,
    /// The attempts whose answer still counts.
    attempts: HashMap<AttemptId, Attempt>,
    orders: Orders,
    /// Nobody new is let in; sessions drain until then.
    closing: Option<Instant>,
    actions: VecDeque<FleetAction>,
    events: VecDeque<EventKind>,
}

#[derive(Debug)]
struct Attempt {
    link: LinkId,
    group: GroupName,
    purpose: Purpose,
}

#[derive(Debug)]
struct Access {
    address: SocketAddr,
    role: LinkRole,
    since: Instant,
}

impl Fleet {
    /// An empty fleet. The seed decides all jitter.
    pub(crate) fn new(config: FleetConfig, seed: u64) -> Self {
        Self {
            config,
            links: BTreeMap::new(),
            accesses: BTreeMap::new(),
            roster: Roster::default(),
            attempts: HashMap::new(),
            orders: Orders::new(seed),
            closing: None,
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Adds a link, or changes it by the smallest change that does it: a cost touches no connection, endpoints touch
    /// only the groups that came or went, credentials are used by the next dial. One that was given up stays so.
    pub(crate) fn handle_link(&mut self, now: Instant, link: LinkId, wanted: LinkWanted) {
        if self.closing.is_some() {
            return;
        }
        match self.links.get_mut(&link) {
            Some(known) if known.leaving => return,
            Some(known) if known.wanted == wanted => return,
            Some(known) => {
                let before = std::mem::replace(&mut known.wanted, wanted);
                self.apply_change(now, link, &before);
            }
            None => {
                self.links.insert(link, Link::new(now, link, wanted));
                self.announce_configured(link);
                self.regroup(now, link);
            }
        }
        self.announce(now, link);
    }

    /// Whether a link is one of this fleet.
    pub(crate) fn has_link(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Changes this end's cost of a link, as a changed document would.
    pub(crate) fn handle_cost(&mut self, now: Instant, link: LinkId, cost: Cost) {
        let Some(known) = self.links.get(&link) else { return };
        let wanted = LinkWanted { cost, ..known.wanted.clone() };
        self.handle_link(now, link, wanted);
    }

    /// Gives a link up: its sessions drain, and are ended when the grace is over. Nothing is begun any more.
    pub(crate) fn handle_unlink(&mut self, now: Instant, link: LinkId, grace: Duration) {
        self.leave(now, link, now + grace, CloseCode::DISCONNECTED);
    }

    /// An attempt has ended, one way or the other. Of an attempt that was given up nothing changes.
    ///
    /// The verdict on an error is `Close` and means nothing, there being no connection.
    pub(crate) fn handle_dialed(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        result: Result<DialedFacts, DialError>,
    ) -> Verdict {
        let Some(of) = self.attempts.remove(&attempt) else {
            return result.map_or_else(
                |_| close(CloseScope::Carrier, CloseCode::NORMAL, "no carrier"),
                |facts| stale(&facts),
            );
        };
        let scope = match of.purpose {
            Purpose::Begin => CloseScope::Session,
            Purpose::Join { .. } => CloseScope::Carrier,
        };
        let outcome = match (result, of.purpose) {
            (Err(error), _) => Err((error, CloseCode::NORMAL)),
            (Ok(facts), Purpose::Begin) => self.dialed_begin(now, &of, &facts),
            (Ok(facts), Purpose::Join { session }) => self.dialed_join(now, session, &facts),
        };
        outcome.unwrap_or_else(|(error, code)| {
            let detail = error.to_string();
            self.with_group(now, of.link, &of.group, |group, orders| {
                group.handle_failed(now, attempt, error, orders)
            });
            self.announce(now, of.link);
            close(scope, code, &detail)
        })
    }

    /// An access listens.
    pub(crate) fn handle_access_up(
        &mut self,
        now: Instant,
        access: AccessId,
        address: SocketAddr,
        role: LinkRole,
    ) {
        if self
            .accesses
            .insert(
                access,
                Access {
                    address,
                    role,
                    since: now,
                },
            )
            .is_none()
        {
            self.events.push_back(EventKind::AccessUp {
                access,
                address,
                role,
            });
        }
    }

    /// An access listens no more. Its sessions go on.
    pub(crate) fn handle_access_down(&mut self, access: AccessId) {
        if self.accesses.remove(&access).is_some() {
            self.events.push_back(EventKind::AccessDown { access });
        }
    }

    /// The plane shuts down: every link is given up, every session drains and is ended when the grace is over;
    /// nobody new is let in.
    pub(crate) fn handle_shutdown(&mut self, now: Instant, grace: Duration) {
        let until = now + grace;
        self.closing = Some(self.closing.map_or(until, |before| before.min(until)));
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.leave(now, link, until, CloseCode::SHUTDOWN);
        }
        for session in self.roster.numbers() {
            self.drain(now, session, until, CloseCode::SHUTDOWN);
        }
    }

    /// Time has passed: what was waited for is dialed, what drained too long is ended.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for (link, group) in self.group_names() {
            self.with_group(now, link, &group, |group, orders| {
                group.handle_timeout(now, orders)
            });
        }
        for session in self.roster.numbers() {
            let drain = self.roster.member(session).and_then(|member| member.drain);
            if let Some((_, code)) = drain.filter(|(until, _)| *until <= now) {
                self.end_session(now, session, SessionEnd::Closed(code), code);
            }
        }
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.announce(now, link);
        }
    }

    /// When [`Fleet::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let groups = self.links.values().flat_map(|link| link.groups.iter());
        groups
            .filter_map(Group::poll_timeout)
            .chain(self.roster.poll_timeout())
            .min()
    }

    /// What is to be done next.
    pub(crate) fn poll_action(&mut self) -> Option<FleetAction> {
        self.actions.pop_front()
    }

    /// What has happened.
    pub(crate) fn poll_event(&mut self) -> Option<EventKind> {
        self.events.pop_front()
    }

    /// Whether no link and no session is left: a shutdown is complete.
    pub(crate) fn is_idle(&self) -> bool {
        self.links.is_empty() && self.roster.members().next().is_none()
    }

    /// What the fleet knows. `now_micros` is the wall clock at `now`, in Unix microseconds. Traffic and round trips
    /// of sessions and carriers, and a session's streams, are left at nothing for the caller to fill.
    pub(crate) fn snapshot(&self, now: Instant, now_micros: u64, as_of: u64) -> PlaneStatus {
        let micros = |at: Instant| {
            let since = |later: Instant, earlier: Instant| {
                u64::try_from(later.saturating_duration_since(earlier).as_micros()).unwrap_or(u64::MAX)
            };
            now_micros
                .saturating_sub(since(now, at))
                .saturating_add(since(at, now))
        };
        let sessions_of = |access| {
            self.roster
                .accepted()
                .filter(|member| member.access() == Some(access))
                .count()
        };
        PlaneStatus {
            as_of,
            links: self.links.values().map(|link| link.view(now, &micros)).collect(),
            sessions: self.roster.members().map(|member| member.view(&micros)).collect(),
            accesses: self
                .accesses
                .iter()
                .map(|(id, access)| AccessView {
                    access: *id,
                    address: access.address,
                    role: access.role,
                    since_micros: micros(access.since),
                    sessions: sessions_of(*id),
                })
                .collect(),
        }
    }

    /// An attempt to begin has reached a router that greets.
    fn dialed_begin(
        &mut self,
        now: Instant,
        of: &Attempt,
        facts: &DialedFacts,
    ) -> Result<Verdict, (DialError, CloseCode)> {
        let hello = &*facts.hello;
        let SessionClaim::Begun { session: id, .. } = hello.session else {
            return Err((DialError::Violation(Violation::BadHello), CloseCode::BAD_HELLO));
        };
        if hello.instance == self.config.local.instance {
            let code = CloseCode::SELF_LINK;
            return Err((
                DialError::Closed {
                    code,
                    detail: "this very router".into(),
                    retry_after: None,
                },
                code,
            ));
        }
        if let Some(other) = self.duplicate_of(of.link, &of.group, facts) {
            return Err((DialError::Duplicate { of: other }, CloseCode::DUPLICATE));
        }
        let Some(link) = self.links.get(&of.link) else {
            return Ok(stale(facts));
        };
        let member = self.roster.insert(
            now,
            Beginning {
                id,
                origin: Origin::Dialed { link: of.link },
                name: link.wanted.name.clone(),
                group: of.group.clone(),
                hello,
                principal: facts.principal.clone(),
                own_cost: link.wanted.cost,
                resume_window: self.config.resume_window,
            },
        );
        let session = member.number;
        member.join(now, hello.carrier, facts.local, facts.remote);
        self.announce_begun(session, hello.carrier);
        self.with_group(now, of.link, &of.group, |group, orders| {
            group.handle_begun(now, session, orders)
        });
        self.announce(now, of.link);
        Ok(Verdict::Begin { session })
    }

    /// The group of the link that holds a session with the router this one has reached.
    fn duplicate_of(&self, link: LinkId, group: &GroupName, facts: &DialedFacts) -> Option<GroupName> {
        let same = |session: SessionNumber| {
            let member = self.roster.member(session);
            member.is_some_and(|member| !member.ending && member.peer.instance == facts.hello.instance)
        };
        let others = self
            .links
            .get(&link)?
            .groups
            .iter()
            .filter(|other| other.name() != group);
        others
            .filter(|other| other.session().is_some_and(same))
            .map(|other| other.name().clone())
            .next()
    }

    fn apply_change(&mut self, now: Instant, link: LinkId, before: &LinkWanted) {
        let Some(known) = self.links.get(&link) else {
            return;
        };
        let wanted = known.wanted.clone();
        let changes = before.changes(&wanted);
        if before.usable == wanted.usable {
            let names = changes.names();
            if !names.is_empty() {
                self.events.push_back(EventKind::LinkChanged {
                    link,
                    name: wanted.name.clone(),
                    changes: names,
                });
            }
        } else {
            self.announce_configured(link);
        }
        if changes.cost {
            for session in self.roster.of_link(link) {
                self.set_own_cost(session, wanted.cost);
            }
        }
        self.regroup(now, link);
        if changes.credentials {
            for (name, _) in &wanted.groups {
                self.with_group(now, link, name, |group, orders| group.nudge(now, orders));
            }
        }
    }

    /// Makes the groups fit the document: new ones are dialed, gone ones drain, the others learn their endpoints.
    fn regroup(&mut self, now: Instant, link: LinkId) {
        let Some(known) = self.links.get_mut(&link) else {
            return;
        };
        for (name, targets) in known.wanted.groups.clone() {
            if known.group_mut(&name).is_none() {
                known
                    .groups
                    .push(Group::new(now, name, targets, self.config.backoff));
            }
        }
        let wanted = known.wanted.groups.clone();
        let all: Vec<_> = known
            .groups
            .iter()
            .map(|group| (group.name().clone(), known.wish(group.name())))
            .collect();
        for (name, wish) in all {
            let targets = wanted
                .iter()
                .find(|(listed, _)| *listed == name)
                .map(|(_, targets)| targets.clone());
            let listed = targets.is_some();
            let session = self.with_group(now, link, &name, |group, orders| {
                if let Some(targets) = targets {
                    group.handle_targets(now, targets, orders);
                }
                group.handle_wish(now, wish, orders);
                group.session()
            });
            if let (false, Some(session)) = (listed, session.flatten()) {
                self.drain(
                    now,
                    session,
                    now + self.config.regroup_grace,
                    CloseCode::DISCONNECTED,
                );
            }
        }
        if let Some(known) = self.links.get_mut(&link) {
            known.sort();
        }
    }

    /// Gives a link up by `until`.
    fn leave(&mut self, now: Instant, link: LinkId, until: Instant, code: CloseCode) {
        let Some(known) = self.links.get_mut(&link) else {
            return;
        };
        known.leaving = true;
        self.regroup(now, link);
        for session in self.roster.of_link(link) {
            self.drain(now, session, until, code);
        }
        self.announce(now, link);
    }

    /// Lets `input` work on a group and carries out what the group asks for.
    fn with_group<T>(
        &mut self,
        now: Instant,
        link: LinkId,
        name: &GroupName,
        input: impl FnOnce(&mut Group, &mut Orders) -> T,
    ) -> Option<T> {
        let known = self.links.get_mut(&link)?;
        let (link_name, cost) = (known.wanted.name.clone(), known.wanted.cost);
        let group = known.group_mut(name)?;
        let output = input(group, &mut self.orders);
        for step in std::mem::take(&mut self.orders.steps) {
            match step {
                Step::Dial {
                    attempt,
                    target,
                    purpose,
                } => {
                    self.attempts.insert(
                        attempt,
                        Attempt {
                            link,
                            group: name.clone(),
                            purpose,
                        },
                    );
                    let (name, group) = (link_name.clone(), name.clone());
                    let order = DialOrder {
                        attempt,
                        link,
                        name,
                        group,
                        cost,
                        target,
                        purpose,
                    };
                    self.actions.push_back(FleetAction::Dial(order));
                }
                Step::Cancel { attempt } => {
                    self.attempts.remove(&attempt);
                    self.actions.push_back(FleetAction::Cancel { attempt });
                }
                Step::End { session, end, code } => self.orphan(now, session, end, code),
                Step::Failed {
                    target,
                    attempt,
                    error,
                    wait,
                } => {
                    self.events.push_back(EventKind::DialFailed {
                        link,
                        name: link_name.clone(),
                        group: name.clone(),
                        endpoint: target.to_string().into(),
                        attempt,
                        phase: error.phase(),
                        error,
                        next_attempt_in: wait,
                    });
                }
            }
        }
        Some(output)
    }

    fn announce_configured(&mut self, link: LinkId) {
        let Some(known) = self.links.get(&link) else {
            return;
        };
        let name = known.wanted.name.clone();
        self.events.push_back(match &known.wanted.usable {
            Ok(()) => EventKind::LinkConfigured {
                link,
                name,
                groups: known.wanted.group_names(),
                cost: known.wanted.cost,
            },
            Err(message) => EventKind::LinkRefused {
                link: Some(link),
                name,
                message: message.clone(),
            },
        });
    }

    /// Announces what has become of a link's groups, wakes the duplicates of those that lost their session, and
    /// forgets the link when it was given up and nothing of it is left.
    fn announce(&mut self, now: Instant, link: LinkId) {
        let Some(known) = self.links.get_mut(&link) else {
            return;
        };
        known.sort();
        let news = known.news(now);
        let name = known.wanted.name.clone();
        let held = |of: &GroupName| {
            known
                .groups
                .iter()
                .any(|group| group.name() == of && group.session().is_some())
        };
        let waiting = known
            .groups
            .iter()
            .filter(|group| group.duplicate_of().is_some_and(|of| !held(of)));
        let freed: Vec<GroupName> = waiting.map(|group| group.name().clone()).collect();
        let leaving = known.leaving;
        for item in news {
            let event = match item {
                News::GroupDown { group, session } => EventKind::GroupDown { link, group, session },
                News::GroupUp { group, session } => {
                    let Some(member) = self.roster.member(session) else {
                        continue;
                    };
                    EventKind::GroupUp {
                        link,
                        group,
                        session,
                        peer: member.peer.clone(),
                    }
                }
                News::Operational { groups_up, groups } => EventKind::LinkOperational {
                    link,
                    name: name.clone(),
                    operational: groups_up > 0,
                    groups_up,
                    groups,
                },
            };
            self.events.push_back(event);
        }
        for group in freed {
            self.with_group(now, link, &group, |group, orders| group.nudge(now, orders));
        }
        if leaving && self.roster.of_link(link).is_empty() {
            self.links.remove(&link);
            self.events.push_back(EventKind::LinkRemoved { link, name });
        }
    }

    fn group_names(&self) -> Vec<(LinkId, GroupName)> {
        let of = |link: &Link| {
            link.groups
                .iter()
                .map(|group| (link.id, group.name().clone()))
                .collect::<Vec<_>>()
        };
        self.links.values().flat_map(of).collect()
    }

    fn path(&mut self, change: PathChange) {
        self.actions.push_back(FleetAction::Path(change));
    }
}

/// The answer to an attempt that was given up: what the peer began for it is over before it was.
fn stale(facts: &DialedFacts) -> Verdict {
    let scope = match facts.hello.session {
        SessionClaim::Begun { .. } => CloseScope::Session,
        _ => CloseScope::Carrier,
    };
    close(scope, CloseCode::NORMAL, "given up")
}

fn close(scope: CloseScope, code: CloseCode, detail: &str) -> Verdict {
    Verdict::Close {
        scope,
        code,
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests {}
