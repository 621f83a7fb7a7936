//! JSON-RPC 2.0 with one message a line, as the protocol has it on standard input and output.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Stdin},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Longest message of the editor, in bytes: a prompt with files in it.
const MAX_LINE_BYTES: u64 = 32 << 20;

/// An error of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    code: i32,
    /// What happened, and what to do.
    pub message: String,
}

impl Fault {
    /// The parameters make no sense.
    pub fn invalid(message: String) -> Self {
        Self { code: -32602, message }
    }

    /// There is no such method.
    pub fn no_method(method: &str) -> Self {
        Self { code: -32601, message: format!("method `{method}` is not supported") }
    }

    /// There is no such thing, with the code that the protocol has for it.
    pub fn not_found(message: String) -> Self {
        Self { code: -32002, message }
    }

    /// Something else failed.
    pub fn failed(error: impl ToString) -> Self {
        Self { code: -32603, message: error.to_string() }
    }
}

/// A message of the editor. Answers to requests of ours are no part of it.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    /// It is to be answered.
    Request {
        /// Names it in the answer.
        id: Value,
        /// What to do.
        method: String,
        /// With what.
        params: Value,
    },
    /// It is not answered.
    Notification {
        /// What happened.
        method: String,
        /// To what.
        params: Value,
    },
}

/// The requests of ours that the editor has not answered.
type Open = Rc<RefCell<HashMap<u64, oneshot::Sender<Option<Value>>>>>;

/// The editor, to write to.
pub struct Peer {
    lines: RefCell<Option<mpsc::UnboundedSender<String>>>,
    open: Open,
    count: Cell<u64>,
    writing: RefCell<Option<JoinHandle<()>>>,
}

impl Peer {
    /// Begins to write to the standard output. The second value reads the standard input.
    pub fn on_stdio() -> (Self, Messages) {
        let (lines, mut to_write) = mpsc::unbounded_channel::<String>();
        let writing = actix_rt::spawn(async move {
            let mut stdout = tokio::io::stdout();
            while let Some(mut line) = to_write.recv().await {
                line.push('\n');
                // An editor that reads no more closes the input, too.
                if stdout.write_all(line.as_bytes()).await.is_err() || stdout.flush().await.is_err() {
                    return;
                }
            }
        });
        let open = Open::default();
        let messages =
            Messages { input: BufReader::new(tokio::io::stdin()), open: Rc::clone(&open), lines: lines.clone() };
        let (lines, writing) = (RefCell::new(Some(lines)), RefCell::new(Some(writing)));
        (Self { lines, open, count: Cell::default(), writing }, messages)
    }

    /// Answers a request.
    pub fn answer(&self, id: &Value, answer: Result<Value, Fault>) {
        self.write(&answered(id, answer));
    }

    /// Sends a notification.
    pub fn notify(&self, method: &str, params: &Value) {
        self.write(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Sends a request, and waits for its result. `None` if it fails, or the editor has gone.
    pub async fn request(&self, method: &str, params: &Value) -> Option<Value> {
        let id = self.count.get() + 1;
        self.count.set(id);
        let (answer, answered) = oneshot::channel();
        self.open.borrow_mut().insert(id, answer);
        let forgotten = Forget(&self.open, id);
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let result = answered.await.ok().flatten();
        drop(forgotten);
        result
    }

    /// Writes what is left, and ends.
    pub async fn close(&self) {
        self.lines.borrow_mut().take();
        self.open.borrow_mut().clear();
        let writing = self.writing.borrow_mut().take();
        if let Some(writing) = writing {
            let _written = writing.await;
        }
    }

    fn write(&self, message: &Value) {
        if let Some(lines) = &*self.lines.borrow() {
            // If the writer has ended, so has the editor.
            let _sent = lines.send(message.to_string());
        }
    }
}

/// Forgets a request that nobody waits for.
struct Forget<'a>(&'a Open, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().remove(&self.1);
    }
}

fn answered(id: &Value, answer: Result<Value, Fault>) -> Value {
    match answer {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(Fault { code, message }) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
        }
    }
}

/// The messages of the editor.
pub struct Messages {
    input: BufReader<Stdin>,
    open: Open,
    lines: mpsc::UnboundedSender<String>,
}

impl Messages {
    /// Waits for the next message. `None` at the end of the input.
    pub async fn next(&mut self) -> Option<Incoming> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.input).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await.ok()?;
            if read == 0 {
                return None;
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match self.message(&line) {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(fault) => {
                    let _sent = self.lines.send(answered(&Value::Null, Err(fault)).to_string());
                }
            }
        }
    }

    /// Reads one message. Answers go to whoever waits for them.
    fn message(&self, line: &[u8]) -> Result<Option<Incoming>, Fault> {
        let mut message: Value = serde_json::from_slice(line)
            .map_err(|error| Fault { code: -32700, message: format!("a line is not JSON: {error}") })?;
        let (id, params) = (message["id"].take(), message["params"].take());
        match (message.get("method").and_then(Value::as_str), id) {
            (Some(method), Value::Null) => Ok(Some(Incoming::Notification { method: method.to_owned(), params })),
            (Some(method), id) => Ok(Some(Incoming::Request { id, method: method.to_owned(), params })),
            (None, id) => {
                let waiting = id.as_u64().and_then(|id| self.open.borrow_mut().remove(&id));
                if let Some(waiting) = waiting {
                    let _nobody_waits = waiting.send(message.get_mut("result").map(Value::take));
                }
                Ok(None)
            }
        }
    }
}
