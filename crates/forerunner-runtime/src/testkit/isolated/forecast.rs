//! A forecast without a queue and a pool.

use std::sync::Arc;

use parking_lot::Mutex;

use actix::{Actor, Addr, Context, Handler};
use forerunner_core::{AgentCounts, PoolTally};
use forerunner_forecast::{Policy, PolicyLimits};

use super::{
    SentMessage,
    test_probe::{SentMessages, TestProbe},
};
use crate::{
    PoolSettings,
    forecast::{
        ForecastActor, ForecastDeps, ForecastLinks,
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

/// What the test shows a forecast: what happened since the look before, and how things stand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    /// Tasks that became due since the look before.
    pub arrivals: u64,
    /// Tasks that began on an agent.
    pub starts: u64,
    /// Of those, how many were late.
    pub late: u64,
    /// Tasks that left an agent.
    pub completions: u64,
    /// Mean seconds on an agent of those.
    pub mean_service_s: f64,
    /// Tasks that wait.
    pub depth: u64,
    /// Agents by state; the busy ones have the tasks that run.
    pub agents: AgentCounts,
    /// Agents wanted before.
    pub desired: u32,
    /// Measured cold start in seconds, if one was measured.
    pub cold_start_s: Option<f64>,
}

/// The actor that decides how many agents a pool holds; the test plays queue and pool.
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
    letters: SentMessages,
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

    /// The same with a policy of the test's own.
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
        let (neighbour, letters) = TestProbe::start();
        let view = Arc::new(Mutex::new(View {
            now: Shown::default(),
            counted: QueueTotals::default(),
            edit: Box::new(|_| {}),
        }));
        let looked_at = LookedAt { view: view.clone(), bounds: (deps.settings.min, deps.settings.max) }.start();
        let links = ForecastLinks {
            queue: looked_at.clone().recipient(),
            expect: neighbour.clone().recipient(),
            pool: looked_at.recipient(),
            resize: neighbour.clone().recipient(),
            configure: neighbour.recipient(),
        };
        let forecast = ForecastDeps { admission: super::admission(&deps), pool: deps, policy };
        let forecast = ForecastActor::new(forecast, links, None).expect("valid settings").start();
        Self { forecast, letters, view }
    }

    /// Shows this at each look from the next one on: `edit` runs before the look, on what was shown last.
    pub fn show(&self, edit: impl FnMut(&mut Shown) + Send + 'static) {
        self.view.lock().edit = Box::new(edit);
    }

    /// Says that the picture has changed, as queue and pool do.
    pub fn nudge(&self, cause: Cause) {
        self.forecast.do_send(Nudge(cause));
    }

    /// Waits until the forecast asks the pool for a size.
    ///
    /// # Panics
    /// When an hour passes and it has not.
    pub async fn resized(&mut self) -> u32 {
        let pick = |letter| if let SentMessage::Resize(agents) = letter { Some(agents) } else { None };
        self.letters.next("a resize", pick).await
    }

    /// Takes what the forecast has sent so far.
    pub fn letters(&mut self) -> Vec<SentMessage> {
        self.letters.take()
    }

    /// Returns the newest decisions, newest first.
    ///
    /// # Panics
    /// When the actor is gone.
    pub async fn decisions(&self, limit: usize) -> Vec<DecisionRecord> {
        self.forecast.send(GetDecisions { limit, seq: None }).await.expect("the forecast answers").0
    }

    /// Returns what it expects.
    ///
    /// # Panics
    /// When the actor is gone.
    pub async fn forecast(&self) -> ForecastStatus {
        self.forecast.send(GetForecast).await.expect("the forecast answers").0
    }
}

struct View {
    now: Shown,
    /// All that was shown so far.
    counted: QueueTotals,
    edit: Box<dyn FnMut(&mut Shown) + Send>,
}

/// Plays queue and pool: answers what the test shows.
struct LookedAt {
    view: Arc<Mutex<View>>,
    bounds: (u32, u32),
}

impl Actor for LookedAt {
    type Context = Context<Self>;
}

/// A look begins with the queue: what is shown changes here, and the pool is shown the same.
impl Handler<SampleQueue> for LookedAt {
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

impl Handler<GetPool> for LookedAt {
    type Result = PoolSample;

    fn handle(&mut self, _: GetPool, _: &mut Self::Context) -> PoolSample {
        let view = self.view.lock();
        PoolSample {
            counts: view.now.agents,
            draining: 0,
            desired: view.now.desired,
            min: self.bounds.0,
            max_starting: u32::MAX,
            max: self.bounds.1,
            state: PoolState::Running,
            cold_start: view.now.cold_start_s.map(|seconds| ColdStart { p50: seconds, p90: seconds }),
            tally: PoolTally::default(),
            agent_seconds: 0.0,
        }
    }
}
