//! The saved state of a forecast, from which a restart continues.

use std::time::Duration;

use actix::{AsyncContext, Handler, WrapFuture};
use forerunner_core::Timestamp;

use super::ForecastActor;
use crate::forecast::{
    history::{SavedHistory, SavedSize},
    messages::SaveAndStop,
};

/// How often the size is saved, from which a restart begins.
pub(super) const SAVE_SIZE_EVERY: Duration = Duration::from_secs(10);
/// Least time between two saves of the policy's state: a minute is soon learned again.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(60);
/// The longest time, for pools with few tasks: they lose little.
const SAVE_IDLE_EVERY: Duration = Duration::from_secs(3_600);
/// This many tasks justify a save after the shorter time; fewer tasks after a proportionally longer one.
const WORTH_SAVING: u64 = 60;

/// Whether a measured cold start differs enough from the saved one. Tasks that are due soon after a restart depend on
/// it.
fn differs(saved_s: Option<f64>, measured_s: Option<f64>) -> bool {
    const SHARE: f64 = 0.2;
    measured_s.is_some_and(|now| saved_s.is_none_or(|before| (now - before).abs() > SHARE * before))
}

impl ForecastActor {
    /// Saves the policy's state, or the size, if it is time.
    pub(super) fn save_if_due(&mut self, now: Timestamp) {
        let is_other_start = differs(self.saved_cold_start_s, self.cold_start_s);
        let wait = if is_other_start { SAVE_SIZE_EVERY } else { save_after(self.unsaved_tasks) };
        if now.since(self.saved_at) >= wait {
            (self.saved_at, self.saved_size_at, self.unsaved_tasks) = (now, now, 0);
            self.saved_cold_start_s = self.cold_start_s;
            self.saved_size = Some(self.size());
            if let Some(call) = self.save() {
                actix_rt::spawn(call);
            }
        } else if now.since(self.saved_size_at) >= SAVE_SIZE_EVERY {
            self.saved_size_at = now;
            self.save_size();
        }
    }

    /// Saves the size, if it has changed.
    fn save_size(&mut self) {
        let size = self.size();
        if self.saved_size.is_some_and(|saved| saved.desired == size.desired) {
            return;
        }
        self.saved_size = Some(size);
        let Ok(text) = serde_json::to_string(&size) else { return };
        let call = self.deps.node.store.put_setting(SavedSize::key(&self.deps.name), Some(text));
        let pool = self.deps.name.clone();
        actix_rt::spawn(async move {
            if let Err(error) = call.await {
                tracing::warn!(%pool, %error, "cannot save the size of the pool");
            }
        });
    }

    fn size(&self) -> SavedSize {
        SavedSize { desired: self.desired.unwrap_or(self.limits.min), seq: self.history.next_seq() - 1 }
    }

    /// Saves the policy's state.
    pub(super) fn save(&self) -> Option<impl Future<Output = ()> + use<>> {
        let SavedSize { desired, seq } = self.size();
        let (policy, text) = (self.policy.name().to_owned(), self.policy.save()?);
        // The policy's state is as old as the last decision. A restart must not lose the time of day.
        let at = self.decided_at.unwrap_or(self.begun);
        let saved = SavedHistory { at, policy, text, desired, seq };
        let text = saved.to_setting()?;
        let call = self.deps.node.store.put_setting(SavedHistory::key(&self.deps.name), Some(text));
        let pool = self.deps.name.clone();
        Some(async move {
            if let Err(error) = call.await {
                tracing::warn!(%pool, %error, "cannot save the forecast's history");
            }
        })
    }
}

/// Returns the time between two saves for this number of tasks.
fn save_after(tasks: u64) -> Duration {
    let share = WORTH_SAVING as f64 / tasks.max(1) as f64;
    SAVE_EVERY.mul_f64(share.max(1.0)).min(SAVE_IDLE_EVERY)
}

impl Handler<SaveAndStop> for ForecastActor {
    type Result = ();

    fn handle(&mut self, msg: SaveAndStop, ctx: &mut Self::Context) {
        self.stopped = true;
        let save = self.save();
        let done = async move {
            if let Some(save) = save {
                save.await;
            }
            let _ = msg.reply.send(());
        };
        ctx.spawn(done.into_actor(self));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_cold_start_is_news_and_the_same_is_none() {
        let cases = [(None, None, false), (None, Some(9.0), true), (Some(9.0), None, false)];
        for (saved_s, measured_s, expected) in cases.into_iter().chain([
            (Some(10.0), Some(11.9), false),
            (Some(10.0), Some(12.1), true),
            (Some(10.0), Some(7.0), true),
        ]) {
            assert_eq!(differs(saved_s, measured_s), expected, "{saved_s:?} then {measured_s:?}");
        }
    }

    #[test]
    fn what_was_learned_is_saved_the_sooner_the_more_tasks_taught_it() {
        for (tasks, seconds) in [(0, 3_600), (1, 3_600), (2, 1_800), (30, 120), (60, 60), (u64::MAX, 60)] {
            assert_eq!(save_after(tasks).as_secs(), seconds, "{tasks} tasks");
        }
    }
}
