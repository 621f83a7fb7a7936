//! A policy that is observed while it decides: progress, changes with their reasons, observations.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
};

use forerunner_forecast::{Decision, Observation, Policy, ReasonCode, WhatIf};
use indicatif::ProgressBar;

/// Virtual seconds between two moves of the progress bar.
const STRIDE_S: f64 = 600.0;

/// A change of the wanted size.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Seconds since the begin.
    pub t: f64,
    /// Agents wanted before.
    pub before: u32,
    /// Agents wanted now.
    pub desired: u32,
    /// Why, for programs.
    pub reason: ReasonCode,
    /// Why, for people.
    pub detail: String,
}

/// A policy that is watched. Decides as the policy inside does.
pub struct PolicyRecorder<'a> {
    policy: Box<dyn Policy>,
    bar: &'a ProgressBar,
    reported_s: f64,
    desired: Option<u32>,
    changes: Option<Vec<Change>>,
    file: Option<BufWriter<File>>,
    failed: io::Result<()>,
}

impl<'a> PolicyRecorder<'a> {
    /// Observes a policy; `changes` is whether to record its changes.
    pub fn new(policy: Box<dyn Policy>, bar: &'a ProgressBar, changes: bool) -> Self {
        Self {
            policy,
            bar,
            reported_s: 0.0,
            desired: None,
            changes: changes.then(Vec::new),
            file: None,
            failed: Ok(()),
        }
    }

    /// Also writes each observation to a file, one JSON object a line.
    pub fn write_to(&mut self, file: BufWriter<File>) {
        self.file = Some(file);
    }

    /// Ends the watch of a trace of `span_s` seconds and returns what was changed.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn finish(mut self, span_s: f64) -> io::Result<Vec<Change>> {
        self.bar.inc((span_s - self.reported_s).max(0.0) as u64);
        self.failed?;
        self.file.as_mut().map_or(Ok(()), Write::flush)?;
        Ok(self.changes.unwrap_or_default())
    }

    fn note(&mut self, t: f64, decision: &Decision) {
        let Some(changes) = &mut self.changes else { return };
        let before = self.desired.replace(decision.desired);
        if let Some(before) = before.filter(|before| *before != decision.desired) {
            let Decision { desired, reason, .. } = *decision;
            changes.push(Change { t, before, desired, reason, detail: decision.detail.clone() });
        }
    }

    fn write(&mut self, seen: &Observation) {
        let Some(file) = &mut self.file else { return };
        let written = serde_json::to_writer(&mut *file, seen).map_err(io::Error::from).and_then(|()| writeln!(file));
        if written.is_err() {
            self.file = None;
            self.failed = written;
        }
    }
}

impl Policy for PolicyRecorder<'_> {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn interval_s(&self) -> f64 {
        self.policy.interval_s()
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        if seen.t - self.reported_s >= STRIDE_S {
            self.bar.inc((seen.t - self.reported_s) as u64);
            self.reported_s = seen.t;
        }
        self.write(seen);
        let decision = self.policy.decide(seen);
        self.note(seen.t, &decision);
        decision
    }

    fn band_coverage(&self) -> Option<f64> {
        self.policy.band_coverage()
    }

    fn what_if(&self, shares: &[f64]) -> Vec<WhatIf> {
        self.policy.what_if(shares)
    }

    fn save(&self) -> Option<String> {
        self.policy.save()
    }

    fn restore(&mut self, saved: &str, away_s: f64) -> bool {
        self.policy.restore(saved, away_s)
    }
}
