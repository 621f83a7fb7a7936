//! Problems as answers: RFC 9457, `application/problem+json`.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use forerunner_service::{Details, Error, ErrorClass};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    json,
    problems::{self, ProblemType},
};

/// How a caller can show who it is (RFC 9110 §11.6.1).
const CHALLENGE: &str = "Bearer realm=\"forerunner\"";

/// One occurrence of a problem.
#[derive(Debug)]
pub struct Problem {
    kind: &'static ProblemType,
    details: Details,
    headers: Vec<(header::HeaderName, String)>,
    close: bool,
}

impl Problem {
    pub(crate) fn new(kind: &'static ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, details: Details::new(detail), headers: Vec::new(), close: false }
    }

    /// Adds an extension member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name, value);
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Closes the connection after the answer, because what follows on it cannot be made sense of.
    pub(crate) fn close_connection(mut self) -> Self {
        self.close = true;
        self
    }

    /// Names the part of the body that is invalid.
    pub(crate) fn of(mut self, part: &str) -> Self {
        self.details.text.insert_str(0, &format!("{part}: "));
        self
    }

    /// Returns the body it is answered with.
    pub(crate) fn view(&self) -> ProblemView<'_> {
        ProblemView {
            reference: self.kind.reference(),
            title: self.kind.title,
            status: self.kind.status,
            detail: &self.details.text,
            members: &self.details.members,
        }
    }

    #[cfg(test)]
    pub(crate) const fn kind(&self) -> &'static ProblemType {
        self.kind
    }
}

/// The body of a problem: the members of RFC 9457, then those of the occurrence.
#[derive(Serialize)]
pub(crate) struct ProblemView<'a> {
    #[serde(rename = "type")]
    reference: String,
    title: &'static str,
    pub(crate) status: u16,
    detail: &'a str,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.details.text)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type("application/problem+json");
        for (name, value) in &self.headers {
            response.insert_header((name, value.as_str()));
        }
        if self.close {
            response.force_close();
        }
        response.body(json::bytes(&self.view()))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (kind, close) = (problems::of(error.kind()), error.is_closing());
        let retry = error.retry_after_s().map(|secs| (header::RETRY_AFTER, secs.to_string()));
        let is_unknown = error.class() == ErrorClass::Unauthenticated;
        let challenge = is_unknown.then(|| (header::WWW_AUTHENTICATE, CHALLENGE.to_owned()));
        Self { kind, details: error.into_details(), headers: retry.into_iter().chain(challenge).collect(), close }
    }
}

impl From<forerunner_core::Error> for Problem {
    fn from(error: forerunner_core::Error) -> Self {
        Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::http::ConnectionType;
    use forerunner_service::ProblemKind;

    use super::*;

    #[test]
    fn an_error_of_the_service_is_answered_with_its_status_its_members_and_its_delay() {
        let error =
            Error::new(ProblemKind::QueueFull, "full").with("depth", 5).retry_after(Duration::from_millis(1_001));
        let problem = Problem::from(error);
        let body = serde_json::to_value(problem.view()).unwrap();
        assert_eq!((&body["type"], &body["status"]), (&"/problems/queue-full".into(), &429.into()));
        assert_eq!((&body["depth"], &body["retry_after_s"]), (&5.into(), &2.into()));
        let response = problem.error_response();
        assert_eq!(response.headers().get("retry-after").unwrap(), "2");
        assert_ne!(response.head().connection_type(), ConnectionType::Close);
    }

    #[test]
    fn an_error_that_asks_for_it_closes_the_connection() {
        let problem = Problem::from(Error::new(ProblemKind::ShuttingDown, "stops").close_connection());
        let response = problem.error_response();
        assert_eq!(response.head().connection_type(), ConnectionType::Close);
    }
}
