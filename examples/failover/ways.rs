//! What a router says of its ways to a key: its admin page, `GET /status`, read until it shows what is waited for.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::Outcome;

/// A candidate of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The site it leads to.
    pub(crate) site: String,
    /// Its cost in force, the larger of both ends'.
    pub(crate) cost: u64,
    /// Streams that are open through it.
    pub(crate) open: u64,
    /// Why it is not taken; `None` if it may be.
    pub(crate) why_not: Option<String>,
}

/// Waits until what the router says of its ways to `key` satisfies `wanted`.
pub(crate) async fn wait_for(
    admin: SocketAddr,
    key: &str,
    wanted: impl Fn(&[Candidate]) -> bool,
) -> Outcome<Vec<Candidate>> {
    let mut last = Vec::new();
    let looking = async {
        loop {
            last = candidates(&status(admin).await?, key)?;
            if wanted(&last) {
                return Outcome::Ok(());
            }
            sleep(PACE).await;
        }
    };
    match timeout(PATIENCE, looking).await {
        Ok(looked) => looked.map(|()| last),
        Err(_) => Err(format!("the router still says {last:?}").into()),
    }
}

fn candidates(status: &Value, key: &str) -> Outcome<Vec<Candidate>> {
    let paths = status["paths"].as_array().ok_or("a status has paths")?;
    let path = paths.iter().find(|path| path["destination"]["key"] == key);
    let all = path.and_then(|path| path["candidates"].as_array());
    let candidate = |of: &Value| {
        Some(Candidate {
            site: of["site"].as_str()?.to_owned(),
            cost: of["cost"].as_u64()?,
            open: of["open"].as_u64()?,
            why_not: of["why_not"].as_str().map(ToOwned::to_owned),
        })
    };
    let all = all.into_iter().flatten().map(candidate).collect::<Option<_>>();
    Ok(all.ok_or("a candidate has a site, a cost and a count")?)
}

async fn status(admin: SocketAddr) -> Outcome<Value> {
    let mut stream = TcpStream::connect(admin).await?;
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    Ok(serde_json::from_str(body)?)
}

/// How soon it is looked again.
const PACE: Duration = Duration::from_millis(5);

/// How long anything may take; all of it takes milliseconds, but the wait before a router that was gone is dialed
/// again.
const PATIENCE: Duration = Duration::from_secs(15);
