//! Why a child cannot be started: the system answers with a number, and `No such file` may mean four things.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::{ProcessSpec, sandbox::unattainable};

/// Checks the working directory before the spawn, whose error would name the program.
pub(super) fn check_directory(cwd: &Path) -> io::Result<()> {
    let refuse = |kind, why: String| {
        let message = format!("its working directory (`cwd`) {} {why}", cwd.display());
        Err(io::Error::new(kind, message))
    };
    match fs::metadata(cwd) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => refuse(io::ErrorKind::NotADirectory, "is not a directory; create it or name another".to_owned()),
        Err(error) => {
            refuse(error.kind(), format!("is not a directory that can be used: {error}; create it or name another"))
        }
    }
}

/// Explains why a spawn failed. `path` is the child's PATH.
pub(super) fn explained(error: &io::Error, spec: &ProcessSpec, cwd: &Path, path: Option<&OsStr>) -> io::Error {
    let why = Errno::from_io_error(error).and_then(|errno| reason(errno, spec, cwd, path));
    match why {
        Some(why) => io::Error::new(error.kind(), why),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn reason(errno: Errno, spec: &ProcessSpec, cwd: &Path, path: Option<&OsStr>) -> Option<String> {
    if let (Errno::PERM | Errno::INVAL, Some((name, value, most))) = (errno, unattainable(&spec.limits)) {
        return Some(format!(
            "`limits.{name}` = {value} is above the node's own hard limit of {most}; lower it, or raise that of the node"
        ));
    }
    match errno {
        Errno::AGAIN => Some(
            "the system allows no more processes or threads (limits of the user or of the container, such as \
             RLIMIT_NPROC, TasksMax or pids.max); raise them, or lower the pool's `max`"
                .to_owned(),
        ),
        Errno::MFILE | Errno::NFILE => Some(
            "the node has no file descriptor left; raise its limit of open files (LimitNOFILE, ulimit -n), or lower the \
             pool's `max`"
                .to_owned(),
        ),
        Errno::NOMEM => Some("the system has no memory for another process; lower the pool's `max`".to_owned()),
        Errno::TOOBIG => Some("its arguments and its environment are larger than the system accepts; shorten `argv` \
            or `env`".to_owned()),
        _ => program(errno, &spec.argv[0], cwd, path),
    }
}

/// What is wrong with the program.
fn program(errno: Errno, name: &str, cwd: &Path, path: Option<&OsStr>) -> Option<String> {
    if !name.contains('/') {
        return match look_up(name, path) {
            Some(found) => file(errno, &found, cwd),
            None => Some(not_in_path(path)),
        };
    }
    file(errno, &std::path::absolute(name).ok()?, cwd)
}

/// Explains before a start what is wrong with a program, as far as that shows without starting it. `path` is the
/// child's PATH.
pub(super) fn unusable_program(name: &str, path: Option<&OsStr>) -> Option<String> {
    let program = match name.contains('/') {
        true => std::path::absolute(name).ok()?,
        false => match look_up(name, path) {
            Some(found) => found,
            None => return Some(format!("`{name}`: {}", not_in_path(path))),
        },
    };
    let lacks_interpreter = || {
        let named = shebang(&program)?;
        (!Path::new(&named).exists()).then(|| interpreter(&program))
    };
    unusable(&program).or_else(lacks_interpreter)
}

fn not_in_path(path: Option<&OsStr>) -> String {
    let path = path.map_or_else(|| "none".into(), OsStr::to_string_lossy);
    let remedy = "install it, or give its whole path in `argv`";
    format!("no program of that name is in the PATH that agents get ({path}); {remedy}")
}

/// The first file of that name that the system would try.
fn look_up(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let path = path.unwrap_or_else(|| OsStr::new("/bin:/usr/bin"));
    std::env::split_paths(path).map(|directory| directory.join(name)).find(|candidate| candidate.exists())
}

fn file(errno: Errno, program: &Path, cwd: &Path) -> Option<String> {
    unusable(program).or_else(|| not_started(errno, program, cwd))
}

/// Why no user can execute a file.
fn unusable(program: &Path) -> Option<String> {
    let shown = program.display();
    let metadata = match fs::metadata(program) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some(format!("there is no file {shown}; name the program by its whole path in `argv`"));
        }
        Err(error) => return Some(format!("{shown} cannot be reached: {error}")),
    };
    if metadata.is_dir() {
        return Some(format!("{shown} is a directory; name a program in `argv`"));
    }
    if metadata.mode() & 0o111 == 0 {
        return Some(format!(
            "{shown} is not executable; make it so (chmod +x), or name its interpreter first in `argv`"
        ));
    }
    None
}

/// Why the system does not start a file that seems correct.
fn not_started(errno: Errno, program: &Path, cwd: &Path) -> Option<String> {
    let shown = program.display();
    match errno {
        Errno::ACCESS => Some(format!(
            "{shown} may not be executed by the agent's user; check the modes of the file and of the directories above \
             it and above {}, and whether the file system is mounted with noexec",
            cwd.display()
        )),
        Errno::NOENT | Errno::NOTDIR => Some(interpreter(program)),
        _ => None,
    }
}

/// The file exists, so its interpreter is missing.
fn interpreter(program: &Path) -> String {
    let shown = program.display();
    match shebang(program) {
        Some(interpreter) if interpreter.ends_with('\r') => format!(
            "the first line of {shown} ends with a carriage return, as on Windows, so its interpreter `{}` is not found; \
             write it with Unix line breaks",
            interpreter.trim_end()
        ),
        Some(interpreter) => {
            format!(
                "the interpreter `{interpreter}` that the first line of {shown} names is not there; install it or name another"
            )
        }
        None => format!("{shown} is a binary for another system: its loader is not there; build it for this one"),
    }
}

fn shebang(program: &Path) -> Option<String> {
    let mut begin = Vec::new();
    File::open(program).ok()?.take(256).read_to_end(&mut begin).ok()?;
    let line = begin.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = line.trim_ascii_start();
    let word = line.split(|byte| matches!(byte, b' ' | b'\t')).next()?;
    Some(OsStr::from_bytes(word).to_string_lossy().into_owned())
}
