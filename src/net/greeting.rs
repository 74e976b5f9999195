//! A carrier between its TLS handshake and its driver: the hellos go over it, and refusals.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::certificate::LeafSummary;
use crate::error::{TlsReason, Violation};
use crate::id::Principal;
use crate::tls::proof::{EXPORTER_LABEL, EXPORTER_LEN};
use crate::tls::reason::{peer_of, reason_of, require_alpn};
use crate::wire::code::CloseCode;
use crate::wire::decoder::{Decoded, Decoder};
use crate::wire::frame::{CloseScope, Frame};
use crate::wire::hello::Hello;

/// A TCP connection whose TLS handshake is done and checked, at either end.
///
/// When the peer's hello has been read, what came behind it in the same records waits in `frames` and `decoder`:
/// a driver begins with those. `tls` may hold bytes yet to be written.
pub(crate) struct Secured {
    /// The socket; nothing is read ahead of `tls`.
    pub(crate) tcp: TcpStream,
    /// The TLS state. Boxed, because it is half a kilobyte that is handed from task to task.
    pub(crate) tls: Box<rustls::Connection>,
    /// Past the peer's hello; may hold a part of the next frame.
    pub(crate) decoder: Decoder,
    /// What came whole behind the peer's hello.
    pub(crate) frames: Vec<Decoded>,
    /// Who the peer's verified leaf says it is.
    pub(crate) principal: Principal,
    /// What that leaf says; `None` of an anonymous peer.
    pub(crate) certificate: Option<Arc<LeafSummary>>,
    /// This end's address.
    pub(crate) local: SocketAddr,
    /// The peer's address.
    pub(crate) remote: SocketAddr,
}

impl Secured {
    /// Takes over a finished handshake: checks the protocol agreed on, and reads who the peer is.
    ///
    /// # Errors
    /// [`Failure::Tls`] when the peer does not speak our protocol or its leaf cannot be read;
    /// [`Failure::Lost`] when the socket has no addresses any more.
    pub(crate) fn new(tcp: TcpStream, tls: rustls::Connection, remote: SocketAddr) -> Result<Self, Failure> {
        require_alpn(tls.alpn_protocol()).map_err(Failure::Tls)?;
        let (principal, certificate) = peer_of(tls.peer_certificates()).map_err(Failure::Tls)?;
        let local = tcp.local_addr().map_err(|error| Failure::Lost(error.kind()))?;
        Ok(Self {
            tcp,
            tls: Box::new(tls),
            decoder: Decoder::new(),
            frames: Vec::new(),
            principal,
            certificate,
            local,
            remote,
        })
    }

    /// This connection's exporter, which a joining proof is bound to; the same at both ends, and only there.
    ///
    /// # Errors
    /// [`Failure::Tls`]; rustls has no cause to fail here once the handshake is done.
    pub(crate) fn exporter(&self) -> Result<[u8; EXPORTER_LEN], Failure> {
        let exported = self.tls.export_keying_material([0; EXPORTER_LEN], EXPORTER_LABEL, None);
        exported.map_err(|error| Failure::Tls(reason_of(&error)))
    }

    /// Puts a frame behind what is to be written already. Writes nothing.
    ///
    /// # Errors
    /// [`Failure::Lost`] when rustls takes no more (64 KiB: four of the longest frames).
    pub(crate) fn queue(&mut self, frame: &Frame) -> Result<(), Failure> {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.tls.writer().write_all(&bytes).map_err(|error| Failure::Lost(error.kind()))
    }

    /// Writes what is queued and reads the peer's hello.
    ///
    /// A write that fails is no verdict yet: a peer that refuses closes at once, and what it said before is still
    /// to be read. An alert is typed by what it says, so that a refused client certificate, of which TLS 1.3 tells
    /// a dialer only here, is told as that.
    ///
    /// # Errors
    /// Every [`Failure`].
    ///
    /// # Cancel safety
    /// Cancel safe: what has been read of the hello is kept for the next call.
    pub(crate) async fn hello(&mut self) -> Result<Hello, Failure> {
        let mut unwritten = None;
        loop {
            if unwritten.is_none() {
                unwritten = self.flush().err();
            }
            if let Some(decoded) = self.take_frame()? {
                let hello = expect_hello(decoded.frame)?;
                self.take_rest()?;
                return Ok(hello);
            }
            let interest = match unwritten {
                None if self.tls.wants_write() => Interest::READABLE | Interest::WRITABLE,
                _ => Interest::READABLE,
            };
            self.tcp.ready(interest).await.map_err(|error| Failure::Lost(error.kind()))?;
            match self.read() {
                // The first cause is the one to tell.
                Err(Failure::Lost(kind)) => return Err(Failure::Lost(unwritten.unwrap_or(kind))),
                outcome => outcome?,
            }
        }
    }

    /// Says why the carrier ends, as far as the socket takes it at once, without waiting.
    ///
    /// A `retry_after` tells a dialer when to come back. Dropping the connection afterwards may cost the peer these
    /// words if it still sends; [`Secured::refuse`] does not.
    pub(crate) fn say_close(
        &mut self,
        scope: CloseScope,
        code: CloseCode,
        detail: &str,
        retry_after: Duration,
    ) {
        let retry_after_millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        let close = Frame::Close { scope, code, retry_after_millis, detail: detail.to_owned() };
        if self.queue(&close).is_ok() {
            self.tls.send_close_notify();
            // Whoever does not get it sees the connection end.
            let _ = self.flush();
        }
    }

    /// Ends a carrier that never was one: says why and sees to it that the words arrive.
    ///
    /// Takes at most [`LINGER`], since it waits for the peer to close.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection at once.
    pub(crate) async fn refuse(mut self, code: CloseCode, detail: &str, retry_after: Duration) {
        self.say_close(CloseScope::Carrier, code, detail, retry_after);
        linger(self.tcp).await;
    }

    /// Writes what is queued; a test's few bytes fit into any socket.
    #[cfg(test)]
    pub(crate) fn flush_for_test(&mut self) {
        self.flush().unwrap();
    }

    /// Takes plaintext up to the end of one frame.
    fn take_frame(&mut self) -> Result<Option<Decoded>, Failure> {
        let mut reader = self.tls.reader();
        loop {
            let chunk = match reader.fill_buf() {
                // A close_notify where a hello should be.
                Ok([]) => return Err(Failure::Lost(io::ErrorKind::UnexpectedEof)),
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(Failure::Lost(error.kind())),
            };
            let mut left = chunk;
            let decoded = self.decoder.decode(&mut left).map_err(|error| Failure::Violation(error.into()))?;
            let taken = chunk.len() - left.len();
            reader.consume(taken);
            if decoded.is_some() {
                return Ok(decoded);
            }
        }
    }

    /// Takes what came behind the hello: the driver looks at the socket alone.
    fn take_rest(&mut self) -> Result<(), Failure> {
        loop {
            match self.take_frame() {
                Ok(Some(decoded)) => self.frames.push(decoded),
                // The driver will see for itself that this was all.
                Ok(None) | Err(Failure::Lost(_)) => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Writes as much as the socket takes now.
    fn flush(&mut self) -> Result<(), io::ErrorKind> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Nonblocking(&self.tcp)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.kind()),
            }
        }
        Ok(())
    }

    /// Reads what the socket has now, once, and decrypts it.
    fn read(&mut self) -> Result<(), Failure> {
        match self.tls.read_tls(&mut Nonblocking(&self.tcp)) {
            Ok(0) => return Err(Failure::Lost(io::ErrorKind::UnexpectedEof)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Failure::Lost(error.kind())),
        }
        if let Err(error) = self.tls.process_new_packets() {
            // rustls has queued an alert that tells the peer what was wrong.
            let _ = self.flush();
            return Err(Failure::Tls(reason_of(&error)));
        }
        Ok(())
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, local, remote, .. } = self;
        f.debug_struct("Secured")
            .field("principal", principal)
            .field("local", local)
            .field("remote", remote)
            .finish_non_exhaustive()
    }
}

/// Why no hello came; each end makes its own error of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The peer sent a close instead.
    Closed {
        code: CloseCode,
        detail: String,
        /// `None` when it said nothing of it.
        retry_after: Option<Duration>,
    },
    /// The connection ended or failed.
    Lost(io::ErrorKind),
    /// TLS failed, or the peer's alert said that it did there.
    Tls(TlsReason),
    /// What came is no hello.
    Violation(Violation),
}

/// Waits until the peer has closed its half, for at most [`LINGER`], after closing ours.
///
/// A socket that is closed with bytes unread resets the connection, and on the way of a reset what was written
/// last may be lost: a refusal, an alert. Reads at most [`LINGER_BYTES`].
pub(crate) async fn linger(tcp: TcpStream) {
    let _ = SockRef::from(&tcp).shutdown(Shutdown::Write);
    let drained = async {
        let mut left = LINGER_BYTES;
        let mut scratch = [0; 1024];
        while left > 0 && tcp.readable().await.is_ok() {
            match tcp.try_read(&mut scratch) {
                Ok(0) => return,
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drained).await;
}

/// Before a hello nothing may come, and instead of it only a close.
fn expect_hello(frame: Frame) -> Result<Hello, Failure> {
    match frame {
        Frame::Hello(hello) => Ok(*hello),
        Frame::Close { code, retry_after_millis, detail, .. } => Err(Failure::Closed {
            code,
            detail,
            retry_after: (retry_after_millis > 0).then(|| Duration::from_millis(retry_after_millis)),
        }),
        _ => Err(Failure::Violation(Violation::Unexpected)),
    }
}

/// Lends a tokio socket to rustls, which reads and writes without waiting.
struct Nonblocking<'a>(&'a TcpStream);

impl Read for Nonblocking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Nonblocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long a refused peer is waited for: a round trip on the worst link (a satellite's 0.6 s), with some to spare.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// How much of a refused peer's bytes is read and thrown away: more than any well-behaved one has under way before
/// its first answer.
const LINGER_BYTES: usize = 64 << 10;
