//! Two routers, a hundred connections through them, and a network between them that does its worst.
//!
//! `cargo run --release --example chaos -- --seconds 300` starts two routers as processes of their own, with a link
//! through a relay, and makes connections through both: bulk up, bulk down, requests and answers, and some that are
//! idle but for a word now and then. The relay cuts the link's connections (RST, FIN, all at once, in the middle of a
//! handshake), stalls them, lets what they are given vanish (both ways or one), slows them down, and takes the whole
//! network away for seconds; and either end gets a new certificate every few seconds, brought as Kubernetes brings it.
//! Every byte is judged where it arrives. The exit status is 0 only if no connection was lost and no byte was wrong.
//!
//! At the end stands a table of pauses for each kind of fault, beside that of times without one; [`pauses`] says
//! what counts as a pause, and as whose.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::fault::Deck;
use self::injector::{Done, Injector};
use self::stage::Stage;
use self::support::Outcome;
use self::tally::Tally;

mod clock;
mod content;
mod facts;
mod fault;
mod injector;
mod load;
mod path;
mod pauses;
#[path = "../support/process.rs"]
mod process;
mod relay;
mod report;
#[path = "../router/mod.rs"]
mod router;
mod stage;
#[expect(dead_code, reason = "the routers of this example take their certificates from folders alone")]
#[path = "../support/mod.rs"]
mod support;
mod tally;

/// Breaks the network between two routers again and again, and sees to it that nobody notices.
#[derive(Debug, Parser)]
#[command(after_help = HELP)]
struct Args {
    /// How long faults are injected
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Decides which faults come, in which order and how long; those of a run are printed [default: random]
    #[arg(long)]
    seed: Option<u64>,
    /// Connections through the routers
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(5..=2000))]
    connections: u16,
    /// Carriers of the link
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    carriers: u8,
    /// Each kind of fault once, and briefly: that it runs, and that nothing is lost
    #[arg(long, conflicts_with = "seconds")]
    smoke: bool,
    /// Print each fault as it comes, and how long it took until everything moved again
    #[arg(long)]
    verbose: bool,
    /// Write what the routers tell to west.jsonl and east.jsonl in this folder, which must be there
    #[arg(long, value_name = "FOLDER")]
    log: Option<PathBuf>,
}

fn main() -> ExitCode {
    // The routers are this very program, called by another name.
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|first| first == "router") {
        return router::main(std::iter::once("router".into()).chain(arguments));
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&args))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("chaos: connections were lost or stood still, or bytes were wrong");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Outcome<bool> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let folder = tempfile::tempdir()?;
    let tally = Arc::new(Tally::new(seed, usize::from(args.connections)));
    let ending = CancellationToken::new();
    let server = load::serve(Arc::clone(&tally), ending.clone()).await?;
    let mut stage = Stage::new(folder.path(), server, args.carriers, args.log.as_deref()).await?;
    let load = tokio_util::task::TaskTracker::new().spawn(load::run(
        stage.entrance,
        Arc::clone(&tally),
        ending.clone(),
    ));

    // Windows grow, and processors warm up.
    tokio::time::sleep(WARM_UP).await;
    let mut injector = Injector {
        stage: &mut stage,
        tally: &tally,
        deck: Deck::new(seed, args.smoke),
        carriers: usize::from(args.carriers),
        verbose: args.verbose,
        done: Done::default(),
    };
    let ends = clock::now() + Duration::from_secs(args.seconds);
    tokio::select! {
        injected = injector.run(ends) => injected?,
        _ = interrupt.recv() => println!("interrupted"),
        _ = terminate.recv() => println!("told to stop"),
    }
    let done = injector.done;
    // Whatever was under way is over.
    stage.relay.open();
    tally.pauses.begin(None);
    ending.cancel();
    tokio::select! {
        ended = load => ended?,
        _ = interrupt.recv() => return Err("interrupted once more".into()),
    }
    let sound = report::print(&done, &tally, &stage, !args.smoke);
    timeout(GOODBYE, stage.stop()).await??;
    Ok(sound)
}

/// What `--help` ends with.
const HELP: &str = "\
A pause is the time in which a connection that should be moving did not: between two pieces of bulk at their receiver \
(the sender's pace of 10 ms is part of it), or from a request to the end of its answer. Time is divided into slots, one \
for each fault, from its beginning to that of the next, which comes when everything has moved since the fault was over. \
A pause belongs to the slot in which the greater part of it lies. Of each slot and connection the longest pause is one \
sample of the fault's kind. Slots without a fault, between the others, are the control.";

/// Before the first fault.
const WARM_UP: Duration = Duration::from_secs(2);

/// The grace of a router's end, twice, and then some.
const GOODBYE: Duration = Duration::from_secs(30);
