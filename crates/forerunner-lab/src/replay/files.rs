//! Files that a replay writes.

use std::{fmt::Write, fs, path::Path};

use anyhow::Context;
use forerunner_sim::TimelinePoint;

/// Writes `t,desired`, a line for each decision.
pub fn timeline(path: &Path, points: &[TimelinePoint]) -> anyhow::Result<()> {
    let mut text = String::from("t,desired\n");
    for point in points {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{},{}", point.t, point.desired);
    }
    write(path, &text)
}

/// Writes a file anew.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}
