//! The policies that are compared.

use std::{fmt, str::FromStr};

/// Which agent gets a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementPolicy {
    /// Pull: the head of the queue goes to the first idle agent of the list.
    FirstReady,
    /// Pull: the head of the queue goes to the agent idle for longest.
    LeastRecentlyUsed,
    /// Push: to the agent with the fewest tasks.
    LeastLoaded,
    /// Push: to the agent that had the session's last task, unless it has more than one task to do; then as
    /// [`LeastLoaded`](Self::LeastLoaded), and there from now on.
    Sticky,
    /// Push: to the first agent in the order of a hash of session and agent that has at most 1.25 times the mean load.
    Rendezvous,
    /// Pull: what a pool does. See [`forerunner_core::placement::choose`].
    Ours,
}

impl PlacementPolicy {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::FirstReady, Self::LeastRecentlyUsed, Self::LeastLoaded, Self::Sticky, Self::Rendezvous, Self::Ours];

    /// Returns the name used on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstReady => "first-ready",
            Self::LeastRecentlyUsed => "least-recently-used",
            Self::LeastLoaded => "least-loaded",
            Self::Sticky => "sticky",
            Self::Rendezvous => "rendezvous",
            Self::Ours => "ours",
        }
    }

    /// Returns whether a task is sent to an agent as it arrives, instead of being pulled by an idle one.
    pub const fn is_push(self) -> bool {
        matches!(self, Self::LeastLoaded | Self::Sticky | Self::Rendezvous)
    }
}

impl fmt::Display for PlacementPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for PlacementPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("policy `{text}` is not known; use one of {known}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_text_form() {
        for policy in PlacementPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert!("best".parse::<PlacementPolicy>().unwrap_err().contains("first-ready"));
    }
}
