//! The messages of a forecast.

use actix::{Message, MessageResponse};
use forerunner_core::Timestamp;
use tokio::sync::oneshot;

use super::lesson::{LearnedForecast, Lesson, UntaughtPolicy};
use crate::{
    Error,
    status::{DecisionRecord, ForecastStatus, Mode, PoolHistory, PoolPatch, Recent},
};

/// Return the forecast. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "ForecastAnswer")]
pub(crate) struct GetForecast;

/// The forecast of a pool.
#[derive(MessageResponse)]
pub(crate) struct ForecastAnswer(pub(crate) ForecastStatus);

/// Return decisions, newest first. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "Decisions")]
pub(crate) struct GetDecisions {
    pub(crate) limit: usize,
    /// Only the decision with this number.
    pub(crate) seq: Option<u64>,
}

/// Decisions, newest first.
#[derive(MessageResponse)]
pub(crate) struct Decisions(pub(crate) Vec<DecisionRecord>);

/// Return the history of the last minutes. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "HistoryAnswer")]
pub(crate) struct GetHistory {
    pub(crate) minutes: u32,
}

/// The history of the last minutes.
#[derive(MessageResponse)]
pub(crate) struct HistoryAnswer(pub(crate) PoolHistory);

/// Change the pool's settings, then decide at once. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Change {
    pub(crate) patch: PoolPatch,
    pub(crate) reply: oneshot::Sender<Result<(), Error>>,
}

/// Return the mode. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "ModeAnswer")]
pub(crate) struct GetMode;

/// Whether decisions are applied, and the policy.
#[derive(MessageResponse)]
pub(crate) struct ModeAnswer {
    pub(crate) mode: Mode,
    pub(crate) policy: &'static str,
    pub(crate) newest: Option<DecisionRecord>,
    pub(crate) recent: Recent,
}

/// Return what the forecast has learned. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "LearnedForecast")]
pub(crate) struct GetLearned;

/// Make a policy like the pool's own that knows nothing. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "Result<UntaughtPolicy, Error>")]
pub(crate) struct MakePolicy;

/// Learn, on all nodes. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Teach {
    pub(crate) lesson: Lesson,
    pub(crate) reply: oneshot::Sender<Result<(), Error>>,
}

/// Learn what another node stored at this time. Sent by the `ClusterActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReadLesson(pub(crate) Timestamp);

/// Save the policy's state, stop deciding, then answer. Sent by the wiring when the node stops.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SaveAndStop {
    pub(crate) reply: oneshot::Sender<()>,
}
