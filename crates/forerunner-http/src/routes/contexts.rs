//! The calls on contexts.

use actix_web::web;
use forerunner_core::{ContextId, PoolName};
use forerunner_service::auth::Permission;
use forerunner_service::status::ContextStatus;

use crate::{
    call::Call,
    contexts,
    openapi::{
        Op, of,
        parts::{POOL, STORE, with_cursor},
    },
    problems::{CONTEXT_IN_USE, INVALID_QUERY, INVALID_VALUE, NO_CONTEXT, NO_POOL},
    views::ContextsView,
};

/// Read and delete contexts.
pub(super) const CALLS: &[Call] = &[
    Call {
        method: "GET",
        path: "/v1/contexts",
        summary: "list contexts",
        needs: Permission::ReadContexts,
        handler: || web::to(contexts::list),
        operation: Some(|| {
            let op = Op::new("listContexts", "").query("pool", of::<PoolName>(), "Of this pool.");
            let op = with_cursor(op).answers::<ContextsView>(200, "A page, by pool and id.");
            op.refuses(POOL).refuses(STORE)
        }),
    },
    Call {
        method: "GET",
        path: "/v1/contexts/{context}",
        summary: "show a context",
        needs: Permission::ReadContexts,
        handler: || web::to(contexts::show),
        operation: Some(|| {
            let op = Op::new("getContext", "").answers::<ContextStatus>(200, "The context, without its items.");
            of_context(op).refuses(&[INVALID_QUERY, INVALID_VALUE, NO_CONTEXT]).refuses(POOL).refuses(STORE)
        }),
    },
    Call {
        method: "DELETE",
        path: "/v1/contexts/{context}",
        summary: "remove a context",
        needs: Permission::Operate,
        handler: || web::to(contexts::delete),
        operation: Some(|| {
            let op = Op::new(
                "deleteContext",
                "The context is deleted permanently. The call is refused while a task of the context has not ended.",
            );
            let op = of_context(op.answers_nothing(204, "It is gone."));
            op.refuses(&[INVALID_QUERY, INVALID_VALUE, NO_POOL, NO_CONTEXT, CONTEXT_IN_USE]).refuses(STORE)
        }),
    },
];

fn of_context(op: Op) -> Op {
    op.path("context", of::<ContextId>(), "The context; write `/` in it as `%2F`.").query(
        "pool",
        of::<PoolName>(),
        "Its pool; by default the first pool that has a context of this id.",
    )
}
