//! A real browser without a window, steered over two pipes with the Chrome DevTools Protocol.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, Signal, kill_process_group},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    time::timeout,
};

use crate::eventually;

/// Longest wait for an answer: a browser that starts on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// What its packages call it.
const NAMES: [&str; 4] = ["chromium", "chromium-headless-shell", "chromium-browser", "google-chrome"];

/// A browser with one page. Dropping it kills it with all its processes.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: pipe::Sender,
    from: pipe::Receiver,
    unread: Vec<u8>,
    session: Option<String>,
    calls: u64,
    requested: Vec<String>,
    complaints: Vec<String>,
    /// Profile and pipes; dropped last.
    _directory: TempDir,
}

impl Browser {
    /// Starts a browser whose page has this size in pixels.
    ///
    /// # Panics
    /// If this machine has no browser, or it does not start.
    pub async fn start(width: u32, height: u32) -> Self {
        let directory = TempDir::with_prefix("forerunner-browser-").expect("a temporary directory can be made");
        let [to, from] = ["to", "from"].map(|name| directory.path().join(name));
        for pipe in [&to, &from] {
            mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe can be made");
        }
        // Open for both, so that neither side waits for the other one to open.
        let mut both = pipe::OpenOptions::new();
        both.read_write(true);
        let (sender, receiver) = (both.open_sender(&to), both.open_receiver(&from));
        let child = command(directory.path(), &to, &from).spawn().expect("the browser can be started");
        let mut browser = Self {
            child,
            to: sender.expect("the pipe is there"),
            from: receiver.expect("the pipe is there"),
            unread: Vec::new(),
            session: None,
            calls: 0,
            requested: Vec::new(),
            complaints: Vec::new(),
            _directory: directory,
        };
        browser.attach(width, height).await;
        browser
    }

    async fn attach(&mut self, width: u32, height: u32) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" })).await["targetId"].clone();
        let attached = self.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true })).await;
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Network", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({})).await;
        }
        self.size(width, height).await;
    }

    /// Changes the size of the page.
    pub async fn size(&mut self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Opens an address.
    ///
    /// # Panics
    /// If it cannot be reached.
    pub async fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
    }

    /// Returns the value of an expression in the page, which may be a promise.
    ///
    /// # Panics
    /// If it throws.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", asked).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Returns the text of an element as it is seen; empty if there is none.
    pub async fn text(&mut self, selector: &str) -> String {
        let found = self.evaluate(&format!("document.querySelector({selector:?})?.innerText ?? ''")).await;
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// After `limit`, with the text of the page.
    pub async fn until(&mut self, expression: &str, limit: Duration) {
        // What is not there yet is not true yet.
        let asked = format!("(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()");
        let begun = tokio::time::Instant::now();
        eventually(expression, limit + LIMIT, async || {
            if self.evaluate(&asked).await == true {
                return Some(());
            }
            let page = self.text("body").await;
            assert!(begun.elapsed() < limit, "not within {limit:?}: {expression}\nthe page says:\n{page}");
            None
        })
        .await;
    }

    /// Returns the addresses of the requests so far.
    pub async fn requested(&mut self) -> Vec<String> {
        // Its answer follows all events until now.
        self.evaluate("0").await;
        self.requested.clone()
    }

    /// Returns what scripts and the browser complained about so far: exceptions, and what a policy refused.
    pub async fn complaints(&mut self) -> Vec<String> {
        self.evaluate("0").await;
        self.complaints.clone()
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        let bytes = format!("{call}\0");
        self.to.write_all(bytes.as_bytes()).await.expect("the browser reads");
        let id = self.calls;
        let answered = async {
            loop {
                let mut message = self.read().await;
                if message["id"] == id {
                    assert!(message["error"].is_null(), "{method}: {message}");
                    return message["result"].take();
                }
                self.note(&message);
            }
        };
        timeout(LIMIT, answered).await.unwrap_or_else(|_| panic!("the browser does not answer {method}"))
    }

    async fn read(&mut self) -> Value {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == 0) {
                let message: Vec<u8> = self.unread.drain(..=end).collect();
                return serde_json::from_slice(&message[..end]).expect("the browser speaks JSON");
            }
            let mut piece = vec![0; 1 << 16];
            let read = self.from.read(&mut piece).await.expect("the browser writes");
            self.unread.extend_from_slice(&piece[..read]);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => self.requested.extend(params["request"]["url"].as_str().map(str::to_owned)),
            "Runtime.exceptionThrown" => self.complaints.push(params["exceptionDetails"].to_string()),
            // Requests that fail without a node are logged too, and are not errors of the page.
            "Log.entryAdded" if params["entry"]["source"] != "network" => {
                self.complaints.push(params["entry"].to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser leads a process group. An error means that it has ended already.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The browser uses its pipes as descriptors 3 and 4, which only a shell can provide without unsafe code.
fn command(directory: &Path, to: &Path, from: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"to=$1 from=$2; shift 2; exec "$@" 3<>"$to" 4<>"$from""#, "sh"])
        .args([to, from])
        .arg(program())
        .args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        // Containers have no user that could set up a sandbox, and only pages of this machine are opened.
        .args(["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
        // Requests of the browser to its vendor are blocked.
        .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        .arg(format!("--user-data-dir={}", directory.join("profile").display()))
        .env("HOME", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(directory.join("log")).expect("a fresh directory can be written to"))
        .process_group(0);
    command
}

fn program() -> &'static str {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&str| std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    NAMES.into_iter().find(is_there).expect("chromium is installed, as by tests/run.sh")
}
