//! Faults, and what is true in spite of them. `FORERUNNER_FULL=1` selects the full counts; `docs/reliability.md` has
//! the list.

mod agent_kills;
mod cancels;
mod cluster;
mod disk_errors;
mod full_disk;
mod load;
mod node_kills;
mod nodes;
mod outage;
mod poison;
mod soak;
mod terminations;
