//! Which file a store is: its real path, its inode, and a lock on both.
//!
//! SQLite puts its log and its shared memory beside the name by which it opened the file. With two names there are two
//! logs: commits through one are lost or damaged by the other. So a file has one name, and one process.

use std::{
    ffi::OsString,
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::{AtFlags, CWD, FlockOperation, OFlags, StatxAttributes, StatxFlags, flock, statx};

use crate::StoreError;

/// The byte of the database that the lock of its inode covers. SQLite locks 512 bytes from 2^30 on, so the two never meet.
const LOCKED_BYTE: i64 = (1 << 30) + 4_096;

const NOT_REGULAR: &str = "it is no regular file";

/// The database file of a store, locked for this process.
///
/// Opened before SQLite opens the file and closed after it: closing any descriptor releases all of SQLite's locks.
#[derive(Debug)]
pub(super) struct StoreFile {
    path: PathBuf,
    /// The path that was given, if symbolic links led from it to the real one.
    given: Option<PathBuf>,
    id: FileId,
    database: File,
    lock: File,
}

/// Device and inode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub fn of(file: &Metadata) -> Self {
        Self(file.dev(), file.ino())
    }
}

impl StoreFile {
    /// Resolves symbolic links, creates the file if it does not exist, and locks its path and its inode.
    ///
    /// A directory is not created: a misspelled name would open an empty store, and all tasks would seem to be lost.
    pub fn open(given: &Path) -> Result<Self, StoreError> {
        let path = resolve(given)?;
        let place = |error: io::Error| refuse(&path, &error.to_string());
        // Before anything is created beside it.
        std::fs::metadata(&path).map_or(Ok(()), |found| check_names(&path, &found))?;
        let lock = open_beside(&beside(&path, "-lock")).map_err(place)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(&path)),
            Err(error) => return Err(place(error.into())),
        }
        check_what_is_there(&path)?;
        // SQLite would make it readable for all; its other files get the mode of this one.
        let database = open_or_create(&path).map_err(place)?;
        let found = database.metadata().map_err(place)?;
        check_names(&path, &found)?;
        let given = std::path::absolute(given).ok().filter(|given| *given != path);
        let file = Self { path, given, id: FileId::of(&found), database, lock };
        file.lock_inode()?;
        Ok(file)
    }

    /// The real path: neither it nor its directory is a symbolic link.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path that was given, if it leads to the file by symbolic links: these may be changed while the node runs.
    pub fn given(&self) -> Option<&Path> {
        self.given.as_deref()
    }

    /// Which file was opened.
    pub const fn id(&self) -> FileId {
        self.id
    }

    /// Attributes of the file that was opened, whatever has its name now.
    pub fn opened(&self) -> io::Result<Metadata> {
        self.database.metadata()
    }

    /// The first bytes of the file that was opened.
    pub fn header(&self) -> io::Result<[u8; 100]> {
        let mut header = [0; 100];
        self.database.read_exact_at(&mut header, 0)?;
        Ok(header)
    }

    /// Writes a line into the lock file, for the next start, and waits until it is on the disk.
    ///
    /// At any moment the first line is the one before or this one, whole: a kill may come in between.
    pub fn note(&self, line: &str) -> io::Result<()> {
        self.lock.write_all_at(line.as_bytes(), 0)?;
        self.lock.set_len(line.len() as u64)?;
        self.lock.sync_data()
    }

    /// The first line of the lock file, with its end.
    pub fn noted(&self) -> String {
        let mut line = [0; 64];
        let length = self.lock.read_at(&mut line, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&line[..length]);
        text.split_inclusive('\n').next().unwrap_or_default().to_owned()
    }

    /// Locks the inode, so that another name of the file, in this or another mount namespace, finds it in use.
    ///
    /// A lock of the open file description, since a process loses the others of a file when it closes any descriptor of it.
    fn lock_inode(&self) -> Result<(), StoreError> {
        let range = nix::libc::flock {
            l_type: nix::libc::F_WRLCK as i16,
            l_whence: nix::libc::SEEK_SET as i16,
            l_start: LOCKED_BYTE,
            l_len: 1,
            l_pid: 0,
        };
        match fcntl(&self.database, FcntlArg::F_OFD_SETLK(&range)) {
            Ok(_) => Ok(()),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => Err(in_use(&self.path)),
            Err(error) => Err(refuse(&self.path, &format!("it cannot be locked: {error}"))),
        }
    }
}

/// Rejects a file that others can open by a name beside which its log is not.
fn check_names(path: &Path, found: &Metadata) -> Result<(), StoreError> {
    let misnamed = |reason: String| Err(StoreError::Name { place: path.display().to_string(), reason });
    if !found.is_file() {
        return Err(refuse(path, NOT_REGULAR));
    }
    if found.nlink() > 1 {
        let (names, path) = (found.nlink(), path.display());
        return misnamed(format!(
            "the file has {names} names (hard links), and its log would lie beside one of them only; remove the others \
             (`find DIRECTORY -samefile {path}` lists them), or copy it to a file of its own"
        ));
    }
    if is_mount_point(path) {
        let what = "the file is mounted by itself, so that its log would lie outside of what is mounted";
        return misnamed(format!("{what}; mount its directory"));
    }
    Ok(())
}

/// A name beside the database: `tasks.db` and `-lock` make `tasks.db-lock`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens a file of the store's own beside the database, and creates it if it does not exist.
///
/// # Errors
/// When it is a symbolic link, or another name of a file: a user with write access to the directory could make the
/// store overwrite a file of its user.
pub(super) fn open_beside(path: &Path) -> io::Result<File> {
    let refuse = |what: &str| io::Error::other(format!("{} {what}; remove it", path.display()));
    let file = open_or_create(path).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::ELOOP) => refuse("is a symbolic link"),
        _ => io::Error::new(error.kind(), format!("{}: {error}", path.display())),
    })?;
    let found = file.metadata()?;
    match found.is_file() {
        false => Err(refuse("is no regular file")),
        true if found.nlink() > 1 => Err(refuse("is another name of a file (a hard link)")),
        true => Ok(file),
    }
}

fn open_or_create(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).custom_flags(flags).open(path)
}

/// The path without symbolic links.
fn resolve(given: &Path) -> Result<PathBuf, StoreError> {
    let refuse = |reason: &str| refuse(given, reason);
    let directory = given.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(refuse(&format!("there is no directory {}", directory.display())));
    }
    let name = given.file_name().ok_or_else(|| refuse("it names no file"))?;
    match std::fs::symlink_metadata(given) {
        Ok(found) if found.is_symlink() => follow(given, &found),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refuse(&error.to_string())),
        Ok(found) if is_special(&found) => Err(refuse(NOT_REGULAR)),
        Ok(_) | Err(_) => {
            let directory = directory.canonicalize().map_err(|error| refuse(&error.to_string()))?;
            Ok(directory.join(name))
        }
    }
}

/// Follows a symbolic link to the file, if this user or root made it: others could lead the node to another store.
fn follow(link: &Path, found: &Metadata) -> Result<PathBuf, StoreError> {
    let misnamed = |reason: String| StoreError::Name { place: link.display().to_string(), reason };
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own && found.uid() != 0 {
        let owner = found.uid();
        return Err(misnamed(format!("it is a symbolic link that user {owner} made; name the file that it leads to")));
    }
    let real = link.canonicalize().map_err(|error| {
        let target = std::fs::read_link(link).unwrap_or_default();
        misnamed(format!(
            "it is a symbolic link to {}, which cannot be opened ({error}); create the store by its real name, or mount \
             the disk that it lies on",
            target.display()
        ))
    })?;
    match real.metadata() {
        Ok(found) if !is_special(&found) => Ok(real),
        _ => Err(refuse(&real, NOT_REGULAR)),
    }
}

fn is_special(file: &Metadata) -> bool {
    let kind = file.file_type();
    kind.is_dir() || kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()
}

/// Refuses to begin a new store where an older one has left its log, or was cut to nothing.
fn check_what_is_there(path: &Path) -> Result<(), StoreError> {
    let size = |path: &Path| std::fs::metadata(path).map(|file| file.len()).ok();
    let (log, reserve) = (beside(path, "-wal"), beside(path, "-reserve"));
    let (log_bytes, has_reserve) = (size(&log).unwrap_or(0), size(&reserve).is_some());
    let damaged = |what: &str, remedy: &str| {
        Err(super::failure::damaged(path, format!("{what}; put the database back, or {remedy} for a new store")))
    };
    match size(path) {
        Some(0) if log_bytes > 0 => {
            let (log, reserve) = (log.display(), reserve.display());
            damaged(
                &format!("it is empty, though its log {log} is there: it was cut to nothing"),
                &format!("remove {log} and {reserve}"),
            )
        }
        Some(0) if has_reserve => damaged(
            "it is empty, though the reserve beside it shows that a store was there: it was cut to nothing",
            &format!("remove {}", reserve.display()),
        ),
        None if log_bytes > 0 => {
            let log = log.display();
            damaged(&format!("the database is gone, though its log {log} is there"), &format!("remove {log}"))
        }
        None if has_reserve => {
            tracing::warn!(path = %path.display(), "store: the database file is missing, only files beside it exist; creating a new store");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether a file is mounted by itself, such as a volume of a container that is one file.
fn is_mount_point(path: &Path) -> bool {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn in_use(path: &Path) -> StoreError {
    StoreError::InUse { place: path.display().to_string() }
}

fn refuse(path: &Path, reason: &str) -> StoreError {
    StoreError::Place { place: path.display().to_string(), reason: reason.to_owned() }
}
