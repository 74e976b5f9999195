//! Both ends of a subject on threads of their own, over a line or none.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::clock;
use crate::delay::{Line, Relay};
use crate::end::{End, Flavor};
use crate::pki::Pki;
use crate::subject::{Counters, ECHO, SINK, Stream, Subject};

/// Two connected ends. Dropping it ends everything.
pub(crate) struct Bench<S> {
    client: End,
    _server: End,
    _relay: Option<Relay>,
    subject: Arc<S>,
    pub(crate) counters: Arc<Counters>,
}

/// What arrived by when.
pub(crate) struct Trace {
    /// Seconds since the first byte was written, and bytes.
    points: Vec<(f64, f64)>,
    /// Bytes per second in the last third.
    pub(crate) steady: f64,
}

impl<S: Subject> Bench<S> {
    /// Starts and connects both ends.
    pub(crate) fn start(pki: &Pki, line: Option<Line>) -> Self {
        let (client, server) = (End::start("client", Flavor::Current), End::start("server", Flavor::Current));
        let counters = Counters::new();
        let (theirs, count) = (pki.clone(), Arc::clone(&counters));
        let listening = server.wait(PATIENCE, async move { S::listen(&theirs, count).await });
        let mut to = listening.expect("a free port is found at once");
        let relay = line.map(|line| Relay::start(line, to));
        if let Some(relay) = &relay {
            to = relay.address();
        }
        let ours = pki.clone();
        let subject = client.wait(PATIENCE, async move { S::connect(&ours, to).await });
        let subject = Arc::new(subject.expect("nothing is waited for"));
        Self { client, _server: server, _relay: relay, subject, counters }
    }

    /// Opens a stream and lets a task have it.
    fn begin<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        kind: [u8; 2],
        task: impl FnOnce(S::Stream) -> F + Send + 'static,
    ) -> JoinHandle<T> {
        let subject = Arc::clone(&self.subject);
        let opened = self.client.wait(PATIENCE, async move { subject.open(kind).await });
        let stream = opened.expect("a handshake takes a few round trips").expect("the other end listens");
        self.client.handle().spawn(task(stream))
    }

    /// Begins a stream of bulk whose bytes are counted under that name. Ends with the bench.
    pub(crate) fn bulk(&self, name: u8) {
        drop(self.begin([SINK, name], fill));
    }

    /// Sends one stream of bulk for so long and watches it from the first byte.
    pub(crate) fn trace(&self, time: Duration, grain: Duration) -> Trace {
        let (go, gone) = tokio::sync::oneshot::channel();
        drop(self.begin([SINK, 0], |stream| async move {
            if gone.await.is_ok() {
                fill(stream).await;
            }
        }));
        // The stream is known at the other end, and the line is empty.
        thread::sleep(grain * 40);
        let began = clock::now();
        go.send(()).expect("it waits");
        let mut points = vec![(0.0, 0.0)];
        while clock::now() - began < time {
            thread::sleep(grain);
            points.push((since(began), as_float(self.counters.sum())));
        }
        let (end, last) = points[points.len() - 1];
        let (begin, first) = points[points.partition_point(|(at, _)| *at < end * 2.0 / 3.0)];
        Trace { points, steady: (last - first) / (end - begin) }
    }

    /// Asks for an echo of `size` bytes again and again, `gap` between an answer and the next question; seconds of each.
    pub(crate) fn ask(&self, count: usize, size: usize, gap: Duration) -> Vec<f64> {
        let times = self.begin([ECHO, 0], move |mut stream| async move {
            let question = Bytes::from(vec![9; size]);
            let mut times = Vec::with_capacity(count);
            for _ in 0..count + 1 {
                let asked = clock::now();
                stream.send(&question).await.expect("the other end is there");
                let mut left = size;
                while left > 0 {
                    left -= stream.receive().await.expect("it answers").expect("it answers").len();
                }
                times.push(since(asked));
                if !gap.is_zero() {
                    tokio::time::sleep(gap).await;
                }
            }
            // With the first one the stream was opened.
            times.split_off(1)
        });
        let waited = self.client.wait(PATIENCE * 10, times);
        waited.expect("answers come").expect("nobody panics")
    }

    /// Opens, asks and closes, so many each second, until it is dropped with the bench.
    pub(crate) fn flood(&self, each_second: u64) {
        let subject = Arc::clone(&self.subject);
        self.client.handle().spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            loop {
                ticks.tick().await;
                for _ in 0..each_second / 1000 {
                    let subject = Arc::clone(&subject);
                    tokio::spawn(async move {
                        let mut stream = subject.open([ECHO, 0]).await?;
                        stream.send(&Bytes::from_static(&[9; 100])).await?;
                        let mut left = 100;
                        while let (true, Some(chunk)) = (left > 0, stream.receive().await?) {
                            left -= chunk.len();
                        }
                        Ok::<_, std::io::Error>(())
                    });
                }
            }
        });
    }
}

impl Trace {
    /// When the bytes of one round trip first came at that rate, in seconds since the first was written.
    pub(crate) fn time_to(&self, rate: f64, trip: Duration) -> Option<f64> {
        let span = trip.as_secs_f64().max(LEAST_SPAN);
        let reached = self.points.iter().find(|(at, before)| {
            let later = self.points.get(self.points.partition_point(|(then, _)| *then < at + span));
            later.is_some_and(|(then, bytes)| bytes - before >= rate * (then - at))
        });
        reached.map(|(at, _)| *at)
    }
}

async fn fill(mut stream: impl Stream) {
    let block = Bytes::from(vec![7; BLOCK]);
    while stream.send(&block).await.is_ok() {}
}

/// Seconds since then.
pub(crate) fn since(began: Instant) -> f64 {
    (clock::now() - began).as_secs_f64()
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
pub(crate) fn as_float(count: u64) -> f64 {
    count as f64
}

/// One write.
const BLOCK: usize = 64 << 10;

/// How long anything may take that takes a few round trips.
const PATIENCE: Duration = Duration::from_secs(20);

/// A rate is that of so many seconds at least, or a thread that wakes late makes it.
const LEAST_SPAN: f64 = 0.02;
