//! The calls about the node itself, for monitors and people.

use actix_web::web;
use forerunner_service::auth::Permission;

use crate::{
    call::Call,
    dashboard, health, index, nodes,
    openapi::{Document, Op, parts::STORE, text},
    problems::{NOT_FOUND, NOT_READY, OUTCOME_UNKNOWN},
    views::{NodesView, ReadyView},
};

/// The type of what is answered for people.
const PLAIN_TEXT: &str = "text/plain";

/// The node itself.
pub(super) const CALLS: &[Call] = &[
    Call {
        method: "GET",
        path: "/v1/nodes",
        summary: "list the nodes that share the store",
        needs: Permission::Operate,
        handler: || web::to(nodes::list),
        operation: Some(|| {
            let op = Op::new("listNodes", "A node whose store is its own lists itself.");
            op.answers::<NodesView>(200, "The nodes, oldest first.").refuses(&[OUTCOME_UNKNOWN]).refuses(STORE)
        }),
    },
    Call {
        method: "GET",
        path: "/metrics",
        summary: "metrics for Prometheus",
        needs: Permission::Metrics,
        handler: || web::to(health::metrics),
        operation: Some(|| {
            Op::new("getMetrics", "").answers_text(PLAIN_TEXT, "Prometheus' text format, version 0.0.4.")
        }),
    },
    Call {
        method: "GET",
        path: "/livez",
        summary: "whether the process serves at all",
        needs: Permission::Open,
        handler: || web::to(health::live),
        operation: Some(|| {
            let about = "Restart the process when this fails, and only then.";
            Op::new("getLiveness", about).answers_text(PLAIN_TEXT, "`ok`.")
        }),
    },
    Call {
        method: "GET",
        path: "/readyz",
        summary: "whether the node accepts traffic",
        needs: Permission::Open,
        handler: || web::to(health::ready),
        operation: Some(|| {
            Op::new("getReadiness", "").answers::<ReadyView>(200, "It accepts traffic.").refuses(&[NOT_READY])
        }),
    },
    Call {
        method: "GET",
        path: "/openapi.json",
        summary: "this API as an OpenAPI 3.1 document",
        needs: Permission::Open,
        handler: || web::to(index::document),
        operation: Some(|| Op::new("getOpenApi", "").answers::<Document>(200, "This document.")),
    },
    Call {
        method: "GET",
        path: "/problems",
        summary: "list the kinds of problems",
        needs: Permission::Open,
        handler: || web::to(health::problems),
        operation: Some(|| Op::new("listProblems", "").answers_text(PLAIN_TEXT, "All kinds, for people.")),
    },
    Call {
        method: "GET",
        path: "/problems/{name}",
        summary: "explain a kind of problem",
        needs: Permission::Open,
        handler: || web::to(health::problem),
        operation: Some(|| {
            let op = Op::new("getProblem", "").path("name", text(), "The last segment of a problem's `type`.");
            op.answers_text(PLAIN_TEXT, "What it is, and what to do.").refuses(&[NOT_FOUND])
        }),
    },
    Call {
        method: "GET",
        path: "/dashboard/{file}",
        summary: "the files of the dashboard",
        needs: Permission::Open,
        handler: || web::to(dashboard::file),
        operation: Some(|| {
            let op = Op::new("getDashboardFile", "").path("file", text(), "One that the dashboard refers to.");
            let op = op.answers_text("text/css", "The file.").answers_text("text/javascript", "The file.");
            unless_known(op).refuses(&[NOT_FOUND])
        }),
    },
    Call {
        method: "GET",
        path: "/",
        summary: "this list; to a browser the dashboard",
        needs: Permission::Open,
        handler: || web::to(index::index),
        operation: Some(|| {
            let about = "A line for each call; to a client whose `Accept` prefers `text/html` the dashboard.";
            let op = Op::new("listCalls", about).answers_text("text/html", "");
            unless_known(op.answers_text(PLAIN_TEXT, "A line for each call, or the dashboard."))
        }),
    },
];

fn unless_known(op: Op) -> Op {
    op.answers_nothing(304, "The same as before: `If-None-Match` has its `ETag`.")
}
