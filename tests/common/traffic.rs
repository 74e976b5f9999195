//! Streams on which bytes move all the time, each of which is looked at.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::disallowed_methods, reason = "a test owns its tasks")]
#![allow(clippy::unwrap_used, reason = "a transfer that fails fails its test")]

use bytes::Bytes;
use sitelink::{LinkStream, Plane};
use tokio::task::JoinHandle;

use super::stage::pair;
use super::within;

/// Bytes that never stop, and a reader that looks at each; ends with how many there were.
pub(crate) struct Traffic {
    stop: tokio::sync::watch::Sender<bool>,
    tasks: Vec<JoinHandle<u64>>,
}

impl Traffic {
    /// Over each of these streams, from its first end to its second.
    pub(crate) fn over(streams: Vec<(LinkStream, LinkStream)>) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut tasks = Vec::new();
        for (mut near, mut far) in streams {
            let stopped = stopped.clone();
            tasks.push(tokio::spawn(async move {
                let mut sent = 0_u64;
                while !*stopped.borrow() {
                    near.send(Bytes::from(vec![sent.to_le_bytes()[0]; 4096])).await.unwrap();
                    sent += 1;
                    tokio::task::yield_now().await;
                }
                near.finish();
                assert_eq!(near.recv().await.unwrap(), None, "the reader has finished its half");
                sent
            }));
            tasks.push(tokio::spawn(async move {
                let mut read = 0_u64;
                while let Some(bytes) = far.recv().await.unwrap() {
                    for byte in bytes {
                        assert_eq!(byte, (read / 4096).to_le_bytes()[0], "at byte {read}");
                        read += 1;
                    }
                }
                far.finish();
                read / 4096
            }));
        }
        Self { stop, tasks }
    }

    /// Ends it: every stream was read to its end, and every byte was right.
    pub(crate) async fn end(self) {
        self.stop.send_replace(true);
        let mut counts = Vec::new();
        for task in self.tasks {
            counts.push(within(task).await.unwrap());
        }
        for both in counts.chunks(2) {
            assert_eq!(both[0], both[1], "sent and read");
            assert!(both[0] > 0, "nothing moved");
        }
    }
}

/// Several busy streams each way.
pub(crate) async fn busy(west: &Plane, east: &Plane) -> Traffic {
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(pair(west, east, "east-key").await);
        streams.push(pair(east, west, "west-key").await);
    }
    Traffic::over(streams)
}
