//! The near end: what is done over the link, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sitelink::{LinkStream, Plane};
use tokio::task::JoinSet;
use tokio::time;

use crate::text::{self, BLOCK};
use crate::{clock, planes};

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Bytes that arrived and were the right ones, both ways.
    bytes: AtomicU64,
    bulk: AtomicU64,
    requests: AtomicU64,
    dropped: AtomicU64,
    stalled: AtomicU64,
    /// Streams that ended in error, or whose bytes were wrong.
    faults: AtomicU64,
    /// Set when the load is to be judged: what ends after that does not count.
    stopped: AtomicBool,
}

impl Counts {
    /// Ends the counting.
    pub(crate) fn stop(&self) -> &Self {
        self.stopped.store(true, Ordering::Relaxed);
        self
    }

    /// Whether everything was done, and nothing went wrong.
    pub(crate) fn is_sound(&self) -> bool {
        let done = [&self.bulk, &self.requests, &self.dropped, &self.stalled];
        read(&self.faults) == 0 && done.into_iter().all(|count| read(count) > 0)
    }

    fn outcome(&self, what: &str, counter: &AtomicU64, outcome: Result<u64, String>) {
        if self.stopped.load(Ordering::Relaxed) {
            return;
        }
        match outcome {
            Ok(bytes) => {
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Err(fault) => {
                println!("FAULT: {what}: {fault}");
                self.faults.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, bulk, requests, dropped, stalled, faults, .. } = self;
        write!(
            f,
            "{} MB verified, {} bulk streams, {} requests, {} dropped, {} stalled, {} faults",
            read(bytes) / 1_000_000,
            read(bulk),
            read(requests),
            read(dropped),
            read(stalled),
            read(faults)
        )
    }
}

/// Puts load on the link for ever.
pub(crate) async fn run(plane: Plane, counts: Arc<Counts>, megabytes: u64) {
    let mut tasks = JoinSet::new();
    // Two streams each way share the rate.
    let pause = Duration::from_secs(1) * u32::try_from(BLOCK).expect("a block") * 2
        / u32::try_from(megabytes * 1_000_000).unwrap_or(u32::MAX);
    for _ in 0..2 {
        let (near, tally) = (plane.clone(), Arc::clone(&counts));
        tasks.spawn(async move {
            loop {
                tally.outcome("bulk to the far end", &tally.bulk, send(&near, pause).await);
            }
        });
        let (near, tally) = (plane.clone(), Arc::clone(&counts));
        tasks.spawn(async move {
            loop {
                tally.outcome("bulk from the far end", &tally.bulk, receive(&near, pause).await);
            }
        });
    }
    for task in 0..REQUESTERS {
        let (near, tally) = (plane.clone(), Arc::clone(&counts));
        tasks.spawn(async move {
            loop {
                tally.outcome("request", &tally.requests, request(&near, task * 999).await);
                time::sleep(BETWEEN_REQUESTS).await;
            }
        });
    }
    for _ in 0..DROPPERS {
        let (near, tally) = (plane.clone(), Arc::clone(&counts));
        tasks.spawn(async move {
            let mut kept: Vec<LinkStream> = Vec::new();
            loop {
                let opened = open(&near, KEEP, 0).await;
                tally.outcome("open", &tally.dropped, opened.map(|stream| kept.push(stream)).map(|()| 0));
                if kept.len() > HELD {
                    // What is dropped without a word is reset.
                    kept.swap_remove(fastrand::usize(..kept.len()));
                }
                time::sleep(BETWEEN_REQUESTS).await;
            }
        });
    }
    for _ in 0..STALLERS {
        let (near, tally) = (plane.clone(), Arc::clone(&counts));
        tasks.spawn(async move {
            loop {
                tally.outcome("stalled", &tally.stalled, stall(&near).await);
            }
        });
    }
    tasks.join_all().await;
}

/// One bulk stream to the far end, which says how much of it was right.
async fn send(plane: &Plane, pause: Duration) -> Result<u64, String> {
    let mut stream = open(plane, READ, 0).await?;
    let (mut offset, mut due) = (0, clock::now());
    while offset < BULK {
        stream.send(text::at(offset, BLOCK)).await.map_err(told)?;
        offset += BLOCK as u64;
        due += pause;
        time::sleep(due.saturating_duration_since(clock::now())).await;
    }
    stream.finish();
    let answer = stream.recv().await.map_err(told)?.ok_or("not all bytes were right")?;
    match stream.recv().await.map_err(told)? {
        None if answer[..] == offset.to_be_bytes() => Ok(offset),
        _ => Err(format!("{answer:?} in answer to {offset} bytes")),
    }
}

/// One bulk stream from the far end.
async fn receive(plane: &Plane, pause: Duration) -> Result<u64, String> {
    let mut stream = open(plane, SEND, BULK).await?;
    stream.finish();
    let (mut offset, mut due) = (0, clock::now());
    while let Some(chunk) = stream.recv().await.map_err(told)? {
        if chunk != text::at(offset, chunk.len()) {
            return Err(format!("wrong bytes at {offset}"));
        }
        offset += chunk.len() as u64;
        due += pause * u32::try_from(chunk.len()).expect("a chunk") / u32::try_from(BLOCK).expect("a block");
        time::sleep(due.saturating_duration_since(clock::now())).await;
    }
    if offset == BULK { Ok(offset) } else { Err(format!("{offset} bytes of {BULK}")) }
}

/// A question and its echo.
async fn request(plane: &Plane, offset: u64) -> Result<u64, String> {
    let mut stream = open(plane, ECHO, 0).await?;
    let question = text::at(offset, QUESTION);
    stream.send(question.clone()).await.map_err(told)?;
    stream.finish();
    let mut answer = Vec::new();
    while let Some(chunk) = stream.recv().await.map_err(told)? {
        answer.extend_from_slice(&chunk);
    }
    if answer == question { Ok(answer.len() as u64) } else { Err("another answer".into()) }
}

/// Writes to a reader that never reads, and gives up.
async fn stall(plane: &Plane) -> Result<u64, String> {
    let mut stream = open(plane, STALL, 0).await?;
    let writing = async {
        let mut offset = 0;
        loop {
            stream.send(text::at(offset, BLOCK)).await.map_err(told)?;
            offset += BLOCK as u64;
        }
    };
    match time::timeout(STALLED, writing).await {
        Ok(outcome) => outcome,
        Err(_) => Ok(0),
    }
}

async fn open(plane: &Plane, kind: u8, length: u64) -> Result<LinkStream, String> {
    let order = Bytes::from([&[kind][..], &length.to_be_bytes()].concat());
    plane.open(planes::request().metadata(order)).await.map_err(told)
}

fn told(error: impl fmt::Display) -> String {
    error.to_string()
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The far end reads and says how much.
pub(crate) const READ: u8 = b'r';
/// The far end sends as much as is asked.
pub(crate) const SEND: u8 = b's';
/// The far end does not read.
pub(crate) const STALL: u8 = b't';
/// The far end waits for the end.
pub(crate) const KEEP: u8 = b'k';
/// The far end sends back what comes.
const ECHO: u8 = b'e';

/// How long a writer waits for a reader that never comes.
pub(crate) const STALLED: Duration = Duration::from_secs(2);

/// One bulk stream: a whole number of blocks.
const BULK: u64 = 64 << 20;

/// A request.
const QUESTION: usize = 300;

/// Tasks that make requests.
const REQUESTERS: u64 = 16;

/// Tasks that open streams and let go of them, each with so many in its hands.
const DROPPERS: usize = 4;
const HELD: usize = 100;

/// Tasks that write to readers who do not read.
const STALLERS: usize = 8;

/// Some thousand requests and opens a second altogether.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(4);
