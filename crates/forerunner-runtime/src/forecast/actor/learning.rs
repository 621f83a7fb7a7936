//! Learning while the node runs: from a recording, or from another pool with the same agents.

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use forerunner_core::Timestamp;
use forerunner_forecast::PolicyLimits;

use super::{ForecastActor, policy_of};
use crate::{
    Error,
    forecast::{
        lesson::{self, LearnedForecast, Lesson, SharedLesson, UntaughtPolicy},
        messages::{GetLearned, MakePolicy, ReadLesson, Teach},
    },
    queue::messages::Nudge,
    status::Cause,
};

impl ForecastActor {
    /// Teaches the policy, and saves what it knows now.
    fn learn(&mut self, lesson: &Lesson, at: Timestamp, ctx: &mut Context<Self>) -> Result<(), Error> {
        if !lesson.teach(&mut *self.policy) {
            return Err(Error::NotTeachable { pool: self.deps.name.clone(), policy: self.policy.name() });
        }
        self.learned_at = Some(at);
        if matches!(lesson, Lesson::Recording { .. }) {
            // The time of the policy begins anew.
            self.begun = self.deps.now();
            self.decided_at = None;
        }
        tracing::info!(pool = %self.deps.name, tasks = self.policy.learned_tasks(), "the forecast has learned");
        if let Some(save) = self.save() {
            actix_rt::spawn(save);
        }
        ctx.notify(Nudge(Cause::Settings));
        Ok(())
    }
}

impl Handler<GetLearned> for ForecastActor {
    type Result = actix::MessageResult<GetLearned>;

    fn handle(&mut self, _: GetLearned, _: &mut Self::Context) -> Self::Result {
        let (policy, tasks) = (self.policy.name(), self.policy.learned_tasks());
        actix::MessageResult(LearnedForecast { policy, tasks, saved: self.policy.save() })
    }
}

impl Handler<MakePolicy> for ForecastActor {
    type Result = Result<UntaughtPolicy, Error>;

    fn handle(&mut self, _: MakePolicy, _: &mut Self::Context) -> Self::Result {
        let cold_start_s = self.cold_start_s.unwrap_or(self.limits.cold_start_s);
        let limits = PolicyLimits { cold_start_s, ..self.limits };
        let policy = policy_of(self.make_policy.as_deref(), &self.deps.settings, limits)?;
        Ok(UntaughtPolicy { policy, limits })
    }
}

impl Handler<Teach> for ForecastActor {
    type Result = ();

    fn handle(&mut self, Teach { lesson, reply }: Teach, ctx: &mut Self::Context) {
        let at = self.deps.now();
        let learned = self.learn(&lesson, at, ctx);
        if learned.is_err() || !self.deps.node.shared {
            let _ = reply.send(learned);
            return;
        }
        let deps = self.deps.clone();
        let share = async move { lesson.share(&*deps.node.store, &deps.name, at).await };
        ctx.spawn(share.into_actor(self).map(move |shared, _, _| {
            let _ = reply.send(shared.map_err(Error::from));
        }));
    }
}

impl Handler<ReadLesson> for ForecastActor {
    type Result = ();

    fn handle(&mut self, ReadLesson(at): ReadLesson, ctx: &mut Self::Context) {
        if self.learned_at.is_some_and(|learned_at| learned_at >= at) {
            return;
        }
        let call = SharedLesson::load(self.deps.node.store.setting(lesson::key(&self.deps.name)));
        ctx.spawn(call.into_actor(self).map(|shared, forecast, ctx| {
            let Some(shared) = shared else { return };
            let lesson = shared.lesson(forecast.deps.now());
            let learned = lesson.map(|lesson| forecast.learn(&lesson, shared.at, ctx));
            if let Some(Err(error)) = learned {
                tracing::debug!(pool = %forecast.deps.name, %error, "what another node learned does not fit");
            }
        }));
    }
}
