//! The corpus of the fuzz targets, replayed on stable: what a fuzzer once found is found again without one.
//!
//! `cargo test --test corpus -- --ignored` writes the seeds anew.

#![allow(clippy::unwrap_used, reason = "a corpus that cannot be read fails its test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use sitelink::entries;
use sitelink::id::{
    CarrierNumber, Cost, GroupName, Instance, LinkName, LinkRole, Ordinal, RouterName, RoutingKey, SessionId,
    SiteId, SiteName, StreamId,
};
use sitelink::wire::code::{CloseCode, StreamCode};
use sitelink::wire::frame::{CloseScope, ControlChange, Frame, OpenTo};
use sitelink::wire::hello::{DeadCarrier, Hello, SessionClaim, SessionSecret};
use sitelink::wire::{HEADER, MIN_WINDOW};

/// What a target does with an input.
type Shim = fn(&[u8]);

/// Every target: its name and what it does with an input.
const TARGETS: [(&str, Shim); 6] = [
    ("decoder", entries::fuzz_decoder),
    ("hello", entries::fuzz_hello),
    ("document", entries::fuzz_document),
    ("certificate", entries::fuzz_certificate),
    ("hostile", |data| entries::fuzz_hostile(start(), data)),
    ("operations", |data| entries::fuzz_operations(start(), data)),
];

#[test]
fn every_input_of_the_corpus_holds() {
    for (target, run) in TARGETS {
        let inputs = files(&corpus(target));
        assert!(!inputs.is_empty(), "no corpus for {target}");
        for path in inputs {
            println!("{}", path.display());
            run(&fs::read(path).unwrap());
        }
    }
}

#[test]
fn every_target_is_replayed() {
    let mut replayed: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut targets: Vec<_> = files(&fuzz().join("fuzz_targets")).into_iter().map(stem).collect();
    replayed.sort();
    targets.sort();
    assert_eq!(replayed, targets);
}

#[test]
fn the_corpus_stays_small_enough_to_be_committed() {
    let paths = TARGETS.iter().flat_map(|(target, _)| files(&corpus(target)));
    let bytes: u64 = paths.map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= MAX_CORPUS, "{bytes} bytes");
}

#[test]
#[ignore = "writes the seeds of the corpus"]
fn write_the_seeds() {
    let seeds = [
        ("decoder", decoder_seeds()),
        ("hello", hello_seeds()),
        ("document", document_seeds()),
        ("certificate", certificate_seeds()),
        ("hostile", owned(entries::hostile_seeds())),
        ("operations", owned(entries::operations_seeds())),
    ];
    for (target, seeds) in seeds {
        let folder = corpus(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds {
            fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
        }
    }
}

type Seeds = Vec<(String, Vec<u8>)>;

fn owned(seeds: Vec<(&'static str, Vec<u8>)>) -> Seeds {
    seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// Each kind of frame alone, and a conversation; cut in three ways.
fn decoder_seeds() -> Seeds {
    let mut all = Vec::new();
    let mut seeds = Vec::new();
    for frame in frames() {
        let bytes = encoded(&frame);
        let name = format!("{:02x}-{}", frame.kind(), seeds.len());
        all.extend_from_slice(&bytes);
        seeds.push((name, [&[0, 0], &bytes[..]].concat()));
    }
    for cuts in [[0, 0], [7, 1], [255, 255]] {
        seeds.push((format!("all-{}", cuts[0]), [&cuts[..], &all[..]].concat()));
    }
    seeds
}

fn hello_seeds() -> Seeds {
    let payload = |hello: Hello| encoded(&Frame::Hello(Box::new(hello)))[HEADER..].to_vec();
    let seeds = hellos().into_iter().map(|(name, hello)| (name.to_owned(), payload(hello)));
    seeds.collect()
}

/// Certificates and a revocation list, as PEM and as DER.
fn certificate_seeds() -> Seeds {
    let mut seeds = Vec::new();
    for name in ["rsa.crt", "ec.crt", "list.crl"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/keys").join(name);
        let text = fs::read(path).unwrap();
        let der = if name == "list.crl" {
            CertificateRevocationListDer::from_pem_slice(&text).unwrap().to_vec()
        } else {
            CertificateDer::from_pem_slice(&text).unwrap().to_vec()
        };
        seeds.push((format!("{name}-pem"), text));
        seeds.push((format!("{name}-der"), der));
    }
    seeds
}

fn document_seeds() -> Seeds {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/links");
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let yaml = files(&fixtures).into_iter().map(|path| (name(&path), fs::read(&path).unwrap()));
    let json = [
        (
            "json",
            r#"{"apiVersion":"skupper.io/v2alpha1","kind":"Link","metadata":{"name":"west"},"spec":{"endpoints":[{"name":"inter-router","host":"10.0.0.1","port":"55671"}],"tlsCredentials":"west","cost":5}}"#,
        ),
        (
            "json-list",
            r#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/tls","metadata":{"name":"west"},"data":{"ca.crt":"","tls.crt":"!","tls.key":"AAAA"}}]}"#,
        ),
        ("json-stream", "{\"kind\":\"Link\"}\n{\"kind\":\"Secret\"}{\"kind\":3}"),
        ("yaml-odds", "a: &x [1, ~, !!str 2]\nb: *x\n---\n? {k: v}\n: |\n  text\n...\n--- >-\n  folded\n"),
    ];
    let json = json.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    yaml.chain(json).collect()
}

fn frames() -> Vec<Frame> {
    let stream = StreamId(4);
    let key = || RoutingKey::new("backend").unwrap();
    let control = |sequence, change| Frame::Control { sequence, change };
    let mut frames = vec![
        Frame::Open { stream, destination: OpenTo::Key(key()), metadata: Bytes::from_static(b"hi") },
        Frame::Open { stream: StreamId(15_293), destination: OpenTo::Site, metadata: Bytes::new() },
        Frame::Accept { stream },
        Frame::Refuse { stream, code: StreamCode::NOT_SERVED },
        Frame::Data { stream, payload: Bytes::from_static(b"hello") },
        Frame::Data { stream: StreamId((1 << 62) - 1), payload: Bytes::from(vec![7; 300]) },
        Frame::Finish { stream, total: 494_878_333 },
        Frame::Reset { stream, code: StreamCode::CANCELLED },
        Frame::Stop { stream, code: StreamCode::application(0) },
        Frame::Credit { stream, limit: MIN_WINDOW },
        Frame::Shrink { stream, limit: MIN_WINDOW },
        Frame::Kept { stream, limit: 2 * MIN_WINDOW },
        Frame::MaxStreams { limit: 16_384 },
        control(0, ControlChange::Serve(key())),
        control(1, ControlChange::Withdraw(key())),
        control(2, ControlChange::Cost(Cost::DEFAULT)),
        control(3, ControlChange::Drain),
        control(64, ControlChange::Active(true)),
        Frame::CarrierDead { carrier: CarrierNumber(1), received: 65_536 },
        Frame::Retire { carrier: CarrierNumber(1) },
        Frame::RequestCarrier {
            carrier: CarrierNumber(1),
            code: CloseCode::EXPIRED,
            deadline_millis: 30_000,
        },
        Frame::Ack { received: 15_293, delay_micros: 20_000 },
        Frame::Ping { token: 1 << 40 },
        Frame::Pong { token: 1 << 40 },
        Frame::Close {
            scope: CloseScope::Session,
            code: CloseCode::BUSY,
            retry_after_millis: 1000,
            detail: "too many peers".into(),
        },
        Frame::Unknown { kind: 0x80 },
        Frame::Unknown { kind: 0xff },
    ];
    frames.extend(hellos().into_iter().map(|(_, hello)| Frame::Hello(Box::new(hello))));
    frames
}

fn hellos() -> Vec<(&'static str, Hello)> {
    let session = SessionId([0x20; 16]);
    let dead = vec![
        DeadCarrier { number: CarrierNumber(0), received: 65_536 },
        DeadCarrier { number: CarrierNumber(1), received: 0 },
    ];
    vec![
        ("new", hello(0, SessionClaim::New, Vec::new())),
        ("begun", hello(0, SessionClaim::Begun { session, secret: SessionSecret([0x30; 32]) }, Vec::new())),
        ("join", hello(2, SessionClaim::Join { session, proof: [0x50; 32] }, dead.clone())),
        ("joined", hello(2, SessionClaim::Joined { session }, dead)),
    ]
}

fn hello(carrier: u32, session: SessionClaim, dead: Vec<DeadCarrier>) -> Hello {
    Hello {
        features: 0,
        site_id: SiteId::new("west-1").unwrap(),
        site_name: SiteName::new("west").unwrap(),
        router: RouterName::new("r1").unwrap(),
        instance: Instance([1; 16]),
        role: LinkRole::InterRouter,
        link: LinkName::new("east").unwrap(),
        group: GroupName::new("").unwrap(),
        cost: Cost::DEFAULT,
        max_streams: 16_384,
        initial_window: MIN_WINDOW,
        ordinal: Ordinal(3),
        resume_window: Duration::from_secs(30),
        carrier: CarrierNumber(carrier),
        session,
        dead,
    }
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes);
    bytes.to_vec()
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn corpus(target: &str) -> PathBuf {
    fuzz().join("corpus").join(target)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other constructor; the machines only count from it"
)]
fn start() -> Instant {
    Instant::now()
}

/// Fuzz finds are minimised before they are committed.
const MAX_CORPUS: u64 = 300 << 10;
