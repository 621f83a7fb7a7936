//! Starts agents that speak ACP.

use std::{num::NonZero, sync::Arc};

use forerunner_core::Error;
use forerunner_runtime::agent::{AgentError, Driver, DriverFactory, StartRequest};
use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use super::{
    AcpSpec,
    connection::{CallError, Connection},
    driver::{AcpDriver, Place},
    request::{self, Capabilities},
};
use crate::process::{Account, HOME, prepare_cleanup};

/// Starts agents of one kind.
#[derive(Debug, Clone)]
pub struct AcpFactory {
    spec: Arc<AcpSpec>,
}

impl AcpFactory {
    /// Checks the settings and wraps them.
    ///
    /// # Errors
    /// What [`AcpSpec::validate`] refuses. Whether the program exists shows at the first start.
    pub fn new(spec: AcpSpec) -> Result<Self, Error> {
        spec.validate()?;
        prepare_cleanup();
        Ok(Self { spec: Arc::new(spec) })
    }

    /// Starts an agent and answers once it is warm: it has answered `initialize`, and made a session.
    ///
    /// # Errors
    /// When the program cannot be started, ends, or is not warm within `start_timeout`.
    pub async fn launch(self, start: StartRequest) -> Result<AcpDriver, AgentError> {
        let spec = self.spec;
        let process = Arc::new(spec.process());
        let cannot = |error| AgentError::lost(format!("cannot start the agent process `{}`: {error}", process.argv[0]));
        let owner = Account::of(&process).map_err(cannot)?.map(|account| account.owner);
        let connection = Connection::open(Arc::clone(&process), start.agent.to_string(), owner);
        let mut connection = connection.await.map_err(cannot)?;
        let begun = Instant::now();
        let hello = request::initialize(spec.version, spec.offers_files());
        let answer = match connection.call("initialize", &hello, spec.start_timeout).await {
            Ok(answer) => answer,
            Err(error) => return Err(start_error(&connection, &spec, "initialize", error)),
        };
        let capabilities =
            Capabilities::read(&answer, spec.version).map_err(|what| connection.protocol_error(&what))?;
        let home = connection.wire().directory().map(|directory| directory.join(HOME)).unwrap_or_default();
        let workspace = spec.workspace_of(start.pool.as_str());
        let place = Place { workspace, home, owner, agent: start.agent.to_string() };
        let mut driver = AcpDriver::new(Arc::clone(&spec), connection, capabilities, place);
        let left = spec.start_timeout.saturating_sub(begun.elapsed());
        driver.warm_up(left).await?;
        tracing::debug!(pid = driver.process_id(), agent = %start.agent, name = driver.agent_name(), "ACP agent is warm");
        Ok(driver)
    }
}

/// The error of a request while the agent starts.
pub(super) fn start_error(connection: &Connection, spec: &AcpSpec, method: &str, error: CallError) -> AgentError {
    match error {
        CallError::Broken(error) => error,
        CallError::TimedOut => {
            let limit = spec.start_timeout.as_secs_f64();
            connection.protocol_error(&format!("did not answer `{method}` within start_timeout = {limit} s"))
        }
        CallError::Answer(error) => {
            // What the protocol has for an agent without credentials.
            const AUTH_REQUIRED: i64 = -32_000;
            let remedy = match error.code {
                AUTH_REQUIRED => {
                    "; log in with the agent's own command, and name the directory with its credentials in `home`"
                }
                _ => "",
            };
            connection.protocol_error(&format!("refuses `{method}`: {} (code {}){remedy}", error.message, error.code))
        }
    }
}

impl DriverFactory for AcpFactory {
    fn kind(&self) -> &'static str {
        "acp"
    }

    /// A cold start is processor time: many at once only delay each other.
    fn max_starting(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        u32::try_from(cores).unwrap_or(1)
    }

    fn start(&self, request: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let factory = self.clone();
        Box::pin(async move { Ok(Box::new(factory.launch(request).await?) as Box<dyn Driver>) })
    }
}
