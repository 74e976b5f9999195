use std::cell::RefCell;
use std::collections::VecDeque;

use super::*;
use crate::net::clock;
use crate::net::testing::{Ends, begun, closed, dial, dial_spec, dial_tls, listener, patient, principal};

/// A listener at work, and where it tells.
struct Access {
    address: SocketAddr,
    reports: mpsc::Receiver<AccessReport>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Access {
    fn start(ends: &Ends, limits: AccessLimits) -> Self {
        let (socket, address) = listener();
        let (sender, reports) = mpsc::channel(16);
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let spec = ListenerSpec {
            access: AccessId(1),
            presented: watch::channel(Presented { tls: Arc::clone(&ends.server), ordinal: Ordinal(1) }).1,
            deadlines: patient(),
            limits,
            dead: Duration::from_secs(30),
            reports: sender,
            tasks: tasks.clone(),
            cancel: cancel.clone(),
        };
        tasks.spawn(run(socket, spec));
        tasks.close();
        Self { address, reports, tasks, cancel }
    }

    async fn arrival(&mut self) -> Arrival {
        match self.reports.recv().await {
            Some(AccessReport::Arrived(arrival)) => *arrival,
            other => panic!("{other:?}"),
        }
    }

    async fn refusal(&mut self) -> (SocketAddr, Phase, PeerRefusal) {
        match self.reports.recv().await {
            Some(AccessReport::Refused { address, phase, refusal, .. }) => (address, phase, refusal),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_dialer_arrives_and_is_admitted_by_our_hello() {
    let ends = Ends::new();
    let mut access = Access::start(&ends, AccessLimits::default());
    let dialing = Box::pin(dial(dial_spec(&ends.client, access.address)));
    let admitting = async {
        let mut arrival = access.arrival().await;
        arrival.connection.queue(&begun()).unwrap();
        arrival.connection.flush_for_test();
        arrival
    };
    let (dialed, arrival) = tokio::join!(dialing, admitting);
    let dialed = dialed.unwrap();
    assert_eq!(arrival.access, AccessId(1));
    assert_eq!(arrival.connection.principal, principal("west"));
    assert_eq!(arrival.connection.remote, dialed.connection.local);
}

#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    let ends = Ends::new();
    let mut access =
        Access::start(&ends, AccessLimits { handshakes_per_address: 2, ..AccessLimits::default() });
    let oldest = TcpStream::connect(access.address).await.unwrap();
    let _second = TcpStream::connect(access.address).await.unwrap();
    let dialing = Box::pin(dial(dial_spec(&ends.client, access.address)));
    let told = async {
        let refusal = access.refusal().await;
        let arrival = access.arrival().await;
        (refusal, arrival)
    };
    let (address, phase, refusal) = tokio::select! {
        (refusal, _arrival) = told => refusal,
        outcome = dialing => unreachable!("{outcome:?}"),
    };
    assert_eq!((address, phase, refusal), (oldest.local_addr().unwrap(), Phase::Tls, PeerRefusal::Evicted));
    closed(&oldest).await;
}

#[tokio::test]
async fn one_who_speaks_no_tls_is_reported_and_the_others_do_not_notice() {
    let ends = Ends::new();
    let mut access = Access::start(&ends, AccessLimits::default());
    let garbage = TcpStream::connect(access.address).await.unwrap();
    garbage.writable().await.unwrap();
    garbage.try_write(b"\0\x01\x02 garbage, garbage, garbage").unwrap();
    let (address, phase, refusal) = access.refusal().await;
    assert_eq!((address, phase), (garbage.local_addr().unwrap(), Phase::Tls));
    assert!(matches!(refusal, PeerRefusal::Tls(_)), "{refusal:?}");
    let dialing = Box::pin(dial(dial_spec(&ends.client, access.address)));
    tokio::select! {
        _arrival = access.arrival() => {}
        outcome = dialing => unreachable!("{outcome:?}"),
    }
}

#[tokio::test]
async fn cancelling_closes_the_socket_and_every_unfinished_handshake() {
    let ends = Ends::new();
    let access = Access::start(&ends, AccessLimits::default());
    let in_tls = TcpStream::connect(access.address).await.unwrap();
    let in_hello = dial_tls(access.address, &ends.client).await;
    access.cancel.cancel();
    closed(&in_tls).await;
    closed(&in_hello.tcp).await;
    access.tasks.wait().await;
    let refused = TcpStream::connect(access.address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test(start_paused = true)]
async fn without_file_descriptors_the_loop_waits_longer_and_longer_and_goes_on() {
    const EMFILE: i32 = 24;
    let script = RefCell::new(VecDeque::from([
        Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
        Err(io::Error::from_raw_os_error(EMFILE)),
        Err(io::Error::from_raw_os_error(EMFILE)),
        Err(io::Error::from_raw_os_error(EMFILE)),
        Err(io::Error::from_raw_os_error(EMFILE)),
        Err(io::Error::from_raw_os_error(EMFILE)),
        Ok("first"),
        Err(io::Error::from_raw_os_error(EMFILE)),
        Ok("second"),
    ]));
    let mut pause = Pause::default();
    for (connection, millis) in [("first", 100 + 200 + 400 + 800 + 1000), ("second", 100)] {
        let began = clock::now();
        let accept = || std::future::ready(script.borrow_mut().pop_front().unwrap());
        assert_eq!(next(&mut pause, accept).await, connection);
        assert_eq!(clock::now() - began, Duration::from_millis(millis));
    }
}
