//! Starts remote agents: waits for one, and introduces the node to it.

use std::sync::Arc;

use forerunner_core::Error;
use forerunner_runtime::agent::{AgentError, Driver, DriverFactory, StartRequest};
use futures_util::future::LocalBoxFuture;

use super::{Hub, RemoteSpec, RemoteWire, session::Patience};
use crate::process::{Link, ProcessDriver, ProcessSpec, handshake};

/// Starts remote agents of one kind. A start waits until an agent has dialled in.
#[derive(Debug, Clone)]
pub struct RemoteFactory {
    spec: Arc<ProcessSpec>,
    patience: Patience,
    hub: Hub,
}

impl RemoteFactory {
    /// Checks the settings, and takes agents from the hub of this process.
    ///
    /// # Errors
    /// What [`RemoteSpec::validate`] refuses.
    pub fn new(spec: RemoteSpec) -> Result<Self, Error> {
        Self::on(spec, Hub::of_process())
    }

    /// Checks the settings, and takes agents from a hub.
    ///
    /// # Errors
    /// What [`RemoteSpec::validate`] refuses.
    pub fn on(spec: RemoteSpec, hub: Hub) -> Result<Self, Error> {
        spec.validate()?;
        let patience = Patience {
            resume_timeout: spec.resume_timeout,
            write_timeout: spec.write_timeout,
            max_line_bytes: spec.max_line_bytes,
        };
        Ok(Self { spec: Arc::new(spec.as_process()), patience, hub })
    }

    /// Waits for an agent of the pool, and answers once it is warm.
    ///
    /// # Errors
    /// When the agent does not answer `initialize` properly within `start_timeout`, or goes.
    pub async fn launch(self, request: StartRequest) -> Result<ProcessDriver, AgentError> {
        loop {
            let session = self.hub.next(request.pool.as_str(), self.patience).await;
            let link = Link::remote(RemoteWire::new(Arc::clone(&session), self.spec.max_output_bytes));
            tokio::select! {
                biased;
                started = handshake(link, Arc::clone(&self.spec), &request, None) => return started,
                // It said goodbye before it was warm, and may not answer any more.
                () = session.left() => {}
            }
        }
    }
}

impl DriverFactory for RemoteFactory {
    fn kind(&self) -> &'static str {
        "remote"
    }

    /// A start costs this machine nothing.
    fn max_starting(&self) -> u32 {
        u32::MAX
    }

    fn start(&self, request: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let factory = self.clone();
        Box::pin(async move { Ok(Box::new(factory.launch(request).await?) as Box<dyn Driver>) })
    }
}
