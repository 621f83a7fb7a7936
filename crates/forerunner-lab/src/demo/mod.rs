//! What `forerunner demo` shows: a day of production under every rule in virtual time; then two pools of one service with
//! the same tasks, live; then an agent that is killed. And its figures.
//!
//! The [`Service`] that runs it belongs to the program.

mod chart;
mod confirm;
mod conversation;
mod frame;
mod live;
mod load;
mod report;
mod side;
mod submit;
mod virtual_day;

pub use confirm::{confirm, fixed, least_fixed};
pub use conversation::{Conversation, converse};
pub use frame::{Emphasis, FrameLine, ScreenContent, frame, plain_line};
pub use live::{LivePart, PoolRole, Service, Submission, View, live};
pub use load::{HISTORY_S, Load, LoadShape};
pub use report::{DemoReport, RunConditions, RunStats, lateness, table};
pub use side::{DemoSample, PoolSample, lead_s};
pub use submit::Submissions;
pub use virtual_day::{DAY_COLD_START_S, DAY_NAME, VirtualDay};
