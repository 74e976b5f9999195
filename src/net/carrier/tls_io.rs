//! What a driver does with its socket and its TLS state, without its session.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::error::{CarrierEnd, Violation};
use crate::wire::DecodeError;
use crate::wire::decoder::{Decoded, Decoder};

/// The same room, holding nothing and so borrowing nothing (collecting in place does not allocate).
pub(super) fn emptied<'to>(mut slices: Vec<IoSlice<'_>>) -> Vec<IoSlice<'to>> {
    slices.clear();
    slices.into_iter().map(|_| IoSlice::new(&[])).collect()
}

/// A socket for rustls, which reads and writes without waiting.
pub(super) struct Socket<'a>(pub(super) &'a TcpStream);

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads once. A read that does not fill the buffer has emptied the socket, which the runtime takes note of: no
/// further system call is needed to find out.
pub(super) fn poll_read(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(tcp).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// Decodes what is decrypted. Data payloads are copied here, once, out of the lock.
pub(super) fn decode(
    tls: &mut Connection,
    decoder: &mut Decoder,
    frames: &mut VecDeque<Decoded>,
) -> Result<(), CarrierEnd> {
    loop {
        let mut reader = tls.reader();
        let mut plain = match io::BufRead::fill_buf(&mut reader) {
            Ok([]) => return Err(CarrierEnd::Eof),
            Ok(plain) => plain,
            Err(_) => return Ok(()),
        };
        let len = plain.len();
        while let Some(decoded) = decoder.decode(&mut plain).map_err(violation)? {
            frames.push_back(decoded);
        }
        io::BufRead::consume(&mut reader, len);
    }
}

fn violation(error: DecodeError) -> CarrierEnd {
    CarrierEnd::Violation(Violation::from(error))
}
