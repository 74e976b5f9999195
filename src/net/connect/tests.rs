use std::future::pending;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::error::ProxyReason;
use crate::net::testing::{closed, listener, patient, route};

/// A proxy that reads a request to its end, sends these pieces (waiting for each to be taken), and then hangs up or stays.
async fn scripted(listener: TcpListener, pieces: Vec<Vec<u8>>, then: Then) -> String {
    let (tcp, _) = listener.accept().await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        tcp.readable().await.unwrap();
        let mut byte = [0];
        match tcp.try_read(&mut byte) {
            Ok(0) => break,
            Ok(_) => request.push(byte[0]),
            Err(_) => {}
        }
    }
    for piece in pieces {
        tcp.writable().await.unwrap();
        // A dialer that has heard enough hangs up.
        if tcp.try_write(&piece).is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    match then {
        Then::HangUp => drop(tcp),
        Then::Stay => closed(&tcp).await,
    }
    String::from_utf8(request).unwrap()
}

enum Then {
    HangUp,
    Stay,
}

/// Connects to `east.example:55671`, which only the proxy could look up, through a scripted proxy.
async fn through(
    pieces: Vec<Vec<u8>>,
    then: Then,
    change: impl FnOnce(&mut ProxySpec, &mut Deadlines),
) -> (Result<(), DialError>, SocketAddr, String) {
    let (listener, address) = listener();
    let mut proxy = ProxySpec::new("127.0.0.1".parse().unwrap(), address.port());
    let mut deadlines = patient();
    change(&mut proxy, &mut deadlines);
    let mut route = route();
    route.proxy = Some(proxy);
    let host = "east.example".into();
    let dialing = async {
        let outcome = connect(&host, 55671, &route, &deadlines).await;
        // The connection is closed here, which ends a proxy that stays.
        outcome.map(|(tcp, remote)| {
            drop(tcp);
            remote
        })
    };
    let (outcome, request) = tokio::join!(dialing, scripted(listener, pieces, then));
    if let Ok(remote) = &outcome {
        assert_eq!(*remote, address, "a link through a proxy is connected to the proxy");
    }
    (outcome.map(|_| ()), address, request)
}

/// What an answer in one piece amounts to.
async fn answered(answer: &str, then: Then) -> Result<(), DialError> {
    let (outcome, address, _) = through(vec![answer.into()], then, |_, _| {}).await;
    outcome.map_err(|error| match error {
        DialError::Proxy { proxy, reason } => {
            assert_eq!(*proxy, address.to_string());
            DialError::Proxy { proxy: "proxy".into(), reason }
        }
        other => other,
    })
}

fn refused(reason: ProxyReason) -> Result<(), DialError> {
    Err(DialError::Proxy { proxy: "proxy".into(), reason })
}

#[tokio::test]
async fn the_next_address_starts_at_once_when_one_fails() {
    let (dead, gone) = listener();
    drop(dead);
    let (alive, address) = listener();
    let tuning = Tuning::new(Duration::from_secs(30));
    let (raced, _accepted) = tokio::join!(race(vec![gone, address], tuning), alive.accept());
    assert_eq!(raced.unwrap().1, address);
    assert_eq!(
        race(vec![gone], tuning).await.unwrap_err(),
        DialError::Connect { address: gone, kind: io::ErrorKind::ConnectionRefused }
    );
}

#[tokio::test]
async fn a_link_is_dialed_from_its_bind_address() {
    let (listener, address) = listener();
    let mut route = route();
    route.tuning.bind_address = Some([127, 0, 0, 5].into());
    let host = "127.0.0.1".into();
    let deadlines = patient();
    let (connected, accepted) =
        tokio::join!(connect(&host, address.port(), &route, &deadlines), listener.accept());
    let (tcp, remote) = connected.unwrap();
    assert_eq!((tcp.local_addr().unwrap(), remote), (accepted.unwrap().1, address));
    assert_eq!(tcp.local_addr().unwrap().ip(), IpAddr::from([127, 0, 0, 5]));
}

#[tokio::test]
async fn an_address_that_is_not_ours_cannot_be_dialed_from() {
    let (_listener, address) = listener();
    let (host, deadlines, mut route) = ("127.0.0.1".into(), patient(), route());
    // RFC 5737: documentation, nobody's.
    for (local, kind) in [("192.0.2.1", io::ErrorKind::AddrNotAvailable), ("::1", io::ErrorKind::Unsupported)]
    {
        let local: IpAddr = local.parse().unwrap();
        route.tuning.bind_address = Some(local);
        let error = connect(&host, address.port(), &route, &deadlines).await.unwrap_err();
        assert_eq!(error, DialError::Bind { address: local, kind });
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_target_and_opens_the_tunnel() {
    let answer = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 squid\r\n\r\n".to_vec();
    let (outcome, _, request) = through(vec![answer], Then::Stay, |_, _| {}).await;
    assert_eq!(outcome, Ok(()));
    assert_eq!(request, "CONNECT east.example:55671 HTTP/1.1\r\nHost: east.example:55671\r\n\r\n");
}

#[tokio::test]
async fn a_proxy_is_shown_the_login() {
    let answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let (outcome, _, request) = through(vec![answer], Then::Stay, |proxy, _| {
        *proxy = proxy.clone().with_login("west", "se:cret").unwrap();
    })
    .await;
    assert_eq!(outcome, Ok(()));
    assert!(request.contains("\r\nProxy-Authorization: Basic d2VzdDpzZTpjcmV0\r\n"), "{request:?}");
}

#[tokio::test]
async fn an_answer_may_come_byte_by_byte() {
    let bytes = b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n".iter().map(|byte| vec![*byte]).collect();
    assert_eq!(through(bytes, Then::Stay, |_, _| {}).await.0, Ok(()));
}

#[tokio::test]
async fn each_refusal_of_a_proxy_has_its_reason() {
    let required = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n<html>";
    assert_eq!(answered(required, Then::Stay).await, refused(ProxyReason::AuthenticationRequired));
    let reason = ProxyReason::Refused { status: 503, phrase: "Service Unavailable".into() };
    assert_eq!(answered("HTTP/1.1 503 Service Unavailable\r\n\r\n", Then::HangUp).await, refused(reason));
    assert_eq!(answered("SSH-2.0-OpenSSH_9.2p1\r\n", Then::Stay).await, refused(ProxyReason::NotHttp));
    let early = "HTTP/1.1 200 OK\r\n\r\n\u{16}";
    assert_eq!(answered(early, Then::Stay).await, refused(ProxyReason::UnexpectedBytes));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let line = format!("A: {}\r\n", "b".repeat(1020)).into_bytes();
    let mut pieces = vec![b"HTTP/1.1 200 OK\r\n".to_vec()];
    pieces.extend(std::iter::repeat_n(line, 32));
    let (outcome, address, _) = through(pieces, Then::Stay, |_, _| {}).await;
    let reason = ProxyReason::AnswerTooLong { limit: 16 << 10 };
    assert_eq!(outcome, Err(DialError::Proxy { proxy: address.to_string().into(), reason }));
}

#[tokio::test]
async fn a_proxy_that_hangs_up_is_lost_in_that_phase() {
    let lost = Err(DialError::Lost { phase: Phase::Proxy, kind: io::ErrorKind::UnexpectedEof });
    assert_eq!(answered("", Then::HangUp).await, lost);
    assert_eq!(answered("HTTP/1.1 200 OK\r\nA:", Then::HangUp).await, lost);
}

#[tokio::test]
async fn a_proxy_that_falls_silent_runs_into_its_deadline() {
    let after = Duration::from_millis(50);
    let half = vec![b"HTTP/1.1 200 Conn".to_vec()];
    let (outcome, ..) = through(half, Then::Stay, |_, deadlines| deadlines.proxy = after).await;
    assert_eq!(outcome, Err(DialError::TimedOut { phase: Phase::Proxy, after }));
}

#[tokio::test]
async fn a_proxy_that_is_away_is_not_gone_around() {
    let (proxy, address) = listener();
    drop(proxy);
    let (target, to) = listener();
    let mut route = route();
    route.proxy = Some(ProxySpec::new("127.0.0.1".parse().unwrap(), address.port()));
    let (host, deadlines) = (to.ip().to_string().into(), patient());
    let dialing = connect(&host, to.port(), &route, &deadlines);
    let error = tokio::select! {
        outcome = dialing => outcome.unwrap_err(),
        _ = target.accept() => panic!("a direct connection"),
    };
    assert_eq!(error, DialError::Connect { address, kind: io::ErrorKind::ConnectionRefused });
}

#[tokio::test]
async fn a_phase_ends_with_its_deadline_or_with_its_work() {
    let after = Duration::from_millis(1);
    let timed_out = within::<()>(Phase::Tls, after, pending()).await;
    assert_eq!(timed_out, Err(DialError::TimedOut { phase: Phase::Tls, after }));
    let (done, mut waits) = mpsc::channel(1);
    done.send(7).await.unwrap();
    let work = async { Ok(waits.recv().await) };
    assert_eq!(within(Phase::Tls, Duration::from_secs(60), work).await, Ok(Some(7)));
}
