//! What it took to give an agent the context of its task.

use serde::{Deserialize, Serialize};

/// Where the context of an attempt came from, dearest last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ContextSource {
    /// Nothing was stored: the context begins with this task.
    #[default]
    New,
    /// The agent held it in the stored version.
    Agent,
    /// Another agent of the node had moved it on last: the node still held it.
    Node,
    /// The node held an older version and read what came after it.
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

/// What it took to give an agent the context of its task, and to take the change back. Absent figures are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContextCost {
    /// Where it came from.
    pub source: ContextSource,
    /// Encoded bytes read from the store.
    pub restored_bytes: u64,
    /// Seconds that reading and decoding took.
    pub restore_s: f64,
    /// Bytes written to an agent process so that it holds the context.
    pub to_agent_bytes: u64,
    /// Bytes of an agent process's answer that say how it changed the context.
    pub from_agent_bytes: u64,
    /// Bytes that the whole context has after the task, as one JSON array: what would have moved without deltas.
    pub full_bytes: u64,
    /// Encoded bytes of the change, as stored.
    pub stored_bytes: u64,
    /// Whether the agent process was thought to hold the context, had lost it, and was sent all of it.
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
