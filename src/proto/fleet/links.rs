//! What becomes of links: taken on, changed, given up, and what there is to say of them.

use std::time::{Duration, Instant};

use crate::event::{EventKind, ReplaceCause};
use crate::id::{Cost, GroupName, LinkId, Ordinal, SessionNumber};
use crate::proto::facts::FleetConfig;
use crate::proto::fleet::Fleet;
use crate::proto::fleet::moving::ROTATION_GRACE;
use crate::proto::group::{Group, Wish};
use crate::proto::later::later;
use crate::proto::link::{Detour, Link, LinkWanted, News};
use crate::proto::roster::Member;
use crate::proto::trust::Door;
use crate::wire::code::CloseCode;

impl Fleet {
    /// Adds a link, or changes it by the smallest change that does it: a cost touches no connection, endpoints touch
    /// only the groups that came or went, credentials, settings and the proxy are used by the next dial. One that was given up stays so.
    pub(crate) fn handle_link(&mut self, now: Instant, link: LinkId, wanted: LinkWanted) {
        if self.closing.is_some() {
            return;
        }
        match self.links.get_mut(&link) {
            Some(known) if known.leaving => {
                // One that drains may need carriers yet.
                known.wanted.credentials = wanted.credentials;
                self.rotate_link(now, link);
            }
            Some(known) if known.wanted == wanted => return,
            Some(known) => {
                let before = known.replace(now, wanted);
                self.apply_change(now, link, &before);
            }
            None => {
                self.links.insert(link, Link::new(now, link, wanted));
                self.rotate_link(now, link);
                self.follow_way(now, link);
                self.announce_configured(link);
                self.regroup(now, link);
            }
        }
        self.announce(now, link);
        self.settle(now);
    }

    /// Gives a link up: its sessions drain, and are ended when the grace is over. Nothing is begun any more.
    pub(crate) fn handle_unlink(&mut self, now: Instant, link: LinkId, grace: Duration) {
        self.leave(now, link, later(now, grace), CloseCode::DISCONNECTED);
        self.settle(now);
    }

    /// Whether a link is one of this fleet.
    pub(crate) fn has_link(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Whether a link is one of this fleet and not given up: only that can be changed.
    pub(crate) fn keeps_link(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|known| !known.leaving)
    }

    /// Changes this end's cost of a link, as a changed document would.
    pub(crate) fn handle_cost(&mut self, now: Instant, link: LinkId, cost: Cost) {
        let Some(known) = self.links.get(&link) else { return };
        let wanted = LinkWanted { cost, ..known.wanted.clone() };
        self.handle_link(now, link, wanted);
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
                    generation: wanted.generation,
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
        // First, or what is dialed for the groups would pass for made with the credentials before.
        let rotation = self.links.get_mut(&link).and_then(Link::take_rotation);
        self.regroup(now, link);
        if let Some(ordinal) = rotation {
            self.follow_rotation(now, link, ordinal);
        }
        let detour = changes.settings || changes.proxy || changes.no_client_auth;
        if changes.credentials || detour {
            for (name, _) in &wanted.groups {
                self.with_group(now, link, name, |group, orders| match detour {
                    // Or an attempt under way would get past a proxy that is demanded now.
                    true => group.handle_detour(now, orders),
                    false => group.nudge(now, orders),
                });
            }
        }
        self.follow_way(now, link);
    }

    /// If a link uses newer credentials than before, what was made with those is to be replaced.
    fn rotate_link(&mut self, now: Instant, link: LinkId) {
        if let Some(ordinal) = self.links.get_mut(&link).and_then(Link::take_rotation) {
            self.follow_rotation(now, link, ordinal);
        }
    }

    fn follow_rotation(&mut self, now: Instant, link: LinkId, ordinal: Ordinal) {
        let Some(known) = self.links.get(&link) else { return };
        let groups: Vec<GroupName> = known.groups.iter().map(|group| group.name().clone()).collect();
        for name in groups {
            // Or an attempt under way would bring a carrier of the old ones when the rotation is complete.
            self.with_group(now, link, &name, |group, orders| group.handle_detour(now, orders));
        }
        self.rotate(now, Door::Link(link), ordinal);
    }

    /// If a link is to be dialed another way than before, what was dialed the old way is to go. A session whose dialer
    /// showed a certificate takes no carrier without one, nor the other way round: its streams are let end, and it begins
    /// anew.
    fn follow_way(&mut self, now: Instant, link: LinkId) {
        match self.links.get_mut(&link).and_then(Link::take_detour) {
            None => {}
            Some(Detour::Proxy) => self.reroute(now, link),
            Some(Detour::Identity) => {
                for session in self.roster.of_link(link) {
                    self.succeed(now, session);
                }
            }
        }
    }

    /// Makes the groups fit the document: new ones are dialed, gone ones drain, the others learn their endpoints.
    pub(super) fn regroup(&mut self, now: Instant, link: LinkId) {
        let Some(known) = self.links.get_mut(&link) else {
            return;
        };
        for (name, targets) in known.wanted.groups.clone() {
            if known.group_mut(&name).is_none() {
                let FleetConfig { backoff, carriers, .. } = self.config;
                known.groups.push(Group::new(now, name, targets, backoff, carriers));
            }
        }
        let wanted = known.wanted.groups.clone();
        let all: Vec<_> =
            known.groups.iter().map(|group| (group.name().clone(), known.wish(group.name()))).collect();
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        for (name, wish) in all {
            let targets =
                wanted.iter().find(|(listed, _)| *listed == name).map(|(_, targets)| targets.clone());
            let listed = targets.is_some();
            let mut revived = false;
            let session = self.with_group(now, link, &name, |group, orders| {
                revived = wish == Wish::Keep && group.wish() == Wish::Leave;
                if let Some(targets) = targets {
                    group.handle_targets(now, targets, orders);
                }
                group.handle_wish(now, wish, orders);
                group.session()
            });
            let session = session.flatten();
            gone.extend(session.filter(|_| !listed));
            let member = session.filter(|_| revived).and_then(|session| self.roster.member(session));
            // They are wanted again, and what drains does not come back. What an operator drains is let end first.
            let by_document = |member: &&Member| matches!(member.drain, Some((_, CloseCode::REPLACED)));
            left.extend(member.filter(by_document).map(|member| member.number));
        }
        // Only now: draining looks at all groups of the link, and each must have its wish before that.
        for session in gone {
            self.drain(now, session, now + self.config.regroup_grace, CloseCode::REPLACED);
        }
        left.into_iter().for_each(|session| self.succeed(now, session));
        self.leave_unlisted(now, link);
        if let Some(known) = self.links.get_mut(&link) {
            known.sort();
        }
    }

    /// What was dialed at an endpoint that its group lists no more is to be replaced over those that it lists.
    fn leave_unlisted(&mut self, now: Instant, link: LinkId) {
        let Some(known) = self.links.get(&link).filter(|known| !known.leaving && known.wanted.usable.is_ok())
        else {
            return;
        };
        let mut left = Vec::new();
        for (name, targets) in known.wanted.groups.iter().filter(|(_, targets)| !targets.is_empty()) {
            let session = known.groups.iter().find(|group| group.name() == name).and_then(Group::session);
            let member = session.and_then(|session| self.roster.member(session));
            let carriers =
                member.into_iter().flat_map(|member| member.carriers.iter().map(|of| (member.number, of)));
            let unlisted = carriers.filter(|(_, (_, carrier))| {
                carrier.made.target.as_ref().is_some_and(|target| !targets.contains(target))
            });
            left.extend(unlisted.map(|(session, (carrier, _))| (session, *carrier)));
        }
        for (session, carrier) in &left {
            self.replace(now, *session, *carrier, ROTATION_GRACE, ReplaceCause::Rerouted);
        }
        // Only now: none of them is to retire for the sake of another.
        left.into_iter().for_each(|(session, _)| self.refresh(now, session));
    }

    /// A session drains, and its group begins a successor beside it, if it is kept.
    fn succeed(&mut self, now: Instant, session: SessionNumber) {
        self.drain(now, session, later(now, self.config.regroup_grace), CloseCode::REPLACED);
        self.on_group(now, session, |group, orders| group.handle_succeeded(now, orders));
    }

    /// Gives a link up by `until`.
    pub(super) fn leave(&mut self, now: Instant, link: LinkId, until: Instant, code: CloseCode) {
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

    fn announce_configured(&mut self, link: LinkId) {
        let Some(known) = self.links.get(&link) else {
            return;
        };
        let name = known.wanted.name.clone();
        self.events.push_back(match &known.wanted.usable {
            Ok(()) => EventKind::LinkConfigured {
                link,
                name,
                namespace: known.wanted.namespace.clone(),
                generation: known.wanted.generation,
                groups: known.wanted.group_names(),
                cost: known.wanted.cost,
            },
            Err(message) => EventKind::LinkRefused { link: Some(link), name, message: message.clone() },
        });
    }

    /// Announces what has become of a link's groups, wakes the duplicates of those that lost their session, and
    /// forgets the link when it was given up and nothing of it is left.
    pub(super) fn announce(&mut self, now: Instant, link: LinkId) {
        let Some(known) = self.links.get_mut(&link) else {
            return;
        };
        known.sort();
        let news = known.news(now);
        let name = known.wanted.name.clone();
        let held =
            |of: &GroupName| known.groups.iter().any(|group| group.name() == of && group.session().is_some());
        let waiting = known.groups.iter().filter(|group| group.duplicate_of().is_some_and(|of| !held(of)));
        let freed: Vec<GroupName> = waiting.map(|group| group.name().clone()).collect();
        let leaving = known.leaving;
        for item in news {
            let event = match item {
                News::GroupDown { group, session } => EventKind::GroupDown { link, group, session },
                News::GroupUp { group, session } => {
                    let Some(member) = self.roster.member(session) else {
                        continue;
                    };
                    EventKind::GroupUp { link, group, session, peer: member.peer.clone() }
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
            self.settle_rotation(now, Door::Link(link));
            self.events.push_back(EventKind::LinkRemoved { link, name });
            self.forget_doors();
        }
    }
}
