//! Faults of several nodes on one PostgreSQL, and of what is between them.

mod database;
mod keys;
mod kills;
mod migrations;
mod pauses;
mod ramp;
mod restarts;
mod rig;
