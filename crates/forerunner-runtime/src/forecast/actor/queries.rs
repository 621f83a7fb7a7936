//! Queries by a `Handle`.

use std::time::Duration;

use actix::Handler;

use super::ForecastActor;
use crate::{
    forecast::{
        messages::{
            Decisions, ForecastAnswer, GetDecisions, GetForecast, GetHistory, GetMode, HistoryAnswer, ModeAnswer,
        },
        timeline::SLOT_S,
    },
    status::{ForecastStatus, PoolHistory},
};

impl Handler<GetForecast> for ForecastActor {
    type Result = ForecastAnswer;

    fn handle(&mut self, _: GetForecast, _: &mut Self::Context) -> ForecastAnswer {
        ForecastAnswer(ForecastStatus {
            at: self.decided_at.unwrap_or(self.begun),
            policy: self.policy.name(),
            forecast: self.forecast,
            history: self.history.points(),
        })
    }
}

impl Handler<GetDecisions> for ForecastActor {
    type Result = Decisions;

    fn handle(&mut self, msg: GetDecisions, _: &mut Self::Context) -> Decisions {
        Decisions(match msg.seq {
            Some(seq) => self.history.decision(seq).cloned().into_iter().collect(),
            None => self.history.decisions(msg.limit),
        })
    }
}

impl Handler<GetMode> for ForecastActor {
    type Result = ModeAnswer;

    fn handle(&mut self, _: GetMode, _: &mut Self::Context) -> ModeAnswer {
        let newest = self.history.newest().cloned();
        ModeAnswer { mode: self.mode, policy: self.policy.name(), newest, recent: self.timeline.recent() }
    }
}

impl Handler<GetHistory> for ForecastActor {
    type Result = HistoryAnswer;

    fn handle(&mut self, GetHistory { minutes }: GetHistory, _: &mut Self::Context) -> HistoryAnswer {
        let now = self.deps.now();
        let (waits, context_waits) = self.timeline.waits(now, minutes);
        let (changes, more_changes) = self.history.changes(now - Duration::from_secs(u64::from(minutes) * 60));
        HistoryAnswer(PoolHistory {
            pool: self.deps.name.clone(),
            at: now,
            since: self.timeline.since(),
            slot_s: SLOT_S,
            minutes,
            started: waits.started(),
            late: waits.late(),
            wait_s: waits.summary(),
            wait_context_s: context_waits.summary(),
            points: self.timeline.points(now, minutes),
            changes,
            more_changes,
        })
    }
}
