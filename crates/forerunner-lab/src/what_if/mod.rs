//! The cost of other objectives for a pool: its own last day, replayed.
//!
//! This is only the engine: it reads nothing, and uses no thread and no clock. The caller reads the tasks, and decides
//! when to stop.

mod history;
mod prices;

pub use history::{History, MOST_TASKS, Run};
pub use prices::{Price, Prices, prices};
