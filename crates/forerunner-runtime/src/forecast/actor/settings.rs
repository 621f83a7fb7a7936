//! Changes of a pool's settings while the node runs.

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use forerunner_forecast::{PolicyKind, PolicyLimits};

use super::{ForecastActor, policy_of};
use crate::{
    Error,
    cluster::{
        messages::ApplySettings,
        settings::{Bounds, SettingsOverride},
    },
    forecast::messages::Change,
    pool::messages::Configure,
    queue::messages::Nudge,
    spec::PoolSettings,
    status::{Cause, PoolPatch},
};

impl ForecastActor {
    /// Returns the limits after the change; an error if they contradict each other.
    fn checked(&self, patch: PoolPatch) -> Result<PolicyLimits, Error> {
        let min = patch.min.unwrap_or(self.limits.min);
        let max = patch.max.unwrap_or(self.limits.max);
        let ceiling = self.deps.settings.ceiling();
        within_ceiling("min", min, ceiling)?;
        within_ceiling("max", max, ceiling)?;
        // A fixed size is moved into the new bounds: it was within the settings' bounds.
        let policy = PolicyKind::default();
        let settings = PoolSettings { min, max, policy, ..self.deps.settings.clone() };
        settings.validate()?;
        Ok(settings.limits())
    }

    /// Returns the change as an override for all nodes. Minimum and maximum are stored together.
    fn for_all(&self, patch: PoolPatch) -> SettingsOverride {
        let is_bounds = patch.min.is_some() || patch.max.is_some();
        let (min, max) = (patch.min.unwrap_or(self.limits.min), patch.max.unwrap_or(self.limits.max));
        SettingsOverride {
            bounds: is_bounds.then_some(Bounds { min, max }),
            mode: patch.mode,
            ..SettingsOverride::default()
        }
    }

    fn change(&mut self, patch: PoolPatch, ctx: &mut Context<Self>) -> Result<(), Error> {
        let limits = self.checked(patch)?;
        if limits != self.limits && self.policy.set_bounds(limits.min, limits.max) {
            self.limits = limits;
        } else if limits != self.limits {
            let (learned, now) = (self.policy.save(), self.deps.now());
            let mut policy = policy_of(self.make_policy.as_deref(), &self.deps.settings, limits)?;
            if let Some(learned) = learned {
                policy.restore(&learned, now.since(self.decided_at.unwrap_or(self.begun)).as_secs_f64());
            }
            // The time of a policy begins with its creation.
            self.begun = now;
            self.policy = policy;
            self.limits = limits;
        }
        self.mode = patch.mode.unwrap_or(self.mode);
        self.links.configure.do_send(Configure(patch));
        ctx.notify(Nudge(Cause::Settings));
        Ok(())
    }
}

fn within_ceiling(key: &'static str, value: u32, ceiling: u32) -> Result<(), Error> {
    if value <= ceiling {
        return Ok(());
    }
    let rule = format!("use at most {ceiling}, the most that the configuration allows, or raise patch_max there");
    Err(forerunner_core::Error::Setting { key, value: value.to_string(), rule }.into())
}

impl Handler<Change> for ForecastActor {
    type Result = ();

    fn handle(&mut self, Change { patch, reply }: Change, ctx: &mut Self::Context) {
        if !self.deps.node.shared {
            let _ = reply.send(self.change(patch, ctx));
            return;
        }
        // A shared change is applied here after it is stored for all nodes.
        if let Err(error) = self.checked(patch) {
            let _ = reply.send(Err(error));
            return;
        }
        let saved = self.for_all(patch).save(&*self.deps.node.store, &self.deps.name);
        ctx.spawn(saved.into_actor(self).map(move |saved, forecast, ctx| {
            let changed = saved.map_err(Error::from).and_then(|()| forecast.change(patch, ctx));
            let _ = reply.send(changed);
        }));
    }
}

impl Handler<ApplySettings> for ForecastActor {
    type Result = ();

    fn handle(&mut self, ApplySettings(patch): ApplySettings, ctx: &mut Self::Context) {
        let patch = patch.clamped(self.deps.settings.ceiling(), &self.deps.name);
        if let Err(error) = self.change(patch, ctx) {
            tracing::warn!(pool = %self.deps.name, %error, "cannot apply pool settings of the cluster");
        }
    }
}
