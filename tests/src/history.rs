//! What was promised, held against what came of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::Effect;

/// Acknowledgements and ends as clients saw them, over any number of lives of a service.
#[derive(Debug, Default)]
pub struct History {
    /// Which task a key was acknowledged as.
    acknowledged: BTreeMap<String, String>,
    ends: HashMap<String, Value>,
    /// How many runs there had been when each life of the service ended.
    lives: Vec<usize>,
}

/// What a history without a fault amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Tasks that were acknowledged.
    pub acknowledged: usize,
    /// Those that succeeded.
    pub succeeded: usize,
    /// Those that are dead.
    pub dead: usize,
    /// Runs by agents, results that were lost with their node included.
    pub runs: usize,
    /// Runs that the store never heard of: the node died before the claim was written, and the attempt began anew.
    pub forgotten: usize,
}

impl History {
    /// Notes that a submission with this key was acknowledged as this task.
    ///
    /// # Panics
    /// If it was acknowledged as another one before: a key makes one task.
    pub fn acknowledge(&mut self, key: &str, task: &str) {
        let known = self.acknowledged.entry(key.to_owned()).or_insert_with(|| task.to_owned());
        assert_eq!(known, task, "key {key} was acknowledged as two tasks");
    }

    /// Returns how many tasks were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Notes that the service and all its agents are dead, after this many runs.
    pub fn life_ended(&mut self, runs: usize) {
        self.lives.push(runs);
    }

    /// Notes how a task stands.
    ///
    /// # Panics
    /// If it had ended before and stands differently now: an end is for good, and so is its one result.
    pub fn saw(&mut self, task: &Value) {
        let id = task["id"].as_str().expect("a task has an id");
        let end = ["state", "attempt", "finished_at"].map(|name| task[name].clone());
        match self.ends.get(id) {
            Some(known) => assert_eq!(*known, Value::from_iter(end), "task {id} ended twice"),
            None if !task["finished_at"].is_null() => drop(self.ends.insert(id.to_owned(), Value::from_iter(end))),
            None => {}
        }
    }

    /// Holds all tasks of the store, with outputs, and all runs of the agents against what was promised:
    ///
    /// - each key made one task, and the store has no other ones;
    /// - each task has ended, and as it was seen to end before;
    /// - a task that succeeded has the result of one run, that of its newest attempt, and none came after it;
    /// - no attempt was run twice in one life of the service. In two it may be: a claim is handed out before it is on
    ///   disk, and the next life knows nothing of it.
    ///
    /// # Panics
    /// If one of these does not hold.
    pub fn check(&mut self, tasks: &[Value], effects: &[Effect]) -> Counts {
        tasks.iter().for_each(|task| self.saw(task));
        let promised: HashSet<&str> = self.acknowledged.values().map(String::as_str).collect();
        assert_eq!(promised.len(), self.acknowledged.len(), "two keys were acknowledged as one task");
        let found: HashSet<&str> = tasks.iter().filter_map(|task| task["id"].as_str()).collect();
        assert_eq!(found.len(), tasks.len(), "a task was listed twice");
        let missing: Vec<_> = promised.difference(&found).collect();
        assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
        let surplus: Vec<_> = found.difference(&promised).collect();
        assert!(surplus.is_empty(), "nobody was told of these, or a key made two: {surplus:?}");
        for life in self.split(effects) {
            assert_eq!(attempts(life).len(), life.len(), "an attempt was run twice in one life: {:?}", twice(life));
        }
        let newest: HashMap<&str, &Effect> = effects.iter().map(|run| (run.task.as_str(), run)).collect();
        for task in tasks {
            assert!(!task["finished_at"].is_null(), "has not ended: {task}");
            if task["state"] == "succeeded" {
                let run = accepted(task);
                assert_eq!(newest.get(run.task.as_str()), Some(&&run), "the newest run, and the one accepted: {task}");
            }
        }
        let count = |state: &str| tasks.iter().filter(|task| task["state"] == state).count();
        Counts {
            acknowledged: promised.len(),
            succeeded: count("succeeded"),
            dead: count("dead"),
            runs: effects.len(),
            forgotten: effects.len() - attempts(effects).len(),
        }
    }

    /// Splits runs into those of each life; what came after the last noted end is one more.
    fn split<'a>(&self, effects: &'a [Effect]) -> Vec<&'a [Effect]> {
        let ends = self.lives.iter().copied().chain([effects.len()]);
        let begins = std::iter::once(0).chain(self.lives.iter().copied());
        begins.zip(ends).map(|(begin, end)| &effects[begin..end]).collect()
    }
}

fn attempts(runs: &[Effect]) -> HashSet<(&str, u64)> {
    runs.iter().map(|run| (run.task.as_str(), run.attempt)).collect()
}

/// Those runs whose attempt has another one.
fn twice(runs: &[Effect]) -> Vec<&Effect> {
    let same = |one: &Effect, other: &Effect| (&one.task, one.attempt) == (&other.task, other.attempt);
    runs.iter().filter(|run| runs.iter().filter(|other| same(run, other)).count() > 1).collect()
}

/// Returns the run whose result a task has: agents put into their output who they are.
fn accepted(task: &Value) -> Effect {
    let number =
        |name: &str| task["output"][name].as_u64().unwrap_or_else(|| panic!("no {name} in the output: {task}"));
    assert_eq!(task["attempt"], task["output"]["attempt"], "the result is not that of the newest attempt: {task}");
    let id = task["id"].as_str().expect("a task has an id");
    Effect { task: id.to_owned(), attempt: number("attempt"), pid: number("pid") }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use serde_json::json;

    use super::*;

    fn run(task: &str, attempt: u64, pid: u64) -> Effect {
        Effect { task: task.to_owned(), attempt, pid }
    }

    fn succeeded(id: &str, attempt: u64, pid: u64) -> Value {
        let output = json!({ "attempt": attempt, "pid": pid });
        json!({ "id": id, "state": "succeeded", "attempt": attempt, "finished_at": "now", "output": output })
    }

    fn verdict(acknowledged: &[(&str, &str)], tasks: &[Value], effects: &[Effect]) -> Option<Counts> {
        let mut history = History::default();
        catch_unwind(AssertUnwindSafe(|| {
            acknowledged.iter().for_each(|(key, task)| history.acknowledge(key, task));
            history.check(tasks, effects)
        }))
        .ok()
    }

    #[test]
    fn a_faultless_history_is_counted_also_with_runs_that_were_lost() {
        let counts = verdict(&[("k", "a")], &[succeeded("a", 2, 8)], &[run("a", 1, 7), run("a", 2, 8)]);
        assert_eq!(counts, Some(Counts { acknowledged: 1, succeeded: 1, dead: 0, runs: 2, forgotten: 0 }));
    }

    #[test]
    fn a_claim_that_died_with_its_node_may_be_repeated_in_the_next_life_only() {
        let effects = [run("a", 1, 7), run("a", 1, 8)];
        assert_eq!(verdict(&[("k", "a")], &[succeeded("a", 1, 8)], &effects), None, "in one life");
        let mut history = History::default();
        history.acknowledge("k", "a");
        history.life_ended(1);
        assert_eq!(history.check(&[succeeded("a", 1, 8)], &effects).forgotten, 1);
    }

    #[test]
    fn every_kind_of_broken_promise_is_noticed() {
        let (one, ran) = ([("k", "a")], [run("a", 1, 7)]);
        assert_eq!(verdict(&one, &[], &ran), None, "lost");
        assert_eq!(verdict(&one, &[succeeded("a", 1, 7), succeeded("b", 1, 7)], &ran), None, "one too many");
        assert_eq!(verdict(&one, &[json!({"id": "a", "state": "queued"})], &ran), None, "not ended");
        assert_eq!(verdict(&one, &[succeeded("a", 1, 9)], &ran), None, "the result of a run that never was");
        assert_eq!(
            verdict(&one, &[succeeded("a", 1, 7)], &[run("a", 1, 7), run("a", 2, 8)]),
            None,
            "run after its end"
        );
        assert_eq!(verdict(&[("k", "a"), ("k", "b")], &[], &[]), None, "a key made two tasks");
        let mut stale = succeeded("a", 2, 7);
        stale["output"]["attempt"] = json!(1);
        assert_eq!(verdict(&one, &[stale], &ran), None, "the result of an attempt that was given up");
    }

    #[test]
    fn an_end_that_changes_is_noticed() {
        let mut history = History::default();
        history.saw(&succeeded("a", 1, 7));
        history.saw(&succeeded("a", 1, 7));
        assert!(catch_unwind(AssertUnwindSafe(|| history.saw(&succeeded("a", 2, 8)))).is_err());
    }
}
