//! Reading recorded tasks in the forms that people have: CSV, JSON, OTLP spans and access logs.
//!
//! A reader of one format turns each record into cells; the collector turns cells into tasks, and counts the records
//! that it cannot use. Memory grows with the tasks alone: records are read one by one, and have a greatest length.

mod access_log;
mod args;
mod bad_rows;
mod cells;
mod collector;
mod csv;
mod format;
mod json;
mod lines;
mod mapping;
mod otlp;
mod quote;
mod source;
mod suggest;
mod times;

use std::path::Path;

use forerunner_console::Usage;
use forerunner_sim::Trace;

pub use self::args::ImportArgs;
use self::{
    collector::{Collector, Recording},
    format::Format,
    source::Source,
};

/// A trace, and what is worth knowing about how it was read.
#[derive(Debug)]
pub struct ImportedTrace {
    /// The tasks.
    pub trace: Trace,
    /// Messages for people.
    pub notes: Vec<String>,
    /// Seconds from 1970 to the begin of the trace, where its times were of the calendar.
    pub began_s: Option<f64>,
}

/// Reads a trace from a file, or from standard input for `-`.
///
/// # Errors
/// [`Usage`] names the source, the line, the column and the remedy.
pub fn read(path: &Path, args: &ImportArgs) -> Result<ImportedTrace, Usage> {
    let source = Source::open(path).map_err(Usage)?;
    import(source, args).map_err(Usage)
}

fn import(source: Source, args: &ImportArgs) -> Result<ImportedTrace, String> {
    let format = match args.format {
        Some(format) => format,
        None => Format::guess(source.head()).map_err(|why| format!("trace `{}`: {why}", source.place()))?,
    };
    let name = source.name();
    let collector = Collector::new(source.place(), args.skip_bad);
    let collector = match format {
        Format::Csv => csv::read(source, &args.mapping(), collector),
        Format::Json => json::read(source, &args.mapping(), collector),
        Format::Otlp => otlp::read(source, &args.mapping(), args.span.as_deref(), collector),
        Format::AccessLog => access_log::read(source, &args.mapping(), collector),
    }?;
    let Recording { tasks, notes, began_s } = collector.finish()?;
    let trace = Trace::new(name, tasks).map_err(|error| error.to_string())?;
    Ok(ImportedTrace { trace, notes, began_s })
}

#[cfg(test)]
mod tests;
