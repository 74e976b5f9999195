//! Two sites in one process, linked over loopback with mutual TLS, and a relay on the way that can be cut.

use std::time::Duration;

use sitelink::{
    AccessSpec, Credentials, CredentialsParts, Destination, EventKind, Events, LinkRole, Manifest, Ordinal,
    Plane, RoutingKey, Site,
};
use tokio::time::timeout;

use self::relay::Relay;
use self::support::{Authority, Bundle, Outcome};

mod relay;
#[expect(dead_code, reason = "the credentials and the document are wanted alone")]
#[path = "mod.rs"]
mod support;

/// West links to east, which serves one routing key.
pub(crate) struct Pair {
    /// The site that opens streams.
    pub(crate) west: Plane,
    /// The site that accepts them.
    pub(crate) east: Plane,
    relay: Relay,
    events: Events,
}

impl Pair {
    /// Sets both up, and waits until the key has a path and the link all its connections.
    pub(crate) async fn serving(key: &RoutingKey) -> Outcome<Self> {
        let authority = Authority::new("throwaway authority")?;
        let east = Plane::builder(Site::new("6f1e-east", "east")?).start().await?;
        let spec = AccessSpec::new("127.0.0.1:0".parse()?, LinkRole::InterRouter);
        let access = east.listen(spec, credentials("east", authority.issue("east")?)?).await?;
        east.serve(key)?;

        let relay = Relay::start(access.address().port()).await?;
        let west = Plane::builder(Site::new("9c40-west", "west")?).start().await?;
        let mut events = west.events();
        let manifest = Manifest::parse(support::link("east", relay.port(), "west"), "link.yaml");
        let west_credentials = credentials("west", authority.issue("west")?)?;
        west.link(manifest.link("east")?.clone(), Some(west_credentials)).await?;
        connections(&mut events, 0, CONNECTIONS).await?;
        // What east serves is told on the first of them, and may come later than the second.
        let served = async {
            while !west.has_path(&Destination::Key(key.clone())) {
                events.next().await.ok_or("the plane has ended")?;
            }
            Outcome::Ok(())
        };
        timeout(PATIENCE, served).await.map_err(|_| "the key has no path")??;
        Ok(Self { west, east, relay, events })
    }

    /// Resets every connection under the link; done when each has been missed and has a successor.
    pub(crate) async fn cut(&mut self) -> Outcome<()> {
        self.relay.cut();
        connections(&mut self.events, CONNECTIONS, CONNECTIONS).await
    }

    /// Ends both in good order: an error if a stream was left open.
    pub(crate) async fn shutdown(self) -> Outcome<()> {
        let ended =
            async { tokio::join!(self.west.shutdown(PATIENCE * 2), self.east.shutdown(PATIENCE * 2)) };
        timeout(PATIENCE, ended).await.map_err(|_| "a stream was left open")?;
        Ok(())
    }
}

/// Waits until so many connections have gone down and so many have come up.
async fn connections(events: &mut Events, mut down: usize, mut up: usize) -> Outcome<()> {
    let counted = async {
        while down + up > 0 {
            match events.next().await.ok_or("the plane has ended")?.kind {
                EventKind::CarrierDown { .. } => down = down.saturating_sub(1),
                EventKind::CarrierUp { .. } => up = up.saturating_sub(1),
                EventKind::SessionDown { .. } => return Err("the session was lost".into()),
                _ => {}
            }
        }
        Ok(())
    };
    timeout(PATIENCE, counted).await.map_err(|_| "the link did not come up in time")?
}

fn credentials(name: &str, bundle: Bundle) -> Outcome<Credentials> {
    let Bundle { ca_crt, tls_crt, tls_key } = bundle;
    let (cert, key) = (Some(tls_crt.into_bytes()), Some(tls_key.into_bytes()));
    let parts = CredentialsParts { ca: ca_crt.into_bytes(), cert, key, ..Default::default() };
    Ok(Credentials::from_pem(name, &parts, Ordinal(1))?)
}

/// Over how many connections a session runs, unless the plane is told otherwise.
const CONNECTIONS: usize = 2;

/// Longer than anything here takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);
