//! The Link: what a document asks for, parsed.

use std::fmt;
use std::sync::Arc;

use crate::id::{Cost, GroupName, LinkName, LinkRole};
use crate::resource::host::Host;
use crate::resource::settings::Settings;

/// What a Link is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "Kubernetes knows an object of a kind by these two")]
pub struct LinkKey {
    /// The namespace, empty if the document has none.
    pub namespace: Arc<str>,
    /// The name, an RFC 1123 subdomain.
    pub name: LinkName,
}

/// `name`, or `namespace/name`.
impl fmt::Display for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        fmt::Display::fmt(&self.name, f)
    }
}

/// One way in to the remote site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Endpoint {
    /// The role it serves, `inter-router` or `edge`; any other text is kept and never dialed.
    pub name: Arc<str>,
    /// Where.
    pub host: Host,
    /// Where, 1..=65535.
    pub port: u16,
    /// The router it leads to; empty if the document says none.
    pub group: GroupName,
}

impl Endpoint {
    /// An endpoint made by hand. A port of 0 is never reachable.
    #[must_use]
    pub fn new(role: LinkRole, host: Host, port: u16, group: GroupName) -> Self {
        Self { name: Arc::from(role.as_str()), host, port, group }
    }

    /// The role of the name, if it is one.
    #[must_use]
    pub fn role(&self) -> Option<LinkRole> {
        self.name.parse().ok()
    }
}

/// `host:port`, with IPv6 in brackets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.with_port(self.port, f)
    }
}

/// What a Link document asks for: keep connected to one remote site.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkSpec {
    /// What it is known by.
    pub key: LinkKey,
    /// `metadata.generation`, which Kubernetes counts up at each change of the spec.
    pub generation: Option<i64>,
    /// The ways in, in document order.
    pub endpoints: Vec<Endpoint>,
    /// The name of the credentials bundle, an RFC 1123 subdomain.
    pub tls_credentials: Option<Arc<str>>,
    /// Lower is better; 1 if the document says nothing or 0.
    pub cost: Cost,
    /// The rest.
    pub settings: Settings,
    /// Dial without a client certificate. Only the legacy forms can ask for it.
    pub no_client_auth: bool,
}

impl LinkSpec {
    /// A Link made by hand, without namespace, at the default cost.
    #[must_use]
    pub fn new(name: LinkName, endpoints: Vec<Endpoint>) -> Self {
        Self {
            key: LinkKey { namespace: Arc::from(""), name },
            generation: None,
            endpoints,
            tls_credentials: None,
            cost: Cost::DEFAULT,
            settings: Settings::default(),
            no_client_auth: false,
        }
    }

    /// The endpoints of a role by group: groups in order of first appearance, endpoints in document order.
    ///
    /// The endpoints of one group are alternates for one and the same router.
    #[must_use]
    pub fn by_group(&self, role: LinkRole) -> Vec<(GroupName, Vec<Endpoint>)> {
        let mut groups: Vec<(GroupName, Vec<Endpoint>)> = Vec::new();
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.role() == Some(role)) {
            match groups.iter_mut().find(|(group, _)| *group == endpoint.group) {
                Some((_, members)) => members.push(endpoint.clone()),
                None => groups.push((endpoint.group.clone(), vec![endpoint.clone()])),
            }
        }
        groups
    }

    /// Whether the Link can be dialed in a role; if not, the text for its `Configured` condition.
    ///
    /// # Errors
    /// `no endpoint named "inter-router"`, or the other role.
    pub fn dialable(&self, role: LinkRole) -> Result<(), Arc<str>> {
        match self.endpoints.iter().any(|endpoint| endpoint.role() == Some(role)) {
            true => Ok(()),
            false => Err(format!("no endpoint named \"{role}\"").into()),
        }
    }
}
