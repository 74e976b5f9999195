//! The driver of one carrier: a task that owns its TCP connection and its TLS state.
//!
//! Each turn reads what is there, and decrypts and decodes it outside the session's lock; under it, once, hands the
//! frames over, many in portions, and takes a batch; and then encrypts and writes that. Reading never waits for writing
//! nor the other way round, so two peers with full buffers cannot wait for each other.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustls::Connection;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::Sleep;

use crate::error::CarrierEnd;
use crate::id::CarrierNumber;
use crate::net::carrier::tls_io::{Socket, decode, emptied, poll_read};
use crate::net::clock;
use crate::net::greeting::Secured;
use crate::net::shared::SessionHandle;
use crate::proto::session::{Piece, Transmit};
use crate::tls::reason::reason_of;
use crate::wire::code::CloseCode;
use crate::wire::decoder::{Decoded, Decoder};

/// Drives a carrier until it ends; tells the session so, also when dropped before.
pub(crate) async fn drive(session: SessionHandle, number: CarrierNumber, secured: Secured) {
    Driver::new(session, number, secured).await;
}

/// The future that [`drive`] awaits.
struct Driver {
    session: SessionHandle,
    number: CarrierNumber,
    tcp: TcpStream,
    tls: Box<Connection>,
    decoder: Decoder,
    /// Decoded and not yet handed to the session. Nothing is read while there are any.
    frames: VecDeque<Decoded>,
    /// Bytes read of which the session has not heard; zero between turns.
    read: usize,
    /// Taken from the session and not yet encrypted; empty between turns.
    pieces: Vec<Piece>,
    /// Where the pieces' bytes lie, while they are encrypted; empty between turns, kept for its room.
    slices: Vec<IoSlice<'static>>,
    /// What a read goes into.
    buffer: Box<[u8]>,
    /// Wakes the driver when the session has something due.
    alarm: Pin<Box<Sleep>>,
    /// The session may have something to send. It wakes the driver when it has something again.
    more: bool,
    /// Bytes read and encrypted in this poll.
    moved: usize,
    /// The size of the last portion of a read of which there is more to hand over; else zero.
    portion: usize,
    /// Other workers may take the driver over.
    shared: bool,
    /// The last time it gave way the runtime looked at its sockets.
    looked: bool,
    /// When the session wants to be asked next, as of the last exchange.
    next: Option<Instant>,
    /// The peer's bytes make no sense any more: what still comes is thrown away.
    broken: bool,
    /// The session closed the carrier: what is left is to say so and to wait for the peer's end.
    leaving: Option<Leaving>,
    /// The session has let go of the carrier while something is still unwritten: this is how long it gets.
    gone: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

/// The end of a carrier that this end closed.
struct Leaving {
    /// The TCP connection's sending half is closed.
    shut: bool,
    deadline: Pin<Box<Sleep>>,
}

/// What a part of a turn came to.
enum Step {
    /// Something moved: go on.
    Moved,
    /// Nothing to do until woken; the waker is registered.
    Waits,
    /// The carrier is over.
    Over(CarrierEnd),
}

impl Driver {
    fn new(session: SessionHandle, number: CarrierNumber, secured: Secured) -> Self {
        let Secured { tcp, mut tls, decoder, frames, .. } = secured;
        // A batch is bounded by the session; what the default limit cuts off would only be offered again.
        tls.set_buffer_limit(None);
        Self {
            session,
            number,
            tcp,
            tls,
            decoder,
            frames: frames.into(),
            read: 0,
            pieces: Vec::new(),
            slices: Vec::new(),
            buffer: vec![0; READ].into_boxed_slice(),
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
            more: true,
            moved: 0,
            portion: 0,
            shared: Handle::current().metrics().num_workers() > 1,
            looked: false,
            next: None,
            broken: false,
            leaving: None,
            gone: None,
            ended: false,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Step {
        let received = if self.frames.is_empty() { self.receive(cx) } else { Step::Moved };
        let sent = match received {
            Step::Over(end) => return Step::Over(end),
            Step::Waits if !self.more => Step::Waits,
            Step::Moved | Step::Waits => self.send(cx),
        };
        self.more = matches!(sent, Step::Moved);
        match (received, sent) {
            (_, Step::Over(end)) => {
                // What came before the connection was lost counts.
                self.hand_over();
                Step::Over(end)
            }
            // Only now is the alarm worth setting: while bytes move there is nothing to be woken for.
            (Step::Waits, Step::Waits) => self.time(cx),
            _ => Step::Moved,
        }
    }

    /// Reads once, and decrypts and decodes what came; the next exchange with the session hands it over.
    fn receive(&mut self, cx: &mut Context<'_>) -> Step {
        let read = match poll_read(&mut self.tcp, cx, &mut self.buffer) {
            Poll::Pending => return Step::Waits,
            Poll::Ready(Ok(0)) => return Step::Over(CarrierEnd::Eof),
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(error)) => return Step::Over(CarrierEnd::Io(error.kind())),
        };
        self.moved += read;
        if self.broken || self.leaving.is_some() {
            // Nothing counts any more; only the end is waited for.
            return Step::Moved;
        }
        self.read += read;
        let Err(end) = self.decrypt(read) else { return Step::Moved };
        // What came before it counts.
        self.hand_over();
        let CarrierEnd::Violation(violation) = end else { return Step::Over(end) };
        // The session closes the carrier with a code, which is still to be sent.
        self.broken = true;
        let (number, now) = (self.number, clock::now());
        self.session.with(|session| session.handle_violation(now, number, violation));
        Step::Moved
    }

    /// Decrypts and decodes `read` bytes of the buffer.
    fn decrypt(&mut self, read: usize) -> Result<(), CarrierEnd> {
        let mut input = &self.buffer[..read];
        while !input.is_empty() {
            self.tls.read_tls(&mut input).map_err(|error| CarrierEnd::Io(error.kind()))?;
            if let Err(error) = self.tls.process_new_packets() {
                // The alert that says why; if it cannot be written now, the end of the connection must do.
                let _ = self.tls.write_tls(&mut Socket(&self.tcp));
                return Err(CarrierEnd::Tls(reason_of(&error)));
            }
            match decode(&mut self.tls, &mut self.decoder, &mut self.frames) {
                // What was decoded before still counts; the end is seen at the next read.
                Err(CarrierEnd::Eof) if !self.frames.is_empty() => return Ok(()),
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Hands over what came, where nothing can be sent.
    fn hand_over(&mut self) {
        let (number, read, frames) = (self.number, std::mem::take(&mut self.read), &mut self.frames);
        if read == 0 && frames.is_empty() {
            return;
        }
        let now = clock::now();
        self.session.with_incoming(|session| {
            if read > 0 {
                session.handle_bytes(now, number, read);
            }
            session.handle_frames(now, number, frames.drain(..));
            session.frames_wait(now, number, false);
        });
        self.portion = 0;
    }

    /// Hands over a portion of what came and takes what is to be sent, under one lock.
    fn exchange(&mut self, cx: &Context<'_>) -> Transmit {
        let portion = self.next_portion();
        let Self { number, frames, pieces, .. } = self;
        let (number, read, now) = (*number, std::mem::take(&mut self.read), clock::now());
        let (said, next) = self.session.with_incoming(|session| {
            if read > 0 || !frames.is_empty() {
                session.driver_runs(number);
                // A portion that waited is no sign of life.
                if read > 0 {
                    session.handle_bytes(now, number, read);
                }
                session.handle_frames(now, number, frames.drain(..portion));
                session.frames_wait(now, number, !frames.is_empty());
            }
            let said = session.poll_transmit(now, number, pieces, cx.waker());
            (said, session.poll_timeout(number))
        });
        self.next = next;
        said
    }

    /// Writes what is encrypted, or encrypts the next batch and writes that. Waits when nothing is left to be sent,
    /// or the socket takes no more.
    fn send(&mut self, cx: &mut Context<'_>) -> Step {
        if self.tls.wants_write() {
            self.hand_over();
            return self.write(cx);
        }
        if let Some(leaving) = &mut self.leaving {
            // The session has let go of the carrier: they would not count.
            self.frames = VecDeque::new();
            self.portion = 0;
            if !std::mem::replace(&mut leaving.shut, true) {
                // The peer reads the close and then the end of the connection; a failure means it is gone already.
                let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Write);
            }
            return Step::Waits;
        }
        let said = self.exchange(cx);
        match said {
            Transmit::Idle => return Step::Waits,
            Transmit::Gone => return Step::Over(CarrierEnd::Replaced),
            Transmit::Fenced => {
                // As if the sending half were shut: nothing is said any more, what comes is thrown away.
                let deadline = Box::pin(tokio::time::sleep(FENCED));
                self.leaving = Some(Leaving { shut: true, deadline });
                // A peer that joins again and again leaves many of these behind.
                self.buffer = vec![0; THROWN_AWAY].into_boxed_slice();
                return Step::Moved;
            }
            Transmit::Batch | Transmit::Last => {}
            Transmit::Farewell => {
                let deadline = Box::pin(tokio::time::sleep(LINGER));
                self.leaving = Some(Leaving { shut: false, deadline });
            }
        }
        if let Err(error) = self.encrypt() {
            return Step::Over(CarrierEnd::Io(error.kind()));
        }
        if self.leaving.is_some() {
            self.tls.send_close_notify();
        }
        match self.write(cx) {
            Step::Moved if said == Transmit::Last => Step::Waits,
            step => step,
        }
    }

    /// Writes all that is encrypted, or as much as the socket takes.
    fn write(&mut self, cx: &mut Context<'_>) -> Step {
        match self.flush(cx) {
            Poll::Ready(Ok(())) => Step::Moved,
            Poll::Ready(Err(error)) => Step::Over(CarrierEnd::Io(error.kind())),
            Poll::Pending => {
                // The session may let go of a carrier whose connection takes nothing: that is to be seen, too.
                let number = self.number;
                self.next = self.session.with(|session| {
                    session.register_driver(number, cx.waker());
                    session.poll_timeout(number)
                });
                Step::Waits
            }
        }
    }

    /// Encrypts the pieces as one run of full records.
    fn encrypt(&mut self) -> io::Result<()> {
        let mut slices = emptied(std::mem::take(&mut self.slices));
        for piece in &self.pieces {
            slices.extend(
                [piece.head(), piece.payload()].into_iter().filter(|part| !part.is_empty()).map(IoSlice::new),
            );
        }
        self.moved += slices.iter().map(|slice| slice.len()).sum::<usize>();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let taken = io::Write::write_vectored(&mut self.tls.writer(), left)?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut left, taken);
        }
        self.slices = emptied(slices);
        self.pieces.clear();
        Ok(())
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            ready!(self.tcp.poll_write_ready(cx))?;
            match self.tls.write_tls(&mut Socket(&self.tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Does what is due, and sets the alarm for what is not.
    fn time(&mut self, cx: &mut Context<'_>) -> Step {
        if let Some(leaving) = &mut self.leaving {
            return match leaving.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Step::Over(CarrierEnd::Closed(CloseCode::NORMAL)),
                Poll::Pending => Step::Waits,
            };
        }
        let next = self.next;
        if next.is_some_and(|at| at <= clock::now()) {
            let (number, now) = (self.number, clock::now());
            self.next = self.session.with(|session| {
                session.handle_timeout(now);
                session.poll_timeout(number)
            });
            self.more = true;
            return Step::Moved;
        }
        if next.is_none() && self.tls.wants_write() {
            let gone = self.gone.get_or_insert_with(|| Box::pin(tokio::time::sleep(FENCED)));
            return match gone.as_mut().poll(cx) {
                Poll::Ready(()) => Step::Over(CarrierEnd::Replaced),
                Poll::Pending => Step::Waits,
            };
        }
        if let Some(next) = next {
            let next = tokio::time::Instant::from_std(next);
            let rang = self.alarm.is_elapsed();
            if rang {
                self.decoder.rest();
                // One read of tiny frames leaves room for tens of thousands.
                if self.frames.is_empty() {
                    self.frames.shrink_to(KEPT);
                }
                self.pieces.shrink_to(KEPT);
                self.slices.shrink_to(KEPT);
            }
            // An alarm that is early costs one look; setting it anew for every packet would cost more.
            if rang || next < self.alarm.deadline() {
                self.alarm.as_mut().reset(next);
            }
            if self.alarm.as_mut().poll(cx).is_ready() {
                // Set for something that may have been put off since: the next exchange tells for when.
                self.more = true;
                return Step::Moved;
            }
        }
        Step::Waits
    }

    /// Lets other tasks run in the midst of work.
    ///
    /// A runtime that is never idle looks at its sockets every 61 tasks or so (tokio's `event_interval`): acknowledgements
    /// and answers, and those of the other carriers, would be seen that late. Who yields is woken after a look, which is
    /// one more system call per batch; but only after all that this worker has to do, even while others are idle. So where
    /// there are others, it is left to any of them every other time.
    fn give_way(&mut self, cx: &mut Context<'_>) {
        self.looked = !(self.shared && self.looked);
        if self.looked {
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        } else {
            cx.waker().wake_by_ref();
        }
    }

    /// How many frames are handed over next.
    fn next_portion(&mut self) -> usize {
        let due = if self.portion == 0 { PORTION } else { self.portion * 2 };
        self.portion = if due < self.frames.len() { due } else { 0 };
        due.min(self.frames.len())
    }

    fn end(&mut self, end: CarrierEnd) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let (number, now) = (self.number, clock::now());
        self.session.with(|session| session.handle_carrier_lost(now, number, end));
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.more = true;
        self.moved = 0;
        let mut turns = 0;
        while self.moved + turns * TURN < QUANTUM {
            match self.turn(cx) {
                // First those whom the frames concern.
                Step::Moved if !self.frames.is_empty() => break,
                Step::Moved => turns += 1,
                Step::Waits => return Poll::Pending,
                Step::Over(end) => {
                    self.end(end);
                    return Poll::Ready(());
                }
            }
        }
        // A carrier that is never idle has its timers looked after, too.
        if let Step::Over(end) = self.time(cx) {
            self.end(end);
            return Poll::Ready(());
        }
        if self.portion > PORTION {
            // The first portion of a read gave way; a look at the sockets for each would cost more than it brings.
            cx.waker().wake_by_ref();
        } else {
            self.give_way(cx);
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end(CarrierEnd::Closed(CloseCode::INTERNAL));
    }
}

/// One read: eight full records. More than 128 KiB leaves the cache, 16 KiB costs a system call per record.
const READ: usize = 128 << 10;

/// Bytes moved in one poll before other tasks get theirs: one batch, some 0.1 ms of work, for a request beside bulk
/// data waits that long at each end. To be polled again costs a look of the runtime at its sockets, a hundredth of that.
const QUANTUM: usize = 128 << 10;

/// Frames of a read that are handed over before the tasks that they wake get their turn: those of five requests, each
/// an open, its data and a finish. What they say goes out, and the peer has work, while the rest is still here: with
/// all of it at once the two ends would work and sleep by turns, at half of the rate. Then twice as many, and so on,
/// since each portion may be a write. Bulk data comes in eight frames a read.
const PORTION: usize = 16;

/// Frames and pieces for which a carrier keeps room: as many as a batch of bulk data has, and some.
const KEPT: usize = 64;

/// What a turn counts for beside its bytes, so that a poll has at most 64 of them.
const TURN: usize = QUANTUM / 64;

/// Read at once of what nobody wants any more: a record.
const THROWN_AWAY: usize = 16 << 10;

/// How long a closed carrier waits for the peer's end of the connection, so that the close is not lost with unread
/// data: the longest round trip that is usual.
const LINGER: Duration = Duration::from_secs(1);

/// How long a fenced carrier is left open for its dialer to end: by default a dialer waits no longer for the hello of
/// the carrier that replaces it ([`Deadlines::hello`](crate::config::Deadlines::hello)).
const FENCED: Duration = Duration::from_secs(5);

mod tls_io;

#[cfg(test)]
mod tests;
