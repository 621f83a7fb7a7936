//! Starts child processes.

use std::sync::Arc;

use forerunner_context::StreamWindow;
use forerunner_core::Error;
use forerunner_runtime::agent::{AgentError, Driver, DriverFactory, StartRequest};
use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use super::{
    ProcessDriver, ProcessSpec,
    account::Account,
    cleanup,
    dictionary::{DictionaryCache, DictionaryFile},
    link::{Link, RequestError},
    protocol::{
        AgentInfo, AnnouncedLimits, Compression, Initialize, OLDEST_PROTOCOL, OfferedDictionary, PROTOCOL_VERSION,
        mended, short,
    },
};

/// Starts warm child processes of one kind.
#[derive(Debug, Clone)]
pub struct ProcessFactory {
    spec: Arc<ProcessSpec>,
    dictionary: DictionaryCache,
}

impl ProcessFactory {
    /// Checks the settings and wraps them.
    ///
    /// # Errors
    /// What [`ProcessSpec::validate`] refuses. Whether the program exists shows at the first start.
    pub fn new(spec: ProcessSpec) -> Result<Self, Error> {
        spec.validate()?;
        cleanup::prepare();
        Ok(Self { spec: Arc::new(spec), dictionary: DictionaryCache::default() })
    }

    /// Starts a child and answers once it is warm. Dropping the future kills the child and its group.
    ///
    /// The child is killed as well when this process ends.
    ///
    /// # Errors
    /// When the program cannot be started, ends, or does not answer `initialize` properly within `start_timeout`.
    pub async fn launch(self, request: StartRequest) -> Result<ProcessDriver, AgentError> {
        let Self { spec, dictionary: file } = self;
        let dictionary = request.dictionary.as_ref().filter(|_| spec.compression_window().is_some());
        let cannot = |error| AgentError::lost(format!("cannot start the agent process `{}`: {error}", spec.argv[0]));
        let owner = Account::of(&spec).map_err(cannot)?.map(|account| account.owner);
        let dictionary = dictionary.and_then(|dictionary| file.of(dictionary, &request.agent.to_string(), owner));
        let dictionary = dictionary.as_deref();
        let link = Link::open(Arc::clone(&spec), request.agent.to_string()).await.map_err(cannot)?;
        handshake(link, spec, &request, dictionary).await
    }
}

/// Introduces the node to an agent, and waits until it is warm.
pub(crate) async fn handshake(
    mut link: Link,
    spec: Arc<ProcessSpec>,
    request: &StartRequest,
    dictionary: Option<&DictionaryFile>,
) -> Result<ProcessDriver, AgentError> {
    let begun = Instant::now();
    let mut answer =
        link.call("initialize", &introduction(&spec, request, dictionary, PROTOCOL_VERSION), spec.start_timeout).await;
    if let Err(RequestError::Answer(refused)) = &answer {
        // The agent may support only the older version, and reject the newer one.
        tracing::debug!(agent = link.name(), message = refused.message, "agent process is asked once more");
        let left = spec.start_timeout.saturating_sub(begun.elapsed());
        let again = link.call("initialize", &introduction(&spec, request, dictionary, OLDEST_PROTOCOL), left).await;
        answer = again.or(answer);
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Err(start_error(&link, &spec, error)),
    };
    // Name and version are for people. A name that was cut inside an emoji does not matter for the work.
    let info: AgentInfo = mended(answer.get(), |text| serde_json::from_str(text)).map_err(|error| {
        link.protocol_error(&format!("answered `initialize` with a result that is not valid: {error}"))
    })?;
    if !(OLDEST_PROTOCOL..=PROTOCOL_VERSION).contains(&info.protocol) {
        let what =
            format!("speaks protocol {}, this node speaks {OLDEST_PROTOCOL} to {PROTOCOL_VERSION}", info.protocol);
        return Err(link.protocol_error(&what));
    }
    pack(&mut link, &spec, &info, dictionary)?;
    tracing::debug!(pid = link.pid(), agent = %request.agent, name = info.agent.name, "agent process is warm");
    Ok(ProcessDriver::new(spec, link, info))
}

/// Packs everything that follows, if the child has chosen that.
fn pack(
    link: &mut Link,
    spec: &ProcessSpec,
    info: &AgentInfo,
    offered: Option<&DictionaryFile>,
) -> Result<(), AgentError> {
    let window = match (info.compression, spec.compression_window()) {
        (Some(Compression::Zstd), Some(window)) => window,
        (Some(Compression::Zstd), None) => {
            return Err(link.protocol_error("wants compression `zstd`, which was not offered"));
        }
        (None, _) if info.dictionary.is_some() => {
            return Err(link.protocol_error("wants a dictionary without `compression`; choose `zstd` as well"));
        }
        (None, _) => return Ok(()),
    };
    let dictionary = match &info.dictionary {
        None => None,
        Some(chosen) => match offered.filter(|offered| offered.id().to_string() == *chosen) {
            Some(offered) => Some(offered.dictionary()),
            None => {
                let what = format!("wants dictionary `{}`, which was not offered", short(chosen));
                return Err(link.protocol_error(&what));
            }
        },
    };
    link.pack(window, dictionary)
        .map_err(|error| AgentError::lost(format!("cannot communicate with {}: {error}", link.name())))
}

/// Returns the parameters of `initialize`.
fn introduction<'a>(
    spec: &ProcessSpec,
    request: &'a StartRequest,
    dictionary: Option<&'a DictionaryFile>,
    protocol: u32,
) -> Initialize<'a> {
    Initialize {
        protocol,
        oldest_protocol: OLDEST_PROTOCOL,
        pool: request.pool.as_str(),
        agent: request.agent.to_string(),
        compression: if spec.compression_window().is_some() { &[Compression::Zstd] } else { &[] },
        dictionary: dictionary.map(|file| OfferedDictionary {
            id: file.id().to_string(),
            path: file.path().to_string_lossy(),
            bytes: file.dictionary().bytes().len(),
        }),
        limits: AnnouncedLimits {
            max_line_bytes: spec.max_line_bytes,
            max_output_bytes: spec.max_output_bytes,
            cancel_grace_s: spec.cancel_grace.as_secs_f64(),
            stop_grace_s: spec.stop_grace.as_secs_f64(),
            compression_window_bytes: spec.compression_window().map(StreamWindow::bytes),
        },
    }
}

fn start_error(link: &Link, spec: &ProcessSpec, error: RequestError) -> AgentError {
    match error {
        RequestError::Broken(error) => error,
        RequestError::TimedOut => {
            let limit = spec.start_timeout.as_secs_f64();
            link.protocol_error(&format!("did not answer `initialize` within start_timeout = {limit} s"))
        }
        RequestError::Answer(error) => {
            let what = format!("refused to start: {} (code {})", short(&error.message), error.code);
            link.protocol_error(&what)
        }
    }
}

impl DriverFactory for ProcessFactory {
    fn kind(&self) -> &'static str {
        "process"
    }

    fn start(&self, request: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let factory = self.clone();
        Box::pin(async move { Ok(Box::new(factory.launch(request).await?) as Box<dyn Driver>) })
    }
}
