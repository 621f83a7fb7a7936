//! The contexts that the built-in agent keeps.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Refused;
use crate::agent::process::code;

/// The contexts of one agent, by id.
#[derive(Default)]
pub(super) struct Memory(HashMap<String, Held>);

/// An item as it was written.
type Item = Box<RawValue>;

/// A context: what the node calls its state, and its items.
struct Held {
    version: u64,
    items: Vec<Item>,
}

/// What `context/load` asks for.
#[derive(Deserialize)]
pub(super) struct Load {
    #[serde(default)]
    id: String,
    #[serde(default)]
    version: u64,
    base: Option<u64>,
    items: Option<Vec<Item>>,
    edit: Option<Vec<Step>>,
}

/// What a task states its context to be.
#[derive(Deserialize)]
pub(super) struct Stated {
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

impl Load {
    /// The size of what it brings.
    pub fn bytes(&self) -> usize {
        let edited = self.edit.iter().flatten().filter_map(|step| step.insert.as_ref());
        self.items.iter().chain(edited).flatten().map(|item| item.get().len()).sum()
    }
}

impl Memory {
    /// Does what `context/load` asks for.
    pub fn load(&mut self, load: Load) -> Result<(), Refused> {
        let id = load.id;
        let before = match (load.base, self.0.remove(&id)) {
            (None, _) => Vec::new(),
            (Some(base), Some(held)) if held.version == base => held.items,
            (Some(base), _) => return Err((code::NOT_HELD, format!("context `{id}` is not held at {base}"))),
        };
        let items = match load.edit {
            None => [before, load.items.unwrap_or_default()].concat(),
            Some(steps) => edited(&before, steps)?,
        };
        self.0.insert(id, Held { version: load.version, items });
        Ok(())
    }

    pub fn forget(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// Notes what a task states its context to be, and checks that it is.
    pub fn begin(&mut self, stated: &Stated) -> Result<(), Refused> {
        let refuse = |why: &str| Err((code::NOT_HELD, format!("context `{}` {why}", stated.id)));
        let Some(held) = self.0.get_mut(&stated.id) else { return refuse("is not held") };
        if stated.items.is_some_and(|items| items != held.items.len() as u64) {
            return refuse("has another number of items");
        }
        held.version = stated.version;
        Ok(())
    }

    /// Counts the items of a context.
    pub fn items(&self, id: &str) -> Option<usize> {
        self.0.get(id).map(|held| held.items.len())
    }

    /// Makes a change, as the answer to a task states it.
    pub fn change(&mut self, id: &str, change: &str) -> Result<(), Refused> {
        let Some(held) = self.0.get_mut(id) else { return Ok(()) };
        let change: Option<Change> =
            serde_json::from_str(change).map_err(|error| (code::INVALID_PARAMS, error.to_string()))?;
        match change.unwrap_or_default() {
            Change { edit: Some(steps), .. } => held.items = edited(&held.items, steps)?,
            Change { replace: Some(items), .. } => held.items = items,
            Change { append, .. } => held.items.extend(append.unwrap_or_default()),
        }
        Ok(())
    }
}

/// The items that the steps of an edit lead to.
fn edited(held: &[Item], steps: Vec<Step>) -> Result<Vec<Item>, Refused> {
    let mut items = Vec::new();
    for step in steps {
        match step.copy {
            None => items.extend(step.insert.unwrap_or_default()),
            Some((start, len)) => {
                let run = start.checked_add(len).and_then(|end| held.get(start..end));
                let refuse =
                    || (code::INVALID_PARAMS, format!("an edit copies {len} items at {start} of {} items", held.len()));
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

    fn load(memory: &mut Memory, params: &Value) -> Result<(), i64> {
        memory.load(serde_json::from_value(params.clone()).unwrap()).map_err(|(code, _)| code)
    }

    fn begin(memory: &mut Memory, stated: Value) -> Result<(), Refused> {
        memory.begin(&serde_json::from_value(stated).unwrap())
    }

    fn items(memory: &Memory) -> String {
        memory.0["c"].items.iter().map(|item| item.get()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn contexts_are_loaded_appended_to_and_edited() {
        let mut memory = Memory::default();
        load(&mut memory, &json!({ "id": "c", "version": 1, "base": null, "items": [1, 2, 3] })).unwrap();
        load(&mut memory, &json!({ "id": "c", "version": 2, "base": 1, "items": [4] })).unwrap();
        let steps = json!([{ "copy": [0, 1] }, { "insert": ["x"] }, { "copy": [3, 1] }]);
        load(&mut memory, &json!({ "id": "c", "version": 3, "base": 2, "edit": steps })).unwrap();
        assert_eq!(items(&memory), r#"1 "x" 4"#);
        begin(&mut memory, json!({ "id": "c", "version": 4, "items": 3 })).unwrap();
        memory.change("c", r#"{"edit":[{"copy":[2,1]}]}"#).unwrap();
        memory.change("c", r#"{"append":[18446744073709551616,1e400,1E5]}"#).unwrap();
        assert_eq!(items(&memory), "4 18446744073709551616 1e400 1E5", "numbers stay as they were written");
        memory.change("c", "null").unwrap();
        memory.change("c", r#"{"replace":[]}"#).unwrap();
        assert_eq!(memory.items("c"), Some(0));
    }

    #[test]
    fn what_is_not_held_is_refused() {
        let mut memory = Memory::default();
        assert_eq!(load(&mut memory, &json!({ "id": "c", "version": 2, "base": 1, "items": [] })), Err(code::NOT_HELD));
        load(&mut memory, &json!({ "id": "c", "version": 1, "base": null, "items": [1] })).unwrap();
        assert!(begin(&mut memory, json!({ "id": "c", "version": 1, "items": 2 })).is_err());
        assert!(begin(&mut memory, json!({ "id": "d", "version": 1, "items": 0 })).is_err());
        let outside = json!({ "id": "c", "version": 2, "base": 1, "edit": [{ "copy": [0, 2] }] });
        assert_eq!(load(&mut memory, &outside), Err(code::INVALID_PARAMS));
    }
}
