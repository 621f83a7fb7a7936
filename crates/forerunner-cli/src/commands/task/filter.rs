//! Which tasks: the conditions of listings and of operations on many tasks.

use clap::{Args, builder::PossibleValuesParser};
use forerunner_console::Usage;
use forerunner_core::{Clock, TaskState, parse_time};
use forerunner_runtime::SystemClock;
use serde_json::{Map, Value, json};

use crate::{client::encode, commands::label::Label};

/// Conditions, all of which a task has to meet.
#[derive(Debug, Default, Args)]
pub struct FilterArgs {
    /// Of this pool.
    #[arg(long)]
    pub pool: Option<String>,
    /// In this state; separate several by commas.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(TaskState::ALL.map(TaskState::as_str)))]
    pub state: Vec<String>,
    /// Of this context.
    #[arg(long, value_name = "ID")]
    pub context: Option<String>,
    /// With this label; given several times, with all of them.
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<Label>,
    /// Submitted at this time or later: 2026-11-27T10:00:00Z, or 2h for two hours ago.
    #[arg(long, value_name = "TIME")]
    pub created_after: Option<String>,
    /// Submitted before this time.
    #[arg(long, value_name = "TIME")]
    pub created_before: Option<String>,
    /// Ended at this time or later.
    #[arg(long, value_name = "TIME")]
    pub ended_after: Option<String>,
    /// Ended before this time.
    #[arg(long, value_name = "TIME")]
    pub ended_before: Option<String>,
    /// Due (by its run_at) at this time or later.
    #[arg(long, value_name = "TIME")]
    pub due_after: Option<String>,
    /// Due before this time.
    #[arg(long, value_name = "TIME")]
    pub due_before: Option<String>,
}

impl FilterArgs {
    /// Returns whether there is no condition.
    pub fn is_empty(&self) -> bool {
        let texts = [&self.pool, &self.context].into_iter().chain(self.times().map(|(_, time)| time));
        self.state.is_empty() && self.label.is_empty() && texts.into_iter().all(Option::is_none)
    }

    fn times(&self) -> [(&'static str, &Option<String>); 6] {
        [
            ("created_after", &self.created_after),
            ("created_before", &self.created_before),
            ("ended_after", &self.ended_after),
            ("ended_before", &self.ended_before),
            ("due_after", &self.due_after),
            ("due_before", &self.due_before),
        ]
    }

    /// The times as instants: one moment counts as now for all calls of a command.
    fn instants(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let now = SystemClock.now();
        let given = self.times().into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
        let read = given.map(|(name, text)| {
            let at = parse_time(text, now).map_err(|error| Usage(format!("--{}: {error}", name.replace('_', "-"))))?;
            Ok((name, at.to_string()))
        });
        read.collect()
    }

    /// The conditions as a query string, each part after an `&`.
    pub fn query(&self) -> anyhow::Result<String> {
        let state = (!self.state.is_empty()).then(|| self.state.join(","));
        let mut parts: Vec<(&str, String)> = Vec::new();
        let single = [("pool", self.pool.clone()), ("state", state), ("context", self.context.clone())];
        parts.extend(single.into_iter().filter_map(|(name, value)| Some((name, value?))));
        parts.extend(self.label.iter().map(|label| ("label", format!("{}:{}", label.key, label.value))));
        parts.extend(self.instants()?);
        Ok(parts.into_iter().map(|(name, value)| format!("&{name}={}", encode(&value))).collect())
    }

    /// The conditions as members of a body.
    pub fn body(&self) -> anyhow::Result<Map<String, Value>> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        if let Some(pool) = &self.pool {
            put("pool", json!(pool));
        }
        if !self.state.is_empty() {
            put("states", json!(self.state));
        }
        if let Some(context) = &self.context {
            put("context", json!(context));
        }
        if !self.label.is_empty() {
            put("labels", Value::Object(self.labels()));
        }
        for (name, at) in self.instants()? {
            put(name, json!(at));
        }
        Ok(body)
    }

    fn labels(&self) -> Map<String, Value> {
        self.label.iter().map(|label| (label.key.clone(), json!(label.value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> FilterArgs {
        FilterArgs {
            state: vec!["dead".to_owned(), "failed".to_owned()],
            label: ["team=a b", "n=1"].map(|label| label.parse().expect("a label")).to_vec(),
            ended_after: Some("2026-11-27T10:00:00Z".to_owned()),
            ..FilterArgs::default()
        }
    }

    #[test]
    fn conditions_become_a_query_and_a_body() {
        assert_eq!(
            filter().query().unwrap(),
            "&state=dead%2Cfailed&label=team%3Aa%20b&label=n%3A1&ended_after=2026-11-27T10%3A00%3A00.000000Z"
        );
        let body = Value::Object(filter().body().unwrap());
        let expected = json!({
            "states": ["dead", "failed"], "labels": { "team": "a b", "n": "1" },
            "ended_after": "2026-11-27T10:00:00.000000Z",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_cannot_be_meant_is_told_with_its_flag() {
        let soon = FilterArgs { due_before: Some("soon".to_owned()), ..FilterArgs::default() };
        let error = soon.query().unwrap_err().to_string();
        assert!(error.contains("--due-before") && error.contains("2h"), "{error}");
        let bare = "team".parse::<Label>().unwrap_err().to_string();
        assert!(bare.contains("KEY=VALUE"), "{bare}");
        assert!(FilterArgs::default().is_empty() && !filter().is_empty());
    }
}
