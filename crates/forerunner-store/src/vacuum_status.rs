//! What prevents a store from removing dead rows.

/// What a store found at its last vacuum.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VacuumStatus {
    /// Rows that are dead and not removed yet, by table, as far as the database has counted: those that change with every task.
    pub dead_rows: Vec<(&'static str, u64)>,
    /// What they are needed for, if two checks found the same.
    pub holder: Option<OldestTransaction>,
    /// Size of the write-ahead log beside the file, in bytes; `None` for a store without one.
    pub log_bytes: Option<u64>,
}

/// The reason why a database retains dead rows: the oldest of all.
#[derive(Debug, Clone, PartialEq)]
pub struct OldestTransaction {
    /// What it is: `session 4711`, `prepared transaction nightly`, `replication slot standby`.
    pub name: String,
    /// The name of its program; empty if there is none.
    pub program: String,
    /// Its role; empty for a slot.
    pub role: String,
    /// What it does, such as `idle in transaction`; empty if that is hidden from this role.
    pub state: String,
    /// For how long its transaction has been open in seconds, or for how long it has been seen, where the database does
    /// not show that.
    pub seconds: f64,
    /// The statement that ends it.
    pub remedy: String,
}
