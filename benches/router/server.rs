//! The server end of the load.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::load::{self, Bulk, ECHO, SINK, SOURCE};
use crate::support::Outcome;

/// Says its address, then answers `measure MILLISECONDS` and `settle`.
pub(crate) fn main() -> Outcome<()> {
    let bulk = Bulk::start()?;
    load::runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        let live = Arc::new(AtomicUsize::new(0));
        let serving = serve(listener, &bulk, &live);
        let answering = load::answer(|words| {
            let (bulk, live) = (bulk.clone(), Arc::clone(&live));
            async move {
                match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    ["measure", millis] => Ok(bulk.measure(Duration::from_millis(millis.parse()?)).await),
                    ["settle"] => settle(&live).await,
                    _ => Err(format!("{words:?} is no command").into()),
                }
            }
        });
        tokio::select! {
            ended = serving => ended,
            ended = answering => ended,
        }
    })
}

/// Waits until every connection has ended.
async fn settle(live: &AtomicUsize) -> Outcome<String> {
    for _ in 0..1000 {
        if live.load(Ordering::Relaxed) == 0 {
            return Ok("settled".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("{} connections have not ended", live.load(Ordering::Relaxed)).into())
}

async fn serve(listener: TcpListener, bulk: &Bulk, live: &Arc<AtomicUsize>) -> Outcome<()> {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let (bulk, one) = (bulk.clone(), One::of(live));
        connections.spawn(async move {
            // However a connection ends, the next is served.
            let _ = connection(tcp, bulk, one).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(mut tcp: TcpStream, bulk: Bulk, one: One) -> Outcome<()> {
    let mut block = [0; 1024];
    let mut count = tcp.read(&mut block[..1]).await?;
    match block[0] {
        _ if count == 0 => {}
        ECHO => {
            // The first byte is echoed like the others.
            count += tcp.try_read(&mut block[1..]).unwrap_or(0);
            while count > 0 {
                tcp.write_all(&block[..count]).await?;
                count = tcp.read(&mut block).await?;
            }
        }
        mode @ (SINK | SOURCE) => {
            let tcp = tcp.into_std()?;
            // It ends with the connection, on the thread for bulk.
            drop(bulk.runtime().clone().spawn(async move {
                let tcp = TcpStream::from_std(tcp)?;
                if mode == SINK {
                    bulk.sink(tcp).await
                } else {
                    load::source(tcp).await
                }
                drop(one);
                std::io::Result::Ok(())
            }));
        }
        _ => {}
    }
    Ok(())
}

/// One live connection.
struct One(Arc<AtomicUsize>);

impl One {
    fn of(live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(live))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
