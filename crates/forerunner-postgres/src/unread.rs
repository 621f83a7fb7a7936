//! A task with an unreadable row, before it is set aside.

use forerunner_store::backend::Damage;
use uuid::Uuid;

/// A task whose row was read and cannot be understood.
#[derive(Debug, Clone)]
pub(crate) struct Unread {
    pub damage: Damage,
    pub id: Uuid,
    /// It is set aside even while it runs: its lease was just given out, or is just being ended.
    pub even_running: bool,
}
