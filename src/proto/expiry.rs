//! When certificates expire: announced ahead, and told when it has happened.
//!
//! Wall time is an argument, in Unix seconds, and may jump. Forward: what was missed is told once, by its most urgent
//! step. Back by more than the tolerated skew: what is not true any more will be told again in its time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::certificate::{LeafSummary, RevocationList};
use crate::event::{CertificateOwner, EventKind};
use crate::id::{CarrierNumber, SessionNumber};

/// The certificates of a plane and its peers, and its revocation lists.
#[derive(Debug)]
pub(crate) struct Expiry {
    /// How far this end's clock may be off, in seconds: only that long after its end is a validity held over.
    skew: i64,
    entries: BTreeMap<Watched, Entry>,
    /// The next step of each entry that has one.
    due: BTreeSet<(i64, Watched)>,
    /// The newest time seen.
    last: i64,
    events: VecDeque<EventKind>,
    expired: VecDeque<PeerExpired>,
}

/// A peer's certificate has expired: its carrier is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerExpired {
    /// The session.
    pub(crate) session: SessionNumber,
    /// The carrier over which the certificate was shown.
    pub(crate) carrier: CarrierNumber,
    /// The certificate.
    pub(crate) certificate: Arc<LeafSummary>,
}

/// A certificate, or a revocation list of the same owner by its place.
type Watched = (CertificateOwner, Option<usize>);

#[derive(Debug)]
struct Entry {
    what: What,
    end: i64,
    /// How many steps were told.
    told: usize,
}

#[derive(Debug, PartialEq)]
enum What {
    Certificate(Arc<LeafSummary>),
    List(RevocationList),
}

impl What {
    /// How long before the end each step is told, the last one aside, which is the end itself.
    fn ahead(&self) -> &'static [i64] {
        match self {
            Self::Certificate(_) => &AHEAD,
            Self::List(_) => &[],
        }
    }
}

impl Entry {
    /// How many steps are to be told at `now`.
    fn steps(&self, now: i64, skew: i64) -> usize {
        let ahead = self.what.ahead();
        let left = self.end.saturating_sub(now);
        if left <= -skew {
            return ahead.len() + 1;
        }
        ahead.iter().take_while(|ahead| left <= **ahead).count()
    }

    /// When the next step is due.
    fn due(&self, skew: i64) -> Option<i64> {
        let ahead = self.what.ahead();
        match ahead.get(self.told) {
            Some(ahead) => Some(self.end.saturating_sub(*ahead)),
            None if self.told == ahead.len() => Some(self.end.saturating_add(skew)),
            None => None,
        }
    }
}

impl Expiry {
    /// Nothing to watch yet.
    pub(crate) fn new(skew: Duration) -> Self {
        Self {
            skew: i64::try_from(skew.as_secs()).unwrap_or(i64::MAX),
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            last: i64::MIN,
            events: VecDeque::new(),
            expired: VecDeque::new(),
        }
    }

    /// Watches a certificate in place of the one that its owner had before. With the same one nothing is told again.
    pub(crate) fn handle_certificate(
        &mut self,
        now: i64,
        owner: CertificateOwner,
        certificate: Arc<LeafSummary>,
    ) {
        let end = certificate.not_after;
        self.watch(now, (owner, None), What::Certificate(certificate), end);
    }

    /// Watches the revocation lists of a bundle in place of those that its owner had before; likewise.
    pub(crate) fn handle_lists(&mut self, now: i64, owner: &CertificateOwner, lists: &[RevocationList]) {
        let stays = |place: usize| lists.get(place).is_some_and(|list| list.next_update.is_some());
        self.drop_of(owner, |place| place.is_some_and(|place| !stays(place)));
        for (place, list) in lists.iter().enumerate() {
            if let Some(end) = list.next_update {
                self.watch(now, (owner.clone(), Some(place)), What::List(list.clone()), end);
            }
        }
    }

    /// The owner has none any more.
    pub(crate) fn forget(&mut self, owner: &CertificateOwner) {
        self.drop_of(owner, |_| true);
    }

    /// All owners of one kind that are gone.
    pub(crate) fn retain(&mut self, keep: impl Fn(&CertificateOwner) -> bool) {
        self.entries.retain(|(owner, _), _| keep(owner));
        self.due.retain(|(_, (owner, _))| keep(owner));
    }

    /// The wall clock shows `now`.
    pub(crate) fn handle_time(&mut self, now: i64) {
        let back = now < self.last;
        self.last = now;
        let concerned: Vec<Watched> = if back {
            self.entries.keys().cloned().collect()
        } else {
            self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, watched)| watched.clone()).collect()
        };
        for watched in concerned {
            self.step(now, &watched);
        }
    }

    /// How long after `now` the clock is to be looked at again, for [`Expiry::handle_time`]: when something is due by
    /// it, and every [`LOOK`] in between and after all was told, because it may be set. `None` with nothing to watch.
    pub(crate) fn next_look(&self, now: i64) -> Option<Duration> {
        if self.entries.is_empty() {
            return None;
        }
        let left = self.due.first().map(|(due, _)| u64::try_from(due.saturating_sub(now)).unwrap_or(0));
        // A wall clock in whole seconds is behind by up to one.
        Some(left.map_or(LOOK, |left| Duration::from_secs(left.max(1)).min(LOOK)))
    }

    /// The wall time, Unix seconds, at which the next step is due.
    #[cfg(test)]
    fn poll_timeout(&self) -> Option<i64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// What there is to tell.
    pub(crate) fn poll_event(&mut self) -> Option<EventKind> {
        self.events.pop_front()
    }

    /// A peer whose certificate has expired.
    pub(crate) fn poll_expired(&mut self) -> Option<PeerExpired> {
        self.expired.pop_front()
    }

    fn watch(&mut self, now: i64, watched: Watched, what: What, end: i64) {
        if self.entries.get(&watched).is_some_and(|before| before.what == what) {
            return;
        }
        if let Some(before) = self.entries.insert(watched.clone(), Entry { what, end, told: 0 })
            && let Some(due) = before.due(self.skew)
        {
            self.due.remove(&(due, watched.clone()));
        }
        self.step(now, &watched);
    }

    /// Tells what is to be told of an entry, by its most urgent step, and sets its next.
    fn step(&mut self, now: i64, watched: &Watched) {
        let skew = self.skew;
        let Some(entry) = self.entries.get_mut(watched) else { return };
        if let Some(due) = entry.due(skew) {
            self.due.remove(&(due, watched.clone()));
        }
        let steps = entry.steps(now, skew);
        // A clock that is set back by a little takes nothing back.
        let told = entry.told.min(entry.steps(now.saturating_add(skew), skew));
        entry.told = told.max(steps);
        if let Some(due) = entry.due(skew) {
            self.due.insert((due, watched.clone()));
        }
        if steps > told {
            self.tell(now, watched);
        }
    }

    fn tell(&mut self, now: i64, (owner, place): &Watched) {
        let Some(entry) = self.entries.get(&(owner.clone(), *place)) else { return };
        let over = entry.told > entry.what.ahead().len();
        match (&entry.what, owner) {
            (What::List(list), _) => self.events.push_back(EventKind::RevocationListStale {
                owner: owner.clone(),
                issuer: Arc::clone(&list.issuer),
                next_update: entry.end,
            }),
            (What::Certificate(certificate), CertificateOwner::Peer { session, carrier }) if over => {
                let (session, carrier) = (*session, *carrier);
                let certificate = Arc::clone(certificate);
                self.expired.push_back(PeerExpired { session, carrier, certificate });
            }
            (What::Certificate(certificate), _) if over => {
                self.events.push_back(EventKind::CredentialsExpired {
                    owner: owner.clone(),
                    subject: Arc::clone(&certificate.subject),
                    serial: Arc::clone(&certificate.serial),
                    not_after: certificate.not_after,
                });
            }
            (What::Certificate(certificate), _) => {
                let left = u64::try_from(entry.end.saturating_sub(now)).unwrap_or(0);
                self.events.push_back(EventKind::CredentialsExpiring {
                    owner: owner.clone(),
                    subject: Arc::clone(&certificate.subject),
                    serial: Arc::clone(&certificate.serial),
                    not_after: certificate.not_after,
                    left: Duration::from_secs(left),
                });
            }
        }
    }

    fn drop_of(&mut self, owner: &CertificateOwner, which: impl Fn(Option<usize>) -> bool) {
        let of = (owner.clone(), None)..=(owner.clone(), Some(usize::MAX));
        let gone: Vec<Watched> =
            self.entries.range(of).map(|(watched, _)| watched.clone()).filter(|(_, at)| which(*at)).collect();
        for watched in gone {
            if let Some(due) = self.entries.remove(&watched).and_then(|entry| entry.due(self.skew)) {
                self.due.remove(&(due, watched));
            }
        }
    }
}

/// How long before its end a certificate is announced to expire: time to order a new one, to notice that none came,
/// to act by hand, and the last hour.
const AHEAD: [i64; 4] = [30 * 86_400, 7 * 86_400, 86_400, 3600];

/// How often a clock that may be set is looked at.
const LOOK: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
