//! The directory of one child.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    node_dir::NodeDir,
    worker::{self, Directory, Leftovers},
};

/// The owner of a directory, if that is not the node's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// An empty directory that only its owner can enter, removed with its contents when dropped.
///
/// The next start of a node removes the directories of one that was killed.
#[derive(Debug)]
pub(in crate::process) struct ScratchDir {
    path: PathBuf,
    node_dir: Option<Arc<NodeDir>>,
}

impl ScratchDir {
    /// Creates the directory below the one of this node.
    ///
    /// # Errors
    /// When it cannot be created; the error names where, and TMPDIR.
    pub(in crate::process) fn create(name: &str, owner: Option<Owner>) -> io::Result<Self> {
        let node_dir = NodeDir::shared()?;
        let path = node_dir.path().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let made = Self { path, node_dir: Some(node_dir) };
        if let Some(owner) = owner {
            made.change_owner(owner)?;
        }
        Ok(made)
    }

    /// Makes another user its owner, who must be able to get there.
    fn change_owner(&self, owner: Owner) -> io::Result<()> {
        if let Some(node_dir) = &self.node_dir {
            fs::set_permissions(node_dir.path(), fs::Permissions::from_mode(0o711))?;
        }
        chown(&self.path, Some(owner.uid), Some(owner.gid))
    }

    /// Returns where it is.
    pub(in crate::process) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory for removal, if it is not empty.
    pub(super) fn into_directory(mut self) -> Option<Directory> {
        self.remove_or_release()
    }

    /// Removes the directory if it is empty. Otherwise returns it for removal, once.
    fn remove_or_release(&mut self) -> Option<Directory> {
        let node_dir = self.node_dir.take()?;
        let path = std::mem::take(&mut self.path);
        match fs::remove_dir(&path) {
            Ok(()) => None,
            Err(_) => Some(Directory { path, node_dir: Some(node_dir) }),
        }
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if let Some(directory) = self.remove_or_release() {
            // An agent may leave a checkout of a million files: the actors of this thread should not wait for it.
            worker::clear(Leftovers { mark: None, directory: Some(directory), done: None });
        }
    }
}
