//! The answering end: what a stream's first byte asks of it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::peer::Stream;

/// The answering end of one peer. Clones are the same.
#[derive(Debug)]
pub(crate) struct Answers<S> {
    on: Handle,
    shared: Arc<Shared<S>>,
}

#[derive(Debug)]
struct Shared<S> {
    /// Bytes of streams that ask for [`SINK`].
    sunk: AtomicU64,
    /// Streams that asked for [`HOLD`] or [`KEEP`].
    held: Mutex<Vec<S>>,
}

impl<S> Clone for Answers<S> {
    fn clone(&self) -> Self {
        Self { on: self.on.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: Stream> Answers<S> {
    /// Answers in tasks of that runtime.
    pub(crate) fn on(on: Handle) -> Self {
        Self { on, shared: Arc::new(Shared { sunk: AtomicU64::new(0), held: Mutex::new(Vec::new()) }) }
    }

    /// How many bytes were read from streams that ask for it.
    pub(crate) fn sunk(&self) -> u64 {
        self.shared.sunk.load(Ordering::Relaxed)
    }

    /// Answers a stream that arrived, in a task of its own.
    pub(crate) fn take(&self, stream: S) {
        let this = self.clone();
        // A stream that fails is not answered, which its opener notices.
        self.on.spawn(async move { this.answer(stream).await.ok() });
    }

    async fn answer(&self, mut stream: S) -> io::Result<()> {
        let Some(head) = stream.receive().await? else { return Ok(()) };
        match head.first {
            SINK => self.sink(stream, head.len).await,
            ECHO => echo(stream, head.len - 1).await,
            REQUEST => reply(stream, head.len).await,
            HOLD => {
                self.hold(stream);
                Ok(())
            }
            _ => {
                stream.send(&Bytes::from_static(&[KEEP])).await?;
                stream.flush().await?;
                self.hold(stream);
                Ok(())
            }
        }
    }

    async fn sink(&self, mut stream: S, first: usize) -> io::Result<()> {
        let mut len = first;
        loop {
            self.shared.sunk.fetch_add(len as u64, Ordering::Relaxed);
            match stream.receive().await? {
                Some(received) => len = received.len,
                None => return stream.finish().await,
            }
        }
    }

    fn hold(&self, stream: S) {
        self.shared.held.lock().expect("no holder panics").push(stream);
    }
}

/// Sends [`MESSAGE`] bytes for each so many that come; `due` of them have come already.
async fn echo(mut stream: impl Stream, mut due: usize) -> io::Result<()> {
    let answer = message(ECHO);
    loop {
        while due >= MESSAGE {
            due -= MESSAGE;
            stream.send(&answer).await?;
            stream.flush().await?;
        }
        match stream.receive().await? {
            Some(received) => due += received.len,
            None => return stream.finish().await,
        }
    }
}

/// Sends [`MESSAGE`] bytes once so many have come, finishes, and waits for the opener's finish.
async fn reply(mut stream: impl Stream, first: usize) -> io::Result<()> {
    let mut len = first;
    while len < MESSAGE {
        match stream.receive().await? {
            Some(received) => len += received.len,
            None => return Ok(()),
        }
    }
    stream.send(&message(REQUEST)).await?;
    stream.finish().await?;
    while stream.receive().await?.is_some() {}
    Ok(())
}

/// A small message that begins with that byte.
pub(crate) fn message(first: u8) -> Bytes {
    const fn with(first: u8) -> [u8; MESSAGE] {
        let mut bytes = [7; MESSAGE];
        bytes[0] = first;
        bytes
    }
    static ECHOED: [u8; MESSAGE] = with(ECHO);
    static REQUESTED: [u8; MESSAGE] = with(REQUEST);
    Bytes::from_static(if first == REQUEST { &REQUESTED } else { &ECHOED })
}

/// The size of a small message, there and back.
pub(crate) const MESSAGE: usize = 100;

/// Read everything and count it.
pub(crate) const SINK: u8 = b's';

/// Answer every message after the first byte.
pub(crate) const ECHO: u8 = b'e';

/// Answer one message, which begins with this byte, and close.
pub(crate) const REQUEST: u8 = b'r';

/// Keep the stream and read nothing more.
pub(crate) const HOLD: u8 = b'h';

/// Answer one byte and keep the stream.
pub(crate) const KEEP: u8 = b'k';
