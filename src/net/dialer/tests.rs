use tokio::net::TcpListener;

use super::*;
use crate::error::TlsReason;
use crate::id::{CarrierNumber, SessionId};
use crate::net::testing::{
    Ends, SESSION, accept_tls, acceptor_tls, begun, closed, dial, dial_spec, dial_with, dialer_tls, hello,
    listener, principal,
};
use crate::tls::config::{ClientAuth, DialerIdentity, client_config, server_config};
use crate::tls::testing::{TestCa, credentials};
use crate::wire::code::CloseCode;

/// Dials a scripted peer; the script's end is kept until dialing has ended.
async fn dial_script<T>(
    ends: &Ends,
    script: impl AsyncFnOnce(TcpListener) -> T,
    change: impl FnOnce(&mut DialSpec),
) -> (Result<Dialed, DialError>, T) {
    let (listener, address) = listener();
    let mut spec = dial_spec(&ends.client, address);
    change(&mut spec);
    tokio::join!(Box::pin(dial(spec)), Box::pin(script(listener)))
}

/// The same, with a hello of its own.
async fn greet_script<T>(
    ends: &Ends,
    script: impl AsyncFnOnce(TcpListener) -> T,
    hello: MakeHello,
) -> (Result<Dialed, DialError>, T) {
    let (listener, address) = listener();
    let spec = dial_spec(&ends.client, address);
    tokio::join!(Box::pin(dial_with(spec, hello)), Box::pin(script(listener)))
}

async fn error_of<T>(ends: &Ends, script: impl AsyncFnOnce(TcpListener) -> T) -> DialError {
    dial_script(ends, script, |_| {}).await.0.unwrap_err()
}

/// A peer that does TLS, then sends these frames (nothing, if none) and keeps the connection.
async fn send_after_tls(listener: TcpListener, ends: &Ends, frames: &[Frame]) -> Secured {
    let mut peer = accept_tls(&listener, &ends.server).await;
    for frame in frames {
        peer.queue(frame).unwrap();
    }
    // Flushes, then reads the dialer's hello.
    peer.hello().await.unwrap();
    peer
}

#[tokio::test]
async fn a_carrier_is_up_when_the_hellos_have_crossed() {
    let ends = Ends::new();
    let (dialed, peer) =
        dial_script(&ends, async |l| send_after_tls(l, &ends, &[begun()]).await, |_| {}).await;
    let dialed = dialed.unwrap();
    assert_eq!(Frame::Hello(Box::new(dialed.hello)), begun());
    assert_eq!(dialed.connection.principal, principal("localhost"));
    assert_eq!(peer.principal, principal("west"));
    assert_eq!(dialed.connection.remote, peer.local);
    assert_eq!(dialed.connection.local, peer.remote);
    assert_eq!(dialed.connection.exporter(), peer.exporter());
}

#[tokio::test]
async fn what_came_behind_the_hello_waits_in_the_connection() {
    let ends = Ends::new();
    let frames = [begun(), Frame::Ping { token: 5 }, Frame::Ping { token: 6 }];
    let (dialed, _peer) = dial_script(&ends, async |l| send_after_tls(l, &ends, &frames).await, |_| {}).await;
    let connection = dialed.unwrap().connection;
    let behind: Vec<_> = connection.frames.into_iter().map(|decoded| decoded.frame).collect();
    assert_eq!(behind, frames[1..]);
    assert!(connection.decoder.is_empty());
}

#[tokio::test]
async fn a_joining_hello_is_made_for_this_very_connection() {
    let ends = Ends::new();
    let joined = Frame::Hello(Box::new(hello("east", SessionClaim::Joined { session: SESSION })));
    let script = async |listener: TcpListener| {
        let mut peer = accept_tls(&listener, &ends.server).await;
        peer.queue(&joined).unwrap();
        let hello = peer.hello().await.unwrap();
        (hello, peer)
    };
    let claim = |exporter: &[u8; EXPORTER_LEN]| SessionClaim::Join { session: SESSION, proof: *exporter };
    let ours = Box::new(move |exporter: &_| Ok(hello("west", claim(exporter))));
    let (dialed, (joining, peer)) = greet_script(&ends, script, ours).await;
    assert!(dialed.is_ok());
    let proof = peer.exporter().unwrap();
    assert_eq!(joining.session, SessionClaim::Join { session: SESSION, proof });
}

#[tokio::test]
async fn a_hello_that_cannot_be_made_ends_the_attempt() {
    let ends = Ends::new();
    let gone = DialError::Local("session ended".into());
    let script = async |listener| closed(&accept_tls(&listener, &ends.server).await.tcp).await;
    let failing = gone.clone();
    let (dialed, ()) = greet_script(&ends, script, Box::new(|_| Err(failing))).await;
    assert_eq!(dialed.unwrap_err(), gone);
}

#[tokio::test]
async fn nobody_listening_is_a_refused_connection() {
    let ends = Ends::new();
    let (listener, address) = listener();
    drop(listener);
    let error = dial(dial_spec(&ends.client, address)).await.unwrap_err();
    assert_eq!(error, DialError::Connect { address, kind: io::ErrorKind::ConnectionRefused });
}

#[tokio::test]
async fn a_host_that_is_no_name_is_refused_before_anything_is_dialed() {
    let ends = Ends::new();
    let mut spec = dial_spec(&ends.client, ([127, 0, 0, 1], 1).into());
    spec.host = "no host".into();
    assert!(matches!(dial(spec).await, Err(DialError::Tls(TlsReason::Other { .. }))));
}

#[tokio::test]
async fn a_peer_that_is_silent_runs_into_the_deadline_of_its_phase() {
    let ends = Ends::new();
    let after = Duration::from_millis(50);
    let (dialed, _) = dial_script(&ends, async |l| l.accept().await, |spec| spec.deadlines.tls = after).await;
    assert_eq!(dialed.unwrap_err(), DialError::TimedOut { phase: Phase::Tls, after });
    let (dialed, _) =
        dial_script(&ends, async |l| accept_tls(&l, &ends.server).await, |spec| spec.deadlines.hello = after)
            .await;
    assert_eq!(dialed.unwrap_err(), DialError::TimedOut { phase: Phase::Hello, after });
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_lost_in_that_phase() {
    let ends = Ends::new();
    let error = error_of(&ends, async |listener| drop(listener.accept().await)).await;
    assert!(matches!(error, DialError::Lost { phase: Phase::Tls, .. }), "{error:?}");
    let error = error_of(&ends, async |listener| {
        let mut peer = accept_tls(&listener, &ends.server).await;
        peer.hello().await.unwrap();
    })
    .await;
    assert_eq!(error, DialError::Lost { phase: Phase::Hello, kind: io::ErrorKind::UnexpectedEof });
}

#[tokio::test]
async fn a_peer_that_says_why_it_refuses_is_quoted() {
    let ends = Ends::new();
    let error = error_of(&ends, async |listener| {
        let peer = accept_tls(&listener, &ends.server).await;
        peer.refuse(CloseCode::BUSY, "full house", Duration::from_secs(3)).await;
    })
    .await;
    let retry_after = Some(Duration::from_secs(3));
    assert_eq!(error, DialError::Closed { code: CloseCode::BUSY, detail: "full house".into(), retry_after });
}

#[tokio::test]
async fn what_is_no_answer_is_a_violation_and_the_peer_is_told() {
    let ends = Ends::new();
    let other_carrier = {
        let claim = SessionClaim::Begun { session: SESSION, secret: crate::net::testing::SECRET };
        Frame::Hello(Box::new(Hello { carrier: CarrierNumber(1), ..hello("east", claim) }))
    };
    let joined = Frame::Hello(Box::new(hello("east", SessionClaim::Joined { session: SessionId([1; 16]) })));
    let cases = [
        (Frame::Ping { token: 1 }, Violation::Unexpected),
        (other_carrier, Violation::BadHello),
        (joined, Violation::BadHello),
        (Frame::Hello(Box::new(hello("east", SessionClaim::New))), Violation::BadHello),
    ];
    for (frame, violation) in cases {
        let script = async |listener| {
            let mut peer = send_after_tls(listener, &ends, &[frame]).await;
            peer.hello().await
        };
        let (dialed, told) = dial_script(&ends, script, |_| {}).await;
        assert_eq!(dialed.unwrap_err(), DialError::Violation(violation));
        assert!(matches!(told, Err(Failure::Closed { code, .. }) if code == violation.into()), "{told:?}");
    }
}

#[tokio::test]
async fn garbage_is_told_apart_by_where_it_comes() {
    let ends = Ends::new();
    let plain = async |listener: TcpListener| {
        let (tcp, _) = listener.accept().await.unwrap();
        tcp.writable().await.unwrap();
        tcp.try_write(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n").unwrap();
        closed(&tcp).await;
    };
    assert_eq!(error_of(&ends, plain).await, DialError::Tls(TlsReason::NotTls));

    let no_frame = async |listener: TcpListener| {
        let mut peer = accept_tls(&listener, &ends.server).await;
        io::Write::write_all(&mut peer.tls.writer(), b"\x7f\xff\xff\xffgarbage").unwrap();
        let _ = peer.hello().await;
        peer
    };
    assert!(matches!(error_of(&ends, no_frame).await, DialError::Violation(_)));

    let below_tls = async |listener: TcpListener| {
        let peer = accept_tls(&listener, &ends.server).await;
        peer.tcp.try_write(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        peer
    };
    assert_eq!(error_of(&ends, below_tls).await, DialError::Tls(TlsReason::NotTls));
}

#[tokio::test]
async fn a_refused_client_certificate_is_told_as_that_and_the_carrier_was_never_up() {
    let (ca, foreign) = (TestCa::new("root"), TestCa::new("foreign"));
    let foreign_client = credentials(&foreign.client("west").trusting(&ca));
    let withheld = credentials(&ca.client("west"));
    let cases = [
        (client_config(&foreign_client, DialerIdentity::Shown, None).unwrap(), "certificate_unknown"),
        (client_config(&withheld, DialerIdentity::Withheld, None).unwrap(), "certificate_required"),
    ];
    for (client, alert) in cases {
        let ends = Ends { client, server: acceptor_tls(&ca) };
        let error = error_of(&ends, async |listener: TcpListener| {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&ends.server));
            let (_, tcp) = acceptor.accept(tcp).into_fallible().await.unwrap_err();
            linger(tcp).await;
        })
        .await;
        assert_eq!(error, DialError::Tls(TlsReason::CertificateRefused { alert: alert.into() }));
    }
}

#[tokio::test]
async fn a_server_of_another_authority_name_or_protocol_is_refused() {
    let (ca, foreign) = (TestCa::new("root"), TestCa::new("foreign"));
    let server = |bundle| server_config(&credentials(&bundle), ClientAuth::Required, None).unwrap();
    let accepting = async |server: &Arc<rustls::ServerConfig>, listener: TcpListener| {
        let (tcp, _) = listener.accept().await.unwrap();
        let _ = tokio_rustls::TlsAcceptor::from(Arc::clone(server)).accept(tcp).await;
    };
    let ends = Ends { client: dialer_tls(&ca), server: server(foreign.server(&["127.0.0.1"])) };
    let error = error_of(&ends, async |l| accepting(&ends.server, l).await).await;
    assert!(matches!(error, DialError::Tls(TlsReason::UnknownIssuer { .. })), "{error:?}");

    let ends = Ends { client: dialer_tls(&ca), server: server(ca.server(&["elsewhere"])) };
    let error = error_of(&ends, async |l| accepting(&ends.server, l).await).await;
    assert!(matches!(error, DialError::Tls(TlsReason::WrongName { .. })), "{error:?}");

    let mut silent = rustls::ServerConfig::clone(&acceptor_tls(&ca));
    silent.alpn_protocols.clear();
    let ends = Ends { client: dialer_tls(&ca), server: Arc::new(silent) };
    let error = error_of(&ends, async |l| accepting(&ends.server, l).await).await;
    assert_eq!(error, DialError::Tls(TlsReason::NoCommonProtocol { expected: "sitelink/1".into() }));
}

#[tokio::test]
async fn an_abandoned_attempt_closes_its_socket_in_every_phase() {
    let ends = Ends::new();
    let (listener, address) = listener();
    // In TLS: the peer has accepted and says nothing.
    let attempt = Box::pin(dial(dial_spec(&ends.client, address)));
    let tcp = tokio::select! {
        outcome = attempt => unreachable!("{outcome:?}"),
        accepted = listener.accept() => accepted.unwrap().0,
    };
    closed(&tcp).await;
    // In the hellos: the peer has read ours and does not answer.
    let attempt = Box::pin(dial(dial_spec(&ends.client, address)));
    let greeted = async {
        let mut peer = accept_tls(&listener, &ends.server).await;
        peer.hello().await.unwrap();
        peer
    };
    let peer = tokio::select! {
        outcome = attempt => unreachable!("{outcome:?}"),
        peer = greeted => peer,
    };
    closed(&peer.tcp).await;
}

#[tokio::test]
async fn an_attempt_that_waits_to_greet_hears_why_the_peer_will_not_have_it() {
    let ends = Ends::new();
    let (listener, address) = listener();
    let refusing = async {
        let peer = accept_tls(&listener, &ends.server).await;
        peer.refuse(CloseCode::BUSY, "full house", Duration::from_secs(3)).await;
    };
    let waiting = async { Box::pin(reach(dial_spec(&ends.client, address))).await.unwrap().lapse().await };
    let (error, ()) = tokio::join!(waiting, refusing);
    let retry_after = Some(Duration::from_secs(3));
    assert_eq!(error, DialError::Closed { code: CloseCode::BUSY, detail: "full house".into(), retry_after });
}

#[tokio::test]
async fn an_attempt_that_waits_to_greet_lapses_when_an_acceptor_would_have_tired() {
    let ends = Ends::new();
    let (listener, address) = listener();
    let after = Duration::from_millis(50);
    let mut spec = dial_spec(&ends.client, address);
    spec.deadlines.hello = after;
    let waiting = async { Box::pin(reach(spec)).await.unwrap().lapse().await };
    let (error, _peer) = tokio::join!(waiting, accept_tls(&listener, &ends.server));
    assert_eq!(error, DialError::TimedOut { phase: Phase::Hello, after });
}

#[tokio::test]
async fn a_hello_that_was_given_up_is_not_kept_under_way() {
    let ends = Ends::new();
    let (listener, address) = listener();
    let dialing = async {
        let mut reached = Box::pin(reach(dial_spec(&ends.client, address))).await.unwrap();
        let ours = Box::new(|_: &_| Ok(hello("west", SessionClaim::New)));
        let unanswered = tokio::time::timeout(Duration::from_millis(100), reached.greet(ours)).await;
        assert!(unanswered.is_err(), "{unanswered:?}");
        reached.give_up(CloseScope::Session).await;
    };
    // This peer never closes, as one that hears nothing.
    let (peer, ()) = tokio::join!(accept_tls(&listener, &ends.server), dialing);
    let reset = SockRef::from(&peer.tcp).take_error().unwrap();
    assert_eq!(reset.map(|error| error.kind()), Some(io::ErrorKind::BrokenPipe));
}

#[tokio::test]
async fn a_peer_that_was_greeted_in_vain_is_told_so() {
    let ends = Ends::new();
    let (listener, address) = listener();
    let dialing = async {
        let mut reached = Box::pin(reach(dial_spec(&ends.client, address))).await.unwrap();
        let ours = Box::new(|_: &_| Ok(hello("west", SessionClaim::New)));
        let unanswered = tokio::time::timeout(Duration::from_millis(100), reached.greet(ours)).await;
        assert!(unanswered.is_err(), "{unanswered:?}");
        reached.give_up(CloseScope::Session).await;
    };
    let peer = async {
        let mut peer = accept_tls(&listener, &ends.server).await;
        assert_eq!(peer.hello().await.unwrap().session, SessionClaim::New);
        peer.hello().await
    };
    let (told, ()) = tokio::join!(peer, dialing);
    assert!(matches!(told, Err(Failure::Closed { code: CloseCode::NORMAL, .. })), "{told:?}");
}
