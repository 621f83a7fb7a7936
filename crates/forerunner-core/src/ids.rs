//! Names and identifiers.

use std::{
    borrow::Borrow,
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, Timestamp};

/// Longest accepted pool or label name, in bytes.
pub const MAX_NAME_LEN: usize = 64;
/// Longest accepted context id or idempotency key, in bytes.
pub const MAX_KEY_LEN: usize = 256;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        // Not as a `Uuid`, whose own errors speak of groups and characters.
        #[serde(into = "Uuid", try_from = "String")]
        pub struct $name(Uuid);

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl $name {
            /// Builds a version 7 UUID from a time and 80 bits (RFC 9562 §5.7).
            ///
            /// Bits 64 to 75 of `random` order ids of the same millisecond, so a counter belongs there (method 1 of
            /// §6.2). The id ignores bits 62, 63 and 76 to 79, which give way to variant and version.
            pub fn from_parts(now: Timestamp, random: u128) -> Self {
                let millis = (now.as_micros() / 1_000).max(0) as u64;
                let bytes = random.to_be_bytes();
                let mut tail = [0u8; 10];
                tail.copy_from_slice(&bytes[6..]);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid())
            }

            /// Wraps a UUID read from a store.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Returns the UUID.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::parse_str(text).map(Self).map_err(|_| Error::Id {
                    what: $what,
                    value: shortened(text),
                })
            }
        }
    };
}

uuid_id!(
    /// Identifies a task. UUID version 7: sorts by submission time.
    TaskId,
    "task"
);
uuid_id!(
    /// Identifies one warm agent instance.
    AgentId,
    "agent"
);
uuid_id!(
    /// Identifies one run of a node: a restarted node is a new node.
    NodeId,
    "node"
);

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps a name.
            ///
            /// # Errors
            /// [`Error::Name`] with the value and the rule it breaks.
            pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
                $check(text.as_ref()).map(|()| Self(Arc::from(text.as_ref())))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name_type!(
    /// Names a pool: 1 to 64 of `a-z 0-9 _ -`, since it becomes a metric label, a path segment and a config key.
    PoolName,
    check_pool_name
);
name_type!(
    /// Names a schedule: 1 to 64 of `a-z 0-9 _ -`, since it becomes a path segment and part of idempotency keys.
    ScheduleName,
    check_schedule_name
);
name_type!(
    /// Names a conversation whose tasks share memory: 1 to 256 visible ASCII characters.
    ContextId,
    check_context_id
);
name_type!(
    /// Makes a submission repeatable: 1 to 256 visible ASCII characters, unique within a pool.
    IdempotencyKey,
    check_idempotency_key
);

name_type!(
    /// Names who uses an API key: 1 to 64 of `a-z 0-9 _ -`. A key and the one that replaces it have the same name.
    ApiKeyName,
    check_api_key_name
);
name_type!(
    /// Identifies an API key: the 8 letters and digits in it that are no secret.
    ApiKeyId,
    check_api_key_id
);
name_type!(
    /// Names a tenant: 1 to 64 of `a-z 0-9 _ -`.
    TenantName,
    check_tenant_name
);

impl ContextId {
    /// Wraps a name whose parts were checked.
    pub(crate) fn unchecked(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl IdempotencyKey {
    /// Wraps a name whose parts were checked.
    pub(crate) fn unchecked(text: &str) -> Self {
        Self(Arc::from(text))
    }
}

impl TenantName {
    /// The text of the tenant of tasks that name none.
    pub const DEFAULT: &str = "default";

    /// Returns whether it is the tenant of tasks that name none.
    pub fn is_default(&self) -> bool {
        self.as_str() == Self::DEFAULT
    }
}

impl Default for TenantName {
    /// The tenant of tasks that name none.
    fn default() -> Self {
        static NAME: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(TenantName::DEFAULT));
        Self(Arc::clone(&NAME))
    }
}

fn check_tenant_name(text: &str) -> Result<(), Error> {
    check_name("tenant", text)
}

fn check_api_key_name(text: &str) -> Result<(), Error> {
    check_name("key name", text)
}

fn check_api_key_id(text: &str) -> Result<(), Error> {
    if text.len() == ApiKeyId::LEN && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    // Somebody may have given a whole key: it is not repeated.
    let value = if text.len() > ApiKeyId::LEN { "…" } else { text };
    Err(Error::Name { what: "key id", value: value.to_owned(), rule: "the 8 letters and digits that a listing shows" })
}

impl ApiKeyId {
    /// Its length.
    pub const LEN: usize = 8;
}

fn check_pool_name(text: &str) -> Result<(), Error> {
    check_name("pool name", text)
}

fn check_schedule_name(text: &str) -> Result<(), Error> {
    check_name("schedule name", text)
}

fn check_name(what: &'static str, text: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if (1..=MAX_NAME_LEN).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::Name { what, value: shortened(text), rule: "1 to 64 of a-z, 0-9, _ and -" })
}

fn check_context_id(text: &str) -> Result<(), Error> {
    check_key("context id", text)
}

fn check_idempotency_key(text: &str) -> Result<(), Error> {
    check_key("idempotency key", text)
}

fn check_key(what: &'static str, text: &str) -> Result<(), Error> {
    if (1..=MAX_KEY_LEN).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::Name { what, value: shortened(text), rule: "1 to 256 visible ASCII characters without spaces" })
}

/// Shortens a rejected value for a log line.
pub(crate) fn shortened(text: &str) -> String {
    const KEPT: usize = 80;
    if text.chars().count() <= KEPT {
        return text.to_owned();
    }
    text.chars().take(KEPT).chain(['…']).collect()
}

/// Counts how often a task was leased. Only the newest epoch may settle it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseEpoch(pub u64);

impl LeaseEpoch {
    /// The epoch of the next lease.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_names_keep_to_the_alphabet() {
        for good in ["coder", "a", "gpt-4_x", &"x".repeat(64)] {
            assert_eq!(PoolName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "Coder", "a b", "ä", "a/b", &"x".repeat(65)] {
            let error = PoolName::new(bad).unwrap_err().to_string();
            assert!(error.contains("1 to 64"), "{error}");
        }
    }

    #[test]
    fn ids_sort_by_time_and_then_by_counter() {
        let at = |ms: i64, n: u128| TaskId::from_parts(Timestamp::from_micros(ms * 1_000), n << 64);
        assert!(at(1_700_000_000_000, 9) < at(1_700_000_000_001, 1));
        assert!(at(1_700_000_000_000, 1) < at(1_700_000_000_000, 2));
        assert_eq!(at(5, 0).as_uuid().get_version_num(), 7);
    }

    #[test]
    fn an_id_survives_its_text_form() {
        let id = TaskId::from_parts(Timestamp::from_micros(1_700_000_000_000_000), 42);
        assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        assert!("not-a-task".parse::<TaskId>().is_err());
    }
}
