//! Tasks whose agents ask something.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use forerunner_core::{
    Answered, LogLevel, LogLine, LogSource, Next, Occurrence, Part, Payload, Task, TaskId, TaskReport, TaskSpec,
    TaskState, TenantName, Timestamp,
};

use super::lab::{Lab, at, node, pool, succeeded};
use crate::{Settlement, StateConflict, Store, TaskFilter};

fn asks() -> Next {
    Next::Wait { requests: question(), until: None }
}

fn question() -> Payload {
    Payload::trusted(r#"["may I?"]"#)
}

fn yes() -> Payload {
    Payload::trusted(r#"["yes"]"#)
}

fn answered(task: TaskId) -> Answered {
    Answered { task, asked: question(), requests: yes(), deadline: None }
}

/// It counts neither as running nor as queued, survives the loss of its node, and is answered once.
pub async fn a_task_that_asks_waits_without_an_agent_and_is_answered_once<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let (id, _) = lab.enqueue(lab.task(1)).await;
    let task = lab.claim(1, 2).await.remove(0);
    assert_eq!(
        lab.store.answer(answered(id), at(3)).await.unwrap().unwrap_err(),
        wrong_state(&task, TaskState::Running)
    );
    let settled = lab.settle(&task, 3, asks()).await.unwrap();
    assert_eq!((settled.state, settled.claimable), (TaskState::Waiting, 0));
    let counts = lab.counts().await;
    assert_eq!(counts.by_state, BTreeMap::from([(TaskState::Waiting, 1)]));
    assert_eq!((counts.claimable, counts.waiting()), (0, 0));
    assert_eq!(lab.store.pools_with_tasks().await.unwrap(), [pool("coder")]);
    assert_eq!(lab.store.input_bytes(pool("coder")).await.unwrap(), task.input.len() as u64);
    assert_eq!(lab.rescue_all_but(node(9), 4).await, Default::default(), "no node has it");
    let asked = lab.get(id).await;
    assert_eq!((asked.state, asked.attempt), (TaskState::Waiting, 1));
    assert_eq!(asked.requests.as_deref().map(Payload::as_str), Some(r#"["may I?"]"#));
    let other = Answered { asked: Payload::trusted("[]"), ..answered(id) };
    assert_eq!(lab.store.answer(other, at(5)).await.unwrap().unwrap_err(), wrong_state(&task, TaskState::Waiting));
    let queued = lab.store.answer(answered(id), at(5)).await.unwrap().unwrap();
    assert_eq!(queued, lab.get(id).await);
    assert_eq!((queued.state, queued.attempt, queued.node), (TaskState::Queued, 0, None));
    assert_eq!(
        lab.store.answer(answered(id), at(6)).await.unwrap().unwrap_err(),
        wrong_state(&task, TaskState::Queued)
    );
    let again = lab.claim(1, 7).await.remove(0);
    assert_eq!((again.attempt, again.requests.as_deref()), (1, Some(&yes())));
    lab.settle(&again, 8, succeeded()).await.unwrap();
    assert_eq!(lab.get(id).await.requests.as_deref(), Some(&yes()));
}

fn wrong_state(task: &Task, state: TaskState) -> StateConflict {
    StateConflict::WrongState { task: task.id, state, wish: "answered" }
}

/// Those behind it in its conversation wait; an answer lets it run before them.
pub async fn a_task_that_asks_keeps_its_place_in_its_conversation<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let (first, _) = lab.enqueue(lab.task_of(1, "chat")).await;
    let (second, _) = lab.enqueue(lab.task_of(2, "chat")).await;
    let task = lab.claim(1, 3).await.remove(0);
    lab.settle(&task, 4, asks()).await.unwrap();
    assert!(lab.claim(9, 5).await.is_empty(), "the second one waits for the first");
    lab.store.answer(answered(first), at(6)).await.unwrap().unwrap();
    let task = lab.claim(9, 7).await.remove(0);
    assert_eq!(task.id, first);
    assert_eq!(lab.settle(&task, 8, asks()).await.unwrap().claimable, 0);
    assert_eq!(lab.cancel(first, 9).await, (false, 1), "a cancelled question lets the next come");
    assert_eq!(lab.claim_ids(9, 10).await, [second]);
}

/// Its deadline ends it.
pub async fn a_question_without_an_answer_ends_at_the_deadline<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let (id, _) = lab.enqueue(Task { deadline: Some(at(20)), ..lab.task(1) }).await;
    let task = lab.claim(1, 2).await.remove(0);
    lab.settle(&task, 3, asks()).await.unwrap();
    let swept = lab.sweep(4).await;
    assert_eq!((swept.expired.len(), swept.next_due), (0, Some(at(20))));
    assert_eq!(lab.sweep(20).await.expired, [(id, false)]);
    assert_eq!(lab.get(id).await.state, TaskState::Expired);
    let waiting = TaskFilter { states: vec![TaskState::Waiting], limit: 9, ..TaskFilter::default() };
    assert!(lab.store.tasks(waiting).await.unwrap().tasks.is_empty());
}

/// The time to answer ends it; an answer in time gives it the deadline back that it had.
pub async fn a_question_has_a_deadline_of_its_own<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let asks_until = |until| Next::Wait { requests: question(), until: Some(at(until)) };
    let (late, _) = lab.enqueue(lab.task(1)).await;
    let (early, _) = lab.enqueue(Task { deadline: Some(at(90)), ..lab.task(2) }).await;
    for task in lab.claim(2, 3).await {
        lab.settle(&task, 4, asks_until(20)).await.unwrap();
    }
    assert_eq!((lab.get(late).await.deadline, lab.get(early).await.deadline), (Some(at(20)), Some(at(20))));
    assert_eq!(lab.sweep(5).await.next_due, Some(at(20)));
    let again = Answered { deadline: Some(at(90)), ..answered(early) };
    assert_eq!(lab.store.answer(again, at(6)).await.unwrap().unwrap().deadline, Some(at(90)));
    assert_eq!(lab.sweep(20).await.expired, [(late, false)]);
    let ended = lab.get(late).await;
    assert_eq!(ended.error.map(|error| error.message), Some("nobody answered the agent in time".to_owned()));
    let [task] = &lab.claim(9, 21).await[..] else { panic!("the other one is queued again") };
    assert_eq!((task.id, task.deadline), (early, Some(at(90))));
}

/// From its submission to a retry after its end.
pub async fn what_a_submission_says_stays_with_its_task<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let part = Part { name: Some("a.png".to_owned()), size_bytes: 7, blob: "b3".to_owned(), media_type: None };
    let spec = TaskSpec {
        metadata: Some(Payload::trusted(r#"{"ticket":"é\"7"}"#)),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        submitted_by: Some("ci".parse().unwrap()),
        schedule: Some(Occurrence { schedule: "nightly".to_owned(), at: Timestamp::from_micros(1) }),
        announced_at: Some(at(-5)),
        parts: vec![part],
    };
    let tenant = TenantName::new("acme").unwrap();
    let (id, _) = lab.enqueue(Task { spec: Some(Box::new(spec.clone())), tenant: tenant.clone(), ..lab.task(1) }).await;
    let (plain, _) = lab.enqueue(lab.task(2)).await;
    let task = lab.claim(1, 3).await.remove(0);
    assert_eq!((task.spec.as_deref(), &task.tenant), (Some(&spec), &tenant));
    lab.settle(&task, 4, super::lab::failed()).await.unwrap();
    let ended = lab.get(id).await;
    assert_eq!((ended.spec.as_deref(), &ended.tenant, ended.report), (Some(&spec), &tenant, None::<Box<TaskReport>>));
    let again = lab.store.retry(id, at(5)).await.unwrap().unwrap();
    assert_eq!((again.spec.as_deref(), &again.tenant), (Some(&spec), &tenant));
    assert_eq!(lab.get(id).await, again);
    let plain = lab.get(plain).await;
    assert_eq!((plain.spec, plain.tenant.as_str()), (None, "default"));
}

/// With any end of an attempt, and until a retry by hand.
pub async fn what_agents_report_stays_with_their_task<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let report = |count| {
        let mut report = TaskReport { usage: [("tokens".to_owned(), count)].into(), ..TaskReport::default() };
        let (source, level) = (LogSource::Stderr, LogLevel::Warn);
        report.log.push(LogLine {
            at: at(count as i64),
            attempt: 1,
            source,
            level,
            text: "é \"7\" \u{1f600}".to_owned(),
        });
        Some(Box::new(report))
    };
    let (id, _) = lab.enqueue(lab.task(1)).await;
    let ends = [Next::Wait { requests: question(), until: None }, Next::Release, succeeded()];
    for (count, next) in (1..).zip(ends) {
        let task = lab.claim(1, 10 * count as i64).await.remove(0);
        assert_eq!(task.report, if count == 1 { None } else { report(count - 1) });
        let waits = matches!(next, Next::Wait { .. });
        let settlement = Settlement { report: report(count), ..lab.settlement(&task, 10 * count as i64 + 1, next) };
        lab.settle_with(settlement).await.unwrap();
        assert_eq!(lab.get(id).await.report, report(count));
        if waits {
            lab.store.answer(answered(id), at(10 * count as i64 + 2)).await.unwrap().unwrap();
        }
    }
    // A settlement that reports nothing leaves what is there.
    let (other, _) = lab.enqueue(lab.task(2)).await;
    let task = lab.claim(1, 50).await.remove(0);
    lab.settle_with(Settlement { report: report(9), ..lab.settlement(&task, 51, Next::Release) }).await.unwrap();
    let task = lab.claim(1, 52).await.remove(0);
    lab.settle(&task, 53, super::lab::failed()).await.unwrap();
    assert_eq!(lab.get(other).await.report, report(9));
}
