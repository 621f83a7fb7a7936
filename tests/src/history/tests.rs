//! Each violation planted, and seen.

use super::*;

const fn epoch(number: u64, holder: u64) -> Epoch {
    Epoch { number, holder }
}

fn acked(key: &str, task: &str) -> Event {
    Event::Acked { key: key.to_owned(), task: task.to_owned() }
}

fn started(task: &str, epoch: Epoch) -> Event {
    Event::Started { task: task.to_owned(), epoch, node: "n".to_owned() }
}

fn ended(task: &str, state: &str, epoch: Option<Epoch>) -> Event {
    let (task, state) = (task.to_owned(), state.to_owned());
    Event::Ended { task, state, at: "12:00".to_owned(), epoch }
}

fn down() -> Event {
    Event::NodeDown { node: "n".to_owned() }
}

/// A task that was lost with its agent once and succeeded then.
fn sound() -> Vec<Event> {
    let end = ended("a", "succeeded", Some(epoch(2, 8)));
    vec![acked("k", "a"), started("a", epoch(1, 7)), started("a", epoch(2, 8)), end]
}

/// Asserts that exactly one invariant is found broken, and answers what is shown for it.
#[track_caller]
fn broken(events: &[Event], invariant: Invariant) -> Vec<Event> {
    let found = check(events).expect_err("a planted violation is found");
    let names: Vec<_> = found.iter().map(|one| one.invariant).collect();
    assert_eq!(names, [invariant], "{found:#?}");
    assert!(found[0].to_string().starts_with(invariant.name()), "{}", found[0]);
    found[0].events.clone()
}

fn with(mut events: Vec<Event>, more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    events.extend(more);
    events
}

#[test]
fn a_sound_history_is_counted_also_with_runs_that_were_lost() {
    let counts = check(&sound()).unwrap();
    assert_eq!(counts, Counts { acknowledged: 1, ended: 1, succeeded: 1, dead: 0, runs: 2, forgotten: 0 });
    assert_eq!(check(&with(sound(), sound().pop())).unwrap(), counts, "the same end may be seen again");
}

#[test]
fn i1_a_lost_task_an_open_one_and_two_ends() {
    assert_eq!(broken(&[acked("k", "a")], Invariant::OneEnd), [acked("k", "a")]);
    let open = Event::Open { task: "a".to_owned(), state: "queued".to_owned() };
    assert_eq!(broken(&[acked("k", "a"), open.clone()], Invariant::OneEnd), [acked("k", "a"), open]);
    let (one, other) = (ended("a", "cancelled", None), ended("a", "dead", None));
    assert_eq!(broken(&[acked("k", "a"), one.clone(), other.clone()], Invariant::OneEnd), [one, other]);
}

#[test]
fn i2_two_results_of_one_lease() {
    let again = Event::Ended {
        task: "a".to_owned(),
        state: "succeeded".to_owned(),
        at: "12:01".to_owned(),
        epoch: Some(epoch(2, 8)),
    };
    let first = sound().pop().unwrap();
    assert_eq!(broken(&with(sound(), [again.clone()]), Invariant::OneResult), [first, again]);
}

#[test]
fn i3_a_result_of_a_lease_that_was_given_up() {
    let (old, new) = (started("a", epoch(1, 7)), started("a", epoch(2, 8)));
    let end = ended("a", "succeeded", Some(epoch(1, 7)));
    let events = [acked("k", "a"), old.clone(), new.clone(), end.clone()];
    assert_eq!(broken(&events, Invariant::NewestResult), [old.clone(), new, end.clone()]);
    // A node that was paused continues under its old lease after a newer one began: the number decides, not the order.
    let events = [acked("k", "a"), started("a", epoch(2, 8)), old, ended("a", "succeeded", Some(epoch(2, 8)))];
    assert!(check(&events).is_ok());
    let after_the_end = with(sound(), [started("a", epoch(3, 9))]);
    assert_eq!(broken(&after_the_end, Invariant::NewestResult).len(), 3);
}

#[test]
fn i4_results_of_two_leases() {
    let (first, second) = (ended("a", "succeeded", Some(epoch(1, 7))), ended("a", "succeeded", Some(epoch(2, 8))));
    let events = [acked("k", "a"), started("a", epoch(1, 7)), first.clone(), started("a", epoch(2, 8)), second.clone()];
    assert_eq!(broken(&events, Invariant::OneLease), [first, second]);
}

#[test]
fn i5_i6_i7_what_was_counted() {
    let counted = |count, limit| Event::Counted { what: "running of pool p".to_owned(), count, limit };
    assert_eq!(broken(&[counted(3, 4), counted(5, 4)], Invariant::Bounds), [counted(5, 4)]);
    let depth = |metric, rows| Event::Depth { pool: "p".to_owned(), metric, rows };
    assert_eq!(broken(&[depth(3, 3), depth(0, 7)], Invariant::Depth), [depth(0, 7)]);
    let orphan = Event::Orphan { pid: 7, command: "sleep".to_owned() };
    assert_eq!(broken(std::slice::from_ref(&orphan), Invariant::Orphans), [orphan]);
}

#[test]
fn runs_are_under_way_until_they_have_an_effect_or_their_node_is_down() {
    let begun = |holder| started("a", epoch(1, holder));
    let done = |holder| Event::Effect { task: "a".to_owned(), epoch: epoch(1, holder) };
    let most = running::most_at_once;
    assert_eq!(most(&[begun(1), done(1), begun(2), done(2)]), 1);
    assert_eq!(most(&[begun(1), begun(2), done(1), begun(3), done(2), done(3)]), 2);
    assert_eq!(most(&[begun(1), begun(1), done(1)]), 1, "an agent that was told to stop begins anew");
    let lost = [begun(1), begun(2), done(2), down(), begun(2), begun(3), done(3), done(2)];
    assert_eq!(most(&lost), 2, "the first was lost with its node");
    let cancelled = [begun(1), ended("a", "cancelled", None), begun(2), done(2)];
    assert_eq!(most(&cancelled), 1, "the first was ended with its task");
    let lives = [begun(1), down(), begun(2), done(2), done(1)];
    assert_eq!(most(&lives), 2, "the first was on another node");
    let killed = [begun(1), begun(2), down(), begun(3), begun(4), done(3), done(4)];
    let later = [begun(1), done(1), begun(2), done(2)];
    assert_eq!(
        most(&[&killed[..], &later].concat()),
        2,
        "processes that were killed are not those that have their numbers later"
    );
}

#[test]
fn k_keys_and_tasks_that_nobody_asked_for() {
    let end = |task: &str| ended(task, "cancelled", None);
    let two_tasks = [acked("k", "a"), acked("k", "b"), end("a"), end("b")];
    assert_eq!(broken(&two_tasks, Invariant::Keys), two_tasks[..2]);
    let two_keys = [acked("k", "a"), acked("l", "a"), end("a")];
    assert_eq!(broken(&two_keys, Invariant::Keys), two_keys[..2]);
    let surplus = with(sound(), [end("b")]);
    assert_eq!(broken(&surplus, Invariant::Keys), [end("b")]);
    let unanswered = Event::Unanswered { key: "l".to_owned() };
    assert!(check(&with(surplus, [unanswered])).is_ok(), "it may be that of an unanswered submission");
}

#[test]
fn r_runs_that_are_repeated_or_never_were() {
    let (one, other) = (started("a", epoch(1, 7)), started("a", epoch(1, 8)));
    let end = ended("a", "succeeded", Some(epoch(1, 8)));
    let events = [acked("k", "a"), one.clone(), other.clone(), end.clone()];
    assert_eq!(broken(&events, Invariant::Runs), [one.clone(), other.clone()]);
    let over_a_kill = [acked("k", "a"), one.clone(), down(), other, end.clone()];
    assert_eq!(check(&over_a_kill).unwrap().forgotten, 1);
    assert_eq!(broken(&[acked("k", "a"), one.clone(), end.clone()], Invariant::Runs), [one, end]);
}

#[test]
fn a_history_is_read_back_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::at(directory.path().join("history"));
    sound().into_iter().for_each(|event| history.note(event));
    let mut again = History::at(directory.path().join("history"));
    again.note(down());
    assert_eq!(again.events(), with(sound(), [down()]));
    assert_eq!(again.verdict().unwrap().succeeded, 1);
}

#[test]
fn a_view_of_a_task_becomes_its_end_with_the_lease_of_its_output() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::at(directory.path().join("history"));
    let output = serde_json::json!({ "attempt": 2, "pid": 8 });
    let mut task = serde_json::json!({ "id": "a", "state": "running", "attempt": 2, "finished_at": null });
    history.saw(&task);
    assert_eq!(history.events(), []);
    task["state"] = "succeeded".into();
    task["finished_at"] = "12:00".into();
    task["output"] = output;
    history.saw(&task);
    history.saw(&task);
    assert_eq!(history.events(), [ended("a", "succeeded", Some(epoch(2, 8)))], "noted once");
}
