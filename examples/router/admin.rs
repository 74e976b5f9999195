//! The admin page: `GET /status` is what the router is at, as JSON; `GET /healthz` is 200 while it runs.
//!
//! It only looks. It has no password, so it listens on loopback unless told otherwise. Whatever becomes of it, the
//! router goes on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use sitelink::resource::status::LegacyStatus;
use sitelink::{LinkStatus, Plane, PlaneStatus};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Outcome;
use super::events::{Fact, Reporter};

/// What `GET /status` answers: the Link objects first, in Skupper's words, then everything.
#[derive(Debug, Serialize)]
struct Page {
    link_statuses: Vec<LinkPage>,
    #[serde(flatten)]
    plane: PlaneStatus,
}

/// The status of a Link.
#[derive(Debug, Serialize)]
struct LinkPage {
    name: String,
    /// Empty if its document names none.
    namespace: String,
    cost: u32,
    /// The `status` of a v2alpha1 Link.
    status: Option<LinkStatus>,
    /// That of the forms before it.
    legacy_status: Option<LegacyStatus>,
}

/// Serves the page until stopped. An address that cannot be listened on is told, and is no reason not to run.
///
/// # Errors
/// When the address is not loopback and nobody said that it may be public.
pub(super) fn start(
    address: SocketAddr,
    public: bool,
    plane: &Plane,
    reporter: &Reporter,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Outcome<()> {
    if !public && !address.ip().to_canonical().is_loopback() {
        return Err(format!("--admin {address} is not a loopback address: --admin-public allows it").into());
    }
    let (plane, reporter, stop) = (plane.clone(), reporter.clone(), stop.clone());
    tasks.spawn(async move {
        let bound = TcpListener::bind(address).await;
        match bound.and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((address, listener)) => {
                reporter.fact(&Fact::AdminUp { address });
                // Dropped at the end, and with it the plane's handle, which must not outlive the router.
                stop.run_until_cancelled_owned(serve(listener, plane)).await;
            }
            Err(error) => {
                tracing::warn!(%address, %error, "no admin page");
                reporter.fact(&Fact::AdminFailed { address, message: error.to_string() });
            }
        }
    });
    Ok(())
}

async fn serve(listener: TcpListener, plane: Plane) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // A place first: who comes when all are taken waits in the system's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((tcp, _)) => {
                let plane = plane.clone();
                connections.spawn(async move {
                    // Also for a client that reads slowly, or not at all.
                    let _ = tokio::time::timeout(CONNECTION_DEADLINE, answer_on(tcp, plane)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin page: cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer_on(tcp: TcpStream, plane: Plane) {
    let service = service_fn(move |request: Request<Incoming>| {
        let plane = plane.clone();
        async move { Ok::<_, Infallible>(answer(&request, &plane)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(REQUEST_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "admin page: connection failed");
    }
}

fn answer(request: &Request<Incoming>, plane: &Plane) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/status" | "/healthz") {
        return plain(StatusCode::NOT_FOUND, "there are /status and /healthz\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    if path == "/healthz" {
        return plain(StatusCode::OK, "ok\n");
    }
    match serde_json::to_vec(&Page::of(plane)) {
        Ok(page) => response(StatusCode::OK, "application/json", page.into()),
        Err(error) => {
            tracing::warn!(%error, "admin page: status cannot be written");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the status cannot be written\n")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

impl Page {
    fn of(plane: &Plane) -> Self {
        let status = plane.status();
        let link = |view: &sitelink::snapshot::LinkView| LinkPage {
            name: view.name.to_string(),
            namespace: view.namespace.to_string(),
            cost: view.cost.get(),
            status: LinkStatus::of(&status, view.link),
            legacy_status: LegacyStatus::of(&status, view.link),
        };
        Self { link_statuses: status.links.iter().map(link).collect(), plane: status }
    }
}

/// Connections at a time: a browser, a probe and a scraper, each several times over.
const CONNECTIONS: usize = 16;

/// How long a request's head may take.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);

/// How long a connection may last, answer included.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);

/// The largest head of a request; hyper takes no less.
const REQUEST_BYTES: usize = 8192;

/// How long accepting rests after a failure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
