//! The rig of the end-to-end tests: the real `forerunner` program, from outside.
//!
//! A [`Site`] is a directory with a configuration and a store, which outlives the [`Service`]s that are started on it,
//! killed and started again. [`Client`] speaks to a service as any other program would, [`Program`] runs the other
//! subcommands. What agents did is known from their own [`Effects`] file, so that a run that the store knows nothing of
//! is seen all the same; [`History`] compares the two and names what was broken. [`Nodes`] are several services on one
//! store, [`Proxy`] is a network that fails, [`Site::serve_under`] a disk that does, and [`SetClock`] a clock that
//! is wrong. A [`Browser`] is a real one, without a window. [`Marker`] finds every process that belongs to a site.
//!
//! What is started is stopped, also when a test panics: each guard kills what it owns when it is dropped. Everything
//! stays on the loopback interface and in temporary directories, and every wait has an end.

mod binary;
mod browser;
mod client;
mod clock;
mod coding_agent;
mod effects;
mod eventually;
mod history;
mod metrics;
mod model;
mod nodes;
// The same server that the tests of the store start.
#[path = "../../crates/forerunner-postgres/tests/pg/mod.rs"]
mod pg;
mod pool;
mod processes;
mod program;
mod proxy;
mod scale;
mod seeded;
mod service;
mod site;

pub use binary::binary;
pub use browser::Browser;
pub use client::{Answer, Call, Client, NoAnswer};
pub use clock::SetClock;
pub use coding_agent::{CodingAgent, coding_agents};
pub use effects::{Effect, Effects};
pub use eventually::{eventually, holds};
pub use history::{Counts, Epoch, Event, History, Invariant, Violation, check};
pub use metrics::Metrics;
pub use model::ModelServer;
pub use nodes::Nodes;
pub use pg::PgServer;
pub use pool::Pool;
pub use processes::{Marker, is_alive, send};
pub use program::{Finished, Program};
pub use proxy::Proxy;
pub use rustix::process::Signal;
pub use scale::count;
pub use seeded::Seeded;
pub use service::Service;
pub use site::Site;
