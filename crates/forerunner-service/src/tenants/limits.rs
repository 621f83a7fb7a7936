//! What a tenant may have at most.

use std::collections::BTreeMap;

use forerunner_core::{Error, RateLimit, TenantName};
use serde::{Deserialize, Serialize};

/// What a tenant may have at most. What is not set is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TenantLimits {
    /// Tasks that may be submitted in a second, to each node: 0.001 to 1,000,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub submits_per_s: Option<f64>,
    /// Tasks that may be submitted at once; by default those of a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub burst: Option<u32>,
    /// Tasks that may wait or run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub tasks: Option<u64>,
    /// Bytes that the inputs of these may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub input_bytes: Option<u64>,
}

impl TenantLimits {
    /// Checks the limits together.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first that is not acceptable.
    pub fn validate(&self) -> Result<(), Error> {
        self.rate()?;
        if self.burst.is_some() && self.submits_per_s.is_none() {
            let rule = "set submits_per_s too, or leave it out".to_owned();
            return Err(Error::Setting { key: "burst", value: "alone".to_owned(), rule });
        }
        Ok(())
    }

    pub(super) fn rate(&self) -> Result<Option<RateLimit>, Error> {
        self.submits_per_s.map(|per_s| RateLimit::new(per_s, self.burst)).transpose()
    }

    /// Returns whether nothing is limited.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether the store has to be asked what the tenant has.
    pub(super) const fn needs_usage(&self) -> bool {
        self.tasks.is_some() || self.input_bytes.is_some()
    }
}

/// The limits of all tenants, as they are stored.
pub(super) type AllLimits = BTreeMap<TenantName, TenantLimits>;

/// Most tenants that have limits: each may be a value of a metric's label.
pub(super) const MOST_TENANTS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_contradict_themselves_are_refused() {
        let read = |text: &str| serde_json::from_str::<TenantLimits>(text).unwrap().validate();
        for good in ["{}", r#"{"submits_per_s": 0.5}"#, r#"{"submits_per_s": 5, "burst": 50, "tasks": 0}"#] {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in [r#"{"burst": 5}"#, r#"{"submits_per_s": 0}"#, r#"{"submits_per_s": 1, "burst": 0}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<TenantLimits>(r#"{"task": 5}"#).is_err());
    }
}
