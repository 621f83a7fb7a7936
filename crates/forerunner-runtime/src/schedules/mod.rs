//! Schedules: the node's view of them, the actor that submits their tasks in time, and the calls on them.

mod actor;
mod advance;
mod book;
mod handle;
mod patch;
mod status;

pub(crate) use actor::ScheduleActor;
pub(crate) use book::ScheduleBook;
pub use patch::SchedulePatch;
pub use status::ScheduleStatus;
