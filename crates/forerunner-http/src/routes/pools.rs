//! The calls on pools.

use actix_web::web;
use forerunner_service::auth::Permission;
use forerunner_service::{
    LearnReport, LearnRequest, MOST_RECORDED, MOST_SHARES, Scaler, WhatIf,
    limits::{MAX_MINUTES, MINUTES},
    status::{DecisionRecord, ForecastStatus, PoolHistory, PoolPatch, PoolStatus},
};

use crate::{
    call::Call,
    openapi::{
        Op,
        parts::{BODY, STORE, of_pool, paged},
        text, whole,
    },
    pools,
    problems::{BUSY, INVALID_QUERY, INVALID_VALUE, NO_DECISION, NO_HISTORY, NOT_LEARNABLE, OUTCOME_UNKNOWN},
    views::{AgentsView, DecisionsView, PoolsView},
    what_if,
};

/// Read and change pools.
pub(super) const CALLS: &[Call] = &[
    Call {
        method: "GET",
        path: "/v1/pools",
        summary: "list pools",
        needs: Permission::ReadPools,
        handler: || web::to(pools::list),
        operation: Some(|| {
            Op::new("listPools", "").answers::<PoolsView>(200, "All pools, by name.").refuses(&[OUTCOME_UNKNOWN])
        }),
    },
    Call {
        method: "GET",
        path: "/v1/pools/{pool}",
        summary: "show a pool",
        needs: Permission::ReadPools,
        handler: || web::to(pools::show),
        operation: Some(|| of_pool(Op::new("getPool", "").answers::<PoolStatus>(200, "The pool."))),
    },
    Call {
        method: "PATCH",
        path: "/v1/pools/{pool}",
        summary: "change a pool",
        needs: Permission::Operate,
        handler: || web::to(pools::configure),
        operation: Some(|| {
            let about = "The change lasts until the node restarts. On PostgreSQL it applies to every node and \
                outlasts restarts.";
            let op = Op::new("changePool", about)
                .body::<PoolPatch>("What to change. Absent members stay as they are.")
                .answers::<PoolStatus>(200, "The pool.");
            of_pool(op).refuses(BODY).refuses(&[INVALID_VALUE]).refuses(STORE)
        }),
    },
    Call {
        method: "POST",
        path: "/v1/pools/{pool}:pause",
        summary: "pause a pool",
        needs: Permission::Operate,
        handler: || web::to(pools::pause),
        operation: Some(|| {
            let about =
                "Tasks are accepted and wait. Running tasks continue, agents stay warm. The pause outlasts a restart.";
            steer(Op::new("pausePool", about))
        }),
    },
    Call {
        method: "POST",
        path: "/v1/pools/{pool}:resume",
        summary: "resume a pool",
        needs: Permission::Operate,
        handler: || web::to(pools::resume),
        operation: Some(|| steer(Op::new("resumePool", ""))),
    },
    Call {
        method: "POST",
        path: "/v1/pools/{pool}:learn",
        summary: "teach a pool from a recording, or from another pool",
        needs: Permission::Operate,
        handler: || web::to(pools::learn),
        operation: Some(|| {
            let about = "A recording is replayed in virtual time under the pool's policy, which lasts seconds. The node replays \
                one history at a time. The pool keeps its size, and then decides with what it learned.";
            let tasks = format!("`tasks`, {MOST_RECORDED} at most, or `from_pool`.");
            let op = Op::new("learnPool", about)
                .body::<LearnRequest>(&tasks)
                .answers::<LearnReport>(200, "What was learned.");
            of_pool(op).refuses(BODY).refuses(&[INVALID_VALUE, NOT_LEARNABLE, BUSY]).refuses(STORE)
        }),
    },
    Call {
        method: "GET",
        path: "/v1/pools/{pool}/agents",
        summary: "list the agents of a pool",
        needs: Permission::ReadDecisions,
        handler: || web::to(pools::agents),
        operation: Some(|| of_pool(Op::new("listAgents", "").answers::<AgentsView>(200, "The agents, oldest first."))),
    },
    Call {
        method: "GET",
        path: "/v1/pools/{pool}/forecast",
        summary: "show what a pool expects",
        needs: Permission::ReadDecisions,
        handler: || web::to(pools::forecast),
        operation: Some(|| {
            let about = "What the policy expects one cold start ahead, with a 90 % band, and what it expected before.";
            of_pool(Op::new("getForecast", about).answers::<ForecastStatus>(200, "The forecast."))
        }),
    },
    Call {
        method: "GET",
        path: "/v1/pools/{pool}/history",
        summary: "show how the last minutes of a pool went",
        needs: Permission::ReadDecisions,
        handler: || web::to(pools::history),
        operation: Some(|| {
            let about = format!("Minutes up to now; {MINUTES} by default.");
            let op = Op::new(
                "getHistory",
                "In slots of five seconds, as far as this node knows, with the forecast for each slot.",
            )
            .query("minutes", whole(1, Some(MAX_MINUTES.into())), &about)
            .answers::<PoolHistory>(200, "The last minutes.");
            of_pool(op).refuses(&[INVALID_QUERY])
        }),
    },
    Call {
        method: "GET",
        path: "/v1/pools/{pool}/decisions",
        summary: "list scaling decisions, newest first",
        needs: Permission::ReadDecisions,
        handler: || web::to(pools::decisions),
        operation: Some(|| {
            let op = Op::new(
                "listDecisions",
                "The decisions with their inputs and reasons. The node stores only recent ones.",
            );
            of_pool(paged(op).answers::<DecisionsView>(200, "Decisions, newest first."))
        }),
    },
    Call {
        method: "GET",
        path: "/v1/pools/{pool}/decisions/{seq}",
        summary: "show a scaling decision",
        needs: Permission::ReadDecisions,
        handler: || web::to(pools::decision),
        operation: Some(|| {
            let op = Op::new("getDecision", "").answers::<DecisionRecord>(200, "The decision.");
            of_pool(op)
                .path("seq", whole(0, None), "Counts the decisions of the pool from 1.")
                .refuses(&[INVALID_VALUE, NO_DECISION])
        }),
    },
    Call {
        method: "GET",
        path: "/v1/pools/{pool}/scaler",
        summary: "agents that an autoscaler of nodes should make room for",
        needs: Permission::Metrics,
        handler: || web::to(pools::scaler),
        operation: Some(|| {
            of_pool(Op::new("getScaler", "").answers::<Scaler>(200, "How many agents nodes should make room for."))
        }),
    },
    Call {
        method: "GET",
        path: "/v1/pools/{pool}/what-if",
        summary: "show what other objectives would have cost",
        needs: Permission::Operate,
        handler: || web::to(what_if::show),
        operation: Some(|| {
            let share = format!(
                "Shares of tasks that are to start on time, each between 0 and 1, {MOST_SHARES} at most, separated by \
                 commas; `0.95,0.99,0.999` by default."
            );
            let about = "Replays the pool's own last day in virtual time, once for each share, which lasts seconds. The node answers one such call at a time.";
            let op = Op::new("getWhatIf", about)
                .query("share", text(), &share)
                .answers::<WhatIf>(200, "A price for each share.");
            of_pool(op).refuses(&[INVALID_QUERY, NO_HISTORY, BUSY]).refuses(STORE)
        }),
    },
];

fn steer(op: Op) -> Op {
    of_pool(op.answers::<PoolStatus>(200, "The pool.")).refuses(STORE)
}
