//! Faults of several nodes on one PostgreSQL, and of what is between them.

mod clocks;
mod database;
mod keys;
mod kills;
mod listeners;
mod losses;
mod migrations;
mod outage;
mod pauses;
mod ramp;
mod restarts;
mod rig;
mod schedules;
