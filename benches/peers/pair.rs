//! Two ends of a peer, connected, and what is done with them again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use bytes::Bytes;

use crate::answer::{Answers, ECHO, HOLD, KEEP, MESSAGE, REQUEST, SINK, message};
use crate::clock;
use crate::delay::{Line, Relay};
use crate::end::{End, Flavor};
use crate::peer::{Last, Peer, Stream};
use crate::pki::Pki;

/// Two ends, each on threads of its own. Dropping it drops everything that was begun.
pub(crate) struct Pair<P: Peer> {
    client: End,
    _server: End,
    answers: Answers<P::Stream>,
    peer: Arc<P>,
    _relay: Option<Relay>,
}

/// A rate, and what it cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) bytes_per_second: f64,
    /// Processor time of the whole process.
    pub(crate) seconds_per_gb: f64,
}

impl<P: Peer> Pair<P> {
    /// Starts both ends and connects them, over a line of that kind or none; `None` when that takes too long.
    pub(crate) fn start(pki: &Pki, flavor: Flavor, line: Option<Line>) -> Option<Self> {
        let (client, server) = (End::start("client", flavor), End::start("server", flavor));
        let answers = Answers::on(server.handle().clone());
        let (theirs, on, take) = (pki.clone(), server.handle().clone(), answers.clone());
        let mut to = server.wait(PATIENCE, async move { P::listen(&theirs, &on, take).await })?;
        let relay = line.map(|line| Relay::start(line, to));
        if let Some(relay) = &relay {
            to = relay.address();
        }
        let (ours, on) = (pki.clone(), client.handle().clone());
        let peer = Arc::new(client.wait(PATIENCE, async move { P::connect(&ours, &on, to).await })?);
        Some(Self { client, _server: server, answers, peer, _relay: relay })
    }

    /// Begins so many bulk streams, and waits until bytes arrive; `None` when none do.
    pub(crate) fn begin_bulk(&self, streams: usize) -> Option<()> {
        let before = self.answers.sunk();
        for _ in 0..streams {
            let peer = Arc::clone(&self.peer);
            self.client.handle().spawn(async move { fill(&*peer, SINK, &AtomicU64::new(0)).await });
        }
        let began = clock::now();
        while self.answers.sunk() == before {
            if clock::now() - began > PATIENCE {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Some(())
    }

    /// Begins streams that are never read, and waits until their writers get no further.
    pub(crate) fn begin_stalled(&self, streams: usize) {
        let sent = Arc::new(AtomicU64::new(0));
        for _ in 0..streams {
            let (peer, sent) = (Arc::clone(&self.peer), Arc::clone(&sent));
            self.client.handle().spawn(async move { fill(&*peer, HOLD, &sent).await });
        }
        let began = clock::now();
        let mut seen = 0;
        loop {
            thread::sleep(Duration::from_millis(100));
            let now = sent.load(Ordering::Relaxed);
            if (now == seen && now > 0) || clock::now() - began > STALLING {
                return;
            }
            seen = now;
        }
    }

    /// Watches the bulk streams for a while; `None` when nothing moves.
    pub(crate) fn bulk_rate(&self, window: Duration) -> Option<Rate> {
        let (bytes, began, used) = (self.answers.sunk(), clock::now(), clock::processor_time());
        thread::sleep(window);
        let (bytes, used) = (self.answers.sunk() - bytes, clock::processor_time() - used);
        let (bytes, took) = (as_float(bytes), (clock::now() - began).as_secs_f64());
        let rate = Rate { bytes_per_second: bytes / took, seconds_per_gb: used.as_secs_f64() / bytes * 1e9 };
        (bytes > 0.0).then_some(rate)
    }

    /// Messages there and back, one after the other: how long each took, in microseconds. `beside` runs meanwhile.
    pub(crate) fn ping<T>(
        &self,
        warm_up: Duration,
        window: Duration,
        beside: impl FnOnce() -> T,
    ) -> (Option<Vec<f64>>, T) {
        let peer = Arc::clone(&self.peer);
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let task = self.client.handle().spawn(async move {
            // Nobody waits any more after a while.
            let _ = tell.send(ping(&*peer, warm_up, window).await);
        });
        let outcome = beside();
        let times = told.recv_timeout(warm_up + window + PATIENCE).ok().and_then(Result::ok);
        task.abort();
        (times, outcome)
    }

    /// Opens, asks, is answered and closes, so many at a time: how many were done per second; `None` when none were.
    pub(crate) fn requests(&self, at_a_time: usize, warm_up: Duration, window: Duration) -> Option<f64> {
        let done = Arc::new(AtomicU64::new(0));
        for _ in 0..at_a_time {
            let (peer, done) = (Arc::clone(&self.peer), Arc::clone(&done));
            self.client.handle().spawn(async move {
                loop {
                    match request(&*peer).await {
                        Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        // The system may be out of ports for a moment.
                        Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                    }
                }
            });
        }
        thread::sleep(warm_up);
        let (before, began) = (done.load(Ordering::Relaxed), clock::now());
        thread::sleep(window);
        let count = done.load(Ordering::Relaxed) - before;
        (count > 0).then(|| as_float(count) / (clock::now() - began).as_secs_f64())
    }

    /// Opens so many streams, exchanges a byte on each, and gives them back, to be kept; `None` when that fails.
    pub(crate) fn idle(&self, streams: usize) -> Option<Vec<P::Stream>> {
        let peer = Arc::clone(&self.peer);
        self.client
            .wait(PATIENCE + Duration::from_millis(5 * streams as u64), async move {
                let mut kept = Vec::with_capacity(streams);
                for _ in 0..streams {
                    let mut stream = peer.open(Bytes::from_static(&[KEEP]), Last::No).await?;
                    stream.receive().await?;
                    kept.push(stream);
                }
                Ok::<_, io::Error>(kept)
            })?
            .ok()
    }
}

/// Sends blocks for ever on a stream of that kind, and counts what was taken.
async fn fill<P: Peer>(peer: &P, kind: u8, sent: &AtomicU64) -> io::Result<()> {
    let block = Bytes::from(vec![7; P::BLOCK]);
    let mut stream = peer.open(Bytes::copy_from_slice(&[kind]), Last::No).await?;
    loop {
        stream.send(&block).await?;
        sent.fetch_add(P::BLOCK as u64, Ordering::Relaxed);
    }
}

async fn ping<P: Peer>(peer: &P, warm_up: Duration, window: Duration) -> io::Result<Vec<f64>> {
    let mut stream = peer.open(Bytes::from_static(&[ECHO]), Last::No).await?;
    let said = message(ECHO);
    let mut times = Vec::new();
    let begin = clock::now() + warm_up;
    loop {
        let sent: Instant = clock::now();
        stream.send(&said).await?;
        stream.flush().await?;
        let mut len = 0;
        while len < MESSAGE {
            len += stream.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?.len;
        }
        let now = clock::now();
        if sent >= begin {
            times.push((now - sent).as_secs_f64() * 1e6);
        }
        if now > begin + window && !times.is_empty() {
            return Ok(times);
        }
    }
}

async fn request<P: Peer>(peer: &P) -> io::Result<()> {
    let mut stream = peer.open(message(REQUEST), Last::Yes).await?;
    let mut len = 0;
    while let Some(received) = stream.receive().await? {
        len += received.len;
    }
    if len == MESSAGE { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
fn as_float(count: u64) -> f64 {
    count as f64
}

/// How long anything may take that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long writers may go on filling streams that nobody reads.
const STALLING: Duration = Duration::from_secs(5);
