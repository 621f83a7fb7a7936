//! The context an agent holds warm, and what of it is stored after a task.

use forerunner_context::{Chain, Error, Frame, Limits, Snapshot, Turn};
use forerunner_core::{ContextId, ErrorKind, PoolName};
use forerunner_store::{ContextCommit, Store};

use super::AgentError;

/// How often a context is restored per turn, for the re-base rule, until it is measured: one turn in five finds its
/// agent gone or taken.
const RESTORES_PER_TURN: f64 = 0.2;

/// A context held warm.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    pub(crate) context: ContextId,
    /// The stored version that `snapshot` is.
    pub(crate) version: u64,
    pub(crate) snapshot: Snapshot,
    chain: Option<Chain>,
}

impl Memory {
    fn new(context: ContextId) -> Self {
        Self { context, version: 0, snapshot: Snapshot::new(), chain: None }
    }

    /// Reads a context from the store; answers it with the encoded bytes that were read.
    pub(crate) async fn restore(
        store: &dyn Store,
        pool: PoolName,
        context: ContextId,
    ) -> Result<(Self, u64), AgentError> {
        let stored = store.context(pool, context.clone()).await.map_err(|error| lost(&context, &error.to_string()))?;
        let Some(stored) = stored else { return Ok((Self::new(context), 0)) };
        let frames = stored.frames.iter().map(Vec::as_slice);
        let bytes = stored.frames.iter().map(|frame| frame.len() as u64).sum();
        let (chain, snapshot) =
            Chain::resume(frames, &Limits::default()).map_err(|error| lost(&context, &error.to_string()))?;
        Ok((Self { context, version: stored.version, snapshot, chain: Some(chain) }, bytes))
    }

    /// Says what to store so that the context becomes `next`, and what is held then. `None` if nothing changed.
    pub(crate) fn advance(&self, next: Snapshot) -> Result<Option<(ContextCommit, Self)>, Error> {
        if next.root() == self.snapshot.root() {
            return Ok(None);
        }
        let (frame, chain, full) = match &self.chain {
            None => self.full_frame(&next)?,
            Some(chain) => self.delta_frame(chain.clone(), &next)?,
        };
        let commit = ContextCommit {
            context: self.context.clone(),
            parent_version: self.version,
            frame: frame.into_bytes(),
            full,
            size_bytes: next.size_bytes() as u64,
            items: next.len() as u64,
        };
        let held =
            Self { context: self.context.clone(), version: self.version + 1, snapshot: next, chain: Some(chain) };
        Ok(Some((commit, held)))
    }

    fn full_frame(&self, next: &Snapshot) -> Result<(Frame, Chain, bool), Error> {
        let base = Frame::full(next)?;
        let chain = Chain::start(&base, next.limits())?;
        Ok((base, chain, true))
    }

    fn delta_frame(&self, mut chain: Chain, next: &Snapshot) -> Result<(Frame, Chain, bool), Error> {
        let delta = Frame::delta(&self.snapshot, next)?;
        let fresh_base_bytes = estimated_base(&chain, next);
        let turn = Turn { delta: &delta, next, restores_per_turn: RESTORES_PER_TURN, fresh_base_bytes };
        if chain.should_rebase(&turn).is_some() {
            return self.full_frame(next);
        }
        chain.append(&turn)?;
        Ok((delta, chain, false))
    }
}

/// The encoded size of a fresh full frame, guessed from how well the chain's own frames compress.
fn estimated_base(chain: &Chain, next: &Snapshot) -> usize {
    let ratio = chain.encoded_bytes() as f64 / chain.decoded_bytes().max(1) as f64;
    (next.size_bytes() as f64 * ratio.min(1.0)) as usize
}

fn lost(context: &ContextId, reason: &str) -> AgentError {
    let message = format!("context `{context}` could not be restored: {reason}");
    AgentError::new(ErrorKind::ContextLost, message, true, true)
}
