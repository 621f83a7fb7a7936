//! The files of sessions below HOME, and files below a working directory. No link is followed: an agent may have replaced
//! any directory by one, and the node may be root.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchown, fstat, mkdirat, openat, unlinkat},
    io::Errno,
    process::{Gid, Uid},
};

use super::conversation::SessionFile;
use crate::process::Owner;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Most entries that a pattern may lead through, and most files of one session.
const MOST_ENTRIES: usize = 20_000;
const MOST_FILES: usize = 64;

/// Reads the files below `home` that patterns name. `{session}` in a pattern is the id of the session, `{session:8}` its
/// first 8 characters, and `*` any part of one name.
///
/// Files that are not text are left out. The answer is `None` if all together have more than `most_bytes`.
pub(super) fn collect(
    home: &Path,
    patterns: &[String],
    session: &str,
    most_bytes: u64,
) -> io::Result<Option<Vec<SessionFile>>> {
    let root = match openat(CWD, home, DIRECTORY, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(Some(Vec::new())),
        Err(error) => return Err(error.into()),
    };
    let mut walk = Walk { files: Vec::new(), entries: 0, room: most_bytes, is_full: false };
    if session.contains(['/', '*']) {
        // An id of the agent's own choice must not lead elsewhere.
        return Ok(Some(Vec::new()));
    }
    for pattern in patterns.iter().filter(|pattern| !pattern.split('/').any(|name| name == "..")) {
        let short: String = session.chars().take(8).collect();
        let pattern = pattern.replace("{session:8}", &short).replace("{session}", session);
        let names: Vec<&str> = pattern.split('/').filter(|name| !name.is_empty()).collect();
        walk.follow(&root, &names, String::new())?;
    }
    walk.files.sort_by(|a, b| a.path.cmp(&b.path));
    walk.files.dedup_by(|a, b| a.path == b.path);
    Ok((!walk.is_full).then_some(walk.files))
}

struct Walk {
    files: Vec<SessionFile>,
    entries: usize,
    room: u64,
    is_full: bool,
}

impl Walk {
    fn follow(&mut self, directory: &OwnedFd, names: &[&str], path: String) -> io::Result<()> {
        let [name, rest @ ..] = names else { return Ok(()) };
        if !name.contains('*') {
            return self.enter(directory, name, rest, &path);
        }
        let mut found = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                break;
            }
            let file = entry.file_name().to_string_lossy().into_owned();
            if file != "." && file != ".." && is_match(name, &file) {
                found.push(file);
            }
        }
        found.sort_unstable();
        found.iter().try_for_each(|file| self.enter(directory, file, rest, &path))
    }

    fn enter(&mut self, directory: &OwnedFd, name: &str, rest: &[&str], path: &str) -> io::Result<()> {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        if rest.is_empty() {
            return self.read(directory, name, path);
        }
        match openat(directory, name, DIRECTORY, Mode::empty()) {
            Ok(next) => self.follow(&next, rest, path),
            // It is not there, or no directory, or a link.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&mut self, directory: &OwnedFd, name: &str, path: String) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&file)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(self.room + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > self.room || self.files.len() == MOST_FILES {
            self.is_full = true;
            return Ok(());
        }
        self.room -= bytes.len() as u64;
        if let Ok(text) = String::from_utf8(bytes) {
            self.files.push(SessionFile { path, text });
        }
        Ok(())
    }
}

/// Matches a name with a pattern in which `*` is any text.
fn is_match(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let inner = name.strip_prefix(first).and_then(|name| name.strip_suffix(last));
    let Some(mut inner) = inner else { return false };
    middle.split('*').all(|part| {
        let found = inner.find(part);
        inner = found.map_or("", |at| &inner[at + part.len()..]);
        found.is_some()
    })
}

/// Writes a file below `root`, with the directories that it needs. It replaces what is there, also a link.
///
/// # Errors
/// When the path leads out of `root`, or a directory on the way is a link or belongs to somebody else.
pub(super) fn write(root: &Path, path: &str, bytes: &[u8], owner: Option<Owner>) -> io::Result<()> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    let Some((name, directories)) = names.split_last().filter(|_| !names.contains(&"..")) else {
        let message = format!("`{path}` is no path below {}; use one without `..`", root.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    };
    let mut directory = openat(CWD, root, DIRECTORY, Mode::empty())?;
    for name in directories {
        match mkdirat(&directory, *name, Mode::RWXU) {
            Ok(()) => {
                directory = openat(&directory, *name, DIRECTORY, Mode::empty())?;
                own(&directory, owner)?;
            }
            Err(Errno::EXIST) => directory = openat(&directory, *name, DIRECTORY, Mode::empty())?,
            Err(error) => return Err(error.into()),
        }
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = match openat(&directory, *name, flags, mode) {
        Err(Errno::LOOP) => {
            unlinkat(&directory, *name, AtFlags::empty())?;
            openat(&directory, *name, flags, mode)?
        }
        opened => opened?,
    };
    own(&file, owner)?;
    std::fs::File::from(file).write_all(bytes)
}

/// Reads a text file below `root`.
///
/// # Errors
/// When there is none, it leads through a link, or it is larger than `most_bytes`.
pub(super) fn read(root: &Path, path: &str, most_bytes: u64) -> io::Result<String> {
    let pattern = path.trim_start_matches('/').replace('*', "");
    let found = collect(root, &[pattern], "", most_bytes)?;
    let Some(mut found) = found else {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("`{path}` has more than {most_bytes} bytes")));
    };
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no text file `{path}`"));
    found.pop().map(|file| file.text).ok_or_else(missing)
}

fn own(file: impl AsFd, owner: Option<Owner>) -> io::Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    Ok(fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn collected(home: &Path, patterns: &[&str]) -> Vec<(String, String)> {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let files = collect(home, &patterns, "abcdefghij", 1_000).unwrap().unwrap();
        files.into_iter().map(|file| (file.path, file.text)).collect()
    }

    #[test]
    fn patterns_find_the_files_of_a_session_and_follow_no_link() {
        let home = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| write(home.path(), path, text.as_bytes(), None).unwrap();
        file(".c/2026/11/rollout-1-abcdefghij.jsonl", "one\n");
        file(".c/2026/12/rollout-2-other.jsonl", "no");
        file(".v/session_1_abcdefgh/meta.json", "{}");
        symlink("/etc", home.path().join(".c/2026/13")).unwrap();
        symlink("/etc/passwd", home.path().join(".v/session_1_abcdefgh/link.json")).unwrap();
        fs::write(home.path().join(".v/session_1_abcdefgh/bytes.json"), [0xff, 0xfe]).unwrap();
        assert_eq!(
            collected(home.path(), &[".c/*/*/rollout-*{session}.jsonl", ".v/session_*_{session:8}/*.json", ".none/*"]),
            [
                (".c/2026/11/rollout-1-abcdefghij.jsonl".to_owned(), "one\n".to_owned()),
                (".v/session_1_abcdefgh/meta.json".to_owned(), "{}".to_owned()),
            ]
        );
        assert!(collected(home.path(), &[".c/2026/13/passwd", "../../etc/passwd"]).is_empty());
        let patterns = [".c/*/*/*".to_owned()];
        assert_eq!(collect(home.path(), &patterns, "x", 3).unwrap(), None, "over the limit");
    }

    #[test]
    fn a_star_is_any_part_of_one_name() {
        for (pattern, name, expected) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("aa*a", "aa", false),
            ("*b*", "abc", true),
            ("*b*b*", "abc", false),
            ("*", "", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("r-*x.j", "r-1-x.j", true),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn nothing_is_written_outside() {
        let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = outside.path().join("file");
        fs::write(&target, "kept").unwrap();
        symlink(outside.path(), home.path().join("dir")).unwrap();
        symlink(&target, home.path().join("file")).unwrap();
        assert!(write(home.path(), "dir/file", b"lost", None).is_err());
        assert!(write(home.path(), "../x", b"lost", None).is_err());
        write(home.path(), "file", b"new", None).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        assert_eq!(read(home.path(), "file", 10).unwrap(), "new");
        assert!(read(home.path(), "dir/file", 10).is_err());
    }
}
