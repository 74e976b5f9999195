//! The parts of the hot path, each alone: the codec, choosing whose turn it is, granting credit.
//!
//! ```text
//! cargo bench --bench micro
//! cargo bench --bench micro -- schedule
//! ```

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sitelink::StreamId;
use sitelink::entries::{Busy, Reading};
use sitelink::wire::MAX_DATA;
use sitelink::wire::decoder::Decoder;
use sitelink::wire::frame::Frame;

criterion_group!(benches, codec, schedule, window);
criterion_main!(benches);

/// Encoding and decoding of data frames that fill a record, and of the smallest frames there are.
fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let full = Frame::Data { stream: StreamId(4), payload: Bytes::from(vec![7; FULL]) };
    let small = Frame::Credit { stream: StreamId(4), limit: 1 << 20 };
    for (name, frame, count) in [("full data", full, 4), ("credit", small, 1024)] {
        let mut bytes = BytesMut::new();
        (0..count).for_each(|_| frame.encode(&mut bytes));
        let bytes = bytes.freeze();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("encode", name), |b| {
            let mut out = BytesMut::with_capacity(bytes.len());
            b.iter(|| {
                out.clear();
                (0..count).for_each(|_| black_box(&frame).encode(&mut out));
                black_box(out.len())
            });
        });
        group.bench_function(BenchmarkId::new("decode", name), |b| {
            b.iter(|| {
                let (mut decoder, mut input, mut frames) = (Decoder::new(), black_box(&bytes[..]), 0);
                while decoder.decode(&mut input).expect("they are frames").is_some() {
                    frames += 1;
                }
                assert_eq!(frames, count);
            });
        });
    }
    group.finish();
}

/// One batch of 64 KiB, taken, logged and acknowledged, among streams that all have something to send.
fn schedule(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("schedule");
    for (streams, load) in [(1, FULL), (64, FULL), (10_000, FULL), (10_000, 100)] {
        let mut busy = Busy::new(now(), streams, load);
        let len = busy.batch();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("{streams} streams of {load} bytes"), |b| b.iter(|| busy.batch()));
    }
    group.finish();
}

/// A chunk of half a window that comes, is read, and is answered with credit.
fn window(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("window");
    let mut reading = Reading::new(now());
    group.bench_function("chunk and credit", |b| b.iter(|| assert!(reading.chunk())));
    group.finish();
}

#[expect(clippy::disallowed_methods, reason = "an instant to count from")]
fn now() -> Instant {
    Instant::now()
}

/// The payload of a data frame that fills a record with its header.
const FULL: usize = MAX_DATA;
