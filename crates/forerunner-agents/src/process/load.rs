//! The messages that bring a context up to date, cut into lines.

use std::ops::Range;

use forerunner_context::Item;
use forerunner_core::{ContextId, ErrorKind};
use forerunner_runtime::agent::AgentError;
use serde_json::value::RawValue;

use super::{
    edit::Step,
    protocol::{Content, LoadStep},
    resident::LoadPlan,
};

/// The size of a `context/load` without its items, in bytes: method, context id, versions.
const ENVELOPE_BYTES: usize = 512;

/// Most bytes of a step beside the items that it inserts.
const STEP_BYTES: usize = 48;

/// Returns what is sent, one a line, so that `items` are resident in the child.
///
/// # Errors
/// When an item is not JSON, as after a change that was made by another kind of agent.
pub(super) fn lines<'a>(
    id: &ContextId,
    plan: &LoadPlan,
    items: &'a [Item],
    max_line_bytes: usize,
) -> Result<Vec<Content<'a>>, AgentError> {
    let append = |items| Ok(pieces(id, items, max_line_bytes)?.into_iter().map(Content::Items).collect());
    match plan {
        LoadPlan::Nothing => Ok(Vec::new()),
        LoadPlan::Append { from, .. } => append(&items[*from..]),
        LoadPlan::Full => append(items),
        LoadPlan::Edit { steps, .. } => edit(id, steps, items, max_line_bytes),
    }
}

/// Returns an edit as one line. An edit that does not fit becomes one line that cuts and moves, and one for each insert.
fn edit<'a>(
    id: &ContextId,
    steps: &[Step],
    items: &'a [Item],
    max_line_bytes: usize,
) -> Result<Vec<Content<'a>>, AgentError> {
    let room = max_line_bytes.saturating_sub(steps.len().saturating_mul(STEP_BYTES));
    let part = |step: &Step| match step {
        Step::Copy(range) => Ok(EditPart::Copy(range.clone())),
        Step::Insert(range) => pieces(id, &items[range.clone()], room).map(EditPart::Pieces),
    };
    let steps: Vec<_> = steps.iter().map(part).collect::<Result<_, _>>()?;
    let bytes = |value: &&RawValue| value.get().len() + 1;
    let inserts = steps.iter().filter_map(|step| if let EditPart::Pieces(pieces) = step { Some(pieces) } else { None });
    let total: usize = inserts.flatten().flatten().map(bytes).sum();
    if total + ENVELOPE_BYTES <= room {
        let one = |step| match step {
            EditPart::Copy(range) => LoadStep::Copy(range.start, range.len()),
            EditPart::Pieces(pieces) => LoadStep::Insert(pieces.into_iter().flatten().collect()),
        };
        return Ok(vec![Content::Edit(steps.into_iter().map(one).collect())]);
    }
    Ok(one_by_one(steps))
}

enum EditPart<'a> {
    Copy(Range<usize>),
    Pieces(Vec<Vec<&'a RawValue>>),
}

fn one_by_one(steps: Vec<EditPart<'_>>) -> Vec<Content<'_>> {
    let copies = steps.iter().filter_map(|step| if let EditPart::Copy(range) = step { Some(range) } else { None });
    let mut resident: usize = copies.clone().map(ExactSizeIterator::len).sum();
    let mut lines = vec![Content::Edit(copies.map(|range| LoadStep::Copy(range.start, range.len())).collect())];
    let mut place = 0;
    for step in steps {
        match step {
            EditPart::Copy(range) => place += range.len(),
            EditPart::Pieces(pieces) => {
                for piece in pieces {
                    let (before, after, count) = (place, resident - place, piece.len());
                    let around = [(0, before), (before, after)]
                        .map(|(from, len)| (len > 0).then_some(LoadStep::Copy(from, len)));
                    let [first, last] = around;
                    lines.push(Content::Edit(first.into_iter().chain([LoadStep::Insert(piece)]).chain(last).collect()));
                    (place, resident) = (place + count, resident + count);
                }
            }
        }
    }
    lines
}

/// Cuts `items` into lists that each fit into a line of `max_line_bytes`. There is at least one list; an item that is
/// larger than a line has a list of its own.
///
/// # Errors
/// When an item is not JSON, as after a change that was made by another kind of agent.
fn pieces<'a>(id: &ContextId, items: &'a [Item], max_line_bytes: usize) -> Result<Vec<Vec<&'a RawValue>>, AgentError> {
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

    /// Follows lines as a child does.
    fn followed(resident: &[Item], lines: &[Content<'_>]) -> Vec<String> {
        let text = |value: &&RawValue| value.get().to_owned();
        let mut now: Vec<String> =
            resident.iter().map(|item| String::from_utf8(item.bytes().to_vec()).unwrap()).collect();
        for line in lines {
            match line {
                Content::Items(items) => now.extend(items.iter().map(text)),
                Content::Edit(steps) => {
                    let of = |step: &LoadStep<'_>| match step {
                        LoadStep::Copy(start, len) => now[*start..*start + *len].to_vec(),
                        LoadStep::Insert(items) => items.iter().map(text).collect(),
                    };
                    now = steps.iter().flat_map(of).collect();
                }
            }
        }
        now
    }

    #[test]
    fn an_edit_leads_to_the_items_in_one_line_or_in_many() {
        let of = |numbers: &[usize], size: usize| -> Vec<Item> {
            numbers.iter().map(|number| Item::new(format!("\"{number:0size$}\"").into_bytes())).collect()
        };
        let (resident, items) = (of(&[1, 2, 3, 4, 5, 6], 300), of(&[1, 7, 8, 9, 4, 3, 10, 11, 12], 300));
        let hashes: Vec<_> = resident.iter().map(|item| *item.hash()).collect();
        let plan = LoadPlan::Edit { base: 3, steps: super::super::edit::steps(&hashes, &items) };
        let id = ContextId::new("c").unwrap();
        let wanted = followed(&items, &[]);
        for (max_line_bytes, count) in [(1 << 20, 1), (2_048, 3), (1_024, 7)] {
            let lines = lines(&id, &plan, &items, max_line_bytes).unwrap();
            assert_eq!((followed(&resident, &lines), lines.len()), (wanted.clone(), count), "{max_line_bytes}");
        }
    }

    #[test]
    fn an_item_that_is_not_json_is_named() {
        let items = [Item::new(b"1".as_slice()), Item::new(b"{".as_slice())];
        let error = pieces(&ContextId::new("chat").unwrap(), &items, 1_024).unwrap_err();
        assert!(error.message().contains("item 1 of context `chat`"), "{error}");
    }
}
