//! How many runs were under way at once, as agents wrote them down. Pure.

use std::collections::HashMap;

use super::Event;

/// The most agents that worked at the same time.
///
/// An agent works on one task at a time: from its beginning to its effect, to an end that its task was seen to have, or to the
/// next task that it begins. Who begins and never says more died with a node: it counts until the next one is down.
pub fn most_at_once(events: &[Event]) -> u64 {
    let mut last_words = HashMap::new();
    for (place, event) in events.iter().enumerate() {
        if let Event::Started { epoch, .. } | Event::Effect { epoch, .. } = event {
            last_words.insert(epoch.holder, place);
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
            Event::NodeDown { .. } => at_work.retain(|holder, (_, begun)| last_words.get(holder) != Some(begun)),
            _ => {}
        }
    }
    most as u64
}
