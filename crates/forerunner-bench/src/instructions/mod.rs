//! Instructions that a task or a request needs, counted by callgrind.
//!
//! A count does not depend on other load of the machine. The figure of one task is the difference of two runs divided by the
//! difference of their numbers of tasks: what a start and a stop cost falls out.

mod callgrind;
mod load;

use self::callgrind::Counter;
pub use self::load::Load;
use crate::{
    Error, Options,
    report::{Budget, Report, Row, Unit},
    rounds::Progress,
};

/// The loads that are counted, their references and their budgets.
const ROWS: [(&str, Load, Load, Option<Budget>); 4] = [
    ("typed task, memory store", Load::Tasks, Load::Dispatcher, Some(Budget::AtMost(4_200.0))),
    ("HTTP submission, accepted", Load::Submit, Load::Echo, Some(Budget::AtMost(48_000.0))),
    ("HTTP submission, result waited for", Load::SubmitAndWait, Load::Echo, None),
    ("HTTP submission, accepted on disk", Load::SubmitOnDisk, Load::Echo, None),
];

/// Counts the instructions in user space that a task and a request need, beside those of bare references.
///
/// `options.program` is started below callgrind with the arguments `bench load KIND COUNT`, which call [`Load::run`].
///
/// # Errors
/// [`Error::Missing`] without valgrind; otherwise when something does not work.
pub fn instructions(options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<Report, Error> {
    let counter = Counter::new(options)?;
    let loads = [Load::Tasks, Load::Dispatcher, Load::Submit, Load::SubmitAndWait, Load::SubmitOnDisk, Load::Echo];
    let mut counts = Vec::with_capacity(loads.len());
    let total = loads.len() * options.repetitions;
    for (index, load) in loads.into_iter().enumerate() {
        let mut samples = Vec::with_capacity(options.repetitions);
        for round in 0..options.repetitions {
            progress(Progress { done: index * options.repetitions + round, total, what: load.name() });
            samples.push(counter.each(load)?);
        }
        counts.push((load, samples));
    }
    progress(Progress { done: total, total, what: "" });
    let of = |load: Load| -> &[f64] {
        let found = counts.iter().find(|(counted, _)| *counted == load);
        found.map_or(&[], |(_, samples)| samples)
    };
    let rows = ROWS.iter().map(|&(what, ours, reference, budget)| {
        let row = Row::compare(what, Unit::Instructions, of(ours), reference.label(), of(reference));
        match budget {
            Some(budget) => row.with_budget(budget),
            None => row,
        }
    });
    let notes = vec![
        "Instructions in user space, by callgrind: two runs, their difference over the difference of their counts."
            .to_owned(),
        "A task runs on one thread. A server has one serving thread, and its actors a thread of their own.".to_owned(),
    ];
    Ok(Report::new("instructions", options, rows.collect(), notes))
}
