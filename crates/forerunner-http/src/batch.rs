//! Submit many tasks at once.

use std::fmt;

use actix_web::{HttpRequest, HttpResponse, web};
use forerunner_core::{Payload, PoolName, Task};
use forerunner_service::{
    Submitted,
    limits::{MAX_BATCH, check_batch},
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    api::Api,
    body::{BatchLimit, JsonBody},
    error::Problem,
    headers,
    json::{self, Position},
    submission::BatchTask,
    tasks,
    views::{BatchView, ResultView, TaskView},
};

/// Most bytes of outputs in an answer: those of the largest single task, unless its pool allows more.
const OUTPUT_BYTES: usize = 4 << 20;

/// Answers 200 with an outcome for each task. Answers a problem if the body cannot be read, the pool does not exist, or
/// the node accepts none of the tasks for a reason of its own.
pub(crate) async fn submit(
    api: Api,
    pool: web::Path<String>,
    request: HttpRequest,
    body: JsonBody<BatchLimit>,
) -> Result<HttpResponse, Problem> {
    headers::no_idempotency_key(&request)?;
    let (pool, trace) = (PoolName::new(pool.as_str())?, headers::traceparent(&request));
    let mut new = Vec::new();
    let read = read(&body.bytes)?
        .into_iter()
        .map(|task| task.map(|task| new.push(task.into_task(pool.clone()).traced(trace.clone()))));
    // All are read before the first is submitted.
    let read: Vec<Result<(), Problem>> = read.collect();
    let submitted = api.service().submit_batch(new).await?;
    let mut submitted = submitted.into_iter();
    let outcomes: Vec<Result<Submitted, Problem>> = read
        .into_iter()
        .enumerate()
        .map(|(index, read)| {
            let outcome = read.and_then(|()| Ok(submitted.next().expect("as many outcomes as tasks")?));
            outcome.map_err(|problem| problem.with("index", index))
        })
        .collect();
    Ok(json::ok(&render(&outcomes)))
}

/// Parses the tasks, each by itself.
fn read(body: &[u8]) -> Result<Vec<Result<BatchTask, Problem>>, Problem> {
    let Batch { tasks } = json::parse(body)?;
    check_batch(tasks.count)?;
    let (mut place, mut read_to) = (Position::default(), 0);
    let read = tasks.first.into_iter().enumerate().map(|(index, raw)| {
        // The text of a raw value is a part of the body.
        let begin = raw.get().as_ptr() as usize - body.as_ptr() as usize;
        place = place.behind(&body[read_to..begin]);
        read_to = begin;
        json::parse_part(raw, place).map_err(|problem| problem.of(&format!("tasks[{index}]")))
    });
    Ok(read.collect())
}

fn render(outcomes: &[Result<Submitted, Problem>]) -> BatchView<'_> {
    let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let mut room = OUTPUT_BYTES;
    let results = outcomes.iter().map(|outcome| result(outcome, &mut room)).collect();
    BatchView { accepted, refused: outcomes.len() - accepted, results }
}

/// Includes outputs of known tasks as long as there is room for them.
fn result<'a>(outcome: &'a Result<Submitted, Problem>, room: &mut usize) -> ResultView<'a> {
    match outcome {
        Ok(Submitted { task, created }) => ResultView {
            status: tasks::status(task).as_u16(),
            task: Some(view(task, room)),
            replayed: !created,
            problem: None,
        },
        Err(problem) => {
            let view = problem.view();
            ResultView { status: view.status, task: None, replayed: false, problem: Some(view) }
        }
    }
}

fn view<'a>(task: &'a Task, room: &mut usize) -> TaskView<'a> {
    let bytes = task.output.as_ref().map_or(0, Payload::len);
    match room.checked_sub(bytes) {
        Some(rest) => {
            *room = rest;
            TaskView::with_output(task)
        }
        None => TaskView::brief(task),
    }
}

/// Tasks to submit at once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Batch)]
pub(crate) struct Batch<'a> {
    /// The tasks. Each is accepted or rejected by itself.
    #[serde(borrow)]
    #[schema(value_type = Vec<BatchTask>, max_items = 1000)]
    tasks: Tasks<'a>,
}

/// The unparsed tasks of the body. Those beyond the limit are only counted.
struct Tasks<'a> {
    first: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Tasks<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Tasks<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of up to {MAX_BATCH} tasks")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Tasks<'de>, A::Error> {
                let mut first = Vec::new();
                while first.len() < MAX_BATCH
                    && let Some(task) = array.next_element()?
                {
                    first.push(task);
                }
                let mut count = first.len();
                while array.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Tasks { first, count })
            }
        }

        deserializer.deserialize_seq(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_is_read_by_itself_and_a_fault_is_told_by_index_and_place() {
        let body = br#"{"tasks": [{"input": 1},
            {"input": 2, "prioritty": 3}, 7, {"input": 4, "idempotency_key": "k"}]}"#;
        let tasks = read(body).unwrap();
        let told: Vec<String> =
            tasks.iter().map(|task| task.as_ref().err().map(ToString::to_string).unwrap_or_default()).collect();
        assert_eq!((told[0].as_str(), told[3].as_str()), ("", ""));
        assert!(
            told[1].starts_with("tasks[1]: unknown field `prioritty`") && told[1].contains("at line 2 column 36"),
            "{}",
            told[1]
        );
        assert!(told[2].starts_with("tasks[2]: it is JSON but no object"), "{}", told[2]);
    }

    #[test]
    fn a_batch_is_an_object_with_tasks_and_not_too_many() {
        let many = format!("{{\"tasks\": [{}1]}}", "{},".repeat(MAX_BATCH));
        for (body, name) in [
            (many.as_str(), "batch-too-large"),
            ("[]", "invalid-body"),
            ("{}", "invalid-body"),
            (r#"{"tasks": {}}"#, "invalid-body"),
            (r#"{"tasks": [], "task": 1}"#, "unknown-field"),
            (r#"{"tasks": [{]}"#, "invalid-json"),
        ] {
            assert_eq!(read(body.as_bytes()).err().unwrap().kind().name, name, "{body:.40}");
        }
        assert_eq!(read(br#"{"tasks": []}"#).unwrap().len(), 0);
        let most = format!("{{\"tasks\": [{}7]}}", "{},".repeat(MAX_BATCH - 1));
        assert_eq!(read(most.as_bytes()).unwrap().len(), MAX_BATCH);
    }
}
