//! What the calls on tasks take and answer.

use forerunner_core::{ContextId, IdempotencyKey, PoolName, TaskId};
use forerunner_service::{
    limits::MAX_BATCH,
    status::{PlacementStatus, TaskEvent},
};

use super::{
    calls::{BODY, POOL, STORE, of_pool, with_cursor},
    operation::{Op, of, one_of, text, whole},
};
use crate::{
    batch::Batch,
    body::{ENVELOPE_BYTES, MAX_BATCH_BYTES},
    bulk::BulkView,
    filter::{BulkBody, MoveBody, TimeText},
    problems::{
        BATCH_TOO_LARGE, BYTES_FULL, CONTEXTS_FULL, CROSS_SITE, INVALID_HEADER, INVALID_QUERY, INVALID_VALUE,
        KEY_REUSED, NO_PARENT, NO_POOL, NO_TASK, NOT_MOVABLE, OUTCOME_UNKNOWN, ProblemType, QUEUE_FULL, TOO_DEEP,
        WRONG_STATE,
    },
    submission::{TaskBody, TaskPatch},
    views::{AttemptsView, BatchView, TaskView, TasksView},
};

/// Why a pool takes no task.
const FULL: &[&ProblemType] = &[QUEUE_FULL, BYTES_FULL, CONTEXTS_FULL];
/// Why there is no task.
const TASK: &[&ProblemType] = &[INVALID_VALUE, NO_TASK];

pub(super) fn submit() -> Op {
    let about = "The task is durable once this is answered. The answer leaves out the input, which the submitter has.";
    let body = format!(
        "A task. Its input has at most `queue.max_input_bytes` of the pool (1 MiB unless set), the body {ENVELOPE_BYTES} \
         bytes more."
    );
    let key =
        "Makes the submission repeatable, with or without quotes: the same key with the same body is the same task.";
    let op = Op::new("submitTask", about)
        .header("Idempotency-Key", of::<IdempotencyKey>(), key)
        .takes::<TaskBody>(&body)
        .answers::<TaskView<'_>>(200, "The task has ended: it was waited for, or was known by its key.")
        .answers::<TaskView<'_>>(202, "Accepted; the task has not ended.");
    let op = waits(of_pool(op), &[200, 202]);
    let op = [200, 202].into_iter().fold(op, |op, status| {
        op.with(status, "Location", text(), "The path of the task.").with(
            status,
            "Idempotency-Replayed",
            one_of(["true"]),
            "`true` if the key was known; else absent.",
        )
    });
    op.mentions::<IdempotencyKey>()
        .refuses(BODY)
        .refuses(&[INVALID_HEADER, KEY_REUSED, NO_PARENT, TOO_DEEP])
        .refuses(FULL)
        .refuses(STORE)
}

pub(super) fn submit_batch() -> Op {
    let about = "Each task is accepted or refused by itself, in the order of the request; all that were accepted are durable \
                 once this is answered, after about one commit. A queue that fills on the way takes the tasks that stand \
                 first. The whole is answered with a problem where it cannot be read, or where the node could take none of \
                 the tasks for a reason of its own. A single task is refused with `invalid-body` or `unknown-field` (400), \
                 `payload-too-large` (413), `idempotency-key-reused`, `no-parent` or `too-deep` (422), `queue-full`, \
                 `queue-bytes-full` or `contexts-full` (429), or what the node answers \
                 otherwise (500, 503). The header `Idempotency-Key` is refused: each task has its own key.";
    let body =
        format!("Up to {MAX_BATCH} tasks, {MAX_BATCH_BYTES} bytes in all, or what one task may have if that is more.");
    let op = Op::new("submitTasks", about)
        .takes::<Batch<'_>>(&body)
        .answers::<BatchView<'_>>(200, "An outcome for each task.");
    of_pool(op).refuses(BODY).refuses(&[INVALID_HEADER, BATCH_TOO_LARGE]).refuses(STORE)
}

pub(super) fn list_tasks() -> Op {
    let op = Op::new("listTasks", "All filters are to be met. Entries leave out `input` and `output`.")
        .query("pool", of::<PoolName>(), "Of this pool.")
        .query("state", text(), "In one of these states, apart by commas; may come several times.")
        .query("context", of::<ContextId>(), "Of this context.")
        .query("label", text(), "With this label, as `key:value`; may come several times, and all are to be there.");
    let op = TIMES.iter().fold(op, |op, (name, about)| op.query(name, of::<TimeText>(), about)).mentions::<TimeText>();
    let op = with_cursor(op).answers::<TasksView<'_>>(200, "A page, newest first.");
    op.refuses(&[INVALID_VALUE]).refuses(STORE)
}

/// The windows of time of a listing.
const TIMES: [(&str, &str); 6] = [
    ("created_after", "Submitted at this time or later."),
    ("created_before", "Submitted before this time."),
    ("ended_after", "Ended at this time or later."),
    ("ended_before", "Ended before this time."),
    ("due_after", "With a `run_at` at this time or later."),
    ("due_before", "With a `run_at` before this time."),
];

pub(super) fn cancel_tasks() -> Op {
    let about = "Tasks that wait are cancelled at once; those that run are asked to stop. ";
    bulk::<BulkBody>("cancelTasks", about)
}

pub(super) fn retry_tasks() -> Op {
    let about = "Tasks get fresh attempts, the oldest first, so that tasks of a context keep their order. Without `states`, \
                 tasks that were cancelled or have expired are left alone. ";
    bulk::<BulkBody>("retryTasks", about)
}

pub(super) fn delete_tasks() -> Op {
    let about = "Tasks go for good, with input, output, labels, key, events and attempts. Those that have not ended are refused. ";
    bulk::<BulkBody>("deleteTasks", about)
}

pub(super) fn move_tasks() -> Op {
    let about = "Tasks that wait go to the pool `to`, the oldest first, as many as it has room for. Each keeps its id, priority, \
                 times, attempts and idempotency key. Tasks of a context stay, since a context belongs to its pool; so do \
                 tasks whose key the pool has. Tasks of a pool that left the configuration can go as well. ";
    bulk::<MoveBody>("moveTasks", about).refuses(&[NO_POOL])
}

fn bulk<Body: utoipa::ToSchema>(id: &'static str, about: &str) -> Op {
    let rest = "One call changes 10,000 tasks at most and goes on for about 5 s; `next` says where to go on. It works in \
                batches of 500, each in one transaction. A call can be repeated: what is done is not done again.";
    let op = Op::new(id, format!("{about}{rest}").leak())
        .takes::<Body>("Which tasks. A body without a condition is refused unless it has `\"all\": true`.")
        .answers::<BulkView>(200, "What was done.");
    op.refuses(BODY).refuses(&[INVALID_VALUE, INVALID_QUERY]).refuses(STORE)
}

pub(super) fn change_task() -> Op {
    let about = "A task of a context that has become due keeps its place in the conversation: with a later `run_at` those \
                 behind it wait for it. `pool` gives a task without a context to another pool of this node, with its key. Refused \
                 for a task that runs or has ended.";
    let op = Op::new("changeTask", about)
        .takes::<TaskPatch>("What to change; the rest is left as it is.")
        .answers::<TaskView<'_>>(200, "The task.");
    let of_move = &[NOT_MOVABLE, QUEUE_FULL, BYTES_FULL];
    of_task(op).refuses(BODY).refuses(TASK).refuses(POOL).refuses(&[WRONG_STATE]).refuses(of_move).refuses(STORE)
}

pub(super) fn delete_task() -> Op {
    let about =
        "For good, with input, output, labels, key, events and attempts. Refused for a task that has not ended.";
    let op = Op::new("deleteTask", about).answers_nothing(204, "It is gone.");
    of_task(op).refuses(TASK).refuses(&[CROSS_SITE, WRONG_STATE]).refuses(STORE)
}

pub(super) fn show_task() -> Op {
    let op = Op::new("getTask", "")
        .answers::<TaskView<'_>>(200, "The task, its input included, whether it has ended or not.");
    waits(of_task(op), &[200]).refuses(TASK).refuses(STORE)
}

pub(super) fn cancel_task() -> Op {
    let op = Op::new("cancelTask", "")
        .answers::<TaskView<'_>>(200, "The task has ended: it was cancelled, or had ended before.")
        .answers::<TaskView<'_>>(202, "The task runs and is asked to stop.");
    of_task(op).refuses(TASK).refuses(POOL).refuses(STORE)
}

pub(super) fn retry_task() -> Op {
    let op = Op::new("retryTask", "Only tasks that are failed, dead, cancelled or expired; they get fresh attempts.")
        .answers::<TaskView<'_>>(200, "The task, back in its queue.");
    of_task(op).refuses(TASK).refuses(POOL).refuses(&[WRONG_STATE]).refuses(STORE)
}

pub(super) fn list_attempts() -> Op {
    let about = "Attempts that did not succeed are kept with the task, the newest 10 of them; the one that runs or succeeded is \
                 told by the task itself.";
    let op = Op::new("listAttempts", about).answers::<AttemptsView>(200, "The attempts, oldest first.");
    of_task(op).refuses(TASK).refuses(STORE)
}

pub(super) fn show_placement() -> Op {
    let op = Op::new("getTaskPlacement", "").answers::<PlacementStatus>(200, "What was weighed, in seconds.");
    of_task(op).refuses(TASK).refuses(&[OUTCOME_UNKNOWN]).refuses(STORE)
}

pub(super) fn follow_task() -> Op {
    let about = "Server-sent events: what was kept of the task, then what happens, until it has ended. The `data` of each is \
                 one line of JSON, a `TaskEvent`; its `id` is the event's `seq`. A silent stream sends the comment \
                 `: heartbeat` every 15 s.";
    let op = Op::new("followTask", about)
        .header(
            "Last-Event-ID",
            whole(0, None),
            "The `id` of the last event that was received; only later ones are sent.",
        )
        .answers_text("text/event-stream", "The events.")
        .with(200, "Cache-Control", one_of(["no-store"]), "Never kept.")
        .answers_nothing(204, "The task has ended, and nothing is kept after that event: do not connect again.");
    of_task(op).mentions::<TaskEvent>().refuses(TASK).refuses(&[INVALID_HEADER]).refuses(STORE)
}

fn of_task(op: Op) -> Op {
    op.path("id", of::<TaskId>(), "The task.")
}

/// `Prefer: wait=N`.
fn waits(op: Op, statuses: &[u16]) -> Op {
    let about = "`wait=N` waits for the end of the task, at most N seconds and at most `http.max_wait` (50 s unless set). \
                 A preference that cannot be understood is ignored.";
    let applied = "`wait` if a wait was asked for.";
    let op = op.header("Prefer", text(), about);
    statuses.iter().fold(op, |op, status| op.with(*status, "Preference-Applied", one_of(["wait"]), applied))
}
