//! Standard output and standard error. Only this module writes to them.
//!
//! A command waits for the reader of its output. The service must not. Once the streams are detached, each line goes
//! through a [`LineWriter`], so that a slow, full or closed reader does not block the node.

use std::{
    io::{self, ErrorKind, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::OnceLock,
    time::Duration,
};

use anyhow::Context;

use crate::line_writer::{LineWriter, Watcher};

static DETACHED: OnceLock<Detached> = OnceLock::new();

struct Detached {
    stdout: LineWriter,
    stderr: LineWriter,
}

/// From now on both streams are written by threads of their own. Returns the one of standard error, for the log.
/// `watcher` gets the reports of lines that standard error loses.
pub fn detach(watcher: Watcher) -> anyhow::Result<LineWriter> {
    if let Some(streams) = DETACHED.get() {
        return Ok(streams.stderr.clone());
    }
    let stderr = start("stderr", io::stderr().as_fd(), watcher)?;
    let stdout = start("stdout", io::stdout().as_fd(), Watcher::NONE)?;
    Ok(DETACHED.get_or_init(|| Detached { stdout, stderr }).stderr.clone())
}

fn start(name: &str, stream: BorrowedFd<'_>, watcher: Watcher) -> anyhow::Result<LineWriter> {
    let own =
        stream.try_clone_to_owned().with_context(|| format!("{name} cannot be opened again; close some files"))?;
    LineWriter::start(name, own, watcher).with_context(|| format!("there is no thread to write {name}"))
}

/// Returns how many lines standard error has lost since it was detached.
pub fn lost() -> u64 {
    DETACHED.get().map_or(0, |streams| streams.stderr.lost())
}

/// Writes the waiting lines of detached streams, at most this long each.
pub fn flush(limit: Duration) {
    if let Some(streams) = DETACHED.get() {
        streams.stdout.flush(limit);
        streams.stderr.flush(limit);
    }
}

/// Writes a line to standard output. A reader that has closed the stream, such as `head`, is not an error. Returns
/// whether there is a reader.
///
/// # Errors
/// When the line cannot be written, for example for lack of space.
pub fn answer(line: &str) -> io::Result<bool> {
    if let Some(streams) = DETACHED.get() {
        streams.stdout.push(format!("{line}\n").into_bytes());
        return Ok(true);
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("standard output cannot be written: {error}; what the command did before that is done"),
        )),
    }
}

/// Writes a line for people to standard error: an error, or a note beside the answer.
pub fn note(line: &str) {
    match DETACHED.get() {
        Some(streams) => streams.stderr.push(format!("{line}\n").into_bytes()),
        // `eprintln!` panics without a reader.
        None => drop(writeln!(io::stderr().lock(), "{line}")),
    }
}
