//! Laws of every transition, and tables of cases.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{AgentId, ErrorKind, NewTask, Next, NodeId, PoolName, RetryPolicy, TaskId};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn trouble(kind: ErrorKind) -> TaskError {
    TaskError::new(kind, "no").with_log(Some("a line".to_owned()))
}

/// A task that runs for the second time.
fn running() -> Task {
    let new = NewTask::new(PoolName::new("p").unwrap(), Payload::null());
    let retry = RetryPolicy { max_crashes: 3, ..RetryPolicy::default() };
    let task = Task::accepted(TaskId::from_parts(at(1), 1), new, at(1), Duration::from_secs(60), retry);
    Task {
        state: TaskState::Running,
        attempt: 2,
        crashes: 1,
        started_at: Some(at(5)),
        agent: Some(AgentId::from_parts(at(1), 1)),
        node: Some(NodeId::from_parts(at(1), 1)),
        ..task
    }
}

fn settled(next: &Next, is_cancelled: bool) -> (Task, Transition) {
    let mut task = running();
    let transition = settle(Running::of(&task, is_cancelled), next, at(9));
    transition.clone().apply(&mut task);
    (task, transition)
}

#[test]
fn the_end_of_an_attempt_by_what_was_decided() {
    use ErrorKind::{AgentError, AgentLost, Cancelled};
    let finish = |state, kind: Option<ErrorKind>| Next::Finish { state, output: None, error: kind.map(trouble) };
    let retry = |run_at, kind: ErrorKind| Next::Retry {
        run_at: at(run_at),
        crash: kind.is_crash(),
        error: trouble(kind),
        counts: true,
    };
    let excused = |run_at| Next::Retry { run_at: at(run_at), crash: false, error: trouble(AgentError), counts: false };
    let (ok, failed, dead) = (TaskState::Succeeded, TaskState::Failed, TaskState::Dead);
    let (queued, scheduled, cancelled) = (TaskState::Queued, TaskState::Scheduled, TaskState::Cancelled);
    // What was decided, whether a client cancelled the task, the state, attempts, crashes, error, recorded attempt.
    let cases = [
        (finish(ok, None), false, ok, 2, 1, None, None),
        (finish(ok, None), true, ok, 2, 1, None, None),
        (finish(failed, Some(AgentError)), false, failed, 2, 1, Some(AgentError), Some(failed)),
        (finish(dead, Some(AgentLost)), false, dead, 2, 2, Some(AgentLost), Some(dead)),
        (finish(TaskState::Queued, Some(AgentError)), false, failed, 2, 1, Some(AgentError), Some(failed)),
        (retry(9, AgentError), false, queued, 2, 1, Some(AgentError), Some(queued)),
        (retry(10, AgentLost), false, scheduled, 2, 2, Some(AgentLost), Some(scheduled)),
        (retry(10, AgentLost), true, cancelled, 2, 2, Some(Cancelled), Some(cancelled)),
        (excused(10), false, scheduled, 1, 1, Some(AgentError), None),
        (excused(10), true, cancelled, 2, 1, Some(Cancelled), Some(cancelled)),
        (Next::Release, false, queued, 1, 1, None, None),
        (Next::Release, true, cancelled, 2, 1, Some(Cancelled), Some(cancelled)),
        (Next::Wait { requests: Payload::null(), until: None }, false, TaskState::Waiting, 2, 1, None, None),
        (
            Next::Wait { requests: Payload::null(), until: None },
            true,
            cancelled,
            2,
            1,
            Some(Cancelled),
            Some(cancelled),
        ),
    ];
    for (next, is_cancelled, state, attempt, crashes, error, recorded) in cases {
        let (task, transition) = settled(&next, is_cancelled);
        let found = (task.state, task.attempt, task.crashes, task.error.as_ref().map(|error| error.kind));
        assert_eq!(found, (state, attempt, crashes, error), "{next:?}");
        assert_eq!(transition.attempt.as_ref().map(|end| end.state), recorded, "{next:?}");
        assert_eq!(task.finished_at, state.is_terminal().then_some(at(9)), "{next:?}");
        assert!(task.error.is_none_or(|error| error.log.is_none()), "the log belongs to the attempt: {next:?}");
        let is_released = matches!(next, Next::Release) && !is_cancelled;
        assert_eq!((task.agent.is_none(), task.node.is_none()), (is_released, is_released), "{next:?}");
        assert_eq!(task.started_at.is_none(), is_released, "{next:?}");
    }
}

#[test]
fn a_task_without_its_node_by_what_it_did() {
    let (queued, dead, cancelled) = (TaskState::Queued, TaskState::Dead, TaskState::Cancelled);
    // Crashes before, whether the attempt began, whether a client cancelled it; state, attempts, crashes, recorded.
    let cases = [
        (0, true, false, queued, 2, 1, Some(queued)),
        (2, true, false, dead, 2, 3, Some(dead)),
        (2, true, true, cancelled, 2, 3, Some(cancelled)),
        (0, false, false, queued, 1, 1, None),
        (2, false, false, queued, 1, 2, None),
        (0, false, true, cancelled, 2, 1, None),
    ];
    for (crashes, has_begun, is_cancelled, state, attempt, after, recorded) in cases {
        let mut task = Task { crashes, ..running() };
        let running = Running::of(&task, is_cancelled);
        let transition = rescue(LostTask { running, has_begun, max_crashes: task.retry.max_crashes }, at(9));
        assert_eq!(transition.attempt.as_ref().map(|end| end.state), recorded);
        transition.apply(&mut task);
        assert_eq!((task.state, task.attempt, task.crashes), (state, attempt, after), "{crashes} {has_begun}");
    }
}

#[test]
fn clients_change_what_the_state_allows() {
    for from in TaskState::ALL {
        let cancel = cancel(from, at(9));
        match from {
            TaskState::Running => assert_eq!(cancel, Cancel::Mark),
            TaskState::Damaged => assert_eq!(cancel, Cancel::GiveUp),
            ended if ended.is_terminal() => assert_eq!(cancel, Cancel::Ended),
            _ => assert!(matches!(cancel, Cancel::End(end) if end.to == TaskState::Cancelled && end.attempt.is_none())),
        }
        assert_eq!(retry(from, None, at(9)).is_some(), from.can_be_retried(), "{from}");
    }
}

#[test]
fn an_answered_task_continues_the_attempt_that_asked() {
    let asked = Payload::parse("[1]").unwrap();
    let (mut task, _) = settled(&Next::Wait { requests: asked.clone(), until: Some(at(7)) }, false);
    assert_eq!((task.requests.as_deref(), task.attempt, task.agent.is_some()), (Some(&asked), 2, true));
    let answered = Payload::parse("[2]").unwrap();
    assert_eq!(task.deadline, Some(at(7)));
    let given = Answered { task: task.id, asked, requests: answered.clone(), deadline: Some(at(70)) };
    let waiting = task.clone();
    answer(&task, &given).unwrap().apply(&mut task);
    assert_eq!(task.deadline, Some(at(70)));
    assert_eq!((task.requests.as_deref(), task.attempt, task.agent), (Some(&answered), 1, None));
    assert_eq!((task.state, task.started_at), (TaskState::Queued, None));
    let asked_since = Some(Box::new(Payload::parse("[3]").unwrap()));
    assert_eq!(
        answer(&Task { requests: asked_since, ..waiting.clone() }, &given),
        None,
        "it asked something else since"
    );
    for state in TaskState::ALL.into_iter().filter(|state| *state != TaskState::Waiting) {
        assert_eq!(answer(&Task { state, ..waiting.clone() }, &given), None, "{state}");
    }
}

#[test]
fn a_retried_task_begins_anew() {
    let ended = Task { deadline: Some(at(8)), ..settled(&Next::Release, true).0 };
    let mut task = ended.clone();
    let transition = retry(task.state, task.deadline, at(20)).unwrap();
    assert_eq!(transition.queue, QueueMove::Join { due: at(20) });
    transition.apply(&mut task);
    let (attempt, crashes, run_at, deadline) = (0, 0, at(20), None);
    let fresh = Task { state: TaskState::Queued, attempt, crashes, run_at, deadline, ..ended };
    let gone =
        Task { started_at: None, finished_at: None, agent: None, node: None, output: None, error: None, ..fresh };
    assert_eq!(task, gone);
}

fn any_next() -> impl Strategy<Value = Next> {
    let kind = prop_oneof![Just(ErrorKind::AgentError), Just(ErrorKind::AgentLost), Just(ErrorKind::Timeout)];
    let state = proptest::sample::select(TaskState::ALL.to_vec());
    prop_oneof![
        (state, prop::option::of(kind.clone())).prop_map(|(state, kind)| {
            Next::Finish { state, output: kind.is_none().then(Payload::null), error: kind.map(trouble) }
        }),
        (0..20_i64, kind, any::<bool>(), any::<bool>()).prop_map(|(run_at, kind, crash, counts)| {
            Next::Retry { run_at: at(run_at), error: trouble(kind), crash, counts }
        }),
        Just(Next::Release),
        Just(Next::Wait { requests: Payload::null(), until: None }),
    ]
}

proptest! {
    #[test]
    fn a_transition_is_a_legal_move_of_the_states(
        next in any_next(), attempt in 0..5_u32, crashes in 0..5_u32, is_cancelled: bool, has_begun: bool, max in 1..5_u32,
    ) {
        let running = Running { attempt, crashes, is_cancelled };
        let rescued = rescue(LostTask { running, has_begun, max_crashes: max }, at(9));
        let swept = [expire(TaskState::Queued, at(9)), expire(TaskState::Scheduled, at(9)), promote()];
        let waiting = Task { state: TaskState::Waiting, attempt, requests: Some(Box::new(Payload::null())), ..self::running() };
        let (asked, requests) = (Payload::null(), Payload::null());
        let answered = answer(&waiting, &Answered { task: waiting.id, asked, requests, deadline: None });
        let all = swept.into_iter().chain(answered).chain([settle(running, &next, at(9)), rescued]);
        for transition in all.chain(TaskState::ALL.into_iter().filter_map(|from| retry(from, None, at(9)))) {
            prop_assert!(transition.from.can_become(transition.to), "{} to {}", transition.from, transition.to);
            prop_assert_eq!(transition.ends(), transition.queue == QueueMove::Leave);
            prop_assert_eq!(transition.ends(), transition.changes.finished_at == Change::Set(at(9)));
            prop_assert!(transition.changes.error.value().is_none_or(|error| error.log.is_none()));
        }
    }

    #[test]
    fn an_end_that_needs_no_row_is_the_same_for_every_row(
        next in any_next(), attempt in 0..5_u32, crashes in 0..5_u32, is_cancelled: bool,
    ) {
        if let Some(end) = settle_any(&next, at(9)) {
            prop_assert_eq!(end, settle(Running { attempt, crashes, is_cancelled }, &next, at(9)));
        }
    }

    #[test]
    fn a_cancelled_task_waits_no_more(next in any_next(), attempt in 0..5_u32, crashes in 0..5_u32) {
        let running = Running { attempt, crashes, is_cancelled: true };
        prop_assert!(settle(running, &next, at(9)).ends());
    }
}
