//! A HOME of its own for a child, with files that the operator provides.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::cleanup::Owner;

/// Most files and bytes of a template: it is copied at each start.
const MOST_FILES: usize = 10_000;
const MOST_BYTES: u64 = 256 << 20;

/// Whether a child gets a HOME of its own, and what is in it at first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HomeSpec {
    /// A directory whose files are copied. Links in it are left out.
    pub template: Option<PathBuf>,
}

/// The name of HOME in the directory of a child.
pub(crate) const HOME: &str = "home";

impl HomeSpec {
    /// Makes the directory below `parent`, for its owner only, and returns where it is.
    pub(super) fn create(&self, parent: &Path, owner: Option<Owner>) -> io::Result<PathBuf> {
        let home = parent.join(HOME);
        make_directory(&home, owner)?;
        if let Some(template) = &self.template {
            let explain = |error: io::Error| {
                io::Error::new(error.kind(), format!("`home` {} cannot be copied: {error}", template.display()))
            };
            Copying { owner, files: 0, bytes: 0 }.directory(template, &home).map_err(explain)?;
        }
        Ok(home)
    }
}

fn make_directory(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)?;
    own(path, owner)
}

fn own(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    owner.map_or(Ok(()), |owner| chown(path, Some(owner.uid), Some(owner.gid)))
}

struct Copying {
    owner: Option<Owner>,
    files: usize,
    bytes: u64,
}

impl Copying {
    fn directory(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
            if kind.is_dir() {
                make_directory(&target, self.owner)?;
                self.directory(&entry.path(), &target)?;
            } else if kind.is_file() {
                self.file(&entry.path(), &target)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let metadata = fs::metadata(from)?;
        self.files += 1;
        self.bytes += metadata.len();
        if self.files > MOST_FILES || self.bytes > MOST_BYTES {
            let message =
                format!("it has more than {MOST_FILES} files or {MOST_BYTES} bytes; name a smaller directory");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        fs::copy(from, to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(metadata.permissions().mode() & 0o700 | 0o600))?;
        own(to, self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_copied_without_its_links_and_readable_to_the_owner_only() {
        let (template, parent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(template.path().join(".agent")).unwrap();
        fs::write(template.path().join(".agent/config"), "model = 1").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", template.path().join("link")).unwrap();
        let home = HomeSpec { template: Some(template.path().to_owned()) }.create(parent.path(), None).unwrap();
        assert_eq!(fs::read_to_string(home.join(".agent/config")).unwrap(), "model = 1");
        assert!(!home.join("link").exists());
        assert_eq!(fs::metadata(home.join(".agent/config")).unwrap().permissions().mode() & 0o077, 0);
        let missing = HomeSpec { template: Some("/no/such".into()) }.create(&home, None).unwrap_err();
        assert!(missing.to_string().starts_with("`home` /no/such cannot be copied"), "{missing}");
    }
}
