//! Streams end to end: real sockets, real TLS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks by awaiting them")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Pair, key, within};
use sitelink::{OpenError, OpenRequest, StreamCode, StreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn bytes_go_both_ways_and_end_each_way() {
    let pair = Pair::new().await;
    pair.east.serve(&key("echo")).unwrap();
    let east = pair.east.clone();
    let echo = tokio::task::spawn(async move {
        let mut stream = east.accept().await.unwrap().accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&all).await.unwrap();
        stream.shutdown().await.unwrap();
        all.len()
    });
    let request = OpenRequest::to_key(key("echo")).wait_for_path(Duration::from_secs(10));
    let stream = within(pair.west.open(request)).await.unwrap();
    let sent = vec![7; 3_000_000];
    let expected = sent.clone();
    let answer = within(async move {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let writing = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut answer = Vec::new();
        let (read, ()) = tokio::join!(reader.read_to_end(&mut answer), writing);
        read.unwrap();
        answer
    })
    .await;
    assert!(answer == expected);
    assert_eq!(echo.await.unwrap(), expected.len());
    within(pair.west.shutdown(Duration::from_secs(5))).await;
    within(pair.east.shutdown(Duration::from_secs(5))).await;
}

#[tokio::test]
async fn a_reset_is_an_error_and_never_an_end() {
    let pair = Pair::new().await;
    pair.east.serve(&key("k")).unwrap();
    let request = OpenRequest::to_key(key("k")).wait_for_path(Duration::from_secs(10));
    let opening = tokio::task::spawn({
        let west = pair.west.clone();
        async move { west.open(request).await.unwrap() }
    });
    let mut far = within(pair.east.accept()).await.unwrap().accept().unwrap();
    let mut near = within(opening).await.unwrap();
    near.send(Bytes::from_static(b"half a sentence")).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap().as_deref(), Some(&b"half a sentence"[..]));
    near.reset(StreamCode::application(5));
    assert_eq!(within(far.recv()).await, Err(StreamError::Reset(StreamCode::application(5))));
}

#[tokio::test]
async fn without_a_server_there_is_no_path() {
    let pair = Pair::new().await;
    let opened = within(pair.west.open(OpenRequest::to_key(key("nobody")))).await;
    assert_eq!(opened.unwrap_err(), OpenError::NoPath);
}
