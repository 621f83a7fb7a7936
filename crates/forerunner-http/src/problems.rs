//! Every kind of problem that HTTP answers with, those of the service layer and its own: the one table behind answers,
//! `/problems` and the manual.

use std::fmt::Write;

use actix_web::http::StatusCode;
use forerunner_service::ProblemKind;

use crate::status;

/// A kind of problem (RFC 9457 §3.1.1). Its name is part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemType {
    /// Names it: the last segment of the `type` reference.
    pub name: &'static str,
    /// The status it is answered with.
    pub status: u16,
    /// Its description, the same for each occurrence.
    pub title: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

macro_rules! problem_table {
    ($($constant:ident = $kind:expr;)*) => {
        $(pub(crate) const $constant: &ProblemType = $kind;)*
        /// Every kind of problem, by status.
        pub const PROBLEMS: &[&ProblemType] = &[$($constant),*];
    };
}

problem_table! {
    INVALID_JSON = &ProblemType {
        name: "invalid-json",
        status: 400,
        title: "The body is not JSON",
        remedy: "Correct the text at the line and column named.",
    };
    INVALID_BODY = &ProblemType {
        name: "invalid-body",
        status: 400,
        title: "The body is JSON but does not fit the call",
        remedy: "Correct the field at the line and column named.",
    };
    UNKNOWN_FIELD = &ProblemType {
        name: "unknown-field",
        status: 400,
        title: "The body has a field that the call does not know",
        remedy: "Correct the name; the nearest known one is given in `nearest`.",
    };
    BROKEN_BODY = &ProblemType {
        name: "broken-body",
        status: 400,
        title: "The body could not be read to its end",
        remedy: "Send as many bytes as announced, in well-formed chunks.",
    };
    INVALID_VALUE = of(ProblemKind::InvalidValue);
    INVALID_QUERY = of(ProblemKind::InvalidQuery);
    INVALID_HEADER = &ProblemType {
        name: "invalid-header",
        status: 400,
        title: "A header is not acceptable",
        remedy: "Correct the header named in `header`.",
    };
    UNAUTHENTICATED = of(ProblemKind::Unauthenticated);
    FORBIDDEN = of(ProblemKind::Forbidden);
    CROSS_SITE = &ProblemType {
        name: "cross-site",
        status: 403,
        title: "A page of another site sent the call",
        remedy: "Call the service from a program, or from a page that it serves itself.",
    };
    NOT_FOUND = &ProblemType {
        name: "not-found",
        status: 404,
        title: "There is no such call",
        remedy: "Find the path at `/`.",
    };
    NO_POOL = of(ProblemKind::NoPool);
    NO_TASK = of(ProblemKind::NoTask);
    NO_CONTEXT = of(ProblemKind::NoContext);
    NO_DECISION = of(ProblemKind::NoDecision);
    NO_SCHEDULE = of(ProblemKind::NoSchedule);
    NO_API_KEY = of(ProblemKind::NoApiKey);
    METHOD_NOT_ALLOWED = &ProblemType {
        name: "method-not-allowed",
        status: 405,
        title: "The path does not support this method",
        remedy: "Use one of the methods in the header `Allow`.",
    };
    REQUEST_TIMEOUT = &ProblemType {
        name: "request-timeout",
        status: 408,
        title: "The body arrived too slowly",
        remedy: "Send the body at once; a connection that stalls is closed.",
    };
    WRONG_STATE = of(ProblemKind::WrongState);
    NOT_MOVABLE = of(ProblemKind::NotMovable);
    NO_HISTORY = of(ProblemKind::NoHistory);
    NOT_LEARNABLE = of(ProblemKind::NotLearnable);
    CONTEXT_IN_USE = of(ProblemKind::ContextInUse);
    SCHEDULE_CONFLICT = of(ProblemKind::ScheduleConflict);
    API_KEY_CONFLICT = of(ProblemKind::ApiKeyConflict);
    PAYLOAD_TOO_LARGE = of(ProblemKind::PayloadTooLarge);
    BATCH_TOO_LARGE = of(ProblemKind::BatchTooLarge);
    UNSUPPORTED_MEDIA_TYPE = &ProblemType {
        name: "unsupported-media-type",
        status: 415,
        title: "The body is not declared as JSON",
        remedy: "Send `Content-Type: application/json`.",
    };
    UNSUPPORTED_ENCODING = &ProblemType {
        name: "unsupported-encoding",
        status: 415,
        title: "The body is encoded",
        remedy: "Send the body without `Content-Encoding`; compressed bodies are not accepted.",
    };
    MISDIRECTED = &ProblemType {
        name: "misdirected",
        status: 421,
        title: "The host named is not one of this node's",
        remedy: "Call the node by its address, or add the name to `http.hosts`.",
    };
    KEY_REUSED = of(ProblemKind::KeyReused);
    NO_PARENT = of(ProblemKind::NoParent);
    TOO_DEEP = of(ProblemKind::TooDeep);
    SCHEDULES_FULL = of(ProblemKind::SchedulesFull);
    API_KEYS_FULL = of(ProblemKind::ApiKeysFull);
    QUEUE_FULL = of(ProblemKind::QueueFull);
    BYTES_FULL = of(ProblemKind::BytesFull);
    CONTEXTS_FULL = of(ProblemKind::ContextsFull);
    TENANT_LIMIT = of(ProblemKind::TenantLimit);
    BUSY = of(ProblemKind::Busy);
    INTERNAL = of(ProblemKind::Internal);
    OUTCOME_UNKNOWN = of(ProblemKind::OutcomeUnknown);
    NOT_READY = of(ProblemKind::NotReady);
    OVERLOADED = of(ProblemKind::NoRoom);
    SHUTTING_DOWN = of(ProblemKind::ShuttingDown);
    STORE_UNAVAILABLE = of(ProblemKind::StoreUnavailable);
}

/// The kinds of the service, each at its number.
static OF_SERVICE: [ProblemType; ProblemKind::ALL.len()] = {
    let mut kinds = [ProblemType::of(ProblemKind::Internal); ProblemKind::ALL.len()];
    let mut index = 0;
    while index < kinds.len() {
        kinds[index] = ProblemType::of(ProblemKind::ALL[index]);
        index += 1;
    }
    kinds
};

/// Returns how HTTP answers a kind of the service.
pub(crate) const fn of(kind: ProblemKind) -> &'static ProblemType {
    &OF_SERVICE[kind as usize]
}

impl ProblemType {
    /// A kind of the service, whose status follows from its class.
    const fn of(kind: ProblemKind) -> Self {
        Self { name: kind.name(), status: status::of(kind.class()), title: kind.title(), remedy: kind.remedy() }
    }

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
    fn every_kind_of_the_service_is_in_the_table() {
        for kind in ProblemKind::ALL {
            assert_eq!(ProblemType::named(kind.name()), Some(of(*kind)), "{}", kind.name());
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
