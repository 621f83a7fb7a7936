//! Taking samples of several contenders in turns.

use std::thread;

use crate::Error;

/// How far a measurement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Samples taken.
    pub done: usize,
    /// Samples to take in all.
    pub total: usize,
    /// What is measured now.
    pub what: &'static str,
}

/// A contender: it measures one sample and returns its figures.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    sample: Box<dyn Fn() -> Result<Vec<f64>, Error>>,
}

/// What a contender reached, round by round.
pub(crate) struct Samples {
    name: &'static str,
    rounds: Vec<Vec<f64>>,
}

impl Contender {
    /// A contender whose samples are taken on a thread of their own, so that no sample inherits a runtime.
    pub(crate) fn new(
        name: &'static str,
        sample: impl Fn() -> Result<Vec<f64>, Error> + Clone + Send + 'static,
    ) -> Self {
        let on_own_thread = move || {
            // Named, so that a profiler distinguishes the contenders.
            let thread = thread::Builder::new().name(name.to_owned()).spawn(sample.clone())?;
            thread.join().map_err(|_| Error::Panicked)?
        };
        Self { name, sample: Box::new(on_own_thread) }
    }
}

/// Measures all contenders in turns: neighbours see the same machine. The order turns around from round to round, so
/// that no contender always runs after the same one.
pub(crate) fn measure(
    contenders: &[Contender],
    repetitions: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Samples>, Error> {
    let total = repetitions * contenders.len();
    let mut samples: Vec<_> =
        contenders.iter().map(|contender| Samples { name: contender.name, rounds: Vec::new() }).collect();
    for round in 0..repetitions {
        for step in 0..contenders.len() {
            let index = if round % 2 == 0 { step } else { contenders.len() - 1 - step };
            let done = round * contenders.len() + step;
            progress(Progress { done, total, what: contenders[index].name });
            samples[index].rounds.push((contenders[index].sample)()?);
        }
    }
    progress(Progress { done: total, total, what: "" });
    Ok(samples)
}

impl Samples {
    /// Returns one of the figures, round by round.
    pub(crate) fn figure(&self, index: usize) -> Vec<f64> {
        self.rounds.iter().filter_map(|figures| figures.get(index).copied()).collect()
    }
}

/// Finds the samples of a contender.
pub(crate) fn of<'a>(samples: &'a [Samples], name: &str) -> &'a Samples {
    samples.iter().find(|samples| samples.name == name).expect("a row names a contender of its own list")
}
