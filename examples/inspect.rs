//! Prints what sitelink understands of Link and Secret documents, without linking anything:
//! `inspect [--role inter-router|edge] [-o text|json] FILE...`, where `-` is standard input.
//!
//! The exit status is 0 if nothing was refused, 1 if something was, 2 if a file could not be read.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde::Serialize;
use sitelink::resource::manifest::MAX_FILE_BYTES;
use sitelink::{Credentials, CredentialsError, LinkRole, LinkSpec, Manifest, SecretKind, SecretSpec};

/// Prints what sitelink understands of Link and Secret documents.
#[derive(Debug, Parser)]
#[command(name = "inspect", version)]
struct Args {
    /// The role whose endpoints are shown: what the router that reads the documents would dial
    #[arg(long, value_name = "ROLE", default_value = "inter-router")]
    role: LinkRole,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
    /// Files or folders of documents, read as one; "-" is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
    Text,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Report {
    links: Vec<Link>,
    secrets: Vec<Secret>,
    refused: Vec<Remark>,
    warnings: Vec<Remark>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    name: String,
    cost: u32,
    tls_credentials: Option<String>,
    /// Those with endpoints of the role, in order of first appearance.
    groups: Vec<Group>,
    no_client_auth: bool,
}

#[derive(Debug, Serialize)]
struct Group {
    group: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    /// Without brackets, whatever it is.
    host: String,
    port: u16,
}

#[derive(Debug, Serialize)]
struct Secret {
    name: String,
    kind: &'static str,
    problems: Vec<String>,
}

/// A refusal or a warning.
#[derive(Debug, Serialize)]
struct Remark {
    /// Of the document, if it says so.
    kind: Option<String>,
    /// Of the document, if it has a usable one.
    name: Option<String>,
    /// The path of the field, if it is about one.
    field: Option<String>,
    message: String,
    /// The whole as one line for people, who want to know the place as well.
    #[serde(skip)]
    line: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut manifest = Manifest::default();
    let mut unread = false;
    for path in &args.files {
        match read(path) {
            Ok(documents) => manifest.merge(documents),
            Err(error) => {
                eprintln!("inspect: {}: {error}", path.display());
                unread = true;
            }
        }
    }
    let report = Report::new(&manifest, args.role);
    let printed = match args.output {
        Format::Json => serde_json::to_string_pretty(&report).map_err(io::Error::from),
        Format::Text => Ok(report.text()),
    };
    // A reader that has seen enough is no failure.
    if let Err(error) = printed.and_then(|text| writeln!(io::stdout(), "{}", text.trim_end()))
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        eprintln!("inspect: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::from(match (unread, report.refused.is_empty()) {
        (true, _) => 2,
        (false, false) => 1,
        (false, true) => 0,
    })
}

fn read(path: &Path) -> io::Result<Manifest> {
    if path == Path::new("-") {
        return parse(io::stdin().lock(), "standard input");
    }
    if path.is_dir() {
        return Manifest::read(path);
    }
    parse(File::open(path)?, &path.to_string_lossy())
}

/// Reads one byte more than is taken, so that the manifest itself refuses what is too large.
fn parse(source: impl Read, name: &str) -> io::Result<Manifest> {
    let mut bytes = Vec::new();
    source.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Manifest::parse(bytes, name))
}

impl Report {
    fn new(manifest: &Manifest, role: LinkRole) -> Self {
        let remark = |kind: Option<&str>, name: Option<&str>, field: Option<&str>, message: &str, line| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            Remark {
                kind: owned(kind),
                name: owned(name),
                field: owned(field),
                message: message.into(),
                line,
            }
        };
        let refused = manifest.refused().iter();
        let warnings = manifest.warnings().iter();
        let mut report = Self {
            links: manifest.links().map(|link| Link::new(link, role)).collect(),
            secrets: Vec::new(),
            refused: refused
                .map(|of| remark(of.kind(), of.name(), of.field(), of.message(), of.to_string()))
                .collect(),
            warnings: warnings
                .map(|of| remark(of.kind(), of.name(), of.field(), of.message(), of.to_string()))
                .collect(),
        };
        for secret in manifest.secrets() {
            report.take_secret(secret, manifest);
        }
        for link in manifest.links() {
            report.warn_of_link(link, manifest, role);
        }
        report
    }

    /// Lists a Secret with what is wrong with it: what the reader says, and what only a look into the certificates
    /// shows.
    fn take_secret(&mut self, secret: &SecretSpec, manifest: &Manifest) {
        let mut problems: Vec<_> = secret.problems().iter().map(ToString::to_string).collect();
        if secret.is_usable() && secret.is_ca_only() {
            // Whether that is enough depends on the Links; if it is not, the manifest has refused it.
            let refused = manifest.refused().iter().filter(|of| {
                of.kind() == Some("Secret")
                    && of.name() == Some(&*secret.name)
                    && of.namespace().unwrap_or_default() == &*secret.namespace
            });
            let parts = refused.filter_map(|of| Some((of.field()?.strip_prefix("data.")?, of.message())));
            problems.extend(parts.map(|(part, message)| format!("{part}: {message}")));
        }
        if secret.kind == SecretKind::Tls && problems.is_empty() {
            match Credentials::from_secret(secret) {
                Ok(credentials) => {
                    for warning in credentials.warnings() {
                        self.warnings.push(of_secret(secret, Some("data.tls.crt"), &warning.to_string()));
                    }
                }
                Err(error) => {
                    let field = match &error {
                        CredentialsError::Missing { part } | CredentialsError::Unreadable { part, .. } => {
                            Some(format!("data.{part}"))
                        }
                        CredentialsError::KeyMismatch => Some("data.tls.key".to_owned()),
                        _ => None,
                    };
                    problems.push(error.to_string());
                    self.refused.push(of_secret(secret, field.as_deref(), &error.to_string()));
                }
            }
        }
        let kind = match secret.kind {
            SecretKind::Tls => "tls",
            SecretKind::Proxy => "proxy",
            _ => "other",
        };
        self.secrets.push(Secret { name: secret.name.to_string(), kind, problems });
    }

    /// Warns of what would make the link `Configured=False` in that role, as far as the documents tell.
    fn warn_of_link(&mut self, link: &LinkSpec, manifest: &Manifest, role: LinkRole) {
        let mut warn = |field: &str, message: String| {
            self.warnings.push(Remark {
                kind: Some("Link".to_owned()),
                name: Some(link.key.name.to_string()),
                field: Some(field.to_owned()),
                line: format!("Link {}: {field}: {message}", link.key),
                message,
            });
        };
        // Of a Link without endpoints of either role the manifest has warned.
        let has_some = link.endpoints.iter().any(|endpoint| endpoint.role().is_some());
        if let (true, Err(message)) = (has_some, link.dialable(role)) {
            warn("spec.endpoints", message.to_string());
        }
        // What is wrong with a Secret itself is told as its refusal.
        let found = |name: &str| manifest.secret(&link.key.namespace, name);
        let is_told = |name: &str| found(name).is_some_and(|secret| !secret.problems().is_empty());
        let missing = |name: &str| format!("no Secret {name:?} among the documents");
        if let Some(name) = link.tls_credentials.as_deref() {
            match found(name).map(Credentials::from_secret) {
                None => warn("spec.tlsCredentials", missing(name)),
                Some(Err(error)) if !is_told(name) => {
                    warn("spec.tlsCredentials", format!("Secret {name:?}: {error}"))
                }
                Some(Ok(credentials)) if !link.no_client_auth && !credentials.has_identity() => {
                    warn("spec.tlsCredentials", format!("Secret {name:?}: tls.crt is missing"));
                }
                Some(_) => {}
            }
        }
        if let Some(name) = link.settings.proxy_configuration.as_deref() {
            match found(name).map(|secret| secret.proxy().is_some()) {
                None => warn("spec.settings.proxy-configuration", missing(name)),
                Some(false) if !is_told(name) => {
                    let message = format!("Secret {name:?} is none of a proxy that can be used");
                    warn("spec.settings.proxy-configuration", message);
                }
                Some(_) => {}
            }
        }
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        for link in &self.links {
            let credentials = link.tls_credentials.as_deref().unwrap_or("none");
            let anonymous = if link.no_client_auth { ", without client certificate" } else { "" };
            lines.push(format!(
                "Link {}: cost {}, credentials {credentials}{anonymous}",
                link.name, link.cost
            ));
            for Group { group, endpoints } in &link.groups {
                let place = |endpoint: &Endpoint| match endpoint.host.contains(':') {
                    true => format!("[{}]:{}", endpoint.host, endpoint.port),
                    false => format!("{}:{}", endpoint.host, endpoint.port),
                };
                let places: Vec<_> = endpoints.iter().map(place).collect();
                // A group is free text of the document.
                lines.push(format!("  group {:?}: {}", group, places.join(", then ")));
            }
        }
        for secret in &self.secrets {
            let state = if secret.problems.is_empty() { "ok" } else { "refused" };
            lines.push(format!("Secret {}: {}, {state}", secret.name, secret.kind));
        }
        lines.extend(self.refused.iter().map(|remark| format!("refused: {}", remark.line)));
        lines.extend(self.warnings.iter().map(|remark| format!("warning: {}", remark.line)));
        lines.join("\n")
    }
}

impl Link {
    fn new(link: &LinkSpec, role: LinkRole) -> Self {
        let groups = link.by_group(role).into_iter().map(|(group, endpoints)| Group {
            group: group.to_string(),
            endpoints: endpoints
                .iter()
                .map(|endpoint| Endpoint { host: endpoint.host.to_string(), port: endpoint.port })
                .collect(),
        });
        Self {
            name: link.key.name.to_string(),
            cost: link.cost.get(),
            tls_credentials: link.tls_credentials.as_deref().map(str::to_owned),
            groups: groups.collect(),
            no_client_auth: link.no_client_auth,
        }
    }
}

fn of_secret(secret: &SecretSpec, field: Option<&str>, message: &str) -> Remark {
    let SecretSpec { namespace, name, .. } = secret;
    let slash = if namespace.is_empty() { "" } else { "/" };
    let place = field.map_or_else(String::new, |field| format!("{field}: "));
    Remark {
        kind: Some("Secret".to_owned()),
        name: Some(name.to_string()),
        field: field.map(str::to_owned),
        message: message.to_owned(),
        line: format!("Secret {namespace}{slash}{name}: {place}{message}"),
    }
}
