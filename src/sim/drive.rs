//! The drivers of the world: what the real one does with a socket, done with a pipe.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::error::CarrierEnd;
use crate::proto::session::{Piece, Transmit};
use crate::sim::faults::Fault;
use crate::sim::wire::Stage;
use crate::sim::world::World;
use crate::wire::MAX_PAYLOAD;

impl World {
    /// Hands on everything that has arrived at one end of a wire.
    pub(super) fn receive(&mut self, index: usize, end: usize) -> Result<(), String> {
        loop {
            let (now, wire) = (self.now, &mut self.wires[index]);
            let (driver, pipe) = (&mut wire.drivers[end], &mut wire.pipes[1 - end]);
            if driver.stage == Stage::Over {
                return Ok(());
            }
            if let Some(at) = driver.rest_at {
                if at > now {
                    return Ok(());
                }
                self.hand_over(index, end)?;
                continue;
            }
            if driver.loss_seen_at.is_some_and(|at| at <= now) {
                return self.lose(index, end, CarrierEnd::Io(std::io::ErrorKind::ConnectionReset));
            }
            if let Some(bytes) = pipe.read(now) {
                self.take_bytes(index, end, &bytes)?;
                continue;
            }
            if pipe.has_ended(now) {
                return self.lose(index, end, CarrierEnd::Eof);
            }
            if [driver.deadline, driver.gives_up_at].into_iter().flatten().any(|at| at <= now) {
                return self.lose(index, end, CarrierEnd::Io(std::io::ErrorKind::TimedOut));
            }
            return Ok(());
        }
    }

    fn take_bytes(&mut self, index: usize, end: usize, bytes: &Bytes) -> Result<(), String> {
        let mut input = &bytes[..];
        let mut frames = Vec::new();
        while let Some(decoded) = {
            let driver = &mut self.wires[index].drivers[end];
            driver.decoder.decode(&mut input).map_err(|error| format!("law 4: {error} at end {end}"))?
        } {
            match self.wires[index].drivers[end].stage {
                Stage::Greeting => self.greet(index, end, decoded)?,
                Stage::Up => frames.push(decoded),
                // Nothing counts any more.
                Stage::Leaving | Stage::Aside | Stage::Over => {}
            }
        }
        let (number, now) = (self.wires[index].number, self.instant());
        if self.wires[index].drivers[end].stage != Stage::Up {
            return Ok(());
        }
        self.wires[index].drivers[end].idle = false;
        self.script.note(self.now, "receive", [number.0.into(), end as u64, bytes.len() as u64]);
        for frame in &frames {
            self.script.tell(self.now, &(end, number, &Brief(frame)));
        }
        // Of some reads the half is handed over, and the rest when those whom it concerned have taken their time.
        let pause = (bytes.len() % PORTIONED == 1)
            .then(|| Duration::from_millis((bytes.len() / PORTIONED) as u64 % LONGEST_PAUSE));
        let half = if pause.is_some() { frames.len().div_ceil(2) } else { frames.len() };
        let rest = frames.split_off(half);
        let waits = !rest.is_empty();
        self.act(end, |session| {
            session.handle_bytes(now, number, bytes.len());
            session.handle_frames(now, number, frames.drain(..));
            session.frames_wait(now, number, waits);
        })?;
        let driver = &mut self.wires[index].drivers[end];
        driver.rest_at = pause.filter(|_| waits).map(|pause| self.now + pause);
        driver.rest = rest;
        Ok(())
    }

    /// Hands over the rest of a read.
    fn hand_over(&mut self, index: usize, end: usize) -> Result<(), String> {
        let (number, now) = (self.wires[index].number, self.instant());
        let driver = &mut self.wires[index].drivers[end];
        driver.rest_at = None;
        let mut rest = std::mem::take(&mut driver.rest);
        if driver.stage != Stage::Up {
            // Nothing counts any more.
            return Ok(());
        }
        driver.idle = false;
        self.script.note(self.now, "rest", [number.0.into(), end as u64, rest.len() as u64]);
        self.act(end, |session| {
            session.handle_frames(now, number, rest.drain(..));
            session.frames_wait(now, number, false);
        })?;
        Ok(())
    }

    /// Sends what the pipe takes: the rest of the last batch, then more.
    pub(super) fn send(&mut self, index: usize, end: usize) -> Result<(), String> {
        loop {
            self.flush(index, end);
            let (number, now) = (self.wires[index].number, self.instant());
            let driver = &mut self.wires[index].drivers[end];
            if driver.stage == Stage::Leaving && driver.outbox.is_empty() {
                self.wires[index].pipes[end].close(self.now);
            }
            let driver = &mut self.wires[index].drivers[end];
            if driver.bell.was_rung() {
                driver.idle = false;
            }
            if driver.stage != Stage::Up || driver.idle || !driver.outbox.is_empty() {
                return Ok(());
            }
            let (waker, mut pieces) = (driver.bell.waker(), Vec::new());
            let flight =
                |world: &Self| world.ends[end].session.as_ref().and_then(|session| session.flight(number));
            let before = flight(self).map_or(0, |(bytes, _)| bytes);
            let Some(said) =
                self.act(end, |session| session.poll_transmit(now, number, &mut pieces, &waker))?
            else {
                return Ok(());
            };
            if let Some((bytes, cap)) = flight(self)
                && bytes > before.max(cap + SLACK)
            {
                return Err(format!("law 2: {bytes} bytes in flight, bound {cap}"));
            }
            let sent: usize = pieces.iter().map(Piece::len).sum();
            if said != Transmit::Idle {
                self.script.note(self.now, "send", [number.0.into(), end as u64, sent as u64]);
            }
            self.wires[index].drivers[end].outbox = join(&pieces);
            match said {
                Transmit::Batch => {}
                Transmit::Last | Transmit::Idle => self.wires[index].drivers[end].idle = true,
                Transmit::Farewell => self.say_farewell(index, end)?,
                Transmit::Gone => self.lose(index, end, CarrierEnd::Replaced)?,
                Transmit::Fenced => {
                    let driver = &mut self.wires[index].drivers[end];
                    driver.stage = Stage::Aside;
                    driver.outbox.clear();
                    driver.deadline = Some(self.now + Duration::from_secs(5));
                }
            }
        }
    }

    /// Sends what is in the outbox and then ends the connection, waiting for the peer's end a moment.
    pub(super) fn say_farewell(&mut self, index: usize, end: usize) -> Result<(), String> {
        let driver = &mut self.wires[index].drivers[end];
        driver.stage = Stage::Leaving;
        driver.deadline = Some(self.now + Duration::from_secs(1));
        self.flush(index, end);
        Ok(())
    }

    /// Puts into the pipe what it takes; the pipe may break by it.
    pub(super) fn flush(&mut self, index: usize, end: usize) {
        let wire = &mut self.wires[index];
        if wire.drivers[end].outbox.is_empty() || wire.drivers[end].stage == Stage::Over {
            return;
        }
        let before = wire.drivers[end].outbox.len();
        let broke = wire.pipes[end].write(self.now, &mut wire.drivers[end].outbox);
        let driver = &mut wire.drivers[end];
        if driver.outbox.len() < before {
            driver.gives_up_at = (!driver.outbox.is_empty()).then_some(self.now + self.plan.liveness.dead);
        } else {
            driver.gives_up_at.get_or_insert(self.now + self.plan.liveness.dead);
        }
        if !broke {
            return;
        }
        self.script.note(self.now, "pipe breaks", [wire.number.0.into(), end as u64, 0]);
        match wire.fault {
            Fault::Cut { seen, lose, .. } => wire.sever(self.now, seen, lose),
            Fault::HalfOpen { seen, .. } => wire.show(self.now, seen),
            _ => {}
        }
    }
}

/// The pieces as bytes.
fn join(pieces: &[Piece]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(pieces.iter().map(Piece::len).sum());
    for piece in pieces {
        bytes.extend_from_slice(piece.head());
        bytes.extend_from_slice(piece.payload());
    }
    bytes.freeze()
}

/// A frame without its data.
struct Brief<'a>(&'a crate::wire::decoder::Decoded);

impl std::fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0.frame {
            crate::wire::frame::Frame::Data { stream, payload } => {
                write!(f, "Data({stream:?}, {})", payload.len())
            }
            frame => write!(f, "{frame:?}"),
        }
    }
}

/// Control may exceed the bound by 64 KiB and then by the frames of one stream; data by one frame.
const SLACK: u64 = (64 << 10) + (5 << 10) + MAX_PAYLOAD as u64 + 4;

/// One read in so many, by its length, is handed over in two halves.
const PORTIONED: usize = 8;

/// Milliseconds between them at most: longer than the least suspicion.
const LONGEST_PAUSE: u64 = 300;
