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
///
/// A node that is killed leaves the directories of its agents behind.
#[derive(Debug)]
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

    /// Removes the directory without holding up this thread, and waits for it.
    pub(super) async fn remove(mut self) {
        let path = std::mem::take(&mut self.0);
        let _removed = tokio::task::spawn_blocking(move || remove(&path)).await;
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if self.0.as_os_str().is_empty() || fs::remove_dir(&self.0).is_ok() {
            return;
        }
        let path = std::mem::take(&mut self.0);
        // An agent may leave a checkout of a million files: the actors of this thread should not wait for it. A
        // runtime that shuts down drops what it has not begun, so this thread does not ask one.
        let remover = std::thread::Builder::new().name("forerunner-tidy".to_owned());
        if let Err(error) = remover.spawn(move || remove(&path)) {
            tracing::warn!(%error, "an agent's directory was not removed: no thread for it");
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
