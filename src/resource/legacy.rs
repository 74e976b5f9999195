//! The forms a Link had before `skupper.io/v2alpha1`: kind `Link` or `LinkConfig` of `skupper.io/v1alpha1`.
//!
//! `interRouter{host,port}` and `edge{host,port}` become endpoints of the empty group; `tlsSecret` is the
//! documented name of what the code always called `tlsCredentials`; `noClientAuth` is honoured.

use std::sync::Arc;

use crate::id::{GroupName, LinkRole};
use crate::resource::fields::Fields;
use crate::resource::host::{read_host, read_port};
use crate::resource::link::Endpoint;
use crate::resource::node::Node;

/// Which of Skupper's shapes a document has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `skupper.io/v2alpha1`.
    Current,
    /// `skupper.io/v1alpha1`, kind `Link` or `LinkConfig`.
    Legacy,
}

/// Reads `interRouter` and `edge`.
pub(crate) fn endpoints(form: Form, spec: &mut Fields<'_, '_>) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (key, role) in ROLES {
        if !spec.has(key) {
            continue;
        }
        if spec.has("endpoints") {
            spec.refuse(key, "must not stand beside spec.endpoints");
        } else if form == Form::Current {
            spec.warn(key, UNKNOWN);
        } else {
            endpoints.extend(endpoint(role, &mut spec.object(key)));
        }
    }
    endpoints
}

/// Reads `tlsCredentials`, or in the legacy forms `tlsSecret`.
pub(crate) fn tls_credentials(form: Form, spec: &mut Fields<'_, '_>) -> Option<Arc<str>> {
    let name = spec.name("tlsCredentials");
    if form == Form::Current {
        if spec.has("tlsSecret") {
            spec.warn("tlsSecret", UNKNOWN);
        }
        return name;
    }
    let secret = spec.name("tlsSecret");
    if let (Some(name), Some(secret)) = (&name, &secret)
        && name != secret
    {
        spec.refuse_text("tlsSecret", "must be the same as spec.tlsCredentials", secret);
    }
    name.or(secret)
}

/// Reads `noClientAuth`.
pub(crate) fn no_client_auth(form: Form, spec: &mut Fields<'_, '_>) -> bool {
    if form == Form::Current {
        if spec.has("noClientAuth") {
            spec.warn("noClientAuth", UNKNOWN);
        }
        return false;
    }
    spec.flag("noClientAuth")
}

/// Reads `{host, port}`. Go writes an absent one as an empty host and port 0.
fn endpoint(role: LinkRole, fields: &mut Fields<'_, '_>) -> Option<Endpoint> {
    fields.refuse_repeated();
    let is_zero = |node: Option<&Node>| match node {
        None | Some(Node::Integer(0)) => true,
        Some(Node::Text(text)) => text.is_empty(),
        Some(_) => false,
    };
    if is_zero(fields.value("host")) && is_zero(fields.value("port")) {
        return None;
    }
    let host = read_host(fields);
    let port = read_port(fields);
    Some(Endpoint::new(role, host?, port?, GroupName::new("").ok()?))
}

/// The two fields and what they stand for.
const ROLES: [(&str, LinkRole); 2] = [("interRouter", LinkRole::InterRouter), ("edge", LinkRole::Edge)];

/// What is said of a legacy field in a document of today.
const UNKNOWN: &str = "is unknown under skupper.io/v2alpha1 and ignored";
