//! The thread that removes what agents leave behind: processes and directories.
//!
//! It starts with the first factory, in case the system allows no more threads later. A long removal alternates with
//! the others.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use parking_lot::Mutex;

use rustix::process::{Pid, getpid};
use tokio::{sync::oneshot, time::Instant};

use super::{
    mark::{Mark, kill_marked, reap_adopted},
    node_dir::{NodeDir, OrphanedDir, orphaned_dirs},
    remove::{Removal, remove_tree},
};

/// How long a removal runs before the others have their turn.
const TURN: Duration = Duration::from_millis(500);
/// How long a removal may take in all, counting its own turns.
const MOST_TURNS: u32 = 1_200;
/// How often a removal that failed is tried again: a process that was just killed may still be writing a file.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);
/// How long processes that bear a mark are sought and killed: they may start others meanwhile.
const KILLING: Duration = Duration::from_secs(2);
/// How often process 1 reaps adopted processes.
const REAPING: Duration = Duration::from_secs(1);

/// What an agent left behind.
#[derive(Debug)]
pub(super) struct Leftovers {
    /// All processes with this mark are killed.
    pub(super) mark: Option<Mark>,
    pub(super) directory: Option<Directory>,
    /// Notified when both have ended, or have been given up.
    pub(super) done: Option<oneshot::Sender<()>>,
}

/// A directory to be removed.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) node_dir: Option<Arc<NodeDir>>,
}

enum Request {
    Clear(Leftovers),
    /// Removes what killed nodes left below this directory.
    Sweep(PathBuf),
}

/// Starts the thread, unless it runs. Later calls try again if it could not be had.
pub(super) fn start() {
    let _sender = sender();
}

/// Submits the processes and the directory of an agent.
pub(super) fn clear(leftovers: Leftovers) {
    send(Request::Clear(leftovers));
}

/// Submits a removal of what killed nodes left below a directory.
pub(super) fn sweep(below: PathBuf) {
    send(Request::Sweep(below));
}

fn send(request: Request) {
    if sender().is_none_or(|sender| sender.send(request).is_err()) {
        tracing::warn!("cannot start the cleanup thread; the next start of a node removes the agent's files");
    }
}

fn sender() -> Option<Sender<Request>> {
    static SENDER: Mutex<Option<Sender<Request>>> = Mutex::new(None);
    let mut sender = SENDER.lock();
    if sender.is_none() {
        let (requests, received) = channel();
        let thread = std::thread::Builder::new().name("forerunner-tidy".to_owned());
        *sender = thread.spawn(move || CleanupWorker::default().run(&received)).ok().map(|_| requests);
    }
    sender.clone()
}

/// The processes of agents. Only their process group may reap them.
static AGENTS: Mutex<Option<HashSet<Pid>>> = Mutex::new(None);

/// Registers the process of an agent.
pub(in crate::process) fn register_agent(pid: Pid) {
    AGENTS.lock().get_or_insert_default().insert(pid);
}

/// Removes the process of an agent that has ended.
pub(in crate::process) fn unregister_agent(pid: Pid) {
    AGENTS.lock().get_or_insert_default().remove(&pid);
}

fn is_registered(pid: Pid) -> bool {
    AGENTS.lock().as_ref().is_some_and(|agents| agents.contains(&pid))
}

#[derive(Default)]
struct CleanupWorker {
    removals: VecDeque<RemovalTask>,
}

struct RemovalTask {
    path: PathBuf,
    turns: u32,
    attempts: u32,
    /// Released when the task is over: the lock of an orphaned directory, or the parent of an agent's directory.
    _orphaned: Option<OrphanedDir>,
    _node_dir: Option<Arc<NodeDir>>,
    done: Option<oneshot::Sender<()>>,
}

impl CleanupWorker {
    fn run(mut self, requests: &Receiver<Request>) {
        while let Some(received) = self.receive(requests) {
            self.execute(received);
            if let Some(task) = self.removals.pop_front() {
                self.continue_removal(task);
            }
        }
    }

    /// Receives all pending requests. Waits for one if there is nothing else to do.
    fn receive(&self, requests: &Receiver<Request>) -> Option<Vec<Request>> {
        let mut received: Vec<Request> = requests.try_iter().collect();
        let adopts = getpid().as_raw_nonzero().get() == 1;
        if received.is_empty() && self.removals.is_empty() {
            let limit = if adopts { REAPING } else { Duration::MAX };
            match requests.recv_timeout(limit) {
                Ok(request) => received.push(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        if adopts {
            reap_adopted(is_registered);
        }
        Some(received)
    }

    fn execute(&mut self, requests: Vec<Request>) {
        let (mut marks, mut cleared) = (HashSet::new(), Vec::new());
        for request in requests {
            match request {
                Request::Sweep(below) => self.sweep(&below),
                Request::Clear(leftovers) => {
                    marks.extend(leftovers.mark);
                    cleared.push(leftovers);
                }
            }
        }
        // Many agents may end at once: one scan of all processes is enough for all of them.
        if !marks.is_empty() {
            kill_all(|mark| marks.contains(&mark));
        }
        for Leftovers { directory, done, .. } in cleared {
            match directory {
                Some(Directory { path, node_dir }) => {
                    self.removals.push_back(RemovalTask {
                        path,
                        turns: 0,
                        attempts: 0,
                        _orphaned: None,
                        _node_dir: node_dir,
                        done,
                    });
                }
                None => notify(done),
            }
        }
    }

    fn sweep(&mut self, below: &std::path::Path) {
        for orphan in orphaned_dirs(below) {
            tracing::info!(path = %orphan.path.display(), "removing the files of a node that was killed");
            kill_all(|mark| mark.node() == orphan.node);
            let path = orphan.path.clone();
            self.removals.push_back(RemovalTask {
                path,
                turns: 0,
                attempts: 0,
                _orphaned: Some(orphan),
                _node_dir: None,
                done: None,
            });
        }
    }

    fn continue_removal(&mut self, mut task: RemovalTask) {
        task.turns += 1;
        let path = task.path.display();
        match remove_tree(&task.path, Instant::now() + TURN) {
            Ok(Removal::Done) => return task.finish(),
            Ok(Removal::Unfinished) if task.turns < MOST_TURNS => {}
            Ok(Removal::Unfinished) => {
                tracing::warn!(%path, "cannot remove the directory of an agent in time; remove it by hand");
                return task.finish();
            }
            Err(error) => {
                task.attempts += 1;
                if task.attempts >= ATTEMPTS {
                    tracing::warn!(%path, %error, "cannot remove the directory of an agent; remove it by hand");
                    return task.finish();
                }
                std::thread::sleep(PAUSE);
            }
        }
        self.removals.push_back(task);
    }
}

impl RemovalTask {
    fn finish(self) {
        let Self { done, _node_dir: node_dir, _orphaned: orphaned, .. } = self;
        drop((node_dir, orphaned));
        notify(done);
    }
}

fn notify(done: Option<oneshot::Sender<()>>) {
    if let Some(done) = done {
        let _nobody_waits = done.send(());
    }
}

/// Kills until a scan finds no such process, or the time is up.
fn kill_all(is_meant: impl Fn(Mark) -> bool) {
    let deadline = Instant::now() + KILLING;
    while kill_marked(&is_meant) > 0 {
        if Instant::now() >= deadline {
            tracing::warn!("processes of an agent do not end after SIGKILL; leaving them to the kernel");
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
