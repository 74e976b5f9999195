//! Link and Secret documents: Skupper's own, and every way in which one can be wrong.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use sitelink::id::LinkRole;
use sitelink::resource::link::LinkSpec;
use sitelink::resource::manifest::{MAX_FILE_BYTES, Manifest};
use sitelink::resource::secret::SecretKind;

/// What a document must give, each as text.
struct Expected {
    file: &'static str,
    links: &'static [&'static str],
    secrets: &'static [&'static str],
    refused: &'static [&'static str],
    warnings: &'static [&'static str],
}

const NOTHING: &[&str] = &[];
const NOT_BASE64_AC619: &[&str] = &[
    "Secret south-ac619: data.ca.crt: is not base64",
    "Secret south-ac619: data.tls.crt: is not base64",
    "Secret south-ac619: data.tls.key: is not base64",
];
const NOT_BASE64_GO_WEST: &[&str] = &[
    "Secret link-go-west: data.ca.crt: is not base64",
    "Secret link-go-west: data.tls.crt: is not base64",
    "Secret link-go-west: data.tls.key: is not base64",
];

const FIXTURES: &[Expected] = &[
    Expected {
        file: "01-config-sample.yaml",
        links: &[
            "my-token cost 1 tls my-token; inter-router=10.102.82.46:55671@skupper-router-1 edge=10.102.82.46:45671@skupper-router-1",
        ],
        secrets: NOTHING,
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "02-link-generate-doc.yaml",
        links: &[
            "south-ac619 cost 1 tls south-ac619; inter-router=10.97.161.185:55671@skupper-router-1 edge=10.97.161.185:45671@skupper-router-1",
        ],
        secrets: &["south-ac619 Tls 3 problems"],
        refused: NOT_BASE64_AC619,
        warnings: NOTHING,
    },
    Expected {
        file: "03-bootstrap-readme-link.yaml",
        links: &["link-go-west cost 1 tls link-go-west; inter-router=127.0.0.1:55671@ edge=127.0.0.1:45671@"],
        secrets: &["link-go-west Tls 3 problems"],
        refused: NOT_BASE64_GO_WEST,
        warnings: NOTHING,
    },
    Expected {
        file: "04-proxy-secret-and-link.yaml",
        links: &[
            "link-to-remote-site cost 1 tls link-to-remote-site proxy my-proxy-config; inter-router=remote-site.example.com:55671@ edge=remote-site.example.com:45671@",
        ],
        secrets: &["my-proxy-config Proxy 0 problems"],
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "08-redeem-simple.yaml",
        links: &["my-token cost 1 tls my-token; inter-router=my-link-host:1111@ edge=my-link-host:2222@"],
        secrets: &["my-token Tls 0 problems ca crt key"],
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "09-redeem-ha.yaml",
        links: &[
            "my-token-1 cost 1 tls my-token; inter-router=my-link-host-1:1111@one edge=my-link-host-1:2222@one",
            "my-token-2 cost 1 tls my-token; inter-router=my-link-host-2:1111@two edge=my-link-host-2:2222@two",
        ],
        secrets: &["my-token Tls 0 problems ca crt key"],
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "12-link-generate-ha.yaml",
        links: &[
            "link-west-skupper-router cost 1 tls link-west; inter-router=my-ra.endpoints.testing:111@skupper-router",
            "link-west-skupper-router-2 cost 1 tls link-west; inter-router=my-ra-2.endpoints.testing:999@skupper-router-2",
        ],
        secrets: &["link-west Tls 0 problems ca crt key"],
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "16-edge-endpoint-only.yaml",
        links: &["test/old-site cost 1; edge=10.10.10.1:55671@"],
        secrets: NOTHING,
        refused: NOTHING,
        warnings: &[
            "Link test/old-site: spec.tlsCredentials: is missing: the link needs credentials handed over with it",
        ],
    },
    Expected {
        file: "22-integer-port.yaml",
        links: &["int-port cost 1 tls link-go-west; inter-router=127.0.0.1:55671@"],
        secrets: NOTHING,
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "25-cost-zero.yaml",
        links: &["cost-zero cost 1 tls link-go-west; inter-router=127.0.0.1:55671@"],
        secrets: NOTHING,
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "30-one-link-two-groups.yaml",
        links: &[
            "west-ha cost 1 tls west-ha; inter-router=10.102.82.46:55671@skupper-router edge=10.102.82.46:45671@skupper-router inter-router=10.102.82.47:55671@skupper-router-2 edge=10.102.82.47:45671@skupper-router-2",
        ],
        secrets: NOTHING,
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "31-one-group-two-alternates.yaml",
        links: &[
            "west-alt cost 1 tls west-alt; inter-router=skupper-router-inter-router-west.apps.example.com:443@skupper-router edge=skupper-router-edge-west.apps.example.com:443@skupper-router inter-router=203.0.113.10:55671@skupper-router edge=203.0.113.10:45671@skupper-router",
        ],
        secrets: NOTHING,
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "33-status-ready.yaml",
        links: &["west-6bfn6 cost 1 tls west-6bfn6; inter-router=10.102.82.46:55671@skupper-router"],
        secrets: NOTHING,
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "36-opaque-secret-functional.yaml",
        links: &[
            "link-public-skupper-router cost 1 tls public-link-tls; inter-router=127.0.0.1:55671@skupper-router edge=127.0.0.1:45671@skupper-router",
        ],
        secrets: &["public-link-tls Tls 0 problems ca crt key"],
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "38-wrong-ca-secret.yaml",
        links: &["wrong-ca cost 1 tls other-ca; inter-router=127.0.0.1:55671@"],
        secrets: &["other-ca Tls 0 problems ca crt key"],
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "40-legacy-link-noclientauth.yaml",
        links: &[
            "my-link cost 2 tls my-link noClientAuth; inter-router=10.97.161.185:55671@ edge=10.97.161.185:45671@",
        ],
        secrets: NOTHING,
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "41-legacy-docs-tlssecret.yaml",
        links: &["my-link cost 1 tls my-link; inter-router=10.97.161.185:55671@ edge=10.97.161.185:45671@"],
        secrets: NOTHING,
        refused: NOTHING,
        warnings: NOTHING,
    },
    Expected {
        file: "44-server-secret.yaml",
        links: NOTHING,
        secrets: &["skupper-site-server Tls 0 problems ca crt key"],
        refused: NOTHING,
        warnings: NOTHING,
    },
];

#[test]
fn each_fixture_is_read_as_expected() {
    for expected in FIXTURES {
        let manifest = Manifest::read(folder().join(expected.file)).unwrap();
        assert_eq!(links(&manifest), expected.links, "{}", expected.file);
        assert_eq!(secrets(&manifest), expected.secrets, "{}", expected.file);
        assert_eq!(refused(&manifest), expected.refused, "{}", expected.file);
        assert_eq!(warnings(&manifest), expected.warnings, "{}", expected.file);
    }
    let files = fs::read_dir(folder()).unwrap().count();
    assert_eq!(files, FIXTURES.len(), "a fixture without an expectation");
}

#[test]
fn the_folder_of_fixtures_is_read_in_the_order_of_names_and_the_later_of_a_name_is_refused() {
    let manifest = Manifest::read(folder()).unwrap();
    assert_eq!(manifest.links().next().map(|link| link.key.to_string()).as_deref(), Some("my-token"));
    let twice: Vec<_> =
        manifest.refused().iter().filter(|refusal| refusal.message().contains("already")).collect();
    let names: Vec<_> = twice.iter().map(|refusal| (refusal.kind(), refusal.name())).collect();
    assert_eq!(
        names,
        [
            (Some("Link"), Some("my-token")),
            (Some("Secret"), Some("my-token")),
            (Some("Link"), Some("my-link")),
        ]
    );
    assert!(twice[0].source().ends_with("08-redeem-simple.yaml"));
    assert!(twice[0].message().ends_with("01-config-sample.yaml, which stands"));
}

#[test]
fn groups_come_in_order_of_appearance_and_alternates_in_document_order() {
    let grouped = |file: &str, role| {
        let manifest = Manifest::read(folder().join(file)).unwrap();
        let link = manifest.links().next().unwrap();
        let groups = link.by_group(role).into_iter();
        let text = |(group, endpoints): (_, Vec<_>)| {
            let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
            format!("{group}: {}", endpoints.join(" "))
        };
        groups.map(text).collect::<Vec<_>>()
    };
    assert_eq!(
        grouped("30-one-link-two-groups.yaml", LinkRole::InterRouter),
        ["skupper-router: 10.102.82.46:55671", "skupper-router-2: 10.102.82.47:55671"]
    );
    assert_eq!(
        grouped("31-one-group-two-alternates.yaml", LinkRole::Edge),
        ["skupper-router: skupper-router-edge-west.apps.example.com:443 203.0.113.10:45671"]
    );
    assert_eq!(grouped("16-edge-endpoint-only.yaml", LinkRole::InterRouter), NOTHING);
    let manifest = Manifest::read(folder().join("16-edge-endpoint-only.yaml")).unwrap();
    let link = manifest.link("old-site").unwrap();
    assert_eq!(link.dialable(LinkRole::Edge), Ok(()));
    assert_eq!(&*link.dialable(LinkRole::InterRouter).unwrap_err(), "no endpoint named \"inter-router\"");
}

#[test]
fn the_proxy_secret_is_parsed_and_does_not_show_its_password() {
    let manifest = Manifest::read(folder().join("04-proxy-secret-and-link.yaml")).unwrap();
    let proxy = manifest.secret("", "my-proxy-config").unwrap().proxy().unwrap();
    assert_eq!((proxy.host.to_string().as_str(), proxy.port), ("proxy.example.com", 3128));
    assert_eq!((&*proxy.username, &*proxy.password), ("myuser", "mypassword"));
    assert!(!format!("{manifest:?} {proxy:?}").contains("mypassword"));
}

/// A Link whose spec is the text, in YAML's flow style.
fn with_spec(spec: &str) -> String {
    format!(
        "{{apiVersion: skupper.io/v2alpha1, kind: Link, metadata: {{name: west}}, spec: {{tlsCredentials: west, {spec}}}}}"
    )
}

/// A Link with one endpoint of these fields.
fn with_endpoint(fields: &str) -> String {
    with_spec(&format!("endpoints: [{{name: edge, host: a.example, port: 1}}, {{{fields}}}]"))
}

fn legacy(spec: &str) -> String {
    format!(
        "{{apiVersion: skupper.io/v1alpha1, kind: Link, metadata: {{name: west}}, spec: {{tlsCredentials: west, {spec}}}}}"
    )
}

fn secret(rest: &str) -> String {
    format!("{{apiVersion: v1, kind: Secret, metadata: {{name: west}}, {rest}}}")
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn a_malformed_link_is_refused_with_document_field_and_value() {
    let endpoints = "endpoints: [{name: edge, host: a.example, port: 1}]";
    let long = "x".repeat(200);
    for (text, expected) in [
        // Cost.
        (
            with_spec(&format!("{endpoints}, cost: -4")),
            "Link west: spec.cost: must be 1..=2147483647, found -4",
        ),
        (
            with_spec(&format!("{endpoints}, cost: 2147483648")),
            "Link west: spec.cost: must be 1..=2147483647, found 2147483648",
        ),
        (
            with_spec(&format!("{endpoints}, cost: \"5\"")),
            "Link west: spec.cost: must be 1..=2147483647, found \"5\"",
        ),
        (
            with_spec(&format!("{endpoints}, cost: 1.5")),
            "Link west: spec.cost: must be 1..=2147483647, found 1.5",
        ),
        (
            with_spec(&format!("{endpoints}, cost: [1, {{a: b}}]")),
            "Link west: spec.cost: must be 1..=2147483647, found [1,{\"a\":\"b\"}]",
        ),
        (
            with_spec(&format!("{endpoints}, cost: true")),
            "Link west: spec.cost: must be 1..=2147483647, found true",
        ),
        // Ports.
        (
            with_endpoint("name: edge, host: b, port: 0"),
            "Link west: spec.endpoints[1].port: must be 1..=65535 or amqps, found 0",
        ),
        (
            with_endpoint("name: edge, host: b, port: 65536"),
            "Link west: spec.endpoints[1].port: must be 1..=65535 or amqps, found 65536",
        ),
        (
            with_endpoint("name: edge, host: b, port: -1"),
            "Link west: spec.endpoints[1].port: must be 1..=65535 or amqps, found -1",
        ),
        (
            with_endpoint("name: edge, host: b, port: amqp"),
            "Link west: spec.endpoints[1].port: must be 1..=65535 or amqps, found \"amqp\"",
        ),
        (
            with_endpoint("name: edge, host: b, port: \"\""),
            "Link west: spec.endpoints[1].port: must be 1..=65535 or amqps, found \"\"",
        ),
        (
            with_endpoint("name: edge, host: b, port: 1.0"),
            "Link west: spec.endpoints[1].port: must be 1..=65535 or amqps, found 1.0",
        ),
        (with_endpoint("name: edge, host: b"), "Link west: spec.endpoints[1].port: is missing"),
        (with_endpoint("name: edge, host: b, port: null"), "Link west: spec.endpoints[1].port: is missing"),
        (
            with_endpoint("name: edge, host: b, port: 0443"),
            "Link west: spec.endpoints[1].port: must be 1..=65535 or amqps, found \"0443\"",
        ),
        (
            with_endpoint("name: edge, host: b, port: 4_43"),
            "Link west: spec.endpoints[1].port: must be 1..=65535 or amqps, found \"4_43\"",
        ),
        // Hosts.
        (with_endpoint("name: edge, port: 1"), "Link west: spec.endpoints[1].host: is missing"),
        (
            with_endpoint("name: edge, host: \"\", port: 1"),
            "Link west: spec.endpoints[1].host: must be a DNS name or an IP address, found \"\"",
        ),
        (
            with_endpoint("name: edge, host: \"a b\", port: 1"),
            "Link west: spec.endpoints[1].host: must be a DNS name or an IP address, found \"a b\"",
        ),
        (
            with_endpoint("name: edge, host: \"a\\n\\u202e\", port: 1"),
            "Link west: spec.endpoints[1].host: must be a DNS name or an IP address, found \"a\\n\\u{202e}\"",
        ),
        (
            with_endpoint("name: edge, host: 999.0.0.1, port: 1"),
            "Link west: spec.endpoints[1].host: must be a DNS name or an IP address, found \"999.0.0.1\"",
        ),
        (
            with_endpoint("name: edge, host: 10, port: 1"),
            "Link west: spec.endpoints[1].host: must be text, found 10",
        ),
        // Shapes.
        (
            with_endpoint("name: 3, host: b, port: 1"),
            "Link west: spec.endpoints[1].name: must be text, found 3",
        ),
        (
            with_endpoint("name: edge, host: b, port: 1, group: \"a\\tb\""),
            "Link west: spec.endpoints[1].group: must be at most 255 bytes without control characters, found \"a\\tb\"",
        ),
        (with_spec("endpoints: {}"), "Link west: spec.endpoints: must be a list, found {}"),
        (with_spec("endpoints: [edge]"), "Link west: spec.endpoints[0]: must be an object, found \"edge\""),
        (with_spec(&format!("{endpoints}, cost: 1, cost: 2")), "Link west: spec.cost: is given twice"),
        (
            with_spec(&format!("{endpoints}, settings: []")),
            "Link west: spec.settings: must be an object, found []",
        ),
        (
            with_spec(&format!("{endpoints}, settings: {{proxy-configuration: 3}}")),
            "Link west: spec.settings.proxy-configuration: must be text, found 3",
        ),
        (
            with_spec(&format!("{endpoints}, settings: {{proxy-configuration: ../x}}")),
            "Link west: spec.settings.proxy-configuration: must be an RFC 1123 name (a-z, 0-9, '-' and '.'), found \"../x\"",
        ),
        (
            legacy(&format!("{endpoints}, tlsSecret: ../../etc")),
            "Link west: spec.tlsSecret: must be an RFC 1123 name (a-z, 0-9, '-' and '.'), found \"../../etc\"",
        ),
        (
            legacy(&format!("{endpoints}, tlsSecret: east")),
            "Link west: spec.tlsSecret: must be the same as spec.tlsCredentials, found \"east\"",
        ),
        (
            legacy(&format!("{endpoints}, noClientAuth: yes")),
            "Link west: spec.noClientAuth: must be true or false, found \"yes\"",
        ),
        (legacy("interRouter: {host: a}"), "Link west: spec.interRouter.port: is missing"),
        (legacy("interRouter: {port: 4}"), "Link west: spec.interRouter.host: is missing"),
        (
            legacy(&format!("{endpoints}, interRouter: {{host: a, port: 1}}")),
            "Link west: spec.interRouter: must not stand beside spec.endpoints",
        ),
        (
            with_spec(&format!("{endpoints}, edge: {{host: a, port: 1}}")),
            "Link west: spec.edge: must not stand beside spec.endpoints",
        ),
        (
            "{apiVersion: skupper.io/v2alpha1, kind: Link, metadata: {name: west}}".into(),
            "Link west: spec: is missing",
        ),
        (
            "{apiVersion: skupper.io/v2alpha1, kind: Link, metadata: {name: west, generation: x}, spec: {}}"
                .into(),
            "Link west: metadata.generation: must be an integer, found \"x\"",
        ),
        (
            "{apiVersion: skupper.io/v2alpha1, kind: Link, metadata: {name: west}, spec: 3}".into(),
            "Link west: spec: must be an object, found 3",
        ),
        // Names and versions.
        (
            "{apiVersion: skupper.io/v2alpha1, kind: Link, spec: {}}".into(),
            "Link in document 1 of x.yaml: metadata.name: is missing",
        ),
        (
            "{apiVersion: skupper.io/v2alpha1, kind: Link, metadata: {name: ../west}, spec: {}}".into(),
            "Link in document 1 of x.yaml: metadata.name: must be an RFC 1123 name (a-z, 0-9, '-' and '.'), found \"../west\"",
        ),
        (
            "{apiVersion: skupper.io/v2alpha1, kind: Link, metadata: {name: west, namespace: a.b}, spec: {}}"
                .into(),
            "Link in document 1 of x.yaml: metadata.namespace: must be an RFC 1123 label (a-z, 0-9 and '-'), found \"a.b\"",
        ),
        (
            "{apiVersion: skupper.io/v3, kind: Link, metadata: {name: west}, spec: {}}".into(),
            "Link west: apiVersion: must be skupper.io/v2alpha1 or skupper.io/v1alpha1, found \"skupper.io/v3\"",
        ),
        (
            "{apiVersion: skupper.io/v2alpha1, kind: LinkConfig, metadata: {name: west}, spec: {}}".into(),
            "LinkConfig west: apiVersion: must be skupper.io/v1alpha1, found \"skupper.io/v2alpha1\"",
        ),
        ("{kind: Link, metadata: {name: west}, spec: {}}".into(), "Link west: apiVersion: is missing"),
        (
            "{apiVersion: skupper.io/v2alpha1, metadata: {name: west}}".into(),
            "document 1 of x.yaml: kind: is missing",
        ),
        ("{kind: [Link]}".into(), "document 1 of x.yaml: kind: must be text"),
        ("just text".into(), "document 1 of x.yaml: must be an object"),
        ("[1]".into(), "document 1 of x.yaml: must be an object"),
        (
            "{apiVersion: skupper.io/v2alpha1, kind: AccessToken, metadata: {name: west}, spec: {code: c}}"
                .into(),
            "AccessToken west: redeem it first: it holds the right to a Link, not a Link",
        ),
        // A value is cut, and a key that strayed into a Link is not shown at all.
        (
            with_spec(&format!("{endpoints}, cost: {long}")),
            &format!("Link west: spec.cost: must be 1..=2147483647, found \"{}…", "x".repeat(119)),
        ),
        (
            with_spec(&format!("{endpoints}, cost: \"-----BEGIN PRIVATE KEY-----\"")),
            "Link west: spec.cost: must be 1..=2147483647, found PEM",
        ),
    ] {
        let manifest = Manifest::parse(&text, "x.yaml");
        assert_eq!(refused(&manifest), [expected], "{text}");
        assert_eq!(links(&manifest), NOTHING, "{text}");
    }
}

#[test]
fn a_malformed_secret_is_refused_without_a_word_of_it() {
    let pem = |kind: &str| format!("-----BEGIN {kind}-----\\nMAA=\\n-----END {kind}-----\\n");
    let ca = format!("ca.crt: \"{}\"", pem("CERTIFICATE"));
    let crt = format!("tls.crt: \"{}\"", pem("CERTIFICATE"));
    let key = format!("tls.key: \"{}\"", pem("PRIVATE KEY"));
    for (text, expected) in [
        (secret("type: kubernetes.io/tls"), &["Secret west: data.ca.crt: is missing"][..]),
        (secret(&format!("stringData: {{{crt}, {key}}}")), &["Secret west: data.ca.crt: is missing"]),
        (secret(&format!("stringData: {{{ca}, {crt}}}")), &["Secret west: data.tls.key: is missing"]),
        (secret(&format!("stringData: {{{ca}, {key}}}")), &["Secret west: data.tls.crt: is missing"]),
        (secret(&format!("stringData: {{{ca}, {crt}, tls.key: \"\"}}")), &["Secret west: stringData.tls.key: is missing"]),
        (secret(&format!("stringData: {{{ca}, {crt}, tls.key: hunter2}}")), &["Secret west: stringData.tls.key: holds no PEM private key (PKCS#1, PKCS#8 or SEC1)"]),
        (secret(&format!("stringData: {{{ca}, {key}, tls.crt: hunter2}}")), &["Secret west: stringData.tls.crt: holds no PEM certificate"]),
        (secret(&format!("stringData: {{{crt}, {key}, ca.crt: \"-----BEGIN CERTIFICATE-----\\nhunter2\"}}")), &["Secret west: stringData.ca.crt: is not well-formed PEM"]),
        (secret(&format!("stringData: {{{ca}, {crt}, {key}, crl.pem: \"-----BEGIN X509 CRL-----\\nhunter2\"}}")), &["Secret west: stringData.crl.pem: is not well-formed PEM"]),
        (secret(&format!("stringData: {{{ca}, {crt}}}, data: {{tls.key: hunter2}}")), &["Secret west: data.tls.key: is not base64"]),
        (secret(&format!("stringData: {{{ca}, {crt}}}, data: {{tls.key: [hunter2]}}")), &["Secret west: data.tls.key: must be text"]),
        (secret(&format!("stringData: {{{ca}}}")), &["Secret west: data.tls.crt: is missing", "Secret west: data.tls.key: is missing"]),
        (secret("data: hunter2"), &["Secret west: data: must be an object"]),
        (secret("type: [hunter2], data: {}"), &["Secret west: type: must be text"]),
        (secret("data: {hunter2: a, hunter2: b}"), &["Secret west: data: a key is given twice"]),
        ("{apiVersion: v2, kind: Secret, metadata: {name: west}}".into(), &["Secret west: apiVersion: must be v1"]),
        ("{kind: Secret, metadata: {name: west}}".into(), &["Secret west: apiVersion: is missing"]),
        ("{apiVersion: v1, kind: Secret, metadata: {name: \"hunter2/\"}}".into(), &["Secret in document 1 of x.yaml: metadata.name: must be an RFC 1123 name (a-z, 0-9, '-' and '.')"]),
        ("{apiVersion: v1, kind: Secret, metadata: {name: west, labels: {skupper.io/type: connection-token}}}".into(), &["Secret west: a connection token of Skupper 1.x cannot be used: make a Link at the remote site"]),
        ("{apiVersion: v1, kind: Secret, metadata: {name: west, labels: {skupper.io/type: token-claim}}}".into(), &["Secret west: a token claim of Skupper 1.x cannot be used: make a Link at the remote site"]),
        (secret("type: kubernetes.io/basic-auth, stringData: {port: \"3128\"}"), &["Secret west: data.host: is missing"]),
        (secret("type: kubernetes.io/basic-auth, stringData: {host: \"hunter2:\", port: \"0\"}"), &["Secret west: stringData.host: must be a DNS name or an IP address", "Secret west: stringData.port: must be 1..=65535 or amqps"]),
        (secret("type: kubernetes.io/basic-auth, stringData: {host: a, port: \"1\", username: \"hunter2\\r\\nX: y\"}"), &["Secret west: stringData.username: must be text without control characters"]),
    ] {
        let manifest = Manifest::parse(&text, "x.yaml");
        assert_eq!(refused(&manifest), expected, "{text}");
        let debug = format!("{manifest:?}");
        assert!(!debug.contains("hunter2") || text.contains("name: \"hunter2"), "{debug}");
    }
}

#[test]
fn a_broken_document_costs_only_itself() {
    let link = |name: &str| {
        format!(
            "apiVersion: skupper.io/v2alpha1\nkind: Link\nmetadata:\n  name: {name}\nspec:\n  tlsCredentials: x\n  endpoints:\n  - {{name: edge, host: h, port: 1}}\n"
        )
    };
    let bomb = {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            writeln!(text, "a{level}: &a{level} [{}]", below.trim_end_matches(", ")).unwrap();
        }
        text
    };
    let heavy = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(900));
    for (name, middle, expected) in [
        (
            "a tab for indentation",
            "a:\n\tb: 1\n".to_owned(),
            "document 2 of x.yaml: is not well-formed YAML at line 12",
        ),
        (
            "an open quote",
            "kind: Secret\ndata: \"hunter2\n".to_owned(),
            "document 2 of x.yaml: is not well-formed YAML at line ",
        ),
        (
            "an unknown alias",
            "a: *b\n".to_owned(),
            "document 2 of x.yaml: is not well-formed YAML at line 11",
        ),
        (
            "an alias bomb",
            bomb,
            "document 2 of x.yaml: is beyond the limits of a document (begins at line 10)",
        ),
        (
            "a heavy alias",
            heavy,
            "document 2 of x.yaml: is beyond the limits of a document (begins at line 10)",
        ),
        ("deep brackets", "[".repeat(10_000), "document 2 of x.yaml: is "),
        (
            "deep closed brackets",
            format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
            "document 2 of x.yaml: is ",
        ),
        (
            "deep JSON",
            format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000)),
            "document 2 of x.yaml: is beyond the limits of a document (begins at line 10)",
        ),
        (
            "deep blocks",
            (0..500).fold(String::new(), |text, level| text + &" ".repeat(level) + "a:\n"),
            "document 2 of x.yaml: is ",
        ),
        ("a NUL", "a: \0\n".to_owned(), "document 2 of x.yaml: is not text in UTF-8 (begins at line 10)"),
        (
            "broken JSON",
            "{\"kind\": \"Secret\", \"data\": hunter2\n".to_owned(),
            "document 2 of x.yaml: is not well-formed JSON at line ",
        ),
    ] {
        let text = format!("---\n{}---\n{middle}\n---\n{}", link("one"), link("two"));
        let manifest = Manifest::parse(&text, "x.yaml");
        let names: Vec<_> = manifest.links().map(|link| link.key.name.as_str().to_owned()).collect();
        assert_eq!(names, ["one", "two"], "{name}");
        let found = refused(&manifest);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(found[0].starts_with(expected), "{name}: {found:?}");
        assert!(!found[0].contains("hunter2"), "{name}: {found:?}");
    }
}

#[test]
fn bytes_that_are_no_text_cost_only_their_document() {
    let mut bytes = with_endpoint("name: edge, host: b, port: 1").into_bytes();
    bytes.extend_from_slice(b"\n---\na: \xff\xfe\n---\nb: 1\n");
    let manifest = Manifest::parse(&bytes, "x.yaml");
    assert_eq!(links(&manifest).len(), 1);
    assert_eq!(
        refused(&manifest),
        [
            "document 2 of x.yaml: is not text in UTF-8 (begins at line 2)",
            "document 3 of x.yaml: kind: is missing"
        ]
    );
}

#[test]
fn what_holds_no_document_says_nothing() {
    for text in [
        "",
        "\n\n",
        "# a comment\n",
        "---\n",
        "---\n---\n...\n",
        "\u{feff}",
        "\u{feff}# a\n---\n# b\n",
        "%YAML 1.2\n---\n",
        "---\nnull\n",
        "--- # a\n",
        " \t\r\n",
    ] {
        let manifest = Manifest::parse(text, "x.yaml");
        assert_eq!(refused(&manifest), NOTHING, "{text:?}");
        assert_eq!(warnings(&manifest), NOTHING, "{text:?}");
    }
}

#[test]
fn line_ends_marks_and_syntaxes_may_be_mixed() {
    let yaml = fs::read_to_string(folder().join("12-link-generate-ha.yaml")).unwrap();
    let expected = Manifest::parse(&yaml, "x");
    let json = |pretty: bool| {
        let object = |name: &str| {
            let value = serde_json::json!({
                "apiVersion": "skupper.io/v2alpha1", "kind": "Link", "metadata": {"name": name},
                "spec": {"endpoints": [{"name": "edge", "host": "h", "port": "1"}], "tlsCredentials": "t"},
            });
            if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap()
        };
        [object("one"), object("two")]
    };
    for text in [
        yaml.replace('\n', "\r\n"),
        yaml.replace('\n', "\r"),
        format!("\u{feff}{yaml}"),
        yaml.replace("---", "...\n--- # mark"),
    ] {
        let manifest = Manifest::parse(&text, "x");
        assert_eq!(refused(&manifest), NOTHING);
        assert_eq!(links(&manifest), links(&expected));
        assert_eq!(secrets(&manifest), secrets(&expected));
    }
    for pretty in [true, false] {
        for between in ["\n", "", " ", "\n---\n", "\n\n"] {
            let text = json(pretty).join(between);
            let manifest = Manifest::parse(&text, "x.json");
            assert_eq!(refused(&manifest), NOTHING, "{text}");
            assert_eq!(manifest.links().count(), 2, "{text}");
        }
        // A broken one in the middle of the stream costs only itself.
        let [one, two] = json(pretty);
        let manifest = Manifest::parse(format!("{one}\n{{\"kind\": \n{two}\n"), "x.json");
        assert_eq!(manifest.links().count(), 2);
        assert_eq!(refused(&manifest).len(), 1);
        let list = format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{one},{two}, 3]}}");
        let manifest = Manifest::parse(list, "x.json");
        assert_eq!(manifest.links().count(), 2);
        assert_eq!(refused(&manifest), ["items[2] of document 1 of x.json: must be an object"]);
    }
    let [one, two] = json(false);
    let twice =
        format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{one}], \"items\": [{two}]}}");
    let manifest = Manifest::parse(twice, "x.json");
    assert_eq!(manifest.links().count(), 0, "which of the two is meant nobody knows");
    assert_eq!(refused(&manifest), ["List in document 1 of x.json: a key is given twice"]);
    let list = "apiVersion: skupper.io/v2alpha1\nkind: LinkList\nitems:\n- metadata: {name: west}\n  spec: {cost: 0, tlsCredentials: t, endpoints: [{name: edge, host: '[::1]', port: amqps}]}\n";
    assert_eq!(links(&Manifest::parse(list, "x")), ["west cost 1 tls t; edge=[::1]:5671@"]);
}

#[test]
fn warnings_tell_what_was_ignored() {
    for (text, expected) in [
        (with_spec("endpoints: []"), &["Link west: spec.endpoints: no endpoint named \"inter-router\" or \"edge\""][..]),
        (with_spec("cost: 3"), &["Link west: spec.endpoints: no endpoint named \"inter-router\" or \"edge\""]),
        (with_spec("endpoints: [{host: a, port: 1}, {name: Edge, host: a, port: 1}]"), &["Link west: spec.endpoints: no endpoint named \"inter-router\" or \"edge\""]),
        (with_spec("endpoints: [{name: edge, host: a, port: 1}], noClientAuth: true, tlsSecret: x, unknown: 1"), &[
            "Link west: spec.tlsSecret: is unknown under skupper.io/v2alpha1 and ignored",
            "Link west: spec.noClientAuth: is unknown under skupper.io/v2alpha1 and ignored",
        ]),
        (with_spec("endpoints: [{name: edge, host: a, port: 1}], settings: {colour: blue, proxy-configuration: p}"), &["Link west: spec.settings.colour: is no known setting and ignored"]),
        ("{apiVersion: skupper.io/v2alpha1, kind: Site, metadata: {name: west}}".into(), &["Site west: skipped: neither Link nor Secret"]),
        ("{apiVersion: multicluster.linkerd.io/v1alpha1, kind: Link, metadata: {name: west, namespace: n}}".into(), &["Link n/west: skipped: neither Link nor Secret"]),
        ("{kind: Site}".into(), &["Site in document 1 of x.yaml: skipped: neither Link nor Secret"]),
        (secret("type: Opaque, stringData: {token: hunter2}"), &["Secret west: type: is neither a credentials bundle nor a proxy: not used"]),
    ] {
        let manifest = Manifest::parse(&text, "x.yaml");
        assert_eq!(refused(&manifest), NOTHING, "{text}");
        assert_eq!(warnings(&manifest), expected, "{text}");
    }
}

#[test]
fn a_bundle_of_ca_crt_alone_needs_a_link_without_client_authentication_wherever_it_stands() {
    let secret =
        secret("stringData: {ca.crt: \"-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----\\n\"}");
    let link = legacy("interRouter: {host: a, port: 1}, edge: {host: \"\", port: 0}, noClientAuth: true");
    for text in [format!("{secret}\n---\n{link}"), format!("{link}\n---\n{secret}")] {
        assert_eq!(refused(&Manifest::parse(&text, "x")), NOTHING);
    }
    let mut manifest = Manifest::parse(&secret, "x");
    assert_eq!(refused(&manifest).len(), 2);
    manifest.merge(Manifest::parse(&link, "y"));
    assert_eq!(refused(&manifest), NOTHING);
    assert_eq!(links(&manifest), ["west cost 1 tls west noClientAuth; inter-router=a:1@"]);
    assert!(manifest.secret("", "west").unwrap().is_ca_only());
    assert_eq!(manifest.secret("other", "west"), None);
}

#[test]
fn string_data_stands_over_data() {
    let text = secret(
        "type: kubernetes.io/basic-auth, data: {host: Lg==, port: '!'}, stringData: {host: a, port: '1'}",
    );
    let manifest = Manifest::parse(&text, "x");
    assert_eq!(refused(&manifest), NOTHING);
    assert_eq!(manifest.secret("", "west").unwrap().proxy().unwrap().port, 1);
}

#[test]
fn a_link_is_found_by_name_or_the_reason_is_told() {
    let link = |namespace: &str, cost: &str| {
        format!(
            "{{apiVersion: skupper.io/v2alpha1, kind: Link, metadata: {{name: west, namespace: '{namespace}'}}, spec: {{tlsCredentials: t, cost: {cost}, endpoints: []}}}}\n---\n"
        )
    };
    let manifest = Manifest::parse(link("a", "1") + &link("b", "2"), "x");
    assert_eq!(manifest.link("b/west").unwrap().cost.get(), 2);
    assert_eq!(manifest.link("west").unwrap_err().to_string(), "several namespaces have a Link west");
    assert_eq!(manifest.link("east").unwrap_err().to_string(), "no Link east");
    let manifest = Manifest::parse(link("", "x"), "x");
    let error = manifest.link("west").unwrap_err();
    assert_eq!(error.to_string(), "refused: Link west: spec.cost: must be 1..=2147483647, found \"x\"");
    assert_eq!(error.refusal().and_then(|refusal| refusal.field()), Some("spec.cost"));
}

#[test]
fn files_are_bounded_and_folders_hold_documents_by_their_endings() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let link = |name: &str| {
        with_endpoint("name: edge, host: b, port: 1").replace("name: west", &format!("name: {name}"))
    };
    put("b.yaml", &link("b"));
    put("a.json", &link("a"));
    put("c.yml", &link("c"));
    put("d.txt", &link("d"));
    put(".e.yaml", &link("e"));
    put("f.yaml", &"#".repeat(5 << 20));
    fs::create_dir(folder.path().join("g.yaml")).unwrap();
    put("h.yaml", &"---\n1\n".repeat(5000));
    let manifest = Manifest::read(folder.path()).unwrap();
    let names: Vec<_> = manifest.links().map(|link| link.key.name.as_str().to_owned()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let found = refused(&manifest);
    assert_eq!(found.len(), 1 + 4096 + 1);
    assert!(found[0].ends_with(&format!("f.yaml: is larger than {MAX_FILE_BYTES} bytes")), "{}", found[0]);
    assert!(
        found[4097].ends_with("h.yaml: holds more than 4096 documents; the rest is not read"),
        "{}",
        found[4097]
    );
    assert!(Manifest::read(folder.path().join("none")).is_err());
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", folder.path().join("i.yaml")).unwrap();
        let found = refused(&Manifest::read(folder.path()).unwrap());
        assert!(found.last().unwrap().ends_with("i.yaml: cannot be read: entity not found"), "{found:?}");
    }
}

#[test]
fn a_hostile_file_is_read_in_bounded_time() {
    for text in [
        "{\"k\":[\n".repeat(300_000),
        "{\n".repeat(1_000_000),
        "{}\n".repeat(1_000_000),
        "- ".repeat(1_000_000),
        "a: ".repeat(1_000_000),
        "? ".repeat(1_000_000),
        "\"".repeat(3_000_000),
        "[".repeat(3_000_000),
        "...\n".repeat(900_000),
        with_spec(&format!("endpoints: [{}]", "{host: ' '},".repeat(100_000))),
        with_spec(&format!(
            "settings: {{{}}}",
            (0..100_000).fold(String::new(), |text, n| text + &format!("k{n}: v, "))
        )),
    ] {
        let text = &text.as_bytes()[..text.len().min(MAX_FILE_BYTES)];
        let manifest = Manifest::parse(text, "x.yaml");
        assert!(
            manifest.refused().len() + manifest.warnings().len() <= 2 * 4096,
            "{}",
            manifest.refused().len()
        );
    }
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/links"))
}

fn links(manifest: &Manifest) -> Vec<String> {
    manifest.links().map(shown).collect()
}

fn shown(link: &LinkSpec) -> String {
    let mut text = format!("{} cost {}", link.key, link.cost);
    if let Some(name) = &link.tls_credentials {
        text.push_str(&format!(" tls {name}"));
    }
    if let Some(name) = &link.settings.proxy_configuration {
        text.push_str(&format!(" proxy {name}"));
    }
    if link.no_client_auth {
        text.push_str(" noClientAuth");
    }
    text.push(';');
    for endpoint in &link.endpoints {
        text.push_str(&format!(" {}={endpoint}@{}", endpoint.name, endpoint.group));
    }
    text
}

fn secrets(manifest: &Manifest) -> Vec<String> {
    let shown = |secret: &sitelink::resource::secret::SecretSpec| {
        let mut text = format!("{} {:?} {} problems", secret.name, secret.kind, secret.problems().len());
        assert_eq!(secret.is_usable(), secret.problems().is_empty());
        if secret.kind == SecretKind::Tls {
            for (part, bytes) in
                [("ca", secret.ca_crt()), ("crt", secret.tls_crt()), ("key", secret.tls_key())]
            {
                if bytes.is_some() {
                    text.push_str(&format!(" {part}"));
                }
            }
        }
        text
    };
    manifest.secrets().map(shown).collect()
}

fn refused(manifest: &Manifest) -> Vec<String> {
    manifest.refused().iter().map(ToString::to_string).collect()
}

fn warnings(manifest: &Manifest) -> Vec<String> {
    manifest.warnings().iter().map(ToString::to_string).collect()
}
