//! Every kind of problem that the service answers with: the one table behind answers, `/problems` and the manual.

use std::fmt::Write;

use actix_web::http::StatusCode;

/// A kind of problem (RFC 9457 §3.1.1). Its name is part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemType {
    /// Names it: the last segment of the `type` reference.
    pub name: &'static str,
    /// The status it is answered with.
    pub status: u16,
    /// What it is, the same for each occurrence.
    pub title: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

macro_rules! problem_table {
    ($($constant:ident $status:literal $name:literal $title:literal $remedy:literal;)*) => {
        $(pub(crate) const $constant: &ProblemType =
            &ProblemType { name: $name, status: $status, title: $title, remedy: $remedy };)*
        /// Every kind of problem, by status.
        pub const PROBLEMS: &[&ProblemType] = &[$($constant),*];
    };
}

problem_table! {
    INVALID_JSON 400 "invalid-json" "The body is not JSON"
        "Correct the text at the line and column named.";
    INVALID_BODY 400 "invalid-body" "The body is JSON but does not fit the call"
        "Correct the field at the line and column named.";
    UNKNOWN_FIELD 400 "unknown-field" "The body has a field that the call does not know"
        "Correct the name; the nearest known one is given in `nearest`.";
    BROKEN_BODY 400 "broken-body" "The body could not be read to its end"
        "Send as many bytes as announced, in well-formed chunks.";
    INVALID_VALUE 400 "invalid-value" "A value is not acceptable"
        "Correct the value as the detail says.";
    INVALID_QUERY 400 "invalid-query" "The query string does not fit the call"
        "Correct the parameter named; take cursors from `next` unchanged.";
    INVALID_HEADER 400 "invalid-header" "A header is not acceptable"
        "Correct the header named in `header`.";
    CROSS_SITE 403 "cross-site" "A page of another site sent the call"
        "Call the service from a program, or from a page that it serves itself.";
    NOT_FOUND 404 "not-found" "There is no such call"
        "Look the path up at `/`.";
    NO_POOL 404 "no-pool" "There is no such pool"
        "Use one of the pools listed at `/v1/pools`.";
    NO_TASK 404 "no-task" "There is no such task"
        "Check the id; ended tasks are removed after their retention.";
    NO_CONTEXT 404 "no-context" "There is no such context"
        "Check the id and the pool; a context exists once a task of it has succeeded and added to it.";
    NO_DECISION 404 "no-decision" "There is no such decision"
        "List the decisions of the pool; only recent ones are kept.";
    METHOD_NOT_ALLOWED 405 "method-not-allowed" "The path does not take this method"
        "Use one of the methods in the header `Allow`.";
    REQUEST_TIMEOUT 408 "request-timeout" "The body came too slowly"
        "Send the body at once; a connection that stalls is closed.";
    WRONG_STATE 409 "wrong-state" "The state of the task does not allow it"
        "Read the task and decide again.";
    NOT_MOVABLE 409 "not-movable" "The task cannot go to that pool"
        "Leave it where it is, or do what the detail says.";
    NO_HISTORY 409 "no-history" "The pool has no history to replay"
        "Ask again once tasks of the pool have run.";
    CONTEXT_IN_USE 409 "context-in-use" "A task of the context has not ended"
        "Wait for the task named in `task`, or cancel it.";
    PAYLOAD_TOO_LARGE 413 "payload-too-large" "The body, or the input in it, is over its limit"
        "Send less than `limit` bytes, or raise the limit.";
    BATCH_TOO_LARGE 413 "batch-too-large" "The batch has too many tasks"
        "Send at most `limit` tasks at once.";
    UNSUPPORTED_MEDIA_TYPE 415 "unsupported-media-type" "The body is not declared as JSON"
        "Send `Content-Type: application/json`.";
    UNSUPPORTED_ENCODING 415 "unsupported-encoding" "The body is encoded"
        "Send the body without `Content-Encoding`; compressed bodies are not accepted.";
    MISDIRECTED 421 "misdirected" "The host named is not one of this node's"
        "Call the node by its address, or add the name to `http.hosts`.";
    KEY_REUSED 422 "idempotency-key-reused" "The idempotency key was used for another task"
        "Use a new key for a new task; the task that has it is named in `task`.";
    NO_PARENT 422 "no-parent" "The parent of the task is not there"
        "Name a task that has not been removed, or leave `parent` out.";
    TOO_DEEP 422 "too-deep" "Too many tasks stand above the task"
        "End the chain of tasks that submit tasks, or raise `node.max_depth`.";
    QUEUE_FULL 429 "queue-full" "The queue of the pool is at its limit"
        "Try again after `Retry-After`, or raise `queue.limit`.";
    BYTES_FULL 429 "queue-bytes-full" "The inputs of the pool's unfinished tasks are at their limit"
        "Try again after `Retry-After`, send smaller inputs, or raise `queue.limit_bytes`.";
    CONTEXTS_FULL 429 "contexts-full" "The contexts of the pool are at their limit, and this one would be new"
        "Go on in a context that is there, or have the operator delete contexts, set `node.context_retention` or raise `contexts.limit_bytes`.";
    BUSY 429 "busy" "The node does this for somebody else just now"
        "Try again after `Retry-After`.";
    INTERNAL 500 "internal" "The node failed"
        "Look into the log of the node; repeating the call will hardly help.";
    OUTCOME_UNKNOWN 500 "outcome-unknown" "Whether the call took effect is unknown"
        "Look before repeating it; a submission with an idempotency key can be repeated safely.";
    NOT_READY 503 "not-ready" "The node takes no traffic"
        "Send it to another node; `reasons` says why.";
    OVERLOADED 503 "overloaded" "The node has no room for another request"
        "Try again after `Retry-After`, or raise the limit named.";
    SHUTTING_DOWN 503 "shutting-down" "The node is shutting down"
        "Send the task to another node, or try again after `Retry-After`.";
    STORE_UNAVAILABLE 503 "store-unavailable" "The store does not take reads or writes just now"
        "Try again after `Retry-After`.";
}

impl ProblemType {
    /// Returns the kind with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROBLEMS.iter().copied().find(|problem| problem.name == name)
    }

    /// Returns the `type` reference, relative to the service.
    pub fn reference(&self) -> String {
        format!("/problems/{}", self.name)
    }

    /// Returns the status it is answered with.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Renders it for people: what `/problems/{name}` answers.
    pub fn text(&self) -> String {
        format!("{} ({})\n\n{}.\n{}\n", self.name, self.status, self.title, self.remedy)
    }
}

/// Renders all kinds as the Markdown table of the manual.
pub fn problems_markdown() -> String {
    let mut table = String::from("| type | status | means | remedy |\n|---|---|---|---|\n");
    for problem in PROBLEMS {
        let ProblemType { name, status, title, remedy } = problem;
        // Writing to a string does not fail.
        let _ = writeln!(table, "| `/problems/{name}` | {status} | {title} | {remedy} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_rows_are_sorted_by_status() {
        for (earlier, later) in PROBLEMS.iter().zip(&PROBLEMS[1..]) {
            assert!(earlier.status <= later.status, "{} before {}", earlier.name, later.name);
        }
        for problem in PROBLEMS {
            assert_eq!(ProblemType::named(problem.name), Some(*problem), "`{}` is there twice", problem.name);
            assert_eq!(problem.status().as_u16(), problem.status);
        }
    }

    #[test]
    fn the_manual_has_the_table() {
        let manual = include_str!("../../../docs/http-api.md");
        for row in problems_markdown().lines() {
            assert!(manual.contains(row), "docs/http-api.md lacks the row\n{row}");
        }
    }
}
