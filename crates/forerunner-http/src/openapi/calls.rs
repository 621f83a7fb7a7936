//! What each call takes and answers, in the order of the manual.

use forerunner_core::{ContextId, PoolName};
use forerunner_service::{
    MOST_SHARES, Scaler, WhatIf,
    limits::{MAX_MINUTES, MAX_PAGE, MINUTES, PAGE},
    status::{ContextStatus, DecisionRecord, ForecastStatus, PoolHistory, PoolPatch, PoolStatus},
};

use super::{
    operation::{Op, of, text, whole},
    tasks,
};
use crate::{
    problems::{
        BROKEN_BODY, BUSY, CONTEXT_IN_USE, INTERNAL, INVALID_BODY, INVALID_JSON, INVALID_QUERY, INVALID_VALUE,
        NO_CONTEXT, NO_DECISION, NO_HISTORY, NO_POOL, NOT_FOUND, NOT_READY, OUTCOME_UNKNOWN, PAYLOAD_TOO_LARGE,
        ProblemType, REQUEST_TIMEOUT, SHUTTING_DOWN, STORE_UNAVAILABLE, UNKNOWN_FIELD, UNSUPPORTED_ENCODING,
        UNSUPPORTED_MEDIA_TYPE,
    },
    views::{AgentsView, ContextsView, DecisionsView, NodesView, PoolsView, ReadyView},
};

/// What is wrong with a body.
pub(super) const BODY: &[&ProblemType] = &[
    INVALID_JSON,
    INVALID_BODY,
    UNKNOWN_FIELD,
    BROKEN_BODY,
    REQUEST_TIMEOUT,
    PAYLOAD_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    UNSUPPORTED_ENCODING,
];
/// Why the store does not answer.
pub(super) const STORE: &[&ProblemType] = &[INTERNAL, SHUTTING_DOWN, STORE_UNAVAILABLE];
/// Why a pool does not answer.
pub(super) const POOL: &[&ProblemType] = &[NO_POOL, OUTCOME_UNKNOWN];
const PLAIN_TEXT: &str = "text/plain";

/// Describes a call, by its method and path.
pub(super) type Description = (&'static str, &'static str, fn() -> Op);

pub(super) const DESCRIPTIONS: &[Description] = &[
    ("POST", "/v1/pools/{pool}/tasks", tasks::submit),
    ("POST", "/v1/pools/{pool}/tasks:batch", tasks::submit_batch),
    ("GET", "/v1/tasks", tasks::list_tasks),
    ("POST", "/v1/tasks:cancel", tasks::cancel_tasks),
    ("POST", "/v1/tasks:retry", tasks::retry_tasks),
    ("POST", "/v1/tasks:delete", tasks::delete_tasks),
    ("POST", "/v1/tasks:move", tasks::move_tasks),
    ("GET", "/v1/tasks/{id}", tasks::show_task),
    ("PATCH", "/v1/tasks/{id}", tasks::change_task),
    ("DELETE", "/v1/tasks/{id}", tasks::delete_task),
    ("POST", "/v1/tasks/{id}:cancel", tasks::cancel_task),
    ("POST", "/v1/tasks/{id}:retry", tasks::retry_task),
    ("GET", "/v1/tasks/{id}/attempts", tasks::list_attempts),
    ("GET", "/v1/tasks/{id}/placement", tasks::show_placement),
    ("GET", "/v1/tasks/{id}/events", tasks::follow_task),
    ("GET", "/v1/pools", list_pools),
    ("GET", "/v1/pools/{pool}", show_pool),
    ("PATCH", "/v1/pools/{pool}", change_pool),
    ("POST", "/v1/pools/{pool}:pause", pause_pool),
    ("POST", "/v1/pools/{pool}:resume", resume_pool),
    ("GET", "/v1/pools/{pool}/agents", list_agents),
    ("GET", "/v1/pools/{pool}/forecast", show_forecast),
    ("GET", "/v1/pools/{pool}/decisions", list_decisions),
    ("GET", "/v1/pools/{pool}/decisions/{seq}", show_decision),
    ("GET", "/v1/pools/{pool}/history", show_history),
    ("GET", "/v1/pools/{pool}/scaler", show_scaler),
    ("GET", "/v1/pools/{pool}/what-if", show_what_if),
    ("GET", "/v1/contexts", list_contexts),
    ("GET", "/v1/contexts/{context}", show_context),
    ("DELETE", "/v1/contexts/{context}", delete_context),
    ("GET", "/v1/nodes", list_nodes),
    ("GET", "/metrics", metrics),
    ("GET", "/livez", livez),
    ("GET", "/readyz", readyz),
    ("GET", "/openapi.json", document),
    ("GET", "/problems", problems),
    ("GET", "/problems/{name}", show_problem),
    ("GET", "/dashboard/{file}", dashboard_file),
    ("GET", "/", index),
];

pub(super) fn of_pool(op: Op) -> Op {
    op.path("pool", of::<PoolName>(), "The pool.").refuses(POOL)
}

fn of_context(op: Op) -> Op {
    op.path("context", of::<ContextId>(), "The context; write `/` in it as `%2F`.").query(
        "pool",
        of::<PoolName>(),
        "The pool it belongs to; the first that knows the id unless said.",
    )
}

fn paged(op: Op) -> Op {
    let about = format!("Entries of a page; {PAGE} unless said.");
    op.query("limit", whole(1, Some(MAX_PAGE as u64)), &about).refuses(&[INVALID_QUERY])
}

pub(super) fn with_cursor(op: Op) -> Op {
    paged(op.query("cursor", text(), "The page behind another: `next` of that one, unchanged, with the same filters."))
}

fn list_pools() -> Op {
    Op::new("listPools", "").answers::<PoolsView>(200, "All pools, by name.").refuses(&[OUTCOME_UNKNOWN])
}

fn show_pool() -> Op {
    of_pool(Op::new("getPool", "").answers::<PoolStatus>(200, "The pool."))
}

fn change_pool() -> Op {
    let about = "Holds until the node restarts; on PostgreSQL on every node, and for good.";
    let op = Op::new("changePool", about)
        .takes::<PoolPatch>("What to change; the rest is left as it is.")
        .answers::<PoolStatus>(200, "The pool.");
    of_pool(op).refuses(BODY).refuses(&[INVALID_VALUE]).refuses(STORE)
}

fn pause_pool() -> Op {
    let about = "Tasks are accepted and wait, running ones go on, agents stay warm. Holds also after a restart.";
    steer(Op::new("pausePool", about))
}

fn resume_pool() -> Op {
    steer(Op::new("resumePool", ""))
}

fn steer(op: Op) -> Op {
    of_pool(op.answers::<PoolStatus>(200, "The pool.")).refuses(STORE)
}

fn list_agents() -> Op {
    of_pool(Op::new("listAgents", "").answers::<AgentsView>(200, "The agents, oldest first."))
}

fn show_forecast() -> Op {
    let about = "What the policy expects one cold start ahead, with a 90 % band, and what it expected before.";
    of_pool(Op::new("getForecast", about).answers::<ForecastStatus>(200, "The forecast."))
}

fn list_decisions() -> Op {
    let op = Op::new("listDecisions", "What was decided, from what, and why. Only recent ones are kept.");
    of_pool(paged(op).answers::<DecisionsView>(200, "Decisions, newest first."))
}

fn show_decision() -> Op {
    let op = Op::new("getDecision", "").answers::<DecisionRecord>(200, "The decision.");
    of_pool(op)
        .path("seq", whole(0, None), "Counts the decisions of the pool from 1.")
        .refuses(&[INVALID_VALUE, NO_DECISION])
}

fn show_history() -> Op {
    let about = format!("Minutes up to now; {MINUTES} unless said.");
    let op = Op::new("getHistory", "Slot by slot, as far as this node knows, with what was expected of each.")
        .query("minutes", whole(1, Some(MAX_MINUTES.into())), &about)
        .answers::<PoolHistory>(200, "The last minutes.");
    of_pool(op).refuses(&[INVALID_QUERY])
}

fn show_scaler() -> Op {
    of_pool(Op::new("getScaler", "").answers::<Scaler>(200, "How many agents nodes should make room for."))
}

fn show_what_if() -> Op {
    let share = format!(
        "Shares of tasks that are to start on time, each between 0 and 1 and {MOST_SHARES} at most, apart by \
         commas; `0.95,0.99,0.999` unless said."
    );
    let about = "Replays the pool's own last day in virtual time, once for each share; takes seconds. One such call is \
                 answered at a time.";
    let op =
        Op::new("getWhatIf", about).query("share", text(), &share).answers::<WhatIf>(200, "A price for each share.");
    of_pool(op).refuses(&[INVALID_QUERY, NO_HISTORY, BUSY]).refuses(STORE)
}

fn list_contexts() -> Op {
    let op = Op::new("listContexts", "").query("pool", of::<PoolName>(), "Of this pool.");
    let op = with_cursor(op).answers::<ContextsView>(200, "A page, by pool and id.");
    op.refuses(POOL).refuses(STORE)
}

fn show_context() -> Op {
    let op = Op::new("getContext", "").answers::<ContextStatus>(200, "The context, without its items.");
    of_context(op).refuses(&[INVALID_QUERY, INVALID_VALUE, NO_CONTEXT]).refuses(POOL).refuses(STORE)
}

fn delete_context() -> Op {
    let op = Op::new("deleteContext", "For good. Refused while a task of it has not ended.");
    let op = of_context(op.answers_nothing(204, "It is gone."));
    op.refuses(&[INVALID_QUERY, INVALID_VALUE, NO_POOL, NO_CONTEXT, CONTEXT_IN_USE]).refuses(STORE)
}

fn list_nodes() -> Op {
    let op = Op::new("listNodes", "A node whose store is its own lists itself.");
    op.answers::<NodesView>(200, "The nodes, oldest first.").refuses(&[OUTCOME_UNKNOWN]).refuses(STORE)
}

fn metrics() -> Op {
    Op::new("getMetrics", "").answers_text(PLAIN_TEXT, "Prometheus' text format, version 0.0.4.")
}

fn livez() -> Op {
    let about = "Restart the process when this fails, and only then.";
    Op::new("getLiveness", about).answers_text(PLAIN_TEXT, "`ok`.")
}

fn readyz() -> Op {
    Op::new("getReadiness", "").answers::<ReadyView>(200, "It takes traffic.").refuses(&[NOT_READY])
}

fn problems() -> Op {
    Op::new("listProblems", "").answers_text(PLAIN_TEXT, "All kinds, for people.")
}

fn show_problem() -> Op {
    let op = Op::new("getProblem", "").path("name", text(), "The last segment of a problem's `type`.");
    op.answers_text(PLAIN_TEXT, "What it is, and what to do.").refuses(&[NOT_FOUND])
}

fn document() -> Op {
    Op::new("getOpenApi", "").answers::<super::Document>(200, "This document.")
}

fn dashboard_file() -> Op {
    let op = Op::new("getDashboardFile", "").path("file", text(), "One that the dashboard refers to.");
    let op = op.answers_text("text/css", "The file.").answers_text("text/javascript", "The file.");
    unless_known(op).refuses(&[NOT_FOUND])
}

fn index() -> Op {
    let about = "A line for each call; to a client whose `Accept` prefers `text/html` the dashboard.";
    let op = Op::new("listCalls", about).answers_text("text/html", "");
    unless_known(op.answers_text(PLAIN_TEXT, "A line for each call, or the dashboard."))
}

fn unless_known(op: Op) -> Op {
    op.answers_nothing(304, "The same as before: `If-None-Match` has its `ETag`.")
}
