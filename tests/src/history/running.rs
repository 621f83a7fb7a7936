//! How many runs were under way at once, as agents wrote them down. Pure.

use std::collections::{HashMap, HashSet};

use super::Event;

/// The most agents that worked at the same time.
///
/// An agent works on one task at a time: from its beginning to its effect, to an end that its task was seen to have, or to the
/// next task that it begins. Who begins and does not come to the effect died with a node: it counts until the next one is down. An
/// agent is known by its process, whose number another one may get later, so that it is not what a number says last that counts.
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
