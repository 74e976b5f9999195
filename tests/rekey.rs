//! Keys wear out: TLS 1.3 changes them after a number of records (2^24 for AES-GCM, 275 GB). Here after 64, so that a
//! transfer crosses hundreds of changes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Pair, key, within};
use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{CipherSuiteCommon, ConnectionTrafficSecrets, SupportedCipherSuite, Tls13CipherSuite};
use sitelink::OpenRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An algorithm that counts the keys it is given to encrypt with.
struct Counting(&'static dyn Tls13AeadAlgorithm);

static KEYS: AtomicU64 = AtomicU64::new(0);

impl Tls13AeadAlgorithm for Counting {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        KEYS.fetch_add(1, Ordering::Relaxed);
        self.0.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

/// The usual provider, whose keys wear out after [`RECORDS`] records.
fn short_lived() -> CryptoProvider {
    #[cfg(feature = "aws-lc-rs")]
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let mut provider = rustls::crypto::ring::default_provider();
    let suites = provider.cipher_suites.iter().filter_map(SupportedCipherSuite::tls13);
    provider.cipher_suites = suites
        .map(|suite| {
            let common = CipherSuiteCommon {
                suite: suite.common.suite,
                hash_provider: suite.common.hash_provider,
                confidentiality_limit: RECORDS,
            };
            let aead_alg = Box::leak(Box::new(Counting(suite.aead_alg)));
            let suite = Tls13CipherSuite { common, hkdf_provider: suite.hkdf_provider, aead_alg, quic: None };
            SupportedCipherSuite::Tls13(Box::leak(Box::new(suite)))
        })
        .collect();
    provider
}

/// Byte `at` of what is sent one way: no two blocks of a record's size are alike.
fn content(at: usize, way: u8) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0] ^ way
}

async fn send(mut to: impl AsyncWriteExt + Unpin, way: u8) {
    let mut at = 0;
    while at < LENGTH {
        let block: Vec<u8> = (at..(at + BLOCK).min(LENGTH)).map(|at| content(at, way)).collect();
        to.write_all(&block).await.unwrap();
        at += block.len();
    }
    to.shutdown().await.unwrap();
}

async fn receive(mut from: impl AsyncReadExt + Unpin, way: u8) {
    let (mut at, mut block) = (0, vec![0; BLOCK]);
    loop {
        let count = from.read(&mut block).await.unwrap();
        if count == 0 {
            break;
        }
        for (index, byte) in block[..count].iter().enumerate() {
            assert_eq!(*byte, content(at + index, way), "at {}", at + index);
        }
        at += count;
    }
    assert_eq!(at, LENGTH);
}

#[tokio::test]
async fn a_transfer_crosses_hundreds_of_key_changes_both_ways_without_a_word_of_it() {
    short_lived().install_default().unwrap();
    let pair = Pair::new().await;
    let before = KEYS.load(Ordering::Relaxed);
    pair.east.serve(&key("bulk")).unwrap();
    let request = OpenRequest::to_key(key("bulk")).wait_for_path(Duration::from_secs(10));
    let accepting = async { within(pair.east.accept()).await.unwrap().accept().unwrap() };
    let (near, far) = tokio::join!(pair.west.open(request), accepting);
    let (near_reader, near_writer) = tokio::io::split(near.unwrap());
    let (far_reader, far_writer) = tokio::io::split(far);
    within(async {
        tokio::join!(
            send(near_writer, 0),
            receive(far_reader, 0),
            send(far_writer, 1),
            receive(near_reader, 1)
        )
    })
    .await;
    // At least one key for every so many full records of each way.
    let least = 2 * LENGTH as u64 / (RECORDS * RECORD) / 2;
    let changes = KEYS.load(Ordering::Relaxed) - before;
    assert!(changes >= least, "{changes} keys, of at least {least}");
    // The session was one all along.
    let status = pair.west.status();
    assert_eq!(status.sessions.len(), 1);
    assert_eq!(status.sessions[0].carriers[0].carrier.0, 0, "the carrier is the first");
}

/// A key is changed after so many.
const RECORDS: u64 = 64;
/// The most plaintext of a record.
const RECORD: u64 = 16_384;
/// Each way: some 6,000 records, a hundred keys.
const LENGTH: usize = 96 << 20;
const BLOCK: usize = 128 << 10;
