//! The lines that go to one child and come from it, and the end of the child.

use std::{io, ops::Range, sync::Arc, time::Duration};

use forerunner_context::{Dictionary, Error, StreamPacker, StreamUnpacker, StreamWindow};
use forerunner_runtime::agent::AgentError;
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, ChildStdout},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    ProcessSpec,
    group::ProcessGroup,
    line::{LineError, LineReader},
    spawner,
    stderr::StderrTail,
    stderr_lines::StderrLines,
};

/// How long the output of a child that ended is still read, if a descendant that escaped has it open.
const DRAIN_AFTER_EXIT: Duration = Duration::from_millis(50);
/// How long a child that closed a pipe may take to end: its status explains the reason.
const EXIT_AFTER_CLOSE: Duration = Duration::from_millis(250);
/// Longest wait for the end of its standard error, which explains why it ended.
const DRAIN_STDERR: Duration = Duration::from_millis(30);
/// How long the rest of a child's standard error may take to be read after its answer.
const STDERR_LAG: Duration = Duration::from_millis(5);
/// What a child may write packed beyond what it may write plain.
const PACKED_EXTRA_BYTES: usize = 64 << 10;

/// The pipes of one child. It owns the process group of the child: dropping it kills them all.
///
/// It writes and reads at the same time, so that a child that writes much before it reads cannot block both sides.
pub(crate) struct Wire {
    spec: Arc<ProcessSpec>,
    group: ProcessGroup,
    stdin: Option<ChildStdin>,
    stdout: LineReader<ChildStdout>,
    stderr: StderrTail,
    /// Bytes that the child has not read yet.
    outgoing: Vec<u8>,
    sent: usize,
    /// Packs the output of the node, if the child has chosen that.
    packer: Option<StreamPacker>,
    traffic: Traffic,
    /// When the child last read some of them.
    last_read_at: Instant,
    /// How much the child may write before it counts as flooding.
    budget: OutputBudget,
    /// Whether its standard output has ended.
    is_silent: bool,
    /// How long it may continue although it closed a pipe or ended, and what it did.
    closing: Option<(Instant, &'static str)>,
}

/// How much a child may write, and when.
struct OutputBudget {
    left_bytes: usize,
    /// The same for bytes as they arrive, packed: a stream can continue for ever without a line.
    left_packed_bytes: usize,
    total_bytes: usize,
    occasion: &'static str,
}

impl OutputBudget {
    const fn new(bytes: usize, occasion: &'static str) -> Self {
        // What packs worst grows by three bytes in 128 KiB, and by some with each message.
        let left_packed_bytes = bytes.saturating_add(bytes / 8).saturating_add(PACKED_EXTRA_BYTES);
        Self { left_bytes: bytes, left_packed_bytes, total_bytes: bytes, occasion }
    }
}

/// Bytes that went over the pipes so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    /// To the child, as they were written: packed, if it has chosen that.
    pub sent_bytes: u64,
    /// From the child, as they were read.
    pub read_bytes: u64,
    /// Of the child's lines that were read as messages.
    pub line_bytes: u64,
}

impl Wire {
    /// Starts the child. `name` is part of the name of its directory.
    pub(crate) async fn open(spec: Arc<ProcessSpec>, name: String) -> io::Result<Self> {
        let for_child = Arc::clone(&spec);
        let (group, pipes) = spawner::spawn(move || ProcessGroup::spawn(&for_child, &name)).await?;
        let budget = OutputBudget::new(spec.max_output_bytes, "while it started");
        Ok(Self {
            stdin: Some(pipes.stdin),
            stdout: LineReader::new(pipes.stdout, spec.max_line_bytes),
            stderr: StderrTail::new(pipes.stderr, spec.stderr_ring_bytes, group.pid()),
            spec,
            group,
            outgoing: Vec::new(),
            sent: 0,
            packer: None,
            traffic: Traffic::default(),
            last_read_at: Instant::now(),
            budget,
            is_silent: false,
            closing: None,
        })
    }

    /// Returns the child's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.group.pid()
    }

    /// Allows the child to write this much from now on. `occasion` describes when, for people.
    pub(crate) const fn allow(&mut self, bytes: usize, occasion: &'static str) {
        self.budget = OutputBudget::new(bytes, occasion);
    }

    /// Packs everything from now on, both ways, beginning with a dictionary if there is one.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn pack(&mut self, window: StreamWindow, dictionary: Option<&Dictionary>) -> Result<(), Error> {
        let (mut packer, mut unpacker) = (StreamPacker::new(window)?, StreamUnpacker::new(window)?);
        if let Some(dictionary) = dictionary {
            (packer, unpacker) = (packer.with_dictionary(dictionary)?, unpacker.with_dictionary(dictionary)?);
        }
        self.packer = Some(packer);
        self.stdout.unpack_with(unpacker);
        Ok(())
    }

    /// Returns the bytes that went over the pipe so far.
    pub(crate) const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Queues a line, which ends with a line break. It is written while the next line is awaited.
    ///
    /// # Errors
    /// `lost` when the line cannot be packed. The child is not usable then.
    pub(crate) fn write(&mut self, line: &[u8]) -> Result<(), AgentError> {
        if self.outgoing.is_empty() {
            self.last_read_at = Instant::now();
        }
        let before = self.outgoing.len();
        match &mut self.packer {
            None => self.outgoing.extend_from_slice(line),
            Some(packer) => packer.pack(line, &mut self.outgoing).map_err(|error| self.pack_error(&error))?,
        }
        self.traffic.sent_bytes += (self.outgoing.len() - before) as u64;
        Ok(())
    }

    /// Waits for the child's next line, and writes what waits to be written. Dropping the future loses nothing.
    /// [`Wire::bytes`] has the line until the next call.
    ///
    /// # Errors
    /// `lost` when the child ended, `protocol` when it broke a rule. The child is not usable afterwards.
    pub(crate) async fn next_line(&mut self) -> Result<Range<usize>, AgentError> {
        loop {
            if let Some(line) = self.buffered()? {
                return Ok(line);
            }
            if self.is_silent && self.group.has_ended() {
                return Err(self.lost().await);
            }
            let writing = self.stdin.is_some() && !self.outgoing.is_empty();
            let deadline = match self.closing {
                Some((until, _)) => Some(until),
                None if writing => Some(after(self.last_read_at, self.spec.write_timeout)),
                None => None,
            };
            tokio::select! {
                // After a time in which this thread was busy elsewhere, all is ready at once: the time is up last.
                biased;
                read = self.stdout.fill(), if !self.is_silent => {
                    match read {
                        Ok(Some(count)) => self.note_read(count)?,
                        Ok(None) | Err(_) => {
                            self.is_silent = true;
                            self.close("closed its standard output", EXIT_AFTER_CLOSE);
                        }
                    }
                }
                wrote = write(&mut self.stdin, &self.outgoing[self.sent..]), if writing => self.advance(wrote),
                () = self.group.exited(), if !self.group.has_ended() => self.close("ended", DRAIN_AFTER_EXIT),
                () = until(deadline), if deadline.is_some() => return Err(self.overdue().await),
            }
        }
    }

    /// Returns the next line that was read already.
    fn buffered(&mut self) -> Result<Option<Range<usize>>, AgentError> {
        let line = match self.stdout.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.line_error(&error)),
        };
        self.traffic.line_bytes += line.len() as u64 + 1;
        self.spend(line.len() + 1)?;
        Ok(Some(line))
    }

    /// Returns the bytes of the line that was just returned.
    pub(crate) fn bytes(&self, line: Range<usize>) -> &[u8] {
        self.stdout.bytes(line)
    }

    fn line_error(&self, error: &LineError) -> AgentError {
        let limit = self.spec.max_line_bytes;
        match (error, &self.packer) {
            (LineError::TooLong, None) => {
                self.protocol_error(&format!("wrote a line of more than max_line_bytes = {limit} bytes"))
            }
            (LineError::TooLong, Some(_)) => {
                self.protocol_error(&format!("packed a line of more than max_line_bytes = {limit} bytes"))
            }
            (LineError::Stream(error), _) => self.protocol_error(&format!("broke its packed output: {error}")),
        }
    }

    /// The error after which nothing more can be sent.
    fn pack_error(&self, error: &Error) -> AgentError {
        AgentError::lost(format!("{} cannot be written to: {error}", self.name()))
    }

    fn note_read(&mut self, bytes: usize) -> Result<(), AgentError> {
        self.traffic.read_bytes += bytes as u64;
        if self.packer.is_none() {
            return Ok(());
        }
        let OutputBudget { left_packed_bytes, total_bytes, occasion, .. } = &mut self.budget;
        let Some(left) = left_packed_bytes.checked_sub(bytes) else {
            let what = format!("wrote packed bytes that are more than its {total_bytes} bytes {occasion} can take");
            return Err(self.protocol_error(&what));
        };
        *left_packed_bytes = left;
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), AgentError> {
        let OutputBudget { left_bytes, total_bytes, occasion, .. } = &mut self.budget;
        let Some(left) = left_bytes.checked_sub(bytes) else {
            let what = format!("wrote more than {total_bytes} bytes {occasion}");
            return Err(self.protocol_error(&what));
        };
        *left_bytes = left;
        Ok(())
    }

    fn advance(&mut self, wrote: io::Result<usize>) {
        match wrote {
            Ok(count) => {
                self.sent += count;
                self.last_read_at = Instant::now();
            }
            Err(_) => self.close("closed its standard input", EXIT_AFTER_CLOSE),
        }
        if self.sent == self.outgoing.len() {
            // Large inputs are rare: their memory is freed.
            (self.outgoing, self.sent) = (Vec::new(), 0);
        }
    }

    /// Gives the child a moment to end, and nothing more to read. A moment that has begun is not extended.
    fn close(&mut self, what: &'static str, moment: Duration) {
        self.stdin = None;
        let until = Instant::now() + moment;
        self.closing = Some(self.closing.map_or((until, what), |(earlier, first)| (earlier.min(until), first)));
    }

    /// The error for a child whose time is up: to read its input, or to end.
    async fn overdue(&mut self) -> AgentError {
        if self.closing.is_none() {
            let limit = self.spec.write_timeout.as_secs_f64();
            return self.protocol_error(&format!("did not read its standard input for write_timeout = {limit} s"));
        }
        self.lost().await
    }

    /// Describes the end of a child that has ended, or soon will.
    async fn lost(&mut self) -> AgentError {
        let quote = self.stderr.quote_at_end(DRAIN_STDERR).await;
        let how = match (self.group.has_ended(), self.closing) {
            (false, Some((_, what))) => format!("{what} but still runs"),
            _ => self.group.exit_description(),
        };
        AgentError::lost(format!("{} {how}{quote}", self.name()))
    }

    /// The error for a child that broke a rule. `what` continues "the agent".
    pub(crate) fn protocol_error(&self, what: &str) -> AgentError {
        AgentError::protocol(format!("{} {what}{}", self.name(), self.stderr.quote()))
    }

    /// Returns the last lines that the child wrote to standard error. None if it wrote nothing.
    pub(crate) async fn last_lines(&self) -> Option<String> {
        // It writes to two pipes: what it wrote to this one before its answer may be yet to be read.
        sleep(STDERR_LAG).await;
        self.stderr.tail()
    }

    /// Returns the standard error of the child, line by line, until it is dropped.
    pub(crate) fn follow_stderr(&self) -> StderrLines {
        self.stderr.follow()
    }

    /// Names the child in messages.
    pub(crate) fn name(&self) -> String {
        format!("agent process {} ({})", self.pid(), self.spec.argv[0])
    }

    /// Closes the standard input of the child once all of it is written.
    pub(crate) async fn close_input(&mut self, limit: Duration) {
        let written = async { while !self.outgoing.is_empty() && self.next_line().await.is_ok() {} };
        let _over = timeout(limit, written).await;
        self.stdin = None;
    }

    /// Waits until the child has ended by itself, or `limit` is over.
    pub(crate) async fn wait_for_exit(&mut self, limit: Duration) {
        let ended = async { while self.next_line().await.is_ok() {} };
        let _over = timeout(limit, ended).await;
    }

    /// Returns the directory that the node made for the child.
    pub(crate) fn directory(&self) -> Option<&std::path::Path> {
        self.group.directory()
    }

    /// Ends the child and its group: SIGTERM, `grace`, SIGKILL.
    pub(crate) async fn terminate(self, grace: Duration) {
        let Self { group, stdin, .. } = self;
        drop(stdin);
        group.terminate(grace).await;
    }
}

/// Returns the instant `time` after another; one that nobody lives to see, if the clock does not reach that far.
pub(crate) fn after(begin: Instant, time: Duration) -> Instant {
    /// As far as timers of the runtime go.
    const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
    begin.checked_add(time).unwrap_or_else(|| begin + FAR)
}

async fn write(stdin: &mut Option<ChildStdin>, bytes: &[u8]) -> io::Result<usize> {
    match stdin {
        Some(pipe) => pipe.write(bytes).await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
