//! Lines for a descriptor that may be full, broken, or without a reader.
//!
//! A caller that writes a line never waits and never fails. A separate thread writes the lines, in order. Lines that do
//! not fit into the queue, or that the descriptor rejects, are lost and counted.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::OwnedFd,
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use rustix::event::{PollFd, PollFlags, poll};
use tokio::time::Instant;

/// Bytes that may wait: a burst of some ten thousand lines.
const MOST_BYTES: usize = 4 << 20;
/// Bytes of one write. A pipe that is ready accepts this much without blocking (`PIPE_BUF` of Linux).
const AT_ONCE: usize = 4096;
/// How long to wait for a descriptor that reports to be ready and then is not.
const PAUSE: Duration = Duration::from_millis(10);
/// The shortest time between two reports of lost lines.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Receives reports of lost lines. Both methods may run on the writing thread, and must not wait.
#[derive(Clone, Copy)]
pub struct Watcher {
    /// A line was lost: how many were lost so far.
    pub lost: fn(u64),
    /// Lines are written again, and none waits: how many were lost meanwhile.
    pub recovered: fn(u64),
}

impl Watcher {
    /// Reports nothing.
    pub const NONE: Self = Self { lost: |_| {}, recovered: |_| {} };
}

/// The writing end. Cloning is cheap.
#[derive(Clone)]
pub struct LineWriter {
    queue: Arc<Queue>,
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    watcher: Watcher,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// The thread writes a line.
    busy: bool,
    lost: u64,
    /// How many of these the watcher has been notified of, and when.
    reported: u64,
    reported_at: Option<Instant>,
}

impl LineWriter {
    /// Starts the thread that writes to `to`.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(name: &str, to: OwnedFd, watcher: Watcher) -> io::Result<Self> {
        let queue = Arc::new(Queue { state: Mutex::default(), changed: Condvar::new(), watcher });
        let lines = queue.clone();
        let mut target = Target { file: File::from(to), is_cut: false };
        thread::Builder::new().name(name.to_owned()).spawn(move || lines.write_to(&mut target))?;
        Ok(Self { queue })
    }

    /// Adds a line, which ends with its line break.
    pub fn push(&self, line: Vec<u8>) {
        let mut state = self.queue.lock();
        if state.waiting_bytes + line.len() > MOST_BYTES {
            drop(state);
            return self.lose();
        }
        state.waiting_bytes += line.len();
        state.waiting.push_back(line);
        drop(state);
        self.queue.changed.notify_all();
    }

    /// Counts a line that was not even added.
    pub fn lose(&self) {
        let mut state = self.queue.lock();
        state.lost += 1;
        let lost = state.lost;
        drop(state);
        (self.queue.watcher.lost)(lost);
    }

    /// Returns how many lines were lost so far.
    pub fn lost(&self) -> u64 {
        self.queue.lock().lost
    }

    /// Waits until all lines are written or lost, for at most `limit`.
    pub fn flush(&self, limit: Duration) {
        let is_busy = |state: &mut State| state.busy || !state.waiting.is_empty();
        self.queue.changed.wait_while_for(&mut self.queue.lock(), is_busy, limit);
    }
}

/// A call is a line: `tracing-subscriber` writes each event by one.
impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Writes lines for the lifetime of the process.
    fn write_to(&self, target: &mut Target) {
        loop {
            let line = self.next();
            let written = target.write_line(&line);
            self.note(written.is_err());
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.waiting.pop_front() {
                state.waiting_bytes -= line.len();
                state.busy = true;
                return line;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Records the fate of a line. The watcher is notified without the lock, since it may write lines itself, and
    /// before the line counts as done.
    fn note(&self, is_lost: bool) {
        let mut state = self.lock();
        state.lost += u64::from(is_lost);
        let lost = state.lost;
        let unreported = if is_lost { 0 } else { state.unreported() };
        drop(state);
        if is_lost {
            (self.watcher.lost)(lost);
        }
        if unreported > 0 {
            (self.watcher.recovered)(unreported);
        }
        self.lock().busy = false;
        self.changed.notify_all();
    }
}

impl State {
    /// Returns how many lost lines to report now: once no line waits, and not too often.
    fn unreported(&mut self) -> u64 {
        let now = Instant::now();
        let is_too_soon = self.reported_at.is_some_and(|at| now.saturating_duration_since(at) < REPORT_EVERY);
        if self.lost == self.reported || is_too_soon || !self.waiting.is_empty() {
            return 0;
        }
        self.reported_at = Some(now);
        let unreported = self.lost - self.reported;
        self.reported = self.lost;
        unreported
    }
}

/// The destination of lines.
struct Target {
    file: File,
    /// Whether the last line was cut: then the next one begins with a line break.
    is_cut: bool,
}

impl Target {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_cut {
            self.write_all(b"\n")?;
        }
        self.is_cut = true;
        self.write_all(line)?;
        self.is_cut = false;
        Ok(())
    }

    /// Writes all of it, however long a full pipe is not read.
    fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.wait_writable();
            match (&self.file).write(&bytes[..bytes.len().min(AT_ONCE)]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another writer of the descriptor was faster.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the descriptor accepts bytes, or fails. The following write returns the error.
    fn wait_writable(&self) {
        let _ = poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{PipeReader, Read, pipe},
        sync::atomic::{AtomicU64, Ordering},
    };

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn on_pipe() -> (LineWriter, PipeReader) {
        let (reader, writer) = pipe().expect("a pipe");
        (LineWriter::start("test", writer.into(), Watcher::NONE).expect("a thread"), reader)
    }

    fn full() -> OwnedFd {
        File::options().write(true).open("/dev/full").expect("Linux has it").into()
    }

    #[test]
    fn lines_are_written_whole_and_in_order() {
        let (writer, mut reader) = on_pipe();
        (0..100).for_each(|n| writer.push(format!("line {n}\n").into_bytes()));
        let expected: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let mut read = vec![0; expected.len()];
        reader.read_exact(&mut read).expect("all are written");
        assert_eq!((String::from_utf8(read).expect("text"), writer.lost()), (expected, 0));
    }

    #[test]
    fn a_pipe_that_nobody_reads_costs_lines_and_bounded_memory_but_holds_nobody_up() {
        let (writer, _unread) = on_pipe();
        let line = vec![b'x'; 1_000];
        (0..10_000).for_each(|_| writer.push(line.clone()));
        // 10 MB were pushed; 4 MiB wait, and the pipe has 64 KiB.
        assert!((5_000..6_000).contains(&writer.lost()), "{} lost", writer.lost());
        writer.flush(Duration::from_millis(1));
    }

    #[test]
    fn a_line_longer_than_a_pipe_takes_at_once_arrives_whole_also_where_writes_do_not_block() {
        let (mut reader, writer) = pipe().expect("a pipe");
        fcntl_setfl(&writer, OFlags::NONBLOCK).expect("it can be made so");
        let writer = LineWriter::start("test", writer.into(), Watcher::NONE).expect("a thread");
        let line = vec![b'y'; 300_000];
        writer.push(line.clone());
        let mut read = vec![0; line.len()];
        reader.read_exact(&mut read).expect("it is written");
        writer.flush(SOON);
        assert!(read == line && writer.lost() == 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        static TOLD: AtomicU64 = AtomicU64::new(0);
        let watcher = Watcher { lost: |lost| TOLD.store(lost, Ordering::SeqCst), ..Watcher::NONE };
        let writer = LineWriter::start("test", full(), watcher).expect("a thread");
        (0..7).for_each(|_| writer.push(b"line\n".to_vec()));
        writer.flush(SOON);
        assert_eq!(writer.lost(), 7);
        let (reader, pipe) = pipe().expect("a pipe");
        drop(reader);
        let writer = LineWriter::start("test", pipe.into(), Watcher::NONE).expect("a thread");
        writer.push(b"line\n".to_vec());
        writer.flush(SOON);
        assert_eq!((writer.lost(), TOLD.load(Ordering::SeqCst)), (1, 7));
    }

    #[test]
    fn what_was_lost_is_told_once_lines_are_written_again() {
        static RECOVERED: AtomicU64 = AtomicU64::new(0);
        let (mut reader, pipe) = pipe().expect("a pipe");
        let watcher = Watcher { recovered: |lost| RECOVERED.store(lost, Ordering::SeqCst), ..Watcher::NONE };
        let writer = LineWriter::start("test", pipe.into(), watcher).expect("a thread");
        (0..6_000).for_each(|_| writer.push(vec![b'x'; 1_000]));
        let lost = writer.lost();
        let mut read = vec![0; (6_000 - lost as usize) * 1_000];
        reader.read_exact(&mut read).expect("what was not lost is written");
        writer.flush(SOON);
        writer.push(b"more\n".to_vec());
        reader.read_exact(&mut [0; 5]).expect("it goes on");
        assert!(lost > 0 && RECOVERED.load(Ordering::SeqCst) == lost, "{lost} lost");
    }

    #[test]
    fn the_line_after_one_that_was_cut_short_begins_on_a_line_of_its_own() {
        let (mut reader, writer) = pipe().expect("a pipe");
        let mut target = Target { file: File::from(full()), is_cut: false };
        assert!(target.write_line(b"lost\n").is_err());
        target.file = File::from(OwnedFd::from(writer));
        target.write_line(b"next\n").and_then(|()| target.write_line(b"last\n")).expect("a pipe with room");
        drop(target);
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("text");
        assert_eq!(read, "\nnext\nlast\n");
    }
}
