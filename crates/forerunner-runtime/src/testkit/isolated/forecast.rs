//! A forecast without a queue and a pool.

use std::sync::Arc;

use parking_lot::Mutex;

use actix::{Actor, Addr, Context, Handler};
use forerunner_core::{AgentCounts, PoolTally, StartStatus};
use forerunner_forecast::{Policy, PolicyLimits};

use super::{
    SentMessage,
    test_probe::{SentMessages, TestProbe},
};
use crate::{
    PoolSettings,
    forecast::{
        ForecastActor, ForecastDeps, ForecastLinks, PriorKnowledge,
        messages::{GetDecisions, GetForecast},
    },
    pool::messages::{GetPool, PoolSample},
    queue::{
        messages::{Nudge, SampleQueue},
        sample::{QueueSample, SampleMark},
        totals::QueueTotals,
    },
    spec::PolicyFactory,
    status::{Cause, ColdStart, DecisionRecord, ForecastStatus, PoolState},
};

/// What the test shows to a forecast: the events since the previous sample, and the current state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShownState {
    /// Tasks that became due since the previous sample.
    pub arrivals: u64,
    /// Tasks that started.
    pub starts: u64,
    /// Started tasks that were late.
    pub late: u64,
    /// Attempts that ended.
    pub completions: u64,
    /// Their mean seconds on an agent.
    pub mean_service_s: f64,
    /// Tasks that wait.
    pub depth: u64,
    /// Agents by state; the busy ones run tasks.
    pub agents: AgentCounts,
    /// The wanted number of agents before.
    pub desired: u32,
    /// The measured cold start in seconds, if there is one.
    pub cold_start_s: Option<f64>,
}

/// The actor that sizes a pool; the test plays queue and pool.
///
/// ```
/// use forerunner_runtime::{Cause, testkit::IsolatedForecast};
///
/// # actix_rt::System::new().block_on(async {
/// tokio::time::pause();
/// let mut forecast = IsolatedForecast::start(|pool| (pool.min, pool.max) = (1, 40));
/// // Two tasks a second and none of them served: the pool must grow.
/// forecast.show(|now| (now.arrivals, now.depth, now.desired) = (2, now.depth + 2, 1));
/// assert!(forecast.resized().await > 1);
/// forecast.nudge(Cause::Surge);
/// # });
/// ```
pub struct IsolatedForecast {
    forecast: Addr<ForecastActor>,
    sent: SentMessages,
    view: Arc<Mutex<View>>,
}

impl IsolatedForecast {
    /// Starts the actor on the current thread with the policy that the settings name; `edit` changes them.
    ///
    /// # Panics
    /// When the settings are not valid.
    pub fn start(edit: impl FnOnce(&mut PoolSettings)) -> Self {
        Self::begin(edit, None)
    }

    /// The same with a custom policy.
    ///
    /// # Panics
    /// When the settings are not valid.
    pub fn with_policy(
        edit: impl FnOnce(&mut PoolSettings),
        make: impl Fn(PolicyLimits) -> Box<dyn Policy> + Send + Sync + 'static,
    ) -> Self {
        Self::begin(edit, Some(Arc::new(make)))
    }

    fn begin(edit: impl FnOnce(&mut PoolSettings), policy: Option<Arc<PolicyFactory>>) -> Self {
        let deps = super::deps(edit);
        let (neighbour, sent) = TestProbe::start();
        let view = Arc::new(Mutex::new(View {
            now: ShownState::default(),
            counted: QueueTotals::default(),
            edit: Box::new(|_| {}),
        }));
        let looked_at = SampledActors { view: view.clone(), bounds: (deps.settings.min, deps.settings.max) }.start();
        let links = ForecastLinks {
            queue: looked_at.clone().recipient(),
            expect: neighbour.clone().recipient(),
            pool: looked_at.recipient(),
            resize: neighbour.clone().recipient(),
            returns: neighbour.clone().recipient(),
            configure: neighbour.recipient(),
        };
        let forecast = ForecastDeps { admission: super::admission(&deps), pool: deps, policy };
        let forecast = ForecastActor::new(forecast, links, PriorKnowledge::default()).expect("valid settings").start();
        Self { forecast, sent, view }
    }

    /// Edits what is shown, from the next sample on: `edit` runs before each sample, on what was shown last.
    pub fn show(&self, edit: impl FnMut(&mut ShownState) + Send + 'static) {
        self.view.lock().edit = Box::new(edit);
    }

    /// Sends a nudge, as queue and pool do.
    pub fn nudge(&self, cause: Cause) {
        self.forecast.do_send(Nudge(cause));
    }

    /// Waits until the forecast resizes the pool.
    ///
    /// # Panics
    /// When an hour passes without a resize.
    pub async fn resized(&mut self) -> u32 {
        let pick = |message| if let SentMessage::Resize(agents) = message { Some(agents) } else { None };
        self.sent.next("a resize", pick).await
    }

    /// Returns the messages that the forecast has sent so far.
    pub fn sent(&mut self) -> Vec<SentMessage> {
        self.sent.take()
    }

    /// Returns the newest decisions, newest first.
    ///
    /// # Panics
    /// When the actor has stopped.
    pub async fn decisions(&self, limit: usize) -> Vec<DecisionRecord> {
        self.forecast.send(GetDecisions { limit, seq: None }).await.expect("the forecast answers").0
    }

    /// Returns the forecast.
    ///
    /// # Panics
    /// When the actor has stopped.
    pub async fn forecast(&self) -> ForecastStatus {
        self.forecast.send(GetForecast).await.expect("the forecast answers").0
    }
}

struct View {
    now: ShownState,
    /// The sum of everything that was shown.
    counted: QueueTotals,
    edit: Box<dyn FnMut(&mut ShownState) + Send>,
}

/// Plays queue and pool: answers with what the test shows.
struct SampledActors {
    view: Arc<Mutex<View>>,
    bounds: (u32, u32),
}

impl Actor for SampledActors {
    type Context = Context<Self>;
}

/// A sample begins with the queue. So the state changes here, and the pool's sample shows the same state.
impl Handler<SampleQueue> for SampledActors {
    type Result = QueueSample;

    fn handle(&mut self, _: SampleQueue, _: &mut Self::Context) -> QueueSample {
        let mut view = self.view.lock();
        let view = &mut *view;
        let View { now, edit, .. } = view;
        edit(now);
        view.counted.add(&QueueTotals {
            arrivals: now.arrivals,
            starts: now.starts,
            late: now.late,
            completions: now.completions,
            service_sum_s: now.mean_service_s * now.completions as f64,
            context_sum_bytes: 0,
        });
        QueueSample {
            mark: SampleMark { here: view.counted, ..SampleMark::default() },
            peak_running: now.agents.busy,
            running: now.agents.busy,
            depth: now.depth,
            ..QueueSample::default()
        }
    }
}

impl Handler<GetPool> for SampledActors {
    type Result = PoolSample;

    fn handle(&mut self, _: GetPool, _: &mut Self::Context) -> PoolSample {
        let view = self.view.lock();
        PoolSample {
            counts: view.now.agents,
            draining: 0,
            desired: view.now.desired,
            min: self.bounds.0,
            max_starting: u32::MAX,
            starts: StartStatus::default(),
            max: self.bounds.1,
            state: PoolState::Running,
            cold_start: view.now.cold_start_s.map(|seconds| ColdStart { p50: seconds, p90: seconds }),
            tally: PoolTally::default(),
            agent_seconds: 0.0,
        }
    }
}
