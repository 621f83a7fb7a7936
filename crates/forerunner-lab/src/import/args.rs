//! How a recording is to be read, as asked for.

use clap::Args;

use super::{format::Format, mapping::Mapping};

/// How to read what is no trace of Forerunner's own.
#[derive(Debug, Clone, Default, Args)]
pub struct ImportArgs {
    /// The form of the traces; default: guessed from their content.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Which columns or JSON members have what: `arrival`, `start`, `end`, `duration`, `session`, `tokens`,
    /// `output_tokens`, `announced`. Times are ISO 8601 or epoch numbers. A unit may follow a name: `took:ms`.
    #[arg(long, value_name = "KEY=COLUMN,…")]
    pub map: Option<Mapping>,
    /// Only spans of this name, of OTLP spans.
    #[arg(long, value_name = "NAME")]
    pub span: Option<String>,
    /// Leaves out all rows that cannot be used, however many. Otherwise at most 1 % may be left out.
    #[arg(long)]
    pub skip_bad: bool,
}

impl ImportArgs {
    /// The mapping that was asked for; empty if none was.
    pub fn mapping(&self) -> Mapping {
        self.map.clone().unwrap_or_default()
    }
}
