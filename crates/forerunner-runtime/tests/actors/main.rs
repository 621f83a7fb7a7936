//! The actors, driven by the test kit on a virtual clock.

mod announced;
mod clock;
mod cluster;
mod contexts;
mod expected_panics;
mod faults;
mod foreign_text;
mod isolated;
mod kept_open;
mod learning;
mod moves;
mod outage;
mod parents;
mod placement;
mod prefetch;
mod queue;
mod quota;
mod retention;
mod scaling;
mod schedules;
mod start_concurrency;
mod supervision;
mod suspects;
mod tenants;
mod unconfigured;
mod waiting;
