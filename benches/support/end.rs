//! One end of a comparison: a runtime on threads of its own.

use std::future::Future;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::ValueEnum;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// Which runtime an end has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flavor {
    /// One thread, which does everything.
    Current,
    /// As many workers as the machine has processors.
    Multi,
}

/// A runtime on threads of its own. Dropping it drops every task on it.
#[derive(Debug)]
pub(crate) struct End {
    handle: Handle,
    /// Taken when dropped.
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl End {
    /// Starts the threads.
    pub(crate) fn start(name: &str, flavor: Flavor) -> Self {
        let runtime = match flavor {
            Flavor::Current => Builder::new_current_thread(),
            Flavor::Multi => Builder::new_multi_thread(),
        }
        .enable_all()
        .thread_name(name)
        .build()
        .expect("the system has descriptors");
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(runtime, stopped));
        Self { handle, thread: Some((stop, thread.expect("the system has threads"))) }
    }

    /// Where tasks of this end are spawned.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs a future as a task of this end and waits for it from outside; `None` when it takes longer than `limit`.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        limit: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = mpsc::sync_channel(1);
        let task = self.handle.spawn(async move {
            // Nobody waits any more after the limit.
            let _ = tell.send(future.await);
        });
        let outcome = told.recv_timeout(limit).ok();
        task.abort();
        outcome
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // A thread that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}

/// Keeps the runtime until it is told to stop, or its owner is gone.
fn run(runtime: Runtime, stopped: oneshot::Receiver<()>) {
    let _ = runtime.block_on(stopped);
    runtime.shutdown_timeout(GRACE);
}

/// How long tasks that do not yield may hold up the end of an end.
const GRACE: Duration = Duration::from_secs(5);
