//! Query strings and the parts of paths.

use actix_web::{HttpRequest, error::QueryPayloadError, web::Query};
use forerunner_core::Timestamp;
use forerunner_service::{
    TaskFilter, cursor,
    limits::{MAX_MINUTES, MAX_PAGE, MINUTES, PAGE},
};
use serde::de::DeserializeOwned;

use crate::{
    error::Problem,
    filter::{TasksQuery, window},
    json, problems,
};

/// Reads the query string.
pub(crate) fn parse<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    Query::from_query(request.query_string()).map(Query::into_inner).map_err(|error| refuse(&error))
}

fn refuse(error: &QueryPayloadError) -> Problem {
    let message = match error {
        QueryPayloadError::Deserialize(fault) => json::shortened(fault.to_string()),
        other => other.to_string(),
    };
    let hint = json::nearest_hint(&message);
    invalid(message + &hint)
}

/// Validates the requested number of entries.
pub(crate) fn limit(asked: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = asked else { return Ok(PAGE) };
    let refuse = || invalid(format!("limit `{text}` is not valid; use 1 to {MAX_PAGE}"));
    text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit)).ok_or_else(refuse)
}

/// Validates the requested number of minutes.
pub(crate) fn minutes(asked: Option<&str>) -> Result<u32, Problem> {
    let Some(text) = asked else { return Ok(MINUTES) };
    let refuse = || invalid(format!("minutes `{text}` is not valid; use 1 to {MAX_MINUTES}"));
    text.parse().ok().filter(|minutes| (1..=MAX_MINUTES).contains(minutes)).ok_or_else(refuse)
}

/// Reads a number in a path.
pub(crate) fn number(what: &str, text: &str) -> Result<u64, Problem> {
    let refuse = |_| Problem::new(problems::INVALID_VALUE, format!("{what} `{text}` is not a number"));
    text.parse().map_err(refuse)
}

/// Converts a query to a filter.
pub(crate) fn filter(asked: &TasksQuery, now: Timestamp) -> Result<TaskFilter, Problem> {
    Ok(TaskFilter {
        tenant: None,
        pool: asked.pool.as_deref().map(str::parse).transpose()?,
        states: asked.states.iter().map(|state| state.parse()).collect::<Result<_, _>>()?,
        context: asked.context.as_deref().map(str::parse).transpose()?,
        labels: asked.labels.iter().map(|text| label(text)).collect::<Result<_, _>>()?,
        created: window(&asked.windows.created, now)?,
        ended: window(&asked.windows.ended, now)?,
        due: window(&asked.windows.due, now)?,
        before: asked.cursor.as_deref().map(cursor::read_task).transpose()?,
        after: None,
        oldest_first: false,
        limit: limit(asked.limit.as_deref())?,
    })
}

fn label(text: &str) -> Result<(String, String), Problem> {
    let refuse = || invalid(format!("label `{text}` is not valid; write it as key:value"));
    text.split_once(':').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(refuse)
}

fn invalid(detail: String) -> Problem {
    Problem::new(problems::INVALID_QUERY, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_split_at_its_first_colon() {
        assert_eq!(label("url:http://x").unwrap(), ("url".to_owned(), "http://x".to_owned()));
        assert!(label("url").is_err());
    }

    #[test]
    fn pages_hold_1_to_1000_entries() {
        assert_eq!(limit(None).unwrap(), 50);
        assert_eq!(limit(Some("1000")).unwrap(), 1_000);
        for bad in ["0", "1001", "-1", "many", ""] {
            let problem = limit(Some(bad)).unwrap_err().to_string();
            assert!(problem.contains(&format!("limit `{bad}`")), "{problem}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_answered_with_the_one_meant() {
        let request = actix_web::test::TestRequest::with_uri("/?stat=queued").to_http_request();
        let problem = parse::<TasksQuery>(&request).err().unwrap().to_string();
        assert!(problem.starts_with("unknown field `stat`"), "{problem}");
        assert!(problem.ends_with("did you mean `state`?"), "{problem}");
    }

    #[test]
    fn states_and_labels_may_be_several_and_times_ages() {
        let uri = "/?state=queued,running&state=dead&label=a:1&label=b:x:y&created_after=2h&ended_before=2023-11-14T00:00:00Z";
        let request = actix_web::test::TestRequest::with_uri(uri).to_http_request();
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let filter = filter(&parse(&request).unwrap(), now).unwrap();
        assert_eq!(filter.states.iter().map(|state| state.as_str()).collect::<Vec<_>>(), ["queued", "running", "dead"]);
        assert_eq!(filter.labels, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x:y".to_owned())]);
        assert_eq!(filter.created.after, Some(now - std::time::Duration::from_secs(7_200)));
        assert_eq!(filter.ended.before, Some("2023-11-14T00:00:00Z".parse().unwrap()));
        for bad in ["/?pool=a&pool=b", "/?state=queued,", "/?due_after=tomorrow"] {
            let request = actix_web::test::TestRequest::with_uri(bad).to_http_request();
            assert!(parse::<TasksQuery>(&request).and_then(|asked| super::filter(&asked, now)).is_err(), "{bad}");
        }
    }
}
