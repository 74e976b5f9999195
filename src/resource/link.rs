//! The Link: what a document asks for, parsed.

use std::fmt;
use std::sync::Arc;

use crate::id::Cost;
use crate::id::GroupName;
use crate::id::LinkName;
use crate::id::LinkRole;
use crate::resource::fields::Fields;
use crate::resource::host;
use crate::resource::host::Host;
use crate::resource::legacy;
use crate::resource::node::Node;
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

    /// Reads the document; what is wrong goes to the report. With any refusal, the value is of no use.
    pub(crate) fn read(key: LinkKey, form: Form, fields: &mut Fields<'_, '_>) -> Self {
        let generation = fields.object("metadata").integer("generation");
        if !fields.has("spec") {
            fields.refuse("spec", "is missing");
        }
        let mut spec = fields.object("spec");
        let endpoints = read_endpoints(form, &mut spec);
        let tls_credentials = legacy::tls_credentials(form, &mut spec);
        if tls_credentials.is_none() && !spec.has("tlsCredentials") && !spec.has("tlsSecret") {
            spec.warn("tlsCredentials", "is missing: the link needs credentials handed over with it");
        }
        Self {
            key,
            generation,
            endpoints,
            tls_credentials,
            cost: read_cost(&mut spec),
            settings: Settings::read(&mut spec.object("settings")),
            no_client_auth: legacy::no_client_auth(form, &mut spec),
        }
    }
}

/// Which of Skupper's shapes a document has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `skupper.io/v2alpha1`.
    Current,
    /// `skupper.io/v1alpha1`, kind `Link` or `LinkConfig`.
    Legacy,
}

fn read_endpoints(form: Form, spec: &mut Fields<'_, '_>) -> Vec<Endpoint> {
    let before = spec.refusals();
    let legacy = legacy::endpoints(form, spec);
    let mut endpoints = Vec::new();
    if let Some(items) = spec.list("endpoints") {
        if items.len() > MAX_ENDPOINTS {
            spec.refuse("endpoints", format!("must be at most {MAX_ENDPOINTS}, found {}", items.len()));
            return endpoints;
        }
        for (index, item) in items.iter().enumerate() {
            let index = format!("endpoints[{index}]");
            match item {
                Node::Map(map) => endpoints.extend(read_endpoint(&mut spec.nested(&index, Some(map)))),
                other => spec.refuse_found(&index, "must be an object", other),
            }
        }
    }
    endpoints.extend(legacy);
    if spec.refusals() == before && endpoints.iter().all(|endpoint| endpoint.role().is_none()) {
        spec.warn("endpoints", "no endpoint named \"inter-router\" or \"edge\"");
    }
    endpoints
}

/// Reads `{name, host, port, group}`. Looks at every field, so that each wrong one is refused.
fn read_endpoint(fields: &mut Fields<'_, '_>) -> Option<Endpoint> {
    let name = fields.text("name").unwrap_or_default();
    let group = read_group(fields);
    let host = read_host(fields);
    let port = read_port(fields);
    Some(Endpoint { name: Arc::from(name), host: host?, port: port?, group: group? })
}

fn read_group(fields: &mut Fields<'_, '_>) -> Option<GroupName> {
    let text = fields.text("group").unwrap_or_default();
    match GroupName::new(text) {
        Ok(group) => Some(group),
        Err(_) => {
            fields.refuse_text("group", "must be at most 255 bytes without control characters", text);
            None
        }
    }
}

/// Reads a `host`.
pub(crate) fn read_host(fields: &mut Fields<'_, '_>) -> Option<Host> {
    if !fields.has("host") {
        fields.refuse("host", "is missing");
    }
    let text = fields.text("host")?;
    match text.parse() {
        Ok(host) => Some(host),
        Err(problem) => {
            fields.refuse_text("host", &host::HostError::to_string(&problem), text);
            None
        }
    }
}

/// Reads a `port`: a number or text.
pub(crate) fn read_port(fields: &mut Fields<'_, '_>) -> Option<u16> {
    let Some(node) = fields.value("port") else {
        fields.refuse("port", "is missing");
        return None;
    };
    let port = match node {
        Node::Integer(number) => u16::try_from(*number).ok().filter(|&port| port != 0),
        Node::Text(text) => host::port(text),
        _ => None,
    };
    if port.is_none() {
        fields.refuse_found("port", "must be 1..=65535 or amqps", node);
    }
    port
}

/// Reads `cost`: Skupper takes 0 as "not said".
fn read_cost(spec: &mut Fields<'_, '_>) -> Cost {
    let Some(node) = spec.value("cost") else { return Cost::DEFAULT };
    let cost = match node {
        Node::Integer(0) => Some(Cost::DEFAULT),
        Node::Integer(number) => u32::try_from(*number).ok().and_then(|number| Cost::new(number).ok()),
        _ => None,
    };
    cost.unwrap_or_else(|| {
        spec.refuse_found("cost", "must be 1..=2147483647", node);
        Cost::DEFAULT
    })
}

/// Endpoints of one Link. Skupper writes two a group; above this the document is a mistake.
const MAX_ENDPOINTS: usize = 256;
