//! What to change of a schedule: fields by name, each of which replaces the one that is stored.

use std::collections::BTreeMap;

use forerunner_core::{Error, ScheduleDefinition};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The fields for the times of a schedule. Each of the first three replaces the others.
const TIMES: [&str; 3] = ["cron", "every", "at"];
/// Fields that go with one of them only.
const OF_TIMES: [(&str, &str); 2] = [("time_zone", "cron"), ("starts_at", "every")];

/// What to change of a schedule. Fields that are left out stay as they are; `null` sets one back to its default. One of
/// `cron`, `every` and `at` replaces the others.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct SchedulePatch(BTreeMap<String, Box<RawValue>>);

impl SchedulePatch {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// When the text is no JSON object.
    pub fn parse(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|error| Error::Payload { reason: error.to_string() })
    }

    /// Changes whether the schedule submits tasks.
    pub fn enabled(enabled: bool) -> Self {
        let text = if enabled { r#"{"enabled":true}"# } else { r#"{"enabled":false}"# };
        Self::parse(text).expect("it is JSON")
    }

    /// Returns whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it changes the times of a schedule, or enables it again.
    pub(crate) fn concerns_time(&self) -> bool {
        let names = ["time_zone", "starts_at", "enabled", "jitter"];
        self.0.keys().any(|name| TIMES.contains(&name.as_str()) || names.contains(&name.as_str()))
    }

    /// Applies it to a definition.
    ///
    /// # Errors
    /// [`Error::Schedule`] for the name, which cannot be changed, and for what is no definition afterwards.
    pub fn apply(&self, definition: &ScheduleDefinition) -> Result<ScheduleDefinition, Error> {
        if let Some(name) = self.0.get("name").filter(|name| name.get() != format!("\"{}\"", definition.name)) {
            let rule = "a schedule keeps its name; make another one".to_owned();
            return Err(Error::Schedule { field: "name", value: name.get().chars().take(80).collect(), rule });
        }
        let text = serde_json::to_string(definition).expect("a definition is a struct of texts and numbers");
        let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&text).expect("it is an object");
        let given = |name: &str| self.0.get(name).is_some_and(|value| value.get() != "null");
        if TIMES.iter().any(|name| given(name)) {
            fields.retain(|name, _| !TIMES.contains(&name.as_str()));
            fields.retain(|name, _| OF_TIMES.iter().all(|(field, of)| name != field || given(of)));
        }
        for (name, value) in &self.0 {
            match value.get() {
                "null" => fields.remove(name),
                _ => fields.insert(name.clone(), value.clone()),
            };
        }
        let text = serde_json::to_string(&fields).expect("its members are JSON");
        serde_json::from_str(&text).map_err(|error| {
            let (value, rule) = ("the change".to_owned(), error.to_string());
            Error::Schedule { field: "schedule", value, rule }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(patch: &str) -> Result<String, String> {
        let before =
            r#"{"name":"a","pool":"p","cron":"0 2 * * *","time_zone":"Europe/Berlin","input":{"n":1.50},"priority":7}"#;
        let patch = SchedulePatch::parse(patch).unwrap();
        let after = patch.apply(&serde_json::from_str(before).unwrap());
        after.map(|after| serde_json::to_string(&after).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_replaced_and_null_sets_them_back() {
        let same = patched("{}").unwrap();
        assert!(same.contains(r#""cron":"0 2 * * *","time_zone":"Europe/Berlin","input":{"n":1.50}"#), "{same}");
        let input = patched(r#"{"input":{"m":2.10},"priority":null}"#).unwrap();
        assert!(input.contains(r#""input":{"m":2.10},"priority":4"#), "{input}");
        let cron = patched(r#"{"cron":"0 3 * * *"}"#).unwrap();
        assert!(cron.contains(r#""cron":"0 3 * * *","time_zone":"Europe/Berlin""#), "{cron}");
        let every = patched(r#"{"every":"5m"}"#).unwrap();
        assert!(
            every.contains(r#""every":"5m""#) && !every.contains("cron") && !every.contains("time_zone"),
            "{every}"
        );
    }

    #[test]
    fn a_name_stays_and_a_field_must_be_known() {
        assert!(patched(r#"{"name":"a"}"#).is_ok());
        assert!(patched(r#"{"name":"b"}"#).unwrap_err().contains("keeps its name"));
        assert!(patched(r#"{"often":1}"#).unwrap_err().contains("unknown field `often`"));
        assert!(patched(r#"{"pool":null}"#).unwrap_err().contains("missing field `pool`"));
        assert!(patched(r#"{"every":"soon"}"#).unwrap_err().contains("soon"));
    }
}
