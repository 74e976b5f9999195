//! A link: what its document asks for, and the groups that keep it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::id::{Cost, GroupName, LinkId, LinkName, Ordinal, SessionNumber};
use crate::proto::dial::Target;
use crate::proto::drained::Drained;
use crate::proto::group::{Group, Wish};
use crate::resource::secret::ProxySpec;
use crate::resource::settings::Settings;
use crate::snapshot::{GroupHistory, GroupView, LinkView, Ups};

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
    /// The document's settings, for the next dial.
    pub(crate) settings: Settings,
    /// The proxy they name, if it was found.
    pub(crate) proxy: Option<ProxySpec>,
    /// Whether to dial without a client certificate, as the document's `noClientAuth` says.
    pub(crate) no_client_auth: bool,
    /// Whether it can be dialed as it is; if not, why, in words for the status.
    pub(crate) usable: Result<(), Arc<str>>,
}

impl LinkWanted {
    /// The name as the hello carries it: with the namespace, so that two links of one name do not displace each
    /// other at a router that both reach. Beyond 255 bytes the bare name must do.
    pub(crate) fn qualified_name(&self) -> LinkName {
        if self.namespace.is_empty() {
            return self.name.clone();
        }
        LinkName::new(format!("{}/{}", self.namespace, self.name)).unwrap_or_else(|_| self.name.clone())
    }
}

/// One link with its groups.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) wanted: LinkWanted,
    /// Those of the document in its order, then those that leave.
    pub(crate) groups: Vec<Group>,
    /// Given up: its sessions drain.
    pub(crate) leaving: bool,
    /// Which groups rest until they are resumed.
    pub(crate) drained: Drained,
    /// The newest rotation of its credentials.
    ordinal: Option<Ordinal>,
    /// How it was dialed when it last could be: through what proxy, and whether without a client certificate.
    way: Option<(Option<ProxySpec>, bool)>,
    /// Each group with the session of its last `GroupUp`, until the `GroupDown`.
    announced: Vec<(GroupName, SessionNumber)>,
    /// How many groups were up of how many, as last announced.
    counts: (usize, usize),
    added_at: Instant,
    /// Since when it can, or cannot, be dialed as it is written; another reason why it cannot is no change.
    configured_since: Instant,
    /// Whether it was Ready when that was last looked at, and since when; see [`Link::ready`].
    ready: (bool, Instant),
    /// Since when the status calls it operational, if it ever did.
    operational_since: Option<Instant>,
    /// Since when no group is up; `None` while one is.
    lost_at: Option<Instant>,
}

/// What a changed document asks of a running link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) cost: bool,
    pub(crate) credentials: bool,
    pub(crate) endpoints: bool,
    pub(crate) settings: bool,
    pub(crate) proxy: bool,
    pub(crate) no_client_auth: bool,
}

/// How the way that a link is dialed has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detour {
    /// Through another proxy, or none.
    Proxy,
    /// With a client certificate, or none.
    Identity,
}

/// What there is to announce of a link's groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    GroupDown { group: GroupName, session: SessionNumber },
    GroupUp { group: GroupName, session: SessionNumber },
    Operational { groups_up: usize, groups: usize },
}

impl Changes {
    /// The names of what changed, as the event has them.
    pub(crate) fn names(self) -> Vec<Arc<str>> {
        let all = [
            (self.cost, "cost"),
            (self.credentials, "credentials"),
            (self.endpoints, "endpoints"),
            (self.settings, "settings"),
            (self.proxy, "proxy"),
            (self.no_client_auth, "noClientAuth"),
        ];
        all.into_iter().filter(|(changed, _)| *changed).map(|(_, name)| name.into()).collect()
    }
}

impl LinkWanted {
    /// The groups' names, in order of the document.
    pub(crate) fn group_names(&self) -> Vec<GroupName> {
        self.groups.iter().map(|(name, _)| name.clone()).collect()
    }

    /// What is different in `changed`.
    pub(crate) fn changes(&self, changed: &Self) -> Changes {
        Changes {
            cost: self.cost != changed.cost,
            credentials: self.credentials != changed.credentials,
            endpoints: self.groups != changed.groups,
            settings: self.settings != changed.settings,
            proxy: self.proxy != changed.proxy,
            no_client_auth: self.no_client_auth != changed.no_client_auth,
        }
    }
}

impl Link {
    /// A link without groups yet; they come with the first look at what is wanted.
    pub(crate) fn new(now: Instant, id: LinkId, wanted: LinkWanted) -> Self {
        Self {
            id,
            counts: (0, wanted.groups.len()),
            wanted,
            groups: Vec::new(),
            leaving: false,
            drained: Drained::default(),
            ordinal: None,
            way: None,
            announced: Vec::new(),
            added_at: now,
            configured_since: now,
            ready: (false, now),
            operational_since: None,
            lost_at: Some(now),
        }
    }

    /// Takes what is wanted of it from now on, and gives back what was.
    pub(crate) fn replace(&mut self, now: Instant, wanted: LinkWanted) -> LinkWanted {
        // What it was until now is judged by what was wanted until now.
        self.note_ready(now);
        if self.wanted.usable.is_ok() != wanted.usable.is_ok() {
            self.configured_since = now;
        }
        let before = std::mem::replace(&mut self.wanted, wanted);
        self.drained.keep(&self.wanted.group_names());
        self.note_ready(now);
        before
    }

    /// A group by name.
    pub(crate) fn group_mut(&mut self, name: &GroupName) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.name() == name)
    }

    /// Whether it can be drained or resumed: it was not given up, and its document lists the group, if one is named.
    pub(crate) fn lists(&self, group: Option<&GroupName>) -> bool {
        let listed = |group| self.wanted.groups.iter().any(|(listed, _)| listed == group);
        !self.leaving && group.is_none_or(listed)
    }

    /// What is wished of a group, by what is wanted of the link.
    pub(crate) fn wish(&self, name: &GroupName) -> Wish {
        let listed = self.wanted.groups.iter().any(|(listed, _)| listed == name);
        match &self.wanted.usable {
            _ if self.leaving || !listed || self.drained.has(name) => Wish::Leave,
            Ok(()) => Wish::Keep,
            Err(_) => Wish::Rest,
        }
    }

    /// The rotation of what it is dialed with.
    pub(crate) fn ordinal(&self) -> Ordinal {
        self.ordinal.unwrap_or(Ordinal(0))
    }

    /// The rotation of its credentials, if it is a later one than when this was last asked.
    pub(crate) fn take_rotation(&mut self) -> Option<Ordinal> {
        let (_, ordinal) = *self.wanted.credentials.as_ref()?;
        let before = self.ordinal;
        self.ordinal = before.max(Some(ordinal));
        before.filter(|before| *before < ordinal).map(|_| ordinal)
    }

    /// How it is to be dialed, if otherwise than when this was last asked and it could be dialed.
    pub(crate) fn take_detour(&mut self) -> Option<Detour> {
        let LinkWanted { proxy, no_client_auth, usable: Ok(()), .. } = &self.wanted else { return None };
        let (proxy_before, identity_before) = self.way.replace((proxy.clone(), *no_client_auth))?;
        if identity_before != *no_client_auth {
            return Some(Detour::Identity);
        }
        (proxy_before != *proxy).then_some(Detour::Proxy)
    }

    /// Puts the groups into the order of the document and forgets those that have left.
    pub(crate) fn sort(&mut self) {
        let wanted = &self.wanted.groups;
        let place = |group: &Group| wanted.iter().position(|(name, _)| name == group.name());
        self.groups.retain(|group| place(group).is_some() || group.session().is_some());
        self.groups.sort_by_key(|group| place(group).unwrap_or(usize::MAX));
    }

    /// What changed since the last call, in causal order: what went down, what came up, what that makes of the link.
    pub(crate) fn news(&mut self, now: Instant) -> Vec<News> {
        let present: Vec<(GroupName, SessionNumber)> =
            self.groups.iter().filter_map(|group| Some((group.name().clone(), group.up()?))).collect();
        let before = std::mem::replace(&mut self.announced, present.clone());
        let down = before.iter().filter(|was| !present.contains(was)).cloned();
        let up = present.iter().filter(|is| !before.contains(is)).cloned();
        let mut news: Vec<News> = down.map(|(group, session)| News::GroupDown { group, session }).collect();
        news.extend(up.map(|(group, session)| News::GroupUp { group, session }));
        self.note_operational(now, !present.is_empty());
        let counts = (present.len(), self.groups.len());
        if std::mem::replace(&mut self.counts, counts) != counts {
            news.push(News::Operational { groups_up: counts.0, groups: counts.1 });
        }
        news
    }

    /// Whether the status calls it operational: it has a live carrier, or had one less than [`OPERATIONAL_GRACE`] ago.
    pub(crate) fn is_operational(&self, now: Instant) -> bool {
        let held = |lost: Instant| now.saturating_duration_since(lost) < OPERATIONAL_GRACE;
        self.operational_since.is_some() && self.lost_at.is_none_or(held)
    }

    /// Whether the status calls it Ready, both configured and operational, and since when.
    ///
    /// All that makes it so is noted when it happens, except that the grace after the last carrier is over.
    fn ready(&self, now: Instant) -> (bool, Instant) {
        let operational = self.is_operational(now);
        let ready = operational && self.wanted.usable.is_ok();
        match self.lost_at {
            _ if ready == self.ready.0 => self.ready,
            Some(lost) if !operational => (ready, lost + OPERATIONAL_GRACE),
            _ => (ready, now),
        }
    }

    /// What is known of it; `micros` tells the wall clock at an instant, `stands_by` which sessions are on standby.
    pub(crate) fn view(
        &self,
        now: Instant,
        micros: &impl Fn(Instant) -> u64,
        stands_by: &impl Fn(SessionNumber) -> bool,
    ) -> LinkView {
        let operational = self.is_operational(now);
        let since = match (self.operational_since, self.lost_at) {
            (Some(since), _) if operational => since,
            (Some(_), Some(lost)) => lost + OPERATIONAL_GRACE,
            _ => self.added_at,
        };
        let newest = self.groups.iter().filter(|group| group.up().is_none() && group.error().is_some());
        LinkView {
            link: self.id,
            name: self.wanted.name.clone(),
            namespace: self.wanted.namespace.clone(),
            generation: self.wanted.generation,
            cost: self.wanted.cost,
            configured: self.wanted.usable.is_ok(),
            refusal: self.wanted.usable.clone().err(),
            operational,
            configured_since_micros: micros(self.configured_since),
            operational_since_micros: micros(since),
            ready_since_micros: micros(self.ready(now).1),
            draining: self.leaving,
            drained: self.drained.is_all(),
            error: newest.max_by_key(|group| group.failed_at()).and_then(|group| group.error().cloned()),
            next_attempt_micros: self.groups.iter().filter_map(Group::next_attempt).min().map(micros),
            groups: self
                .groups
                .iter()
                .map(|group| GroupView {
                    drained: self.drained.has(group.name()),
                    ..group_view(group, micros, stands_by)
                })
                .collect(),
            history: Ups::default(),
            credentials: None,
            rotation: None,
        }
    }

    fn note_operational(&mut self, now: Instant, up: bool) {
        self.note_ready(now);
        if up {
            if !self.is_operational(now) {
                self.operational_since = Some(now);
            }
            self.lost_at = None;
        } else {
            self.lost_at.get_or_insert(now);
        }
        self.note_ready(now);
    }

    fn note_ready(&mut self, now: Instant) {
        self.ready = self.ready(now);
    }
}

fn group_view(
    group: &Group,
    micros: &impl Fn(Instant) -> u64,
    stands_by: &impl Fn(SessionNumber) -> bool,
) -> GroupView {
    let (state, since) = group.state();
    GroupView {
        name: group.name().clone(),
        state,
        since_micros: micros(since),
        endpoint: group.endpoint(),
        session: group.session(),
        standby: group.session().is_some_and(stands_by),
        drained: false,
        attempts: group.attempts(),
        error: group.error().cloned(),
        next_attempt_micros: group.next_attempt().map(micros),
        history: GroupHistory::default(),
    }
}

/// How long after the loss of the last carrier a link still counts as operational in the status: a redial within
/// the second is a matter for the event stream, not for an operator's alarm.
const OPERATIONAL_GRACE: Duration = Duration::from_secs(1);
