//! One stream as its two applications live it, and what each half was given and has got.

use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;

use crate::error::StreamError;
use crate::id::StreamId;
use crate::proto::session::{OpenFailure, OpenRequest, Session, StreamKey};
use crate::sim::content::content;
use crate::sim::wire::Bell;
use crate::wire::code::StreamCode;

/// A stream.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) id: StreamId,
    /// What its open said.
    pub(super) request: OpenRequest,
    /// By end.
    pub(super) holds: [Hold; 2],
    /// By the end that sends.
    pub(super) halves: [Half; 2],
    pub(super) random: fastrand::Rng,
}

/// One application's side of it.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) stage: Stage,
    /// What it wants.
    pub(super) habit: Habit,
    write_bell: Bell,
    read_bell: Bell,
    /// Waits for its bell.
    write_waits: bool,
    read_waits: bool,
}

/// How far a hold has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The open has not arrived.
    Unborn,
    /// Opened here, no verdict yet.
    Asked(StreamKey),
    /// Opened by the peer; accepted or refused so many turns from now.
    Waiting(StreamKey, u32),
    /// Both may write and read.
    Open(StreamKey),
    /// Refused.
    Refused(StreamKey),
    /// Let go.
    Released,
}

/// What an application will do with its side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    /// How much it writes.
    pub(super) goal: u64,
    /// And then.
    pub(super) ending: Ending,
    /// How it reads.
    pub(super) reader: Reader,
    /// As acceptor: the turns before it decides, and a refusal.
    pub(super) decides: (u32, Option<StreamCode>),
}

/// What comes after the last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Finish,
    Reset,
    /// Lets go of everything.
    Release,
    /// Nothing, until all is well.
    Linger,
}

/// How an application reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Quick,
    /// One chunk a turn.
    Slow,
    /// Not at all, until everyone else is done.
    Stalled,
    /// Up to there, then stops.
    Until(u64),
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Half {
    written: u64,
    read: u64,
    /// The writer finished.
    finished: bool,
    /// The writer reset it, or let go of it unfinished.
    reset: Option<StreamCode>,
    /// The reader stopped, or let go of it.
    stopped: Option<StreamCode>,
    /// The writer was told that nobody listens.
    failed: bool,
    /// What the reader saw last: the end, or an error.
    seen: Option<Result<(), StreamError>>,
    /// The acceptor refused, or might have.
    refused: bool,
}

impl Hold {
    pub(super) fn new(habit: Habit) -> Self {
        Self {
            stage: Stage::Unborn,
            habit,
            write_bell: Bell::default(),
            read_bell: Bell::default(),
            write_waits: false,
            read_waits: false,
        }
    }
}

impl Flow {
    /// Whether both applications have let go, or never had it.
    pub(super) fn is_done(&self) -> bool {
        self.holds.iter().all(|hold| matches!(hold.stage, Stage::Unborn | Stage::Released))
    }

    /// Whether one of them does not read.
    pub(super) fn is_stalled(&self) -> bool {
        self.holds.iter().any(|hold| hold.habit.reader == Reader::Stalled)
    }

    /// From now on both read and come to an end.
    pub(super) fn relent(&mut self, stalled_too: bool) {
        for hold in &mut self.holds {
            if hold.habit.reader != Reader::Stalled || stalled_too {
                hold.habit.reader = Reader::Quick;
            }
            if hold.habit.ending == Ending::Linger {
                hold.habit.ending = Ending::Finish;
            }
            hold.habit.decides.0 = 0;
            if let Stage::Waiting(_, turns) = &mut hold.stage {
                *turns = 0;
            }
        }
    }

    /// One application does what it can now. Returns whether anything moved.
    pub(super) fn turn(&mut self, end: usize, session: &mut Session, now: Instant) -> Result<bool, String> {
        let before = (self.holds[end].stage, self.halves[end].written, self.halves[1 - end].read);
        match self.holds[end].stage {
            Stage::Unborn | Stage::Released => return Ok(false),
            Stage::Refused(key) => self.release(end, session, key),
            Stage::Asked(key) => {
                self.hear_verdict(end, session, key)?;
                self.write(end, session, key)?;
                self.come_to_an_end(end, session);
            }
            Stage::Waiting(key, turns) => self.decide(end, session, key, turns),
            Stage::Open(key) => {
                self.write(end, session, key)?;
                self.read(end, session, key, now)?;
                self.come_to_an_end(end, session);
            }
        }
        Ok(before != (self.holds[end].stage, self.halves[end].written, self.halves[1 - end].read))
    }

    fn hear_verdict(&mut self, end: usize, session: &mut Session, key: StreamKey) -> Result<(), String> {
        let verdict = session.poll_verdict(key, &self.holds[end].write_bell.waker());
        self.holds[end].stage = match verdict {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => Stage::Open(key),
            Poll::Ready(Err(OpenFailure::Refused(code))) => {
                let by_session =
                    [StreamCode::BUSY, StreamCode::NOT_SERVED, StreamCode::TIMED_OUT].contains(&code);
                if !by_session && !self.halves[1 - end].refused {
                    return Err(format!("law 8: {:?} was never refused", self.id));
                }
                self.halves[end].failed = true;
                self.halves[1 - end].refused = true;
                Stage::Refused(key)
            }
            Poll::Ready(Err(OpenFailure::Unknown(why) | OpenFailure::NeverSent(why))) => {
                if session.ended() != Some(&why) {
                    return Err(format!("law 1: {:?} lost with a session that is not: {why:?}", self.id));
                }
                Stage::Refused(key)
            }
            Poll::Ready(Err(failure)) => return Err(format!("{failure:?} is no verdict")),
        };
        if matches!(self.holds[end].stage, Stage::Open(_))
            && !matches!(self.holds[1 - end].stage, Stage::Open(_) | Stage::Released)
        {
            return Err(format!("law 8: {:?} was never accepted", self.id));
        }
        Ok(())
    }

    fn decide(&mut self, end: usize, session: &mut Session, key: StreamKey, turns: u32) {
        self.holds[end].stage = match (turns, self.holds[end].habit.decides.1) {
            (1.., _) => Stage::Waiting(key, turns - 1),
            (0, Some(code)) => {
                self.halves[end].refused = true;
                session.refuse(key, code);
                Stage::Refused(key)
            }
            (0, None) if session.accept(key) => Stage::Open(key),
            // It waited for too long.
            (0, None) => Stage::Refused(key),
        };
    }

    fn write(&mut self, end: usize, session: &mut Session, key: StreamKey) -> Result<(), String> {
        let (hold, half) = (&mut self.holds[end], &mut self.halves[end]);
        while half.written < hold.habit.goal && !half.failed && half.reset.is_none() {
            if hold.write_waits && !hold.write_bell.was_rung() {
                return Ok(());
            }
            let want = self
                .random
                .usize(1..40_000)
                .min(usize::try_from(hold.habit.goal - half.written).unwrap_or(1));
            hold.write_waits = false;
            match session.poll_reserve(key, want, &hold.write_bell.waker()) {
                Poll::Pending => hold.write_waits = true,
                Poll::Ready(Ok(room)) => {
                    let bytes = content(self.id, end, half.written, room);
                    half.written += room as u64;
                    session
                        .write(key, bytes)
                        .map_err(|error| format!("law 3: no room after all: {error}"))?;
                }
                Poll::Ready(Err(error)) => {
                    half.failed = true;
                    let just = match &error {
                        StreamError::Stopped(code) => half.stopped == Some(*code),
                        StreamError::Refused(_) => matches!(hold.stage, Stage::Asked(_)),
                        StreamError::SessionLost(why) => session.ended() == Some(why),
                        _ => false,
                    };
                    if !just {
                        return Err(format!("law 1: {:?}: writing fails with {error:?}: {half:?}", self.id));
                    }
                }
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        end: usize,
        session: &mut Session,
        key: StreamKey,
        now: Instant,
    ) -> Result<(), String> {
        let (hold, half) = (&mut self.holds[end], &mut self.halves[1 - end]);
        loop {
            if half.seen.is_some()
                || hold.habit.reader == Reader::Stalled
                || hold.read_waits && !hold.read_bell.was_rung()
            {
                return Ok(());
            }
            if let Reader::Until(bound) = hold.habit.reader
                && half.read >= bound
            {
                half.stopped = Some(STOP);
                half.seen = Some(Err(StreamError::Closed));
                session.stop(key, STOP);
                return Ok(());
            }
            hold.read_waits = false;
            match session.poll_read(now, key, &hold.read_bell.waker()) {
                Poll::Pending => hold.read_waits = true,
                Poll::Ready(Ok(Some(chunk))) => half.take(self.id, 1 - end, &chunk)?,
                Poll::Ready(Ok(None)) if half.finished && half.read == half.written => {
                    half.seen = Some(Ok(()))
                }
                Poll::Ready(Ok(None)) => return Err(format!("law 1: {:?}: end of file: {half:?}", self.id)),
                Poll::Ready(Err(error)) => {
                    let just = match &error {
                        StreamError::Reset(code) => half.reset == Some(*code),
                        StreamError::SessionLost(why) => session.ended() == Some(why),
                        _ => false,
                    };
                    if !just {
                        return Err(format!("law 1: {:?}: reading fails with {error:?}: {half:?}", self.id));
                    }
                    half.seen = Some(Err(error));
                }
            }
            if hold.habit.reader == Reader::Slow {
                return Ok(());
            }
        }
    }

    fn come_to_an_end(&mut self, end: usize, session: &mut Session) {
        let (Stage::Asked(key) | Stage::Open(key)) = self.holds[end].stage else { return };
        let half = &mut self.halves[end];
        let over = half.finished || half.reset.is_some() || half.failed;
        if !over && half.written == self.holds[end].habit.goal {
            match self.holds[end].habit.ending {
                Ending::Finish => {
                    half.finished = true;
                    session.finish(key);
                }
                Ending::Reset => {
                    half.reset = Some(RESET);
                    session.reset(key, RESET);
                }
                Ending::Release => self.release(end, session, key),
                Ending::Linger => {}
            }
        } else if over && self.halves[1 - end].seen.is_some() {
            self.release(end, session, key);
        }
    }

    fn release(&mut self, end: usize, session: &mut Session, key: StreamKey) {
        if !self.halves[end].finished {
            self.halves[end].reset.get_or_insert(StreamCode::CANCELLED);
        }
        self.halves[1 - end].stopped.get_or_insert(StreamCode::CANCELLED);
        self.holds[end].stage = Stage::Released;
        session.release(key);
    }
}

impl Half {
    /// Counts what goes with the open, and makes it.
    pub(super) fn initial(&mut self, id: StreamId, sender: usize, len: u64) -> Bytes {
        self.written = len;
        content(id, sender, 0, usize::try_from(len).unwrap_or(0))
    }

    /// Law 1: what is read is what was written, in order, and no more.
    fn take(&mut self, id: StreamId, sender: usize, chunk: &[u8]) -> Result<(), String> {
        let expected = content(id, sender, self.read, chunk.len());
        let wrong = expected.iter().zip(chunk).position(|(expected, got)| expected != got);
        self.read += chunk.len() as u64;
        match wrong {
            None if self.read <= self.written => Ok(()),
            wrong => Err(format!("law 1: {id:?} of {sender}: {wrong:?} in {} bytes: {self:?}", chunk.len())),
        }
    }
}

/// What a writer resets with.
const RESET: StreamCode = StreamCode::APPLICATION_RESET;

/// What a reader stops with.
const STOP: StreamCode = StreamCode::UNREACHABLE;
