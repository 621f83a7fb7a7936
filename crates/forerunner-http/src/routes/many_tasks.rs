//! The calls on all tasks that meet conditions.

use actix_web::web;
use forerunner_core::{ContextId, PoolName};
use forerunner_service::auth::Permission;
use utoipa::ToSchema;

use crate::{
    bulk::{self, BulkView},
    call::Call,
    filter::{BulkBody, MoveBody, TimeText},
    openapi::{
        Op, of,
        parts::{BODY, STORE, with_cursor},
        text,
    },
    problems::{INVALID_QUERY, INVALID_VALUE, NO_POOL},
    tasks,
    views::TasksView,
};

/// Listing, and operations on many tasks.
pub(super) const CALLS: &[Call] = &[
    Call {
        method: "GET",
        path: "/v1/tasks",
        summary: "list tasks, newest first",
        needs: Permission::ReadTasks,
        handler: || web::to(tasks::list),
        operation: Some(|| {
            let op = Op::new("listTasks", "A task must meet all filters. Entries leave out `input` and `output`.")
                .query("pool", of::<PoolName>(), "Of this pool.")
                .query("state", text(), "In one of these states, separated by commas; may occur several times.")
                .query("context", of::<ContextId>(), "Of this context.")
                .query(
                    "label",
                    text(),
                    "With this label, as `key:value`; may occur several times; a task must have all of them.",
                );
            let op = TIMES
                .iter()
                .fold(op, |op, (name, about)| op.query(name, of::<TimeText>(), about))
                .mentions::<TimeText>();
            let op = with_cursor(op).answers::<TasksView<'_>>(200, "A page, newest first.");
            op.refuses(&[INVALID_VALUE]).refuses(STORE)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/tasks:cancel",
        summary: "cancel the tasks that meet conditions",
        needs: Permission::Operate,
        handler: || web::to(bulk::cancel),
        operation: Some(|| {
            let about = "Tasks that wait are cancelled at once; those that run are asked to stop. ";
            on_many::<BulkBody>("cancelTasks", about)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/tasks:retry",
        summary: "retry ended tasks that meet conditions",
        needs: Permission::Operate,
        handler: || web::to(bulk::retry),
        operation: Some(|| {
            let about = "Tasks get fresh attempts, the oldest first, so that tasks of a context keep their order. Without `states`, \
                         tasks that were cancelled or have expired are left alone. ";
            on_many::<BulkBody>("retryTasks", about)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/tasks:delete",
        summary: "remove ended tasks that meet conditions",
        needs: Permission::Operate,
        handler: || web::to(bulk::delete),
        operation: Some(|| {
            let about = "Tasks are deleted permanently, with input, output, labels, key, events and attempts. Those \
                that have not ended are refused. ";
            on_many::<BulkBody>("deleteTasks", about)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/tasks:move",
        summary: "move waiting tasks that meet conditions to another pool",
        needs: Permission::Operate,
        handler: || web::to(bulk::move_to_pool),
        operation: Some(|| {
            let about = "Waiting tasks move to the pool `to`, the oldest first, as many as it has room for. Each keeps its id, priority, \
                         times, attempts and idempotency key. Tasks of a context stay, since a context belongs to its pool; so do \
                         tasks whose key the pool has. Tasks of a pool that left the configuration can go as well. ";
            on_many::<MoveBody>("moveTasks", about).refuses(&[NO_POOL])
        }),
    },
];

/// The windows of time of a listing.
const TIMES: [(&str, &str); 6] = [
    ("created_after", "Submitted at this time or later."),
    ("created_before", "Submitted before this time."),
    ("ended_after", "Ended at this time or later."),
    ("ended_before", "Ended before this time."),
    ("due_after", "With a `run_at` at this time or later."),
    ("due_before", "With a `run_at` before this time."),
];

fn on_many<Body: ToSchema>(id: &'static str, about: &str) -> Op {
    let rest = "One call changes 10,000 tasks at most and runs for about 5 s; `next` is the position to continue from. It works in \
                batches of 500, each in one transaction. A call can be repeated: what is done is not done again.";
    let op = Op::new(id, format!("{about}{rest}").leak())
        .body::<Body>("Which tasks. A body without a condition is refused unless it has `\"all\": true`.")
        .answers::<BulkView>(200, "What was done.");
    op.refuses(BODY).refuses(&[INVALID_VALUE, INVALID_QUERY]).refuses(STORE)
}
