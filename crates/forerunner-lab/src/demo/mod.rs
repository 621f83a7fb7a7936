//! What `forerunner demo` replays, and how it measures: the slice of a trace, the open loop that submits it, the live
//! view, the same slice under other rules in virtual time, and the final figures.
//!
//! The [`Service`] that runs it belongs to the program.

mod compare;
mod learn;
mod live;
mod report;
mod submit;
mod trace;
mod view;

pub use compare::compare;
pub use learn::{Learned, learn};
pub use live::{Live, Service, live};
pub use report::{Figures, Run, Waits, lateness, render_table, to_json};
pub use submit::Submissions;
pub use trace::{Cut, NAME, Slice};
