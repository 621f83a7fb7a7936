//! Items of a context, cut into lines.

use forerunner_context::Item;
use forerunner_core::{ContextId, ErrorKind};
use serde_json::value::RawValue;

use crate::agent::AgentError;

/// What a `context/load` says besides its items, in bytes: method, context id, versions.
const ENVELOPE_BYTES: usize = 512;

/// Cuts `items` into lists that each fit into a line of `max_line_bytes`. There is at least one list; an item that is
/// larger than a line has a list of its own.
///
/// # Errors
/// When an item is not JSON, as after a change that was made by another kind of agent.
pub(super) fn pieces<'a>(
    id: &ContextId,
    items: &'a [Item],
    max_line_bytes: usize,
) -> Result<Vec<Vec<&'a RawValue>>, AgentError> {
    let room = max_line_bytes.saturating_sub(ENVELOPE_BYTES);
    let mut pieces = vec![Vec::new()];
    let mut used = 0;
    for (index, item) in items.iter().enumerate() {
        let value: &RawValue = serde_json::from_slice(item.bytes()).map_err(|error| no_json(id, index, &error))?;
        let size = value.get().len() + 1;
        if used > 0 && used + size > room {
            pieces.push(Vec::new());
            used = 0;
        }
        used += size;
        if let Some(piece) = pieces.last_mut() {
            piece.push(value);
        }
    }
    Ok(pieces)
}

fn no_json(id: &ContextId, index: usize, error: &serde_json::Error) -> AgentError {
    let message = format!("item {index} of context `{id}` is not JSON and cannot be sent to an agent process: {error}");
    AgentError::new(ErrorKind::ContextLost, message, false, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(sizes: &[usize], max_line_bytes: usize) -> Vec<usize> {
        let items: Vec<Item> =
            sizes.iter().map(|size| Item::new(format!("\"{}\"", "x".repeat(size - 2)).as_bytes())).collect();
        let id = ContextId::new("c").unwrap();
        pieces(&id, &items, max_line_bytes).unwrap().iter().map(Vec::len).collect()
    }

    #[test]
    fn lines_are_filled_in_order() {
        assert_eq!(cut(&[], 1_024), [0]);
        assert_eq!(cut(&[100, 100, 100], 1_024), [3]);
        assert_eq!(cut(&[200, 200, 200, 200], 1_024), [2, 2]);
        assert_eq!(cut(&[5_000, 10, 5_000, 10, 10], 1_024), [1, 1, 1, 2]);
    }

    #[test]
    fn an_item_that_is_not_json_is_named() {
        let items = [Item::new(b"1".as_slice()), Item::new(b"{".as_slice())];
        let error = pieces(&ContextId::new("chat").unwrap(), &items, 1_024).unwrap_err();
        assert!(error.message().contains("item 1 of context `chat`"), "{error}");
    }
}
