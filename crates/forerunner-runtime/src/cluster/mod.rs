//! Several nodes on one store: one of them plans for all, and each runs its share of every pool.
//!
//! ```text
//! ForecastActor ──SampleQueue, GetPool─▶ ShareActor ──▶ QueueActor, PoolActor of this node
//!       └────────Resize(total)─────────▶     │ Resize(share)
//!                                            ▼
//!                                      ClusterActor ◀──a beat a second──▶ store ◀──▶ other nodes
//! ```
//!
//! Every node forecasts from the events of all nodes, so a new leader continues where the last one ended. Only the plan
//! of the leader is applied. The leader sends a heartbeat at once when its plan changes, and the store notifies the
//! other nodes.

mod actor;
mod elsewhere;
pub(crate) mod event_buffer;
pub(crate) mod event_tail;
mod handle;
pub(crate) mod messages;
mod notifications;
mod recent;
mod report;
pub(crate) mod settings;
mod share;

pub(crate) use actor::{ClusterActor, ClusterPool};
pub(crate) use share::{ShareActor, ShareLinks};
