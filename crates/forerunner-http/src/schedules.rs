//! Read and change schedules.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use forerunner_core::{ScheduleDefinition, ScheduleName};
use forerunner_service::SchedulePatch;

use crate::{
    api::Api,
    body::{AnyPoolLimit, JsonBody},
    error::Problem,
    json, query,
    views::{SchedulesQuery, SchedulesView, TaskView},
};

type Answer = Result<HttpResponse, Problem>;

pub(crate) async fn list(api: Api, request: HttpRequest) -> Answer {
    let asked: SchedulesQuery = query::parse(&request)?;
    let limit = query::limit(asked.limit.as_deref())?;
    let (schedules, next) = api.service().schedules(asked.cursor.as_deref(), limit).await?;
    Ok(json::ok(&SchedulesView { schedules, next }))
}

pub(crate) async fn create(api: Api, body: JsonBody<AnyPoolLimit>) -> Answer {
    let definition: ScheduleDefinition = json::parse(&body.bytes)?;
    Ok(json::answer(StatusCode::CREATED, &api.service().create_schedule(definition).await?))
}

pub(crate) async fn show(api: Api, name: web::Path<String>) -> Answer {
    Ok(json::ok(&api.service().schedule(&named(&name)?).await?))
}

pub(crate) async fn update(api: Api, name: web::Path<String>, body: JsonBody<AnyPoolLimit>) -> Answer {
    let patch: SchedulePatch = json::parse(&body.bytes)?;
    Ok(json::ok(&api.service().update_schedule(&named(&name)?, &patch).await?))
}

pub(crate) async fn delete(api: Api, name: web::Path<String>) -> Answer {
    api.service().delete_schedule(&named(&name)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

pub(crate) async fn pause(api: Api, name: web::Path<String>) -> Answer {
    Ok(json::ok(&api.service().update_schedule(&named(&name)?, &SchedulePatch::enabled(false)).await?))
}

pub(crate) async fn resume(api: Api, name: web::Path<String>) -> Answer {
    Ok(json::ok(&api.service().update_schedule(&named(&name)?, &SchedulePatch::enabled(true)).await?))
}

pub(crate) async fn run(api: Api, name: web::Path<String>) -> Answer {
    let task = api.service().run_schedule(&named(&name)?).await?;
    Ok(json::answer(StatusCode::ACCEPTED, &TaskView::seen(&task, api.service().sees_payloads())))
}

fn named(text: &str) -> Result<ScheduleName, Problem> {
    Ok(ScheduleName::new(text)?)
}
