//! Draining for an operator: a link, a group or a session takes no new streams, and ends when the others have ended.

use std::time::{Duration, Instant};

use crate::event::EventKind;
use crate::id::{GroupName, LinkId, SessionNumber};
use crate::proto::fleet::Fleet;
use crate::proto::later::later;
use crate::wire::code::CloseCode;

impl Fleet {
    /// Drains a group of a link, or all of them: sessions end when their streams have, or the grace is over; none begins
    /// until [`Fleet::handle_resume`]. Says whether there is such a link and group; one that was given up is none.
    ///
    /// Drained again, the earlier end of the two stands.
    pub(crate) fn handle_drain(
        &mut self,
        now: Instant,
        link: LinkId,
        group: Option<&GroupName>,
        grace: Duration,
    ) -> bool {
        let Some(known) = self.links.get_mut(&link).filter(|known| known.lists(group)) else { return false };
        if known.drained.drain(group) {
            let (name, group) = (known.wanted.name.clone(), group.cloned());
            self.events.push_back(EventKind::LinkDraining { link, name, group, within: grace });
        }
        // The wish first, or what ends at once would be dialed at once.
        self.regroup(now, link);
        let concerned = |session: &SessionNumber| {
            let member = self.roster.member(*session);
            member.is_some_and(|member| group.is_none_or(|group| member.group == *group))
        };
        let sessions: Vec<_> = self.roster.of_link(link).into_iter().filter(concerned).collect();
        for session in sessions {
            self.drain(now, session, later(now, grace), CloseCode::DISCONNECTED);
        }
        self.announce(now, link);
        self.settle(now);
        true
    }

    /// Keeps a group of a link again, or all of them: what has no session is dialed at once, a session that drains is let
    /// end first. Says whether there is such a link and group.
    pub(crate) fn handle_resume(&mut self, now: Instant, link: LinkId, group: Option<&GroupName>) -> bool {
        let Some(known) = self.links.get_mut(&link).filter(|known| known.lists(group)) else { return false };
        let listed = known.wanted.group_names();
        if known.drained.resume(group, &listed) {
            let name = known.wanted.name.clone();
            self.events.push_back(EventKind::LinkResumed { link, name, group: group.cloned() });
            self.regroup(now, link);
            for name in listed.iter().filter(|name| group.is_none_or(|group| group == *name)) {
                self.with_group(now, link, name, |group, orders| group.nudge(now, orders));
            }
            self.announce(now, link);
        }
        self.settle(now);
        true
    }

    /// Drains one session, from whichever end. Whoever dialed it begins anew after its end, unless its link or group is
    /// drained, too. Says whether there is such a session.
    pub(crate) fn handle_drain_session(
        &mut self,
        now: Instant,
        session: SessionNumber,
        grace: Duration,
    ) -> bool {
        let known = self.roster.member(session).is_some_and(|member| !member.ending);
        self.drain(now, session, later(now, grace), CloseCode::DISCONNECTED);
        self.settle(now);
        known
    }
}
