//! A directory of a child's own.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    home::Home,
    janitor::{self, Directory, Leavings},
};

/// Whose directory it is, if not the node's user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent::process) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// An empty directory that only its owner can enter, removed with all it holds when dropped.
///
/// The next start of a node removes the directories of one that was killed.
#[derive(Debug)]
pub(in crate::agent::process) struct ScratchDir {
    path: PathBuf,
    home: Option<Arc<Home>>,
}

impl ScratchDir {
    /// Creates the directory below the one of this node.
    ///
    /// # Errors
    /// When it cannot be created; the error names where, and TMPDIR.
    pub(in crate::agent::process) fn create(name: &str, owner: Option<Owner>) -> io::Result<Self> {
        let home = Home::shared()?;
        let path = home.path().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let made = Self { path, home: Some(home) };
        if let Some(owner) = owner {
            made.give_to(owner)?;
        }
        Ok(made)
    }

    /// Gives it to another user, who must be able to get there.
    fn give_to(&self, owner: Owner) -> io::Result<()> {
        if let Some(home) = &self.home {
            fs::set_permissions(home.path(), fs::Permissions::from_mode(0o711))?;
        }
        chown(&self.path, Some(owner.uid), Some(owner.gid))
    }

    /// Returns where it is.
    pub(in crate::agent::process) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives up the directory, if it is still there, to be removed by somebody else.
    pub(super) fn into_directory(mut self) -> Option<Directory> {
        self.take()
    }

    fn take(&mut self) -> Option<Directory> {
        let home = self.home.take()?;
        let path = std::mem::take(&mut self.path);
        match fs::remove_dir(&path) {
            Ok(()) => None,
            Err(_) => Some(Directory { path, home: Some(home) }),
        }
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if let Some(directory) = self.take() {
            // An agent may leave a checkout of a million files: the actors of this thread should not wait for it.
            janitor::clear(Leavings { mark: None, directory: Some(directory), done: None });
        }
    }
}
