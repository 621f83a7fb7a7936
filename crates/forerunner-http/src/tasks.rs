//! Submit, see and steer tasks.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue, LOCATION},
    },
    web,
};
use forerunner_core::{Payload, PoolName, Task, TaskId};
use forerunner_runtime::{CompletionFuture, Submitted};

use crate::{
    api::Api,
    body::JsonBody,
    error::Problem,
    filter::TasksQuery,
    headers::{self, IDEMPOTENCY_REPLAYED, PREFERENCE_APPLIED},
    json, page, query,
    submission::{Change, TaskBody, TaskPatch},
    views::{AttemptsView, TaskView},
};

type Answer = Result<HttpResponse, Problem>;

pub(crate) async fn submit(api: Api, pool: web::Path<String>, request: HttpRequest, body: JsonBody) -> Answer {
    let key = headers::idempotency_key(&request)?;
    let task = json::parse::<TaskBody>(&body.bytes)?.into_task(PoolName::new(pool.as_str())?, key);
    let wait = headers::wait(&request, api.settings().max_wait);
    let (Submitted { task, created }, ending) = match wait {
        Some(_) => api.handle().submit_and_watch(task).await?,
        None => (api.handle().submit(task).await?, None),
    };
    // Who waits needs no more than the id.
    drop(body);
    let Waited { task, waited, .. } = await_end(&api, wait, task, ending).await?;
    let mut answer = json::answer(status(&task), &TaskView::with_output(&task));
    answer.headers_mut().insert(LOCATION, location(task.id));
    note(&mut answer, PREFERENCE_APPLIED, waited.then_some("wait"));
    note(&mut answer, IDEMPOTENCY_REPLAYED, (!created).then_some("true"));
    Ok(answer)
}

pub(crate) async fn show(api: Api, id: web::Path<String>, request: HttpRequest) -> Answer {
    let task = api.handle().task(id.parse()?).await?;
    let wait = headers::wait(&request, api.settings().max_wait);
    let Waited { task, waited, is_whole } = await_end(&api, wait, task, None).await?;
    let mut answer = json::ok(&if is_whole { TaskView::full(&task) } else { TaskView::with_output(&task) });
    note(&mut answer, PREFERENCE_APPLIED, waited.then_some("wait"));
    Ok(answer)
}

pub(crate) async fn placement(api: Api, id: web::Path<String>) -> Answer {
    Ok(json::ok(&api.handle().placement(id.parse()?).await?))
}

pub(crate) async fn attempts(api: Api, id: web::Path<String>) -> Answer {
    Ok(json::ok(&AttemptsView { attempts: api.handle().attempts(id.parse()?).await? }))
}

pub(crate) async fn list(api: Api, request: HttpRequest) -> Answer {
    let asked: TasksQuery = query::parse(&request)?;
    page::of_tasks(&api, query::filter(&asked, api.handle().time())?).await
}

pub(crate) async fn cancel(api: Api, id: web::Path<String>) -> Answer {
    let task = api.handle().cancel(id.parse()?).await?;
    Ok(json::answer(status(&task), &TaskView::full(&task)))
}

pub(crate) async fn retry(api: Api, id: web::Path<String>) -> Answer {
    let task = api.handle().retry(id.parse()?).await?;
    Ok(json::ok(&TaskView::full(&task)))
}

pub(crate) async fn delete(api: Api, id: web::Path<String>) -> Answer {
    api.handle().delete(id.parse()?).await?;
    Ok(HttpResponse::NoContent().finish())
}

pub(crate) async fn change(api: Api, id: web::Path<String>, body: JsonBody) -> Answer {
    let id = id.parse()?;
    let task = match json::parse::<TaskPatch>(&body.bytes)?.into_change(api.handle().time())? {
        Change::Pool(to) => api.handle().move_task(id, to.as_str()).await?,
        Change::Wait(change) => api.handle().update(id, change).await?,
    };
    Ok(json::ok(&TaskView::full(&task)))
}

/// A task as it stands after the wait that the client asked for.
struct Waited {
    task: Task,
    /// Whether a wait was asked for.
    waited: bool,
    /// Whether the input is there.
    is_whole: bool,
}

/// Waits as long as the client prefers to.
async fn await_end(
    api: &Api,
    wait: Option<Duration>,
    task: Task,
    ending: Option<CompletionFuture>,
) -> Result<Waited, Problem> {
    match wait {
        Some(limit) if !task.state.is_terminal() => {
            // The input may be large, and the wait long.
            let seen = Task { input: Payload::null(), ..task };
            let (task, is_whole) = api.wait(seen, ending, limit).await?;
            Ok(Waited { task, waited: true, is_whole })
        }
        preference => Ok(Waited { task, waited: preference.is_some(), is_whole: true }),
    }
}

/// 200 for a task that has ended; 202 for one of which more is to come.
pub(crate) const fn status(task: &Task) -> StatusCode {
    if task.state.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED }
}

fn location(task: TaskId) -> HeaderValue {
    HeaderValue::try_from(format!("/v1/tasks/{task}")).expect("a UUID is visible ASCII")
}

fn note(answer: &mut HttpResponse, name: HeaderName, value: Option<&'static str>) {
    if let Some(value) = value {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}
