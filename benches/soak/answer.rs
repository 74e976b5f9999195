//! The far end: does with each stream what its metadata says.

use bytes::Bytes;
use sitelink::{LinkStream, Plane, StreamError};
use tokio::runtime::Handle;
use tokio::time;

use crate::load::{KEEP, READ, SEND, STALL, STALLED};
use crate::text::{self, BLOCK};

/// Answers streams for ever.
pub(crate) async fn all(plane: Plane) {
    while let Some(incoming) = plane.accept().await {
        let order = incoming.metadata().clone();
        // An opener that has let go already is no fault.
        if let Ok(stream) = incoming.accept() {
            // Errors are seen and counted by the opener.
            Handle::current().spawn(async move { drop(one(stream, &order).await) });
        }
    }
}

async fn one(mut stream: LinkStream, order: &Bytes) -> Result<(), StreamError> {
    let (kind, length) = order.split_first().expect("the opener says what it wants");
    let length = length.try_into().map_or(0, u64::from_be_bytes);
    match *kind {
        READ => {
            let mut offset = 0;
            while let Some(chunk) = stream.recv().await? {
                if chunk != text::at(offset, chunk.len()) {
                    // The opener counts whatever is not the right answer as a fault.
                    return Ok(());
                }
                offset += chunk.len() as u64;
            }
            stream.send(Bytes::copy_from_slice(&offset.to_be_bytes())).await?;
        }
        SEND => {
            let mut offset = 0;
            while offset < length {
                let block = usize::try_from(length - offset).unwrap_or(BLOCK).min(BLOCK);
                stream.send(text::at(offset, block)).await?;
                offset += block as u64;
            }
        }
        STALL => {
            time::sleep(STALLED * 2).await;
            return Ok(());
        }
        KEEP => {
            // Its opener lets go of it.
            let _: StreamError = stream.failed().await;
        }
        _ => {
            while let Some(chunk) = stream.recv().await? {
                stream.send(chunk).await?;
            }
        }
    }
    stream.finish();
    while stream.recv().await?.is_some() {}
    Ok(())
}
