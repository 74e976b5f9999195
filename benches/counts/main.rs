//! Moves a given amount and nothing else, for counting instructions: `.ci/counts` runs it under callgrind.
//!
//! ```text
//! counts bulk 268435456      so many bytes over one stream
//! counts opens 5000          so many streams: opened, 100 bytes echoed, closed
//! ```
//!
//! Two planes over loopback on one thread. Time is paused once the link is up and moves only as work is done, as it
//! would at full speed on a fast machine: how slow an instrument makes the process decides nothing, and two runs come
//! out alike within a hundredth. Start-up falls out of the difference of two amounts.

use std::env;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use sitelink::{LinkStream, Plane, PlaneConfig};
use tokio::runtime::{Builder, Handle};
use tokio::task::{self, JoinSet};
use tokio::time;

use crate::pki::Pki;

#[allow(dead_code, reason = "each benchmark uses its own part")]
#[path = "../support/pki.rs"]
mod pki;
#[path = "../support/planes.rs"]
mod planes;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["bulk", bytes] => run(Work::Bulk(bytes.parse().expect("a number of bytes"))),
        ["opens", count] => run(Work::Opens(count.parse().expect("a number of streams"))),
        // `cargo bench` runs every benchmark: alone this one has nothing to say, but it must run.
        _ => {
            run(Work::Bulk(64 << 20));
            run(Work::Opens(1000));
            println!("counts: ran; `.ci/counts` counts");
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Moves so many bytes.
    Bulk(u64),
    /// Opens so many streams.
    Opens(u64),
}

fn run(work: Work) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("the system has descriptors");
    runtime.block_on(async {
        let pki = Pki::new();
        let (east, access) = planes::listen(&pki, PlaneConfig::default()).await;
        let west = planes::dial(&pki, PlaneConfig::default(), access.address()).await;
        Handle::current().spawn(answer(east));
        request(&west).await;
        // A link has two carriers: the second must be up before anything counts.
        time::sleep(SETTLING).await;

        time::pause();
        // While a blocking task runs, a paused clock does not jump to the next timer when all wait.
        let (release, held) = mpsc::channel::<()>();
        let hold = task::spawn_blocking(move || held.recv());
        match work {
            Work::Bulk(bytes) => bulk(&west, bytes).await,
            Work::Opens(count) => opens(&west, count).await,
        }
        drop(release);
        // It was told to end by hanging up.
        let _ = hold.await;
    });
}

/// Moves bytes to the other end, which answers when it has them.
async fn bulk(plane: &Plane, bytes: u64) {
    let block = Bytes::from(vec![7; BLOCK]);
    let first = Bytes::copy_from_slice(&bytes.to_be_bytes());
    let mut stream = plane.open(planes::request().initial_data(first)).await.expect("the key is served");
    let mut left = bytes;
    while left > 0 {
        let len = left.min(BLOCK as u64);
        stream
            .send(block.slice(..usize::try_from(len).expect("a block")))
            .await
            .expect("the other end reads");
        left -= len;
        time::advance(PER_BLOCK).await;
    }
    while let Some(answer) = stream.recv().await.expect("the other end answers") {
        assert_eq!(answer.len(), 1);
    }
}

/// Opens streams, some at a time.
async fn opens(plane: &Plane, count: u64) {
    let mut tasks = JoinSet::new();
    for task in 0..AT_A_TIME {
        let plane = plane.clone();
        tasks.spawn(async move {
            for _ in 0..(count + task) / AT_A_TIME {
                request(&plane).await;
                time::advance(PER_OPEN).await;
            }
        });
    }
    tasks.join_all().await;
}

/// One stream with a question, its answer and both ends of file.
async fn request(plane: &Plane) {
    let question = Bytes::from_static(&[0; QUESTION]);
    let mut stream = plane.open(planes::request().initial_data(question)).await.expect("the key is served");
    stream.finish();
    let mut len = 0;
    while let Some(answer) = stream.recv().await.expect("the other end answers") {
        len += answer.len();
    }
    assert_eq!(len, QUESTION);
}

/// Answers streams for ever: the first eight bytes say how many more will come; for none, what comes is echoed.
async fn answer(plane: Plane) {
    while let Some(incoming) = plane.accept().await {
        let stream = incoming.accept().expect("it is still there");
        Handle::current().spawn(serve(stream));
    }
}

async fn serve(mut stream: LinkStream) {
    let first = stream.recv().await.expect("the opener is there").expect("an open comes with bytes");
    let (length, _) = first.split_first_chunk().expect("a length comes first");
    let length = u64::from_be_bytes(*length);
    if length == 0 {
        stream.send(first).await.expect("the opener reads");
        while stream.recv().await.expect("the opener is there").is_some() {}
    } else {
        let mut left = length + 8 - first.len() as u64;
        while left > 0 {
            let chunk = stream.recv().await.expect("the opener is there").expect("it sends what it said");
            left -= chunk.len() as u64;
        }
        stream.send(Bytes::from_static(b".")).await.expect("the opener reads");
    }
    stream.finish();
}

/// One send: full records, and still in the processor's cache.
const BLOCK: usize = 64 << 10;

/// What a block takes at 4 GB/s.
const PER_BLOCK: Duration = Duration::from_micros(16);

/// What a stream takes at 100,000 a second.
const PER_OPEN: Duration = Duration::from_micros(10);

/// Streams open at a time.
const AT_A_TIME: u64 = 32;

/// Bytes asked and answered.
const QUESTION: usize = 100;

/// The second carrier is dialed as soon as the first is up.
const SETTLING: Duration = Duration::from_secs(2);
