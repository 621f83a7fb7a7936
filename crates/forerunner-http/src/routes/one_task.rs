//! The calls on one task.

use actix_web::web;
use forerunner_core::{TaskId, TaskLog};
use forerunner_service::auth::Permission;
use forerunner_service::status::{PlacementStatus, TaskEvent};

use crate::{
    call::Call,
    events,
    openapi::{
        Op, of, one_of,
        parts::{BODY, POOL, STORE, waits},
        whole,
    },
    problems::{
        BYTES_FULL, CROSS_SITE, INVALID_HEADER, INVALID_VALUE, NO_TASK, NOT_MOVABLE, OUTCOME_UNKNOWN, ProblemType,
        QUEUE_FULL, WRONG_STATE,
    },
    submission::{AnswerBody, TaskPatch},
    tasks,
    views::{AttemptsView, TaskView},
};

/// See, change, steer and follow one task.
pub(super) const CALLS: &[Call] = &[
    Call {
        method: "GET",
        path: "/v1/tasks/{id}",
        summary: "show a task",
        needs: Permission::ReadTasks,
        handler: || web::to(tasks::show),
        operation: Some(|| {
            let op = Op::new("getTask", "")
                .answers::<TaskView<'_>>(200, "The task, its input included, whether it has ended or not.");
            waits(of_task(op), &[200]).refuses(TASK).refuses(STORE)
        }),
    },
    Call {
        method: "PATCH",
        path: "/v1/tasks/{id}",
        summary: "change a task that waits",
        needs: Permission::ChangeTasks,
        handler: || web::to(tasks::change),
        operation: Some(|| {
            let about = "A task of a context that has become due keeps its place in the conversation: with a later `run_at` those \
                         behind it wait for it. `pool` gives a task without a context to another pool of this node, with its key. Refused \
                         for a task that runs or has ended.";
            let op = Op::new("changeTask", about)
                .body::<TaskPatch>("What to change. Absent members stay as they are.")
                .answers::<TaskView<'_>>(200, "The task.");
            let of_move = &[NOT_MOVABLE, QUEUE_FULL, BYTES_FULL];
            of_task(op)
                .refuses(BODY)
                .refuses(TASK)
                .refuses(POOL)
                .refuses(&[WRONG_STATE])
                .refuses(of_move)
                .refuses(STORE)
        }),
    },
    Call {
        method: "DELETE",
        path: "/v1/tasks/{id}",
        summary: "remove a task that has ended",
        needs: Permission::Operate,
        handler: || web::to(tasks::delete),
        operation: Some(|| {
            let about = "Permanently, with input, output, labels, key, events and attempts. Refused for a task that \
                has not ended.";
            let op = Op::new("deleteTask", about).answers_nothing(204, "It is gone.");
            of_task(op).refuses(TASK).refuses(&[CROSS_SITE, WRONG_STATE]).refuses(STORE)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/tasks/{id}:cancel",
        summary: "cancel a task",
        needs: Permission::ChangeTasks,
        handler: || web::to(tasks::cancel),
        operation: Some(|| {
            let op = Op::new("cancelTask", "")
                .answers::<TaskView<'_>>(200, "The task has ended: it was cancelled, or had ended before.")
                .answers::<TaskView<'_>>(202, "The task runs and is asked to stop.");
            of_task(op).refuses(TASK).refuses(POOL).refuses(STORE)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/tasks/{id}:retry",
        summary: "retry an ended task",
        needs: Permission::ChangeTasks,
        handler: || web::to(tasks::retry),
        operation: Some(|| {
            let op = Op::new(
                "retryTask",
                "Only tasks that are failed, dead, cancelled or expired; they get fresh attempts.",
            )
            .answers::<TaskView<'_>>(200, "The task, back in its queue.");
            of_task(op).refuses(TASK).refuses(POOL).refuses(&[WRONG_STATE]).refuses(STORE)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/tasks/{id}:answer",
        summary: "answer what the agent of a task asked",
        needs: Permission::ChangeTasks,
        handler: || web::to(tasks::answer),
        operation: Some(|| {
            let about = "The task returns to its queue, at the place it had, and its agent continues with the answer. The same answer \
                         once more changes nothing. Another answer to the same question is refused.";
            let op = Op::new("answerTask", about)
                .body::<AnswerBody>("Which question, and the answer.")
                .answers::<TaskView<'_>>(202, "The task has the answer.")
                .answers::<TaskView<'_>>(200, "The task had this answer before, and has ended since.");
            of_task(op).refuses(BODY).refuses(TASK).refuses(POOL).refuses(&[WRONG_STATE]).refuses(STORE)
        }),
    },
    Call {
        method: "GET",
        path: "/v1/tasks/{id}/attempts",
        summary: "how the attempts of a task went",
        needs: Permission::ReadTasks,
        handler: || web::to(tasks::attempts),
        operation: Some(|| {
            let about = "The task has its newest 10 attempts that did not succeed. Its own fields describe the \
                attempt that runs or succeeded.";
            let op = Op::new("listAttempts", about).answers::<AttemptsView>(200, "The attempts, oldest first.");
            of_task(op).refuses(TASK).refuses(STORE)
        }),
    },
    Call {
        method: "GET",
        path: "/v1/tasks/{id}/logs",
        summary: "the last lines of a task's log",
        needs: Permission::ReadPayloads,
        handler: || web::to(tasks::logs),
        operation: Some(|| {
            let about = "What the agents of the task wrote to its log, and to their standard error while they ran it: the last 100 \
                         lines, 16 KiB at most. The lines of the attempt that runs are there at once.";
            let op = Op::new("getTaskLogs", about).answers::<TaskLog>(200, "The lines, oldest first.");
            of_task(op).refuses(TASK).refuses(STORE)
        }),
    },
    Call {
        method: "GET",
        path: "/v1/tasks/{id}/placement",
        summary: "why a task went to its agent",
        needs: Permission::ReadTasks,
        handler: || web::to(tasks::placement),
        operation: Some(|| {
            let op = Op::new("getTaskPlacement", "")
                .answers::<PlacementStatus>(200, "The costs that were compared, in seconds.");
            of_task(op).refuses(TASK).refuses(&[OUTCOME_UNKNOWN]).refuses(STORE)
        }),
    },
    Call {
        method: "GET",
        path: "/v1/tasks/{id}/events",
        summary: "follow a task (server-sent events)",
        needs: Permission::ReadPayloads,
        handler: || web::to(events::follow),
        operation: Some(|| {
            let about = "Server-sent events: the stored events of the task, then new ones, until it has ended. The \
                `data` of each is \
                         one line of JSON, a `TaskEvent`; its `id` is the event's `seq`. A silent stream sends the comment \
                         `: heartbeat` every 15 s.";
            let op = Op::new("followTask", about)
                .header(
                    "Last-Event-ID",
                    whole(0, None),
                    "The `id` of the last event that was received; only later ones are sent.",
                )
                .answers_text("text/event-stream", "The events.")
                .with(200, "Cache-Control", one_of(["no-store"]), "The answer is never cached.")
                .answers_nothing(204, "The task has ended, and no event follows that one: do not connect again.");
            of_task(op).mentions::<TaskEvent>().refuses(TASK).refuses(&[INVALID_HEADER]).refuses(STORE)
        }),
    },
];

/// Why there is no task.
const TASK: &[&ProblemType] = &[INVALID_VALUE, NO_TASK];

fn of_task(op: Op) -> Op {
    op.path("id", of::<TaskId>(), "The task.")
}
