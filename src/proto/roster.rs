//! The sessions of a plane as the fleet sees them: who is at the other end, and over which carriers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::certificate::LeafSummary;
use crate::event::{EventKind, Peer};
use crate::id::{
    AccessId, CarrierNumber, Cost, GroupName, KeyPin, LinkId, LinkName, Principal, RoutingKey, SessionId,
    SessionNumber, Side,
};
use crate::policy::Shown;
use crate::proto::carrier::{Carrier, Made};
use crate::proto::dial::Target;
use crate::proto::paths::{Candidate, Costs, PathChange};
use crate::proto::trust;
use crate::proto::trust::Door;
use crate::snapshot::{SessionHistory, SessionState, SessionView};
use crate::stats::Traffic;
use crate::wire::code::CloseCode;
use crate::wire::hello::{Hello, SessionSecret};

/// All sessions that have begun and whose end has not been reported yet.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: BTreeMap<SessionNumber, Member>,
    /// How many sessions there have been.
    begun: u64,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) number: SessionNumber,
    pub(crate) id: SessionId,
    pub(crate) origin: Origin,
    /// The dialer's name of the link.
    pub(crate) name: LinkName,
    pub(crate) group: GroupName,
    pub(crate) peer: Peer,
    pub(crate) own_cost: Cost,
    pub(crate) peer_cost: Cost,
    /// The smaller of both ends'.
    pub(crate) resume_window: Duration,
    pub(crate) carriers: BTreeMap<CarrierNumber, Carrier>,
    /// What the peer showed on its newest carrier.
    pub(crate) certificate: Option<Arc<LeafSummary>>,
    /// The key it showed when that was last asked for.
    key: Option<KeyPin>,
    /// Keys that the peer serves and may not; bounded by what a session takes.
    pub(crate) refused_keys: BTreeSet<RoutingKey>,
    /// This end has asked for its end by then, with that code for the peer.
    pub(crate) drain: Option<(Instant, CloseCode)>,
    pub(crate) peer_draining: bool,
    /// This end is on standby: an edge plane's session that is not the active one.
    pub(crate) standby: bool,
    /// What the peer was told of that.
    pub(crate) told_standby: bool,
    pub(crate) peer_standby: bool,
    /// Its end is decided; only the reports of its carriers and the end itself are awaited.
    pub(crate) ending: bool,
    /// Without a carrier since then, until `SessionResumed` was announced.
    pub(crate) recovering: Option<Instant>,
    /// When the first carrier after that came.
    pub(crate) rejoined: Option<Instant>,
    /// The highest carrier number so far.
    newest: Option<CarrierNumber>,
    begun: Instant,
    /// What it is at, and since when.
    state: (SessionState, Instant),
    /// Whether it has a carrier, whether all are suspect, and whether an end is on standby, as the paths were last told.
    told: (bool, bool, bool),
}

/// Where a session comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// This end dialed it for a link, in the group of the session's name.
    Dialed {
        /// The link.
        link: LinkId,
    },
    /// This end accepted it.
    Accepted {
        /// By which access.
        access: AccessId,
        /// What joining proofs are keyed with.
        secret: SessionSecret,
    },
}

/// What a session is made of.
#[derive(Debug)]
pub(crate) struct Beginning<'a> {
    pub(crate) id: SessionId,
    pub(crate) origin: Origin,
    /// Link and group are the dialer's to name: from its own order, or from its hello.
    pub(crate) name: LinkName,
    pub(crate) group: GroupName,
    pub(crate) hello: &'a Hello,
    pub(crate) principal: Principal,
    pub(crate) own_cost: Cost,
    pub(crate) resume_window: Duration,
    /// Whether it begins on standby, the peer not knowing yet.
    pub(crate) standby: bool,
}

impl Roster {
    /// Takes a session in, without a carrier yet.
    pub(crate) fn insert(&mut self, now: Instant, beginning: Beginning<'_>) -> &mut Member {
        self.begun += 1;
        let number = SessionNumber(self.begun);
        let Beginning { id, origin, name, group, hello, principal, own_cost, resume_window, standby } =
            beginning;
        let peer = Peer::new(
            hello.site_id.clone(),
            hello.site_name.clone(),
            hello.router.clone(),
            hello.instance,
            principal,
        );
        self.members.entry(number).or_insert_with(|| Member {
            number,
            id,
            origin,
            name,
            group,
            peer,
            own_cost,
            peer_cost: hello.cost,
            resume_window: resume_window.min(hello.resume_window),
            carriers: BTreeMap::new(),
            certificate: None,
            key: None,
            refused_keys: BTreeSet::new(),
            drain: None,
            peer_draining: false,
            standby,
            told_standby: false,
            peer_standby: false,
            ending: false,
            recovering: None,
            rejoined: None,
            newest: None,
            begun: now,
            state: (SessionState::Up, now),
            told: (true, false, standby),
        })
    }

    /// A session by number.
    pub(crate) fn member(&self, number: SessionNumber) -> Option<&Member> {
        self.members.get(&number)
    }

    /// A session by number.
    pub(crate) fn member_mut(&mut self, number: SessionNumber) -> Option<&mut Member> {
        self.members.get_mut(&number)
    }

    /// A carrier of a session, by numbers.
    pub(crate) fn carrier_mut(
        &mut self,
        session: SessionNumber,
        carrier: CarrierNumber,
    ) -> Option<&mut Carrier> {
        self.members.get_mut(&session)?.carriers.get_mut(&carrier)
    }

    /// The numbers of a session's carriers.
    pub(crate) fn carriers_of(&self, session: SessionNumber) -> Vec<CarrierNumber> {
        self.members.get(&session).map_or_else(Vec::new, |member| member.carriers.keys().copied().collect())
    }

    /// Forgets a session.
    pub(crate) fn remove(&mut self, number: SessionNumber) -> Option<Member> {
        self.members.remove(&number)
    }

    /// All sessions in order of number.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Accepted sessions whose end is not decided.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| !member.ending && member.side() == Side::Acceptor)
    }

    /// Numbers of the sessions of a link, those that are ending included.
    pub(crate) fn of_link(&self, link: LinkId) -> Vec<SessionNumber> {
        self.members
            .values()
            .filter(|member| member.link() == Some(link))
            .map(|member| member.number)
            .collect()
    }

    /// The numbers of all sessions.
    pub(crate) fn numbers(&self) -> Vec<SessionNumber> {
        self.members.keys().copied().collect()
    }

    /// When the first drain is over.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let members = self.members.values().filter(|member| !member.ending);
        let due = members.flat_map(|member| [member.next_close(), member.drain.map(|(until, _)| until)]);
        due.flatten().min()
    }
}

impl Member {
    /// Which end this is.
    pub(crate) fn side(&self) -> Side {
        match self.origin {
            Origin::Dialed { .. } => Side::Dialer,
            Origin::Accepted { .. } => Side::Acceptor,
        }
    }

    /// The link, where this end dialed.
    pub(crate) fn link(&self) -> Option<LinkId> {
        match self.origin {
            Origin::Dialed { link } => Some(link),
            Origin::Accepted { .. } => None,
        }
    }

    /// The access, where this end accepted.
    pub(crate) fn access(&self) -> Option<AccessId> {
        match self.origin {
            Origin::Dialed { .. } => None,
            Origin::Accepted { access, .. } => Some(access),
        }
    }

    /// What it costs, as each end has it.
    pub(crate) fn costs(&self) -> Costs {
        Costs { own: self.own_cost, peer: self.peer_cost }
    }

    /// The cost in force: the larger of both ends'.
    pub(crate) fn cost(&self) -> Cost {
        self.costs().in_force()
    }

    /// How many carriers are not suspect.
    pub(crate) fn trusted(&self) -> usize {
        self.carriers.values().filter(|carrier| !carrier.suspect).count()
    }

    /// How many carriers are neither suspect nor to be replaced.
    pub(crate) fn lasting(&self) -> usize {
        self.carriers.values().filter(|carrier| carrier.is_lasting()).count()
    }

    /// The endpoint that it is carried over: that of the newest carrier, one that lasts if there is one.
    pub(crate) fn endpoint(&self) -> Option<&Target> {
        let best = self.carriers.iter().max_by_key(|(number, carrier)| (carrier.is_lasting(), **number));
        best.and_then(|(_, carrier)| carrier.made.target.as_ref())
    }

    /// The next time at which something is due of a carrier that is to be replaced.
    fn next_close(&self) -> Option<Instant> {
        self.carriers.values().filter_map(|carrier| carrier.stay.due()).min()
    }

    /// Takes a carrier in; `false` if its number is not above all before, by the rule of the session itself: what
    /// one of the two took and the other did not would never be reported down.
    pub(crate) fn join(&mut self, now: Instant, number: CarrierNumber, made: Made) -> bool {
        if self.newest.is_some_and(|newest| number <= newest) {
            return false;
        }
        self.newest = Some(number);
        self.certificate.clone_from(&made.certificate);
        self.carriers.insert(number, Carrier::new(now, made));
        if self.recovering.is_some() {
            self.rejoined.get_or_insert(now);
        }
        true
    }

    /// What it came by.
    pub(crate) fn door(&self) -> Door {
        match &self.origin {
            Origin::Dialed { link } => Door::Link(*link),
            Origin::Accepted { access, .. } => Door::Access(*access),
        }
    }

    /// Its carriers that came by that door: a session that was accepted takes them at any access.
    pub(crate) fn carriers_by(&self, door: Door) -> impl Iterator<Item = (CarrierNumber, &Carrier)> {
        let by = move |carrier: &Carrier| carrier.made.access.map_or_else(|| self.door(), Door::Access);
        let carriers = self.carriers.iter().map(|(number, carrier)| (*number, carrier));
        carriers.filter(move |(_, carrier)| by(carrier) == door)
    }

    /// Whether the peer shows another key on its newest carrier than when this was last asked.
    pub(crate) fn has_changed_key(&mut self) -> bool {
        let key = self.certificate.as_ref().map(|leaf| leaf.key);
        std::mem::replace(&mut self.key, key) != key
    }

    /// What the peer has shown of itself.
    pub(crate) fn shown(&self) -> Shown<'_> {
        trust::shown(&self.peer.principal, self.certificate.as_ref())
    }

    /// Updates the state, and says what the paths have to be told.
    pub(crate) fn settle(&mut self, now: Instant) -> Vec<PathChange> {
        let state = self.present_state();
        if state != self.state.0 {
            self.state = (state, now);
        }
        let (live, suspect) = (!self.carriers.is_empty(), !self.carriers.is_empty() && self.trusted() == 0);
        let standby = self.standby || self.peer_standby;
        let before = std::mem::replace(&mut self.told, (live, suspect, standby));
        let session = self.number;
        let mut changes = Vec::new();
        if self.ending {
            return changes;
        }
        if suspect != before.1 {
            changes.push(PathChange::Suspect { session, suspect });
        }
        if live != before.0 {
            changes.push(PathChange::Live { session, live });
        }
        if standby != before.2 {
            changes.push(PathChange::Standby { session, standby });
        }
        changes
    }

    /// The session as a path.
    pub(crate) fn candidate(&self) -> Candidate {
        Candidate {
            name: self.name.clone(),
            group: self.group.clone(),
            side: self.side(),
            site: self.peer.site_id.clone(),
            instance: self.peer.instance,
            costs: self.costs(),
            may_serve: self.peer.principal != Principal::Anonymous,
            standby: self.standby || self.peer_standby,
        }
    }

    /// `SessionUp`.
    pub(crate) fn up_event(&self) -> EventKind {
        EventKind::SessionUp {
            session: self.number,
            id: self.id,
            side: self.side(),
            link: self.link(),
            access: self.access(),
            name: self.name.clone(),
            group: self.group.clone(),
            peer: self.peer.clone(),
            cost: self.cost(),
        }
    }

    /// What is known of it; `micros` tells the wall clock at an instant.
    pub(crate) fn view(&self, micros: &impl Fn(Instant) -> u64) -> SessionView {
        let carrier =
            |(number, carrier): (&CarrierNumber, &Carrier)| carrier.view(*number, micros(carrier.since));
        SessionView {
            session: self.number,
            id: self.id,
            side: self.side(),
            link: self.link(),
            access: self.access(),
            name: self.name.clone(),
            group: self.group.clone(),
            peer: self.peer.clone(),
            own_cost: self.own_cost,
            peer_cost: self.peer_cost,
            cost: self.cost(),
            state: self.state.0,
            since_micros: micros(self.state.1),
            standby: self.standby,
            peer_standby: self.peer_standby,
            draining_until_micros: self.drain.map(|(until, _)| micros(until)),
            peer_draining: self.peer_draining,
            begun_micros: micros(self.begun),
            traffic: Traffic::default(),
            streams: 0,
            streams_opened: 0,
            streams_opened_by_peer: 0,
            streams_refused: 0,
            streams_stalled: 0,
            waiting: Vec::new(),
            chosen_for: 0,
            unread_bytes: 0,
            window_bytes: 0,
            refused_keys: self.refused_keys.len() as u64,
            carriers: self.carriers.iter().map(carrier).collect(),
            history: SessionHistory::default(),
        }
    }

    fn present_state(&self) -> SessionState {
        if self.ending {
            SessionState::Ending
        } else if self.carriers.is_empty() {
            SessionState::Recovering
        } else if self.drain.is_some() || self.peer_draining {
            SessionState::Draining
        } else if self.trusted() == 0 {
            SessionState::Suspect
        } else {
            SessionState::Up
        }
    }
}
