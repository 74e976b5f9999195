//! The client end of the load.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::load::{self, Bulk, ECHO, SINK, SOURCE, now};
use crate::support::Outcome;

/// What is open until `drop`.
#[derive(Default)]
struct Open {
    bulk: JoinSet<()>,
    idle: Vec<TcpStream>,
}

/// Answers `bulk up|down COUNT ADDR`, `measure MS`, `ping MS ADDR`, `opens COUNT MS ADDR`, `hold COUNT ADDR` and `drop`.
pub(crate) fn main() -> Outcome<()> {
    let bulk = Bulk::start()?;
    let open = Arc::new(Mutex::new(Open::default()));
    load::runtime()?.block_on(load::answer(|words| command(words, bulk.clone(), Arc::clone(&open))))
}

async fn command(words: Vec<String>, bulk: Bulk, open: Arc<Mutex<Open>>) -> Outcome<String> {
    let lock = || open.lock().unwrap_or_else(PoisonError::into_inner);
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bulk", direction, count, address] => {
            let mode = if direction == "up" { SINK } else { SOURCE };
            let address = address.parse()?;
            for _ in 0..count.parse::<usize>()? {
                let running = bulk.clone();
                lock().bulk.spawn_on(
                    async move {
                        // A connection that fails moves nothing, and so shows in the figure.
                        let _ = run_bulk(running, mode, address).await;
                    },
                    bulk.runtime(),
                );
            }
            Ok("started".to_owned())
        }
        ["measure", millis] => Ok(bulk.measure(Duration::from_millis(millis.parse()?)).await),
        ["ping", millis, address] => ping(Duration::from_millis(millis.parse()?), address.parse()?).await,
        ["opens", count, millis, address] => {
            opens(count.parse()?, Duration::from_millis(millis.parse()?), address.parse()?).await
        }
        ["hold", count, address] => {
            let held = hold(count.parse()?, address.parse()?).await?;
            lock().idle.extend(held);
            Ok("held".to_owned())
        }
        ["drop"] => {
            let Open { mut bulk, idle } = std::mem::take(&mut *lock());
            drop(idle);
            bulk.shutdown().await;
            Ok("dropped".to_owned())
        }
        _ => Err(format!("{words:?} is no command").into()),
    }
}

async fn run_bulk(bulk: Bulk, mode: u8, address: SocketAddr) -> io::Result<()> {
    let mut tcp = connect(address).await?;
    tcp.write_all(&[mode]).await?;
    if mode == SINK {
        load::source(tcp).await
    } else {
        bulk.sink(tcp).await
    }
    Ok(())
}

/// Small requests on one connection, one after the other: the median and the 99th percentile in nanoseconds.
async fn ping(window: Duration, address: SocketAddr) -> Outcome<String> {
    let mut tcp = connect(address).await?;
    let mut times = Vec::new();
    let mut block = [ECHO; SMALL];
    let first = now();
    while first.elapsed() < window {
        let began = now();
        tcp.write_all(&block).await?;
        tcp.read_exact(&mut block).await?;
        times.push(began.elapsed().as_nanos());
    }
    // The first ones find caches and windows cold.
    let warm = times.len() / 20;
    let times = &mut times[warm..];
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().ok_or("no answer in time");
    Ok(format!("{} {}", at(50)?, at(99)?))
}

/// Connect, one small request and close, `count` at a time: how many, and in how many nanoseconds.
async fn opens(count: usize, window: Duration, address: SocketAddr) -> Outcome<String> {
    let began = now();
    let mut running = JoinSet::new();
    for _ in 0..count {
        running.spawn(async move {
            let mut done = 0_u64;
            while began.elapsed() < window {
                echo(address).await?;
                done += 1;
            }
            io::Result::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(finished) = running.join_next().await {
        done += finished??;
    }
    Ok(format!("{done} {}", began.elapsed().as_nanos()))
}

/// Opens connections, each with one small request answered.
async fn hold(count: usize, address: SocketAddr) -> Outcome<Vec<TcpStream>> {
    let mut held = Vec::with_capacity(count);
    let mut running = JoinSet::new();
    for started in 0..count {
        if started >= TOGETHER {
            held.push(running.join_next().await.ok_or("one is running")???);
        }
        running.spawn(echo(address));
    }
    while let Some(finished) = running.join_next().await {
        held.push(finished??);
    }
    Ok(held)
}

async fn echo(address: SocketAddr) -> io::Result<TcpStream> {
    let mut tcp = connect(address).await?;
    let mut block = [ECHO; SMALL];
    tcp.write_all(&block).await?;
    tcp.read_exact(&mut block).await?;
    Ok(tcp)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// A small request.
const SMALL: usize = 100;

/// Connections that are opened at a time, to be held.
const TOGETHER: usize = 32;
