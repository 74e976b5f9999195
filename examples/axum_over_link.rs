//! axum over a link: a `Listener` of a dozen lines makes the streams that peers open connections of `axum::serve`.
//!
//! A handler sees which site called, and the client's one connection outlives the TCP connections beneath it.

use std::error::Error;
use std::io;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::HOST;
use hyper::{Request, client};
use hyper_util::rt::TokioIo;
use sitelink::{LinkStream, OpenRequest, Plane, RoutingKey};
use tokio_util::task::TaskTracker;

#[path = "support/pair.rs"]
mod pair;

/// The streams that peers open; one that is given up before it is accepted is nobody's loss.
struct Streams(Plane);

impl Listener for Streams {
    type Io = LinkStream;
    type Addr = ();

    async fn accept(&mut self) -> (LinkStream, ()) {
        while let Some(incoming) = self.0.accept().await {
            let Ok(stream) = incoming.accept() else { continue };
            return (stream, ());
        }
        // The plane has ended, and what serves ends by its own signal.
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The site that called, as the mutual TLS of the link has proved it.
#[derive(Clone)]
struct Caller(String);

impl Connected<IncomingStream<'_, Streams>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Streams>) -> Self {
        Self(stream.io().peer().site_name.to_string())
    }
}

async fn hello(ConnectInfo(Caller(site)): ConnectInfo<Caller>) -> String {
    format!("hello, {site}")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let key = RoutingKey::new("greeter")?;
    let mut pair = pair::Pair::serving(&key).await?;
    let tasks = TaskTracker::new();
    let app = Router::new().route("/", get(hello)).into_make_service_with_connect_info::<Caller>();
    tasks.spawn(axum::serve(Streams(pair.east.clone()), app).into_future());

    let stream = pair.west.open(OpenRequest::to_key(key)).await?;
    let (mut requests, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tasks.spawn(connection);
    for _ in 0..3 {
        let request = Request::get("/").header(HOST, "east").body(Empty::<Bytes>::new())?;
        let answer = requests.send_request(request).await?.into_body().collect().await?.to_bytes();
        assert_eq!(answer, "hello, west");
        println!("{}; now every connection under the link is reset", String::from_utf8_lossy(&answer));
        pair.cut().await?;
    }
    drop(requests);
    connection.await??;
    pair.shutdown().await
}
