//! Event fan-out: every fact, stamped, to every subscriber, without ever waiting for one.
//!
//! ```text
//!  publish(kind) ──► seq += 1 ──► ring of facts    ──┬──► cursor of subscriber 1
//!                              └► ring of streams  ──┴──► cursor of subscriber 2 (asked for streams)
//! ```
//!
//! Two bounded rings are shared by all subscribers, who hold nothing but positions in them. What falls off a
//! ring is lost to those who have not read it, and they are told how much. Facts of streams have a ring of
//! their own, so that one subscriber's wish to see them never costs another a fact of a link.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::config::EventCapacity;
use crate::event::{Event, EventKind};
use crate::net::{clock, log};
use crate::snapshot::EventCounts;

/// Where events are published and subscribed to. A clone is the same fan-out.
#[derive(Clone)]
pub(crate) struct Fanout {
    shared: Arc<Shared>,
}

impl Fanout {
    /// A fan-out whose subscribers may be `capacity` events behind.
    pub(crate) fn new(capacity: EventCapacity) -> Self {
        let state = State {
            seq: 0,
            capacity: capacity.0.max(1),
            facts: Ring::default(),
            streams: Ring::default(),
            subscribers: Slab::new(),
            missed: 0,
            closed: false,
        };
        Self {
            shared: Arc::new(Shared { stream_subscribers: AtomicUsize::new(0), state: Mutex::new(state) }),
        }
    }

    /// Stamps a fact and hands it to every subscriber. Never waits for one.
    ///
    /// Without a subscriber this counts `seq` on and does nothing else: no allocation, no clone, no look at the
    /// clock. A fact of a stream is not even counted unless a subscriber asked for such facts. After
    /// [`Fanout::close`] nothing is published.
    pub(crate) fn publish(&self, kind: EventKind) {
        // Formatting is the log's business and its own cost: outside the lock, and only if somebody listens.
        let logged = log::wants(&kind);
        let (event, wakers) = self.shared.lock().publish(kind, logged);
        if logged && let Some(event) = event {
            log::write(&event);
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A subscription that begins with the next event.
    ///
    /// `streams` asks for the facts of streams as well. On a closed fan-out it has ended already.
    pub(crate) fn subscribe(&self, streams: Streams) -> Subscription {
        let mut state = self.shared.lock();
        let subscriber = Subscriber {
            facts: state.facts.end(),
            streams: (streams == Streams::Included).then(|| state.streams.end()),
            waker: None,
        };
        if subscriber.streams.is_some() {
            self.shared.stream_subscribers.fetch_add(1, Ordering::Relaxed);
        }
        let key = state.subscribers.insert(subscriber);
        drop(state);
        Subscription { shared: Arc::clone(&self.shared), key }
    }

    /// Whether a subscriber asked for the facts of streams: those who would publish them ask first.
    pub(crate) fn wants_streams(&self) -> bool {
        self.shared.stream_subscribers.load(Ordering::Relaxed) > 0
    }

    /// The `seq` of the newest event, 0 before the first. A snapshot taken afterwards holds all up to it.
    pub(crate) fn newest(&self) -> u64 {
        self.shared.lock().seq
    }

    /// Who listens, and what they have missed.
    pub(crate) fn counts(&self) -> EventCounts {
        let state = self.shared.lock();
        EventCounts { subscribers: state.subscribers.len(), missed: state.missed }
    }

    /// Ends every subscription once it has been read to its end.
    pub(crate) fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let wakers = state.wakers(|_| true);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fanout").field("newest", &self.newest()).finish_non_exhaustive()
    }
}

/// Whether a subscriber is told what happens to single streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    /// It is not.
    Left,
    /// It is.
    Included,
}

/// One subscriber's place in the rings; dropping it ends the subscription.
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    key: usize,
}

impl Subscription {
    /// The next event; `None` when the fan-out is closed and all has been read.
    ///
    /// Events come in order of `seq`. A subscriber that was too slow gets [`EventKind::Lagged`] in place of what it
    /// lost, stamped like the last event lost, and goes on with the oldest one kept.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "one waker is kept, so one reader may wait")]
    pub(crate) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let Some(subscriber) = state.subscribers.get_mut(self.key) else {
            return Poll::Ready(None);
        };
        match subscriber.advance(&state.facts, &state.streams) {
            Some(event) => {
                if let EventKind::Lagged { missed } = event.kind {
                    state.missed += missed;
                }
                Poll::Ready(Some(event))
            }
            None if state.closed => Poll::Ready(None),
            None => {
                match &mut subscriber.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    empty => *empty = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let removed = state.subscribers.try_remove(self.key);
        if state.subscribers.is_empty() {
            state.facts.clear();
            state.streams.clear();
        }
        drop(state);
        if removed.as_ref().is_some_and(|subscriber| subscriber.streams.is_some()) {
            self.shared.stream_subscribers.fetch_sub(1, Ordering::Relaxed);
        }
        // `removed` is dropped here, outside the lock: a waker's drop may run a task's.
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("key", &self.key).finish_non_exhaustive()
    }
}

struct Shared {
    /// How many subscribers asked for streams; read without the lock on the way of a stream.
    stream_subscribers: AtomicUsize,
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct State {
    /// The newest event's.
    seq: u64,
    /// `ring.events.len() <= capacity`
    capacity: usize,
    /// Everything but facts of streams.
    facts: Ring,
    /// Facts of streams; empty unless a subscriber asked.
    streams: Ring,
    subscribers: Slab<Subscriber>,
    /// Events that subscribers were told they had missed.
    missed: u64,
    closed: bool,
}

impl State {
    /// Stamps the fact and stores it; who waits for it is returned, to be woken outside the lock.
    fn publish(&mut self, kind: EventKind, logged: bool) -> (Option<Arc<Event>>, Vec<Waker>) {
        let of_stream = matches!(kind, EventKind::StreamOpened { .. } | EventKind::StreamClosed { .. });
        let wanted = self.subscribers.iter().any(|(_, subscriber)| subscriber.wants(of_stream));
        if self.closed || of_stream && !wanted {
            return (None, Vec::new());
        }
        self.seq += 1;
        if !wanted && !logged {
            return (None, Vec::new());
        }
        let event = Arc::new(Event::new(self.seq, clock::unix_micros(), kind));
        if wanted {
            let ring = if of_stream { &mut self.streams } else { &mut self.facts };
            ring.push(Arc::clone(&event), self.capacity);
        }
        (Some(event), self.wakers(|subscriber| subscriber.wants(of_stream)))
    }

    fn wakers(&mut self, whose: impl Fn(&Subscriber) -> bool) -> Vec<Waker> {
        let waiting = self.subscribers.iter_mut().filter(|(_, subscriber)| whose(subscriber));
        waiting.filter_map(|(_, subscriber)| subscriber.waker.take()).collect()
    }
}

struct Subscriber {
    /// Its place in the ring of facts.
    facts: u64,
    /// Its place in the ring of streams, if it asked for them.
    streams: Option<u64>,
    waker: Option<Waker>,
}

impl Subscriber {
    fn wants(&self, of_stream: bool) -> bool {
        !of_stream || self.streams.is_some()
    }

    /// Takes whichever comes first by `seq`.
    fn advance(&mut self, facts: &Ring, streams: &Ring) -> Option<Event> {
        let fact = facts.seq_at(self.facts);
        match (&mut self.streams, fact) {
            (Some(place), Some(fact)) if streams.seq_at(*place).is_some_and(|seq| seq < fact) => {
                streams.take(place)
            }
            (Some(place), None) => streams.take(place),
            _ => facts.take(&mut self.facts),
        }
    }
}

/// The newest events of one sort. Places in it count every event it ever held.
#[derive(Default)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    /// How many have left it: the place of the oldest one kept.
    gone: u64,
    /// `seq` and time of the last that left.
    last_gone: (u64, u64),
}

impl Ring {
    fn push(&mut self, event: Arc<Event>, capacity: usize) {
        if self.events.len() >= capacity
            && let Some(oldest) = self.events.pop_front()
        {
            self.gone += 1;
            self.last_gone = (oldest.seq, oldest.at_micros);
        }
        self.events.push_back(event);
    }

    /// The place after the newest.
    fn end(&self) -> u64 {
        self.gone + self.events.len() as u64
    }

    /// Gives the memory back when nobody reads.
    fn clear(&mut self) {
        self.gone = self.end();
        self.events = VecDeque::new();
    }

    fn at(&self, place: u64) -> Option<&Arc<Event>> {
        let index = place.checked_sub(self.gone)?;
        self.events.get(usize::try_from(index).ok()?)
    }

    /// The stamp of what [`Ring::take`] would give.
    fn seq_at(&self, place: u64) -> Option<u64> {
        if place < self.gone { Some(self.last_gone.0) } else { self.at(place).map(|event| event.seq) }
    }

    fn take(&self, place: &mut u64) -> Option<Event> {
        if *place < self.gone {
            let missed = self.gone - *place;
            *place = self.gone;
            return Some(Event::new(self.last_gone.0, self.last_gone.1, EventKind::Lagged { missed }));
        }
        let event = self.at(*place)?;
        *place += 1;
        Some(Event::clone(event))
    }
}

#[cfg(test)]
mod tests;
