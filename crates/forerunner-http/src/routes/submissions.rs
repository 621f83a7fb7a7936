//! The calls that submit tasks.

use actix_web::web;
use forerunner_core::IdempotencyKey;
use forerunner_service::auth::Permission;
use forerunner_service::limits::MAX_BATCH;

use crate::{
    batch::{self, Batch},
    body::{ENVELOPE_BYTES, MAX_BATCH_BYTES},
    call::Call,
    openapi::{
        Op, of, one_of,
        parts::{BODY, STORE, of_pool, waits},
        text,
    },
    problems::{
        BATCH_TOO_LARGE, BYTES_FULL, CONTEXTS_FULL, INVALID_HEADER, KEY_REUSED, NO_PARENT, ProblemType, QUEUE_FULL,
        TENANT_LIMIT, TOO_DEEP,
    },
    submission::TaskBody,
    tasks,
    views::{BatchView, TaskView},
};

/// Submissions.
pub(super) const CALLS: &[Call] = &[
    Call {
        method: "POST",
        path: "/v1/pools/{pool}/tasks",
        summary: "submit a task",
        needs: Permission::Submit,
        handler: || web::to(tasks::submit),
        operation: Some(|| {
            let about =
                "The task is durable once this is answered. The answer leaves out the input, which the submitter has.";
            let body = format!(
                "A task. Its input has at most `queue.max_input_bytes` of the pool (1 MiB unless set), the body {ENVELOPE_BYTES} \
                 bytes more."
            );
            let key = "Makes the submission repeatable, with or without quotes: the same key with the same body is the same task.";
            let op = Op::new("submitTask", about)
                .header("Idempotency-Key", of::<IdempotencyKey>(), key)
                .header("traceparent", text(), TRACE)
                .body::<TaskBody>(&body)
                .answers::<TaskView<'_>>(200, "The task has ended: it was waited for, or was known by its key.")
                .answers::<TaskView<'_>>(202, "Accepted; the task has not ended.");
            let op = waits(of_pool(op), &[200, 202]);
            let op = [200, 202].into_iter().fold(op, |op, status| {
                op.with(status, "Location", text(), "The path of the task.")
                    .with(status, "Idempotency-Replayed", one_of(["true"]), "`true` if the key was known; else absent.")
                    .with(status, "RateLimit", text(), "What the tenant may submit now, if its rate is limited.")
                    .with(status, "RateLimit-Policy", text(), "The limit of the tenant's rate, if there is one.")
            });
            op.mentions::<IdempotencyKey>()
                .refuses(BODY)
                .refuses(&[INVALID_HEADER, KEY_REUSED, NO_PARENT, TOO_DEEP])
                .refuses(FULL)
                .refuses(STORE)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/pools/{pool}/tasks:batch",
        summary: "submit up to 1,000 tasks at once",
        needs: Permission::Submit,
        handler: || web::to(batch::submit),
        operation: Some(|| {
            let about = "Each task is accepted or refused by itself, in the order of the request; all that were accepted are durable \
                         once this is answered, after about one commit. A queue that fills on the way body the tasks that stand \
                         first. The whole is answered with a problem where it cannot be read, or where the node could take none of \
                         the tasks for a reason of its own. A single task is refused with `invalid-body` or `unknown-field` (400), \
                         `payload-too-large` (413), `idempotency-key-reused`, `no-parent` or `too-deep` (422), `queue-full`, \
                         `queue-bytes-full`, `contexts-full` or `tenant-limit` (429), or what the node answers \
                         otherwise (500, 503). The header `Idempotency-Key` is refused: each task has its own key.";
            let body = format!(
                "Up to {MAX_BATCH} tasks, {MAX_BATCH_BYTES} bytes in all, or what one task may have if that is more."
            );
            let op = Op::new("submitTasks", about)
                .header("traceparent", text(), TRACE)
                .body::<Batch<'_>>(&body)
                .answers::<BatchView<'_>>(200, "An outcome for each task.");
            of_pool(op).refuses(BODY).refuses(&[INVALID_HEADER, BATCH_TOO_LARGE]).refuses(STORE)
        }),
    },
];

const TRACE: &str = "The trace that the tasks belong to (W3C Trace Context). Their agents receive it. A value that is not valid is ignored.";

/// Why a pool accepts no task.
const FULL: &[&ProblemType] = &[QUEUE_FULL, BYTES_FULL, CONTEXTS_FULL, TENANT_LIMIT];
