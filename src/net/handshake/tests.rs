use rustls::ClientConfig;

use super::*;
use crate::error::TlsReason;
use crate::id::CarrierNumber;
use crate::net::testing::{
    Ends, SECRET, SESSION, begun, closed, dial_tls, hello, listener, patient, principal, tcp_pair,
};
use crate::tls::config::{DialerIdentity, client_config};
use crate::tls::proof::join_proof;
use crate::tls::testing::{TestCa, credentials};
use crate::wire::frame::Frame;

/// Accepts one connection beside a scripted dialer; the script's end is kept until accepting has ended.
async fn receive_script<T>(
    ends: &Ends,
    deadlines: &Deadlines,
    script: impl AsyncFnOnce(SocketAddr) -> T,
) -> (Result<(Secured, Hello), Refused>, T) {
    let (listener, address) = listener();
    let evicted = CancellationToken::new();
    let accepting = async {
        let (tcp, remote) = listener.accept().await.unwrap();
        receive(tcp, remote, Arc::clone(&ends.server), deadlines, &evicted).await
    };
    tokio::join!(accepting, script(address))
}

async fn say(address: SocketAddr, client: &Arc<ClientConfig>, frame: &Frame) -> Secured {
    let mut dialer = dial_tls(address, client).await;
    dialer.queue(frame).unwrap();
    dialer.flush_for_test();
    dialer
}

fn new_session() -> Frame {
    Frame::Hello(Box::new(hello("west", SessionClaim::New)))
}

#[tokio::test]
async fn a_dialer_arrives_with_its_hello_and_principal() {
    let ends = Ends::new();
    let script = async |address| say(address, &ends.client, &new_session()).await;
    let (received, dialer) = receive_script(&ends, &patient(), script).await;
    let (secured, said) = received.unwrap();
    assert_eq!(said, hello("west", SessionClaim::New));
    assert_eq!(secured.principal, principal("west"));
    assert_eq!((secured.local, secured.remote), (dialer.remote, dialer.local));
}

#[tokio::test]
async fn a_proof_holds_for_its_own_session_and_connection_alone() {
    let ends = Ends::new();
    let cases = [
        ("the right one", SECRET, CarrierNumber(0), true),
        ("another secret", SessionSecret([1; 32]), CarrierNumber(0), false),
        ("another carrier", SECRET, CarrierNumber(1), false),
    ];
    for (what, secret, carrier, holds) in cases {
        let script = async |address| {
            let dialer = dial_tls(address, &ends.client).await;
            let proof = join_proof(&secret, &dialer.exporter().unwrap(), SESSION, carrier);
            say_on(dialer, SessionClaim::Join { session: SESSION, proof })
        };
        let (arrival, _dialer) = arrive(&ends, script).await;
        assert_eq!(arrival.proves(SESSION, &SECRET), holds, "{what}");
        assert!(!arrival.proves(SessionId([1; 16]), &SECRET), "{what}, asked for another session");
    }
    let stolen = {
        let (tcp, _other) = tcp_pair().await;
        drop(tcp);
        join_proof(&SECRET, &[3; 32], SESSION, CarrierNumber(0))
    };
    let script = async |address| {
        say_on(dial_tls(address, &ends.client).await, SessionClaim::Join { session: SESSION, proof: stolen })
    };
    let (arrival, _dialer) = arrive(&ends, script).await;
    assert!(!arrival.proves(SESSION, &SECRET), "a proof from another connection");
}

fn say_on(mut dialer: Secured, claim: SessionClaim) -> Secured {
    dialer.queue(&Frame::Hello(Box::new(hello("west", claim)))).unwrap();
    dialer.flush_for_test();
    dialer
}

async fn arrive<T>(ends: &Ends, script: impl AsyncFnOnce(SocketAddr) -> T) -> (Arrival, T) {
    let (received, dialer) = receive_script(ends, &patient(), script).await;
    let (connection, hello) = received.unwrap();
    (Arrival { access: AccessId(1), ordinal: Ordinal(1), connection, hello }, dialer)
}

#[tokio::test]
async fn a_dialer_that_is_silent_runs_into_the_deadline_of_its_phase_and_is_told() {
    let ends = Ends::new();
    let after = Duration::from_millis(50);
    let deadlines = Deadlines { tls: after, ..patient() };
    let (received, _tcp) = receive_script(&ends, &deadlines, async |a| TcpStream::connect(a).await).await;
    let refused = received.unwrap_err();
    assert_eq!(refused.phase, Phase::Tls);
    assert_eq!(refused.refusal, PeerRefusal::TimedOut { phase: Phase::Tls, after });

    let deadlines = Deadlines { hello: after, ..patient() };
    let (received, dialer) =
        receive_script(&ends, &deadlines, async |a| dial_tls(a, &ends.client).await).await;
    let refused = received.unwrap_err();
    assert_eq!(refused.phase, Phase::Hello);
    assert_eq!(refused.refusal, PeerRefusal::TimedOut { phase: Phase::Hello, after });
    assert_eq!(told(refused, dialer).await, CloseCode::HELLO_TIMEOUT);
}

/// The code a dialer reads while the refused connection parts from it.
async fn told(refused: Refused, mut dialer: Secured) -> CloseCode {
    let reading = async {
        let told = dialer.hello().await;
        drop(dialer);
        told
    };
    let ((), told) = tokio::join!(refused.part(), reading);
    match told {
        Err(Failure::Closed { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_dialers_hello_is_a_violation_and_the_peer_is_told() {
    let ends = Ends::new();
    let cases = [(Frame::Ping { token: 1 }, Violation::Unexpected), (begun(), Violation::BadHello)];
    for (frame, violation) in cases {
        let script = async |address| say(address, &ends.client, &frame).await;
        let (received, dialer) = receive_script(&ends, &patient(), script).await;
        let refused = received.unwrap_err();
        assert_eq!((refused.phase, &refused.refusal), (Phase::Hello, &PeerRefusal::Violation(violation)));
        assert_eq!(told(refused, dialer).await, violation.into());
    }
}

#[tokio::test]
async fn what_is_not_tls_of_ours_is_typed() {
    let ends = Ends::new();
    let (received, _tcp) = receive_script(&ends, &patient(), async |address| {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.writable().await.unwrap();
        tcp.try_write(b"GET / HTTP/1.1\r\nHost: east\r\n\r\n").unwrap();
        tcp
    })
    .await;
    assert_eq!(received.unwrap_err().refusal, PeerRefusal::Tls(TlsReason::NotTls));

    let mut silent = ClientConfig::clone(&ends.client);
    silent.alpn_protocols.clear();
    let silent = Arc::new(silent);
    let (received, _tls) = receive_script(&ends, &patient(), async |address| {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        tokio_rustls::TlsConnector::from(Arc::clone(&silent)).connect(name, tcp).await
    })
    .await;
    let expected = TlsReason::NoCommonProtocol { expected: "sitelink/1".into() };
    assert_eq!(received.unwrap_err().refusal, PeerRefusal::Tls(expected));
}

#[tokio::test]
async fn a_refused_certificate_is_typed_here_and_told_there() {
    let (ca, foreign) = (TestCa::new("root"), TestCa::new("foreign"));
    let foreign = credentials(&foreign.client("west").trusting(&ca));
    let ends = Ends {
        client: client_config(&foreign, DialerIdentity::Shown, None).unwrap(),
        server: crate::net::testing::acceptor_tls(&ca),
    };
    let (received, dialer) =
        receive_script(&ends, &patient(), async |a| dial_tls(a, &ends.client).await).await;
    let refused = received.unwrap_err();
    assert_eq!(refused.phase, Phase::Tls);
    let PeerRefusal::Tls(TlsReason::UnknownIssuer { subject, .. }) = &refused.refusal else {
        panic!("{:?}", refused.refusal);
    };
    assert_eq!(&**subject, "CN=west");
    let mut dialer = dialer;
    let reading = async {
        let told = dialer.hello().await;
        drop(dialer);
        told
    };
    let ((), told) = tokio::join!(refused.part(), reading);
    assert_eq!(
        told,
        Err(Failure::Tls(TlsReason::CertificateRefused { alert: "certificate_unknown".into() }))
    );
}

#[tokio::test]
async fn a_dialer_that_hangs_up_is_lost_in_that_phase() {
    let ends = Ends::new();
    let (received, _) = receive_script(&ends, &patient(), async |a| drop(TcpStream::connect(a).await)).await;
    let refused = received.unwrap_err();
    assert!(matches!(refused.refusal, PeerRefusal::Lost { phase: Phase::Tls, .. }), "{refused:?}");
    let (received, ()) =
        receive_script(&ends, &patient(), async |a| drop(dial_tls(a, &ends.client).await)).await;
    let refused = received.unwrap_err();
    assert!(matches!(refused.refusal, PeerRefusal::Lost { phase: Phase::Hello, .. }), "{refused:?}");
}

#[tokio::test]
async fn an_evicted_dialer_is_told_to_come_back() {
    let ends = Ends::new();
    let (listener, address) = listener();
    let evicted = CancellationToken::new();
    let accepting = async {
        let (tcp, remote) = listener.accept().await.unwrap();
        receive(tcp, remote, Arc::clone(&ends.server), &patient(), &evicted).await
    };
    let dialing = async {
        let dialer = dial_tls(address, &ends.client).await;
        evicted.cancel();
        dialer
    };
    let (received, dialer) = tokio::join!(accepting, dialing);
    let refused = received.unwrap_err();
    assert_eq!(refused.refusal, PeerRefusal::Evicted);
    if refused.phase == Phase::Hello {
        assert_eq!(told(refused, dialer).await, CloseCode::BUSY);
    } else {
        refused.part().await;
        closed(&dialer.tcp).await;
    }
}
