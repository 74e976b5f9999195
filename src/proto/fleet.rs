//! The fleet: what to dial, who may link, what is up.
//!
//! One per plane. It decides and never touches a byte: sessions move bytes and tell it facts. This file holds the
//! dialing and the clock; `draining.rs` what an operator lets go of, `links.rs` has what becomes of links, `moving.rs` carriers that are to be replaced, `sessions.rs` what becomes of
//! sessions, dialed and accepted, `trusting.rs` who may stay and serve, `uplinks.rs` which of them is the active one of an edge plane.

mod draining;
mod links;
mod moving;
mod sessions;
mod trusting;
mod uplinks;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::error::{DialError, SessionEnd, Violation};
use crate::event::EventKind;
use crate::id::{AccessId, Cost, GroupName, LinkId, LinkRole, Ordinal, SessionNumber};
use crate::proto::carrier::Made;
use crate::proto::dial::{AttemptId, Purpose, Target};
use crate::proto::facts::{DialOrder, DialedFacts, FleetAction, FleetConfig, Local, Verdict};
use crate::proto::fleet::moving::Rotation;
use crate::proto::group::Group;
use crate::proto::later::later;
use crate::proto::link::Link;
use crate::proto::orders::{Orders, Step};
use crate::proto::paths::PathChange;
use crate::proto::registry;
use crate::proto::roster::{Beginning, Member, Origin, Roster};
use crate::proto::trust::{Door, Trust};
use crate::proto::uplink::Uplinks;
use crate::snapshot::{
    AccessHistory, AccessView, EventCounts, LinkView, OpenCounts, PlaneStatus, RouterView,
};
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
    trust: Trust,
    uplinks: Uplinks,
    /// Those that are not complete, by whose credentials they are.
    rotations: BTreeMap<Door, Rotation>,
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
    target: Target,
    purpose: Purpose,
    /// What the hello said of this end's cost.
    cost: Cost,
    /// The rotation of the credentials it uses. One that is under way when they are rotated is given up.
    ordinal: Ordinal,
}

#[derive(Debug)]
struct Access {
    address: SocketAddr,
    role: LinkRole,
    /// What links through it cost at least, if that was changed.
    cost: Option<Cost>,
    /// The newest rotation of its credentials that was told of.
    ordinal: Ordinal,
    since: Instant,
}

impl Fleet {
    /// An empty fleet. The seed decides all jitter.
    pub(crate) fn new(config: FleetConfig, seed: u64) -> Self {
        Self {
            uplinks: Uplinks::new(config.backoff.stable_after),
            config,
            links: BTreeMap::new(),
            accesses: BTreeMap::new(),
            roster: Roster::default(),
            trust: Trust::default(),
            rotations: BTreeMap::new(),
            attempts: HashMap::new(),
            orders: Orders::new(seed),
            closing: None,
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// An attempt has got through TLS, and waits to be told to greet. Of one that was given up nothing changes.
    pub(crate) fn handle_reached(&mut self, now: Instant, attempt: AttemptId) {
        if let Some(of) = self.attempts.get(&attempt) {
            let (link, group) = (of.link, of.group.clone());
            self.with_group(now, link, &group, |group, orders| group.handle_reached(now, attempt, orders));
        }
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
        let verdict = self.dialed(now, attempt, result);
        self.settle(now);
        verdict
    }

    fn dialed(
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
            (Ok(facts), Purpose::Begin) => self.dialed_begin(now, attempt, &of, &facts),
            (Ok(facts), Purpose::Join { session }) => {
                let made = Made::dialed(&facts, of.ordinal, of.target.clone());
                self.dialed_join(now, attempt, session, (&facts, made))
            }
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

    /// Tells something that belongs before what the next call brings about.
    pub(crate) fn tell(&mut self, event: Option<EventKind>) {
        self.events.extend(event);
    }

    /// An access listens.
    pub(crate) fn handle_access_up(
        &mut self,
        now: Instant,
        access: AccessId,
        address: SocketAddr,
        role: LinkRole,
    ) {
        let listening = Access { address, role, cost: None, ordinal: Ordinal(0), since: now };
        if self.accesses.insert(access, listening).is_none() {
            self.events.push_back(EventKind::AccessUp { access, address, role });
        }
    }

    /// What links through an access cost at least is another: those that came through it, and those that come.
    pub(crate) fn handle_access_cost(&mut self, now: Instant, access: AccessId, cost: Cost) {
        if let Some(known) = self.accesses.get_mut(&access) {
            known.cost = Some(cost);
            for session in self.roster.numbers() {
                if self.roster.member(session).is_some_and(|member| member.access() == Some(access)) {
                    self.set_own_cost(session, cost);
                }
            }
            self.settle(now);
        }
    }

    /// An access listens no more. Its sessions go on.
    pub(crate) fn handle_access_down(&mut self, access: AccessId) {
        if self.accesses.remove(&access).is_some() {
            // Nobody would wait for the end of a rotation of what is not there.
            self.rotations.remove(&Door::Access(access));
            self.events.push_back(EventKind::AccessDown { access });
            self.forget_doors();
        }
    }

    /// The plane shuts down: every link is given up, every session drains and is ended when the grace is over;
    /// nobody new is let in.
    pub(crate) fn handle_shutdown(&mut self, now: Instant, grace: Duration) {
        let until = later(now, grace);
        self.closing = Some(self.closing.map_or(until, |before| before.min(until)));
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.leave(now, link, until, CloseCode::SHUTDOWN);
        }
        for session in self.roster.numbers() {
            self.drain(now, session, until, CloseCode::SHUTDOWN);
        }
        self.settle(now);
    }

    /// Time has passed: what was waited for is dialed, what drained too long is ended.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for (link, group) in self.group_names() {
            self.with_group(now, link, &group, |group, orders| group.handle_timeout(now, orders));
        }
        for session in self.roster.numbers() {
            self.close_due(now, session);
            let drain = self.roster.member(session).and_then(|member| member.drain);
            if let Some((_, code)) = drain.filter(|(until, _)| *until <= now) {
                self.end_session(now, session, SessionEnd::Closed(code), code);
            }
        }
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.announce(now, link);
        }
        self.settle(now);
    }

    /// When [`Fleet::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let groups = self.links.values().flat_map(|link| link.groups.iter());
        let others = [self.roster.poll_timeout(), self.rotations_due(), self.uplinks_due()];
        groups.filter_map(Group::poll_timeout).chain(others.into_iter().flatten()).min()
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

    /// What the fleet knows. `now_micros` is the wall clock at `now`, in Unix microseconds. What sessions, paths, the
    /// ledger and the event stream know is left at nothing for the caller to fill.
    pub(crate) fn snapshot(&self, now: Instant, now_micros: u64, as_of: u64) -> PlaneStatus {
        let micros = |at: Instant| {
            let since = |later: Instant, earlier: Instant| {
                u64::try_from(later.saturating_duration_since(earlier).as_micros()).unwrap_or(u64::MAX)
            };
            now_micros.saturating_sub(since(now, at)).saturating_add(since(at, now))
        };
        let stands_by = |session| self.roster.member(session).is_some_and(|member| member.standby);
        let sessions_of =
            |access| self.roster.accepted().filter(|member| member.access() == Some(access)).count();
        let Local { site_id, site_name, router, instance, role } = self.config.local.clone();
        PlaneStatus {
            as_of,
            at_micros: now_micros,
            router: RouterView::new(site_id, site_name, router, instance, role),
            links: self
                .links
                .values()
                .map(|link| {
                    let rotation = self.rotation_view(Door::Link(link.id), &micros);
                    let mut view = LinkView { rotation, ..link.view(now, &micros, &stands_by) };
                    for group in &mut view.groups {
                        let member = group.session.and_then(|session| self.roster.member(session));
                        // What carries tells more than what is dialed beside it.
                        if let Some(target) = member.and_then(Member::endpoint) {
                            group.endpoint = Some(target.to_string().into());
                        }
                    }
                    view
                })
                .collect(),
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
                    history: AccessHistory::default(),
                    credentials: None,
                    rotation: self.rotation_view(Door::Access(*id), &micros),
                })
                .collect(),
            paths: Vec::new(),
            paths_left_out: 0,
            opens: OpenCounts::default(),
            events: EventCounts::default(),
        }
    }

    /// An attempt to begin has reached a router that greets.
    fn dialed_begin(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        of: &Attempt,
        facts: &DialedFacts,
    ) -> Result<Verdict, (DialError, CloseCode)> {
        let hello = &*facts.hello;
        let SessionClaim::Begun { session: id, .. } = hello.session else {
            return Err((DialError::Violation(Violation::BadHello), CloseCode::BAD_HELLO));
        };
        self.admits_dialed(Door::Link(of.link), facts)?;
        if hello.instance == self.config.local.instance {
            let code = CloseCode::SELF_LINK;
            return Err((
                DialError::Closed { code, detail: "this very router".into(), retry_after: None },
                code,
            ));
        }
        if let Some(other) = self.duplicate_of(of.link, &of.group, facts) {
            return Err((DialError::Duplicate { of: other }, CloseCode::DUPLICATE));
        }
        if !self.has_link(of.link) {
            return Ok(stale(facts));
        }
        for squatter in registry::squatters(&self.roster, &hello.site_id) {
            self.end_session(now, squatter.session, squatter.end, squatter.code);
        }
        let Some(link) = self.links.get(&of.link) else {
            return Ok(stale(facts));
        };
        let member = self.roster.insert(
            now,
            Beginning {
                id,
                origin: Origin::Dialed { link: of.link },
                // As the peer knows it, so that both ends speak of the same link.
                name: link.wanted.qualified_name(),
                group: of.group.clone(),
                hello,
                principal: facts.principal.clone(),
                own_cost: link.wanted.cost,
                resume_window: self.config.resume_window,
                standby: self.is_edge(),
            },
        );
        let (session, cost) = (member.number, link.wanted.cost);
        member.join(now, hello.carrier, Made::dialed(facts, of.ordinal, of.target.clone()));
        self.announce_begun(session, hello.carrier);
        if of.cost != cost {
            // It was changed while the hello was under way.
            self.actions.push_back(FleetAction::SetCost { session, cost });
        }
        self.with_group(now, of.link, &of.group, |group, orders| {
            group.handle_begun(now, attempt, session, orders)
        });
        self.announce(now, of.link);
        Ok(Verdict::Begin { session })
    }

    /// The group of the link that holds a session with the router this one has reached.
    fn duplicate_of(&self, link: LinkId, group: &GroupName, facts: &DialedFacts) -> Option<GroupName> {
        let same = |session: SessionNumber| {
            let member = self.roster.member(session);
            // One that drains is on its way out, and stands beside what comes.
            let stays = |member: &&Member| !member.ending && member.drain.is_none();
            member.filter(stays).is_some_and(|member| member.peer.instance == facts.hello.instance)
        };
        let others = self.links.get(&link)?.groups.iter().filter(|other| other.name() != group);
        others.filter(|other| other.session().is_some_and(same)).map(|other| other.name().clone()).next()
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
        let (hello_name, ordinal) = (known.wanted.qualified_name(), known.ordinal());
        let group = known.group_mut(name)?;
        let output = input(group, &mut self.orders);
        for step in std::mem::take(&mut self.orders.steps) {
            match step {
                Step::Dial { attempt, target, purpose } => {
                    let (name, group) = (hello_name.clone(), name.clone());
                    let of = Attempt {
                        link,
                        group: group.clone(),
                        target: target.clone(),
                        purpose,
                        cost,
                        ordinal,
                    };
                    self.attempts.insert(attempt, of);
                    let order = DialOrder { attempt, link, name, group, cost, target, purpose };
                    self.actions.push_back(FleetAction::Dial(order));
                }
                Step::Greet { attempt } => self.actions.push_back(FleetAction::Greet { attempt }),
                Step::Cancel { attempt } => {
                    self.attempts.remove(&attempt);
                    self.actions.push_back(FleetAction::Cancel { attempt });
                }
                Step::Overtaken { target, attempt, reached, by, after } => {
                    self.events.push_back(EventKind::DialOvertaken {
                        link,
                        name: link_name.clone(),
                        group: name.clone(),
                        endpoint: target.to_string().into(),
                        attempt,
                        reached,
                        by: by.to_string().into(),
                        after,
                    });
                }
                Step::End { session, end, code } => self.orphan(now, session, end, code),
                Step::Succeed { session } => {
                    self.drain(now, session, later(now, self.config.regroup_grace), CloseCode::REPLACED);
                }
                Step::Failed { target, attempt, error, wait } => {
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

    /// Ends every input that may have changed carriers.
    fn settle(&mut self, now: Instant) {
        self.settle_rotations(now);
        self.settle_uplinks(now);
    }

    fn group_names(&self) -> Vec<(LinkId, GroupName)> {
        let of =
            |link: &Link| link.groups.iter().map(|group| (link.id, group.name().clone())).collect::<Vec<_>>();
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
    Verdict::Close { scope, code, detail: detail.into() }
}

#[cfg(test)]
mod tests;
