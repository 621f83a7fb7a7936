//! The health of the node, for monitors and people.

use actix_web::{HttpResponse, web};
use forerunner_service::auth::Permission;

use crate::{
    api::Api,
    error::Problem,
    json,
    problems::{self, PROBLEMS, ProblemType},
    views::ReadyView,
};

/// The type of Prometheus' text format, version 0.0.4.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

pub(crate) async fn metrics(api: Api) -> HttpResponse {
    HttpResponse::Ok().content_type(PROMETHEUS_TEXT).body(api.prometheus().render())
}

/// Answers as long as a thread serves requests: a failing store or a full queue is no reason to restart the process.
pub(crate) async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type(PLAIN_TEXT).body("ok\n")
}

pub(crate) async fn ready(api: Api) -> Result<HttpResponse, Problem> {
    // Only clients that may see pools get the reasons.
    let is_told = api.service().may(Permission::ReadPools);
    match api.service().readiness().await {
        Ok(ready) if is_told => Ok(json::ok(&ReadyView::of(Some(ready.store), ready.warnings))),
        Ok(_) => Ok(json::ok(&ReadyView::of(None, Vec::new()))),
        Err(error) if is_told => Err(error.into()),
        Err(_) => Err(Problem::new(problems::NOT_READY, "the node accepts no traffic; a key shows why")),
    }
}

pub(crate) async fn problems() -> HttpResponse {
    let texts: Vec<_> = PROBLEMS.iter().map(|problem| problem.text()).collect();
    HttpResponse::Ok().content_type(PLAIN_TEXT).body(texts.join("\n"))
}

pub(crate) async fn problem(name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let no_such = || Problem::new(problems::NOT_FOUND, format!("there is no problem `{name}`; all are at /problems"));
    let problem = ProblemType::named(&name).ok_or_else(no_such)?;
    Ok(HttpResponse::Ok().content_type(PLAIN_TEXT).body(problem.text()))
}
