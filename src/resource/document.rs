//! Reading a Link document, of today's form or an old one.

use std::sync::Arc;

use crate::id::{Cost, GroupName};
use crate::resource::fields::Fields;
use crate::resource::host::{read_host, read_port};
use crate::resource::legacy;
use crate::resource::legacy::Form;
use crate::resource::link::{Endpoint, LinkKey, LinkSpec};
use crate::resource::node::Node;
use crate::resource::settings::Settings;

/// Reads the document; what is wrong goes to the report. With any refusal, the value is of no use.
pub(crate) fn read_link(key: LinkKey, form: Form, fields: &mut Fields<'_, '_>) -> LinkSpec {
    fields.refuse_repeated();
    let mut metadata = fields.object("metadata");
    metadata.refuse_repeated();
    let generation = metadata.integer("generation");
    if !fields.has("spec") {
        fields.refuse("spec", "is missing");
    }
    let mut spec = fields.object("spec");
    spec.refuse_repeated();
    let endpoints = read_endpoints(form, &mut spec);
    let before = spec.refusals();
    let tls_credentials = legacy::tls_credentials(form, &mut spec);
    if tls_credentials.is_none() && spec.refusals() == before {
        spec.warn("tlsCredentials", "is missing: the link needs credentials handed over with it");
    }
    LinkSpec {
        key,
        generation,
        endpoints,
        tls_credentials,
        cost: read_cost(&mut spec),
        settings: Settings::read(&mut spec.object("settings")),
        no_client_auth: legacy::no_client_auth(form, &mut spec),
    }
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
    fields.refuse_repeated();
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

/// Reads `cost`: Skupper takes 0 as "not said".
fn read_cost(spec: &mut Fields<'_, '_>) -> Cost {
    let Some(node) = spec.value("cost") else {
        return Cost::DEFAULT;
    };
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
