//! The directory of a node, with the directories of its agents.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, openat};

use super::{mark::NodeMark, worker};

const PREFIX: &str = "forerunner-node-";

/// A directory below the system's one for temporary files, locked for as long as its node lives, and removed when nothing
/// is in it any more.
///
/// The kernel releases the lock when the node ends, however it ends: a node that starts removes the directories that
/// nobody has locked. (systemd-tmpfiles leaves locked directories alone as well.)
#[derive(Debug)]
pub(in crate::process) struct NodeDir {
    path: PathBuf,
    _lock: OwnedFd,
}

impl NodeDir {
    /// The directory of this process, created at the first call.
    ///
    /// # Errors
    /// When it cannot be created; the error names the directory and TMPDIR.
    pub(in crate::process) fn shared() -> io::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<NodeDir>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock();
        if let Some(dir) = shared.upgrade().filter(|dir| dir.path.is_dir()) {
            return Ok(dir);
        }
        let below = std::env::temp_dir();
        let dir = Self::create(&below).map_err(|error| explained(&below, &error))?;
        worker::sweep(below);
        let dir = Arc::new(dir);
        *shared = Arc::downgrade(&dir);
        Ok(dir)
    }

    fn create(below: &Path) -> io::Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let path = below.join(format!("{PREFIX}{}-{number}", NodeMark::own()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let lock = open(&path)?;
            // On a file system without locks the directory stays if the node is killed.
            if flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK)
                || fstat(&lock)?.st_nlink == 0
            {
                // A node that just started removed it as an orphaned one.
                continue;
            }
            return Ok(Self { path, _lock: lock });
        }
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NodeDir {
    fn drop(&mut self) {
        // What could not be removed stays, for the next start.
        let _stays = fs::remove_dir(&self.path);
    }
}

/// The directory of a node that was killed, locked so that no other node removes it as well.
pub(super) struct OrphanedDir {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The mark of its node's agents.
    pub(super) node: NodeMark,
    _lock: OwnedFd,
}

/// Finds the directories below another one that belong to killed nodes of this user.
pub(super) fn orphaned_dirs(below: &Path) -> Vec<OrphanedDir> {
    let entries = fs::read_dir(below).into_iter().flatten().flatten();
    entries.filter_map(|entry| orphaned_dir(entry.path())).collect()
}

fn orphaned_dir(path: PathBuf) -> Option<OrphanedDir> {
    let (node, _) = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
    // What this node itself could not remove has no lock either, and its agents live.
    let node = NodeMark::parse(node).filter(|node| *node != NodeMark::own())?;
    let metadata = fs::symlink_metadata(&path).ok()?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return None;
    }
    let lock = open(&path).ok()?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(OrphanedDir { path, node, _lock: lock })
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
}

/// Explains what is wrong with the directory for temporary files, and what to do.
fn explained(below: &Path, error: &io::Error) -> io::Error {
    let remedy = "make it a directory that the node can write to, set TMPDIR to one, or give the agent a `cwd`";
    let message =
        format!("no working directory can be made in {} (TMPDIR, else /tmp): {error}; {remedy}", below.display());
    io::Error::new(error.kind(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_without_a_living_node_are_orphaned() {
        let below = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = below.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let orphan = make("forerunner-node-000000001-0");
        let locked = open(&make("forerunner-node-000000002-0")).unwrap();
        flock(&locked, FlockOperation::NonBlockingLockExclusive).unwrap();
        make(&format!("{PREFIX}{}-7", NodeMark::own()));
        make("forerunner-node-of-somebody");
        make("forerunner-0199a3c0-8e51-7000-8000-000000000001");
        let found: Vec<PathBuf> = orphaned_dirs(below.path()).into_iter().map(|found| found.path).collect();
        assert_eq!(found, [orphan]);
        drop(locked);
        assert_eq!(orphaned_dirs(below.path()).len(), 2, "its node is gone");
    }
}
