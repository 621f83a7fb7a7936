//! The errors of reading a trace.

use std::{io, path::PathBuf};

/// A trace that cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("cannot read trace `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The message of the system.
        source: io::Error,
    },
    /// A column is missing.
    #[error("trace `{}`, line 1: column `{column}` is missing from the header `{header}`; name the columns arrival_s,service_s and, if known, context_tokens,output_tokens,session,announced_s", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The missing column.
        column: &'static str,
        /// The header found.
        header: String,
    },
    /// A value cannot be used.
    #[error("trace `{}`, line {line}: `{column}` is `{value}`; write {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// The value of the cell.
        value: String,
        /// What should.
        expected: &'static str,
    },
    /// A line is not CSV.
    #[error("trace `{}`: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        source: csv::Error,
    },
    /// A file of blocks cannot be opened or read.
    #[error("cannot read blocks `{}`: {source}", path.display())]
    ReadBlocks {
        /// The file.
        path: PathBuf,
        /// The message of the system.
        source: io::Error,
    },
    /// A file of blocks lacks a column.
    #[error("blocks `{}`, line 1: column `{column}` is missing from the header `{header}`; name the columns arrival_s,session,blocks,shared_blocks or arrival_s,hash_ids", path.display())]
    BlockColumn {
        /// The file.
        path: PathBuf,
        /// The missing column.
        column: &'static str,
        /// The header found.
        header: String,
    },
    /// A row of a file of blocks is of another task than the row of the trace.
    #[error("blocks `{}`, line {line}: arrival `{value}` is not that of the trace `{trace}`, {arrival_s}; give the blocks row by row with the trace, sorted by arrival", path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// Line in the file, from 1.
        line: u64,
        /// The value of the cell.
        value: String,
        /// Name of the trace.
        trace: String,
        /// The value in the trace.
        arrival_s: f64,
    },
    /// A file of blocks has not one row for each task.
    #[error("blocks `{}`: {rows} for a trace of {tasks} tasks; give one row for each task", path.display())]
    RowCount {
        /// The file.
        path: PathBuf,
        /// How many rows it has.
        rows: String,
        /// How many tasks the trace has.
        tasks: usize,
    },
    /// The file has a header and nothing below it, or not even that.
    #[error("trace `{}` has no tasks; write a line `arrival_s,service_s` and below it one line a task", path.display())]
    NoTasks {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to replay.
    #[error("trace `{name}` has no tasks between {from_s} s and {to_s} s; choose another slice")]
    Empty {
        /// The trace.
        name: String,
        /// Begin of the slice.
        from_s: f64,
        /// End of the slice.
        to_s: f64,
    },
}

impl Error {
    /// Whether the same call may succeed later without the file being changed.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::ReadBlocks { .. })
    }
}
