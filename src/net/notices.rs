//! Notices of the system that a folder has changed: a look at the disk comes sooner for them, and that is all.
//!
//! Nothing is taken for true because of a notice, and nothing is missed for want of one: network file systems send
//! none, and the system has a bound on them. Folders are watched, not files, because a file that is replaced (as
//! Kubernetes does by swapping a link beside it) takes its watch with it.
//!
//! Asking the system for a watch may block on the disk, so a task of its own asks, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use slab::Slab;
use tokio::sync::Notify;

/// The notices of a plane: one watch of the system, shared by all who wait for one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices(Arc<Shared>);

/// A wish to be told when certain folders change. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Listening {
    shared: Arc<Shared>,
    key: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    listeners: Slab<Listener>,
    /// What is to be asked of the system; bounded by the number of folders.
    asked: BTreeMap<PathBuf, Wish>,
    watch: Watch,
}

/// Who is to be told, and of what.
#[derive(Debug)]
struct Listener {
    folders: BTreeSet<PathBuf>,
    stir: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// Watch the folder, from anew if it is watched: what it was may be gone.
    Have,
    /// Watch it no more.
    Leave,
}

/// The system's side.
#[derive(Debug, Default)]
enum Watch {
    /// Nobody has asked yet.
    #[default]
    Unmade,
    /// A task has it, to ask the system for something.
    Away,
    /// Nobody asks for anything right now.
    Idle(RecommendedWatcher),
    /// The system gives none: the clock alone must do.
    Refused,
}

impl Notices {
    /// Tells `stir` of changes, once there are folders.
    pub(crate) fn listen(&self, stir: Arc<Notify>) -> Listening {
        let key = self.0.lock().listeners.insert(Listener { folders: BTreeSet::new(), stir });
        Listening { shared: Arc::clone(&self.0), key }
    }
}

impl Listening {
    /// Listens for changes in these folders and no others. Returns at once; a folder that is watched already is watched
    /// from anew.
    pub(crate) fn follow(&self, folders: BTreeSet<PathBuf>) {
        // As the system names them in its notices.
        let folders: BTreeSet<PathBuf> = folders.iter().map(|folder| absolute(folder)).collect();
        let mut state = self.shared.lock();
        let Some(listener) = state.listeners.get_mut(self.key) else { return };
        let before = std::mem::replace(&mut listener.folders, folders.clone());
        state.leave(before);
        state.asked.extend(folders.into_iter().map(|folder| (folder, Wish::Have)));
        drop(state);
        self.shared.ask();
    }
}

/// The folder from the root on. That of a bare file name has an empty path and is the one this process is in.
fn absolute(folder: &Path) -> PathBuf {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(listener) = state.listeners.try_remove(self.key) {
            state.leave(listener.folders);
        }
        drop(state);
        self.shared.ask();
    }
}

impl State {
    /// Nobody of before listens to these folders any more; somebody else may.
    fn leave(&mut self, folders: BTreeSet<PathBuf>) {
        for folder in folders {
            if !self.listeners.iter().any(|(_, listener)| listener.folders.contains(&folder)) {
                self.asked.insert(folder, Wish::Leave);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the system asked for what is wished, unless that is under way.
    fn ask(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.asked.is_empty() || matches!(state.watch, Watch::Away | Watch::Refused) {
            return;
        }
        // Dropped outside a runtime, there is nobody left to be told.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let watch = std::mem::replace(&mut state.watch, Watch::Away);
        drop(state);
        let shared = Arc::clone(self);
        runtime.spawn_blocking(move || shared.carry_out(watch));
    }

    /// Asks the system until nothing more is wished.
    fn carry_out(self: &Arc<Self>, watch: Watch) {
        let watcher = match watch {
            Watch::Idle(watcher) => Ok(watcher),
            _ => {
                let told = Arc::downgrade(self);
                notify::recommended_watcher(move |event| tell(&told, event))
            }
        };
        let mut watcher = match watcher {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::info!(%error, "no notices of changed files: they are looked for by the clock alone");
                let mut state = self.lock();
                (state.watch, state.asked) = (Watch::Refused, BTreeMap::new());
                return;
            }
        };
        loop {
            let mut state = self.lock();
            let asked = std::mem::take(&mut state.asked);
            if asked.is_empty() {
                state.watch = Watch::Idle(watcher);
                return;
            }
            drop(state);
            for (folder, wish) in &asked {
                // Fails for what is not watched, or not any more.
                let _ = watcher.unwatch(folder);
                if *wish == Wish::Have
                    && let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
                {
                    tracing::debug!(folder = %folder.display(), %error, "no notices of this folder");
                }
            }
            // What changed before the watch was there has given no notice.
            self.stir(|folders| folders.iter().any(|folder| asked.get(folder) == Some(&Wish::Have)));
        }
    }

    fn stir(&self, touched: impl Fn(&BTreeSet<PathBuf>) -> bool) {
        let state = self.lock();
        let told: Vec<_> = state
            .listeners
            .iter()
            .filter(|(_, listener)| touched(&listener.folders))
            .map(|(_, listener)| Arc::clone(&listener.stir))
            .collect();
        drop(state);
        told.iter().for_each(|stir| stir.notify_one());
    }
}

/// Passes a notice on to those who listen to its folder.
fn tell(shared: &Weak<Shared>, event: notify::Result<notify::Event>) {
    let Some(shared) = shared.upgrade() else { return };
    match event {
        // Our own looks open and read what we watch.
        Ok(event) if is_reading(&event.kind) => {}
        Ok(event) if !event.paths.is_empty() => {
            let folder_of = |path: &Path, folder: &Path| path == folder || path.parent() == Some(folder);
            shared.stir(|folders| {
                folders.iter().any(|folder| event.paths.iter().any(|path| folder_of(path, folder)))
            });
        }
        // Something was lost, or cannot be told: everyone looks.
        Ok(_) | Err(_) => shared.stir(|_| true),
    }
}

fn is_reading(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}
