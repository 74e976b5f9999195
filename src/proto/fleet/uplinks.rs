//! The one active session of an edge plane, and what follows for the others.

use std::time::Instant;

use crate::event::EventKind;
use crate::id::{LinkId, RouterRole, SessionNumber};
use crate::proto::facts::FleetAction;
use crate::proto::fleet::Fleet;
use crate::proto::roster::Member;
use crate::proto::uplink::{Fitness, Standing};

impl Fleet {
    /// Whether this is an edge plane: one session at a time is active.
    pub(super) fn is_edge(&self) -> bool {
        self.config.local.role == RouterRole::Edge
    }

    /// Makes active what is to be, and tells peers and paths. Ends every input of an edge plane.
    pub(super) fn settle_uplinks(&mut self, now: Instant) {
        if !self.is_edge() {
            return;
        }
        let standings = self.standings();
        let links = &self.links;
        let active = self.uplinks.settle(now, &standings, |link, group| {
            links.get(&link).is_some_and(|link| link.groups.iter().any(|known| known.name() == group))
        });
        let others = standings.iter().map(|standing| standing.session).filter(|other| Some(*other) != active);
        others.for_each(|session| self.stand(now, session, true));
        // Last, so that there are never two that take streams of their peers.
        active.into_iter().for_each(|session| self.stand(now, session, false));
    }

    /// When a session has stood its probation.
    pub(super) fn uplinks_due(&self) -> Option<Instant> {
        if self.is_edge() { self.uplinks.due(&self.standings()) } else { None }
    }

    fn stand(&mut self, now: Instant, session: SessionNumber, standby: bool) {
        let Some(member) = self.roster.member_mut(session) else { return };
        member.standby = standby;
        // Every session begins active in its peer's eyes.
        if std::mem::replace(&mut member.told_standby, standby) != standby {
            self.actions.push_back(FleetAction::SetActive { session, active: !standby });
            self.events.push_back(EventKind::SessionStandby { session, standby, by_peer: false });
        }
        for change in member.settle(now) {
            self.path(change);
        }
    }

    fn standings(&self) -> Vec<Standing> {
        let living = self.roster.members().filter(|member| !member.ending);
        living.filter_map(|member| Some(self.standing(member, member.link()?))).collect()
    }

    fn standing(&self, member: &Member, link: LinkId) -> Standing {
        let groups = self.links.get(&link).map(|link| link.groups.iter());
        let rank = groups.and_then(|mut groups| groups.position(|group| *group.name() == member.group));
        let fitness = if member.drain.is_some() || member.peer_draining || member.peer_standby {
            Fitness::Draining
        } else if member.carriers.is_empty() {
            Fitness::Recovering
        } else if member.trusted() == 0 {
            Fitness::Suspect
        } else {
            Fitness::Fit
        };
        Standing {
            session: member.number,
            link,
            group: member.group.clone(),
            rank: rank.unwrap_or(usize::MAX),
            cost: member.cost(),
            fitness,
        }
    }
}
