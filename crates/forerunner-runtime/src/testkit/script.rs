//! Agents that follow a script.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use forerunner_core::{AgentId, Payload, Question, RequestKind, RequestOption, TaskId, parse_duration};
use futures_util::future::LocalBoxFuture;
use tokio::sync::Notify;

use crate::agent::{AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, StartRequest};

/// What a scripted agent does in one attempt.
#[derive(Debug, Clone)]
pub enum Act {
    /// Answers this JSON text.
    Answer(String),
    /// Answers the task's input.
    Echo,
    /// Appends the input to its context, and answers with the number of items.
    Remember,
    /// Asks a person for permission, and answers with the answer. The task waits for so long.
    Ask(Duration),
    /// Fails with an error that a retry may avoid.
    Fail(String),
    /// Fails with an error that is final.
    Reject(String),
    /// Panics.
    Panic(String),
    /// Ends: the attempt fails, and the agent is lost.
    Die(String),
    /// Never answers; stops when it is cancelled.
    Hang,
    /// Never answers, and ignores a cancellation.
    IgnoreCancel,
    /// Reports this progress, then does the other act.
    Report(String, Box<Self>),
}

type Choose = dyn Fn(&AttemptRequest) -> Act + Send + Sync;

/// Starts scripted agents, all with one script.
#[derive(Clone)]
pub struct Script {
    choose: Arc<Choose>,
    service: Arc<Mutex<Duration>>,
    cold_start: Duration,
    cores: Option<(u32, Arc<AtomicU64>)>,
    failing_starts: Arc<AtomicU64>,
    stop: Duration,
    log: ScriptLog,
    released: Arc<Mutex<Vec<TaskId>>>,
}

/// The attempts of scripted agents, in order.
#[derive(Debug, Clone, Default)]
pub struct ScriptLog(Arc<Mutex<Vec<(AgentId, TaskId)>>>);

impl ScriptLog {
    /// Returns which agent began which task.
    pub fn runs(&self) -> Vec<(AgentId, TaskId)> {
        self.0.lock().clone()
    }
}

impl Script {
    /// Agents whose act depends on the attempt.
    pub fn choosing(choose: impl Fn(&AttemptRequest) -> Act + Send + Sync + 'static) -> Self {
        Self {
            choose: Arc::new(choose),
            service: Arc::default(),
            cold_start: Duration::ZERO,
            cores: None,
            failing_starts: Arc::default(),
            stop: Duration::ZERO,
            log: ScriptLog::default(),
            released: Arc::default(),
        }
    }

    /// Agents that always do the same.
    pub fn always(act: Act) -> Self {
        Self::choosing(move |_| act.clone())
    }

    /// Agents that always answer with the same JSON text.
    pub fn answers(output: &str) -> Self {
        Self::always(Act::Answer(output.to_owned()))
    }

    /// Sets the duration of an attempt, such as `2s`.
    ///
    /// # Panics
    /// When the text is not a duration.
    #[must_use]
    pub fn service(self, duration: &str) -> Self {
        self.set_service(parse_duration(duration).expect("a duration such as 2s"));
        self
    }

    /// Changes the duration of attempts that begin from now on.
    pub fn set_service(&self, duration: Duration) {
        *self.service.lock() = duration;
    }

    /// Sets the cold start of an agent, such as `2s`.
    ///
    /// # Panics
    /// When the text is not a duration.
    #[must_use]
    pub fn cold_start(mut self, duration: &str) -> Self {
        self.cold_start = parse_duration(duration).expect("a duration such as 2s");
        self
    }

    /// Sets how long an agent takes to end, such as `2s`.
    ///
    /// # Panics
    /// When the text is not a duration.
    #[must_use]
    pub fn stop(mut self, duration: &str) -> Self {
        self.stop = parse_duration(duration).expect("a duration such as 2s");
        self
    }

    /// Returns the tasks whose question agents were told to close.
    pub fn released(&self) -> Vec<TaskId> {
        self.released.lock().clone()
    }

    /// Lets starts share this many cores: more of them at once take longer.
    #[must_use]
    pub fn start_cores(mut self, cores: u32) -> Self {
        self.cores = Some((cores, Arc::default()));
        self
    }

    /// Takes the time of a start.
    async fn start_up(&self) {
        const STEP: Duration = Duration::from_millis(20);
        let Some((cores, starting)) = &self.cores else { return tokio::time::sleep(self.cold_start).await };
        starting.fetch_add(1, Ordering::Relaxed);
        let mut left_s = self.cold_start.as_secs_f64();
        while left_s > 1e-9 {
            tokio::time::sleep(STEP).await;
            let share = f64::from(*cores) / starting.load(Ordering::Relaxed) as f64;
            left_s -= STEP.as_secs_f64() * share.min(1.0);
        }
        starting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Makes this many starts fail before one succeeds.
    #[must_use]
    pub fn failing_starts(self, count: u64) -> Self {
        self.failing_starts.store(count, Ordering::Relaxed);
        self
    }

    /// Returns the log of the agents.
    pub fn log(&self) -> ScriptLog {
        self.log.clone()
    }
}

impl DriverFactory for Script {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    /// A start takes no processor time, so any number may run at once, unless starts share cores.
    fn max_starting(&self) -> u32 {
        if self.cores.is_some() { 64 } else { u32::MAX }
    }

    fn start(&self, request: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let script = self.clone();
        Box::pin(async move {
            script.start_up().await;
            let take_one = |count: u64| count.checked_sub(1);
            if script.failing_starts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one).is_ok() {
                return Err(AgentError::lost("the script lets this start fail"));
            }
            let (death, last_words) = (Rc::new(Notify::new()), Rc::default());
            let driver = Scripted { script, agent: request.agent, death, last_words, held: Vec::new() };
            Ok(Box::new(driver) as Box<dyn Driver>)
        })
    }
}

struct Scripted {
    script: Script,
    agent: AgentId,
    death: Rc<Notify>,
    last_words: Rc<RefCell<Option<String>>>,
    /// Tasks that wait for the answer to its question.
    held: Vec<TaskId>,
}

impl Scripted {
    async fn act(&self, act: Act, request: &AttemptRequest, cx: &mut AgentContext) -> Result<Payload, AgentError> {
        match act {
            Act::Answer(text) => Ok(Payload::parse(&text)?),
            Act::Echo => Ok(request.input.clone()),
            Act::Remember => {
                cx.push_bytes(request.input.as_str().as_bytes().to_vec())?;
                Ok(Payload::from_value(&cx.items().len())?)
            }
            Act::Ask(timeout) => match request.requests.last().and_then(|request| request.answer.clone()) {
                Some(answer) => Ok(answer),
                None => {
                    cx.ask(permission(timeout));
                    Ok(Payload::null())
                }
            },
            Act::Fail(message) => Err(AgentError::retryable(message)),
            Act::Reject(message) => Err(AgentError::fatal(message)),
            Act::Panic(message) => std::panic::panic_any(message),
            Act::Die(message) => Err(AgentError::lost(message)),
            Act::Hang => {
                cx.cancelled().await;
                Err(AgentError::cancelled())
            }
            Act::IgnoreCancel => std::future::pending().await,
            Act::Report(text, then) => {
                cx.progress(text);
                Box::pin(self.act(*then, request, cx)).await
            }
        }
    }
}

/// May I? `yes` or `no`.
fn permission(timeout: Duration) -> Question {
    let option = |id: &str, kind: &str| RequestOption { id: id.to_owned(), name: String::new(), kind: kind.to_owned() };
    Question {
        kind: RequestKind::Permission,
        prompt: "may I?".to_owned(),
        options: vec![option("yes", "allow_once"), option("no", "reject_once")],
        schema: None,
        details: None,
        fingerprint: "f".to_owned(),
        timeout,
    }
}

impl Driver for Scripted {
    fn run<'a>(
        &'a mut self,
        request: &'a AttemptRequest,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        Box::pin(async move {
            self.script.log.0.lock().push((self.agent, request.task));
            let service = *self.script.service.lock();
            if !service.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(service) => {}
                    () = cx.cancelled() => return Err(AgentError::cancelled()),
                }
            }
            let act = (self.script.choose)(request);
            self.held.retain(|task| *task != request.task);
            let result = self.act(act, request, cx).await;
            self.held.extend(cx.question().map(|_| request.task));
            result
        })
    }

    fn died(&mut self) -> LocalBoxFuture<'_, AgentError> {
        Box::pin(async move {
            self.death.notified().await;
            AgentError::lost(self.last_words.borrow().clone().unwrap_or_default())
        })
    }

    fn waiting_tasks(&self) -> Vec<TaskId> {
        self.held.clone()
    }

    fn release(&mut self, task: TaskId) {
        self.held.retain(|held| *held != task);
        self.script.released.lock().push(task);
    }

    fn stop(self: Box<Self>, _grace: Duration) -> LocalBoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(self.script.stop))
    }
}
