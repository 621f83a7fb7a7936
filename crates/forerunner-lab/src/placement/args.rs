//! The arguments of the command.

use std::path::PathBuf;

use clap::Args;
use forerunner_core::placement::{RestoreCost, Room};
use forerunner_sim::{PlacementPolicy, PlacementReplay};

use crate::parse::seconds;

const AFTER_HELP: &str = "\
TRACE is CSV, plain or in gzip, with the columns arrival_s,service_s and, if known, session; FILE goes with it row by row
and has arrival_s,session,blocks,shared_blocks (context size in blocks, and how many of the first are those of the session's
last task) or arrival_s,hash_ids (the blocks' ids; one stands for its block and all before it).

The model: an agent does one task at a time and keeps the contexts it used last; a task first brings what its agent lacks.
HIT is the share of the contexts' bytes that was there, OF LIMIT the same against memory without end, LOST the mean time
from a task's arrival until its own work begins. `node-shared` is one store of as many bytes for all agents.

Examples:
  forerunner placement day.csv.gz --blocks day.blocks.csv.gz --agents 12 --cache 4MB --restore 2,10
  forerunner placement day.csv --blocks day.blocks.csv --policy ours --policy sticky --tasks 10000 --output json";

/// What to replay, and how.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct PlacementArgs {
    /// When tasks arrived, and how long each took.
    #[arg(value_name = "TRACE")]
    pub trace: PathBuf,
    /// The blocks of their contexts.
    #[arg(long, value_name = "FILE")]
    pub blocks: PathBuf,
    /// Agents.
    #[arg(long, default_value_t = 12, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub agents: u32,
    /// Room of each agent for contexts, such as 500kB or 4MB.
    #[arg(long, default_value = "4MB", value_name = "BYTES", value_parser = bytes)]
    pub cache: u64,
    /// Room of each agent in contexts instead, however large, as agents that are processes count it.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "cache")]
    pub contexts: Option<u32>,
    /// Seconds to restore a megabyte (10⁶ bytes) into an agent; several are replayed one by one.
    #[arg(long, value_delimiter = ',', default_value = "2,10", value_name = "S_PER_MB", value_parser = rate)]
    pub restore: Vec<f64>,
    /// Time of any restore, however small.
    #[arg(long, default_value = "5ms", value_name = "DURATION", value_parser = seconds)]
    pub restore_fixed: f64,
    /// A policy; default: all of them. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub policy: Vec<PlacementPolicy>,
    /// At most one task of a session runs at any time, as in a service; otherwise as recorded.
    #[arg(long)]
    pub one_of_a_session: bool,
    /// Only so many tasks from the begin.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub tasks: Option<u32>,
    /// Size of a block; default: 256 bytes for counts and 2048 for ids.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub block: Option<u64>,
    /// Writes a Markdown table between the markers `<!-- placement:begin -->` and `<!-- placement:end -->` of a file.
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
}

impl PlacementArgs {
    /// The selected policies, with whether the agents share one store: `ours` both ways, the others each separately.
    pub fn runs(&self) -> Vec<(PlacementPolicy, PlacementReplay)> {
        let asked = if self.policy.is_empty() { PlacementPolicy::ALL.to_vec() } else { self.policy.clone() };
        let mut runs = Vec::new();
        for s_per_mb in &self.restore {
            runs.extend(asked.iter().map(|policy| (*policy, self.settings(*s_per_mb, false))));
            if asked.contains(&PlacementPolicy::Ours) {
                runs.push((PlacementPolicy::Ours, self.settings(*s_per_mb, true)));
            }
        }
        runs
    }

    fn settings(&self, s_per_mb: f64, shared_store: bool) -> PlacementReplay {
        PlacementReplay {
            agents: self.agents,
            room: self.contexts.map_or(Room::of_bytes(self.cache), |count| Room::of_contexts(count.into())),
            shared_store,
            restore: RestoreCost { fixed_s: self.restore_fixed, s_per_byte: s_per_mb / 1e6 },
            one_of_a_context: self.one_of_a_session,
        }
    }
}

/// Reads `500`, `500B`, `500kB`, `4MB` or `2GB`.
fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "B" => Some(1.0),
        "kB" | "KB" | "k" => Some(1e3),
        "MB" | "M" => Some(1e6),
        "GB" | "G" => Some(1e9),
        _ => None,
    };
    let size = factor.and_then(|factor| Some(number.parse::<f64>().ok()? * factor));
    let whole = size.filter(|size| (1.0..=1e15).contains(size)).map(|size| size.round() as u64);
    whole.ok_or_else(|| "write a size of at least one byte, such as 500kB or 4MB".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse().ok().filter(|rate: &f64| (0.0..=1e6).contains(rate));
    rate.ok_or_else(|| "write seconds a megabyte, such as 0.02 or 10".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PlacementArgs,
    }

    fn read(line: &[&str]) -> PlacementArgs {
        let line = ["placement", "t.csv", "--blocks", "b.csv"].iter().chain(line);
        Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).args
    }

    #[test]
    fn every_policy_is_run_at_every_rate_and_ours_also_with_a_shared_store() {
        assert_eq!(read(&[]).runs().len(), 2 * 7);
        let runs = read(&["--policy", "sticky", "--restore", "1,2,3", "--cache", "0.6MB"]).runs();
        assert_eq!((runs.len(), runs[2].1.room), (3, Room::of_bytes(600_000)));
        assert_eq!(read(&["--contexts", "8"]).runs()[0].1.room, Room::of_contexts(8));
        assert!((runs[2].1.restore.s_per_byte - 3e-6).abs() < 1e-18);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(["7", "2kB", "1.5MB", "3 GB"].map(bytes), [Ok(7), Ok(2_000), Ok(1_500_000), Ok(3_000_000_000)]);
        assert!(["", "0", "-1", "MB", "1e9", "3 acres", "99999999GB", "1..2MB"].map(bytes).iter().all(Result::is_err));
        assert!(["-1", "NaN", "inf", "x"].map(rate).iter().all(Result::is_err));
    }
}
