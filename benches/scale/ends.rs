//! Two ends on threads of their own, and what is done with them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sitelink::config::Carriers;
use sitelink::{LinkStream, Plane, PlaneConfig};
use tokio::runtime::Handle;

use crate::end::{End, Flavor};
use crate::pki::Pki;
use crate::{clock, planes};

/// Idle streams: no task waits for each, which would weigh as much.
type Kept = Arc<Mutex<Vec<LinkStream>>>;

/// Two planes with a link between them, each on a thread.
pub(crate) struct Ends {
    west: End,
    _east: End,
    plane: Plane,
    /// Bulk bytes that have arrived.
    sunk: Arc<AtomicU64>,
    /// Streams that the far end keeps, on which nothing moves any more.
    kept: Kept,
}

impl Ends {
    /// Starts both and waits for the link and so many carriers; so many streams may be open beside the few that measure.
    pub(crate) fn start(pki: &Pki, streams: usize, carriers: usize) -> Self {
        let (west, east) = (End::start("west", Flavor::Current), End::start("east", Flavor::Current));
        let mut config = PlaneConfig::default();
        config.session.max_streams = config.session.max_streams.max(streams as u64 + 1024);
        config.carriers = Carriers(carriers);
        let (sunk, kept) = (Arc::new(AtomicU64::new(0)), Kept::default());
        let counts = (Arc::clone(&sunk), Arc::clone(&kept));
        let (theirs, settings) = (pki.clone(), config.clone());
        let to = east.wait(PATIENCE, async move {
            let (plane, access) = planes::listen(&theirs, settings).await;
            let to = access.address();
            Handle::current().spawn(async move {
                let _access = access;
                while let Some(incoming) = plane.accept().await {
                    // An opener may have gone meanwhile.
                    if let Ok(stream) = incoming.accept() {
                        Handle::current().spawn(answer(stream, counts.clone()));
                    }
                }
            });
            to
        });
        let (ours, to) = (pki.clone(), to.expect("a free port is found at once"));
        let plane = west.wait(PATIENCE, async move {
            let plane = planes::dial(&ours, config, to).await;
            request(&plane).await;
            while plane.status().sessions[0].carriers.len() < carriers {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            plane
        });
        Self { west, _east: east, plane: plane.expect("handshakes take milliseconds"), sunk, kept }
    }

    /// Opens so many streams, moves a byte each way on each, and gives them back, to be kept.
    pub(crate) fn idle(&self, count: usize) -> Vec<LinkStream> {
        let plane = self.plane.clone();
        let opened = self.west.wait(
            PATIENCE + Duration::from_millis(5) * u32::try_from(count).expect("a count"),
            async move {
                let mut streams = Vec::with_capacity(count);
                for _ in 0..count {
                    let mut stream = open(&plane, Bytes::from_static(KEEP)).await;
                    stream.recv().await.expect("it is answered").expect("by a byte");
                    streams.push(stream);
                }
                streams
            },
        );
        opened.expect("a stream takes less than milliseconds")
    }

    /// Lets go of idle streams at both ends, and waits until that has come through.
    pub(crate) fn let_go(&self, streams: Vec<LinkStream>) {
        drop(streams);
        *self.kept.lock().expect("no holder panics") = Vec::new();
        let plane = self.plane.clone();
        let done = self.west.wait(PATIENCE, async move {
            while plane.status().sessions.iter().any(|session| session.streams > 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        done.expect("closing a stream takes less than milliseconds");
    }

    /// Bytes a second over so many streams.
    pub(crate) fn bulk_rate(&self, streams: usize, window: Duration) -> f64 {
        let begin = || {
            let plane = self.plane.clone();
            self.west.handle().spawn(async move {
                let block = Bytes::from(vec![7; BLOCK]);
                let mut stream = open(&plane, Bytes::from_static(SINK)).await;
                while stream.send(block.clone()).await.is_ok() {}
            })
        };
        let writers: Vec<_> = (0..streams).map(|_| begin()).collect();
        thread::sleep(window / 4);
        let (before, began) = (self.sunk.load(Ordering::Relaxed), clock::now());
        thread::sleep(window);
        let bytes = self.sunk.load(Ordering::Relaxed) - before;
        let rate = as_float(bytes) / (clock::now() - began).as_secs_f64();
        writers.iter().for_each(tokio::task::JoinHandle::abort);
        thread::sleep(window / 10);
        rate
    }

    /// Streams a second: opened, echoed, closed, some at a time.
    pub(crate) fn open_rate(&self, window: Duration) -> f64 {
        let done = Arc::new(AtomicU64::new(0));
        let begin = || {
            let (plane, done) = (self.plane.clone(), Arc::clone(&done));
            self.west.handle().spawn(async move {
                loop {
                    request(&plane).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks: Vec<_> = (0..AT_A_TIME).map(|_| begin()).collect();
        thread::sleep(window / 4);
        let (before, began) = (done.load(Ordering::Relaxed), clock::now());
        thread::sleep(window);
        let count = done.load(Ordering::Relaxed) - before;
        let rate = as_float(count) / (clock::now() - began).as_secs_f64();
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        thread::sleep(window / 10);
        rate
    }
}

async fn open(plane: &Plane, first: Bytes) -> LinkStream {
    plane.open(planes::request().initial_data(first)).await.expect("the key is served")
}

/// One stream with a question, its answer and both ends of file.
async fn request(plane: &Plane) {
    let mut stream = open(plane, Bytes::from_static(ASK)).await;
    stream.finish();
    let mut len = 0;
    while let Some(chunk) = stream.recv().await.expect("it is answered") {
        len += chunk.len();
    }
    assert_eq!(len, ASK.len());
}

/// The far end of a stream; its first byte says what is done with it.
async fn answer(mut stream: LinkStream, (sunk, kept): (Arc<AtomicU64>, Kept)) {
    let Ok(Some(first)) = stream.recv().await else { return };
    match first[0] {
        b'k' => {
            if stream.send(first).await.is_ok() {
                kept.lock().expect("no holder panics").push(stream);
            }
        }
        b's' => {
            while let Ok(Some(chunk)) = stream.recv().await {
                sunk.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        }
        _ => {
            // The opener may have been told to stop.
            let _ = stream.send(first).await;
            while let Ok(Some(_)) = stream.recv().await {}
            stream.finish();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
fn as_float(count: u64) -> f64 {
    count as f64
}

/// The first bytes of a stream that is kept.
const KEEP: &[u8] = b"k";

/// The first bytes of a stream that is written for ever.
const SINK: &[u8] = b"s";

/// A question.
const ASK: &[u8] = &[b'a'; 100];

/// One send: full records, and still in the processor's cache.
const BLOCK: usize = 64 << 10;

/// Streams opened at a time.
const AT_A_TIME: usize = 32;

/// How long anything may take that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);
