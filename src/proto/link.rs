//! A link: what its document asks for, and the groups that keep it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Backoff;
use crate::error::DialError;
use crate::id::{Cost, GroupName, LinkId, LinkName, Ordinal, SessionNumber};
use crate::proto::dial::Target;
use crate::proto::group::{Group, Orders, Wish};
use crate::snapshot::{GroupView, LinkView};

/// What a link is to be: its document, reduced to what dialing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkWanted {
    /// The document's name, as the hello carries it.
    pub(crate) name: LinkName,
    /// The document's namespace; empty if it names none.
    pub(crate) namespace: Arc<str>,
    /// The document's `metadata.generation`.
    pub(crate) generation: Option<i64>,
    /// This end's cost.
    pub(crate) cost: Cost,
    /// The groups with the endpoints of the local role, all in document order.
    pub(crate) groups: Vec<(GroupName, Vec<Target>)>,
    /// The name and rotation of the credentials to dial with, if there are any.
    pub(crate) credentials: Option<(Arc<str>, Ordinal)>,
    /// Whether it can be dialed as it is; if not, why, in words for the status.
    pub(crate) usable: Result<(), Arc<str>>,
}

/// One link with its groups.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) wanted: LinkWanted,
    /// Those of the document in its order, then those that leave.
    pub(crate) groups: Vec<Group>,
    /// Given up: its sessions drain until this moment.
    pub(crate) leaving: Option<Instant>,
    /// How many groups were up of how many, as last announced.
    announced: (usize, usize),
    /// The session of each group's last `GroupUp` that no `GroupDown` has followed.
    announced_up: Vec<(GroupName, SessionNumber)>,
    configured_at: Instant,
    /// Since when a group is up, or none is; `None` before the first was.
    live: Option<(bool, Instant)>,
    backoff: Backoff,
}

/// What a changed document asks of a running link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) cost: bool,
    pub(crate) endpoints: bool,
    pub(crate) credentials: bool,
}

/// What became known of a group since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Down { group: GroupName, session: SessionNumber },
    Up { group: GroupName, session: SessionNumber },
    Operational { operational: bool, groups_up: usize, groups: usize },
}

impl Changes {
    /// The names of what changed, as the event has them.
    pub(crate) fn names(self) -> Vec<Arc<str>> {
        let all = [(self.cost, "cost"), (self.credentials, "credentials"), (self.endpoints, "endpoints")];
        all.into_iter().filter(|(changed, _)| *changed).map(|(_, name)| name.into()).collect()
    }
}

impl Link {
    /// A link whose groups rest until [`Link::start`].
    pub(crate) fn new(now: Instant, id: LinkId, wanted: LinkWanted, backoff: Backoff) -> Self {
        let group = |(name, targets): &(GroupName, Vec<Target>)| {
            Group::new(now, name.clone(), targets.clone(), backoff)
        };
        let groups: Vec<Group> = wanted.groups.iter().map(group).collect();
        Self {
            id,
            announced: (0, groups.len()),
            wanted,
            groups,
            leaving: None,
            announced_up: Vec::new(),
            configured_at: now,
            live: None,
            backoff,
        }
    }

    /// Whether it may be dialed.
    pub(crate) fn is_usable(&self) -> bool {
        self.wanted.usable.is_ok() && self.leaving.is_none()
    }

    /// What is different in a changed document.
    pub(crate) fn changes(&self, wanted: &LinkWanted) -> Changes {
        Changes {
            cost: self.wanted.cost != wanted.cost,
            endpoints: self.wanted.groups != wanted.groups,
            credentials: self.wanted.credentials != wanted.credentials,
        }
    }

    /// Gives every group that is not leaving the wish that fits the link; the steps go to `take`, group by group.
    pub(crate) fn settle(&mut self, now: Instant, orders: &mut Orders, take: &mut impl FnMut(&GroupName, &mut Orders)) {
        let wish = match (&self.wanted.usable, self.leaving) {
            (_, Some(_)) => Wish::Leave,
            (Ok(()), None) => Wish::Keep,
            (Err(_), None) => Wish::Rest,
        };
        for group in &mut self.groups {
            let stays = self.wanted.groups.iter().any(|(name, _)| name == group.name());
            group.handle_wish(now, if stays { wish } else { Wish::Leave }, orders);
            take(group.name(), orders);
        }
    }
}

/// How long after the loss of the last carrier a link still counts as operational in the status: a redial within
/// the second is a matter for the event stream, not for an operator's alarm.
const OPERATIONAL_GRACE: Duration = Duration::from_secs(1);
