//! Submit, read and change tasks.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue, LOCATION},
    },
    web,
};
use forerunner_core::{PoolName, Task, TaskId};
use forerunner_service::WaitOutcome;

use crate::{
    api::Api,
    body::JsonBody,
    error::Problem,
    filter::TasksQuery,
    headers::{self, IDEMPOTENCY_REPLAYED, PREFERENCE_APPLIED},
    json,
    page::JsonPage,
    query,
    submission::{AnswerBody, Change, TaskBody, TaskPatch},
    views::{AttemptsView, TaskView},
};

type Answer = Result<HttpResponse, Problem>;

pub(crate) async fn submit(api: Api, pool: web::Path<String>, request: HttpRequest, body: JsonBody) -> Answer {
    let key = headers::idempotency_key(&request)?;
    let task = json::parse::<TaskBody>(&body.bytes)?.into_task(PoolName::new(pool.as_str())?, key);
    let task = task.traced(headers::traceparent(&request));
    let submitted = api.service().submit(task, headers::wait(&request)).await;
    let rate = api.service().rate_status().map(|status| headers::rate_limit(&status));
    let accepted = submitted.map_err(|error| with_rate(error.into(), rate.as_ref()))?;
    // A client that waits needs no more than the id.
    drop(body);
    let created = accepted.created;
    let WaitOutcome { task, waited, .. } = api.service().completion(accepted).await?;
    let mut answer = json::answer(status(&task), &TaskView::with_output(&task));
    answer.headers_mut().insert(LOCATION, location(task.id));
    note(&mut answer, PREFERENCE_APPLIED, waited.then_some("wait"));
    note(&mut answer, IDEMPOTENCY_REPLAYED, (!created).then_some("true"));
    for (name, value) in rate.into_iter().flatten() {
        if let Ok(value) = HeaderValue::try_from(value) {
            answer.headers_mut().insert(name, value);
        }
    }
    Ok(answer)
}

pub(crate) async fn show(api: Api, id: web::Path<String>, request: HttpRequest) -> Answer {
    let WaitOutcome { task, waited, is_whole } = api.service().task(id.parse()?, headers::wait(&request)).await?;
    let mut answer = json::ok(&if is_whole { TaskView::full(&task) } else { TaskView::with_output(&task) });
    note(&mut answer, PREFERENCE_APPLIED, waited.then_some("wait"));
    Ok(answer)
}

pub(crate) async fn placement(api: Api, id: web::Path<String>) -> Answer {
    Ok(json::ok(&api.service().placement(id.parse()?).await?))
}

pub(crate) async fn logs(api: Api, id: web::Path<String>) -> Answer {
    Ok(json::ok(&api.service().log(id.parse()?).await?))
}

pub(crate) async fn attempts(api: Api, id: web::Path<String>) -> Answer {
    Ok(json::ok(&AttemptsView { attempts: api.service().attempts(id.parse()?).await? }))
}

pub(crate) async fn list(api: Api, request: HttpRequest) -> Answer {
    let asked: TasksQuery = query::parse(&request)?;
    let mut page = JsonPage::new("tasks");
    let next = api.service().list(query::filter(&asked, api.service().time())?, &mut page).await?;
    Ok(page.answer(next))
}

pub(crate) async fn cancel(api: Api, id: web::Path<String>) -> Answer {
    let task = api.service().cancel(id.parse()?).await?;
    Ok(json::answer(status(&task), &TaskView::seen(&task, api.service().sees_payloads())))
}

pub(crate) async fn retry(api: Api, id: web::Path<String>) -> Answer {
    let task = api.service().retry(id.parse()?).await?;
    Ok(json::ok(&TaskView::seen(&task, api.service().sees_payloads())))
}

pub(crate) async fn answer(api: Api, id: web::Path<String>, body: JsonBody) -> Answer {
    let AnswerBody { request, answer } = json::parse(&body.bytes)?;
    let task = api.service().answer(id.parse()?, &request, &answer).await?;
    Ok(json::answer(status(&task), &TaskView::seen(&task, api.service().sees_payloads())))
}

pub(crate) async fn delete(api: Api, id: web::Path<String>) -> Answer {
    api.service().delete(id.parse()?).await?;
    Ok(HttpResponse::NoContent().finish())
}

pub(crate) async fn change(api: Api, id: web::Path<String>, body: JsonBody) -> Answer {
    let (id, service) = (id.parse()?, api.service());
    let task = match json::parse::<TaskPatch>(&body.bytes)?.into_change(service.time())? {
        Change::Pool(to) => service.move_task(id, to.as_str()).await?,
        Change::Wait(change) => service.change(id, change).await?,
    };
    Ok(json::ok(&TaskView::seen(&task, api.service().sees_payloads())))
}

/// 200 for a task that has ended; 202 for one that has not.
pub(crate) const fn status(task: &Task) -> StatusCode {
    if task.state.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED }
}

fn location(task: TaskId) -> HeaderValue {
    HeaderValue::try_from(format!("/v1/tasks/{task}")).expect("a UUID is visible ASCII")
}

/// A refusal with what the tenant may submit now.
fn with_rate(problem: Problem, rate: Option<&[(HeaderName, String); 2]>) -> Problem {
    rate.into_iter().flatten().fold(problem, |problem, (name, value)| problem.header(name.clone(), value.clone()))
}

fn note(answer: &mut HttpResponse, name: HeaderName, value: Option<&'static str>) {
    if let Some(value) = value {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}
