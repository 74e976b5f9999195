//! tonic over a link: `Server::serve_with_incoming` takes the streams that peers open, a `Channel` opens its own.
//!
//! A gRPC call that streams its answers stays open while the TCP connections beneath are reset again and again, and
//! gets each answer. The exit status says so.

use std::convert::Infallible;
use std::error::Error;

use futures_util::stream;
use hyper_util::rt::TokioIo;
use sitelink::{OpenRequest, RoutingKey};
use tokio_util::task::TaskTracker;
use tonic::transport::{Endpoint, Server, Uri};
use tonic_health::ServingStatus::{NotServing, Serving};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use self::connection::Connection;

#[path = "support/connection.rs"]
mod connection;
#[path = "support/pair.rs"]
mod pair;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let key = RoutingKey::new("health")?;
    let mut pair = pair::Pair::serving(&key).await?;
    let tasks = TaskTracker::new();
    let (health, service) = tonic_health::server::health_reporter();
    let incoming = stream::unfold(pair.east.clone(), |plane| async move {
        loop {
            // One that was given up meanwhile is nobody's loss.
            let Ok(stream) = plane.accept().await?.accept() else { continue };
            return Some((Ok::<_, Infallible>(Connection(stream)), plane));
        }
    });
    tasks.spawn(Server::builder().add_service(service).serve_with_incoming(incoming));

    let west = pair.west.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let (west, request) = (west.clone(), OpenRequest::to_key(key.clone()));
        async move { west.open(request).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://east").connect_with_connector(connector).await?;
    let request = HealthCheckRequest { service: String::new() };
    let mut answers = HealthClient::new(channel).watch(request).await?.into_inner();
    let first = answers.message().await?.ok_or("the call has ended")?;
    println!("the service is {:?}", first.status());
    for status in [NotServing, Serving, NotServing] {
        pair.cut().await?;
        health.set_service_status("", status).await;
        let answer = answers.message().await?.ok_or("the call has ended")?;
        assert_eq!(answer.status, status as i32);
        println!(
            "every connection under the link was reset; the same call tells that it is {:?}",
            answer.status()
        );
    }
    drop(answers);
    pair.shutdown().await
}
