//! A session as its drivers, its streams and the supervisor share it: the machine under one short lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Span;

use crate::event::Peer;
use crate::id::SessionNumber;
use crate::net::inbox::Inbox;
use crate::net::incoming::IncomingQueue;
use crate::net::log;
use crate::proto::session::{OpenRequest, Session, StreamKey};

/// A session. Cheap to clone; all clones are the same session.
#[derive(Clone, Debug)]
pub(crate) struct SessionHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    number: SessionNumber,
    peer: Peer,
    /// What its carriers run in, for the log.
    span: Span,
    /// Held to move `Bytes` and counters only: never across a copy of user data (but for tiny writes that are joined), crypto, I/O or `.await`.
    machine: Mutex<Session>,
    /// Where the supervisor learns that this session has events.
    inbox: Arc<Inbox>,
    /// Where the application learns that this session has streams for it.
    incoming: Arc<IncomingQueue<SessionHandle>>,
    /// Whether it is told so.
    offered: AtomicBool,
}

impl SessionHandle {
    /// Shares a session.
    pub(crate) fn new(
        number: SessionNumber,
        peer: Peer,
        session: Session,
        inbox: Arc<Inbox>,
        incoming: Arc<IncomingQueue<Self>>,
    ) -> Self {
        Self(Arc::new(Shared {
            number,
            span: log::session_span(number, &peer),
            peer,
            machine: Mutex::new(session),
            inbox,
            incoming,
            offered: AtomicBool::new(false),
        }))
    }

    /// Its number in this plane.
    pub(crate) fn number(&self) -> SessionNumber {
        self.0.number
    }

    /// What its carriers run in, for the log.
    pub(crate) fn span(&self) -> &Span {
        &self.0.span
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// Does something with the session. Tasks to be woken are woken, and the supervisor is told of events, after
    /// the lock is let go.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Session) -> R) -> R {
        // A panic under the lock is a bug of ours; the counters it may have left are still whole words.
        let mut session = self.0.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut session);
        let wakers = session.take_wakers();
        let events = session.has_events();
        drop(session);
        if !wakers.is_empty() {
            wakers.wake();
        }
        if events {
            self.0.inbox.mark(self.0.number);
        }
        result
    }

    /// As [`SessionHandle::with`], for what may bring new streams of the peer: the session is put before the
    /// application.
    pub(crate) fn with_incoming<R>(&self, act: impl FnOnce(&mut Session) -> R) -> R {
        let (result, waits) = self.with(|session| (act(session), session.has_incoming()));
        if waits {
            self.offer();
        }
        result
    }

    /// Takes the next stream of the peer, for a caller that has just taken this session out of the queue. `None` if
    /// those that were there have timed out meanwhile.
    pub(crate) fn take_incoming(&self) -> Option<Arrived> {
        self.0.offered.store(false, Ordering::Release);
        let (taken, more) = self.with(|session| (session.poll_incoming(), session.has_incoming()));
        if more {
            self.offer();
        }
        let (key, request) = taken?;
        Some(Arrived { session: self.clone(), key, request })
    }

    /// Puts the session into the queue, unless it is there.
    fn offer(&self) {
        if !self.0.offered.swap(true, Ordering::AcqRel) {
            self.0.incoming.push(self.clone());
        }
    }
}

/// A stream that a peer opened.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// Its session.
    pub(crate) session: SessionHandle,
    /// The stream.
    pub(crate) key: StreamKey,
    /// What its open said.
    pub(crate) request: OpenRequest,
}

impl Arrived {
    /// Refuses it: nobody will take it.
    pub(crate) fn turn_away(self) {
        self.session.with(|session| session.release(self.key));
    }
}
