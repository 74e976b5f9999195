//! hyper over a link: its HTTP/1 server and client take a `LinkStream` as they take a TCP connection.
//!
//! One keep-alive connection carries two requests. All TCP connections beneath it are reset while an answer is on its
//! way, and again between the requests: no byte is missing, and the connection is the same. The exit status says so.

use std::error::Error;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming as Body;
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use hyper_util::rt::TokioIo;
use sitelink::{OpenRequest, Plane, RoutingKey};
use tokio_util::task::TaskTracker;

#[path = "support/pair.rs"]
mod pair;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let key = RoutingKey::new("echo")?;
    let mut pair = pair::Pair::serving(&key).await?;
    let tasks = TaskTracker::new();
    tasks.spawn(serve(pair.east.clone(), tasks.clone()));

    let stream = pair.west.open(OpenRequest::to_key(key)).await?;
    let (mut requests, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tasks.spawn(connection);
    for round in ["first", "second"] {
        let sent: Bytes = (0..=250).cycle().take(SIZE).collect();
        let request = Request::post("/").header(HOST, "east").body(Full::new(sent.clone()))?;
        let mut answer = requests.send_request(request).await?.into_body();
        let (mut received, mut cut) = (BytesMut::new(), false);
        while let Some(frame) = answer.frame().await {
            received.extend_from_slice(&frame?.into_data().unwrap_or_default());
            if received.len() > SIZE / 2 && !std::mem::replace(&mut cut, true) {
                pair.cut().await?;
            }
        }
        assert!(cut && received == sent, "the {round} answer is not the request");
        println!("{round} request: {} MiB and back, and every connection was reset half way", SIZE >> 20);
        pair.cut().await?;
        requests.ready().await?; // the same connection still
    }
    drop(requests);
    connection.await??;
    pair.shutdown().await
}

/// Each stream is a connection, served in a task of its own.
async fn serve(plane: Plane, tasks: TaskTracker) {
    while let Some(incoming) = plane.accept().await {
        let Ok(stream) = incoming.accept() else { continue };
        let connection =
            server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(echo));
        tasks.spawn(async move { connection.await.inspect_err(|error| eprintln!("{error}")) });
    }
}

/// Sends the request's body back while it comes.
async fn echo(request: Request<Body>) -> Result<Response<Body>, hyper::Error> {
    Ok(Response::new(request.into_body()))
}

/// How much a request carries: more than all the buffers on the way hold.
const SIZE: usize = 64 << 20;
