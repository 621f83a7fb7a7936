//! Starts child processes.

use std::sync::Arc;

use forerunner_context::StreamWindow;
use forerunner_core::Error;
use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use super::{
    ProcessDriver, ProcessSpec,
    link::{Link, Refusal},
    protocol::{AgentInfo, AnnouncedLimits, Compression, Initialize, OLDEST_PROTOCOL, PROTOCOL_VERSION, short},
};
use crate::agent::{AgentError, Driver, DriverFactory, Seat};

/// Starts warm child processes of one kind.
#[derive(Debug, Clone)]
pub struct ProcessFactory {
    spec: Arc<ProcessSpec>,
}

impl ProcessFactory {
    /// Checks the settings and wraps them.
    ///
    /// # Errors
    /// What [`ProcessSpec::validate`] refuses. Whether the program exists shows at the first start.
    pub fn new(spec: ProcessSpec) -> Result<Self, Error> {
        spec.validate()?;
        Ok(Self { spec: Arc::new(spec) })
    }

    /// Starts a child and answers once it is warm. Dropping the future kills the child and its group.
    ///
    /// The child is killed as well when the thread that polls this future ends.
    ///
    /// # Errors
    /// When the program cannot be started, ends, or does not answer `initialize` properly within `start_timeout`.
    pub async fn launch(self, seat: Seat) -> Result<ProcessDriver, AgentError> {
        let spec = self.spec;
        let mut link = Link::open(Arc::clone(&spec), &seat.agent.to_string())
            .map_err(|error| AgentError::lost(format!("cannot start the agent process `{}`: {error}", spec.argv[0])))?;
        let begun = Instant::now();
        let mut answer =
            link.ask("initialize", &introduction(&spec, &seat, PROTOCOL_VERSION), spec.start_timeout).await;
        if let Err(Refusal::Answer(refused)) = &answer {
            // It may know the older version alone, and mind the newer one.
            tracing::debug!(pid = link.pid(), message = refused.message, "agent process is asked once more");
            let left = spec.start_timeout.saturating_sub(begun.elapsed());
            let again = link.ask("initialize", &introduction(&spec, &seat, OLDEST_PROTOCOL), left).await;
            answer = again.or(answer);
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(refusal) => return Err(not_started(&link, &spec, refusal)),
        };
        let info: AgentInfo = serde_json::from_str(answer.get())
            .map_err(|error| link.protocol_error(&format!("answered `initialize` with something else: {error}")))?;
        if !(OLDEST_PROTOCOL..=PROTOCOL_VERSION).contains(&info.protocol) {
            let what =
                format!("speaks protocol {}, this node speaks {OLDEST_PROTOCOL} to {PROTOCOL_VERSION}", info.protocol);
            return Err(link.protocol_error(&what));
        }
        if let Some(chosen) = info.compression {
            pack(&mut link, &spec, chosen)?;
        }
        tracing::debug!(pid = link.pid(), agent = %seat.agent, name = info.agent.name, "agent process is warm");
        Ok(ProcessDriver::new(spec, link, info))
    }
}

/// Packs everything that follows, as the child has chosen.
fn pack(link: &mut Link, spec: &ProcessSpec, Compression::Zstd: Compression) -> Result<(), AgentError> {
    let Some(window) = spec.compression_window() else {
        return Err(link.protocol_error("wants compression `zstd`, which was not offered"));
    };
    link.pack(window).map_err(|error| AgentError::lost(format!("{} cannot be spoken with: {error}", link.name())))
}

/// What a child is told first.
fn introduction<'a>(spec: &ProcessSpec, seat: &'a Seat, protocol: u32) -> Initialize<'a> {
    Initialize {
        protocol,
        oldest_protocol: OLDEST_PROTOCOL,
        pool: seat.pool.as_str(),
        agent: seat.agent.to_string(),
        compression: if spec.compression_window().is_some() { &[Compression::Zstd] } else { &[] },
        limits: AnnouncedLimits {
            max_line_bytes: spec.max_line_bytes,
            max_output_bytes: spec.max_output_bytes,
            cancel_grace_s: spec.cancel_grace.as_secs_f64(),
            stop_grace_s: spec.stop_grace.as_secs_f64(),
            compression_window_bytes: spec.compression_window().map(StreamWindow::bytes),
        },
    }
}

fn not_started(link: &Link, spec: &ProcessSpec, refusal: Refusal) -> AgentError {
    match refusal {
        Refusal::Broken(error) => error,
        Refusal::Late => {
            let limit = spec.start_timeout.as_secs_f64();
            link.protocol_error(&format!("did not answer `initialize` within start_timeout = {limit} s"))
        }
        Refusal::Answer(error) => {
            let what = format!("refused to start: {} (code {})", short(&error.message), error.code);
            link.protocol_error(&what)
        }
    }
}

impl DriverFactory for ProcessFactory {
    fn kind(&self) -> &'static str {
        "process"
    }

    fn start(&self, seat: Seat) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let factory = self.clone();
        Box::pin(async move { Ok(Box::new(factory.launch(seat).await?) as Box<dyn Driver>) })
    }
}
