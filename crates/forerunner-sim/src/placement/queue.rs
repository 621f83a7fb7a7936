//! The waiting tasks of all, in order of arrival; one of a context at a time if requested.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// Tasks that wait for an agent.
#[derive(Debug, Default)]
pub(super) struct Queue {
    one_of_a_context: bool,
    /// Tasks that an agent may run, by their places in the load: in order of arrival.
    pub ready: BTreeSet<usize>,
    /// Contexts with a task that is ready or runs, and the tasks behind it.
    lines: HashMap<u32, VecDeque<usize>>,
}

impl Queue {
    pub fn new(one_of_a_context: bool) -> Self {
        Self { one_of_a_context, ..Self::default() }
    }

    /// A task arrived; returns whether an agent may run it now.
    pub fn arrive(&mut self, task: usize, context: u32) -> bool {
        if self.one_of_a_context {
            if let Some(line) = self.lines.get_mut(&context) {
                line.push_back(task);
                return false;
            }
            self.lines.insert(context, VecDeque::new());
        }
        self.ready.insert(task);
        true
    }

    /// A task of a context ended; returns the next one, which an agent may run from now on.
    pub fn finish(&mut self, context: u32) -> Option<usize> {
        let line = self.lines.get_mut(&context)?;
        let next = line.pop_front();
        match next {
            Some(task) => drop(self.ready.insert(task)),
            None => drop(self.lines.remove(&context)),
        }
        next
    }
}
