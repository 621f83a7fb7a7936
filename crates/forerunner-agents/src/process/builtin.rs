//! An agent process for demonstrations: the agent's side of the protocol. Its tasks only take time.

mod contexts;
mod wire;

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::mpsc::RecvTimeoutError,
    thread,
    time::{Duration, Instant},
};

use forerunner_context::{Dictionary, StreamWindow};
use forerunner_core::LONGEST_DURATION;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use self::{contexts::Contexts, wire::Wire};
use super::protocol::{OLDEST_PROTOCOL, PROTOCOL_VERSION, code};

/// How the built-in agent behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltinAgentOptions {
    /// How long it takes to warm up.
    pub cold_start: Duration,
    /// How long a task takes whose input has no number `service_s`, in seconds.
    pub service: Duration,
    /// Time passes this many times faster: everything is divided by it. Above 0.
    pub speed: f64,
    /// How long it takes to load a context, in seconds for each megabyte (10⁶ bytes) that it receives.
    pub load_s_per_mb: f64,
    /// How many contexts are resident in it at most.
    pub contexts: u32,
    /// By how many bytes a task extends its context; 0 leaves the context unchanged.
    pub context_growth_bytes: usize,
}

impl Default for BuiltinAgentOptions {
    fn default() -> Self {
        Self {
            cold_start: Duration::ZERO,
            service: Duration::ZERO,
            speed: 1.0,
            load_s_per_mb: 0.0,
            contexts: 64,
            context_growth_bytes: 256,
        }
    }
}

impl BuiltinAgentOptions {
    /// At most [`LONGEST_DURATION`], which every timer of a node supports; an impossible time counts as none.
    fn scaled(&self, seconds: f64) -> Duration {
        let scaled = (seconds / self.speed).min(LONGEST_DURATION.as_secs_f64());
        Duration::try_from_secs_f64(scaled).unwrap_or(Duration::ZERO)
    }

    fn loading(&self, load: &contexts::LoadParams) -> Duration {
        self.scaled(load.bytes() as f64 / 1e6 * self.load_s_per_mb)
    }

    fn service(&self, input: &RawValue) -> Duration {
        let asked = members(input).get("service_s").and_then(|seconds| serde_json::from_str(seconds.get()).ok());
        self.scaled(asked.unwrap_or(self.service.as_secs_f64()))
    }
}

/// Serves tasks on standard input and output until `shutdown` or the end of the input. Blocks; costs two threads.
///
/// Warms up for `cold_start`, then works `service_s` seconds (a field of the input) on each task and answers with
/// `{"echo": input, "pid": …, "items": …}`. It has contexts in its memory, and changes that of the task by the member
/// `context` of the input, which has the form of an answer. It stops a task at once when the node cancels it, and packs
/// its output if the node offers that.
///
/// # Errors
/// When standard output cannot be written, as after the end of the node.
pub fn serve_stdio(options: BuiltinAgentOptions) -> io::Result<()> {
    serve(io::stdin(), io::stdout(), options)
}

/// Serves tasks on any two pipes.
pub(super) fn serve(
    input: impl Read + Send + 'static,
    output: impl Write,
    options: BuiltinAgentOptions,
) -> io::Result<()> {
    let wire = Wire::new(input, output);
    Server { wire, options, contexts: Contexts::default(), protocol: PROTOCOL_VERSION, running: None }.serve()
}

struct Server<W> {
    wire: Wire<W>,
    options: BuiltinAgentOptions,
    contexts: Contexts,
    protocol: u32,
    running: Option<RunningTask>,
}

struct RunningTask {
    request: Box<RawValue>,
    task: String,
    input: Box<RawValue>,
    context: Option<String>,
    ends_at: Instant,
}

/// An error's code and message.
type RpcFailure = (i64, String);

/// A request of the node. Parts that this agent does not read stay text, so that no number changes.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// Parameters of `task/run`.
#[derive(Deserialize)]
struct RunParams {
    #[serde(default)]
    task: String,
    context: Option<contexts::ContextRef>,
    input: Box<RawValue>,
}

/// Parameters that name a task or a context.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Target {
    id: String,
    task: String,
}

/// Reads parameters. Absent parameters equal an empty object.
fn read<'a, T: Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<T, RpcFailure> {
    let text = params.map_or("{}", RawValue::get);
    serde_json::from_str(text).map_err(|error| (code::INVALID_PARAMS, error.to_string()))
}

/// The members of an object; none of anything else.
fn members(json: &RawValue) -> BTreeMap<String, &RawValue> {
    serde_json::from_str(json.get()).unwrap_or_default()
}

impl<W: Write> Server<W> {
    fn serve(&mut self) -> io::Result<()> {
        loop {
            // The next line, but not after the running task has ended.
            match self.wire.next_line(self.running.as_ref().map(|running| running.ends_at)) {
                Ok(line) => match serde_json::from_str::<Request<'_>>(&line) {
                    Ok(request) if request.method == "shutdown" => return self.answer(request.id, Ok("{}")),
                    Ok(request) => self.handle(&request)?,
                    Err(error) => self.refuse(None, &(code::PARSE, error.to_string()))?,
                },
                Err(RecvTimeoutError::Timeout) => self.finish()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn handle(&mut self, request: &Request<'_>) -> io::Result<()> {
        let Request { id, params, .. } = *request;
        match request.method.as_str() {
            "initialize" => self.initialize(id, params),
            "ping" => self.answer(id, Ok("{}")),
            "context/load" => {
                let loaded = read(params).and_then(|load| {
                    thread::sleep(self.options.loading(&load));
                    self.contexts.load(load)
                });
                self.answer(id, loaded.map(|()| "{}"))
            }
            "context/drop" => {
                let dropped = read(params).map(|Target { id, .. }| self.contexts.forget(&id));
                self.answer(id, dropped.map(|()| "{}"))
            }
            "task/run" => match read(params).and_then(|run| self.begin(id, run)) {
                Ok(()) => Ok(()),
                Err(refused) => self.refuse(id, &refused),
            },
            "task/cancel" => self.cancel(id, params),
            other => self.refuse(id, &(code::METHOD_NOT_FOUND, format!("unknown method `{other}`"))),
        }
    }

    fn initialize(&mut self, id: Option<&RawValue>, params: Option<&RawValue>) -> io::Result<()> {
        thread::sleep(self.options.scaled(self.options.cold_start.as_secs_f64()));
        let params: Value = read(params).unwrap_or_default();
        let asked = params["protocol"].as_u64().and_then(|version| u32::try_from(version).ok());
        self.protocol = asked.unwrap_or(OLDEST_PROTOCOL).min(self.protocol);
        let window = offered(&params);
        let dictionary = window.and_then(|_| readable(&params["dictionary"]));
        let about = self.introduction(window.is_some(), dictionary.as_ref()).to_string();
        self.answer(id, Ok(&about))?;
        window.map_or(Ok(()), |window| self.wire.pack(window, dictionary.as_ref())).map_err(io::Error::other)
    }

    fn begin(&mut self, id: Option<&RawValue>, run: RunParams) -> Result<(), RpcFailure> {
        if self.running.is_some() {
            return Err((code::FAILED, "another task is running".to_owned()));
        }
        if let Some(stated) = &run.context {
            self.contexts.begin(stated)?;
        }
        self.running = Some(RunningTask {
            request: id.unwrap_or(RawValue::NULL).to_owned(),
            task: run.task,
            context: run.context.map(|stated| stated.id),
            ends_at: now() + self.options.service(&run.input),
            input: run.input,
        });
        Ok(())
    }

    fn cancel(&mut self, id: Option<&RawValue>, params: Option<&RawValue>) -> io::Result<()> {
        let Target { task, .. } = read(params).unwrap_or_default();
        if let Some(running) = self.running.take_if(|running| running.task == task) {
            self.refuse(Some(&running.request), &(code::CANCELLED, "stopped as asked".to_owned()))?;
        }
        self.answer(id, Ok("{}"))
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let items =
            running.context.as_ref().and_then(|context| self.contexts.items(context)).map_or(Value::Null, Value::from);
        let (echo, change) = without_context(&running.input, running.context.is_some());
        let output = format!("{{\"echo\":{echo},\"items\":{items},\"pid\":{}}}", std::process::id());
        let result = match &running.context {
            None => Ok(format!("{{\"output\":{output}}}")),
            Some(context) => {
                self.change(context, change).map(|change| format!("{{\"context\":{change},\"output\":{output}}}"))
            }
        };
        self.answer(Some(&running.request), result.as_deref().map_err(Clone::clone))
    }

    /// Changes a context as its task requests, or else makes it grow. Returns the change.
    fn change(&mut self, context: &str, requested: Option<String>) -> Result<String, RpcFailure> {
        let growth = self.options.context_growth_bytes;
        let grown = || json!({ "append": [{ "role": "agent", "text": "x".repeat(growth) }] }).to_string();
        let Some(change) = requested.or_else(|| (growth > 0).then(grown)) else { return Ok("null".to_owned()) };
        self.contexts.change(context, &change)?;
        Ok(change)
    }

    fn introduction(&self, packs: bool, dictionary: Option<&Dictionary>) -> Value {
        let mut about = json!({
            "protocol": self.protocol,
            "agent": { "name": "forerunner-builtin", "version": env!("CARGO_PKG_VERSION") },
            "capabilities": { "contexts": self.options.contexts, "streaming": false },
        });
        if packs {
            about["compression"] = "zstd".into();
        }
        if let Some(dictionary) = dictionary {
            about["dictionary"] = dictionary.id().to_string().into();
        }
        about
    }

    /// Answers a request with JSON.
    fn answer(&mut self, id: Option<&RawValue>, result: Result<&str, RpcFailure>) -> io::Result<()> {
        match result {
            Ok(result) => self.send(id, "result", result),
            Err(refused) => self.refuse(id, &refused),
        }
    }

    fn refuse(&mut self, id: Option<&RawValue>, (code, message): &RpcFailure) -> io::Result<()> {
        self.send(id, "error", &json!({ "code": code, "message": message }).to_string())
    }

    fn send(&mut self, id: Option<&RawValue>, member: &str, json: &str) -> io::Result<()> {
        let id = id.unwrap_or(RawValue::NULL);
        self.wire.write_line(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{json}}}\n"))
    }
}

/// Returns what a task echoes, and the member `context` of its input, which is then not echoed.
fn without_context(input: &RawValue, has_context: bool) -> (String, Option<String>) {
    let mut members = members(input);
    let asked = if has_context { members.remove("context") } else { None };
    match asked {
        None => (input.get().to_owned(), None),
        Some(asked) => {
            let kept: Vec<String> =
                members.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
            (format!("{{{}}}", kept.join(",")), Some(asked.get().to_owned()))
        }
    }
}

/// The window of the packed streams that the node offers, if it does.
fn offered(params: &Value) -> Option<StreamWindow> {
    let is_offered = params["compression"].as_array().is_some_and(|offered| offered.iter().any(|one| one == "zstd"));
    let bytes = params["limits"]["compression_window_bytes"].as_u64().filter(|_| is_offered)?;
    StreamWindow::new(usize::try_from(bytes).ok()?).ok()
}

/// The dictionary that the node offers, if it does and the file has it.
fn readable(offer: &Value) -> Option<Dictionary> {
    let dictionary = Dictionary::load(std::fs::read(offer["path"].as_str()?).ok()?).ok()?;
    (dictionary.id().to_string() == offer["id"].as_str()?).then_some(dictionary)
}

#[expect(clippy::disallowed_methods, reason = "a process of its own, without a runtime whose clock could be moved")]
fn now() -> Instant {
    Instant::now()
}
