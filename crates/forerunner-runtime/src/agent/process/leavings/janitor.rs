//! The thread that sees to what agents leave: processes and directories.
//!
//! It starts with the first kind of agents, so that it is there when no thread can be had any more. A removal that takes
//! long takes turns with the others.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use rustix::process::{Pid, getpid};
use tokio::{sync::oneshot, time::Instant};

use super::{
    home::{Abandoned, Home, abandoned},
    mark::{Mark, kill_marked, reap_adopted},
    remove::{Removal, remove_tree},
};

/// How long a removal goes on before the others have their turn.
const TURN: Duration = Duration::from_millis(500);
/// How long a removal may take in all, its own turns counted.
const MOST_TURNS: u32 = 1_200;
/// How often a removal that failed is tried again: a process that was just killed may still be writing a file.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);
/// How long processes that bear a mark are sought and killed: they may start others meanwhile.
const KILLING: Duration = Duration::from_secs(2);
/// How often process 1 reaps what it adopted.
const REAPING: Duration = Duration::from_secs(1);

/// What an agent leaves.
#[derive(Debug)]
pub(super) struct Leavings {
    /// Whoever bears this mark is to end.
    pub(super) mark: Option<Mark>,
    pub(super) directory: Option<Directory>,
    /// Told when both are gone, or given up.
    pub(super) done: Option<oneshot::Sender<()>>,
}

/// A directory to be removed.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) home: Option<Arc<Home>>,
}

enum Order {
    Clear(Leavings),
    /// Clears what killed nodes left below this directory.
    Sweep(PathBuf),
}

/// Starts the thread, unless it runs. Later calls try again if it could not be had.
pub(super) fn start() {
    let _sender = sender();
}

/// Hands over what an agent left.
pub(super) fn clear(leavings: Leavings) {
    send(Order::Clear(leavings));
}

/// Looks for what killed nodes left below a directory.
pub(super) fn sweep(below: PathBuf) {
    send(Order::Sweep(below));
}

fn send(order: Order) {
    if sender().is_none_or(|sender| sender.send(order).is_err()) {
        tracing::warn!("what an agent left was not removed: no thread for it; the next start of a node removes it");
    }
}

fn sender() -> Option<Sender<Order>> {
    static SENDER: Mutex<Option<Sender<Order>>> = Mutex::new(None);
    let mut sender = SENDER.lock().unwrap_or_else(PoisonError::into_inner);
    if sender.is_none() {
        let (orders, received) = channel();
        let thread = std::thread::Builder::new().name("forerunner-tidy".to_owned());
        *sender = thread.spawn(move || Janitor::default().run(&received)).ok().map(|_| orders);
    }
    sender.clone()
}

/// Agents whose end somebody watches: nobody else may reap them.
static AGENTS: Mutex<Option<HashSet<Pid>>> = Mutex::new(None);

/// Notes that an agent has this process.
pub(in crate::agent::process) fn watched(pid: Pid) {
    AGENTS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(pid);
}

/// Notes that nobody watches this process any more.
pub(in crate::agent::process) fn unwatched(pid: Pid) {
    AGENTS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().remove(&pid);
}

fn is_watched(pid: Pid) -> bool {
    AGENTS.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|agents| agents.contains(&pid))
}

#[derive(Default)]
struct Janitor {
    removals: VecDeque<Task>,
}

struct Task {
    path: PathBuf,
    turns: u32,
    attempts: u32,
    /// Given back when the task is over: the lock of what a node left, or the home of an agent's directory.
    _abandoned: Option<Abandoned>,
    _home: Option<Arc<Home>>,
    done: Option<oneshot::Sender<()>>,
}

impl Janitor {
    fn run(mut self, orders: &Receiver<Order>) {
        while let Some(received) = self.receive(orders) {
            self.obey(received);
            if let Some(task) = self.removals.pop_front() {
                self.go_on(task);
            }
        }
    }

    /// Takes all orders that are there; waits for one if there is nothing else to do.
    fn receive(&self, orders: &Receiver<Order>) -> Option<Vec<Order>> {
        let mut received: Vec<Order> = orders.try_iter().collect();
        let adopts = getpid().as_raw_nonzero().get() == 1;
        if received.is_empty() && self.removals.is_empty() {
            let patience = if adopts { REAPING } else { Duration::MAX };
            match orders.recv_timeout(patience) {
                Ok(order) => received.push(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        if adopts {
            reap_adopted(is_watched);
        }
        Some(received)
    }

    fn obey(&mut self, orders: Vec<Order>) {
        let (mut marks, mut cleared) = (HashSet::new(), Vec::new());
        for order in orders {
            match order {
                Order::Sweep(below) => self.sweep(&below),
                Order::Clear(leavings) => {
                    marks.extend(leavings.mark);
                    cleared.push(leavings);
                }
            }
        }
        // Many agents may end at once: one look at all processes does for all of them.
        if !marks.is_empty() {
            kill_all(|mark| marks.contains(&mark));
        }
        for Leavings { directory, done, .. } in cleared {
            match directory {
                Some(Directory { path, home }) => {
                    self.removals.push_back(Task { path, turns: 0, attempts: 0, _abandoned: None, _home: home, done });
                }
                None => tell(done),
            }
        }
    }

    fn sweep(&mut self, below: &std::path::Path) {
        for left in abandoned(below) {
            tracing::info!(path = %left.path.display(), "removing what a node that was killed left behind");
            kill_all(|mark| mark.node() == left.node);
            let path = left.path.clone();
            self.removals.push_back(Task {
                path,
                turns: 0,
                attempts: 0,
                _abandoned: Some(left),
                _home: None,
                done: None,
            });
        }
    }

    fn go_on(&mut self, mut task: Task) {
        task.turns += 1;
        let path = task.path.display();
        match remove_tree(&task.path, Instant::now() + TURN) {
            Ok(Removal::Done) => return task.finish(),
            Ok(Removal::Unfinished) if task.turns < MOST_TURNS => {}
            Ok(Removal::Unfinished) => {
                tracing::warn!(%path, "an agent's directory was not removed in time; remove it by hand");
                return task.finish();
            }
            Err(error) => {
                task.attempts += 1;
                if task.attempts >= ATTEMPTS {
                    tracing::warn!(%path, %error, "an agent's directory was not removed; remove it by hand");
                    return task.finish();
                }
                std::thread::sleep(PAUSE);
            }
        }
        self.removals.push_back(task);
    }
}

impl Task {
    fn finish(self) {
        let Self { done, _home: home, _abandoned: abandoned, .. } = self;
        drop((home, abandoned));
        tell(done);
    }
}

fn tell(done: Option<oneshot::Sender<()>>) {
    if let Some(done) = done {
        let _nobody_waits = done.send(());
    }
}

/// Kills until a look at all processes finds none, or the time is up.
fn kill_all(is_meant: impl Fn(Mark) -> bool) {
    let deadline = Instant::now() + KILLING;
    while kill_marked(&is_meant) > 0 {
        if Instant::now() >= deadline {
            tracing::warn!("processes that an agent started do not end though they are killed; left to the kernel");
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
