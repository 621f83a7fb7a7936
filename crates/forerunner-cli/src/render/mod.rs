//! What the service answers, for people: what several commands show in the same way.

pub mod reason;
pub mod task;
