//! The parts that several calls have in common.

use forerunner_core::PoolName;
use forerunner_service::limits::{MAX_PAGE, PAGE};

use super::operation::{Op, of, one_of, text, whole};
use crate::problems::{
    BROKEN_BODY, INTERNAL, INVALID_BODY, INVALID_JSON, INVALID_QUERY, NO_POOL, OUTCOME_UNKNOWN, PAYLOAD_TOO_LARGE,
    ProblemType, REQUEST_TIMEOUT, SHUTTING_DOWN, STORE_UNAVAILABLE, UNKNOWN_FIELD, UNSUPPORTED_ENCODING,
    UNSUPPORTED_MEDIA_TYPE,
};

/// What is wrong with a body.
pub(crate) const BODY: &[&ProblemType] = &[
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
pub(crate) const STORE: &[&ProblemType] = &[INTERNAL, SHUTTING_DOWN, STORE_UNAVAILABLE];
/// Why a pool does not answer.
pub(crate) const POOL: &[&ProblemType] = &[NO_POOL, OUTCOME_UNKNOWN];

pub(crate) fn of_pool(op: Op) -> Op {
    op.path("pool", of::<PoolName>(), "The pool.").refuses(POOL)
}

pub(crate) fn paged(op: Op) -> Op {
    let about = format!("Entries of a page; {PAGE} by default.");
    op.query("limit", whole(1, Some(MAX_PAGE as u64)), &about).refuses(&[INVALID_QUERY])
}

pub(crate) fn with_cursor(op: Op) -> Op {
    paged(op.query("cursor", text(), "The next page: `next` of the page before, unchanged, with the same filters."))
}

/// `Prefer: wait=N`.
pub(crate) fn waits(op: Op, statuses: &[u16]) -> Op {
    let about = "`wait=N` waits for the end of the task, at most N seconds and at most `http.max_wait` (50 s unless set). \
                 A preference that cannot be understood is ignored.";
    let applied = "`wait` if a wait was asked for.";
    let op = op.header("Prefer", text(), about);
    statuses.iter().fold(op, |op, status| op.with(*status, "Preference-Applied", one_of(["wait"]), applied))
}
