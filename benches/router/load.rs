//! What both ends of the load share: commands line by line, a thread for bulk, and the count of what came.
//!
//! Bulk has a runtime on a thread of its own, so that the timing of a small request is not that of the load beside it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;

use crate::support::Outcome;

/// The first byte of a connection says what it is for.
pub(crate) const ECHO: u8 = b'e';
/// The server reads.
pub(crate) const SINK: u8 = b's';
/// The server writes.
pub(crate) const SOURCE: u8 = b'd';

/// A thread with a runtime for bulk transfers; it lives as long as the process.
#[derive(Clone, Debug)]
pub(crate) struct Bulk {
    runtime: Handle,
    received: Arc<AtomicU64>,
}

impl Bulk {
    /// Starts the thread.
    pub(crate) fn start() -> Outcome<Self> {
        let runtime = runtime()?;
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        Ok(Self { runtime: handle, received: Arc::default() })
    }

    /// Where its tasks are spawned.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Reads and counts until the end of the connection, however it comes.
    pub(crate) async fn sink(self, mut tcp: TcpStream) {
        let mut buffer = vec![0; BLOCK];
        while let Ok(count @ 1..) = tcp.read(&mut buffer).await {
            self.received.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// What came within a while: bytes and nanoseconds, as a command is answered.
    pub(crate) async fn measure(&self, window: Duration) -> String {
        let (began, before) = (now(), self.received.load(Ordering::Relaxed));
        tokio::time::sleep(window).await;
        let after = self.received.load(Ordering::Relaxed);
        format!("{} {}", after - before, began.elapsed().as_nanos())
    }
}

/// Writes until nobody takes it any more.
pub(crate) async fn source(mut tcp: TcpStream) {
    let block = vec![7; BLOCK];
    while tcp.write_all(&block).await.is_ok() {}
}

/// A runtime of one thread.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Answers commands from standard input until it ends. What fails is answered as `error: ...`.
pub(crate) async fn answer<F: Future<Output = Outcome<String>>>(
    mut command: impl FnMut(Vec<String>) -> F,
) -> Outcome<()> {
    let (tell, mut lines) = mpsc::channel(1);
    thread::spawn(move || {
        io::stdin().lines().map_while(Result::ok).try_for_each(|line| tell.blocking_send(line))
    });
    while let Some(line) = lines.recv().await {
        let words = line.split_whitespace().map(str::to_owned).collect();
        let answer = command(words).await.unwrap_or_else(|error| format!("error: {error}"));
        println!("{answer}");
    }
    Ok(())
}

/// Now.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// One read or write of bulk: more leaves the cache, less costs system calls.
const BLOCK: usize = 128 << 10;
