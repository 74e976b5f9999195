//! A look at the streams of a session, a part at a time, so that their traffic waits for microseconds only.

use std::cmp::Reverse;
use std::time::Instant;

use crate::event::Destination;
use crate::id::SiteId;
use crate::net::shared::SessionHandle;
use crate::proto::session::StreamLook;
use crate::snapshot::{STALLED, StallCause, StallView, StreamView};
use crate::wire::frame::OpenTo;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Those that have waited longest, the longest first, then the others by their ids.
    pub(crate) longest: Vec<StreamView>,
    /// Bytes received and not read, of all.
    pub(crate) unread: u64,
    /// How many have moved nothing for [`STALLED`] though there was something to move.
    pub(crate) stalled: u64,
}

/// Looks at every stream and keeps `most`. `now_micros` is the wall clock at `now`.
pub(crate) fn look(
    handle: &SessionHandle,
    own_site: &SiteId,
    most: usize,
    now: Instant,
    now_micros: u64,
) -> Looked {
    let mut looked = Looked::default();
    let mut kept: Vec<StreamLook> = Vec::new();
    let mut first = 0;
    loop {
        // Streams that come and go meanwhile may be missed or seen; no stream is seen twice in one slot.
        let (part, slots) = handle.with(|session| {
            let part: Vec<_> = session.look(first..first + SLOTS_AT_ONCE).collect();
            (part, session.slots())
        });
        for stream in part {
            looked.unread += stream.unread;
            let since = waiting_since(&stream);
            if since.is_some_and(|since| now.saturating_duration_since(since) >= STALLED) {
                looked.stalled += 1;
            }
            kept.push(stream);
        }
        // Those that wait before those that do not, the longest first.
        kept.sort_by_key(|stream| {
            let waited = waiting_since(stream).map(|since| now.saturating_duration_since(since));
            (Reverse(waited), stream.id)
        });
        kept.truncate(most);
        first += SLOTS_AT_ONCE;
        if first >= slots {
            break;
        }
    }
    let peer = handle.peer();
    let ago = |since: Instant| {
        let micros = now.saturating_duration_since(since).as_micros();
        now_micros.saturating_sub(u64::try_from(micros).unwrap_or(u64::MAX))
    };
    let stall = |stall: Option<(StallCause, Instant)>| {
        stall.map(|(cause, since)| StallView { cause, since_micros: ago(since) })
    };
    looked.longest = kept
        .into_iter()
        .map(|stream| StreamView {
            stream: stream.id,
            destination: match stream.to {
                OpenTo::Key(key) => Destination::Key(key),
                OpenTo::Site if stream.by_peer => Destination::Site(own_site.clone()),
                OpenTo::Site => Destination::Site(peer.site_id.clone()),
            },
            by_peer: stream.by_peer,
            state: stream.state,
            opened_micros: stream.since.map(ago),
            sent_bytes: stream.sent,
            received_bytes: stream.received,
            queued_bytes: stream.queued,
            unread_bytes: stream.unread,
            credit_bytes: stream.credit,
            sending: stall(stream.sending),
            receiving: stall(stream.receiving),
        })
        .collect();
    looked
}

/// Since when the longer of its two waits lasts.
fn waiting_since(stream: &StreamLook) -> Option<Instant> {
    [stream.sending, stream.receiving].into_iter().flatten().map(|(_, since)| since).min()
}

/// Slots looked at under one lock: some ten microseconds.
const SLOTS_AT_ONCE: usize = 256;
