//! Simulated agents, whose tasks only take time: for demonstrations, benchmarks and tests.

mod outage;
mod resident;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use forerunner_core::{ContextId, Error, Payload, TaskId, human_duration, placement::Room};
use forerunner_runtime::agent::{
    AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, ResidentContexts, StartRequest, Transfer,
};
use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::sleep;

pub use self::outage::SimulatedOutage;
use self::{
    outage::{FAILS_AFTER, OutageClock},
    resident::Residency,
};
use crate::AgentKind;

/// The behaviour of simulated agents.
///
/// A task takes `service_s` seconds if its input is an object with that number, else `service`. If it has the numbers
/// `context_bytes` and `shared_bytes`, its context has so many bytes afterwards, and the items within the first
/// `shared_bytes` are the earlier ones. Rates are probabilities from 0 to 1, drawn for each task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedSpec {
    /// The cold start.
    #[serde(with = "human_duration")]
    pub cold_start: Duration,
    /// The duration of a task without `service_s` in its input.
    #[serde(with = "human_duration")]
    pub service: Duration,
    /// Time passes this many times faster: cold starts and services are divided by it. Above 0.
    pub speed: f64,
    /// Share of tasks in the middle of which the agent is lost.
    pub crash_rate: f64,
    /// Share of tasks that end with a retryable error.
    pub error_rate: f64,
    /// Share of tasks that take `slow_factor` times longer.
    pub slow_rate: f64,
    /// By which factor slow tasks take longer. At least 0.
    pub slow_factor: f64,
    /// How many bytes of JSON each task adds to its context (at least 8); with 0 it adds none.
    pub context_growth_bytes: usize,
    /// Room for contexts in each agent's own memory, in bytes. With 0 it gets its context with each task.
    pub context_memory_bytes: u64,
    /// Seconds to load 10⁶ bytes of a context into that memory.
    pub restore_s_per_mb: f64,
    /// A time in which what the agents depend on fails.
    pub outage: SimulatedOutage,
    /// Where chance begins: the n-th agent with the same seed draws the same.
    pub seed: u64,
}

impl Default for SimulatedSpec {
    fn default() -> Self {
        Self {
            cold_start: Duration::from_secs(2),
            service: Duration::from_secs(1),
            speed: 1.0,
            crash_rate: 0.0,
            error_rate: 0.0,
            slow_rate: 0.0,
            slow_factor: 10.0,
            context_growth_bytes: 0,
            context_memory_bytes: 0,
            restore_s_per_mb: 0.0,
            outage: SimulatedOutage::default(),
            seed: 0,
        }
    }
}

impl SimulatedSpec {
    /// Checks the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first one that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |key, value: f64, holds: bool, rule: &str| match holds {
            true => Ok(()),
            false => Err(Error::Setting { key, value: value.to_string(), rule: rule.to_owned() }),
        };
        for (key, rate) in [
            ("crash_rate", self.crash_rate),
            ("error_rate", self.error_rate),
            ("slow_rate", self.slow_rate),
            ("outage.share", self.outage.share),
        ] {
            check(key, rate, (0.0..=1.0).contains(&rate), "use 0 to 1")?;
        }
        check("speed", self.speed, self.speed > 0.0 && self.speed.is_finite(), "use a number above 0")?;
        let restore = self.restore_s_per_mb;
        check("restore_s_per_mb", restore, restore >= 0.0 && restore.is_finite(), "use a number of at least 0")?;
        let slow = self.slow_factor;
        check("slow_factor", slow, slow >= 0.0 && slow.is_finite(), "use a number of at least 0")
    }

    /// The length of `seconds` at the set speed. A length that no clock supports is zero.
    fn scaled(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds / self.speed).unwrap_or(Duration::ZERO)
    }
}

impl AgentKind for SimulatedSpec {
    const SHORT_FORM: &'static str = "SERVICE_TIME";
    const SHORT_EXAMPLE: &'static str = "250ms";
    const OPEN_FILES: u64 = 0;

    fn template() -> Self {
        Self::default()
    }

    fn from_short(text: &str) -> Option<Map<String, Value>> {
        let service = (!text.is_empty()).then(|| ("service".to_owned(), Value::from(text)));
        Some(service.into_iter().collect())
    }

    fn validate(&self) -> Result<(), Error> {
        self.validate()
    }

    fn describe(&self) -> String {
        "simulated agents".to_owned()
    }

    fn factory(&self) -> Result<Arc<dyn DriverFactory>, Error> {
        Ok(Arc::new(SimulatedFactory::new(self.clone())?))
    }
}

/// What the input of a task may set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TaskOptions {
    service_s: Option<f64>,
    context_bytes: Option<usize>,
    shared_bytes: usize,
}

/// Makes simulated agents.
#[derive(Debug)]
pub struct SimulatedFactory {
    spec: Arc<SimulatedSpec>,
    started: AtomicU64,
    clock: Arc<OutageClock>,
}

impl SimulatedFactory {
    /// Checks the settings and wraps them.
    ///
    /// # Errors
    /// What [`SimulatedSpec::validate`] refuses.
    pub fn new(spec: SimulatedSpec) -> Result<Self, Error> {
        spec.validate()?;
        Ok(Self { spec: Arc::new(spec), started: AtomicU64::new(0), clock: Arc::default() })
    }
}

impl DriverFactory for SimulatedFactory {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    /// A start takes no processor time, so any number may run at once.
    fn max_starting(&self) -> u32 {
        u32::MAX
    }

    fn start(&self, _: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let instance = self.started.fetch_add(1, Ordering::Relaxed);
        let (spec, clock) = (Arc::clone(&self.spec), Arc::clone(&self.clock));
        Box::pin(async move {
            clock.begin();
            sleep(spec.scaled(spec.cold_start.as_secs_f64())).await;
            let chance = Chance::new(spec.seed, instance);
            let outage_chance = Chance::new(!spec.seed, instance);
            let residency =
                (spec.context_memory_bytes > 0).then(|| Residency::new(Room::of_bytes(spec.context_memory_bytes)));
            Ok(Box::new(SimulatedDriver { spec, chance, outage_chance, clock, residency }) as Box<dyn Driver>)
        })
    }
}

/// One simulated agent.
struct SimulatedDriver {
    spec: Arc<SimulatedSpec>,
    chance: Chance,
    /// Apart from the other, so that an outage does not change what else happens.
    outage_chance: Chance,
    clock: Arc<OutageClock>,
    residency: Option<Residency>,
}

impl SimulatedDriver {
    async fn run_attempt(&mut self, request: &AttemptRequest, cx: &mut AgentContext) -> Result<Payload, AgentError> {
        let spec = Arc::clone(&self.spec);
        // Always the same number of draws, so that one rate does not change what another one hits.
        let [slow, error, crash] =
            [spec.slow_rate, spec.error_rate, spec.crash_rate].map(|rate| self.chance.hits(rate));
        let factor = if slow { spec.slow_factor } else { 1.0 };
        let options: TaskOptions = request.input.read().unwrap_or_default();
        let service = spec.scaled(options.service_s.unwrap_or(spec.service.as_secs_f64()) * factor);
        self.load_context(cx).await?;
        if self.clock.is_within(&spec.outage, spec.speed) && self.outage_chance.hits(spec.outage.share) {
            work(spec.scaled(FAILS_AFTER.as_secs_f64()), cx).await?;
            return Err(AgentError::retryable("503: the simulated provider does not answer (outage)"));
        }
        if crash {
            work(service / 2, cx).await?;
            return Err(AgentError::lost("the simulated agent crashed (crash_rate)"));
        }
        work(service, cx).await?;
        if error {
            return Err(AgentError::retryable("the simulated agent failed (error_rate)"));
        }
        if spec.context_growth_bytes > 0 {
            cx.push_bytes(item_of(spec.context_growth_bytes))?;
        }
        if let Some(bytes) = options.context_bytes {
            reshape(cx, request.task, options.shared_bytes, bytes)?;
        }
        self.record(cx);
        Ok(request.input.clone())
    }

    /// Waits for the time of loading the missing part of the task's context.
    async fn load_context(&mut self, cx: &mut AgentContext) -> Result<(), AgentError> {
        let (Some(residency), Some(id)) = (&self.residency, cx.id()) else { return Ok(()) };
        let missing_bytes = residency.missing_bytes(id, cx.items());
        let loading = self.spec.scaled(missing_bytes as f64 / 1e6 * self.spec.restore_s_per_mb);
        work(loading, cx).await?;
        let load_s = loading.as_secs_f64();
        // An empty context misses nothing, but it was not resident either.
        let was_resident = Some(missing_bytes == 0 && !cx.items().is_empty());
        cx.add_transfer(Transfer { to_agent_bytes: missing_bytes, load_s, was_resident, ..Transfer::default() });
        self.record(cx);
        Ok(())
    }

    fn record(&mut self, cx: &AgentContext) {
        if let (Some(residency), Some(id)) = (&mut self.residency, cx.id()) {
            residency.record(id, cx.version(), cx.items());
        }
    }
}

/// Resizes a context to `bytes`. Whole items within the first `shared` bytes stay as they are.
fn reshape(cx: &mut AgentContext, task: TaskId, shared: usize, bytes: usize) -> Result<(), AgentError> {
    let mut prefix = 0;
    let stay = cx.items().iter().take_while(|item| {
        prefix += item.size_bytes();
        prefix <= shared
    });
    let mut items: Vec<Vec<u8>> = stay.map(|item| item.bytes().to_vec()).collect();
    let rest = bytes.saturating_sub(items.iter().map(Vec::len).sum());
    let empty = format!(r#"{{"task":"{task}","x":""}}"#).len();
    if rest > 0 {
        items.push(format!(r#"{{"task":"{task}","x":"{}"}}"#, "x".repeat(rest.saturating_sub(empty))).into_bytes());
    }
    cx.replace(items)
}

/// Waits for the duration, unless the task is cancelled.
async fn work(service: Duration, cx: &AgentContext) -> Result<(), AgentError> {
    tokio::select! {
        biased;
        () = cx.cancelled() => Err(AgentError::cancelled()),
        () = sleep(service) => Ok(()),
    }
}

/// A JSON object of `size` bytes, or of 8 if that is more.
fn item_of(size: usize) -> Vec<u8> {
    format!(r#"{{"x":"{}"}}"#, "x".repeat(size.saturating_sub(8))).into_bytes()
}

impl Driver for SimulatedDriver {
    fn run<'a>(
        &'a mut self,
        request: &'a AttemptRequest,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        Box::pin(self.run_attempt(request, cx))
    }

    fn resident_contexts(&self) -> Option<ResidentContexts> {
        self.residency.as_ref().map(Residency::contexts)
    }

    fn forget(&mut self, context: &ContextId) {
        if let Some(residency) = &mut self.residency {
            residency.forget(context);
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough for coin tosses.
struct Chance(u64);

impl Chance {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    fn new(seed: u64, instance: u64) -> Self {
        // Mixed once, so that neighbouring instances do not walk the same path one step apart.
        let mut mixed = Self(seed ^ instance.wrapping_mul(0xd134_2543_de82_ef95));
        Self(mixed.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Draws a number in [0, 1) of 53 bits and compares.
    fn hits(&mut self, rate: f64) -> bool {
        ((self.next() >> 11) as f64) * (1.0 / (1u64 << 53) as f64) < rate
    }
}

#[cfg(test)]
mod tests {
    use forerunner_core::{AgentId, ErrorKind, PoolName, TaskId, Timestamp};
    use tokio::time::Instant;

    use super::*;

    fn factory(spec: SimulatedSpec) -> SimulatedFactory {
        SimulatedFactory::new(spec).unwrap()
    }

    async fn start(factory: &SimulatedFactory) -> Box<dyn Driver> {
        let agent = AgentId::from_parts(Timestamp::default(), 1);
        factory.start(StartRequest { agent, pool: PoolName::new("pool").unwrap(), dictionary: None }).await.unwrap()
    }

    fn attempt(input: &str) -> AttemptRequest {
        let task = TaskId::from_parts(Timestamp::default(), 1);
        AttemptRequest {
            task,
            attempt: 1,
            depth: 0,
            input: Payload::parse(input).unwrap(),
            deadline: Timestamp::default(),
            traceparent: None,
            requests: Vec::new(),
        }
    }

    fn context() -> AgentContext {
        AgentContext::detached(TaskId::from_parts(Timestamp::default(), 1))
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_simulated_agent_takes_its_time_and_no_more() {
        let spec = SimulatedSpec { speed: 2.0, context_growth_bytes: 100, ..SimulatedSpec::default() };
        let begin = Instant::now();
        let mut driver = start(&factory(spec)).await;
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
        for (input, seconds) in [(r#"{"service_s": 6}"#, 3.0), ("null", 0.5), (r#"{"service_s": -1}"#, 0.0)] {
            let (begin, mut cx) = (Instant::now(), context());
            assert_eq!(driver.run(&attempt(input), &mut cx).await.unwrap().as_str(), input);
            assert_eq!(begin.elapsed(), Duration::from_secs_f64(seconds), "{input}");
            assert_eq!(cx.items()[0].bytes().len(), 100);
        }
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_simulated_agent_stops_when_cancelled() {
        let mut driver = start(&factory(SimulatedSpec::default())).await;
        let mut cx = context();
        let cancel = cx.cancellation();
        let (attempt, begin) = (attempt(r#"{"service_s": 3600}"#), Instant::now());
        let canceller = async {
            sleep(Duration::from_secs(2)).await;
            cancel.cancel();
        };
        let (result, ()) = tokio::join!(driver.run(&attempt, &mut cx), canceller);
        assert_eq!(result.unwrap_err(), AgentError::cancelled());
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn mishaps_come_at_their_rates_and_repeat_with_the_seed() {
        async fn outcomes(seed: u64) -> Vec<Option<ErrorKind>> {
            let spec = SimulatedSpec { crash_rate: 0.1, error_rate: 0.2, seed, ..SimulatedSpec::default() };
            let mut driver = start(&factory(spec)).await;
            let mut outcomes = Vec::new();
            for _ in 0..2_000 {
                outcomes.push(driver.run(&attempt("1"), &mut context()).await.err().map(|error| error.kind()));
            }
            outcomes
        }
        let found = outcomes(7).await;
        let share = |kind| found.iter().filter(|outcome| **outcome == Some(kind)).count() as f64 / 2_000.0;
        assert!((share(ErrorKind::AgentLost) - 0.1).abs() < 0.03, "{}", share(ErrorKind::AgentLost));
        assert!((share(ErrorKind::AgentError) - 0.18).abs() < 0.03, "{}", share(ErrorKind::AgentError));
        assert_eq!(found, outcomes(7).await);
        assert_ne!(found, outcomes(8).await);
    }

    #[test]
    fn rates_out_of_range_are_refused_by_name() {
        for (spec, key) in [
            (SimulatedSpec { crash_rate: 1.5, ..SimulatedSpec::default() }, "crash_rate"),
            (SimulatedSpec { error_rate: f64::NAN, ..SimulatedSpec::default() }, "error_rate"),
            (SimulatedSpec { speed: 0.0, ..SimulatedSpec::default() }, "speed"),
            (
                SimulatedSpec {
                    outage: SimulatedOutage { share: 2.0, ..SimulatedOutage::default() },
                    ..SimulatedSpec::default()
                },
                "outage.share",
            ),
            (SimulatedSpec { slow_factor: -1.0, ..SimulatedSpec::default() }, "slow_factor"),
        ] {
            assert!(SimulatedFactory::new(spec).unwrap_err().to_string().contains(key));
        }
    }
}
