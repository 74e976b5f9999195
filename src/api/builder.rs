//! Starting a plane.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::Instrument;

use crate::api::plane::Plane;
use crate::config::PlaneConfig;
use crate::error::{CredentialsError, PlaneError};
use crate::id::{IdError, RouterName, RouterRole, SiteId, SiteName};
use crate::net::hub::Hub;
use crate::net::resolve::{Resolver, SystemResolver};
use crate::net::{secret, supervisor};
use crate::proto::facts::{FleetConfig, Local};
use crate::proto::fleet::Fleet;

/// The site a plane is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its id: stable and unique in the network, usually a UUID.
    pub id: SiteId,
    /// Its name, for people.
    pub name: SiteName,
}

impl Site {
    /// Parses id and name.
    ///
    /// # Errors
    /// [`IdError`] says which is wrong and how.
    pub fn new(id: impl AsRef<str>, name: impl AsRef<str>) -> Result<Self, IdError> {
        Ok(Self { id: SiteId::new(id)?, name: SiteName::new(name)? })
    }
}

/// Settings of a plane that is to start. Made by [`Plane::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct PlaneBuilder {
    site: Site,
    router: Option<RouterName>,
    role: RouterRole,
    config: PlaneConfig,
    resolver: Arc<dyn Resolver>,
}

impl Plane {
    /// Begins to set up a plane of that site.
    pub fn builder(site: Site) -> PlaneBuilder {
        PlaneBuilder {
            site,
            router: None,
            role: RouterRole::Interior,
            config: PlaneConfig::default(),
            resolver: Arc::new(SystemResolver),
        }
    }
}

impl PlaneBuilder {
    /// What this router is in the network. Default interior.
    pub fn role(mut self, role: RouterRole) -> Self {
        self.role = role;
        self
    }

    /// The router's stable name within its site. Default: the site's name, which is right for the only router.
    pub fn router_name(mut self, router: RouterName) -> Self {
        self.router = Some(router);
        self
    }

    /// All other settings.
    pub fn config(mut self, config: PlaneConfig) -> Self {
        self.config = config;
        self
    }

    /// Who looks host names up. Default: the operating system, [`SystemResolver`].
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// Starts the plane, on the tokio runtime this is called on.
    ///
    /// # Errors
    /// [`PlaneError::Setting`] for a wrong setting, and [`PlaneError::Credentials`] when there is no crypto provider.
    ///
    /// # Panics
    /// Outside a tokio runtime. The runtime needs its drivers of I/O and time (`enable_all`).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it leaves nothing behind.
    #[expect(clippy::unused_async, reason = "needs a runtime; being async says so, and leaves room to wait")]
    pub async fn start(self) -> Result<Plane, PlaneError> {
        let config = self.config.checked()?;
        let router = match self.router {
            Some(router) => router,
            None => RouterName::new(self.site.name.as_str()).map_err(|error| PlaneError::Setting {
                setting: "router_name",
                problem: error.to_string().into(),
            })?,
        };
        let instance = secret::instance().ok_or(CredentialsError::Provider)?;
        let local =
            Local { site_id: self.site.id, site_name: self.site.name, router, instance, role: self.role };
        let fleet = Fleet::new(FleetConfig::new(local.clone(), &config), secret::seed());
        let (reports, access_reports) = mpsc::channel(REPORTS);
        let hub = Arc::new(Hub::new(local, config, fleet, self.resolver, reports));
        let span = hub.span.clone();
        hub.tasks.spawn(supervisor::run(Arc::clone(&hub), access_reports).instrument(span));
        Ok(Plane::new(hub))
    }
}

/// Handshakes wait with their reports when so many have not been heard; each holds one of the access's places.
const REPORTS: usize = 64;
