//! Replays traces against Forerunner's own policies in virtual time.
//!
//! A [`Trace`] has the arrivals and the durations of tasks. [`replay`] drives the same policies that run a pool. A
//! [`Report`] has the number of late tasks and the cost of the agents. No actors, no clock, no threads: the same trace
//! and settings give the same report, byte for byte.
//!
//! [`perfect`] is the near-lower bound for any rule, [`least_fixed`] the best pool of one size. [`grid`] is the list of
//! settings among which the cheapest is found in hindsight.
//!
//! It is a model of one pool, not of a service: no store, no network, no failures, all agents alike.
//!
//! ```
//! use forerunner_forecast::{Objective, PolicyKind, PolicyLimits, build};
//! use forerunner_sim::{Replay, Trace, TraceTask, replay};
//!
//! // A task every half second, four seconds each: eight busy agents.
//! let task = |i: u32| TraceTask {
//!     arrival_s: f64::from(i) * 0.5,
//!     service_s: 4.0,
//!     ..TraceTask::default()
//! };
//! let trace = Trace::new("steady", (0..2000).map(task).collect())?;
//! let limits = PolicyLimits { min: 1, max: 40, cold_start_s: 2.0, tick_s: 1.0, objective: Objective::default() };
//! let mut policy = build(PolicyKind::default(), limits)?;
//! let report = replay(&trace, policy.as_mut(), &Replay::new(limits)).report;
//! assert!(report.meets_objective());
//! assert!(report.instance_s < 2.0 * report.busy_s);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod announcement_feed;
mod conversations;
mod engine;
mod error;
mod last_value;
mod nudges;
mod perfect;
mod placement;
mod pool;
mod report;
mod report_builder;
mod search;
mod sweep;
mod trace;

pub use engine::{AsLive, Outcome, Replay, replay};
pub use error::Error;
pub use last_value::LastValue;
pub use perfect::{perfect, perfect_outcome, service_sum_s};
pub use placement::{
    PlacementLoad, PlacementPolicy, PlacementReplay, PlacementReport, PlacementStart, PlacementTask, count_placement,
    replay_placement,
};
pub use report::{Report, TimelinePoint, WaitSummary};
pub use search::{least_fixed, least_fixed_in};
pub use sweep::{Setting, cheapest, grid};
pub use trace::{Trace, TraceTask};
