//! What an idle agent costs in memory.

use forerunner::{Runtime, ThreadPlacement};

use crate::{Error, ours};

/// Agents that are started: enough that what else a runtime needs counts for little.
const AGENTS: u32 = 8_192;

/// Starts agents that have no state of their own. Returns by how many bytes each makes the process larger: its actor, its
/// mailbox, and what its pool knows of it.
pub(crate) fn bytes_each() -> Result<f64, Error> {
    let before = resident_bytes()?;
    actix_rt::System::new().block_on(async {
        let builder = Runtime::builder().placement(ThreadPlacement::Current);
        let ours = ours::start_pool(builder, ours::pool().size(AGENTS..=AGENTS), AGENTS).await?;
        let grown = resident_bytes()?.saturating_sub(before);
        ours.runtime.shutdown().await;
        Ok(grown as f64 / f64::from(AGENTS))
    })
}

/// The memory of this process, as Linux counts it.
fn resident_bytes() -> Result<u64, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    Ok(kib.unwrap_or_default() * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_this_process_is_read() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
