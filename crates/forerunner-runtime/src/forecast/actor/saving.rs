//! What a forecast writes down, and when: a restart goes on from there.

use std::time::Duration;

use actix::{AsyncContext, Handler, WrapFuture};
use forerunner_core::Timestamp;

use super::ForecastActor;
use crate::forecast::{
    history::{SavedHistory, SavedSize},
    messages::Retire,
};

/// How often the size is written down: what a restart begins with.
pub(super) const SAVE_SIZE_EVERY: Duration = Duration::from_secs(10);
/// How often what was learned is at most: a minute of it is soon learned again.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(60);
/// The same where little or nothing came, since that is little to lose.
const SAVE_IDLE_EVERY: Duration = Duration::from_secs(3_600);
/// So many tasks are worth to be written down after the shorter time, fewer after a longer one in proportion.
const WORTH_SAVING: u64 = 60;

/// Whether a measured cold start differs enough from the one written down: what is scheduled soon after a restart depends
/// on it.
fn is_news(saved_s: Option<f64>, measured_s: Option<f64>) -> bool {
    const SHARE: f64 = 0.2;
    measured_s.is_some_and(|now| saved_s.is_none_or(|before| (now - before).abs() > SHARE * before))
}

impl ForecastActor {
    /// Writes down what was learned, or the size, if that is due.
    pub(super) fn save_if_due(&mut self, now: Timestamp) {
        let is_other_start = is_news(self.saved_cold_start_s, self.cold_start_s);
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

    /// Writes down the size, if it is another one.
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

    /// Writes down what was learned.
    fn save(&self) -> Option<impl Future<Output = ()> + use<>> {
        let SavedSize { desired, seq } = self.size();
        let (policy, text) = (self.policy.name().to_owned(), self.policy.save()?);
        // What was learned is as old as the last look, and the time of day must not be lost at a restart.
        let at = self.decided_at.unwrap_or(self.begun);
        let saved = SavedHistory { at, policy, text, desired, seq };
        let text = saved.to_note()?;
        let call = self.deps.node.store.put_setting(SavedHistory::key(&self.deps.name), Some(text));
        let pool = self.deps.name.clone();
        Some(async move {
            if let Err(error) = call.await {
                tracing::warn!(%pool, %error, "cannot save the forecast's history");
            }
        })
    }
}

/// How long after the last time what was learned is saved again, if so many tasks came since then.
fn save_after(tasks: u64) -> Duration {
    let share = WORTH_SAVING as f64 / tasks.max(1) as f64;
    SAVE_EVERY.mul_f64(share.max(1.0)).min(SAVE_IDLE_EVERY)
}

impl Handler<Retire> for ForecastActor {
    type Result = ();

    fn handle(&mut self, msg: Retire, ctx: &mut Self::Context) {
        self.retired = true;
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
            assert_eq!(is_news(saved_s, measured_s), expected, "{saved_s:?} then {measured_s:?}");
        }
    }

    #[test]
    fn what_was_learned_is_saved_the_sooner_the_more_tasks_taught_it() {
        for (tasks, seconds) in [(0, 3_600), (1, 3_600), (2, 1_800), (30, 120), (60, 60), (u64::MAX, 60)] {
            assert_eq!(save_after(tasks).as_secs(), seconds, "{tasks} tasks");
        }
    }
}
