//! Removes a directory with everything in it, whatever an agent has made of it.
//!
//! An agent may leave a tree of any depth, with directories that nobody may enter, links, mounts, and processes that
//! still write. `std::fs::remove_dir_all` calls itself once a level and opens a descriptor a level: a tree of some ten
//! thousand levels overflows the stack, which aborts the node. [`remove_tree`] moves deeper entries up to the top and
//! removes them there, so it needs one stack frame and four descriptors for any tree.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, chmod, fchmod, fstat, openat, openat2,
        renameat_with, unlinkat,
    },
    io::Errno,
};
use tokio::time::Instant;

/// The flags for every directory that is opened: no link is followed.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// What the owner needs to empty a directory.
const OWNER: Mode = Mode::RWXU;

/// How far a removal has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// Nothing remains.
    Done,
    /// The time was up; another call continues.
    Unfinished,
}

/// Removes `path` with everything in it, until `deadline`. Follows no link and enters no other file system.
///
/// # Errors
/// The first reason why something stays, such as a mount or an immutable file. Everything else is removed.
pub(super) fn remove_tree(path: &Path, deadline: Instant) -> io::Result<Removal> {
    let root = match openat(CWD, path, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => admit(CWD, path).and_then(|()| openat(CWD, path, DIRECTORY, Mode::empty())),
        other => other,
    };
    let root = match root {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(Removal::Done),
        // Something else has its name now, such as a link.
        Err(Errno::NOTDIR | Errno::LOOP) => {
            unlinkat(CWD, path, AtFlags::empty())?;
            return Ok(Removal::Done);
        }
        Err(error) => return Err(error.into()),
    };
    admit_open(root.as_fd())?;
    Tree { root, moved: 0, deadline }.remove(path)
}

/// The tree at hand.
struct Tree {
    root: OwnedFd,
    /// How many directories were moved up to the root; the number gives each a new name.
    moved: u64,
    deadline: Instant,
}

/// The result of one walk over the root's entries.
#[derive(Default)]
struct Pass {
    /// Whether anything was removed or moved up, so that another pass may do more.
    has_progress: bool,
    is_late: bool,
    fault: Option<Errno>,
}

impl Pass {
    fn note(&mut self, done: Result<(), Errno>) {
        match done {
            Ok(()) => self.has_progress = true,
            // Another process removed or replaced it: the next pass handles that.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR) => {}
            Err(error) => self.fault = self.fault.or(Some(error)),
        }
    }
}

impl Tree {
    fn remove(mut self, path: &Path) -> io::Result<Removal> {
        loop {
            let pass = self.pass();
            match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(Removal::Done),
                Err(_) if pass.is_late => return Ok(Removal::Unfinished),
                Err(_) if pass.has_progress => {}
                Err(error) => return Err(pass.fault.unwrap_or(error).into()),
            }
        }
    }

    /// Removes the entries of the root, and moves up those below.
    fn pass(&mut self) -> Pass {
        let mut pass = Pass::default();
        let entries = match Dir::read_from(&self.root) {
            Ok(entries) => entries,
            Err(error) => return Pass { fault: Some(error), ..pass },
        };
        for entry in entries.map_while(Result::ok) {
            if is_self_or_parent(entry.file_name()) {
                continue;
            }
            if Instant::now() >= self.deadline {
                pass.is_late = true;
                break;
            }
            match discard(self.root.as_fd(), entry.file_name(), entry.file_type()) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => self.empty(entry.file_name(), &mut pass),
                done => pass.note(done),
            }
        }
        pass
    }

    /// Empties a directory of the root, and removes it.
    fn empty(&mut self, name: &CStr, pass: &mut Pass) {
        let directory = match open_below(self.root.as_fd(), name) {
            Ok(directory) => directory,
            Err(error) => return pass.note(Err(error)),
        };
        let Ok(entries) = Dir::read_from(&directory) else { return };
        for entry in entries.map_while(Result::ok) {
            if is_self_or_parent(entry.file_name()) {
                continue;
            }
            if Instant::now() >= self.deadline {
                pass.is_late = true;
                return;
            }
            match discard(directory.as_fd(), entry.file_name(), entry.file_type()) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    let moved = self.move_up(directory.as_fd(), entry.file_name());
                    pass.note(moved);
                }
                done => pass.note(done),
            }
        }
        match unlinkat(&self.root, name, AtFlags::REMOVEDIR) {
            // What could not be moved is in it still: its fault is noted.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            done => pass.note(done),
        }
    }

    /// Moves a directory into the root. A mount cannot be moved, so none is entered.
    fn move_up(&mut self, from: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let mut is_admitted = false;
        loop {
            self.moved += 1;
            let place = format!(".forerunner-{}", self.moved);
            match renameat_with(from, name, &self.root, place.as_str(), RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                // A directory that cannot be written to cannot be moved: its entry `..` changes.
                Err(Errno::ACCESS) if !is_admitted => {
                    admit(from, name)?;
                    is_admitted = true;
                }
                other => return other,
            }
        }
    }
}

/// Removes one entry. A directory that is not empty stays, with the error `NOTEMPTY` or `EXIST`.
fn discard(directory: BorrowedFd<'_>, name: &CStr, kind: FileType) -> Result<(), Errno> {
    if kind != FileType::Directory {
        match unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            other => return other,
        }
    }
    unlinkat(directory, name, AtFlags::REMOVEDIR)
}

/// Opens a directory that is no mount, so that its owner can empty it.
fn open_below(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let open = || match openat2(parent, name, DIRECTORY, Mode::empty(), ResolveFlags::NO_XDEV) {
        // Some sandboxes lack openat2. A mount that is entered then is emptied except for directories, which cannot
        // leave it.
        Err(Errno::NOSYS | Errno::PERM) => openat(parent, name, DIRECTORY, Mode::empty()),
        other => other,
    };
    let directory = match open() {
        Err(Errno::ACCESS) => admit(parent, name).and_then(|()| open()),
        other => other,
    }?;
    admit_open(directory.as_fd())?;
    Ok(directory)
}

/// Lets the owner into a directory without permissions. It does not follow a link in its place.
fn admit(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<(), Errno> {
    let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, path, Mode::empty())?;
    chmod(format!("/proc/self/fd/{}", directory.as_raw_fd()).as_str(), OWNER)
}

fn admit_open(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(fstat(directory)?.st_mode);
    if mode.contains(OWNER) { Ok(()) } else { fchmod(directory, OWNER) }
}

fn is_self_or_parent(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::PathBuf,
        time::Duration,
    };

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let around = tempfile::tempdir().unwrap();
        let tree = around.path().join("tree");
        fs::create_dir(&tree).unwrap();
        (around, tree)
    }

    /// Makes a directory so deep that its path is longer than the system allows.
    fn deepen(tree: &Path, levels: usize) {
        let mut at = openat(CWD, tree, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, "d", OWNER).unwrap();
            at = openat(&at, "d", DIRECTORY, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn a_tree_of_any_depth_and_breadth_is_removed() {
        let (around, tree) = tree();
        // Enough to overflow the stack of a thread if each level took a frame.
        deepen(&tree, 15_000);
        for at in 0..200 {
            fs::create_dir_all(tree.join(format!("wide-{at}/a/b"))).unwrap();
            fs::write(tree.join(format!("wide-{at}/a/b/file")), "x").unwrap();
        }
        assert_eq!(remove_tree(&tree, soon()).unwrap(), Removal::Done);
        assert!(fs::read_dir(around.path()).unwrap().next().is_none());
        assert_eq!(remove_tree(&tree, soon()).unwrap(), Removal::Done, "it is gone already");
    }

    #[test]
    fn what_links_lead_to_stays() {
        let (around, tree) = tree();
        let kept = around.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        fs::create_dir_all(tree.join("a/b")).unwrap();
        symlink(&kept, tree.join("link")).unwrap();
        symlink(&kept, tree.join("a/b/link")).unwrap();
        remove_tree(&tree, soon()).unwrap();
        assert!(!tree.exists() && kept.join("file").exists());
        // A link in place of the directory itself.
        symlink(&kept, &tree).unwrap();
        remove_tree(&tree, soon()).unwrap();
        assert!(fs::symlink_metadata(&tree).is_err() && kept.join("file").exists());
    }

    #[test]
    fn directories_that_nobody_may_enter_are_removed() {
        let (_around, tree) = tree();
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::write(tree.join("a/b/c/file"), "x").unwrap();
        for closed in ["a/b/c", "a/b", "a", ""] {
            fs::set_permissions(tree.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
        }
        assert_eq!(remove_tree(&tree, soon()).unwrap(), Removal::Done);
        assert!(!tree.exists());
    }

    #[test]
    fn a_removal_stops_when_its_time_is_up_and_goes_on_later() {
        let (_around, tree) = tree();
        deepen(&tree, 100);
        assert_eq!(remove_tree(&tree, Instant::now()).unwrap(), Removal::Unfinished);
        assert_eq!(remove_tree(&tree, soon()).unwrap(), Removal::Done);
    }

    #[test]
    fn a_tree_that_grows_meanwhile_is_removed_or_the_time_is_up() {
        let (_around, tree) = tree();
        let growing = tree.clone();
        let writer = std::thread::spawn(move || {
            (0..2_000).for_each(|at| drop(fs::create_dir_all(growing.join(format!("{at}/x/y")))));
        });
        let _any = remove_tree(&tree, soon());
        writer.join().unwrap();
        assert_eq!(remove_tree(&tree, soon()).unwrap(), Removal::Done);
    }
}
