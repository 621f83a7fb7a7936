//! Which sessions are learnt from and which are measured.

use std::collections::HashMap;

use forerunner_console::Usage;
use forerunner_context::ItemHash;

use super::corpus::{Corpus, Role, Session};

/// The two parts of a corpus, neither of them empty.
#[derive(Debug)]
pub struct Parts<'a> {
    /// What dictionary and base items are made of.
    pub train: Vec<&'a Session>,
    /// What is measured.
    pub test: Vec<&'a Session>,
}

/// Splits a corpus by groups of sessions into two parts of about the same size in bytes.
///
/// The largest group goes first, and each goes to the part that is smaller so far, to the test part if they are equal.
/// Sessions are of one group when the corpus names it, when their names differ only in the number of the trial, or when
/// they start with the same message of a user: the bench must not learn from repetitions of a task.
pub fn halves(corpus: &Corpus) -> Result<Parts<'_>, Usage> {
    let mut groups = groups(&corpus.sessions);
    let bytes = |group: &Vec<usize>| -> usize { group.iter().map(|&at| session_bytes(&corpus.sessions[at])).sum() };
    groups.sort_by_key(|group| (std::cmp::Reverse(bytes(group)), group[0]));
    let (mut train, mut test) = ((0, Vec::new()), (0, Vec::new()));
    for group in &groups {
        let part = if train.0 < test.0 { &mut train } else { &mut test };
        part.0 += bytes(group);
        part.1.extend_from_slice(group);
    }
    if train.1.is_empty() {
        let text = format!(
            "corpus {} has one group of sessions, two are needed: one to learn from, one to measure",
            corpus.name
        );
        return Err(Usage(text));
    }
    let sessions = |mut part: Vec<usize>| {
        part.sort_unstable();
        part.into_iter().map(|at| &corpus.sessions[at]).collect()
    };
    Ok(Parts { train: sessions(train.1), test: sessions(test.1) })
}

fn session_bytes(session: &Session) -> usize {
    session.messages.iter().map(|message| message.item.size_bytes()).sum()
}

/// Joins sessions that share a key of any kind; groups and their members are in the order of the corpus.
fn groups(sessions: &[Session]) -> Vec<Vec<usize>> {
    let mut leader: Vec<usize> = (0..sessions.len()).collect();
    let mut first: HashMap<Key, usize> = HashMap::new();
    for (at, session) in sessions.iter().enumerate() {
        for key in keys(session) {
            let other = *first.entry(key).or_insert(at);
            let (one, other) = (lead(&leader, at), lead(&leader, other));
            leader[one.max(other)] = one.min(other);
        }
    }
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); sessions.len()];
    (0..sessions.len()).for_each(|at| groups[lead(&leader, at)].push(at));
    groups.retain(|group| !group.is_empty());
    groups
}

fn lead(leader: &[usize], mut at: usize) -> usize {
    while leader[at] != at {
        at = leader[at];
    }
    at
}

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Group(String),
    Start(ItemHash),
}

fn keys(session: &Session) -> Vec<Key> {
    let named = session.group.clone().unwrap_or_else(|| without_trial(&session.id).to_owned());
    let start = session.messages.iter().find(|message| message.role == Role::User);
    // A greeting is no task.
    let start = start.filter(|message| message.item.size_bytes() > 64);
    [Some(Key::Group(named)), start.map(|message| Key::Start(*message.item.hash()))].into_iter().flatten().collect()
}

/// `task7-trial2` is `task7`.
fn without_trial(id: &str) -> &str {
    let stem = id.trim_end_matches(|letter: char| letter.is_ascii_digit()).trim_end_matches(['-', '_', '.']);
    let cut =
        ["trial", "run", "attempt", "sample", "seed", "rollout", "try"].iter().find_map(|word| stem.strip_suffix(word));
    match cut {
        Some(task) if stem.len() < id.len() => task.trim_end_matches(['-', '_', '.']),
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use forerunner_context::Item;

    use super::*;
    use crate::context::bench::corpus::Message;

    fn session(id: &str, group: Option<&str>, start: &str) -> Session {
        let message = Message { role: Role::User, item: Item::new(start.as_bytes()) };
        Session { id: id.to_owned(), group: group.map(str::to_owned), messages: vec![message] }
    }

    fn split(sessions: Vec<Session>) -> Result<[Vec<String>; 2], Usage> {
        let corpus = Corpus { name: "c".into(), sessions };
        let parts = halves(&corpus)?;
        Ok([parts.train, parts.test].map(|part| part.iter().map(|session| session.id.clone()).collect()))
    }

    #[test]
    fn trials_of_a_task_stay_together() {
        for (id, task) in [("a-task1-trial0", "a-task1"), ("x_run_12", "x"), ("task12", "task12"), ("trial", "trial")] {
            assert_eq!(without_trial(id), task);
        }
        let [long, same] = ["long ", "the same task "].map(|text| text.repeat(10));
        let [train, test] = split(vec![
            session("t1-trial0", None, &long),
            session("t2", None, &same),
            session("t1-trial1", None, "other"),
            session("t3", None, &same),
            session("t4", Some("g"), "x"),
            session("t5", Some("g"), "y"),
        ])
        .unwrap();
        assert_eq!(test, ["t2", "t3"]);
        assert_eq!(train, ["t1-trial0", "t1-trial1", "t4", "t5"]);
    }

    #[test]
    fn one_group_cannot_be_split() {
        assert!(split(vec![session("a-trial1", None, "x"), session("a-trial2", None, "y")]).is_err());
    }
}
