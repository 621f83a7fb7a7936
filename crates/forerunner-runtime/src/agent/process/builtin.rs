//! An agent process for demonstrations: the agent's side of the protocol, doing nothing but taking its time.

mod memory;
mod wire;

use std::{
    io::{self, Read, Write},
    sync::mpsc::RecvTimeoutError,
    thread,
    time::{Duration, Instant},
};

use forerunner_context::{Dictionary, StreamWindow};
use serde_json::{Value, json};

use self::{memory::Memory, wire::Wire};
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
    /// How long it takes to load a context, in seconds for each megabyte (10⁶ bytes) that it is sent.
    pub load_s_per_mb: f64,
    /// How many contexts it keeps.
    pub contexts: u32,
    /// By how much a task makes its context grow, in bytes; 0 leaves it as it is.
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
    fn scaled(&self, seconds: f64) -> Duration {
        Duration::try_from_secs_f64(seconds / self.speed).unwrap_or(Duration::ZERO)
    }

    fn service(&self, input: &Value) -> Duration {
        self.scaled(input.get("service_s").and_then(Value::as_f64).unwrap_or(self.service.as_secs_f64()))
    }
}

/// Serves tasks on standard input and output until `shutdown` or the end of the input. Blocks; costs two threads.
///
/// Warms up for `cold_start`, then takes `service_s` seconds (a field of the input) for each task and answers with
/// `{"echo": input, "pid": …, "items": …}`. It keeps contexts, does to the task's what a member `context` of the input says
/// (as the answer to a task would), stops a task at once when asked to, and packs what it says if the node offers that.
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
    Server { wire, options, contexts: Memory::default(), protocol: PROTOCOL_VERSION, running: None }.serve()
}

struct Server<W> {
    wire: Wire<W>,
    options: BuiltinAgentOptions,
    contexts: Memory,
    protocol: u32,
    running: Option<Running>,
}

struct Running {
    request: Value,
    task: String,
    input: Value,
    context: Option<String>,
    ends_at: Instant,
}

/// An error's code and message.
type Refused = (i64, String);

impl<W: Write> Server<W> {
    fn serve(&mut self) -> io::Result<()> {
        loop {
            // The next line, at most until the running task is done.
            match self.wire.next_line(self.running.as_ref().map(|running| running.ends_at)) {
                Ok(line) => match serde_json::from_str::<Value>(&line) {
                    Ok(message) if message["method"] == "shutdown" => {
                        return self.answer(&message["id"], Ok(json!({})));
                    }
                    Ok(message) => self.handle(&message)?,
                    Err(error) => self.answer(&Value::Null, Err((code::PARSE, error.to_string())))?,
                },
                Err(RecvTimeoutError::Timeout) => self.finish()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn handle(&mut self, message: &Value) -> io::Result<()> {
        let (id, params) = (&message["id"], &message["params"]);
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => {
                thread::sleep(self.options.scaled(self.options.cold_start.as_secs_f64()));
                let asked = params["protocol"].as_u64().and_then(|version| u32::try_from(version).ok());
                self.protocol = asked.unwrap_or(OLDEST_PROTOCOL).min(self.protocol);
                let window = offered(params);
                let dictionary = window.and_then(|_| readable(&params["dictionary"]));
                self.answer(id, Ok(self.introduction(window.is_some(), dictionary.as_ref())))?;
                window.map_or(Ok(()), |window| self.wire.pack(window, dictionary.as_ref())).map_err(io::Error::other)
            }
            "ping" => self.answer(id, Ok(json!({}))),
            "context/load" => {
                let content = [&params["items"], &params["edit"]].map(|content| content.to_string().len());
                thread::sleep(
                    self.options.scaled(content.iter().sum::<usize>() as f64 / 1e6 * self.options.load_s_per_mb),
                );
                let loaded = self.contexts.load(params);
                self.answer(id, loaded)
            }
            "context/drop" => {
                self.contexts.forget(params["id"].as_str().unwrap_or_default());
                self.answer(id, Ok(json!({})))
            }
            "task/run" => self.begin(id, params),
            "task/cancel" => self.cancel(id, params),
            other => self.answer(id, Err((code::METHOD_NOT_FOUND, format!("unknown method `{other}`")))),
        }
    }

    fn begin(&mut self, id: &Value, params: &Value) -> io::Result<()> {
        if self.running.is_some() {
            return self.answer(id, Err((code::FAILED, "another task is running".to_owned())));
        }
        if let Err(refused) = self.contexts.begin(&params["context"]) {
            return self.answer(id, Err(refused));
        }
        let context = params["context"]["id"].as_str().map(str::to_owned);
        let input = params["input"].clone();
        self.running = Some(Running {
            request: id.clone(),
            task: params["task"].as_str().unwrap_or_default().to_owned(),
            context,
            ends_at: now() + self.options.service(&input),
            input,
        });
        Ok(())
    }

    fn cancel(&mut self, id: &Value, params: &Value) -> io::Result<()> {
        let named = self.running.take_if(|running| params["task"] == running.task.as_str());
        if let Some(running) = &named {
            self.answer(&running.request, Err((code::CANCELLED, "stopped as asked".to_owned())))?;
        }
        self.answer(id, Ok(json!({})))
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let items = running.context.as_ref().and_then(|context| self.contexts.items(context));
        let mut result = json!({
            "output": { "echo": running.input, "pid": std::process::id(), "items": items.map(<[Value]>::len) },
        });
        if let Some(context) = &running.context {
            let change = self.change(&mut result["output"]["echo"]);
            if let Err(refused) = change.as_ref().map_or(Ok(()), |change| self.contexts.change(context, change)) {
                return self.answer(&running.request, Err(refused));
            }
            result["context"] = change.unwrap_or_default();
        }
        self.answer(&running.request, Ok(result))
    }

    /// What a task does to its context: what its input says under `context`, which is then not echoed, else it grows.
    fn change(&self, input: &mut Value) -> Option<Value> {
        let asked = input.as_object_mut().and_then(|input| input.remove("context"));
        let growth = self.options.context_growth_bytes;
        let grown = || json!({ "append": [{ "role": "agent", "text": "x".repeat(growth) }] });
        asked.or_else(|| (growth > 0).then(grown))
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

    fn answer(&mut self, id: &Value, result: Result<Value, Refused>) -> io::Result<()> {
        let mut line = match result {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err((code, message)) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
            }
        }
        .to_string();
        line.push('\n');
        self.wire.write_line(&line)
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
