//! How the lines of a link travel: over the pipes of a child, or over the connections of a remote agent.

use std::{ops::Range, time::Duration};

use forerunner_context::{Dictionary, Error, StreamWindow};
use forerunner_runtime::agent::AgentError;

use super::{
    stderr_lines::StderrLines,
    wire::{Traffic, Wire},
};
use crate::remote::RemoteWire;

/// Where the lines of a link go. Dropping it ends the agent.
pub(super) enum Transport {
    /// A child of this process.
    Process(Box<Wire>),
    /// An agent that dialled in.
    Remote(RemoteWire),
}

/// Calls the same method of either.
macro_rules! either {
    ($transport:expr, $wire:ident => $call:expr) => {
        match $transport {
            Transport::Process($wire) => $call,
            Transport::Remote($wire) => $call,
        }
    };
}

impl Transport {
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Process(wire) => Some(wire.pid()),
            Self::Remote(_) => None,
        }
    }

    pub(super) fn allow(&mut self, bytes: usize, occasion: &'static str) {
        either!(self, wire => wire.allow(bytes, occasion));
    }

    /// A remote agent is offered no packing.
    pub(super) fn pack(&mut self, window: StreamWindow, dictionary: Option<&Dictionary>) -> Result<(), Error> {
        match self {
            Self::Process(wire) => wire.pack(window, dictionary),
            Self::Remote(_) => Ok(()),
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        either!(self, wire => wire.traffic())
    }

    pub(super) fn write(&mut self, line: &[u8]) -> Result<(), AgentError> {
        match self {
            Self::Process(wire) => wire.write(line),
            Self::Remote(wire) => {
                wire.write(line);
                Ok(())
            }
        }
    }

    pub(super) async fn next_line(&mut self) -> Result<Range<usize>, AgentError> {
        either!(self, wire => wire.next_line().await)
    }

    pub(super) fn bytes(&self, line: Range<usize>) -> &[u8] {
        either!(self, wire => wire.bytes(line))
    }

    pub(super) fn protocol_error(&self, what: &str) -> AgentError {
        either!(self, wire => wire.protocol_error(what))
    }

    pub(super) fn name(&self) -> String {
        either!(self, wire => wire.name())
    }

    pub(super) async fn last_lines(&self) -> Option<String> {
        match self {
            Self::Process(wire) => wire.last_lines().await,
            Self::Remote(_) => None,
        }
    }

    pub(super) fn follow_stderr(&self) -> StderrLines {
        match self {
            Self::Process(wire) => wire.follow_stderr(),
            Self::Remote(_) => StderrLines::of_nobody(),
        }
    }

    /// Returns a future that resolves when a remote agent has said goodbye.
    pub(super) fn departure(&self) -> impl Future<Output = ()> + use<> {
        let session = match self {
            Self::Process(_) => None,
            Self::Remote(wire) => Some(wire.session()),
        };
        async move {
            match session {
                Some(session) => session.left().await,
                None => std::future::pending().await,
            }
        }
    }

    pub(super) async fn wait_for_exit(&mut self, limit: Duration) {
        either!(self, wire => wire.wait_for_exit(limit).await);
    }

    pub(super) async fn terminate(self, grace: Duration) {
        match self {
            Self::Process(wire) => wire.terminate(grace).await,
            Self::Remote(_) => {}
        }
    }
}
