//! What can be wrong with a policy's settings.

/// A policy that cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no policy of that name.
    #[error("there is no policy `{name}`; known are {}", crate::PolicyKind::NAMES.join(", "))]
    UnknownPolicy {
        /// The name given.
        name: String,
    },
    /// Settings behind a policy's name cannot be read.
    #[error("policy `{text}`: {reason}; write `name:key=value,…`")]
    Text {
        /// The text given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting is out of its range.
    #[error("policy `{policy}`: `{key}` is {value}, allowed is {allowed}")]
    Setting {
        /// Name of the policy.
        policy: &'static str,
        /// The setting.
        key: &'static str,
        /// Its value.
        value: f64,
        /// Its range, in words.
        allowed: &'static str,
    },
    /// Limits contradict each other or are out of range.
    #[error("pool limits: `{key}` is {value}, allowed is {allowed}")]
    Limits {
        /// The limit.
        key: &'static str,
        /// Its value.
        value: f64,
        /// Its range, in words.
        allowed: &'static str,
    },
}

impl Error {
    /// Whether the same call may succeed later: never, settings have to change first.
    pub const fn is_retryable(&self) -> bool {
        false
    }
}
