//! The example `inspect`, run over every fixture: what is understood of each, with one expectation per document.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::pki::{Bundle, TestCa};
use common::process::example;
use serde_json::{Value, json};

/// What each fixture gives in the default role, `inter-router`, and the exit status.
#[expect(clippy::too_many_lines, reason = "one table")]
fn expectations() -> Vec<(&'static str, i32, Value)> {
    let quiet = |links: Value, secrets: Value, warnings: Value| json!({"links": links, "secrets": secrets, "refused": [], "warnings": warnings});
    vec![
        (
            "01-config-sample.yaml",
            0,
            quiet(
                json!([link("my-token", 1, &[("skupper-router-1", &[("10.102.82.46", 55671)])])]),
                json!([]),
                json!([no_secret("my-token", "my-token")]),
            ),
        ),
        // The documentation's Secret has its data cut short: no base64.
        ("02-link-generate-doc.yaml", 1, {
            let groups: Groups<'_> = &[("skupper-router-1", &[("10.97.161.185", 55671)])];
            unusable("south-ac619", groups)
        }),
        // The README's Secret is redacted; with no type, its parts say that it is a bundle.
        ("03-bootstrap-readme-link.yaml", 1, {
            let groups: Groups<'_> = &[("", &[("127.0.0.1", 55671)])];
            unusable("link-go-west", groups)
        }),
        (
            "04-proxy-secret-and-link.yaml",
            0,
            quiet(
                json!([link("link-to-remote-site", 1, &[("", &[("remote-site.example.com", 55671)])])]),
                json!([{"name": "my-proxy-config", "kind": "proxy", "problems": []}]),
                json!([no_secret("link-to-remote-site", "link-to-remote-site")]),
            ),
        ),
        (
            "08-redeem-simple.yaml",
            0,
            quiet(
                json!([link("my-token", 1, &[("", &[("my-link-host", 1111)])])]),
                json!([good("my-token")]),
                json!([]),
            ),
        ),
        (
            "09-redeem-ha.yaml",
            0,
            quiet(
                json!([
                    with_credentials(
                        "my-token",
                        link("my-token-1", 1, &[("one", &[("my-link-host-1", 1111)])])
                    ),
                    with_credentials(
                        "my-token",
                        link("my-token-2", 1, &[("two", &[("my-link-host-2", 1111)])])
                    ),
                ]),
                json!([good("my-token")]),
                json!([]),
            ),
        ),
        ("12-link-generate-ha.yaml", 0, {
            let one: Groups<'_> = &[("skupper-router", &[("my-ra.endpoints.testing", 111)])];
            let two: Groups<'_> = &[("skupper-router-2", &[("my-ra-2.endpoints.testing", 999)])];
            quiet(
                json!([
                    with_credentials("link-west", link("link-west-skupper-router", 1, one)),
                    with_credentials("link-west", link("link-west-skupper-router-2", 1, two)),
                ]),
                json!([good("link-west")]),
                json!([]),
            )
        }),
        // Nothing to dial for an interior router, and nobody named to dial with.
        (
            "16-edge-endpoint-only.yaml",
            0,
            quiet(
                json!([{"name": "old-site", "cost": 1, "tlsCredentials": null, "groups": [], "noClientAuth": false}]),
                json!([]),
                json!([
                    remark(
                        "Link",
                        "old-site",
                        "spec.tlsCredentials",
                        "is missing: the link needs credentials handed over with it"
                    ),
                    remark("Link", "old-site", "spec.endpoints", "no endpoint named \"inter-router\""),
                ]),
            ),
        ),
        ("22-integer-port.yaml", 0, plain("int-port")),
        ("25-cost-zero.yaml", 0, plain("cost-zero")),
        (
            "30-one-link-two-groups.yaml",
            0,
            quiet(
                json!([link(
                    "west-ha",
                    1,
                    &[
                        ("skupper-router", &[("10.102.82.46", 55671)]),
                        ("skupper-router-2", &[("10.102.82.47", 55671)])
                    ],
                )]),
                json!([]),
                json!([no_secret("west-ha", "west-ha")]),
            ),
        ),
        ("31-one-group-two-alternates.yaml", 0, {
            let host = "skupper-router-inter-router-west.apps.example.com";
            quiet(
                json!([link("west-alt", 1, &[("skupper-router", &[(host, 443), ("203.0.113.10", 55671)])])]),
                json!([]),
                json!([no_secret("west-alt", "west-alt")]),
            )
        }),
        // A status in the document is Skupper's business and not read.
        (
            "33-status-ready.yaml",
            0,
            quiet(
                json!([link("west-6bfn6", 1, &[("skupper-router", &[("10.102.82.46", 55671)])])]),
                json!([]),
                json!([no_secret("west-6bfn6", "west-6bfn6")]),
            ),
        ),
        // What type it is of matters less than what is in it.
        ("36-opaque-secret-functional.yaml", 0, {
            let groups: Groups<'_> = &[("skupper-router", &[("127.0.0.1", 55671)])];
            quiet(
                json!([with_credentials("public-link-tls", link("link-public-skupper-router", 1, groups))]),
                json!([good("public-link-tls")]),
                json!([]),
            )
        }),
        // Another authority than the site's, but whole in itself: only the peer can tell.
        (
            "38-wrong-ca-secret.yaml",
            0,
            quiet(
                json!([with_credentials("other-ca", link("wrong-ca", 1, &[("", &[("127.0.0.1", 55671)])]))]),
                json!([good("other-ca")]),
                json!([]),
            ),
        ),
        ("40-legacy-link-noclientauth.yaml", 0, {
            let mut link = link("my-link", 2, &[("", &[("10.97.161.185", 55671)])]);
            link["noClientAuth"] = json!(true);
            quiet(json!([link]), json!([]), json!([no_secret("my-link", "my-link")]))
        }),
        (
            "41-legacy-docs-tlssecret.yaml",
            0,
            quiet(
                json!([link("my-link", 1, &[("", &[("10.97.161.185", 55671)])])]),
                json!([]),
                json!([no_secret("my-link", "my-link")]),
            ),
        ),
        ("44-server-secret.yaml", 0, quiet(json!([]), json!([good("skupper-site-server")]), json!([]))),
    ]
}

#[test]
fn every_fixture_is_understood_as_expected() {
    let expectations = expectations();
    for (file, status, expected) in &expectations {
        let (code, found) = inspect(&["-o", "json", &fixture(file)]);
        assert_eq!(found, *expected, "{file}");
        assert_eq!(code, *status, "{file}");
    }
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let known: Vec<_> = expectations.iter().map(|(file, ..)| (*file).to_owned()).collect();
    assert_eq!(files, known, "a fixture without an expectation, or the other way round");
}

#[test]
fn an_edge_router_is_shown_the_edge_endpoints() {
    let shown = |file: &str| inspect(&["--role", "edge", "-o", "json", &fixture(file)]).1;
    let both = shown("30-one-link-two-groups.yaml");
    let groups: Groups<'_> =
        &[("skupper-router", &[("10.102.82.46", 45671)]), ("skupper-router-2", &[("10.102.82.47", 45671)])];
    assert_eq!(both["links"], json!([link("west-ha", 1, groups)]));
    let legacy = shown("41-legacy-docs-tlssecret.yaml");
    assert_eq!(legacy["links"], json!([link("my-link", 1, &[("", &[("10.97.161.185", 45671)])])]));
    let only = shown("16-edge-endpoint-only.yaml");
    assert_eq!(only["links"][0]["groups"], groups_of(&[("", &[("10.10.10.1", 55671)])]));
    let missing = "is missing: the link needs credentials handed over with it";
    assert_eq!(only["warnings"], json!([remark("Link", "old-site", "spec.tlsCredentials", missing)]));
    let none = shown("33-status-ready.yaml");
    assert_eq!(none["links"][0]["groups"], json!([]));
    assert_eq!(
        none["warnings"][0],
        remark("Link", "west-6bfn6", "spec.endpoints", "no endpoint named \"edge\"")
    );
}

#[test]
fn several_files_are_one_set_of_documents() {
    let link = fixture("01-config-sample.yaml");
    let secret = fixture("08-redeem-simple.yaml");
    let (code, found) = inspect(&["-o", "json", &link, &secret]);
    assert_eq!(code, 1);
    // The Link finds its Secret in the other file; that file's own Link of the name comes too late.
    assert_eq!(found["warnings"], json!([]));
    assert_eq!(found["secrets"], json!([good("my-token")]));
    let message = format!("already given in {link}, which stands");
    assert_eq!(found["refused"], json!([remark("Link", "my-token", "metadata.name", &message)]));
    assert_eq!(found["links"][0]["groups"][0]["group"], "skupper-router-1");
    assert_eq!(found["links"].as_array().unwrap().len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_does_not_hide_the_others() {
    let (code, found) = inspect(&["-o", "json", "/no/such/file", &fixture("22-integer-port.yaml")]);
    assert_eq!(code, 2);
    assert_eq!(found["links"][0]["name"], "int-port");
}

#[test]
fn standard_input_is_read_under_the_name_of_a_dash() {
    let text = fs::read(fixture("25-cost-zero.yaml")).unwrap();
    let (code, found) = inspect_input(&["-o", "json", "-"], &text);
    assert_eq!((code, &found), (0, &plain("cost-zero")));
}

#[test]
fn what_is_no_link_is_skipped_or_refused_with_its_kind() {
    let token = "{apiVersion: skupper.io/v2alpha1, kind: AccessToken, metadata: {name: west}, spec: {code: c}}\n---\n";
    let site = "{apiVersion: skupper.io/v2alpha1, kind: Site, metadata: {name: east}}\n---\njust text\n";
    let (code, found) = inspect_input(&["-o", "json", "-"], (token.to_owned() + site).as_bytes());
    let redeem = "redeem it first: it holds the right to a Link, not a Link";
    let expected = json!({
        "links": [],
        "secrets": [],
        "refused": [
            {"kind": "AccessToken", "name": "west", "field": null, "message": redeem},
            {"kind": null, "name": null, "field": null, "message": "must be an object"},
        ],
        "warnings": [{"kind": "Site", "name": "east", "field": null, "message": "skipped: neither Link nor Secret"}],
    });
    assert_eq!((code, found), (1, expected));
}

#[test]
fn an_address_has_no_brackets_in_json_and_has_them_in_text() {
    let text = "{apiVersion: skupper.io/v2alpha1, kind: Link, metadata: {name: six, namespace: n}, spec: {tlsCredentials: six, \
                endpoints: [{name: inter-router, host: '[::1]', port: amqps, group: \"a\\u202e\"}]}}";
    let (_, found) = inspect_input(&["-o", "json", "-"], text.as_bytes());
    assert_eq!(found["links"], json!([link("six", 1, &[("a\u{202e}", &[("::1", 5671)])])]));
    let (_, printed) = run(&["-"], text.as_bytes());
    let expected = "Link six: cost 1, credentials six\n  group \"a\\u{202e}\": [::1]:5671\n\
                    warning: Link n/six: spec.tlsCredentials: no Secret \"six\" among the documents\n";
    assert_eq!(printed, expected);
}

#[test]
fn a_certificate_without_names_or_of_another_authority_is_a_warning() {
    let (ca, other) = (TestCa::new("ca"), TestCa::new("other"));
    let nameless = secret("nameless", &ca.client("west"));
    let (code, found) = inspect_input(&["-o", "json", "-"], nameless.as_bytes());
    let message = "tls.crt has no subject alternative name: no host name matches it";
    assert_eq!(
        (code, &found["warnings"]),
        (0, &json!([remark("Secret", "nameless", "data.tls.crt", message)]))
    );
    assert_eq!(found["secrets"], json!([good("nameless")]));

    let foreign = secret("foreign", &ca.server(&["west.example"]).trusting(&other));
    let (code, found) = inspect_input(&["-o", "json", "-"], foreign.as_bytes());
    let message = "tls.crt was issued by CN=ca, which the bundle's own ca.crt does not hold";
    assert_eq!(
        (code, &found["warnings"]),
        (0, &json!([remark("Secret", "foreign", "data.tls.crt", message)]))
    );
}

#[test]
fn a_bundle_that_no_link_can_be_dialed_with_is_listed_with_its_problems_and_refused() {
    let ca = TestCa::new("ca");
    let bundle = ca.server(&["west.example"]);
    let mixed = Bundle { key: ca.server(&["west.example"]).key, ..bundle.clone() };
    let (code, found) = inspect_input(&["-o", "json", "-"], secret("mixed", &mixed).as_bytes());
    let message = "tls.key is not the key of tls.crt";
    assert_eq!(code, 1);
    assert_eq!(found["secrets"], json!([{"name": "mixed", "kind": "tls", "problems": [message]}]));
    assert_eq!(found["refused"], json!([remark("Secret", "mixed", "data.tls.key", message)]));

    let half = Bundle { key: String::new(), cert: String::new(), ..bundle };
    let (code, found) = inspect_input(&["-o", "json", "-"], secret("half", &half).as_bytes());
    let problems = json!(["tls.crt: is missing", "tls.key: is missing"]);
    assert_eq!(code, 1);
    assert_eq!(found["secrets"], json!([{"name": "half", "kind": "tls", "problems": problems}]));
    assert_eq!(found["refused"].as_array().unwrap().len(), 2);
}

/// Groups, each with its endpoints.
type Groups<'a> = &'a [(&'a str, &'a [(&'a str, u16)])];

fn groups_of(groups: Groups<'_>) -> Value {
    let endpoints = |endpoints: &[(&str, u16)]| {
        endpoints.iter().map(|(host, port)| json!({"host": host, "port": port})).collect::<Vec<_>>()
    };
    groups.iter().map(|(group, of)| json!({"group": group, "endpoints": endpoints(of)})).collect()
}

/// A Link whose credentials are of its own name.
fn link(name: &str, cost: u32, groups: Groups<'_>) -> Value {
    json!({"name": name, "cost": cost, "tlsCredentials": name, "groups": groups_of(groups), "noClientAuth": false})
}

fn with_credentials(name: &str, mut link: Value) -> Value {
    link["tlsCredentials"] = json!(name);
    link
}

fn remark(kind: &str, name: &str, field: &str, message: &str) -> Value {
    json!({"kind": kind, "name": name, "field": field, "message": message})
}

fn no_secret(link: &str, secret: &str) -> Value {
    remark("Link", link, "spec.tlsCredentials", &format!("no Secret {secret:?} among the documents"))
}

fn good(secret: &str) -> Value {
    json!({"name": secret, "kind": "tls", "problems": []})
}

/// The Links of the fixtures that change one thing of a plain Link.
fn plain(name: &str) -> Value {
    let link = with_credentials("link-go-west", link(name, 1, &[("", &[("127.0.0.1", 55671)])]));
    json!({"links": [link], "secrets": [], "refused": [], "warnings": [no_secret(name, "link-go-west")]})
}

/// A Link with a Secret of its name, none of whose parts is base64.
fn unusable(name: &str, groups: Groups<'_>) -> Value {
    let parts = ["ca.crt", "tls.crt", "tls.key"];
    let problems: Vec<_> = parts.iter().map(|part| format!("{part}: is not base64")).collect();
    let refused: Vec<_> =
        parts.iter().map(|part| remark("Secret", name, &format!("data.{part}"), "is not base64")).collect();
    json!({
        "links": [link(name, 1, groups)],
        "secrets": [{"name": name, "kind": "tls", "problems": problems}],
        "refused": refused,
        "warnings": [],
    })
}

/// A Secret document of a bundle.
fn secret(name: &str, bundle: &Bundle) -> String {
    let data = json!({"ca.crt": bundle.ca, "tls.crt": bundle.cert, "tls.key": bundle.key});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}).to_string()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/links")
}

fn fixture(file: &str) -> String {
    folder().join(file).to_str().unwrap().to_owned()
}

fn inspect(arguments: &[&str]) -> (i32, Value) {
    inspect_input(arguments, b"")
}

fn inspect_input(arguments: &[&str], input: &[u8]) -> (i32, Value) {
    let (code, printed) = run(arguments, input);
    (code, serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}")))
}

/// The exit status and what was printed.
fn run(arguments: &[&str], input: &[u8]) -> (i32, String) {
    let mut child = Command::new(example("inspect"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}
