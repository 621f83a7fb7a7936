//! Cancel, retry, delete and move many tasks at once.

use actix_web::HttpResponse;
use forerunner_core::{TaskId, TaskState, Timestamp};
use forerunner_service::{BulkAction, BulkReport, BulkRequest, MOST_BULK, TaskFilter, cursor};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::Api,
    body::JsonBody,
    error::Problem,
    filter::{BulkBody, MoveBody, window},
    json, problems,
};

type Answer = Result<HttpResponse, Problem>;

pub(crate) async fn cancel(api: Api, body: JsonBody) -> Answer {
    run(&api, BulkAction::Cancel, &json::parse(&body.bytes)?).await
}

pub(crate) async fn retry(api: Api, body: JsonBody) -> Answer {
    run(&api, BulkAction::Retry, &json::parse(&body.bytes)?).await
}

pub(crate) async fn delete(api: Api, body: JsonBody) -> Answer {
    run(&api, BulkAction::Delete, &json::parse(&body.bytes)?).await
}

pub(crate) async fn move_to_pool(api: Api, body: JsonBody) -> Answer {
    let (to, asked) = json::parse::<MoveBody>(&body.bytes)?.parts();
    let action = BulkAction::Move { to, dry_run: asked.dry_run.unwrap_or(false) };
    run(&api, action, &asked).await
}

async fn run(api: &Api, action: BulkAction, asked: &BulkBody) -> Answer {
    let request = request(action.clone(), asked, api.service().time())?;
    let report = api.service().bulk(request, asked.all == Some(true)).await?;
    Ok(json::ok(&BulkView::of(&action, asked.dry_run.unwrap_or(false), &report)))
}

fn request(action: BulkAction, asked: &BulkBody, now: Timestamp) -> Result<BulkRequest, Problem> {
    let place = asked.cursor.as_deref().map(cursor::read_task).transpose()?;
    let (before, after) = if action.is_oldest_first() { (None, place) } else { (place, None) };
    let filter = TaskFilter {
        tenant: None,
        pool: asked.pool.clone(),
        states: asked.states.clone().unwrap_or_default(),
        context: asked.context.clone(),
        labels: asked.labels.clone().unwrap_or_default().into_iter().collect(),
        created: window(&(asked.created_after.clone(), asked.created_before.clone()), now)?,
        ended: window(&(asked.ended_after.clone(), asked.ended_before.clone()), now)?,
        due: window(&(asked.due_after.clone(), asked.due_before.clone()), now)?,
        before,
        after,
        oldest_first: false,
        limit: limit(asked.limit)?,
    };
    Ok(BulkRequest { action, filter, dry_run: asked.dry_run.unwrap_or(false), by: None })
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let refuse = |limit| {
        Problem::new(
            problems::INVALID_VALUE,
            format!("limit {limit} is not valid; use 1 to {MOST_BULK}, or leave it out"),
        )
    };
    match asked {
        Some(limit) if !(1..=MOST_BULK).contains(&limit) => Err(refuse(limit)),
        other => Ok(other.unwrap_or(MOST_BULK)),
    }
}

/// The result of a bulk operation, as far as this call processed tasks.
#[derive(Serialize, ToSchema)]
#[schema(as = BulkReport)]
pub(crate) struct BulkView {
    /// Tasks that met the conditions.
    matched: usize,
    /// Tasks that were changed; of a dry run, those that would be.
    done: usize,
    /// Running tasks among them. They were asked to stop, and end when they have stopped.
    #[serde(skip_serializing_if = "is_zero")]
    stopping: usize,
    /// Tasks that were not changed, since their state does not allow it.
    refused: usize,
    /// Why, for each such state.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<ReasonView>,
    /// Tasks that were deleted meanwhile.
    #[serde(skip_serializing_if = "is_zero")]
    gone: usize,
    /// Whether nothing was changed.
    dry_run: bool,
    /// The position to continue from: send it as `cursor`. Omitted when all tasks were processed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

/// Why some tasks of one state were not changed.
#[derive(Serialize, ToSchema)]
#[schema(as = BulkReason)]
struct ReasonView {
    /// The state they are in.
    state: TaskState,
    /// How many.
    count: usize,
    /// Why, and what to do.
    reason: &'static str,
    /// One of them.
    example: TaskId,
}

impl BulkView {
    fn of(action: &BulkAction, dry_run: bool, report: &BulkReport) -> Self {
        let reasons = report.refused.iter().map(|((state, obstacle), (count, example))| ReasonView {
            state: *state,
            count: *count,
            reason: forerunner_service::obstacle_reason(action, *state, *obstacle),
            example: *example,
        });
        Self {
            matched: report.matched,
            done: report.done,
            stopping: report.stopping,
            refused: report.refused.values().map(|(count, _)| count).sum(),
            reasons: reasons.collect(),
            gone: report.gone,
            dry_run,
            next: report.next.map(cursor::after_task),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<BulkRequest, Problem> {
        request(BulkAction::Cancel, &json::parse(body.as_bytes())?, Timestamp::from_micros(9_000_000_000))
    }

    #[test]
    fn conditions_are_read_with_times_and_ages() {
        let asked =
            read(r#"{"states": ["queued", "running"], "labels": {"a": "1", "b": "2"}, "created_before": "1h"}"#);
        let filter = asked.unwrap().filter;
        assert_eq!((filter.states.len(), filter.labels.len(), filter.limit), (2, 2, MOST_BULK));
        assert_eq!(filter.created.before, Some(Timestamp::from_micros(5_400_000_000)));
        for (body, word) in [
            (r#"{"states": ["done"]}"#, "done"),
            (r#"{"pool": "coder", "limit": 0}"#, "limit 0"),
            (r#"{"pool": "coder", "ended_after": "soon"}"#, "how long ago"),
            (r#"{"pool": "coder", "due_after": "1h", "due_before": "2h"}"#, "empty"),
            (r#"{"pool": "coder", "cursor": "x"}"#, "cursor"),
            (r#"{"pol": "coder"}"#, "did you mean `pool`"),
        ] {
            let problem = read(body).unwrap_err().to_string();
            assert!(problem.contains(word), "{body}: {problem}");
        }
    }
}
