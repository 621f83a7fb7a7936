//! What `forerunner demo` replays, and how it is counted: the slice of a trace, the open loop that submits it, the same
//! slice under other rules in virtual time, and the closing figures.
//!
//! The service that lives through it is the program's.

mod compare;
mod learn;
mod report;
mod submit;
mod trace;

pub use compare::compare;
pub use learn::{Learned, learn};
pub use report::{Figures, Run, Waits, count_live, lateness, render_table, to_json, wait_s};
pub use submit::{Submissions, submit_all};
pub use trace::{Cut, NAME, Slice};
