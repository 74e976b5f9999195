//! Bulk throughput of one `LinkStream` beside one plain tokio-rustls connection.
//!
//! Loopback, mutual TLS 1.3, each end a current-thread runtime on a thread of its own. criterion shows both; then
//! paired rounds are run in turns, and the median of their ratios is printed, which is the figure that counts.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sitelink::{
    AccessSpec, Credentials, CredentialsParts, Endpoint, GroupName, Host, LinkName, LinkRole, LinkSpec,
    OpenRequest, Ordinal, Plane, RoutingKey, Site,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn main() {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let bundles = Bundles::new();
    let mut sitelink = Sitelink::start(&bundles);
    let mut tls = Tls::start(&bundles);

    let mut group = criterion.benchmark_group("bulk, 1 stream");
    group.throughput(Throughput::Bytes(ROUND_BYTES));
    group.bench_function("sitelink", |b| b.iter_custom(|rounds| (0..rounds).map(|_| sitelink.round()).sum()));
    group.bench_function("tokio-rustls", |b| b.iter_custom(|rounds| (0..rounds).map(|_| tls.round()).sum()));
    group.finish();
    criterion.final_summary();
    if std::env::args().any(|argument| ["--test", "--profile-time", "--list"].contains(&argument.as_str())) {
        return; // Nobody wants to know the ratio.
    }

    let mut ratios: Vec<f64> =
        (0..PAIRS).map(|_| tls.round().as_secs_f64() / sitelink.round().as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "bulk, 1 stream: sitelink / tokio-rustls = {:.2} (median of {PAIRS} pairs, {:.2} to {:.2})",
        ratios[PAIRS / 2],
        ratios[0],
        ratios[PAIRS - 1]
    );
}

/// A way to send [`ROUND_BYTES`] to the other end, which answers with one byte when it has them.
struct Pipe<S> {
    runtime: Runtime,
    stream: S,
    block: Vec<u8>,
    /// Dropping the last handle of a plane shuts it down.
    _plane: Option<Plane>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    fn round(&mut self) -> Duration {
        let Self { runtime, stream, block, .. } = self;
        runtime.block_on(async {
            let began = now();
            for _ in 0..ROUND_BYTES / BLOCK as u64 {
                stream.write_all(block).await.expect("the other end reads");
            }
            stream.flush().await.expect("the other end reads");
            stream.read_u8().await.expect("the other end answers");
            now() - began
        })
    }
}

/// The other end of a pipe: reads for ever, and answers each round.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = vec![0; BLOCK];
    let mut left = ROUND_BYTES;
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => left -= count as u64,
        }
        if left == 0 {
            left = ROUND_BYTES;
            if stream.write_u8(1).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }
}

struct Tls;

impl Tls {
    fn start(bundles: &Bundles) -> Pipe<tokio_rustls::client::TlsStream<TcpStream>> {
        let (server, client) = (bundles.server_config(), bundles.client_config());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            runtime().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
                tell.send(listener.local_addr().expect("it is bound")).expect("the bench waits");
                let (tcp, _) = listener.accept().await.expect("the bench connects");
                tcp.set_nodelay(true).expect("the socket is open");
                answer(TlsAcceptor::from(server).accept(tcp).await.expect("the certificates fit")).await;
            });
        });
        let address = told.recv().expect("the other end is bound");
        let runtime = runtime();
        let stream = runtime.block_on(async {
            let tcp = TcpStream::connect(address).await.expect("the other end listens");
            tcp.set_nodelay(true).expect("the socket is open");
            let name = ServerName::from(address.ip());
            TlsConnector::from(client).connect(name, tcp).await.expect("the certificates fit")
        });
        Pipe { runtime, stream, block: vec![7; BLOCK], _plane: None }
    }
}

struct Sitelink;

impl Sitelink {
    fn start(bundles: &Bundles) -> Pipe<sitelink::LinkStream> {
        let (ours, theirs) = (bundles.credentials("west"), bundles.credentials("east"));
        let key = RoutingKey::new("bench").expect("it is a name");
        let served = key.clone();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            runtime().block_on(async {
                let site = Site::new("east", "east").expect("it is a name");
                let plane = Plane::builder(site).start().await.expect("the defaults hold");
                let access =
                    AccessSpec::new("127.0.0.1:0".parse().expect("an address"), LinkRole::InterRouter);
                let access = plane.listen(access, theirs).await.expect("loopback has a free port");
                plane.serve(&served).expect("one key");
                tell.send(access.address()).expect("the bench waits");
                let incoming = plane.accept().await.expect("the bench opens a stream");
                answer(incoming.accept().expect("it is still there")).await;
            });
        });
        let address = told.recv().expect("the other end is bound");
        let runtime = runtime();
        let (plane, stream) = runtime.block_on(async {
            let site = Site::new("west", "west").expect("it is a name");
            let plane = Plane::builder(site).start().await.expect("the defaults hold");
            let (host, group) = (Host::Ip(address.ip()), GroupName::new("").expect("it may be empty"));
            let endpoint = Endpoint::new(LinkRole::InterRouter, host, address.port(), group);
            let link = LinkSpec::new(LinkName::new("east").expect("it is a name"), vec![endpoint]);
            plane.link(link, Some(ours)).await.expect("the credentials fit");
            let request = OpenRequest::to_key(key).wait_for_path(Duration::from_secs(10));
            let stream = plane.open(request).await.expect("the other end serves the key");
            (plane, stream)
        });
        Pipe { runtime, stream, block: vec![7; BLOCK], _plane: Some(plane) }
    }
}

/// An authority, and a leaf each for both ends; both sides of the comparison use the same.
struct Bundles {
    ca: String,
    leaf: String,
    key: String,
}

impl Bundles {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("ring makes keys"))
            .expect("the parameters are complete");
        let key = KeyPair::generate().expect("ring makes keys");
        let leaf = CertificateParams::new(["127.0.0.1".to_owned()])
            .and_then(|params| params.signed_by(&key, &ca))
            .expect("the parameters are complete");
        Self { ca: ca.pem(), leaf: leaf.pem(), key: key.serialize_pem() }
    }

    fn credentials(&self, name: &str) -> Credentials {
        let parts = CredentialsParts {
            ca: self.ca.clone().into_bytes(),
            cert: Some(self.leaf.clone().into_bytes()),
            key: Some(self.key.clone().into_bytes()),
            crl: None,
        };
        Credentials::from_pem(name, &parts, Ordinal(1)).expect("the bundle is whole")
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).expect("PEM")).expect("a certificate");
        Arc::new(roots)
    }

    fn identity(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let leaf = CertificateDer::from_pem_slice(self.leaf.as_bytes()).expect("PEM");
        (vec![leaf], PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM"))
    }

    fn server_config(&self) -> Arc<ServerConfig> {
        let verifier = WebPkiClientVerifier::builder(self.roots()).build().expect("there is a root");
        let (chain, key) = self.identity();
        let config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key);
        Arc::new(config.expect("the key is the leaf's"))
    }

    fn client_config(&self) -> Arc<ClientConfig> {
        let (chain, key) = self.identity();
        let config = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_root_certificates(self.roots())
            .with_client_auth_cert(chain, key);
        Arc::new(config.expect("the key is the leaf's"))
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("the system has descriptors")
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// One round: some 50 ms at 5 GB/s, long against the one round trip that ends it.
const ROUND_BYTES: u64 = 256 << 20;

/// One write.
const BLOCK: usize = 128 << 10;

/// Paired rounds for the ratio.
const PAIRS: usize = 9;
