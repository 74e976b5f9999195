//! The status of a plane: what the fleet, the sessions, the paths and the ledger know, put together.
//!
//! Each of them is asked under its own short lock, a part at a time where there may be much; nothing waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::event::Destination;
use crate::id::SessionNumber;
use crate::net::clock;
use crate::net::hub::{Hub, lock};
use crate::net::stream_look::{self, Looked};
use crate::snapshot::{MAX_PATHS, MAX_WAITING, PathView, PlaneStatus, SessionView, StreamView};

impl Hub {
    /// Everything at this moment.
    pub(crate) fn status(&self) -> PlaneStatus {
        let as_of = self.fanout.newest();
        let (now, now_micros) = (clock::now(), clock::unix_micros());
        let mut status = self.fleet().snapshot(now, now_micros, as_of);
        lock(&self.ledger).fill(&mut status);
        for view in &mut status.links {
            let dialing = lock(&self.dialing);
            view.credentials = dialing.get(&view.link).map(|dialing| Arc::clone(&dialing.credentials));
        }
        for view in &mut status.accesses {
            let accesses = lock(&self.accesses);
            view.credentials = accesses.get(&view.access).map(|access| access.in_use.view());
        }
        for view in &mut status.sessions {
            self.look_into(now, now_micros, view);
        }
        self.look_at_paths(&mut status);
        status.opens = self.opens.counts();
        status.events = self.fanout.counts();
        status
    }

    /// The streams of a session that have waited longest, at most `most`; `None` if there is no such session.
    pub(crate) fn streams(&self, session: SessionNumber, most: usize) -> Option<Vec<StreamView>> {
        let handle = self.session(session)?;
        let (now, now_micros) = (clock::now(), clock::unix_micros());
        Some(stream_look::look(&handle, &self.local.site_id, most, now, now_micros).longest)
    }

    fn look_into(&self, now: Instant, now_micros: u64, view: &mut SessionView) {
        let Some(handle) = self.session(view.session) else { return };
        let (carriers, counts) = handle.with(|session| {
            view.traffic = session.traffic();
            view.streams = session.stream_count() as u64;
            view.window_bytes = session.pool_used();
            (session.carriers(now), session.stream_counts())
        });
        view.streams_opened = counts.opened;
        view.streams_opened_by_peer = counts.opened_by_peer;
        view.streams_refused = counts.turned_down;
        for carrier in &mut view.carriers {
            if let Some(live) = carriers.iter().find(|live| live.number == carrier.carrier) {
                carrier.round_trip = live.round_trip;
                carrier.traffic = live.traffic;
                carrier.last_received_ago = live.last_received_ago;
                carrier.unacknowledged_bytes = live.in_flight;
            }
        }
        let Looked { longest, unread, stalled } =
            stream_look::look(&handle, &self.local.site_id, MAX_WAITING, now, now_micros);
        view.unread_bytes = unread;
        view.streams_stalled = stalled;
        view.waiting =
            longest.into_iter().filter(|of| of.sending.is_some() || of.receiving.is_some()).collect();
    }

    fn look_at_paths(&self, status: &mut PlaneStatus) {
        let (mut destinations, total) = self.paths().destinations(MAX_PATHS);
        // Sites first: there are few of them, and they tell what is linked at all.
        destinations.sort_by(|a, b| {
            let is_key = |of: &Destination| matches!(of, Destination::Key(_));
            (is_key(a), a).cmp(&(is_key(b), b))
        });
        let mut chosen: HashMap<SessionNumber, u64> = HashMap::new();
        for part in destinations.chunks(PATHS_AT_ONCE) {
            let explained: Vec<_> = {
                let paths = self.paths();
                part.iter().map(|destination| paths.explain(destination)).collect()
            };
            for view in explained.into_iter().map(PathView::bounded) {
                if let Some(session) = view.chosen {
                    *chosen.entry(session).or_default() += 1;
                }
                status.paths.push(view);
            }
        }
        status.paths_left_out = total.saturating_sub(destinations.len()) as u64;
        for view in &mut status.sessions {
            view.chosen_for = chosen.get(&view.session).copied().unwrap_or(0);
        }
    }
}

/// Destinations explained under one lock, which opens of streams wait for: some ten microseconds.
const PATHS_AT_ONCE: usize = 32;
