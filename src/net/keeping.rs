//! What a plane keeps: its links and accesses, each with what it was asked for and the credentials it uses.
//!
//! Here a document and its secrets become what the fleet is told and what a dial or a handshake is done with, the
//! first time, after each change and at each rotation.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::error::{CredentialsError, PlaneError};
use crate::event::EventKind;
use crate::id::{AccessId, Cost, LinkId, LinkRole, Ordinal};
use crate::net::credentials::CredentialsSource;
use crate::net::hub::{Dialing, Hub, lock};
use crate::net::kept::{AccessWanted, Kept, Listening};
use crate::net::listener::{self, ListenerSpec, Presented};
use crate::net::rotation::{End, InUse};
use crate::net::secrets::LinkSecrets;
use crate::net::{clock, log, socket};
use crate::proto::dial::Target;
use crate::proto::link::LinkWanted;
use crate::proto::trust::Door;
use crate::resource::link::LinkSpec;
use crate::resource::secret::ProxySpec;
use crate::tls::config::{ClientAuth, DialerIdentity, client_config, server_config};
use crate::tls::credentials::Credentials;

impl Hub {
    /// Takes a link on, or changes it. What the credentials are found to be is told: loaded, rotated or refused. `watch`
    /// ends the watch over its credentials, if there is to be one; a watch it had ends.
    ///
    /// # Errors
    /// [`PlaneError::Credentials`] when the credentials given cannot be used to dial, and what was in force stays;
    /// [`PlaneError::Unknown`] for a known link that is gone or given up; [`PlaneError::ShutDown`].
    pub(crate) fn keep(
        &self,
        known: Option<LinkId>,
        spec: LinkSpec,
        secrets: LinkSecrets,
        watch: Option<CancellationToken>,
    ) -> Result<LinkId, PlaneError> {
        // Held to the end, so that of two changes the later one stands, whole.
        let mut kept = lock(&self.kept);
        if known.is_some_and(|link| !self.fleet().keeps_link(link)) {
            return Err(PlaneError::Unknown);
        }
        let link = self.keep_in(&mut kept, known, spec, secrets)?;
        if let Some(kept) = kept.get_mut(&link) {
            kept.watch = watch.map(CancellationToken::drop_guard);
        }
        Ok(link)
    }

    fn keep_in(
        &self,
        kept: &mut HashMap<LinkId, Kept>,
        known: Option<LinkId>,
        spec: LinkSpec,
        mut secrets: LinkSecrets,
    ) -> Result<LinkId, PlaneError> {
        if self.closing.is_cancelled() {
            return Err(PlaneError::ShutDown);
        }
        // Put in force once: what is set later is not to be undone by the next rotation.
        let policy = secrets.policy.take();
        let before = match known {
            Some(link) => Some(kept.get_mut(&link).ok_or(PlaneError::Unknown)?),
            None => None,
        };
        let in_use = match &secrets.credentials {
            Some(Ok(credentials)) => {
                let of = before.as_ref().and_then(|before| before.in_use.as_ref());
                Some(InUse::succeed(of, credentials, End::Link(known)))
            }
            _ => None,
        };
        let dialing = match &in_use {
            Some((in_use, _)) => Some(self.dialing(&spec, in_use, &secrets)?),
            None => None,
        };
        let name = match &secrets.source {
            Some(CredentialsSource::Directory { name, .. }) => Some(name),
            _ => spec.tls_credentials.as_ref(),
        };
        if let (None, Some(Err(error)), Some(name)) = (&in_use, &secrets.credentials, name) {
            // Told once, however often the rest of the link changes.
            let told = before.as_ref().and_then(|before| before.secrets.credentials.as_ref());
            if !matches!(told, Some(Err(told)) if told == error) {
                self.refuse(name, error);
            }
        }
        let (in_use, told) = in_use.unzip();
        let told = told.flatten();
        if let (Some(_), Some(Ok(credentials))) = (&told, &secrets.credentials) {
            warn_of(credentials);
        }
        let ordinal = in_use.as_ref().map(|in_use| in_use.ordinal);
        let wanted = wanted(&spec, self.local.role.link_role(), &secrets, ordinal);
        let link = self.link(known, wanted, dialing, policy, told)?;
        match before {
            Some(before) => {
                (before.spec, before.secrets) = (spec, secrets);
                before.in_use = in_use.or_else(|| before.in_use.take());
            }
            None => {
                kept.insert(link, Kept { spec, secrets, in_use, watch: None });
            }
        }
        Ok(link)
    }

    /// Gives a link other credentials and leaves the rest of it.
    ///
    /// # Errors
    /// As [`Hub::keep`]; one that was given up takes them all the same, since it may need another carrier to drain.
    pub(crate) fn rotate_link(&self, link: LinkId, credentials: Credentials) -> Result<Ordinal, PlaneError> {
        self.rotate_kept(&mut lock(&self.kept), link, credentials)
    }

    /// As [`Hub::rotate_link`], for the watch that `stop` ends.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`] for a watch that has ended: the link has other credentials since.
    pub(crate) fn rotate_watched(
        &self,
        link: LinkId,
        credentials: Credentials,
        stop: &CancellationToken,
    ) -> Result<Ordinal, PlaneError> {
        let mut kept = lock(&self.kept);
        // It is ended under this lock.
        if stop.is_cancelled() {
            return Err(PlaneError::Unknown);
        }
        self.rotate_kept(&mut kept, link, credentials)
    }

    fn rotate_kept(
        &self,
        kept: &mut HashMap<LinkId, Kept>,
        link: LinkId,
        credentials: Credentials,
    ) -> Result<Ordinal, PlaneError> {
        let before = kept.get(&link).ok_or(PlaneError::Unknown)?;
        let (spec, mut secrets) = (before.spec.clone(), before.secrets.clone());
        secrets.credentials = Some(Ok(credentials));
        self.keep_in(kept, Some(link), spec, secrets)?;
        let in_use = kept.get(&link).and_then(|kept| kept.in_use.as_ref());
        in_use.map(|in_use| in_use.ordinal).ok_or(PlaneError::Unknown)
    }

    /// Closes the carriers of a link that were made with credentials before that ordinal; those in use are none of them.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`].
    pub(crate) fn revoke_link(&self, link: LinkId, older_than: Ordinal) -> Result<usize, PlaneError> {
        let kept = lock(&self.kept);
        let in_use = kept.get(&link).ok_or(PlaneError::Unknown)?.in_use.as_ref();
        let newest = in_use.map_or(Ordinal(0), |in_use| in_use.ordinal);
        Ok(self.revoke(Door::Link(link), older_than.min(newest)))
    }

    /// As [`Hub::revoke_link`], of an access.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`].
    pub(crate) fn revoke_access(&self, access: AccessId, older_than: Ordinal) -> Result<usize, PlaneError> {
        let accesses = lock(&self.accesses);
        let newest = accesses.get(&access).ok_or(PlaneError::Unknown)?.in_use.ordinal;
        Ok(self.revoke(Door::Access(access), older_than.min(newest)))
    }

    fn revoke(&self, door: Door, older_than: Ordinal) -> usize {
        let closed = self.fleet().handle_revoked(clock::now(), door, older_than);
        self.stir.notify_one();
        closed
    }

    /// Changes this end's cost of a link, until its document is changed.
    pub(crate) fn set_cost(&self, link: LinkId, cost: Cost) {
        let mut kept = lock(&self.kept);
        // Or the next rotation would bring the document's back.
        if let Some(kept) = kept.get_mut(&link) {
            kept.spec.cost = cost;
        }
        self.fleet().handle_cost(clock::now(), link, cost);
        self.stir.notify_one();
    }

    /// This end's cost of a link.
    pub(crate) fn cost_of(&self, link: LinkId) -> Option<Cost> {
        lock(&self.kept).get(&link).map(|kept| kept.spec.cost)
    }

    /// Changes this end's cost of links through an access.
    ///
    /// # Errors
    /// [`PlaneError::Unknown`].
    pub(crate) fn set_access_cost(&self, access: AccessId, cost: Cost) -> Result<(), PlaneError> {
        let mut accesses = lock(&self.accesses);
        accesses.get_mut(&access).ok_or(PlaneError::Unknown)?.cost = cost;
        self.fleet().handle_access_cost(clock::now(), access, cost);
        self.stir.notify_one();
        Ok(())
    }

    /// Listens. Returns the bound address, and what ends the access.
    ///
    /// # Errors
    /// [`PlaneError::Bind`], [`PlaneError::Credentials`] and [`PlaneError::ShutDown`].
    pub(crate) fn listen(
        &self,
        spec: AccessWanted,
        credentials: &Credentials,
    ) -> Result<(AccessId, std::net::SocketAddr, CancellationToken), PlaneError> {
        if self.closing.is_cancelled() {
            return Err(PlaneError::ShutDown);
        }
        let AccessWanted { address, role, cost, client_auth, policy } = spec;
        let access = AccessId(self.number());
        let (in_use, told) = InUse::succeed(None, credentials, End::Access(access));
        let tls = self.accepting(credentials, client_auth)?;
        let refused = |error: std::io::Error| PlaneError::Bind { address, kind: error.kind() };
        let listener = socket::listen(address).map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        let (presented, presenting) = watch::channel(Presented { tls, ordinal: in_use.ordinal });
        let cancel = self.cancel.child_token();
        let spec = ListenerSpec {
            access,
            presented: presenting,
            deadlines: self.config.deadlines,
            limits: self.config.access,
            dead: self.config.liveness.dead,
            reports: self.reports.clone(),
            tasks: self.tasks.clone(),
            cancel: cancel.clone(),
        };
        warn_of(credentials);
        let credentials = in_use.view();
        let listening = Listening { role, cost, cancel: cancel.clone(), client_auth, in_use, presented };
        lock(&self.accesses).insert(access, listening);
        self.fleet().tell(told);
        self.access_up(access, bound, role, policy, &credentials);
        let span = log::access_span(&self.span, access, bound);
        self.tasks.spawn(listener::run(listener, spec).instrument(span));
        Ok((access, bound, cancel))
    }

    /// Gives an access other credentials; handshakes that begin after this use them.
    ///
    /// # Errors
    /// [`PlaneError::Credentials`], which is told as well, and those in use stay; [`PlaneError::Unknown`].
    pub(crate) fn rotate_access(
        &self,
        access: AccessId,
        credentials: &Credentials,
    ) -> Result<Ordinal, PlaneError> {
        let mut accesses = lock(&self.accesses);
        let listening = accesses.get_mut(&access).ok_or(PlaneError::Unknown)?;
        let (in_use, told) = InUse::succeed(Some(&listening.in_use), credentials, End::Access(access));
        let tls = self.accepting(credentials, listening.client_auth)?;
        let ordinal = in_use.ordinal;
        listening.in_use = in_use;
        if told.is_some() {
            warn_of(credentials);
            listening.presented.send_replace(Presented { tls, ordinal });
            {
                let mut fleet = self.fleet();
                fleet.tell(told);
                fleet.handle_access_rotated(clock::now(), access, ordinal);
            }
            // With the accesses locked, or one that is closed at this moment would be watched for ever.
            self.expect_end_of_access(access, Some(&listening.in_use.view()));
            self.stir.notify_one();
        }
        Ok(ordinal)
    }

    /// Tells that credentials were not taken.
    pub(crate) fn refuse(&self, name: &Arc<str>, error: &CredentialsError) {
        let (name, error) = (Arc::clone(name), error.clone());
        self.publish(EventKind::CredentialsRefused { name, error });
    }

    fn dialing(
        &self,
        spec: &LinkSpec,
        in_use: &InUse,
        secrets: &LinkSecrets,
    ) -> Result<Dialing, CredentialsError> {
        let identity = if spec.no_client_auth { DialerIdentity::Withheld } else { DialerIdentity::Shown };
        let credentials = &in_use.credentials;
        let tls = client_config(credentials, identity, None)
            .inspect_err(|error| self.refuse(credentials.name(), error))?;
        let (settings, proxy) = (spec.settings.clone(), proxy(spec, secrets));
        Ok(Dialing { tls, ordinal: in_use.ordinal, settings, proxy, credentials: in_use.view() })
    }

    fn accepting(
        &self,
        credentials: &Credentials,
        auth: ClientAuth,
    ) -> Result<Arc<ServerConfig>, CredentialsError> {
        let tls = server_config(credentials, auth, None);
        tls.inspect_err(|error| self.refuse(credentials.name(), error))
    }
}

/// Logs what deserves a look in a bundle that was taken.
fn warn_of(credentials: &Credentials) {
    for warning in credentials.warnings() {
        tracing::warn!(credentials = %credentials.name(), %warning, "credentials taken");
    }
}

/// What a document asks of the fleet.
fn wanted(spec: &LinkSpec, role: LinkRole, secrets: &LinkSecrets, ordinal: Option<Ordinal>) -> LinkWanted {
    let target = |host: String, port: u16| Target { host: host.into(), port };
    let groups = spec.by_group(role).into_iter().map(|(group, endpoints)| {
        let targets = endpoints.into_iter().map(|endpoint| target(endpoint.host.to_string(), endpoint.port));
        (group, targets.collect())
    });
    let credentials = secrets.credentials.as_ref().and_then(|found| found.as_ref().ok());
    LinkWanted {
        name: spec.key.name.clone(),
        namespace: Arc::clone(&spec.key.namespace),
        generation: spec.generation,
        cost: spec.cost,
        groups: groups.collect(),
        credentials: credentials.map(|credentials| Arc::clone(credentials.name())).zip(ordinal),
        settings: spec.settings.clone(),
        proxy: proxy(spec, secrets),
        no_client_auth: spec.no_client_auth,
        usable: usable(spec, role, secrets),
    }
}

/// The proxy to dial through: one that was found or given is used only by a Link that names one.
fn proxy(spec: &LinkSpec, secrets: &LinkSecrets) -> Option<ProxySpec> {
    secrets.proxy.clone().filter(|_| spec.settings.proxy_configuration.is_some())
}

/// Whether a link can be dialed as it is; if not, why, for its `Configured` condition: in Skupper's words where it
/// has any, for operators and scripts that know them.
fn usable(spec: &LinkSpec, role: LinkRole, secrets: &LinkSecrets) -> Result<(), Arc<str>> {
    spec.dialable(role)?;
    match (&secrets.credentials, &spec.tls_credentials) {
        (Some(Ok(_)), _) => {}
        (None, None) => return Err("no TLS credentials".into()),
        (Some(Err(CredentialsError::NotFound(_))) | None, Some(name)) => {
            return Err(format!("TLS credentials secret {name:?} not found").into());
        }
        (Some(Err(error)), _) => return Err(format!("TLS credentials: {error}").into()),
    }
    match &spec.settings.proxy_configuration {
        // Never a direct connection in its place: the proxy may be there to see what leaves the site.
        Some(name) if secrets.proxy.is_none() => {
            Err(format!("Secret not found for proxy configuration: no usable Secret {name:?}").into())
        }
        _ => Ok(()),
    }
}
