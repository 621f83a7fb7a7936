//! What a link reads and writes when its agent is remote.

use std::{ops::Range, sync::Arc, time::Duration};

use forerunner_runtime::agent::AgentError;
use tokio::time::timeout;

use super::{Session, session::End};
use crate::process::Traffic;

/// The messages of one remote agent. Dropping it ends the session.
pub(crate) struct RemoteWire {
    session: Arc<Session>,
    line: Box<[u8]>,
    traffic: Traffic,
    left_bytes: usize,
    total_bytes: usize,
    occasion: &'static str,
}

impl RemoteWire {
    /// `max_output_bytes` is what the agent may send while it starts.
    pub(super) fn new(session: Arc<Session>, max_output_bytes: usize) -> Self {
        let (left_bytes, total_bytes) = (max_output_bytes, max_output_bytes);
        let (line, traffic) = (Box::default(), Traffic::default());
        Self { session, line, traffic, left_bytes, total_bytes, occasion: "while it started" }
    }

    pub(crate) const fn allow(&mut self, bytes: usize, occasion: &'static str) {
        (self.left_bytes, self.total_bytes, self.occasion) = (bytes, bytes, occasion);
    }

    pub(crate) const fn traffic(&self) -> Traffic {
        self.traffic
    }

    pub(crate) fn write(&mut self, line: &[u8]) {
        self.traffic.sent_bytes += line.len() as u64;
        // JSON is UTF-8.
        self.session.write(String::from_utf8_lossy(line).trim_end());
    }

    pub(crate) async fn next_line(&mut self) -> Result<Range<usize>, AgentError> {
        self.line = match self.session.next().await {
            Ok(line) => line,
            Err(End { what, is_fault: true }) => return Err(self.protocol_error(&what)),
            Err(End { what, is_fault: false }) => return Err(AgentError::lost(format!("{} {what}", self.name()))),
        };
        let bytes = self.line.len() + 1;
        self.traffic.read_bytes += bytes as u64;
        self.traffic.line_bytes += bytes as u64;
        let Some(left) = self.left_bytes.checked_sub(bytes) else {
            return Err(self.protocol_error(&format!("wrote more than {} bytes {}", self.total_bytes, self.occasion)));
        };
        self.left_bytes = left;
        Ok(0..self.line.len())
    }

    pub(crate) fn bytes(&self, line: Range<usize>) -> &[u8] {
        &self.line[line]
    }

    pub(crate) fn protocol_error(&self, what: &str) -> AgentError {
        AgentError::protocol(format!("{} {what}", self.name()))
    }

    pub(crate) fn name(&self) -> String {
        self.session.name().to_owned()
    }

    pub(crate) fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session)
    }

    /// Waits until the agent has answered `shutdown`, or `limit` is over.
    pub(crate) async fn wait_for_exit(&mut self, limit: Duration) {
        let _over = timeout(limit, self.next_line()).await;
    }
}

impl Drop for RemoteWire {
    fn drop(&mut self) {
        self.session.end("was stopped", false);
    }
}
