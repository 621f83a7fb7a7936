//! What keeps a store from cleaning up after itself.

/// What a store saw when it last looked after its tables.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VacuumStatus {
    /// Rows that are dead and not removed yet, by table, as far as the database has counted: those that change with every task.
    pub dead_rows: Vec<(&'static str, u64)>,
    /// What they are kept for, if anything was there at two looks.
    pub holder: Option<OldestTransaction>,
    /// Size of the write-ahead log beside the file, in bytes; none of a store without one.
    pub log_bytes: Option<u64>,
}

/// What makes a database keep dead rows: the oldest of all that do.
#[derive(Debug, Clone, PartialEq)]
pub struct OldestTransaction {
    /// What it is: `session 4711`, `prepared transaction nightly`, `replication slot standby`.
    pub name: String,
    /// What its program calls itself; empty if it does not say, or is none.
    pub program: String,
    /// As whom it is there; empty for a slot.
    pub role: String,
    /// What it does, such as `idle in transaction`; empty if that is hidden from this role.
    pub state: String,
    /// For how long its transaction has been open, or, where the database does not tell, for how long it has been seen; in
    /// seconds.
    pub seconds: f64,
    /// The statement that ends it.
    pub remedy: String,
}
