//! The contexts that are resident in the built-in agent.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::RpcFailure;
use crate::process::code;

/// The contexts of one agent, by id.
#[derive(Default)]
pub(super) struct Contexts(HashMap<String, Context>);

/// An item as it was written.
type Item = Box<RawValue>;

/// A context: the version by which the node names its state, and its items.
struct Context {
    version: u64,
    items: Vec<Item>,
}

/// Parameters of `context/load`.
#[derive(Deserialize)]
pub(super) struct LoadParams {
    #[serde(default)]
    id: String,
    #[serde(default)]
    version: u64,
    base: Option<u64>,
    items: Option<Vec<Item>>,
    edit: Option<Vec<Step>>,
}

/// The context of a task, as the node describes it.
#[derive(Deserialize)]
pub(super) struct ContextRef {
    pub id: String,
    #[serde(default)]
    version: u64,
    items: Option<u64>,
}

/// A change, as the answer to a task states it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Change {
    edit: Option<Vec<Step>>,
    replace: Option<Vec<Item>>,
    append: Option<Vec<Item>>,
}

/// A step of an edit: it copies from the items before, or inserts new ones.
#[derive(Deserialize)]
struct Step {
    copy: Option<(usize, usize)>,
    insert: Option<Vec<Item>>,
}

impl LoadParams {
    /// The size of the items that it has.
    pub fn bytes(&self) -> usize {
        let edited = self.edit.iter().flatten().filter_map(|step| step.insert.as_ref());
        self.items.iter().chain(edited).flatten().map(|item| item.get().len()).sum()
    }
}

impl Contexts {
    /// Handles `context/load`.
    pub fn load(&mut self, load: LoadParams) -> Result<(), RpcFailure> {
        let id = load.id;
        let before = match (load.base, self.0.remove(&id)) {
            (None, _) => Vec::new(),
            (Some(base), Some(context)) if context.version == base => context.items,
            (Some(base), _) => {
                return Err((code::NOT_RESIDENT, format!("context `{id}` is not resident in version {base}")));
            }
        };
        let items = match load.edit {
            None => [before, load.items.unwrap_or_default()].concat(),
            Some(steps) => edited(&before, steps)?,
        };
        self.0.insert(id, Context { version: load.version, items });
        Ok(())
    }

    pub fn forget(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// Adopts the version that the node names, and checks that the context is resident.
    pub fn begin(&mut self, stated: &ContextRef) -> Result<(), RpcFailure> {
        let refuse = |why: &str| Err((code::NOT_RESIDENT, format!("context `{}` {why}", stated.id)));
        let Some(context) = self.0.get_mut(&stated.id) else { return refuse("is not resident") };
        if stated.items.is_some_and(|items| items != context.items.len() as u64) {
            return refuse("has another number of items");
        }
        context.version = stated.version;
        Ok(())
    }

    /// Counts the items of a context.
    pub fn items(&self, id: &str) -> Option<usize> {
        self.0.get(id).map(|context| context.items.len())
    }

    /// Makes a change, as the answer to a task states it.
    pub fn change(&mut self, id: &str, change: &str) -> Result<(), RpcFailure> {
        let Some(context) = self.0.get_mut(id) else { return Ok(()) };
        let change: Option<Change> =
            serde_json::from_str(change).map_err(|error| (code::INVALID_PARAMS, error.to_string()))?;
        match change.unwrap_or_default() {
            Change { edit: Some(steps), .. } => context.items = edited(&context.items, steps)?,
            Change { replace: Some(items), .. } => context.items = items,
            Change { append, .. } => context.items.extend(append.unwrap_or_default()),
        }
        Ok(())
    }
}

/// The items that the steps of an edit lead to.
fn edited(before: &[Item], steps: Vec<Step>) -> Result<Vec<Item>, RpcFailure> {
    let mut items = Vec::new();
    for step in steps {
        match step.copy {
            None => items.extend(step.insert.unwrap_or_default()),
            Some((start, len)) => {
                let run = start.checked_add(len).and_then(|end| before.get(start..end));
                let refuse = || {
                    (code::INVALID_PARAMS, format!("an edit copies {len} items at {start} of {} items", before.len()))
                };
                items.extend_from_slice(run.ok_or_else(refuse)?);
            }
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn load(contexts: &mut Contexts, params: &Value) -> Result<(), i64> {
        contexts.load(serde_json::from_value(params.clone()).unwrap()).map_err(|(code, _)| code)
    }

    fn begin(contexts: &mut Contexts, stated: Value) -> Result<(), RpcFailure> {
        contexts.begin(&serde_json::from_value(stated).unwrap())
    }

    fn items(contexts: &Contexts) -> String {
        contexts.0["c"].items.iter().map(|item| item.get()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn contexts_are_loaded_appended_to_and_edited() {
        let mut contexts = Contexts::default();
        load(&mut contexts, &json!({ "id": "c", "version": 1, "base": null, "items": [1, 2, 3] })).unwrap();
        load(&mut contexts, &json!({ "id": "c", "version": 2, "base": 1, "items": [4] })).unwrap();
        let steps = json!([{ "copy": [0, 1] }, { "insert": ["x"] }, { "copy": [3, 1] }]);
        load(&mut contexts, &json!({ "id": "c", "version": 3, "base": 2, "edit": steps })).unwrap();
        assert_eq!(items(&contexts), r#"1 "x" 4"#);
        begin(&mut contexts, json!({ "id": "c", "version": 4, "items": 3 })).unwrap();
        contexts.change("c", r#"{"edit":[{"copy":[2,1]}]}"#).unwrap();
        contexts.change("c", r#"{"append":[18446744073709551616,1e400,1E5]}"#).unwrap();
        assert_eq!(items(&contexts), "4 18446744073709551616 1e400 1E5", "numbers stay as they were written");
        contexts.change("c", "null").unwrap();
        contexts.change("c", r#"{"replace":[]}"#).unwrap();
        assert_eq!(contexts.items("c"), Some(0));
    }

    #[test]
    fn a_context_that_is_not_resident_is_refused() {
        let mut contexts = Contexts::default();
        assert_eq!(
            load(&mut contexts, &json!({ "id": "c", "version": 2, "base": 1, "items": [] })),
            Err(code::NOT_RESIDENT)
        );
        load(&mut contexts, &json!({ "id": "c", "version": 1, "base": null, "items": [1] })).unwrap();
        assert!(begin(&mut contexts, json!({ "id": "c", "version": 1, "items": 2 })).is_err());
        assert!(begin(&mut contexts, json!({ "id": "d", "version": 1, "items": 0 })).is_err());
        let outside = json!({ "id": "c", "version": 2, "base": 1, "edit": [{ "copy": [0, 2] }] });
        assert_eq!(load(&mut contexts, &outside), Err(code::INVALID_PARAMS));
    }
}
