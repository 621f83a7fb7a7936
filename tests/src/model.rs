//! A model on loopback.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use crate::eventually;

/// Time limit until it listens.
const START: Duration = Duration::from_secs(60);

/// A server in Python that answers as a model. It ends when it is dropped.
#[derive(Debug)]
pub struct ModelServer {
    child: Child,
    address: String,
}

impl ModelServer {
    /// Starts a script of this repository, such as `e2e/model_server.py`. It serves from `directory`, where files tell it
    /// what to do.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(script: &str, directory: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let child = Command::new("python3").arg("-B").arg(script).arg(directory).spawn().expect("python3 starts");
        let mut server = Self { child, address: String::new() };
        let port =
            eventually("the model listens", START, async || fs::read_to_string(directory.join("port")).ok()).await;
        server.address = format!("http://127.0.0.1:{port}");
        server
    }

    /// Returns where it listens: `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
