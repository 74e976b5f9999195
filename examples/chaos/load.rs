//! The connections: their clients, their servers, and what both have in common.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::content::{Content, Way};
use crate::tally::{Part, Tally};

/// Serves every connection to a free port, each in a task of its own. Stopped, bulk to clients ends.
pub(crate) async fn serve(tally: Arc<Tally>, stop: CancellationToken) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (tally, stop) = (Arc::clone(&tally), stop.clone());
            // What goes wrong is seen by the client, and told by it.
            tasks.spawn(async move { server(tcp, &tally, &stop).await });
        }
    });
    Ok(port)
}

/// Makes all connections, and has them do their part until stopped and in good order at their end. Resolves when all
/// have ended; those that do not within [`PATIENCE`] after the stop are lost.
pub(crate) async fn run(to: SocketAddr, tally: Arc<Tally>, stop: CancellationToken) {
    let mut clients = JoinSet::new();
    for number in 0..tally.connections() {
        let (tally, stop) = (Arc::clone(&tally), stop.clone());
        clients.spawn(async move {
            let late = async {
                stop.cancelled().await;
                sleep(PATIENCE).await;
            };
            let fault = tokio::select! {
                outcome = client(to, number, &tally, &stop) => outcome.err().map(|error| error.to_string()),
                () = late => Some(format!("has not ended {PATIENCE:?} after it was to")),
            };
            tally.ended(number, fault.as_deref());
        });
    }
    clients.join_all().await;
}

async fn client(to: SocketAddr, number: usize, tally: &Tally, stop: &CancellationToken) -> io::Result<()> {
    let mut tcp = TcpStream::connect(to).await?;
    tcp.set_nodelay(true)?;
    let (mut reader, mut writer) = tcp.split();
    writer.write_u64(number as u64).await?;
    match tally.part(number) {
        Some(Part::Up) => {
            let sent = pour(&mut writer, tally, number, Way::Up, stop).await?;
            let arrived = reader.read_u64().await?;
            expect(arrived, sent, "bytes came to the server")?;
        }
        Some(Part::Down) => {
            let arrived = drain(&mut reader, tally, number, Way::Down).await?;
            expect(arrived, tally.was_sent(number), "bytes came to the client")?;
            writer.shutdown().await?;
        }
        Some(Part::Requests) => ask(&mut reader, &mut writer, number, tally, stop, THINK).await?,
        _ => ask(&mut reader, &mut writer, number, tally, stop, IDLE).await?,
    }
    let mut rest = [0; 1];
    expect(reader.read(&mut rest).await? as u64, 0, "bytes came after the end")
}

async fn server(mut tcp: TcpStream, tally: &Tally, stop: &CancellationToken) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let (mut reader, mut writer) = tcp.split();
    let number = usize::try_from(reader.read_u64().await?).unwrap_or(usize::MAX);
    match tally.part(number) {
        Some(Part::Up) => {
            let arrived = drain(&mut reader, tally, number, Way::Up).await?;
            writer.write_u64(arrived).await?;
            writer.shutdown().await
        }
        Some(Part::Down) => {
            pour(&mut writer, tally, number, Way::Down, stop).await?;
            // Half closed for no longer than the client takes.
            reader.read(&mut [0; 1]).await.map(drop)
        }
        Some(_) => answer(&mut reader, &mut writer, number, tally).await,
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Sends bulk at the pace, and now and then a lot at once, until stopped. Returns how much.
async fn pour(
    to: &mut WriteHalf<'_>,
    tally: &Tally,
    number: usize,
    way: Way,
    stop: &CancellationToken,
) -> io::Result<u64> {
    let (content, mut random) = (tally.content(number, way), fastrand::Rng::new());
    let (mut sent, mut block, mut due, mut at_once) = (0, vec![0; BLOCK], clock::now(), 0);
    while !stop.is_cancelled() {
        content.fill(sent, &mut block);
        to.write_all(&block).await?;
        sent += BLOCK as u64;
        if at_once > 0 {
            at_once -= 1;
            continue;
        }
        if random.u32(0..BURSTS_ONE_IN) == 0 {
            at_once = BURST;
        }
        // After a pause the pace is taken up where it is; what was missed is not made up for.
        due = (due + PACE).max(clock::now());
        // A stop wakes it.
        let _ = timeout(due.saturating_duration_since(clock::now()), stop.cancelled()).await;
    }
    tally.sent(number, sent);
    to.shutdown().await?;
    Ok(sent)
}

/// Takes and judges bulk to its end. Returns how much.
async fn drain(from: &mut ReadHalf<'_>, tally: &Tally, number: usize, way: Way) -> io::Result<u64> {
    let content = tally.content(number, way);
    let (mut arrived, mut buffer, mut last) = (0, vec![0; 64 << 10], clock::now());
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(arrived);
        }
        let now = clock::now();
        tally.moved(number, last, now);
        last = now;
        tally.judged(read, content.wrong(arrived, &buffer[..read]));
        arrived += read as u64;
    }
}

/// Requests and answers in turns until stopped, with so long in between.
async fn ask(
    reader: &mut ReadHalf<'_>,
    writer: &mut WriteHalf<'_>,
    number: usize,
    tally: &Tally,
    stop: &CancellationToken,
    between: (u64, u64),
) -> io::Result<()> {
    let (content, mut random) = (tally.content(number, Way::Up), fastrand::Rng::new());
    let (mut at, mut request, mut answer) = (0, Vec::new(), Vec::new());
    while !stop.is_cancelled() {
        let length = random.usize(1..LONGEST_REQUEST);
        request.clear();
        request.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_be_bytes());
        request.resize(4 + length, 0);
        content.fill(at, &mut request[4..]);
        let asked = clock::now();
        writer.write_all(&request).await?;
        answer.resize(length, 0);
        reader.read_exact(&mut answer).await?;
        tally.moved(number, asked, clock::now());
        tally.judged(length, content.wrong(at, &answer));
        tally.answered();
        at += length as u64;
        let pause = Duration::from_millis(random.u64(between.0..between.1));
        let _ = timeout(pause, stop.cancelled()).await;
    }
    writer.shutdown().await
}

/// Judges each request and sends it back.
async fn answer(
    reader: &mut ReadHalf<'_>,
    writer: &mut WriteHalf<'_>,
    number: usize,
    tally: &Tally,
) -> io::Result<()> {
    let content: Content = tally.content(number, Way::Up);
    let (mut at, mut request) = (0, Vec::new());
    loop {
        let length = match reader.read_u32().await {
            Ok(length) => length as usize,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return writer.shutdown().await,
            Err(error) => return Err(error),
        };
        if length >= LONGEST_REQUEST {
            tally.judged(4, 4);
            return Err(io::ErrorKind::InvalidData.into());
        }
        request.resize(length, 0);
        reader.read_exact(&mut request).await?;
        tally.judged(length, content.wrong(at, &request));
        at += length as u64;
        writer.write_all(&request).await?;
    }
}

fn expect(found: u64, wanted: u64, what: &str) -> io::Result<()> {
    if found == wanted { Ok(()) } else { Err(io::Error::other(format!("{found} of {wanted} {what}"))) }
}

/// Between two blocks of bulk, so that a standstill is told from a pause of the sender.
pub(crate) const PACE: Duration = Duration::from_millis(10);

/// A block of bulk; at the pace, 0.8 MB/s for each connection.
const BLOCK: usize = 8 << 10;

/// One in so many blocks begins a burst of so many blocks, as fast as they go: 4 MiB, every ten seconds or so, which
/// fills windows and what a carrier may have under way.
const BURSTS_ONE_IN: u32 = 1000;
const BURST: u32 = 512;

/// Between requests, in milliseconds.
const THINK: (u64, u64) = (20, 40);

/// Between requests of those that are idle.
const IDLE: (u64, u64) = (500, 4000);

/// Beyond one TLS record now and then.
const LONGEST_REQUEST: usize = 20_000;

/// Far more than an outage lasts, and below the time the routers leave a half-closed connection.
const PATIENCE: Duration = Duration::from_secs(60);
