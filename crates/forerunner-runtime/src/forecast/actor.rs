//! Samples queue and pool at the policy's rhythm, and at once when nudged; asks the policy; resizes the pool.

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};
use forerunner_core::Timestamp;
use forerunner_forecast::{
    DEBOUNCE_S, Decision, Forecast, Observation, Policy, PolicyKind, PolicyLimits, RecentServiceTime, build,
};
use tokio::time::Instant;

use super::{
    announced::Announced,
    history::{History, SavedHistory, SavedSize},
    messages::{
        Change, Decisions, ForecastAnswer, GetDecisions, GetForecast, GetHistory, GetMode, HistoryAnswer, ModeAnswer,
        Retire,
    },
    timeline::{SLOT_S, Timeline, TimelinePoint},
};
use crate::{
    Error,
    admission::Admission,
    cluster::{
        messages::ApplySettings,
        settings::{Bounds, SettingsOverride},
    },
    deps::PoolDeps,
    metrics::ForecastMetrics,
    pool::messages::{Configure, GetPool, PoolSample, Resize},
    queue::{
        messages::{Nudge, SampleQueue, SetBaseline},
        sample::{QueueActivity, QueueSample},
    },
    spec::{PolicyFactory, PoolSettings},
    status::{Cause, DecisionRecord, ForecastStatus, Inputs, Mode, PoolHistory, PoolPatch},
};

/// How often the size is written down: what a restart begins with.
const SAVE_SIZE_EVERY: Duration = Duration::from_secs(10);
/// How often what was learned is at most: a minute of it is soon learned again.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// The same where little or nothing came, since that is little to lose.
const SAVE_IDLE_EVERY: Duration = Duration::from_secs(3_600);
/// So many tasks are worth to be written down after the shorter time, fewer after a longer one in proportion.
const WORTH_SAVING: u64 = 60;
/// Nudges closer together than this are answered by one decision.
const DEBOUNCE: Duration = Duration::from_millis((DEBOUNCE_S * 1_000.0) as u64);
/// Bytes of context per token, for rules that think in tokens.
const BYTES_PER_TOKEN: f64 = 4.0;

/// Where a forecast looks and whom it tells.
pub(crate) struct ForecastLinks {
    pub(crate) queue: Recipient<SampleQueue>,
    pub(crate) expect: Recipient<SetBaseline>,
    pub(crate) pool: Recipient<GetPool>,
    pub(crate) resize: Recipient<Resize>,
    pub(crate) configure: Recipient<Configure>,
}

/// What a forecast shares with others of its pool.
pub(crate) struct ForecastDeps {
    pub(crate) pool: Arc<PoolDeps>,
    /// What makes the pool's policy, if it is not the one that the settings name.
    pub(crate) policy: Option<Arc<PolicyFactory>>,
    /// Learns how fast tasks complete.
    pub(crate) admission: Arc<Admission>,
}

/// Owns the history of one pool and the policy that reads it.
pub(crate) struct ForecastActor {
    deps: Arc<PoolDeps>,
    make_policy: Option<Arc<PolicyFactory>>,
    admission: Arc<Admission>,
    links: ForecastLinks,
    policy: Box<dyn Policy>,
    limits: PolicyLimits,
    mode: Mode,
    begun: Timestamp,
    decided_at: Option<Timestamp>,
    /// A look is under way; a nudge meanwhile makes another one due.
    looking: bool,
    nudged: Option<Cause>,
    /// The queue as it was at the last look.
    seen: QueueSample,
    announced: Announced,
    desired: Option<u32>,
    forecast: Option<Forecast>,
    service_time: RecentServiceTime,
    history: History,
    timeline: Timeline,
    saved_at: Timestamp,
    saved_size_at: Timestamp,
    saved_size: Option<SavedSize>,
    /// Tasks that came since what was learned was saved.
    unsaved_tasks: u64,
    retired: bool,
    metrics: ForecastMetrics,
}

impl ForecastActor {
    /// A forecast that goes on where `saved` ended.
    ///
    /// # Errors
    /// When the policy's settings are not valid.
    pub(crate) fn new(deps: ForecastDeps, links: ForecastLinks, saved: Option<SavedHistory>) -> Result<Self, Error> {
        let ForecastDeps { pool: deps, policy: make_policy, admission } = deps;
        let now = deps.now();
        let limits = deps.settings.limits();
        let mut policy = policy_of(make_policy.as_deref(), &deps.settings, limits)?;
        let saved = saved.filter(|saved| saved.policy == policy.name());
        // A pool that never had another size than its least has nothing to write down.
        let least = SavedSize { desired: limits.min, seq: 0 };
        let saved_size = saved.as_ref().map_or(least, |saved| SavedSize { desired: saved.desired, seq: saved.seq });
        let restored =
            saved.as_ref().is_some_and(|saved| policy.restore(&saved.text, now.since(saved.at).as_secs_f64()));
        tracing::info!(pool = %deps.name, policy = policy.name(), restored, "forecast started");
        Ok(Self {
            metrics: ForecastMetrics::new(&deps.name),
            mode: deps.settings.mode,
            history: History::after(saved.as_ref()),
            timeline: Timeline::default(),
            deps,
            make_policy,
            admission,
            links,
            policy,
            limits,
            begun: now,
            decided_at: None,
            looking: false,
            nudged: None,
            seen: QueueSample::default(),
            announced: Announced::default(),
            desired: None,
            forecast: None,
            service_time: RecentServiceTime::default(),
            // The first time comes sooner: a size alone is nothing to go on from.
            saved_at: now - (SAVE_EVERY - SAVE_SIZE_EVERY),
            saved_size_at: now,
            saved_size: Some(saved_size),
            unsaved_tasks: 0,
            retired: false,
        })
    }

    /// Looks at queue and pool, then decides.
    fn look(&mut self, cause: Cause, ctx: &mut Context<Self>) {
        if self.retired {
            return;
        }
        if self.looking {
            self.nudged = Some(cause);
            return;
        }
        self.looking = true;
        let queue = self.links.queue.send(SampleQueue { after: self.seen.mark });
        let pool = self.links.pool.send(GetPool);
        // What the store is asked for by the time of the sample before is news enough: it comes long before its time.
        let store = &self.deps.node.store;
        let horizon_s = self.forecast.map_or(self.limits.cold_start_s + self.limits.tick_s, |known| known.horizon_s);
        let due = self.announced.ask(store, &self.deps.name, self.seen.next_due, self.deps.now(), horizon_s);
        let due = async move {
            match due {
                Some(answer) => answer.await,
                None => None,
            }
        };
        let samples = async move { tokio::join!(queue, pool, due) };
        ctx.spawn(samples.into_actor(self).map(move |(queue, pool, due), forecast, ctx| {
            forecast.looking = false;
            if let Some(due) = due {
                forecast.announced.learn(due);
            }
            match (queue, pool) {
                (Ok(queue), Ok(pool)) => {
                    forecast.announced.forget(queue.next_due, forecast.deps.now());
                    let activity = queue.since(&forecast.seen);
                    forecast.seen = queue;
                    forecast.decide(cause, &activity, &pool);
                }
                _ => tracing::warn!(pool = %forecast.deps.name, "no scaling decision: the queue or the pool did not answer"),
            }
            if let Some(cause) = forecast.nudged.take() {
                ctx.notify_later(Nudge(cause), DEBOUNCE);
            }
        }));
    }

    fn decide(&mut self, cause: Cause, queue: &QueueActivity, pool: &PoolSample) {
        let now = self.deps.now();
        let seen = self.observation(now, queue, pool);
        let begun = Instant::now();
        let decision = self.policy.decide(&seen);
        self.metrics.decision_time.record(begun.elapsed().as_secs_f64());
        let span_s = self.decided_at.map_or(self.limits.tick_s, |at| now.since(at).as_secs_f64());
        self.decided_at = Some(now);
        self.admission.note_completion_rate(queue.counts.completions as f64 / span_s.max(0.001));
        self.tell_queue(&seen, &decision);
        self.show(now, span_s, queue, pool, &decision);
        self.unsaved_tasks = self.unsaved_tasks.saturating_add(seen.arrivals);
        self.carry_out(now, cause, &seen, pool, decision);
        self.save_if_due(now);
    }

    fn observation(&self, now: Timestamp, queue: &QueueActivity, pool: &PoolSample) -> Observation {
        let mean = |sum: f64| (queue.counts.completions > 0).then(|| sum / queue.counts.completions as f64);
        Observation {
            t: now.since(self.begun).as_secs_f64(),
            arrivals: queue.counts.arrivals,
            completions: queue.counts.completions,
            mean_service_s: mean(queue.counts.service_sum_s),
            queue_depth: u32::try_from(queue.depth).unwrap_or(u32::MAX),
            in_flight: queue.running,
            ready: pool.counts.ready,
            starting: pool.counts.starting,
            mean_context_tokens: mean(queue.counts.context_sum_bytes as f64 / BYTES_PER_TOKEN),
            draining: pool.draining,
            peak_concurrency: queue.peak_running,
            started: queue.counts.starts,
            late: queue.counts.late,
            cold_start_s: pool.cold_start.map(|cold| cold.p90),
            arrived: self.since_begun(&queue.arrived),
            completed: queue.completed.clone(),
            announced: self.announced.ahead(now),
            utc_s: Some(now.as_secs_f64()),
            ..Observation::default()
        }
    }

    fn since_begun(&self, arrived: &[(u64, f64)]) -> Vec<(u64, f64)> {
        let begun = self.begun.as_secs_f64();
        arrived.iter().map(|(task, at)| (*task, (at - begun).max(0.0))).collect()
    }

    /// Tells the queue the expected rate and service time, so that it can detect a surge or a shift.
    fn tell_queue(&mut self, seen: &Observation, decision: &Decision) {
        let Some(forecast) = decision.forecast else { return };
        let recent_s = self.service_time.follow(seen.completions, seen.mean_service_s, forecast.service_s);
        self.links.expect.do_send(SetBaseline { rate_per_s: forecast.rate_per_s, service_s: recent_s });
    }

    fn carry_out(&mut self, now: Timestamp, cause: Cause, seen: &Observation, pool: &PoolSample, decision: Decision) {
        self.metrics.decided(decision.reason.as_str());
        if self.mode == Mode::Act && decision.desired != pool.desired {
            self.links.resize.do_send(Resize(decision.desired));
        }
        self.desired = Some(decision.desired);
        self.forecast = decision.forecast;
        let record = DecisionRecord {
            seq: self.history.next_seq(),
            at: now,
            cause,
            inputs: Inputs {
                arrivals: seen.arrivals,
                completions: seen.completions,
                mean_service_s: seen.mean_service_s,
                mean_context_tokens: seen.mean_context_tokens,
                depth: seen.queue_depth,
                agents: pool.counts,
                cold_start_s: seen.cold_start_s.unwrap_or(self.limits.cold_start_s),
            },
            before: pool.desired,
            decision,
            mode: self.mode,
        };
        if record.before != record.decision.desired {
            tracing::info!(
                pool = %self.deps.name,
                before = record.before,
                desired = record.decision.desired,
                reason = record.decision.reason.as_str(),
                cause = cause.as_str(),
                detail = record.decision.detail,
                "pool resized"
            );
        }
        self.history.keep(record);
    }

    fn show(&mut self, now: Timestamp, span_s: f64, queue: &QueueActivity, pool: &PoolSample, decision: &Decision) {
        let point = TimelinePoint {
            at: now,
            span_s,
            arrivals: queue.counts.arrivals,
            waits: queue.waits.clone(),
            depth: u32::try_from(queue.depth).unwrap_or(u32::MAX),
            desired: pool.desired,
            advised: decision.desired,
            agents: pool.counts,
            forecast: decision.forecast,
        };
        self.metrics.looked(point.rate_per_s(), decision.forecast.unwrap_or_default());
        self.history.note(point.shown());
        self.timeline.note(&point);
    }

    fn save_if_due(&mut self, now: Timestamp) {
        if now.since(self.saved_at) >= save_after(self.unsaved_tasks) {
            (self.saved_at, self.saved_size_at, self.unsaved_tasks) = (now, now, 0);
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

    /// What the limits would be; an error if they contradict each other.
    fn checked(&self, patch: PoolPatch) -> Result<PolicyLimits, Error> {
        let min = patch.min.unwrap_or(self.limits.min);
        let max = patch.max.unwrap_or(self.limits.max);
        let ceiling = self.deps.settings.ceiling();
        within_ceiling("min", min, ceiling)?;
        within_ceiling("max", max, ceiling)?;
        // A fixed size is brought within bounds that change: it was within those of the settings.
        let policy = PolicyKind::default();
        let settings = PoolSettings { min, max, policy, ..self.deps.settings.clone() };
        settings.validate()?;
        Ok(settings.limits())
    }

    /// What a change is for all nodes: bounds are one thing.
    fn for_all(&self, patch: PoolPatch) -> SettingsOverride {
        let is_bounds = patch.min.is_some() || patch.max.is_some();
        let (min, max) = (patch.min.unwrap_or(self.limits.min), patch.max.unwrap_or(self.limits.max));
        SettingsOverride { bounds: is_bounds.then_some(Bounds { min, max }), mode: patch.mode, paused: None }
    }

    fn change(&mut self, patch: PoolPatch, ctx: &mut Context<Self>) -> Result<(), Error> {
        let limits = self.checked(patch)?;
        if limits != self.limits {
            let (learned, now) = (self.policy.save(), self.deps.now());
            let mut policy = policy_of(self.make_policy.as_deref(), &self.deps.settings, limits)?;
            if let Some(learned) = learned {
                policy.restore(&learned, now.since(self.decided_at.unwrap_or(self.begun)).as_secs_f64());
            }
            // A policy's time begins with it.
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

/// Makes a pool's policy: by `make`, or the one that the settings name.
fn policy_of(
    make: Option<&PolicyFactory>,
    settings: &PoolSettings,
    limits: PolicyLimits,
) -> Result<Box<dyn Policy>, Error> {
    let refuse = |error: forerunner_forecast::Error| forerunner_core::Error::Setting {
        key: "policy",
        value: settings.policy.to_string(),
        rule: error.to_string(),
    };
    match make {
        Some(make) => Ok(make(limits)),
        None => Ok(build(settings.policy, limits).map_err(refuse)?),
    }
}

/// How long after the last time what was learned is saved again, if so many tasks came since then.
fn save_after(tasks: u64) -> Duration {
    let share = WORTH_SAVING as f64 / tasks.max(1) as f64;
    SAVE_EVERY.mul_f64(share.max(1.0)).min(SAVE_IDLE_EVERY)
}

fn within_ceiling(key: &'static str, value: u32, ceiling: u32) -> Result<(), Error> {
    if value <= ceiling {
        return Ok(());
    }
    let rule = format!("use at most {ceiling}, the most that the configuration allows, or raise patch_max there");
    Err(forerunner_core::Error::Setting { key, value: value.to_string(), rule }.into())
}

impl Actor for ForecastActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(Cause::Tick, ctx);
        let interval = Duration::from_secs_f64(self.policy.interval_s().clamp(0.05, 3_600.0));
        ctx.run_interval(interval, |forecast, ctx| forecast.look(Cause::Tick, ctx));
    }
}

impl Handler<Nudge> for ForecastActor {
    type Result = ();

    fn handle(&mut self, Nudge(cause): Nudge, ctx: &mut Self::Context) {
        let since = self.decided_at.map(|at| self.deps.now().since(at));
        match since {
            Some(since) if since < DEBOUNCE => {
                // One look after the pause answers all nudges of the pause.
                if self.nudged.replace(cause).is_none() {
                    ctx.run_later(DEBOUNCE.saturating_sub(since), |forecast, ctx| {
                        if let Some(cause) = forecast.nudged.take() {
                            forecast.look(cause, ctx);
                        }
                    });
                }
            }
            _ => self.look(cause, ctx),
        }
    }
}

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
        let waits = self.timeline.waits(now, minutes);
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
            points: self.timeline.points(now, minutes),
            changes,
            more_changes,
        })
    }
}

impl Handler<Change> for ForecastActor {
    type Result = ();

    fn handle(&mut self, Change { patch, reply }: Change, ctx: &mut Self::Context) {
        if !self.deps.node.shared {
            let _ = reply.send(self.change(patch, ctx));
            return;
        }
        // What holds for all nodes holds here once the store has it.
        if let Err(error) = self.checked(patch) {
            let _ = reply.send(Err(error));
            return;
        }
        let kept = self.for_all(patch).keep(&*self.deps.node.store, &self.deps.name);
        ctx.spawn(kept.into_actor(self).map(move |kept, forecast, ctx| {
            let changed = kept.map_err(Error::from).and_then(|()| forecast.change(patch, ctx));
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
    fn what_was_learned_is_saved_the_sooner_the_more_tasks_taught_it() {
        for (tasks, seconds) in [(0, 3_600), (1, 3_600), (2, 1_800), (30, 120), (60, 60), (u64::MAX, 60)] {
            assert_eq!(save_after(tasks).as_secs(), seconds, "{tasks} tasks");
        }
    }
}
