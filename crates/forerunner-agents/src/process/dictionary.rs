//! The file from which a pool's children read its dictionary.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, fchown},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use forerunner_context::{Dictionary, DictionaryId};

use super::cleanup::{Owner, ScratchDir};

/// A dictionary as a file that only the agents' user can read. The last user removes it; the next start of a node
/// removes the files of nodes that were killed.
///
/// The operator's own file may be replaced while the node runs; this one never is.
#[derive(Debug)]
pub(crate) struct DictionaryFile {
    dictionary: Dictionary,
    path: PathBuf,
    /// Owns the file.
    _dir: ScratchDir,
}

impl DictionaryFile {
    fn create(dictionary: &Dictionary, name: &str, owner: Option<Owner>) -> io::Result<Self> {
        let dir = ScratchDir::create(&format!("dictionary-{name}"), owner)?;
        let path = dir.path().join("dictionary.zstd");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?;
        file.write_all(dictionary.bytes())?;
        if let Some(Owner { uid, gid }) = owner {
            fchown(&file, Some(uid), Some(gid))?;
        }
        Ok(Self { dictionary: dictionary.clone(), path, _dir: dir })
    }

    pub(super) const fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    pub(super) fn id(&self) -> DictionaryId {
        self.dictionary.id()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DictionaryFile {
    /// Removes the file at once: a thread that does so later may end with the node.
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the file of a dictionary; remove it by hand");
        }
    }
}

/// The file that the children of one factory share, written when the first of them starts.
#[derive(Debug, Clone, Default)]
pub(super) struct DictionaryCache(Arc<Mutex<Option<Arc<DictionaryFile>>>>);

impl DictionaryCache {
    /// Returns the file of this dictionary. `name` is part of the name of its directory.
    ///
    /// `None` when it cannot be written: children then work without it.
    pub(super) fn of(&self, dictionary: &Dictionary, name: &str, owner: Option<Owner>) -> Option<Arc<DictionaryFile>> {
        let mut file = self.0.lock();
        if let Some(file) = file.as_ref().filter(|file| file.id() == dictionary.id()) {
            return Some(file.clone());
        }
        match DictionaryFile::create(dictionary, name, owner) {
            Ok(made) => Some(file.insert(Arc::new(made)).clone()),
            Err(error) => {
                tracing::warn!(%error, "cannot write the file of the pool's dictionary; agents start without it");
                None
            }
        }
    }
}
