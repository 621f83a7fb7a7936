//! Tasks of one session run one after another, in the order in which they came.

use std::collections::{HashMap, VecDeque};

use crate::trace::TraceTask;

/// The sessions that have a task in the pool, each with the tasks that wait for its end.
#[derive(Debug, Default)]
pub(crate) struct Conversations(HashMap<u32, VecDeque<usize>>);

impl Conversations {
    /// Returns whether a task that arrives could start. Otherwise it waits for the one before it.
    pub fn arrive(&mut self, task: usize, session: Option<u32>) -> bool {
        let Some(session) = session else { return true };
        match self.0.get_mut(&session) {
            Some(waiting) => {
                waiting.push_back(task);
                false
            }
            None => {
                self.0.insert(session, VecDeque::new());
                true
            }
        }
    }

    /// Ends a task. Returns the one that could start now.
    pub fn end(&mut self, session: Option<u32>) -> Option<usize> {
        let session = session?;
        let next = self.0.get_mut(&session)?.pop_front();
        if next.is_none() {
            self.0.remove(&session);
        }
        next
    }
}

/// The tasks at the times when they could start if none ever waited for an agent, in order of these times.
pub(crate) fn unblocked(tasks: &[TraceTask]) -> Vec<TraceTask> {
    let mut ends: HashMap<u32, f64> = HashMap::new();
    let could_start = |task: &TraceTask| {
        let Some(session) = task.session else { return *task };
        let end = ends.entry(session).or_default();
        let arrival_s = task.arrival_s.max(*end);
        *end = arrival_s + task.service_s;
        TraceTask { arrival_s, ..*task }
    };
    let mut tasks: Vec<_> = tasks.iter().map(could_start).collect();
    tasks.sort_by(|a, b| a.arrival_s.total_cmp(&b.arrival_s));
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_of_a_session_come_one_after_another() {
        let mut conversations = Conversations::default();
        assert!(conversations.arrive(0, Some(7)) && conversations.arrive(1, None) && conversations.arrive(2, Some(8)));
        assert!(!conversations.arrive(3, Some(7)) && !conversations.arrive(4, Some(7)));
        assert_eq!([Some(7), None, Some(8)].map(|session| conversations.end(session)), [Some(3), None, None]);
        assert_eq!((conversations.end(Some(7)), conversations.end(Some(7))), (Some(4), None));
        assert!(conversations.arrive(5, Some(7)));
    }

    #[test]
    fn a_task_could_start_when_those_before_it_have_ended() {
        let task = |arrival_s, service_s, session| TraceTask { arrival_s, service_s, session, ..TraceTask::default() };
        let tasks = [task(0.0, 5.0, Some(1)), task(1.0, 3.0, Some(1)), task(2.0, 1.0, None), task(9.0, 1.0, Some(1))];
        let starts: Vec<f64> = unblocked(&tasks).iter().map(|task| task.arrival_s).collect();
        assert_eq!(starts, [0.0, 2.0, 5.0, 9.0]);
    }
}
