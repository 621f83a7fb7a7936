//! The rules that others scale by, as policies: to run a pool by, and to compare with.
//!
//! Each follows the published rule and its published defaults, for agents that run one task at a time, and evaluates at
//! its own interval: an event in between changes nothing. Where a rule is open to interpretation, the reading is the
//! one that serves it best.

mod average;
mod common;
mod holt;
mod hpa;
mod keda;
mod keep_alive;
mod knative;
mod load;
mod ray_serve;
mod replicas;
mod sqrt_staffing;

pub use holt::{Holt, HoltSettings};
pub use hpa::{Hpa, HpaSettings};
pub use keda::{Keda, KedaSettings};
pub use keep_alive::{KeepAlive, KeepAliveSettings};
pub use knative::{Knative, KnativeSettings};
pub use ray_serve::{RayServe, RayServeSettings};
pub use sqrt_staffing::{SqrtStaffing, SqrtStaffingSettings};
