//! The router, as a module, so that the demonstration can start it as processes of its own binary.

use std::ffi::OsString;
use std::future::pending;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use std::{io, thread};

use clap::Parser;
use sitelink::config::Carriers;
use sitelink::{
    AccessSpec, Credentials, CredentialsSource, Following, Manifest, Plane, PlaneConfig, Resources,
    RoutingKey, SecretKind, Site,
};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::args::Args;
use self::events::{Fact, Reporter};

mod admin;
mod args;
mod connector;
mod copy;
pub(crate) mod events;
mod listener;
mod status;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs the router until SIGINT or SIGTERM. The exit status is 0 after a drain, also of connections that were cut at
/// the end of the grace; a second signal ends it at once.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|argument| argument == "status") {
        return status::main(&arguments);
    }
    let args = Args::parse_from(arguments);
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::builder()
                .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
                .from_env_lossy(),
        )
        .with_writer(io::stderr)
        // A log file wants no colours.
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .init();
    let ended = runtime(args.threads).map_err(Into::into).and_then(|runtime| {
        let ended = runtime.block_on(run(args));
        // A look at a disk that hangs is not waited for.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("router: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A thread for every two processors, unless told otherwise. What a connection brings goes from the task that copies it
/// to the one that drives the carrier: on one thread that costs next to nothing, between two it may wake a processor.
/// On two processors, which the clients and servers want as well, one thread moved half as much again as two.
fn runtime(threads: Option<u16>) -> io::Result<Runtime> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.map_or_else(|| (processors / 2).max(1), usize::from);
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

async fn run(args: Args) -> Outcome<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (reporter, written) = Reporter::start(args.events);
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();

    let site = Site::new(args.site_id.as_deref().unwrap_or(&args.site), &args.site)?;
    let mut config = PlaneConfig::default();
    config.carriers = Carriers(usize::from(args.carriers));
    let mut builder = Plane::builder(site).role(args.role).config(config);
    if let Some(name) = &args.name {
        builder = builder.router_name(name.parse()?);
    }
    let plane = builder.start().await?;
    // Subscribed before anything can happen, so that nothing is missed.
    let events = plane.events();
    let printing = tasks.spawn(events::print(events, reporter.clone()));

    // Its end is later than that of the rest: it shows the drain.
    let drained = CancellationToken::new();
    if let Some(address) = args.admin {
        admin::start(address, args.admin_public, &plane, &reporter, &drained, &tasks)?;
    }
    // Listeners first: they follow the paths that links bring.
    for bind in &args.tcp_listener {
        let listener = listener::Listener::bind(bind, &plane, &reporter)?;
        tasks.spawn(listener.run(stop.clone(), tasks.clone()));
    }
    for (index, target) in args.tcp_connector.iter().enumerate() {
        if args.tcp_connector[..index].iter().any(|other| other.key == target.key) {
            return Err(format!("--tcp-connector {}: given twice", target.key).into());
        }
        plane.serve(&target.key)?;
        reporter.fact(&Fact::TcpConnectorUp { key: &target.key, target: &target.address });
    }
    let connectors = connector::Connectors::new(args.tcp_connector.clone(), reporter.clone());
    tasks.spawn(connectors.run(plane.clone(), stop.clone(), tasks.clone()));

    let serving = async {
        take_accesses(&args, &plane).await?;
        // Dropped at the end: links come and go with their documents until then.
        let _following = follow(&args, &plane).await?;
        pending::<Outcome<()>>().await
    };
    tokio::select! {
        failed = serving => failed?,
        // Also while a disk that hangs holds up the beginning.
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    reporter.fact(&Fact::Stopping);
    // No new connections; those there are have until the end of the grace.
    stop.cancel();
    let ending = async {
        plane.shutdown(GRACE).await;
        drained.cancel();
        printing.await?;
        tasks.close();
        tokio::time::timeout(GRACE, tasks.wait()).await?;
        Outcome::Ok(())
    };
    tokio::select! {
        ended = ending => ended?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    drop(reporter);
    // What is queued is written, unless nobody reads it.
    let _ = written.recv_timeout(LAST_LINES);
    Ok(())
}

async fn take_accesses(args: &Args, plane: &Plane) -> Outcome<()> {
    if args.listen.is_empty() {
        return Ok(());
    }
    let path = args.server_credentials.clone().ok_or("--listen needs --server-credentials")?;
    // The disk may hang.
    let (read, shown) = (path.clone(), path.display());
    let credentials = tokio::task::spawn_blocking(move || server_credentials(&read)).await??;
    for listen in &args.listen {
        let access = plane.listen(AccessSpec::new(listen.address, listen.role), credentials.clone());
        access
            .await
            .map_err(|error| format!("--listen {}, --server-credentials {shown}: {error}", listen.address))?;
    }
    Ok(())
}

/// Follows the documents: links come and go with them until the router ends.
async fn follow(args: &Args, plane: &Plane) -> Outcome<Option<Following>> {
    let Some((first, others)) = args.resources.split_first() else { return Ok(None) };
    let mut resources = others.iter().fold(Resources::at(first), Resources::and).grace(GRACE);
    if let Some(root) = &args.credentials {
        if !tokio::fs::try_exists(root).await.unwrap_or(true) {
            // It may come yet.
            tracing::warn!(credentials = %root.display(), "no such folder");
        }
        resources = resources.credentials(root);
    }
    Ok(Some(plane.follow(resources).await?))
}

/// `--server-credentials`: a folder, which is followed, or a file, which is read once. Of the Secrets in a file it is
/// the first that holds a whole bundle; without one, the reason is that of the first that should.
fn server_credentials(path: &Path) -> Outcome<CredentialsSource> {
    if path.is_dir() {
        return Ok(CredentialsSource::directory("server", path));
    }
    let manifest = Manifest::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let bundles = || manifest.secrets().filter(|secret| secret.kind == SecretKind::Tls);
    let secret = bundles().find(|secret| secret.is_usable() && !secret.is_ca_only());
    let secret = secret.or_else(|| bundles().next());
    let secret = secret.ok_or_else(|| format!("{}: holds no Secret with TLS credentials", path.display()))?;
    let credentials = Credentials::from_secret(secret);
    Ok(credentials.map_err(|error| format!("{}: {error}", path.display()))?.into())
}

/// `KEY=ADDRESS`, as `--tcp-listener` and `--tcp-connector` take it.
#[derive(Clone, Debug)]
struct Keyed {
    key: RoutingKey,
    /// Host and port.
    address: String,
}

/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long streams may go on after a signal. Kubernetes kills after 30 s.
const GRACE: Duration = Duration::from_secs(10);
