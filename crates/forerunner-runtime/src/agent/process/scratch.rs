//! A directory of a child's own.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

const REMOVE_ATTEMPTS: u32 = 4;
const REMOVE_PAUSE: Duration = Duration::from_millis(50);

/// An empty directory that only the node's user can enter, removed with all it holds when dropped.
pub(super) struct ScratchDir(PathBuf);

impl ScratchDir {
    /// Creates the directory below the system's one for temporary files. Fails if the name is taken: somebody else
    /// may have prepared it.
    pub(super) fn create(name: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("forerunner-{name}"));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        // An agent may leave a checkout of a million files: the actors of this thread should not wait for it.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || remove(&path))),
            Err(_) => remove(&path),
        }
    }
}

/// Runs on a thread that may wait: a process that was just killed may still be writing a file.
fn remove(path: &Path) {
    for _ in 1..REMOVE_ATTEMPTS {
        if fs::remove_dir_all(path).is_ok() {
            return;
        }
        std::thread::sleep(REMOVE_PAUSE);
    }
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "an agent's directory was not removed; remove it by hand");
    }
}
