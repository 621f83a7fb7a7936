//! The end of a child's standard error.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};

use super::stderr_lines::{LineQueue, StderrLines};
use tokio::{
    io::AsyncReadExt,
    process::ChildStderr,
    task::JoinHandle,
    time::{Instant, timeout},
};

/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 4 << 10;
/// Longest line and most lines per second that reach the log: a child that floods must not fill the disk.
const LOGGED_LINE_BYTES: usize = 1 << 10;
const LOGGED_LINES_PER_SECOND: u32 = 100;
/// What an error message quotes.
const QUOTED_LINES: usize = 5;
const QUOTED_BYTES: usize = 2 << 10;

/// Reads a child's standard error for as long as it is open, and retains the end of it.
///
/// A child hangs once the pipe is full, so it must be read.
pub(super) struct StderrTail {
    ring: Arc<Mutex<VecDeque<u8>>>,
    lines: Arc<LineQueue>,
    drain: JoinHandle<()>,
}

impl StderrTail {
    /// Begins to read. `pid` names the child in the log.
    pub(super) fn new(pipe: ChildStderr, capacity_bytes: usize, pid: u32) -> Self {
        let ring = Arc::new(Mutex::new(VecDeque::new()));
        let lines = Arc::<LineQueue>::default();
        let log = LineLog::new(pid, Arc::clone(&lines));
        let drain = tokio::spawn(drain(pipe, Arc::clone(&ring), capacity_bytes, log));
        Self { ring, lines, drain }
    }

    /// Returns the lines from now on.
    pub(super) fn follow(&self) -> StderrLines {
        StderrLines::follow(Arc::clone(&self.lines))
    }

    /// Quotes the last lines once the pipe has ended or `limit` is over, so that the last lines of a dying child are in it.
    pub(super) async fn quote_at_end(&mut self, limit: Duration) -> String {
        if !self.drain.is_finished() {
            // A descendant outside of the group may have the pipe open for ever.
            let _ended = timeout(limit, &mut self.drain).await;
        }
        self.quote()
    }

    /// The last lines, one per line; `None` if the child wrote nothing.
    pub(super) fn tail(&self) -> Option<String> {
        let lines = self.lines();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// Quotes the last lines, to be appended to a message; empty if the child wrote nothing.
    pub(super) fn quote(&self) -> String {
        let lines = self.lines();
        let lines = &lines[lines.len().saturating_sub(QUOTED_LINES)..];
        match lines.is_empty() {
            true => String::new(),
            false => format!("; its standard error ends with: {}", lines.join(" | ")),
        }
    }

    /// The lines of the last bytes, without those that are empty.
    fn lines(&self) -> Vec<String> {
        let bytes: Vec<u8> = locked(&self.ring).iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(QUOTED_BYTES)..]).into_owned();
        text.lines().map(printable).filter(|line| !line.is_empty()).collect()
    }
}

impl Drop for StderrTail {
    fn drop(&mut self) {
        self.drain.abort();
    }
}

async fn drain(mut pipe: ChildStderr, ring: Arc<Mutex<VecDeque<u8>>>, capacity_bytes: usize, mut log: LineLog) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        retain_end(&mut locked(&ring), &chunk[..count], capacity_bytes);
        log.write(&chunk[..count]);
    }
}

fn retain_end(ring: &mut VecDeque<u8>, bytes: &[u8], capacity_bytes: usize) {
    let bytes = &bytes[bytes.len().saturating_sub(capacity_bytes)..];
    let excess = (ring.len() + bytes.len()).saturating_sub(capacity_bytes);
    ring.drain(..excess);
    ring.extend(bytes);
}

/// The ring is plain bytes: a panic elsewhere cannot leave it inconsistent.
fn locked(ring: &Mutex<VecDeque<u8>>) -> MutexGuard<'_, VecDeque<u8>> {
    ring.lock()
}

/// Makes a line safe to show: control characters could rewrite a terminal.
fn printable(line: &str) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim_end().to_owned()
}

/// Writes the lines to the log, at debug level and at a bounded rate, and passes them on to the task that runs.
struct LineLog {
    pid: u32,
    lines: Arc<LineQueue>,
    line: Vec<u8>,
    second: Instant,
    written: u32,
    suppressed: u64,
}

impl LineLog {
    fn new(pid: u32, lines: Arc<LineQueue>) -> Self {
        Self { pid, lines, line: Vec::new(), second: Instant::now(), written: 0, suppressed: 0 }
    }

    fn write(&mut self, bytes: &[u8]) {
        if !tracing::enabled!(tracing::Level::DEBUG) && !self.lines.is_followed() {
            self.line.clear();
            return;
        }
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ if self.line.len() < LOGGED_LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = printable(&String::from_utf8_lossy(&self.line));
        self.line.clear();
        self.lines.push(&line);
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.start_second();
        }
        if self.written >= LOGGED_LINES_PER_SECOND {
            self.suppressed += 1;
            return;
        }
        self.written += 1;
        tracing::debug!(pid = self.pid, "agent stderr: {line}");
    }

    fn start_second(&mut self) {
        if self.suppressed > 0 {
            tracing::debug!(pid = self.pid, lines = self.suppressed, "agent stderr: lines left out");
        }
        (self.second, self.written, self.suppressed) = (Instant::now(), 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_retains_the_end() {
        let mut ring = VecDeque::new();
        for chunk in ["abc", "defgh", "i", "0123456789abcdef"] {
            retain_end(&mut ring, chunk.as_bytes(), 6);
            assert!(ring.len() <= 6);
        }
        assert_eq!(ring, b"abcdef");
    }

    #[test]
    fn control_characters_are_not_shown() {
        assert_eq!(printable("\u{1b}[31mred\u{7}\r"), " [31mred");
    }
}
