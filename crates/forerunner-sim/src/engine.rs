//! The discrete-event simulator: one queue, one pool, one policy, virtual time.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, VecDeque},
};

use forerunner_forecast::{Arrival, Decision, Observation, Policy, PolicyLimits};

use crate::{
    announcement_feed::AnnouncementFeed,
    conversations::Conversations,
    nudges::Nudges,
    pool::Agents,
    report::{Report, TimelinePoint},
    report_builder::ReportBuilder,
    trace::{Trace, TraceTask},
};

/// Observations list announced tasks for this many horizons, and at least [`ANNOUNCED_S`] seconds.
const ANNOUNCED_HORIZONS: f64 = 3.0;
const ANNOUNCED_S: f64 = 60.0;
/// Seconds after the last arrival until tasks that wait for a pool without agents are abandoned.
const PATIENCE_S: f64 = 3600.0;

/// How a trace is replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// Bounds, cold start, tick and objective of the policy.
    pub limits: PolicyLimits,
    /// Agents ready at the begin beyond `limits.min`.
    pub initial: u32,
    /// Seconds at the start whose arrivals and cost do not count, so that every policy can settle.
    pub warm_up_s: f64,
    /// Whether to record the state at every decision, and the wait of each task.
    pub timeline: bool,
    /// Describes the policy's settings in the report.
    pub params: String,
    /// What the running service does beyond the plain model; `None` for the plain model.
    pub as_live: Option<AsLive>,
    /// Begin and end of the times in which no task on an agent goes on, in order: what the tasks depend on does not
    /// answer.
    pub stalls: Vec<(f64, f64)>,
}

/// What the service does beyond the plain model. A surge, a backlog or a shift of durations triggers a decision at
/// once. An agent that is not needed stays in cooldown before it stops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AsLive {
    /// Seconds that an idle agent that is not needed stays in cooldown.
    pub cooldown_s: f64,
}

impl Replay {
    /// A replay with a warm-up of 300 s, `limits.min` agents at the start, and no timeline.
    pub fn new(limits: PolicyLimits) -> Self {
        Self {
            limits,
            initial: 0,
            warm_up_s: 300.0,
            timeline: false,
            params: String::new(),
            as_live: None,
            stalls: Vec::new(),
        }
    }

    /// When a task that begins at `begun_s` and takes `service_s` seconds ends.
    fn end_of(&self, begun_s: f64, service_s: f64) -> f64 {
        self.stalls.iter().fold(begun_s + service_s, |end_s, &(from_s, to_s)| {
            let stands_still = begun_s < to_s && from_s < end_s;
            if stands_still { end_s + to_s - from_s.max(begun_s) } else { end_s }
        })
    }
}

/// What a replay yields.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The figures.
    pub report: Report,
    /// The state at every decision; empty unless requested.
    pub timeline: Vec<TimelinePoint>,
    /// Arrival of each task, and its wait for an agent, in seconds; in order of their starts, including the warm-up; empty
    /// without a timeline.
    pub waits: Vec<(f64, f64)>,
}

/// Replays `trace` against `policy` and returns the figures.
///
/// The model: one first-in-first-out queue. An agent works on one task at a time. Tasks of one session run one after
/// another: the wait of a task counts from when the one before it ended. A new agent gets tasks one cold start after
/// the decision, and costs from the decision on. A scale-down stops the newest starting agents first, then idle ones,
/// then busy ones, which stop after their task unless a scale-up reclaims them. The policy decides at its own interval
/// from time 0, and its decision is limited to the bounds. At equal times a completion goes first, then an agent that
/// becomes ready, then an arrival, then the policy. [`Replay::as_live`] adds what the service does beyond this. The
/// replay ends with the last task; cost counts until then.
///
/// Deterministic: no clock, no randomness, no threads.
pub fn replay(trace: &Trace, policy: &mut dyn Policy, settings: &Replay) -> Outcome {
    let mut engine = Engine::new(trace.tasks(), settings);
    let interval_s = policy.interval_s();
    engine.run(interval_s, |seen| policy.decide(seen));
    let mut outcome = engine.outcome(trace.name(), policy.name());
    outcome.report.band_coverage = policy.band_coverage();
    outcome
}

/// A task that will end on its agent at `at`. Ordered by time, then by task, so that ties are always resolved in the
/// same way.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Completion {
    at: f64,
    task: usize,
    begun_s: f64,
}

impl Eq for Completion {}

impl Ord for Completion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.total_cmp(&other.at).then(self.task.cmp(&other.task))
    }
}

impl PartialOrd for Completion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What happens next; in this order when several are due at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Completion,
    Ready,
    Cooled,
    Arrival,
    Tick,
    Nudge,
}

struct Engine<'a> {
    tasks: &'a [TraceTask],
    settings: &'a Replay,
    agents: Agents,
    running: BinaryHeap<Reverse<Completion>>,
    /// Tasks that wait for an agent in order of arrival, and when each could start.
    queue: VecDeque<(usize, f64)>,
    conversations: Conversations,
    arrived: usize,
    /// The next observation; its buffers are reused.
    seen: Observation,
    context_sum: f64,
    context_n: u64,
    service_sum: f64,
    announcements: AnnouncementFeed,
    desired: u32,
    nudges: Option<Nudges>,
    now: f64,
    builder: ReportBuilder,
    timeline: Vec<TimelinePoint>,
    waits: Vec<(f64, f64)>,
}

impl<'a> Engine<'a> {
    fn new(tasks: &'a [TraceTask], settings: &'a Replay) -> Self {
        let begin = settings.limits.clamp(settings.limits.min + settings.initial);
        let horizon_s = settings.limits.cold_start_s + settings.limits.tick_s;
        Self {
            announcements: AnnouncementFeed::new(tasks, (ANNOUNCED_HORIZONS * horizon_s).max(ANNOUNCED_S)),
            tasks,
            settings,
            agents: Agents::new(begin, settings.as_live.map(|live| live.cooldown_s)),
            running: BinaryHeap::new(),
            queue: VecDeque::new(),
            conversations: Conversations::default(),
            arrived: 0,
            seen: Observation::default(),
            context_sum: 0.0,
            context_n: 0,
            service_sum: 0.0,
            desired: begin,
            nudges: settings.as_live.map(|_| Nudges::new()),
            now: 0.0,
            builder: ReportBuilder::new(tasks.len(), begin),
            timeline: Vec::new(),
            waits: Vec::new(),
        }
    }

    fn run(&mut self, interval_s: f64, mut decide: impl FnMut(&Observation) -> Decision) {
        let interval_s = interval_s.max(1e-3);
        let mut ticks = 0u64;
        loop {
            let tick_at = ticks as f64 * interval_s;
            if !self.work_left() {
                return self.give_up();
            }
            let (at, event) = self.next_event(tick_at);
            self.advance(at);
            match event {
                Event::Completion => self.complete(),
                Event::Ready => self.agents.become_ready(),
                Event::Cooled => self.agents.cool_down(),
                Event::Arrival => self.arrive(),
                Event::Tick => {
                    ticks += 1;
                    self.tick(&mut decide);
                }
                Event::Nudge => {
                    if self.nudges.as_mut().is_some_and(|nudges| nudges.wake(at)) {
                        self.tick(&mut decide);
                    }
                }
            }
            self.assign();
            if let Some(nudges) = &mut self.nudges {
                nudges.observe(self.now, self.queue.len() as u32, self.agents.idle);
            }
        }
    }

    /// Whether tasks will arrive or must be run by agents that the policy has not removed.
    fn work_left(&self) -> bool {
        let to_come = self.arrived < self.tasks.len();
        let stuck =
            !to_come && self.agents.total() == 0 && self.now > self.tasks[self.arrived - 1].arrival_s + PATIENCE_S;
        to_come || !self.running.is_empty() || (!self.queue.is_empty() && !stuck)
    }

    /// Counts the tasks that never started as having waited until now.
    fn give_up(&mut self) {
        for (task, ready_s) in std::mem::take(&mut self.queue) {
            self.count_wait(self.tasks[task].arrival_s, ready_s);
        }
    }

    fn next_event(&self, tick_at: f64) -> (f64, Event) {
        let completion = self.running.peek().map(|Reverse(next)| (next.at, Event::Completion));
        let ready = self.agents.next_ready().map(|at| (at, Event::Ready));
        let cooled = self.agents.next_cooled().map(|at| (at, Event::Cooled));
        let arrival = self.tasks.get(self.arrived).map(|task| (task.arrival_s, Event::Arrival));
        let nudge = self.nudges.as_ref().and_then(Nudges::next).map(|at| (at, Event::Nudge));
        let others = [completion, ready, cooled, arrival, nudge].into_iter().flatten();
        others.fold((tick_at, Event::Tick), |next, other| {
            if other.0.total_cmp(&next.0).then(other.1.cmp(&next.1)).is_lt() { other } else { next }
        })
    }

    /// Advances time to `at`, and adds the cost of the agents.
    fn advance(&mut self, at: f64) {
        let counted = at - self.now.max(self.settings.warm_up_s);
        if counted > 0.0 {
            self.builder.cost(counted, self.agents.total(), self.agents.busy);
        }
        self.now = at;
    }

    fn arrive(&mut self) {
        let task = self.arrived;
        self.arrived += 1;
        let session = self.tasks[task].session;
        if self.conversations.arrive(task, session) {
            self.queue.push_back((task, self.now));
        }
        self.seen.arrivals += 1;
        self.seen.arrived.push(Arrival { task: task as u64, at: self.now, session: session.map(u64::from) });
        if let Some(nudges) = &mut self.nudges {
            nudges.arrived(self.now);
        }
    }

    fn complete(&mut self) {
        let Some(Reverse(done)) = self.running.pop() else { return };
        self.agents.finish(self.now);
        let task = &self.tasks[done.task];
        let service_s = if self.settings.stalls.is_empty() { task.service_s } else { done.at - done.begun_s };
        if let Some(nudges) = &mut self.nudges {
            nudges.completed(self.now, service_s);
        }
        self.seen.completions += 1;
        self.seen.completed.push((done.task as u64, service_s));
        self.service_sum += service_s;
        if let Some(tokens) = task.context_tokens {
            self.context_sum += tokens;
            self.context_n += 1;
        }
        if let Some(next) = self.conversations.end(task.session) {
            let place = self.queue.partition_point(|(waiting, _)| *waiting < next);
            self.queue.insert(place, (next, self.now));
        }
    }

    /// Assigns waiting tasks to idle agents, first come first served.
    fn assign(&mut self) {
        while !self.queue.is_empty() && self.agents.assign() {
            let Some((task, ready_s)) = self.queue.pop_front() else { return };
            let TraceTask { arrival_s, service_s, .. } = self.tasks[task];
            let at = self.settings.end_of(self.now, service_s);
            self.running.push(Reverse(Completion { at, task, begun_s: self.now }));
            self.seen.started += 1;
            self.seen.peak_concurrency = self.seen.peak_concurrency.max(self.agents.busy);
            self.count_wait(arrival_s, ready_s);
        }
    }

    /// Counts the wait of a task that arrived at `arrival_s`, could start at `ready_s`, and starts now.
    fn count_wait(&mut self, arrival_s: f64, ready_s: f64) {
        let late = self.builder.record_start(arrival_s, ready_s, self.now, self.settings);
        self.seen.late += u64::from(late);
        if self.settings.timeline {
            self.waits.push((arrival_s, self.now - ready_s));
        }
    }

    fn tick(&mut self, decide: &mut impl FnMut(&Observation) -> Decision) {
        self.finish_observation();
        let decision = decide(&self.seen);
        if let Some(nudges) = &mut self.nudges {
            nudges.decided(self.now, &self.seen, &decision);
        }
        let desired = self.settings.limits.clamp(decision.desired);
        if desired != self.desired {
            self.builder.record_change(self.now, self.desired, desired);
            self.desired = desired;
        }
        self.agents.resize(desired, self.now, self.now + self.settings.limits.cold_start_s);
        self.builder.record_size(self.agents.total());
        if self.settings.timeline {
            self.timeline.push(self.point(&decision));
        }
        self.begin_observation();
    }

    fn finish_observation(&mut self) {
        let seen = &mut self.seen;
        seen.t = self.now;
        seen.mean_service_s = (seen.completions > 0).then(|| self.service_sum / seen.completions as f64);
        seen.mean_context_tokens = (self.context_n > 0).then(|| self.context_sum / self.context_n as f64);
        seen.queue_depth = self.queue.len() as u32;
        seen.in_flight = self.agents.busy;
        seen.draining = self.agents.draining;
        seen.ready = self.agents.idle;
        seen.starting = self.agents.starting();
        seen.cold_start_s = Some(self.settings.limits.cold_start_s);
        self.announcements.list(self.now, &mut seen.announced);
    }

    fn begin_observation(&mut self) {
        let Observation { mut arrived, mut completed, mut announced, .. } = std::mem::take(&mut self.seen);
        arrived.clear();
        completed.clear();
        announced.clear();
        let peak_concurrency = self.agents.busy;
        self.seen = Observation { arrived, completed, announced, peak_concurrency, ..Observation::default() };
        (self.service_sum, self.context_sum, self.context_n) = (0.0, 0.0, 0);
    }

    fn point(&self, decision: &Decision) -> TimelinePoint {
        let forecast = decision.forecast;
        TimelinePoint {
            t: self.now,
            desired: self.desired,
            ready: self.agents.idle,
            busy: self.agents.busy,
            starting: self.agents.starting(),
            depth: self.queue.len() as u32,
            rate_forecast: forecast.map(|f| f.rate_per_s),
            rate_low: forecast.map(|f| f.rate_low),
            rate_high: forecast.map(|f| f.rate_high),
        }
    }

    fn outcome(self, trace: &str, policy: &str) -> Outcome {
        Outcome {
            report: self.builder.report(trace, policy, self.settings),
            timeline: self.timeline,
            waits: self.waits,
        }
    }
}
