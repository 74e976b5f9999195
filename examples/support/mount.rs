//! A folder of credentials as the kubelet mounts a Secret, and how it brings a new one.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::Bundle;

/// `tls.crt -> ..data/tls.crt`, and `..data -> ..2`, the second bundle that was brought.
pub(crate) struct Mount {
    folder: PathBuf,
    /// Bundles brought so far.
    swaps: u64,
}

impl Mount {
    /// Makes the folder with a first bundle.
    pub(crate) fn new(folder: &Path, bundle: &Bundle) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut mount = Self { folder: folder.to_path_buf(), swaps: 0 };
        mount.swap(bundle)?;
        for part in ["ca.crt", "tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(part), folder.join(part))?;
        }
        Ok(mount)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Brings another bundle: it is written beside, and a link to it is renamed over the one in use, so that a reader
    /// sees the one or the other and never a mixture.
    pub(crate) fn swap(&mut self, bundle: &Bundle) -> io::Result<()> {
        self.swaps += 1;
        let name = format!("..{}", self.swaps);
        bundle.write(&self.folder.join(&name))?;
        symlink(&name, self.folder.join("..data_tmp"))?;
        fs::rename(self.folder.join("..data_tmp"), self.folder.join("..data"))?;
        match self.swaps {
            1 => Ok(()),
            swaps => fs::remove_dir_all(self.folder.join(format!("..{}", swaps - 1))),
        }
    }
}
