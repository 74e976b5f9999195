//! What goes over the links: an echo at one end; talks, bulk and probes at the other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sitelink::{LinkStream, OpenError, OpenRequest, Plane};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::common::stage::poll_until;
use crate::common::{key, within};

/// Echoes every stream, to its end.
pub(crate) async fn answer(plane: Plane) {
    while let Some(incoming) = plane.accept().await {
        let Ok(stream) = incoming.accept() else { continue };
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(stream);
            // How it ends is looked at by the one who asked.
            if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                let _ = writer.shutdown().await;
            }
        });
    }
}

async fn open(plane: &Plane) -> Result<LinkStream, OpenError> {
    plane.open(OpenRequest::to_key(key("echo"))).await
}

/// A stream on which a counter is said and heard back, turn after turn.
pub(crate) struct Talk {
    turns: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    talking: JoinHandle<()>,
}

impl Talk {
    pub(crate) fn begin(plane: &Plane) -> Self {
        let (turns, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (plane, counted, ends) = (plane.clone(), Arc::clone(&turns), Arc::clone(&over));
        let talking = tokio::spawn(async move {
            let mut stream = open(&plane).await.unwrap();
            while !ends.load(Ordering::Relaxed) {
                let turn = counted.load(Ordering::Relaxed);
                stream.write_all(&turn.to_be_bytes()).await.unwrap();
                assert_eq!(stream.read_u64().await.unwrap(), turn, "an answer is wrong");
                counted.fetch_add(1, Ordering::Relaxed);
            }
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "something was said twice");
        });
        Self { turns, over, talking }
    }

    /// Waits for so many more turns.
    pub(crate) async fn has_moved(&self, turns: u64) {
        let goal = self.moved() + turns;
        poll_until(|| self.talking.is_finished() || self.moved() >= goal).await;
    }

    /// The turns so far.
    pub(crate) fn moved(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Ends it in good order.
    pub(crate) async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        within(self.talking).await.unwrap();
    }
}

/// A stream that is written to and read from as fast as it goes.
pub(crate) struct Bulk {
    over: Arc<AtomicBool>,
    carrying: JoinHandle<u64>,
}

impl Bulk {
    pub(crate) fn begin(plane: &Plane) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (plane, ends) = (plane.clone(), Arc::clone(&over));
        let carrying = tokio::spawn(async move {
            let (mut reader, mut writer) = open(&plane).await.unwrap().into_split();
            let writing = async {
                let mut sent = 0;
                while !ends.load(Ordering::Relaxed) {
                    writer.write_all(&content(sent)).await.unwrap();
                    sent += CHUNK as u64;
                }
                writer.shutdown().await.unwrap();
                sent
            };
            let reading = async {
                let (mut read, mut chunk) = (0, vec![0; CHUNK]);
                while reader.read_exact(&mut chunk).await.is_ok() {
                    assert!(chunk == content(read), "bytes after {read} are wrong");
                    read += CHUNK as u64;
                }
                read
            };
            let (sent, read) = tokio::join!(writing, reading);
            assert_eq!(sent, read, "bytes are missing");
            sent
        });
        Self { over, carrying }
    }

    /// Cuts it off; until now nothing of it was wrong.
    pub(crate) fn cut(self) {
        assert!(!self.carrying.is_finished(), "it ended by itself");
        self.over.store(true, Ordering::Relaxed);
        self.carrying.abort();
    }
}

/// So much of the content, which is different at every place.
fn content(at: u64) -> Vec<u8> {
    (at / 8..(at + CHUNK as u64) / 8)
        .flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

const CHUNK: usize = 8192;

/// A fresh stream with a question and its answer.
#[derive(Debug)]
pub(crate) struct Probe {
    began: Instant,
    /// How long it took, once it has its answer.
    took: Arc<OnceLock<Duration>>,
    /// Ends with the answer.
    pub(crate) outcome: JoinHandle<Result<(), OpenError>>,
}

impl Probe {
    /// One each `interval`, for `span`; returns when the last has had [`QUICK`].
    pub(crate) async fn every(interval: Duration, span: Duration, plane: &Plane) -> Vec<Self> {
        let mut tick = tokio::time::interval(interval);
        let end = Instant::now() + span;
        let mut probes = Vec::new();
        while Instant::now() < end {
            tick.tick().await;
            let (plane, began, took) = (plane.clone(), Instant::now(), Arc::new(OnceLock::new()));
            let answered = Arc::clone(&took);
            let outcome = tokio::spawn(async move {
                let mut stream = open(&plane).await?;
                stream.write_all(b"?").await.unwrap();
                assert_eq!(stream.read_u8().await.unwrap(), b'?');
                answered.set(began.elapsed()).unwrap();
                Ok(())
            });
            probes.push(Self { began, took, outcome });
        }
        tokio::time::sleep(QUICK).await;
        probes
    }

    fn was_quick(&self) -> bool {
        self.took.get().is_some_and(|took| *took <= QUICK)
    }
}

/// How long after `since` the last probe began that was not quick; nothing if all were.
pub(crate) fn usable_since(probes: &[Probe], since: Instant) -> Duration {
    let slow = probes.iter().filter(|probe| !probe.was_quick()).map(|probe| probe.began).max();
    slow.map_or(Duration::ZERO, |began| began.saturating_duration_since(since))
}

/// What a fresh stream may take on a path that works: a virtual machine was seen to stand still for half a second, and
/// what went into the hole takes as long as the hole, which is several.
const QUICK: Duration = Duration::from_secs(1);
