//! The laws a session keeps whatever its peer says.

use bytes::Bytes;

use super::World;
use crate::error::CarrierEnd;
use crate::id::Side;
use crate::proto::session::entries::LIMITS;
use crate::proto::session::pace::MOST_FLIGHT;
use crate::proto::session::recover::MAX_FALLEN;
use crate::proto::session::stream::{Opening, RecvState};
use crate::wire::MIN_WINDOW;
use crate::wire::code::CloseCode;

impl World {
    /// The laws that hold after every step.
    pub(super) fn audit(&mut self) {
        while self.session.poll_event().is_some() {}
        while self.session.poll_key().is_some() {}
        self.session.take_wakers().wake();
        self.audit_streams();
        self.audit_carriers();
        let session = &self.session;
        let limit = LIMITS.unaccepted;
        assert!(session.unaccepted <= limit, "{} streams wait", session.unaccepted);
        assert!(session.waiting.len() <= 2 * limit, "{} deadlines kept", session.waiting.len());
        assert!(session.incoming.len() <= 2 * limit, "{} announcements kept", session.incoming.len());
        assert!(session.fallen.len() <= MAX_FALLEN, "{} carriers unsettled", session.fallen.len());
        if session.ended().is_none() {
            let waiting =
                session.streams.iter().filter(|(_, stream)| stream.opening == Opening::Waiting).count();
            assert_eq!(session.unaccepted, waiting, "streams that wait were miscounted");
        }
    }

    pub(super) fn audit_streams(&self) {
        let session = &self.session;
        assert_eq!(session.streams.len(), session.slots.len(), "a stream without an entry");
        let parity = u64::from(self.side == Side::Dialer);
        let of_peer = session.streams.iter().filter(|(_, stream)| stream.id.0 % 2 == parity).count();
        assert!(of_peer as u64 <= LIMITS.max_streams, "the peer has {of_peer} streams");
        let (mut grown, mut held) = (0, 0);
        for (_, stream) in &session.streams {
            let (recv, send) = (&stream.recv, &stream.send);
            assert_eq!(recv.queued(), recv.queue.iter().map(Bytes::len).sum::<usize>() as u64);
            assert!(recv.consumed <= recv.received && recv.received <= recv.limit, "{recv:?}");
            if recv.state == RecvState::Open {
                assert!(recv.limit <= recv.consumed + recv.window, "{recv:?}");
            }
            assert_eq!(send.queued, send.queue.iter().map(Bytes::len).sum::<usize>());
            assert!(send.sent <= send.limit && send.queued <= LIMITS.send_buffer, "{send:?}");
            grown += recv.window - MIN_WINDOW;
            held += recv.queued();
        }
        assert_eq!(grown, session.pool_used(), "the pool was miscounted");
        assert_eq!(grown, session.params.pool.used(), "the process's pool was miscounted");
        assert!(grown <= LIMITS.pool, "{grown} bytes out of the pool");
        assert!(held <= session.streams.len() as u64 * MIN_WINDOW + LIMITS.pool, "{held} bytes unread");
        for (id, far) in &self.streams {
            let granted = far.granted.max(MIN_WINDOW);
            // What was sent again came twice, so only what one carrier brought is held against it.
            let again = session.traffic().resent_bytes;
            assert!(far.received <= granted.saturating_add(again), "{id:?}: sent beyond its credit");
        }
    }

    pub(super) fn audit_carriers(&mut self) {
        let session = &self.session;
        match session.ended() {
            Some(_) => assert!(session.carriers.is_empty(), "an ended session has carriers"),
            None => assert_eq!(
                session.carriers.is_empty(),
                session.poll_session_timeout().is_some() && session.is_recovering(),
                "a session without a carrier waits for none, or the reverse"
            ),
        }
        for carrier in &session.carriers {
            self.cap = self.cap.max(carrier.flight_cap());
            let sending =
                session.streams.iter().filter(|(_, stream)| stream.carrier == Some(carrier.number)).count();
            assert_eq!(sending, carrier.streams, "the streams of {:?} were miscounted", carrier.number);
            let in_flight = carrier.log.in_flight();
            assert!(in_flight <= self.cap + FLIGHT_SLACK, "{in_flight} bytes in flight");
        }
        assert!(self.cap <= MOST_FLIGHT, "{} bytes may be in flight", self.cap);
    }

    /// The application lets go of everything and the session is closed: nothing may be left.
    pub(super) fn wind_up(&mut self) {
        self.session.close(self.now, CloseCode::NORMAL);
        self.audit();
        for far in self.carriers.iter().map(|far| far.number).collect::<Vec<_>>() {
            self.transmit(far);
            self.session.handle_carrier_lost(self.now, far, CarrierEnd::Eof);
        }
        self.held.drain(..).for_each(|key| self.session.release(key));
        self.audit();
        assert_eq!(self.session.stream_count(), 0, "streams outlive their session and its application");
        assert_eq!(self.session.pool_used(), 0, "a window outlives its stream");
        assert!(self.session.farewells.is_empty(), "a farewell outlives its carrier");
    }
}

/// What a log may hold beyond the bound on data in flight: control's slack, and the frames that cross the line.
const FLIGHT_SLACK: u64 = (64 << 10) + (24 << 10);
