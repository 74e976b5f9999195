//! What must hold of the uplinks of an edge plane after every step of a simulated world.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::config::Selection;
use crate::event::Destination;
use crate::id::{Cost, GroupName, LinkId, SessionNumber};
use crate::proto::facts::FleetAction;
use crate::proto::fleet::Fleet;
use crate::proto::paths::Paths;
use crate::proto::roster::Member;
use crate::snapshot::{PlaneStatus, SessionState, SessionView};

/// Real paths that are told what the fleet tells them, what the peers' sessions are told, and the near past.
pub(super) struct UplinkLaws {
    stable_after: Duration,
    paths: Paths,
    /// Which sessions take streams of their peers; each does as it begins.
    open_to_peers: BTreeMap<SessionNumber, bool>,
    active: Option<Uplink>,
    /// When places lost their turn because they became unfit.
    failed: BTreeMap<Place, Instant>,
    /// Since when sessions have been fit without a break.
    fit: BTreeMap<SessionNumber, Instant>,
    /// How often the turn went from one that failed to one that was fit, and from one that was fit to a better one.
    pub(super) failovers: u64,
    pub(super) returns: u64,
}

type Place = (LinkId, GroupName);

/// A session that has not ended, in order of preference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Uplink {
    /// By which of two is fitter: fit, suspect, without a carrier, draining.
    fitness: u8,
    cost: Cost,
    link: LinkId,
    rank: usize,
    session: SessionNumber,
    group: GroupName,
    standby: bool,
}

impl Uplink {
    fn place(&self) -> Place {
        (self.link, self.group.clone())
    }

    fn is_fit(&self) -> bool {
        self.fitness == 0
    }
}

impl UplinkLaws {
    pub(super) fn new(stable_after: Duration) -> Self {
        Self {
            stable_after,
            paths: Paths::new(1, Selection::Balanced),
            open_to_peers: BTreeMap::new(),
            active: None,
            failed: BTreeMap::new(),
            fit: BTreeMap::new(),
            failovers: 0,
            returns: 0,
        }
    }

    /// Takes one of the fleet's actions.
    pub(super) fn act(&mut self, fleet: &Fleet, action: &FleetAction) -> Result<(), String> {
        match action {
            FleetAction::Path(change) => self.paths.handle_change(change.clone()),
            FleetAction::SetActive { session, active } => {
                self.open_to_peers.insert(*session, *active);
                // What is over takes no streams: it has ended, or is told to before.
                let lives = |session| fleet.roster.member(session).is_some_and(|member| !member.ending);
                self.open_to_peers.retain(|session, _| lives(*session));
                let open = self.open_to_peers.iter().filter(|(_, open)| **open).count();
                if open > 1 {
                    return Err(format!("two take streams of their peers: {:?}", self.open_to_peers));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The fleet asks for nothing more: this is what it says now.
    pub(super) fn settled(&mut self, now: Instant, fleet: &Fleet) -> Result<(), String> {
        let status = &fleet.snapshot(now, 0, 0);
        let uplinks = uplinks(fleet, status);
        let active = one_is_active(&uplinks)?;
        self.others_are_closed_to_peers(&uplinks, active.as_ref())?;
        self.paths_lead_over_the_active_one(status, active.as_ref())?;
        self.note(now, status, &uplinks);
        if let Some(active) = &active {
            self.it_does_not_flap(now, &uplinks, active)?;
        }
        self.active = active;
        Ok(())
    }

    /// At the edge's own end: of its sessions no other takes streams of a peer.
    fn others_are_closed_to_peers(
        &mut self,
        uplinks: &[Uplink],
        active: Option<&Uplink>,
    ) -> Result<(), String> {
        let living: BTreeSet<_> = uplinks.iter().map(|uplink| uplink.session).collect();
        self.open_to_peers.retain(|session, _| living.contains(session));
        for session in living {
            self.open_to_peers.entry(session).or_insert(true);
        }
        let open: Vec<_> = self.open_to_peers.iter().filter(|(_, open)| **open).map(|(of, _)| *of).collect();
        let expected: Vec<_> = active.iter().map(|active| active.session).collect();
        if open == expected { Ok(()) } else { Err(format!("{open:?} take streams of their peers")) }
    }

    /// A stream that is opened now goes over the active one, if that is fit, and over no other.
    fn paths_lead_over_the_active_one(
        &self,
        status: &PlaneStatus,
        active: Option<&Uplink>,
    ) -> Result<(), String> {
        let sites: BTreeSet<_> = status.sessions.iter().map(|view| view.peer.site_id.clone()).collect();
        let candidates =
            sites.into_iter().flat_map(|site| self.paths.explain(&Destination::Site(site)).candidates);
        let eligible: Vec<_> = candidates.filter(|of| of.why_not.is_none()).map(|of| of.session).collect();
        let expected: Vec<_> =
            active.iter().filter(|active| active.is_fit()).map(|active| active.session).collect();
        if eligible == expected {
            Ok(())
        } else {
            Err(format!("{eligible:?} are eligible, not {expected:?}"))
        }
    }

    fn note(&mut self, now: Instant, status: &PlaneStatus, uplinks: &[Uplink]) {
        let fit: BTreeSet<_> =
            uplinks.iter().filter(|uplink| uplink.is_fit()).map(|uplink| uplink.session).collect();
        if let Some(before) = self.active.as_ref().filter(|before| before.is_fit())
            && !fit.contains(&before.session)
        {
            self.failed.insert(before.place(), now);
        }
        self.failed.retain(|(link, group), _| {
            let known = status.links.iter().filter(|view| view.link == *link);
            known.flat_map(|view| &view.groups).any(|view| view.name == *group)
        });
        self.fit.retain(|session, _| fit.contains(session));
        for session in fit {
            self.fit.entry(session).or_insert(now);
        }
    }

    fn it_does_not_flap(&mut self, now: Instant, uplinks: &[Uplink], active: &Uplink) -> Result<(), String> {
        let stable: Vec<_> = uplinks
            .iter()
            .filter(|of| self.fit.get(&of.session).is_some_and(|since| *since + self.stable_after <= now))
            .collect();
        if let Some(better) = stable.iter().find(|of| **of < active) {
            return Err(format!("{better:?} is better for long, and {active:?} is active"));
        }
        let Some(before) = self.active.as_ref().filter(|before| before.session != active.session) else {
            return Ok(());
        };
        if !active.is_fit() {
            return Ok(());
        }
        let failed = self.failed.get(&active.place());
        let recently = failed.is_some_and(|failed| *failed + self.stable_after > now);
        if self.fit.contains_key(&before.session) {
            self.returns += 1;
            if recently {
                return Err(format!(
                    "{active:?} flaps: it failed of late, and takes the turn from {before:?}"
                ));
            }
        } else {
            self.failovers += 1;
            if recently && !stable.is_empty() {
                return Err(format!("{active:?} failed of late, and is preferred to {stable:?}"));
            }
        }
        Ok(())
    }
}

/// Of those that have not ended exactly one is active, and none is fitter.
fn one_is_active(uplinks: &[Uplink]) -> Result<Option<Uplink>, String> {
    let mut active = uplinks.iter().filter(|uplink| !uplink.standby);
    let best = uplinks.iter().map(|uplink| uplink.fitness).min();
    match (active.next(), active.next()) {
        (None, None) if uplinks.is_empty() => Ok(None),
        (Some(active), None) if Some(active.fitness) == best => Ok(Some(active.clone())),
        _ => Err(format!("not one is active, or another is fitter: {uplinks:#?}")),
    }
}

fn uplinks(fleet: &Fleet, status: &PlaneStatus) -> Vec<Uplink> {
    let living = status.sessions.iter().filter(|view| view.state != SessionState::Ending);
    living.filter_map(|view| Some(uplink(fleet.roster.member(view.session)?, status, view))).collect()
}

fn uplink(member: &Member, status: &PlaneStatus, view: &SessionView) -> Uplink {
    let link = view.link.expect("an edge plane accepts nobody");
    let known = status.links.iter().find(|known| known.link == link);
    let rank = known.and_then(|known| known.groups.iter().position(|group| group.name == view.group));
    let fitness = match view.state {
        // A session without a carrier that is to drain is said to recover.
        _ if member.drain.is_some() || member.peer_draining => 3,
        SessionState::Up => 0,
        SessionState::Suspect => 1,
        SessionState::Recovering => 2,
        SessionState::Draining | SessionState::Ending => 3,
    };
    Uplink {
        fitness,
        cost: view.cost,
        link,
        rank: rank.unwrap_or(usize::MAX),
        session: view.session,
        group: view.group.clone(),
        standby: view.standby,
    }
}
