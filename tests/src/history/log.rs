//! The file that events are appended to.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use super::{Counts, Epoch, Event, Violation, check, running::most_at_once};
use crate::{Effect, Effects, Site, effects::Step};

/// How long after its node an agent may end.
const ENDING: Duration = Duration::from_secs(2);

/// An append-only log of a run, across restarts of a service.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    file: File,
    /// Number of lines that were read from the agents' file.
    taken: usize,
    /// Ends that are noted already: most are seen many times.
    seen: HashSet<Event>,
}

impl History {
    /// A history in this file, which continues an existing one.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let file = OpenOptions::new().create(true).append(true).open(&path).expect("the history can be written");
        Self { path, file, taken: 0, seen: HashSet::new() }
    }

    /// The history of a site.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn of(site: &Site) -> Self {
        Self::at(site.path("history.jsonl"))
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an event.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn note(&mut self, event: Event) {
        self.file.write_all(format!("{event}\n").as_bytes()).expect("the history can be written");
    }

    /// Notes that a submission with this key was acknowledged as this task.
    pub fn acked(&mut self, key: &str, task: &str) {
        self.note(Event::Acked { key: key.to_owned(), task: task.to_owned() });
    }

    /// Records the state of a task that has ended. A success without its output is not recorded: nothing would show
    /// whose result it is.
    ///
    /// # Panics
    /// If the value is not a task.
    pub fn saw(&mut self, task: &Value) {
        let text = |name: &str| task[name].as_str().unwrap_or_default().to_owned();
        if task["finished_at"].is_null() || (task["state"] == "succeeded" && task["output"].is_null()) {
            return;
        }
        let number = |name: &str| task["output"][name].as_u64();
        let epoch = number("attempt").zip(number("pid")).map(|(number, holder)| Epoch { number, holder });
        let event = Event::Ended { task: text("id"), state: text("state"), at: text("finished_at"), epoch };
        if self.seen.insert(event.clone()) {
            self.note(event);
        }
    }

    /// Records the states of all tasks at the end of the run.
    pub fn saw_all(&mut self, tasks: &[Value]) {
        for task in tasks {
            self.saw(task);
            if task["finished_at"].is_null() {
                let text = |name: &str| task[name].as_str().unwrap_or_default().to_owned();
                self.note(Event::Open { task: text("id"), state: text("state") });
            }
        }
    }

    /// Reads what agents have written since the last call.
    pub fn take(&mut self, effects: &Effects, node: &str) {
        let all = effects.steps();
        for (step, Effect { task, attempt, pid }) in all.iter().skip(self.taken).cloned() {
            let epoch = Epoch { number: attempt, holder: pid };
            self.note(match step {
                Step::Started => Event::Started { task, epoch, node: node.to_owned() },
                Step::Effect => Event::Effect { task, epoch },
            });
        }
        self.taken = all.len();
    }

    /// Notes that a node and all its agents are dead, after what these have written down.
    pub fn node_down(&mut self, effects: &Effects, node: &str) {
        self.take(effects, node);
        self.note(Event::NodeDown { node: node.to_owned() });
    }

    /// Notes how many agents of a pool were at work at once, by what they have written down, and how many it may have.
    ///
    /// # Panics
    /// If a line is torn.
    pub fn count_running(&mut self, pool: &str, limit: u64) {
        let count = most_at_once(&self.events());
        self.note(Event::Counted { what: format!("running of pool {pool}"), count, limit });
    }

    /// Notes those processes of a site that are there two seconds after its nodes have ended: what was killed may still be
    /// ending.
    pub fn orphans(&mut self, site: &Site) {
        let begun = Instant::now();
        let mut left = site.marker().processes();
        while !left.is_empty() && begun.elapsed() < ENDING {
            thread::sleep(Duration::from_millis(5));
            left = site.marker().processes();
        }
        for (pid, command) in left {
            self.note(Event::Orphan { pid, command });
        }
    }

    /// Checks what clients saw against the invariants, without agents: ends do not have the lease of their result. For
    /// runs in which a lease may be void without its node's death.
    ///
    /// # Panics
    /// As [`History::check`].
    #[track_caller]
    pub fn check_clients(&self) -> Counts {
        let clients = self.events().into_iter().filter(|event| !matches!(event, Event::Started { .. }));
        let nameless = clients.map(|event| match event {
            Event::Ended { task, state, at, .. } => Event::Ended { task, state, at, epoch: None },
            other => other,
        });
        judged(check(&nameless.collect::<Vec<_>>()))
    }

    /// Reads all events.
    ///
    /// # Panics
    /// If a line is torn.
    pub fn events(&self) -> Vec<Event> {
        let text = fs::read_to_string(&self.path).expect("the history can be read");
        text.lines().map(|line| serde_json::from_str(line).expect("each line is an event")).collect()
    }

    /// Checks the history against the invariants.
    ///
    /// # Errors
    /// Every violation.
    pub fn verdict(&self) -> Result<Counts, Vec<Violation>> {
        check(&self.events())
    }

    /// Checks the history against the invariants.
    ///
    /// # Panics
    /// If one is violated; the message names it, with the events that show it.
    #[track_caller]
    pub fn check(&self) -> Counts {
        judged(self.verdict())
    }
}

#[track_caller]
fn judged(verdict: Result<Counts, Vec<Violation>>) -> Counts {
    verdict.unwrap_or_else(|found| {
        let shown: Vec<_> = found.iter().take(20).map(ToString::to_string).collect();
        panic!("{} violations:\n{}", found.len(), shown.join("\n"))
    })
}
