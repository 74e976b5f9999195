//! A tunnel through an HTTP proxy: CONNECT (RFC 9110 §9.3.6), and what the proxy answers.

use std::io;
use std::net::Ipv6Addr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use httparse::{EMPTY_HEADER, Response, Status};
use tokio::net::TcpStream;

use crate::error::{DialError, Phase, ProxyReason};
use crate::resource::secret::ProxySpec;

/// Asks the proxy at the other end of `tcp` for a tunnel to `host:port`, and returns when it is there.
///
/// The proxy looks the name up itself, so that a site need not resolve what it cannot reach; TLS, its name included,
/// is then between us and the target. `host` must be a DNS name or an address, which the caller has established.
/// Takes as long as the proxy does: the caller has a deadline.
///
/// # Errors
/// [`DialError::Proxy`] says what the proxy answered; [`DialError::Lost`] when it hung up before.
///
/// # Cancel safety
/// Not cancel safe: the connection is then good for nothing.
pub(crate) async fn tunnel(
    tcp: &TcpStream,
    proxy: &ProxySpec,
    host: &str,
    port: u16,
) -> Result<(), DialError> {
    let asked = ask(tcp, &request(proxy, host, port)).await;
    asked.map_err(|failure| match failure {
        Failure::Answer(reason) => DialError::Proxy { proxy: proxy.to_string().into(), reason },
        Failure::Lost(kind) => DialError::Lost { phase: Phase::Proxy, kind },
    })
}

enum Failure {
    Answer(ProxyReason),
    Lost(io::ErrorKind),
}

async fn ask(tcp: &TcpStream, request: &[u8]) -> Result<(), Failure> {
    let lost = |error: io::Error| Failure::Lost(error.kind());
    send(tcp, request).await.map_err(lost)?;
    let mut received = Vec::new();
    loop {
        if receive(tcp, &mut received).await.map_err(lost)? == 0 {
            return Err(Failure::Lost(io::ErrorKind::UnexpectedEof));
        }
        if let Some(verdict) = answer(&received) {
            return verdict.map_err(Failure::Answer);
        }
        if received.len() >= MAX_ANSWER {
            return Err(Failure::Answer(ProxyReason::AnswerTooLong { limit: MAX_ANSWER }));
        }
    }
}

/// The request. It holds the password: for the socket and nothing else.
fn request(proxy: &ProxySpec, host: &str, port: u16) -> Vec<u8> {
    let target = match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if !proxy.username.is_empty() {
        // Base64 leaves nothing of a line end or another trick in a name or password made by hand.
        let login = STANDARD.encode(format!("{}:{}", proxy.username, proxy.password));
        request += &format!("Proxy-Authorization: Basic {login}\r\n");
    }
    request += "\r\n";
    request.into_bytes()
}

/// What the bytes received so far amount to: nothing yet, a tunnel, or none.
fn answer(received: &[u8]) -> Option<Result<(), ProxyReason>> {
    let mut rest = received;
    loop {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut response = Response::new(&mut headers);
        let length = match response.parse(rest) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return None,
            Err(httparse::Error::TooManyHeaders) => {
                return Some(Err(ProxyReason::AnswerTooLong { limit: MAX_HEADERS }));
            }
            Err(_) => return Some(Err(ProxyReason::NotHttp)),
        };
        rest = &rest[length..];
        match response.code.unwrap_or_default() {
            // "Still at it": the answer proper follows. Never 101, for no other protocol was asked for.
            100 | 102..=199 => {}
            // A length or encoding of the body is to be ignored here: what follows is the tunnel.
            200..=299 if rest.is_empty() => return Some(Ok(())),
            200..=299 => return Some(Err(ProxyReason::UnexpectedBytes)),
            // 401 is what tinyproxy says to a wrong login; only the proxy itself can have sent it here.
            401 | 407 => return Some(Err(ProxyReason::AuthenticationRequired)),
            status => {
                let phrase: String = response.reason.unwrap_or_default().chars().take(MAX_PHRASE).collect();
                return Some(Err(ProxyReason::Refused { status, phrase: phrase.into() }));
            }
        }
    }
}

async fn send(tcp: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        tcp.writable().await?;
        match tcp.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Adds what has come to `received`, up to [`MAX_ANSWER`]. Returns how much; 0 is the end.
async fn receive(tcp: &TcpStream, received: &mut Vec<u8>) -> io::Result<usize> {
    let filled = received.len();
    loop {
        tcp.readable().await?;
        received.resize(MAX_ANSWER.min(filled + CHUNK), 0);
        let read = tcp.try_read(&mut received[filled..]);
        received.truncate(filled + read.as_ref().copied().unwrap_or(0));
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// How much is read at a time: more than an answer mostly has.
const CHUNK: usize = 2048;

/// The most bytes of an answer's head: what most proxies take of a request's. Squid's longest is below 1 KiB.
const MAX_ANSWER: usize = 16 << 10;

/// The most header lines of an answer. Squid sends a dozen with an error.
const MAX_HEADERS: usize = 64;

/// The most characters of a refusal's phrase; those of RFC 9110 have up to 31.
const MAX_PHRASE: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> ProxySpec {
        ProxySpec::new("proxy.example".parse().unwrap(), 3128)
    }

    fn asked(proxy: &ProxySpec, host: &str) -> String {
        String::from_utf8(request(proxy, host, 55671)).unwrap()
    }

    #[test]
    fn the_request_names_the_target_and_leaves_its_resolution_to_the_proxy() {
        let expected = "CONNECT east.example:55671 HTTP/1.1\r\nHost: east.example:55671\r\n\r\n";
        assert_eq!(asked(&proxy(), "east.example"), expected);
        let expected = "CONNECT [fd00::1]:55671 HTTP/1.1\r\nHost: [fd00::1]:55671\r\n\r\n";
        assert_eq!(asked(&proxy(), "fd00::1"), expected);
    }

    #[test]
    fn a_login_is_one_header_whatever_is_in_it() {
        let lines = |username: &str, password: &str| {
            let mut spec = proxy();
            (spec.username, spec.password) = (username.into(), password.into());
            asked(&spec, "east").split("\r\n").map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines("west", "a:b")[2], "Proxy-Authorization: Basic d2VzdDphOmI=");
        assert_eq!(lines("west", "")[2], "Proxy-Authorization: Basic d2VzdDo=");
        let tricky = lines("w\r\nX-Evil: 1", "\0\r\n\r\n");
        assert_eq!(tricky.len(), 5, "{tricky:?}");
        // No user, no header: an anonymous proxy must not be shown half a login.
        assert_eq!(lines("", "secret").len(), 4);
    }

    #[test]
    fn an_answer_is_waited_for_to_its_end() {
        let whole = b"HTTP/1.1 200 Connection established\r\nProxy-Agent: x\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(answer(&whole[..cut]), None, "after {cut} bytes");
        }
        assert_eq!(answer(whole), Some(Ok(())));
    }

    #[test]
    fn each_answer_has_its_verdict() {
        let refused =
            |status, phrase: &str| Some(Err(ProxyReason::Refused { status, phrase: phrase.into() }));
        let not_http = Some(Err(ProxyReason::NotHttp));
        let cases: [(&str, Option<Result<(), ProxyReason>>); 15] = [
            ("HTTP/1.0 200 OK\r\n\r\n", Some(Ok(()))),
            ("HTTP/1.1 204 \r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Some(Ok(()))),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Some(Ok(()))),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\n\r\nx", Some(Err(ProxyReason::UnexpectedBytes))),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", refused(101, "Switching Protocols")),
            ("HTTP/1.1 302 Found\r\nLocation: http://login\r\n\r\n", refused(302, "Found")),
            ("HTTP/1.1 407 Whatever\r\n\r\n<html>", Some(Err(ProxyReason::AuthenticationRequired))),
            ("HTTP/1.0 401 Unauthorized\r\n\r\n", Some(Err(ProxyReason::AuthenticationRequired))),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", refused(403, "Forbidden")),
            ("HTTP/1.1 503\r\n\r\n", refused(503, "")),
            ("HTTP/2 200\r\n\r\n", not_http.clone()),
            ("SSH-2.0-OpenSSH_9.2p1\r\n", not_http.clone()),
            ("\u{16}\u{3}\u{1}", not_http.clone()),
            ("HTTP/1.1 99999 X\r\n\r\n", not_http),
        ];
        for (text, verdict) in cases {
            assert_eq!(answer(text.as_bytes()), verdict, "{text:?}");
        }
    }

    #[test]
    fn a_long_phrase_is_cut_and_too_many_headers_are_refused() {
        let long = format!("HTTP/1.1 500 {}\r\n\r\n", "x".repeat(1000));
        let Some(Err(ProxyReason::Refused { phrase, .. })) = answer(long.as_bytes()) else { unreachable!() };
        assert_eq!(phrase.len(), MAX_PHRASE);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        let limit = MAX_HEADERS;
        assert_eq!(answer(many.as_bytes()), Some(Err(ProxyReason::AnswerTooLong { limit })));
    }
}
