//! What README.md tells a router to do, as it stands there: each function is in one of its snippets, and the test calls
//! them all.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use sitelink::{
    Access, AccessSpec, Cost, Credentials, CredentialsSource, Destination, EventKind, Following, LinkId,
    LinkRole, LinkStream, OpenError, OpenRequest, PeerIdentity, PeerPolicy, Plane, PlaneError, Resources,
    RoutingKey, StreamCode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::task::TaskTracker;

use crate::common::pki::TestCa;
use crate::common::{credentials, document, key, loopback, plane, until, within};

/// Links, from documents and bundles on the disk.
async fn keep_links(plane: &Plane, documents: &Path, bundles: &Path) -> Result<Following, PlaneError> {
    let resources = Resources::at(documents).credentials(bundles);
    plane.follow(resources.grace(Duration::from_secs(30))).await // dropping what it returns ends the following
}

/// An access for the links of others.
async fn take_links(plane: &Plane, address: SocketAddr, bundle: &Path) -> Result<Access, PlaneError> {
    let partners = [PeerIdentity::subject("CN=west"), PeerIdentity::subject("CN=north")];
    let spec = AccessSpec::new(address, LinkRole::InterRouter).policy(PeerPolicy::only(partners));
    plane.listen(spec, CredentialsSource::directory("server", bundle)).await
}

/// Serving: streams that peers open become connections to a server.
async fn serve(plane: Plane, key: RoutingKey, server: SocketAddr, tasks: TaskTracker) {
    while let Some(incoming) = plane.accept().await {
        if incoming.routing_key() != Some(&key) {
            incoming.refuse(StreamCode::NOT_SERVED); // for want of a server: the opener asks the next site
            continue;
        }
        tasks.spawn(async move {
            let Ok(mut server) = tokio::net::TcpStream::connect(server).await else {
                return incoming.refuse(StreamCode::UNREACHABLE);
            };
            let Ok(mut stream) = incoming.accept() else { return };
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
        });
    }
}

/// Opening.
async fn open(plane: &Plane, key: RoutingKey) -> Result<LinkStream, OpenError> {
    let request = OpenRequest::to_key(key).wait_for_path(Duration::from_secs(1));
    plane.open(request).await
}

/// Paths: what a link costs, and why a stream goes where it goes.
async fn make_dearer(plane: &Plane, link: LinkId, cost: Cost) -> Result<(), PlaneError> {
    plane.set_cost(link, cost).await // on live sessions, at both ends; no stream is touched
}

fn explain(plane: &Plane, key: RoutingKey) {
    for way in plane.explain(&Destination::Key(key)).candidates {
        let mark = if way.chosen { '*' } else { ' ' };
        println!("{mark} {}: {} = cost {} + {} open", way.site, way.score, way.cost.get(), way.open);
        if let Some(reason) = way.why_not {
            println!("  not now: {reason:?}");
        }
    }
}

/// Events, with a status to begin with.
async fn follow_events(plane: &Plane) {
    let mut events = plane.events(); // first subscribe, then look: nothing falls in between
    let known = plane.status().as_of;
    while let Some(event) = events.next().await {
        match event.kind {
            _ if event.seq <= known => {}
            EventKind::LinkOperational { name, operational, groups_up, groups, .. } => {
                println!("{name}: operational: {operational}, {groups_up} of {groups} groups");
            }
            EventKind::DialFailed { name, endpoint, phase, error, next_attempt_in, .. } => {
                println!("{name}: {endpoint}: {phase}: {error}; next attempt in {next_attempt_in:?}");
            }
            EventKind::PathSelected { destination, site, cost, .. } => {
                println!("{destination:?}: by {site}, cost {}", cost.get());
            }
            EventKind::PathLost { destination } => println!("{destination:?}: no way left"),
            EventKind::Lagged { .. } => {} // too slow: look at the status again
            _ => {}
        }
    }
}

/// Rotation.
async fn rotate(
    plane: &Plane,
    link: LinkId,
    credentials: Credentials,
    others_have_the_old_key: bool,
) -> Result<(), PlaneError> {
    let ordinal = plane.rotate(link, credentials).await?; // RotationCompleted tells when the last carrier has moved
    if others_have_the_old_key {
        plane.revoke_older_than(link, ordinal)?; // at once; the streams go on when others are there
    }
    Ok(())
}

/// Drain and shutdown.
async fn give_up(plane: &Plane, link: LinkId) -> Result<(), PlaneError> {
    plane.unlink(link, Duration::from_secs(30)).await // returns at once; LinkRemoved tells the end
}

async fn stop(plane: &Plane, key: &RoutingKey) {
    plane.withdraw(key); // new streams go to other sites that serve it, these end in peace
    plane.shutdown(Duration::from_secs(10)).await; // every link drains; what is left after the grace is cut
}

#[tokio::test]
async fn a_router_made_of_the_readme_lives_its_life() {
    let (ca, folder, tasks) = (TestCa::new("ca"), tempfile::tempdir().unwrap(), TaskTracker::new());
    let at = |name: &str| folder.path().join(name);
    ca.server(&["127.0.0.1"]).write(&at("server"));
    ca.client("west").write(&at("bundles/east"));
    let (west, east, web) = (plane("west").await, plane("east").await, key("web"));
    let mut told = west.events();
    let following = tasks.spawn({
        let west = west.clone();
        async move { follow_events(&west).await }
    });

    let server = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let target = server.local_addr().unwrap();
    east.serve(&web).unwrap();
    let serving = tasks.spawn(serve(east.clone(), web.clone(), target, tasks.clone()));
    let access = take_links(&east, loopback(), &at("server")).await.unwrap();
    std::fs::create_dir(at("documents")).unwrap();
    let text = document("east", "127.0.0.1", access.address().port());
    std::fs::write(at("documents/east.yaml"), text).unwrap();
    let followed = within(keep_links(&west, &at("documents"), &at("bundles"))).await.unwrap();
    let link = followed.status().links[0].link.expect("it was taken on");

    let to_web = Destination::Key(web.clone());
    until(
        &mut told,
        |kind| matches!(kind, EventKind::PathSelected { destination, .. } if *destination == to_web),
    )
    .await;
    let mut stream = within(open(&west, web.clone())).await.unwrap();
    let (mut connection, _) = within(server.accept()).await.unwrap();
    make_dearer(&west, link, Cost::new(7).unwrap()).await.unwrap();
    until(&mut told, |kind| matches!(kind, EventKind::CostChanged { cost, .. } if cost.get() == 7)).await;
    explain(&west, web.clone());
    let ways = west.explain(&to_web).candidates;
    assert_eq!((ways.len(), ways[0].score, ways[0].chosen), (1, 8, true));

    let renewed = credentials("east", &ca.client("west"));
    within(rotate(&west, link, renewed, true)).await.unwrap();
    until(&mut told, |kind| matches!(kind, EventKind::RotationCompleted { .. })).await;
    stream.write_all(b"over both").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut arrived = String::new();
    within(connection.read_to_string(&mut arrived)).await.unwrap();
    assert_eq!(arrived, "over both");
    drop((stream, connection));

    give_up(&west, link).await.unwrap();
    until(&mut told, |kind| matches!(kind, EventKind::LinkRemoved { .. })).await;
    assert_eq!(give_up(&west, link).await, Err(PlaneError::Unknown));
    within(stop(&east, &web)).await;
    within(stop(&west, &web)).await;
    within(serving).await.unwrap();
    within(following).await.unwrap();
}
