//! A relay for TCP that behaves like a long line: it delays, limits the rate, and buffers no more than is on its way.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::clock;

/// What the line is like, in each direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// The time that a byte takes.
    pub(crate) one_way: Duration,
    /// How many of them fit through in a second.
    pub(crate) bytes_per_second: u64,
}

impl Line {
    /// How long so many bytes take to pass.
    fn time_for(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.bytes_per_second)
    }

    /// What is on its way when the line is full, and a little, so that a thread that wakes late leaves no gap.
    fn holds(&self) -> usize {
        let nanos = (self.one_way + SLACK).as_nanos() * u128::from(self.bytes_per_second);
        usize::try_from(nanos / 1_000_000_000).expect("a line holds less than memory")
    }
}

/// Relays connections until it is dropped; those that are open then go on until their ends close them.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Relay {
    /// Listens on a free port of the loopback and connects to `to` for each connection.
    pub(crate) fn start(line: Line, to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        // What the kernel buffers is not part of the line.
        SockRef::from(&listener).set_recv_buffer_size(SOCKET_BUFFER).expect("the socket is open");
        let address = listener.local_addr().expect("it is bound");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            for near in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(near), Ok(far)) = (near, dial(to)) else { return };
                near.set_nodelay(true).expect("the socket is open");
                join(line, &near, &far);
                join(line, &far, &near);
            }
        });
        Self { address, stop }
    }

    /// Where to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; if it is gone already, so much the better.
        drop(TcpStream::connect(self.address));
    }
}

fn dial(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.connect(&to.into())?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// Carries what comes from one to the other, on two threads that end with the connection.
fn join(line: Line, from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) =
        (from.try_clone().expect("there are descriptors"), to.try_clone().expect("there are descriptors"));
    let pipe = Arc::new(Pipe::default());
    let filled = Arc::clone(&pipe);
    thread::spawn(move || {
        let mut free_at = clock::now();
        loop {
            let mut chunk = vec![0; CHUNK];
            let len = from.read(&mut chunk).unwrap_or(0);
            chunk.truncate(len);
            free_at = free_at.max(clock::now()) + line.time_for(len);
            if !filled.push(free_at + line.one_way, chunk, line.holds()) || len == 0 {
                return;
            }
        }
    });
    thread::spawn(move || {
        loop {
            let (due, chunk) = pipe.pop();
            thread::sleep(due.saturating_duration_since(clock::now()));
            if chunk.is_empty() || to.write_all(&chunk).is_err() {
                pipe.close();
                // The other direction may have closed it.
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    });
}

/// What is on its way.
#[derive(Debug, Default)]
struct Pipe {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// With the times at which they are due; an empty one is the end.
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    closed: bool,
}

impl Pipe {
    /// Waits for room; `false` when nobody takes out any more.
    fn push(&self, due: Instant, chunk: Vec<u8>, most: usize) -> bool {
        let state = self.state.lock().expect("no holder panics");
        let full = |state: &mut State| !state.closed && state.bytes + chunk.len() > most && state.bytes > 0;
        let mut state = self.changed.wait_while(state, full).expect("no holder panics");
        state.bytes += chunk.len();
        state.chunks.push_back((due, chunk));
        self.changed.notify_all();
        !state.closed
    }

    fn pop(&self) -> (Instant, Vec<u8>) {
        let state = self.state.lock().expect("no holder panics");
        let mut state =
            self.changed.wait_while(state, |state| state.chunks.is_empty()).expect("no holder panics");
        let (due, chunk) = state.chunks.pop_front().expect("waited for it");
        // Room is given when the bytes arrive, but they are taken out when the thread begins to wait for their time:
        // one chunk more is on its way than is counted.
        state.bytes -= chunk.len();
        self.changed.notify_all();
        (due, chunk)
    }

    fn close(&self) {
        self.state.lock().expect("no holder panics").closed = true;
        self.changed.notify_all();
    }
}

/// One read.
const CHUNK: usize = 64 << 10;

/// How late a thread may wake.
const SLACK: Duration = Duration::from_millis(2);

/// The kernel's buffers at the relay: a few reads.
const SOCKET_BUFFER: usize = 256 << 10;
