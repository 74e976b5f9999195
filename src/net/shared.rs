//! A session as its drivers, its streams and the supervisor share it: the machine under one short lock.

use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Peer;
use crate::id::SessionNumber;
use crate::net::inbox::Inbox;
use crate::net::incoming::IncomingQueue;
use crate::proto::session::{OpenRequest, Session, StreamKey};

/// A session. Cheap to clone; all clones are the same session.
#[derive(Clone, Debug)]
pub(crate) struct SessionHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    number: SessionNumber,
    peer: Peer,
    /// Held to move `Bytes` and counters only: never across a copy of user data, crypto, I/O or `.await`.
    machine: Mutex<Session>,
    /// Where the supervisor learns that this session has events.
    inbox: Arc<Inbox>,
    /// Where streams of the peer wait for the application.
    incoming: Arc<IncomingQueue<Arrived>>,
}

impl SessionHandle {
    /// Shares a session.
    pub(crate) fn new(
        number: SessionNumber,
        peer: Peer,
        session: Session,
        inbox: Arc<Inbox>,
        incoming: Arc<IncomingQueue<Arrived>>,
    ) -> Self {
        Self(Arc::new(Shared { number, peer, machine: Mutex::new(session), inbox, incoming }))
    }

    /// Its number in this plane.
    pub(crate) fn number(&self) -> SessionNumber {
        self.0.number
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

    /// As [`SessionHandle::with`], for what may bring new streams of the peer: they are put before the application.
    pub(crate) fn with_incoming<R>(&self, act: impl FnOnce(&mut Session) -> R) -> R {
        let mut arrived = Vec::new();
        let result = self.with(|session| {
            let result = act(session);
            while let Some((key, request)) = session.poll_incoming() {
                arrived.push(Arrived { session: self.clone(), key, request });
            }
            result
        });
        if !arrived.is_empty()
            && let Err(late) = self.0.incoming.push(arrived)
        {
            late.into_iter().for_each(Arrived::turn_away);
        }
        result
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
