//! The checker: events in, violations out. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Counts, Epoch, Event, Invariant, Violation};

/// Checks a whole history against the invariants.
///
/// # Errors
/// Every violation, in the order of the invariants, with the most relevant events first.
pub fn check(events: &[Event]) -> Result<Counts, Vec<Violation>> {
    let mut tasks: BTreeMap<&str, Story<'_>> = BTreeMap::new();
    let mut found = Vec::new();
    for event in events {
        match event {
            Event::Acked { task, .. }
            | Event::Started { task, .. }
            | Event::Effect { task, .. }
            | Event::Ended { task, .. }
            | Event::Open { task, .. } => tasks.entry(task).or_default().add(event),
            Event::Counted { what, count, limit } if count > limit => {
                found.push(violation(Invariant::Bounds, format!("{count} {what}, {limit} at most"), [event]));
            }
            Event::Depth { pool, metric, rows } if metric != rows => {
                let why = format!("pool {pool} says {metric} wait, and {rows} do");
                found.push(violation(Invariant::Depth, why, [event]));
            }
            Event::Orphan { pid, .. } => {
                found.push(violation(Invariant::Orphans, format!("process {pid} outlived its node"), [event]));
            }
            _ => {}
        }
    }
    found.extend(broken_keys(events, &tasks));
    found.extend(repeated_runs(events));
    found.extend(tasks.iter().flat_map(|(task, story)| story.judge(task)));
    found.sort_by_key(|violation| violation.invariant);
    if found.is_empty() { Ok(count(&tasks)) } else { Err(found) }
}

fn violation<'a>(
    invariant: Invariant,
    why: impl Into<String>,
    events: impl IntoIterator<Item = &'a Event>,
) -> Violation {
    Violation { invariant, why: why.into(), events: events.into_iter().cloned().collect() }
}

/// Everything about one task, in order.
#[derive(Default)]
struct Story<'a> {
    acked: Vec<&'a Event>,
    started: Vec<(Epoch, &'a Event)>,
    ended: Vec<&'a Event>,
    open: Vec<&'a Event>,
}

impl<'a> Story<'a> {
    fn add(&mut self, event: &'a Event) {
        match event {
            Event::Acked { .. } => self.acked.push(event),
            Event::Started { epoch, .. } => self.started.push((*epoch, event)),
            Event::Ended { .. } => self.ended.push(event),
            Event::Open { .. } => self.open.push(event),
            _ => {}
        }
    }

    fn judge(&self, task: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        let ends: BTreeSet<String> = self.ended.iter().map(ToString::to_string).collect();
        match ends.len() {
            0 if !self.acked.is_empty() => {
                let why = match self.open.last() {
                    Some(Event::Open { state, .. }) => format!("task {task} has no end, it is {state}"),
                    _ => format!("task {task} was acknowledged and is lost"),
                };
                found.push(violation(Invariant::OneEnd, why, self.acked.iter().chain(&self.open).copied()));
            }
            0 | 1 => {}
            _ => found.push(self.two_ends(task)),
        }
        found.extend(self.ended.last().and_then(|end| self.stale_result(task, end)));
        found
    }

    /// Returns the invariant that two different ends violate.
    fn two_ends(&self, task: &str) -> Violation {
        let epochs: HashSet<Epoch> = self.ended.iter().filter_map(|end| accepted(end)).collect();
        let results = self.ended.iter().filter(|end| accepted(end).is_some()).count();
        let (invariant, what) = match (epochs.len(), results) {
            (2.., _) => (Invariant::OneLease, "results of two leases"),
            (1, 2..) => (Invariant::OneResult, "two results of one lease"),
            _ => (Invariant::OneEnd, "two ends"),
        };
        let mut seen = HashSet::new();
        let different = self.ended.iter().copied().filter(|end| seen.insert(*end));
        violation(invariant, format!("task {task} was seen with {what}"), different)
    }

    /// A result whose lease is not the newest one with a run, or does not exist.
    fn stale_result(&self, task: &str, end: &'a Event) -> Option<Violation> {
        let accepted = accepted(end)?;
        let Some(place) = self.started.iter().rposition(|(epoch, _)| *epoch == accepted) else {
            let runs = self.started.iter().map(|(_, event)| *event);
            let why = format!("the result of task {task} is of a run that never was");
            return Some(violation(Invariant::Runs, why, runs.chain([end])));
        };
        let newer = |place: usize, epoch: Epoch| (epoch.number, place);
        let newest = self.started.iter().enumerate().max_by_key(|(place, (epoch, _))| newer(*place, *epoch));
        let (last, (_, begun)) = newest?;
        let why = format!("task {task} was begun anew after the lease whose result it has");
        (last != place).then(|| violation(Invariant::NewestResult, why, [self.started[place].1, *begun, end]))
    }
}

/// The lease whose result was accepted.
const fn accepted(end: &Event) -> Option<Epoch> {
    match end {
        Event::Ended { epoch, .. } => *epoch,
        _ => None,
    }
}

/// A key with two tasks, two keys with one task, and tasks without a submission.
fn broken_keys<'a>(events: &'a [Event], tasks: &BTreeMap<&str, Story<'a>>) -> Vec<Violation> {
    let (mut by_key, mut by_task) = (HashMap::new(), HashMap::new());
    let mut found = Vec::new();
    for event in events {
        let Event::Acked { key, task } = event else { continue };
        let (_, first) = *by_key.entry(key.as_str()).or_insert((task, event));
        let (other_key, other) = *by_task.entry(task.as_str()).or_insert((key, event));
        if by_key[key.as_str()].0 != task {
            found.push(violation(Invariant::Keys, format!("key {key} made two tasks"), [first, event]));
        } else if other_key != key {
            found.push(violation(Invariant::Keys, format!("two keys made task {task}"), [other, event]));
        }
    }
    let unanswered = |event: &&Event| matches!(event, Event::Unanswered { key } if !by_key.contains_key(key.as_str()));
    let allowed = events.iter().filter(unanswered).collect::<HashSet<_>>().len();
    let nobodys: Vec<_> = tasks.iter().filter(|(_, story)| story.acked.is_empty()).collect();
    if nobodys.len() > allowed {
        let why = format!("{} tasks that nobody was told of, and {allowed} unanswered submissions", nobodys.len());
        let shown = nobodys.iter().flat_map(|(_, story)| story.ended.iter().chain(&story.open).take(1).copied());
        found.push(violation(Invariant::Keys, why, shown.take(10)));
    }
    found
}

/// Leases that were worked on twice while their node lived.
fn repeated_runs(events: &[Event]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut this_life: HashMap<(&str, &str, u64), &Event> = HashMap::new();
    for event in events {
        match event {
            Event::NodeDown { node } => this_life.retain(|(known, ..), _| known != node),
            Event::Started { task, epoch, node } => {
                if let Some(first) = this_life.insert((node, task, epoch.number), event) {
                    let why = format!("lease {} of task {task} was worked on twice in one life", epoch.number);
                    found.push(violation(Invariant::Runs, why, [first, event]));
                }
            }
            _ => {}
        }
    }
    found
}

fn count(tasks: &BTreeMap<&str, Story<'_>>) -> Counts {
    let mut counts = Counts::default();
    for story in tasks.values() {
        counts.acknowledged += usize::from(!story.acked.is_empty());
        counts.runs += story.started.len();
        let leases: HashSet<u64> = story.started.iter().map(|(epoch, _)| epoch.number).collect();
        counts.forgotten += story.started.len() - leases.len();
        if let Some(Event::Ended { state, .. }) = story.ended.last() {
            counts.ended += 1;
            counts.succeeded += usize::from(state == "succeeded");
            counts.dead += usize::from(state == "dead");
        }
    }
    counts
}
