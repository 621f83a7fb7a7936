//! How urgent a task is.

use serde::{Deserialize, Serialize};

use crate::Error;

/// The urgency of a task: 0 (last) to 9 (first), by default 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Priority(u8);

impl Priority {
    /// The most urgent priority.
    pub const MAX: Self = Self(9);

    /// Checks and wraps a priority.
    ///
    /// # Errors
    /// [`Error::Priority`] above 9.
    pub fn new(value: u64) -> Result<Self, Error> {
        match u8::try_from(value) {
            Ok(level) if level <= Self::MAX.0 => Ok(Self(level)),
            _ => Err(Error::Priority { value }),
        }
    }

    /// Returns the number, 0 to 9.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(4)
    }
}

impl TryFrom<u64> for Priority {
    type Error = Error;

    fn try_from(value: u64) -> Result<Self, Error> {
        Self::new(value)
    }
}

impl From<Priority> for u64 {
    fn from(priority: Priority) -> Self {
        u64::from(priority.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_end_at_nine() {
        assert_eq!(Priority::new(9).unwrap(), Priority::MAX);
        assert!(Priority::new(10).unwrap_err().to_string().contains("0 (last) to 9 (first)"));
    }
}
