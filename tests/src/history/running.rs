//! How many runs were under way at once, as agents wrote them down. Pure.

use std::collections::{HashMap, HashSet};

use super::Event;

/// The most agents that worked at the same time.
///
/// An agent works on one task at a time: from its beginning to its effect, to an observed end of its task, or to the
/// beginning of its next task. An agent without an effect died with a node: it counts until the next node is down.
/// Agents are identified by process, whose number may be reused, so the last event of a number is not decisive.
pub fn most_at_once(events: &[Event]) -> u64 {
    let (mut begun_by, mut done) = (HashMap::new(), HashSet::new());
    for (place, event) in events.iter().enumerate() {
        match event {
            Event::Started { task, epoch, .. } => drop(begun_by.insert(epoch.holder, (task, place))),
            Event::Effect { task, epoch } => {
                let begun = begun_by.remove(&epoch.holder);
                done.extend(begun.filter(|(begun, _)| *begun == task).map(|(_, place)| place));
            }
            _ => {}
        }
    }
    let mut at_work: HashMap<u64, (&str, usize)> = HashMap::new();
    let mut most = 0;
    for (place, event) in events.iter().enumerate() {
        match event {
            Event::Started { task, epoch, .. } => {
                at_work.insert(epoch.holder, (task, place));
                most = most.max(at_work.len());
            }
            Event::Effect { epoch, .. } => {
                at_work.remove(&epoch.holder);
            }
            Event::Ended { task, .. } => at_work.retain(|_, (begun, _)| begun != task),
            Event::NodeDown { .. } => at_work.retain(|_, (_, begun)| done.contains(begun)),
            _ => {}
        }
    }
    most as u64
}
