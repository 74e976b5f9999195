//! What tests of this floor share: two ends of one throwaway PKI on real loopback sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Deadlines;
use crate::error::DialError;
use crate::id::{
    CarrierNumber, Cost, GroupName, Instance, LinkName, LinkRole, Ordinal, Principal, RouterName, SessionId,
    SiteId, SiteName,
};
use crate::net::connect::Route;
use crate::net::dialer::{DialSpec, Dialed, MakeHello, reach};
use crate::net::greeting::Secured;
use crate::net::names::Names;
use crate::net::resolve::SystemResolver;
use crate::net::socket::{self, Tuning};
use crate::tls::config::{ClientAuth, DialerIdentity, client_config, server_config};
use crate::tls::testing::{TestCa, credentials};
use crate::wire::MIN_WINDOW;
use crate::wire::frame::Frame;
use crate::wire::hello::{Hello, SessionClaim, SessionSecret};

/// Both ends' TLS configurations.
pub(crate) struct Ends {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

impl Ends {
    /// West dials east, who is `localhost` and 127.0.0.1; both of one authority.
    pub(crate) fn new() -> Self {
        let ca = TestCa::new("root");
        Self { client: dialer_tls(&ca), server: acceptor_tls(&ca) }
    }
}

/// What `CN=west` of that authority dials with.
pub(crate) fn dialer_tls(ca: &TestCa) -> Arc<ClientConfig> {
    client_config(&credentials(&ca.client("west")), DialerIdentity::Shown, None).unwrap()
}

/// What `localhost` of that authority accepts with.
pub(crate) fn acceptor_tls(ca: &TestCa) -> Arc<ServerConfig> {
    server_config(&credentials(&ca.server(&["localhost", "127.0.0.1"])), ClientAuth::Required, None).unwrap()
}

/// Who a peer with that common name is, under the authority [`Ends::new`] makes.
pub(crate) fn principal(name: &str) -> Principal {
    Principal::Certificate { issuer: "CN=root".into(), subject: format!("CN={name}").into() }
}

/// A listening socket on a free port.
pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = socket::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A connected pair of sockets: dialed, accepted.
pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let (dialed, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialed.unwrap(), accepted.unwrap().0)
}

/// Deadlines that do not run out in a test.
pub(crate) fn patient() -> Deadlines {
    let minute = Duration::from_secs(60);
    Deadlines { resolve: minute, connect: minute, proxy: minute, tls: minute, hello: minute, accept: minute }
}

/// Directly, with the system's resolver.
pub(crate) fn route() -> Route {
    let names = Names::new(Arc::new(SystemResolver), TaskTracker::new(), CancellationToken::new());
    Route { names, proxy: None, tuning: Tuning::new(Duration::from_secs(30)) }
}

/// Dials `address` as `localhost`.
pub(crate) fn dial_spec(tls: &Arc<ClientConfig>, address: SocketAddr) -> DialSpec {
    DialSpec {
        host: "127.0.0.1".into(),
        port: address.port(),
        route: route(),
        tls: Arc::clone(tls),
        deadlines: patient(),
    }
}

/// Reaches, and greets at once with a first carrier's hello.
pub(crate) async fn dial(spec: DialSpec) -> Result<Dialed, DialError> {
    dial_with(spec, Box::new(|_| Ok(hello("west", SessionClaim::New)))).await
}

/// Reaches, and greets at once.
pub(crate) async fn dial_with(spec: DialSpec, hello: MakeHello) -> Result<Dialed, DialError> {
    let mut reached = reach(spec).await?;
    let hello = reached.greet(hello).await?;
    Ok(reached.up(hello))
}

/// The hello of a site's only router, for carrier 0.
pub(crate) fn hello(site: &str, session: SessionClaim) -> Hello {
    Hello {
        features: 0,
        site_id: SiteId::new(site).unwrap(),
        site_name: SiteName::new(site).unwrap(),
        router: RouterName::new("router").unwrap(),
        instance: Instance([1; 16]),
        role: LinkRole::InterRouter,
        link: LinkName::new("").unwrap(),
        group: GroupName::new("").unwrap(),
        cost: Cost::DEFAULT,
        max_streams: 100,
        initial_window: MIN_WINDOW,
        ordinal: Ordinal(1),
        resume_window: Duration::from_secs(30),
        carrier: CarrierNumber(0),
        session,
        dead: Vec::new(),
    }
}

/// An acceptor's answer to a new session.
pub(crate) fn begun() -> Frame {
    let claim = SessionClaim::Begun { session: SESSION, secret: SECRET };
    Frame::Hello(Box::new(hello("east", claim)))
}

/// The accepting end of one connection up to the end of TLS.
pub(crate) async fn accept_tls(listener: &TcpListener, tls: &Arc<ServerConfig>) -> Secured {
    let (tcp, remote) = listener.accept().await.unwrap();
    let (tcp, tls) = tokio_rustls::TlsAcceptor::from(Arc::clone(tls)).accept(tcp).await.unwrap().into_inner();
    Secured::new(tcp, tls.into(), remote).unwrap()
}

/// The dialing end of one connection up to the end of TLS.
pub(crate) async fn dial_tls(address: SocketAddr, tls: &Arc<ClientConfig>) -> Secured {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let (tcp, tls) =
        tokio_rustls::TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await.unwrap().into_inner();
    Secured::new(tcp, tls.into(), address).unwrap()
}

/// Waits for the other end to close or reset.
pub(crate) async fn closed(tcp: &TcpStream) {
    let mut scratch = [0; 1024];
    loop {
        tcp.readable().await.unwrap();
        match tcp.try_read(&mut scratch) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

/// The session of [`begun`].
pub(crate) const SESSION: SessionId = SessionId([7; 16]);

/// Its secret.
pub(crate) const SECRET: SessionSecret = SessionSecret([9; 32]);
