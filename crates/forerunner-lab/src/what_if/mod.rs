//! What other objectives would have cost a pool: its own last day, replayed.
//!
//! The engine alone: it reads nothing, and knows no thread and no clock. The caller reads the tasks, and decides when
//! to stop.

mod history;
mod prices;

pub use history::{History, MOST_TASKS, Run};
pub use prices::{Price, Prices, prices};
