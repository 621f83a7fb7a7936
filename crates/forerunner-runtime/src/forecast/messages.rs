//! What a forecast hears and answers.

use actix::{Message, MessageResponse};
use tokio::sync::oneshot;

use crate::{
    Error,
    status::{DecisionRecord, ForecastStatus, Mode, PoolHistory, PoolPatch, Recent},
};

/// Say what you expect. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "ForecastAnswer")]
pub(crate) struct GetForecast;

/// What a pool expects.
#[derive(MessageResponse)]
pub(crate) struct ForecastAnswer(pub(crate) ForecastStatus);

/// List decisions, newest first. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "Decisions")]
pub(crate) struct GetDecisions {
    pub(crate) limit: usize,
    /// Only this one.
    pub(crate) seq: Option<u64>,
}

/// Decisions, newest first.
#[derive(MessageResponse)]
pub(crate) struct Decisions(pub(crate) Vec<DecisionRecord>);

/// Say how the last minutes went. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "HistoryAnswer")]
pub(crate) struct GetHistory {
    pub(crate) minutes: u32,
}

/// How the last minutes went.
#[derive(MessageResponse)]
pub(crate) struct HistoryAnswer(pub(crate) PoolHistory);

/// Change the pool's settings, then decide at once. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Change {
    pub(crate) patch: PoolPatch,
    pub(crate) reply: oneshot::Sender<Result<(), Error>>,
}

/// Whether decisions are carried out now. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "ModeAnswer")]
pub(crate) struct GetMode;

/// Whether decisions are carried out, and by which policy.
#[derive(MessageResponse)]
pub(crate) struct ModeAnswer {
    pub(crate) mode: Mode,
    pub(crate) policy: &'static str,
    pub(crate) newest: Option<DecisionRecord>,
    pub(crate) recent: Recent,
}

/// Write down what was learned, decide no more, then answer. Sent by the wiring when the node stops.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Retire {
    pub(crate) reply: oneshot::Sender<()>,
}
