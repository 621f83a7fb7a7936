//! Samples queue and pool at each tick of the policy, and when nudged. Calls the policy and resizes the pool.

mod learning;
mod queries;
mod saving;
mod settings;

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};
use forerunner_core::{Timestamp, placement::ReturnChances};
use forerunner_forecast::{
    Arrival, DEBOUNCE_S, Decision, Forecast, Observation, Policy, PolicyLimits, RecentServiceTime, build,
};
use tokio::time::Instant;

use self::saving::{SAVE_EVERY, SAVE_SIZE_EVERY};
use super::{
    announced::{Announced, Lookahead},
    history::{History, SavedHistory, SavedSize},
    outage::{Moment, OpenArrivals, OutageSize, within, without_outage},
    timeline::{Timeline, TimelinePoint},
};
use crate::{
    Error,
    admission::Admission,
    deps::PoolDeps,
    metrics::ForecastMetrics,
    pool::messages::{Configure, GetPool, PoolSample, Resize, SetReturnChances},
    queue::{
        messages::{Nudge, SampleQueue, SetBaseline},
        sample::{QueueActivity, QueueSample},
    },
    spec::{PolicyFactory, PoolSettings},
    status::{Cause, DecisionRecord, Inputs, Mode},
};

/// One decision answers all nudges within this time.
const DEBOUNCE: Duration = Duration::from_millis((DEBOUNCE_S * 1_000.0) as u64);
/// How often the pool gets the chance that contexts are needed again.
const RETURNS_EVERY: Duration = Duration::from_secs(10);
/// Bytes of context per token, for policies whose unit is the token.
const BYTES_PER_TOKEN: f64 = 4.0;

/// The addresses to which a forecast sends messages.
pub(crate) struct ForecastLinks {
    pub(crate) queue: Recipient<SampleQueue>,
    pub(crate) expect: Recipient<SetBaseline>,
    pub(crate) pool: Recipient<GetPool>,
    pub(crate) resize: Recipient<Resize>,
    pub(crate) returns: Recipient<SetReturnChances>,
    pub(crate) configure: Recipient<Configure>,
}

/// What a forecast shares with other actors of its pool.
pub(crate) struct ForecastDeps {
    pub(crate) pool: Arc<PoolDeps>,
    /// Creates the pool's policy, if it is not the one that the settings name.
    pub(crate) policy: Option<Arc<PolicyFactory>>,
    /// Receives the rate of completions.
    pub(crate) admission: Arc<Admission>,
}

/// What a forecast knows before its first decision.
#[derive(Debug, Default)]
pub(crate) struct PriorKnowledge {
    /// What it had saved itself.
    pub(crate) saved: Option<SavedHistory>,
    /// What that of a pool with the same agents had saved.
    pub(crate) adopted: Option<SavedHistory>,
}

/// Owns the history of one pool, and the policy that reads it.
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
    /// Whether samples are being read. A nudge meanwhile schedules another decision.
    sampling: bool,
    nudged: Option<Cause>,
    /// When the pool next gets the chance that contexts are needed again.
    returns_due: Timestamp,
    /// The queue's last sample.
    seen: QueueSample,
    announced: Announced,
    outage: OutageSize,
    open_arrivals: OpenArrivals,
    /// Limit of concurrent starts, from the last sample.
    max_starting: u32,
    desired: Option<u32>,
    forecast: Option<Forecast>,
    service_time: RecentServiceTime,
    history: History,
    timeline: Timeline,
    saved_at: Timestamp,
    saved_size_at: Timestamp,
    saved_size: Option<SavedSize>,
    /// Seconds from the request for an agent until it is ready: as last measured, and as last saved.
    cold_start_s: Option<f64>,
    saved_cold_start_s: Option<f64>,
    /// Number of tasks since the policy's state was saved.
    unsaved_tasks: u64,
    /// When the forecast was last taught, by the clock of the node that asked for it.
    learned_at: Option<Timestamp>,
    stopped: bool,
    metrics: ForecastMetrics,
}

impl ForecastActor {
    /// Creates a forecast that continues from what is known.
    ///
    /// # Errors
    /// When the policy's settings are not valid.
    pub(crate) fn new(deps: ForecastDeps, links: ForecastLinks, known: PriorKnowledge) -> Result<Self, Error> {
        let ForecastDeps { pool: deps, policy: make_policy, admission } = deps;
        let now = deps.now();
        let limits = deps.settings.limits();
        let mut policy = policy_of(make_policy.as_deref(), &deps.settings, limits)?;
        let saved = known.saved.filter(|saved| saved.policy == policy.name());
        // A pool that has always had its least size has nothing to save.
        let least = SavedSize { desired: limits.min, seq: 0 };
        let saved_size = saved.as_ref().map_or(least, |saved| SavedSize { desired: saved.desired, seq: saved.seq });
        let restored =
            saved.as_ref().is_some_and(|saved| policy.restore(&saved.text, now.since(saved.at).as_secs_f64()));
        // A pool that has learned from tasks of its own keeps what it knows.
        let adopted = policy.learned_tasks() == 0
            && known.adopted.is_some_and(|other| other.policy == policy.name() && policy.adopt(&other.text));
        tracing::info!(pool = %deps.name, policy = policy.name(), restored, adopted, "forecast started");
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
            sampling: false,
            nudged: None,
            returns_due: Timestamp::default(),
            seen: QueueSample::default(),
            announced: Announced::default(),
            outage: OutageSize::default(),
            open_arrivals: OpenArrivals::default(),
            max_starting: u32::MAX,
            desired: None,
            forecast: None,
            service_time: RecentServiceTime::default(),
            // The first save comes earlier: a size alone is not enough to continue from.
            saved_at: now - (SAVE_EVERY - SAVE_SIZE_EVERY),
            saved_size_at: now,
            saved_size: Some(saved_size),
            cold_start_s: None,
            saved_cold_start_s: None,
            unsaved_tasks: 0,
            learned_at: None,
            stopped: false,
        })
    }

    /// Samples queue and pool, then decides.
    fn sample(&mut self, cause: Cause, ctx: &mut Context<Self>) {
        if self.stopped {
            return;
        }
        if self.sampling {
            self.nudged = Some(cause);
            return;
        }
        self.sampling = true;
        let queue = self.links.queue.send(SampleQueue { after: self.seen.mark });
        let pool = self.links.pool.send(GetPool);
        self.read_announced(ctx);
        let samples = async move { (queue.await, pool.await) };
        ctx.spawn(samples.into_actor(self).map(move |(queue, pool), forecast, ctx| {
            forecast.sampling = false;
            match (queue, pool) {
                (Ok(queue), Ok(pool)) => {
                    forecast.max_starting = pool.max_starting;
                    forecast.announced.prune(queue.next_due, forecast.deps.now());
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

    /// Reads from the store which tasks are due soon. No decision waits for the answer, so the pool is sized even while
    /// the store is slow or unreachable.
    fn read_announced(&mut self, ctx: &mut Context<Self>) {
        let (store, now, ahead) = (&self.deps.node.store, self.deps.now(), self.lookahead());
        if let Some(call) = self.announced.read(store, &self.deps.name, self.seen.next_due, now, ahead) {
            ctx.spawn(call.into_actor(self).map(|answer, forecast, _| forecast.announced.learn(answer)));
        }
    }

    /// How far ahead it matters what is due.
    fn lookahead(&self) -> Lookahead {
        let horizon_s = self.forecast.map_or(self.limits.cold_start_s + self.limits.tick_s, |known| known.horizon_s);
        Lookahead { horizon_s, agents: (self.limits.max, self.max_starting) }
    }

    /// What is known to come at `now`: delayed tasks and retries, and the occurrences of schedules.
    fn announced(&self, now: Timestamp) -> Vec<(f64, u64)> {
        let mut announced = self.announced.list(now);
        let until = now + self.lookahead().window();
        announced.extend(self.deps.node.schedules.announced(&self.deps.name, now, until));
        announced
    }

    fn decide(&mut self, cause: Cause, queue: &QueueActivity, pool: &PoolSample) {
        let now = self.deps.now();
        let seen = self.observation(now, queue, pool);
        self.cold_start_s = seen.cold_start_s.or(self.cold_start_s);
        let was_fixed = self.outage.is_fixed();
        self.open_arrivals.observe(&seen);
        let bounds = self.outage.observe(&Moment {
            now,
            dependency: &self.seen.dependency,
            is_suspicious: self.seen.is_suspicious,
            desired: pool.desired,
            depth: queue.depth,
        });
        let begun = Instant::now();
        let decision = match self.outage.is_fixed() {
            true => {
                let mut rest = without_outage(&seen, self.forecast.as_ref());
                if !was_fixed {
                    rest.completed.extend(self.open_arrivals.caught(self.forecast.as_ref()));
                }
                self.policy.decide(&rest)
            }
            false => self.policy.decide(&seen),
        };
        self.metrics.decision_time.record(begun.elapsed().as_secs_f64());
        let decision = match bounds {
            Some(bounds) => within(decision, bounds.clamped(pool.min, pool.max), &self.seen.dependency),
            None => decision,
        };
        let span_s = self.decided_at.map_or(self.limits.tick_s, |at| now.since(at).as_secs_f64());
        self.decided_at = Some(now);
        self.admission.note_completion_rate(queue.counts.completions as f64 / span_s.max(0.001));
        self.set_baseline(&seen, &decision);
        self.record(now, span_s, queue, pool, &decision);
        self.send_returns(now);
        self.unsaved_tasks = self.unsaved_tasks.saturating_add(seen.arrivals);
        self.apply(now, cause, &seen, pool, decision);
        self.save_if_due(now);
    }

    /// Sends the pool what the policy learned of when contexts are wanted again.
    fn send_returns(&mut self, now: Timestamp) {
        if now < self.returns_due {
            return;
        }
        self.returns_due = now + RETURNS_EVERY;
        let chances = ReturnChances::new(self.policy.return_chances());
        if !chances.is_empty() {
            self.links.returns.do_send(SetReturnChances(chances));
        }
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
            announced: self.announced(now),
            max_starting: (pool.max_starting < u32::MAX).then_some(pool.max_starting),
            utc_s: Some(now.as_secs_f64()),
        }
    }

    fn since_begun(&self, arrived: &[Arrival]) -> Vec<Arrival> {
        let begun = self.begun.as_secs_f64();
        arrived.iter().map(|arrival| Arrival { at: (arrival.at - begun).max(0.0), ..*arrival }).collect()
    }

    /// Sends the queue the expected rate and service time, so that it can detect a surge or a shift.
    fn set_baseline(&mut self, seen: &Observation, decision: &Decision) {
        let Some(forecast) = decision.forecast else { return };
        let recent_s = self.service_time.follow(seen.completions, seen.mean_service_s, forecast.service_s);
        self.links.expect.do_send(SetBaseline { rate_per_s: forecast.rate_per_s, service_s: recent_s });
    }

    fn apply(&mut self, now: Timestamp, cause: Cause, seen: &Observation, pool: &PoolSample, decision: Decision) {
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
                start_concurrency: seen.max_starting,
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
        self.history.record(record);
    }

    fn record(&mut self, now: Timestamp, span_s: f64, queue: &QueueActivity, pool: &PoolSample, decision: &Decision) {
        let point = TimelinePoint {
            at: now,
            span_s,
            arrivals: queue.counts.arrivals,
            waits: queue.waits.clone(),
            context_waits: queue.context_waits.clone(),
            depth: u32::try_from(queue.depth).unwrap_or(u32::MAX),
            desired: pool.desired,
            advised: decision.desired,
            agents: pool.counts,
            forecast: decision.forecast,
        };
        self.metrics.sampled(point.rate_per_s(), decision.forecast.unwrap_or_default());
        self.history.note(point.to_point());
        self.timeline.note(&point);
    }
}

/// Creates a pool's policy, with `make` or from the settings.
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

impl Actor for ForecastActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.sample(Cause::Tick, ctx);
        let interval = Duration::from_secs_f64(self.policy.interval_s().clamp(0.05, 3_600.0));
        ctx.run_interval(interval, |forecast, ctx| forecast.sample(Cause::Tick, ctx));
    }
}

impl Handler<Nudge> for ForecastActor {
    type Result = ();

    fn handle(&mut self, Nudge(cause): Nudge, ctx: &mut Self::Context) {
        let since = self.decided_at.map(|at| self.deps.now().since(at));
        match since {
            Some(since) if since < DEBOUNCE => {
                // One decision after the pause answers all nudges of the pause.
                if self.nudged.replace(cause).is_none() {
                    ctx.run_later(DEBOUNCE.saturating_sub(since), |forecast, ctx| {
                        if let Some(cause) = forecast.nudged.take() {
                            forecast.sample(cause, ctx);
                        }
                    });
                }
            }
            _ => self.sample(cause, ctx),
        }
    }
}
