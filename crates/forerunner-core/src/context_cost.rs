//! What it cost to give an agent the context of its task.

use serde::{Deserialize, Serialize};

/// Where the context of an attempt came from, cheapest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ContextSource {
    /// Nothing was stored: the context begins with this task.
    #[default]
    New,
    /// The agent had it in the stored version.
    Agent,
    /// Another agent of the node changed it last, and the node still had it in its cache.
    Node,
    /// The node had an older version and read the frames after it.
    Delta,
    /// All of it was read from the store.
    Store,
}

impl ContextSource {
    /// All sources, cheapest first.
    pub const ALL: [Self; 5] = [Self::New, Self::Agent, Self::Node, Self::Delta, Self::Store];

    /// Returns the name used in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Agent => "agent",
            Self::Node => "node",
            Self::Delta => "delta",
            Self::Store => "store",
        }
    }
}

/// What it cost to give an agent the context of its task, and to get the change back. Absent figures are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContextCost {
    /// The source of the context.
    pub source: ContextSource,
    /// Encoded bytes read from the store.
    pub restored_bytes: u64,
    /// Seconds for reading and decoding.
    pub restore_s: f64,
    /// Bytes written to an agent process to give it the context.
    pub to_agent_bytes: u64,
    /// Bytes of an agent process's answer that describe the change of the context.
    pub from_agent_bytes: u64,
    /// Bytes that the whole context has after the task, as one JSON array: what would have moved without deltas.
    pub full_bytes: u64,
    /// Encoded bytes of the change, as stored.
    pub stored_bytes: u64,
    /// Seconds that the task waited, once it was due, for the task before it in its context.
    #[serde(default)]
    pub wait_context_s: f64,
    /// Whether the agent process had lost a context that the node believed resident in it, so that the node sent all of
    /// it.
    pub agent_lost_it: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_text_form() {
        for source in ContextSource::ALL {
            assert_eq!(serde_json::to_string(&source).unwrap(), format!("\"{}\"", source.as_str()));
        }
    }

    #[test]
    fn a_cost_survives_its_text_form() {
        let cost = ContextCost {
            source: ContextSource::Delta,
            restored_bytes: 7,
            restore_s: 0.25,
            agent_lost_it: true,
            ..ContextCost::default()
        };
        let text = serde_json::to_string(&cost).unwrap();
        assert_eq!(serde_json::from_str::<ContextCost>(&text).unwrap(), cost);
    }
}
