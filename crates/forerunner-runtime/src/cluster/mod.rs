//! Several nodes on one store: one of them plans for all, and each holds its share of every pool.
//!
//! ```text
//! ForecastActor ──SampleQueue, GetPool─▶ ShareActor ──▶ QueueActor, PoolActor of this node
//!       └────────Resize(total)─────────▶     │ Resize(share)
//!                                            ▼
//!                                      ClusterActor ◀──a beat a second──▶ store ◀──▶ other nodes
//! ```
//!
//! Every node forecasts, from what all of them saw, so that whoever comes to lead goes on where the leader before it ended.
//! Only the leader's wish counts. It beats at once when that changes, and the store tells the others to look.

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
