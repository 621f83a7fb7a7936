//! The service layer of Forerunner: what a node does for callers, in any protocol.
//!
//! A front (HTTP is the first one) parses requests, calls [`Service`], and renders the results. This crate depends on
//! no front and on no protocol; fronts depend on no actor. It has what all fronts have in common: waits that end with
//! the service, events as typed items, pages bounded in bytes, limits, and the classes of errors.
//!
//! ```
//! use forerunner_service::{ErrorClass, ProblemKind};
//!
//! assert_eq!(ProblemKind::QueueFull.class(), ErrorClass::Overloaded);
//! assert!(!ErrorClass::Overloaded.is_of_the_node());
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod auth;
mod budget;
mod bulk;
mod classify;
mod contexts;
pub mod cursor;
mod error;
pub mod fields;
mod follow;
mod keys;
mod learn;
pub mod limits;
mod list;
mod metrics;
mod nodes;
mod ownership;
mod pools;
mod problem_kind;
mod schedules;
mod service;
mod submit;
mod tasks;
mod tenants;
mod wait;
mod what_if;
mod worker_thread;

pub use self::metrics::{describe_metrics, record_provisioner_run};
pub use budget::{Budget, Reservation};
pub use bulk::obstacle_reason;
pub use error::{Details, Error};
pub use follow::TaskEvents;
/// What [`Service::new`] is built on.
pub use forerunner_runtime::Handle;
/// The status types of the runtime.
pub use forerunner_runtime::status;
pub use forerunner_runtime::{BulkReport, BulkRequest, MOST_BULK, SchedulePatch, ScheduleStatus, Submitted};
pub use forerunner_store::{BulkAction, TaskChange, TaskFilter, TimeWindow};
pub use learn::{LearnReport, LearnRequest, MOST_RECORDED, MOST_RECORDED_S, RecordedTask};
pub use limits::Limits;
pub use list::{PageWriter, time_window};
pub use pools::Scaler;
pub use problem_kind::{ErrorClass, ProblemKind};
pub use service::Service;
pub use submit::Accepted;
pub use tenants::{RateStatus, TenantLimits, TenantStatus};
pub use wait::WaitOutcome;
pub use what_if::{MOST_SHARES, Shares, WhatIf};
