//! A task with an unreadable row, before it is set aside.

use std::fmt;

use uuid::Uuid;

/// A task whose row was read and cannot be understood.
#[derive(Debug, Clone)]
pub(crate) struct Unread {
    pub id: Uuid,
    /// Why it cannot be read.
    pub reason: String,
    /// It is set aside even while it runs: its lease was just given out, or is just being ended.
    pub even_running: bool,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the task {} cannot be read: {}", self.id, self.reason)
    }
}
