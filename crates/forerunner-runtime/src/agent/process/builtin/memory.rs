//! The contexts that the built-in agent keeps.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Refused;
use crate::agent::process::code;

/// The contexts of one agent, by id.
#[derive(Default)]
pub(super) struct Memory(HashMap<String, Held>);

/// A context: what the node calls its state, and its items.
struct Held {
    version: u64,
    items: Vec<Value>,
}

impl Memory {
    /// Does what `context/load` asks for.
    pub fn load(&mut self, params: &Value) -> Result<Value, Refused> {
        let id = params["id"].as_str().unwrap_or_default();
        let before = match (params["base"].as_u64(), self.0.remove(id)) {
            (None, _) => Vec::new(),
            (Some(base), Some(held)) if held.version == base => held.items,
            (Some(base), _) => return Err((code::NOT_HELD, format!("context `{id}` is not held at {base}"))),
        };
        let items = match &params["edit"] {
            Value::Null => [before, list(&params["items"])].concat(),
            steps => edited(&before, steps)?,
        };
        let version = params["version"].as_u64().unwrap_or_default();
        self.0.insert(id.to_owned(), Held { version, items });
        Ok(json!({}))
    }

    pub fn forget(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// Notes what a task says its context to be, and checks that it is.
    pub fn begin(&mut self, context: &Value) -> Result<(), Refused> {
        let Some(id) = context["id"].as_str() else { return Ok(()) };
        let refuse = |why: &str| Err((code::NOT_HELD, format!("context `{id}` {why}")));
        let Some(held) = self.0.get_mut(id) else { return refuse("is not held") };
        if context["items"].as_u64().is_some_and(|items| items != held.items.len() as u64) {
            return refuse("has another number of items");
        }
        held.version = context["version"].as_u64().unwrap_or_default();
        Ok(())
    }

    pub fn items(&self, id: &str) -> Option<&[Value]> {
        self.0.get(id).map(|held| held.items.as_slice())
    }

    /// Makes a change, as the answer to a task says it.
    pub fn change(&mut self, id: &str, change: &Value) -> Result<(), Refused> {
        let Some(held) = self.0.get_mut(id) else { return Ok(()) };
        held.items = match change {
            change if change.get("edit").is_some() => edited(&held.items, &change["edit"])?,
            change if change.get("replace").is_some() => list(&change["replace"]),
            change => [std::mem::take(&mut held.items), list(&change["append"])].concat(),
        };
        Ok(())
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// The items that the steps of an edit lead to.
fn edited(held: &[Value], steps: &Value) -> Result<Vec<Value>, Refused> {
    let mut items = Vec::new();
    for step in list(steps) {
        match &step["copy"] {
            Value::Null => items.extend(list(&step["insert"])),
            copy => {
                let number = |at: usize| copy[at].as_u64().and_then(|number| usize::try_from(number).ok());
                let run = number(0).zip(number(1)).and_then(|(start, len)| held.get(start..start.checked_add(len)?));
                let refuse = || (code::INVALID_PARAMS, format!("an edit copies {copy} of {} items", held.len()));
                items.extend_from_slice(run.ok_or_else(refuse)?);
            }
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(memory: &mut Memory, params: &Value) -> Result<(), i64> {
        memory.load(params).map(|_| ()).map_err(|(code, _)| code)
    }

    #[test]
    fn contexts_are_loaded_appended_to_and_edited() {
        let mut memory = Memory::default();
        load(&mut memory, &json!({ "id": "c", "version": 1, "base": null, "items": [1, 2, 3] })).unwrap();
        load(&mut memory, &json!({ "id": "c", "version": 2, "base": 1, "items": [4] })).unwrap();
        let steps = json!([{ "copy": [0, 1] }, { "insert": ["x"] }, { "copy": [3, 1] }]);
        load(&mut memory, &json!({ "id": "c", "version": 3, "base": 2, "edit": steps })).unwrap();
        assert_eq!(memory.items("c").unwrap(), [json!(1), json!("x"), json!(4)]);
        memory.begin(&json!({ "id": "c", "version": 4, "items": 3 })).unwrap();
        memory.change("c", &json!({ "edit": [{ "copy": [2, 1] }] })).unwrap();
        memory.change("c", &json!({ "append": [5] })).unwrap();
        assert_eq!(memory.items("c").unwrap(), [json!(4), json!(5)]);
    }

    #[test]
    fn what_is_not_held_is_refused() {
        let mut memory = Memory::default();
        assert_eq!(load(&mut memory, &json!({ "id": "c", "version": 2, "base": 1, "items": [] })), Err(code::NOT_HELD));
        load(&mut memory, &json!({ "id": "c", "version": 1, "base": null, "items": [1] })).unwrap();
        assert!(memory.begin(&json!({ "id": "c", "version": 1, "items": 2 })).is_err());
        assert!(memory.begin(&json!({ "id": "d", "version": 1, "items": 0 })).is_err());
        assert!(memory.begin(&Value::Null).is_ok());
        let outside = json!({ "id": "c", "version": 2, "base": 1, "edit": [{ "copy": [0, 2] }] });
        assert_eq!(load(&mut memory, &outside), Err(code::INVALID_PARAMS));
    }
}
