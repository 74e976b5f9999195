//! What a file system says of files without their being read, to tell whether they may have changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::net::clock;

/// The facts of some files at one look.
///
/// Two equal stamps mean equal content, if the last change was so long before the first look that another one would
/// have brought another time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    files: Vec<(PathBuf, Option<Facts>)>,
    /// The youngest change among them, in microseconds since the Unix epoch.
    youngest: u64,
    /// Whether that was [`COARSEST`] ago when they were looked at.
    telling: bool,
}

/// What tells one state of a file from another. Links are followed, so that a link that is swapped shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    len: u64,
    modified: u64,
    /// Device, inode and time of the last change of either, where there are such: no tool sets those back.
    node: (u64, u64, i64, i64),
}

impl Stamp {
    /// Looks at the files, in the order given. Blocks on the disk.
    pub(crate) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let now = clock::unix_micros();
        let mut stamp = Self::default();
        for path in paths {
            let facts = Facts::of(&path);
            if let Some(facts) = &facts {
                let changed = facts.node.2.saturating_mul(1_000_000).saturating_add(facts.node.3 / 1000);
                let changed = u64::try_from(changed).unwrap_or(0);
                stamp.youngest = stamp.youngest.max(facts.modified).max(changed);
            }
            stamp.files.push((path, facts));
        }
        // A change ahead of the clock is never old enough.
        let age = now.checked_sub(stamp.youngest);
        stamp.telling = age.is_some_and(|age| u128::from(age) >= COARSEST.as_micros());
        stamp
    }

    /// Whether `later` shows the same files in the same state, so that they need not be read.
    pub(crate) fn is_still(&self, later: &Self) -> bool {
        self.telling && self.files == later.files
    }
}

impl Facts {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        let modified = found.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |at| u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
        Some(Self { len: found.len(), modified, node: node(&found) })
    }
}

#[cfg(unix)]
fn node(found: &fs::Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (found.dev(), found.ino(), found.ctime(), found.ctime_nsec())
}

#[cfg(not(unix))]
fn node(_: &fs::Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}

/// The coarsest times a file system keeps: FAT's are two seconds apart, and some network file systems hold them back
/// for as long.
const COARSEST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    /// Sets a file's time of modification; its time of change is set by the system, to now.
    fn touch(path: &Path, at: SystemTime) {
        File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn a_file_changed_a_moment_ago_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, "one").unwrap();
        let stamp = Stamp::of([file.clone()]);
        // Its modification may be long ago, like that of a copy, its change is not.
        touch(&file, UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        let copied = Stamp::of([file.clone()]);
        assert!(!stamp.telling && !copied.telling);
        assert!(!copied.is_still(&Stamp::of([file])));
    }

    #[test]
    fn what_is_not_there_is_the_same_as_long_as_it_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let nothing = Stamp::of([file.clone()]);
        assert!(nothing.is_still(&Stamp::of([file.clone()])));
        fs::write(&file, "one").unwrap();
        assert!(!nothing.is_still(&Stamp::of([file])));
    }
}
