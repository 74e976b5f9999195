//! What must be true of a session between any two calls, for tests that look at it then.

use crate::id::CarrierNumber;
use crate::proto::session::Session;
use crate::proto::session::key::StreamKey;
use crate::proto::session::schedule::Listed;
use crate::proto::session::stream::{Opening, RecvState, Stream};
use crate::wire::MIN_WINDOW;

impl Session {
    /// Checks credit, budgets and the counts kept beside the tables they count.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub(crate) fn audit(&self) -> Result<(), String> {
        let mut widened = 0;
        for (_, stream) in &self.streams {
            widened += stream.recv.window - MIN_WINDOW;
            stream
                .audit(self.params.limits.send_buffer.max(crate::wire::MAX_PAYLOAD + crate::wire::HEADER))?;
        }
        if self.ended().is_none() {
            let (listed, asking) = self.grown.census();
            let open = |stream: &Stream| stream.recv.state == RecvState::Open;
            let mut grown: Vec<_> = self
                .streams
                .iter()
                .filter(|(_, stream)| stream.recv.place > 0)
                .map(|(slot, stream)| (stream.recv.place, slot))
                .collect();
            grown.sort_unstable();
            hold(listed == grown, || format!("listed {listed:?}, grown {grown:?}"))?;
            let asked = self.streams.iter().filter(|(_, stream)| stream.pending.asked).count();
            hold(asked == asking, || format!("{asked} asked, {asking} counted"))?;
            let lost = self.streams.iter().find(|(_, stream)| {
                open(stream)
                    && stream.recv.window > MIN_WINDOW
                    && stream.recv.place == 0
                    && !stream.pending.asked
            });
            hold(lost.is_none(), || format!("a window that nobody will ask for: {lost:?}"))?;
        }
        let used = self.pool.used();
        hold(widened == used && used <= self.params.limits.pool, || {
            format!("windows {widened}, pool {used}")
        })?;
        let process = self.params.pool.used();
        hold(used <= process && process <= self.params.limits.process_pool, || {
            format!("process pool {process}")
        })?;
        hold(self.slots.len() == self.streams.len(), || "slots and streams differ".into())?;
        hold(self.fallen.len() <= 64, || format!("{} fallen carriers", self.fallen.len()))?;
        let waiting = self.streams.iter().filter(|(_, stream)| stream.opening == Opening::Waiting).count();
        hold(waiting == self.unaccepted && waiting <= self.params.limits.unaccepted, || {
            format!("{waiting} wait, {} counted", self.unaccepted)
        })?;
        if self.ended().is_some() {
            return hold(self.carriers.is_empty(), || "a carrier outlives the session".into());
        }
        for carrier in &self.carriers {
            let streams =
                self.streams.iter().filter(|(_, stream)| stream.carrier == Some(carrier.number)).count();
            hold(streams == carrier.streams, || format!("{streams} streams, {} counted", carrier.streams))?;
        }
        for (_, stream) in &self.streams {
            self.audit_place(stream)?;
        }
        Ok(())
    }

    /// A stream has a carrier, live or unsettled, as long as there is any; on a live one what it has to send is listed.
    fn audit_place(&self, stream: &Stream) -> Result<(), String> {
        let Some(number) = stream.carrier else {
            return hold(self.carriers.is_empty(), || format!("no carrier for {stream:?}"));
        };
        if self.find(number).is_none() {
            let unsettled = self.fallen.iter().any(|fallen| fallen.count().number == number);
            return hold(unsettled, || format!("nobody will move {stream:?}"));
        }
        let listed = (!stream.has_control() || stream.turn.control)
            && (!stream.wants_data() || stream.turn.data != Listed::No);
        hold(listed, || format!("nobody will send what waits of {stream:?}"))
    }

    /// Whether the counts of all dead carriers are settled and no attempt to join is open.
    pub(crate) fn is_settled(&self) -> bool {
        self.fallen.is_empty() && self.farewells.is_empty() && self.attempted.is_empty()
    }

    /// Whether a live carrier is on its way out here.
    pub(crate) fn is_retiring(&self, number: CarrierNumber) -> bool {
        self.carriers.iter().any(|carrier| carrier.number == number && carrier.retiring.is_some())
    }

    /// Whether any live carrier is.
    pub(crate) fn has_retiring(&self) -> bool {
        self.carriers.iter().any(|carrier| carrier.retiring.is_some())
    }

    /// Whether a carrier that was to send no more does so all the same, since there is no other.
    pub(crate) fn has_come_back(&self) -> bool {
        self.carriers.iter().any(crate::proto::session::carrier::Carrier::has_come_back)
    }

    /// Whether a carrier that is under suspicion keeps streams that are to leave it, though another would take them.
    pub(crate) fn waits_in_vain(&self) -> bool {
        let lasts = |number: CarrierNumber| !self.is_retiring(number);
        let refuge = self.carriers.iter().any(|carrier| !carrier.life.suspect && lasts(carrier.number));
        refuge && self.carriers.iter().any(|carrier| carrier.life.suspect && !lasts(carrier.number))
    }

    /// What a carrier's driver would send if it was asked, though it waits to be woken. Frames that are logged may go a
    /// little beyond the bound on data in flight; whether they do is not judged here.
    pub(crate) fn sleeps_on(&self, number: CarrierNumber) -> Option<&'static str> {
        let index = self.find(number)?;
        let carrier = &self.carriers[index];
        carrier.driver.as_ref()?;
        let (in_flight, bound) = (carrier.log.in_flight(), carrier.flight_cap());
        if self.is_frozen(index) {
            let all_said = self.next_retire(index).is_none();
            return match all_said {
                false => (in_flight < bound).then_some("RETIRE"),
                true => self.has_retired(index).map(|_| "a close"),
            };
        }
        if in_flight >= bound {
            return None;
        }
        let owner = |key: StreamKey| {
            let stream = self.streams.get(key.slot as usize);
            stream.filter(|stream| stream.id == key.id && stream.carrier == Some(number))
        };
        let data = carrier.schedule.next_data().and_then(owner);
        [
            (carrier.log.has_resend(), "a tail"),
            (!self.leaves_it_to_others(index) && self.has_session_control(index), "what is of no stream"),
            (carrier.schedule.next_control().and_then(owner).is_some(), "control"),
            (data.is_some_and(Stream::wants_data), "data"),
        ]
        .into_iter()
        .find_map(|(waits, what)| waits.then_some(what))
    }

    /// The numbers of the live carriers.
    pub(crate) fn live_numbers(&self) -> impl Iterator<Item = CarrierNumber> {
        self.carriers.iter().map(|carrier| carrier.number)
    }

    /// The id of the stream that is opened next.
    pub(crate) fn next_stream_id(&self) -> u64 {
        self.opened * 2 + u64::from(self.params.side == crate::id::Side::Acceptor)
    }

    /// Bytes in flight on a carrier, and the bound on them.
    pub(crate) fn flight(&self, number: CarrierNumber) -> Option<(u64, u64)> {
        let carrier = &self.carriers[self.find(number)?];
        Some((carrier.log.in_flight(), carrier.flight_cap()))
    }

    /// What is not as it is at rest, for the message of a failed test.
    pub(crate) fn unrest(&self) -> String {
        let streams: Vec<_> = self.streams.iter().map(|(_, stream)| stream).collect();
        let carriers: Vec<_> =
            self.carriers.iter().map(|carrier| (carrier.number, carrier.log.in_flight())).collect();
        let (fallen, attempted, farewells) = (&self.fallen, &self.attempted, &self.farewells);
        format!(
            "carriers {carriers:?} fallen {fallen:?} attempted {attempted:?} farewells {farewells:?} streams {streams:#?}"
        )
    }
}

impl Stream {
    fn audit(&self, send_buffer: usize) -> Result<(), String> {
        let (send, recv) = (&self.send, &self.recv);
        let queued: usize = send.queue.iter().map(bytes::Bytes::len).sum();
        let unread: usize = recv.queue.iter().map(bytes::Bytes::len).sum();
        let sound = send.sent <= send.limit
            && send.queued == queued
            && queued <= send_buffer
            && recv.received <= recv.limit
            && (recv.state != RecvState::Open || recv.limit <= recv.consumed + recv.window)
            && recv.window >= MIN_WINDOW
            && recv.queued() == unread as u64
            && unread as u64 <= recv.window;
        hold(sound, || format!("unsound stream {self:?}"))
    }
}

fn hold(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
