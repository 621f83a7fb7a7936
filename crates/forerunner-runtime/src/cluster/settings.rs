//! Overrides of a pool's settings for all nodes. They are settings in the store, which every node reads when it starts
//! and at each heartbeat.
//!
//! There is one setting for each thing that changes as one, so that two nodes can change different things at the same
//! moment.

use std::collections::BTreeMap;

use forerunner_core::{PoolName, Timestamp};
use forerunner_store::{SETTINGS, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::status::{Mode, PoolPatch};

const PARTS: [&str; 4] = ["bounds", "mode", "paused", "learned"];

/// The overridden settings of a pool; `None` for each one that is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SettingsOverride {
    pub(crate) bounds: Option<Bounds>,
    pub(crate) mode: Option<Mode>,
    pub(crate) paused: Option<bool>,
    /// When its forecast was last taught.
    pub(crate) learned: Option<Timestamp>,
}

/// Least and greatest number of agents, validated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    pub(crate) min: u32,
    pub(crate) max: u32,
}

impl SettingsOverride {
    /// Reads the overrides from settings by their keys. Values that cannot be read, as from a newer version, count as
    /// not overridden.
    pub(crate) fn read(settings: &BTreeMap<String, String>, pool: &PoolName) -> Self {
        let part = |part| settings.get(&key(pool, part));
        Self {
            bounds: part("bounds").and_then(|text| serde_json::from_str(text).ok()),
            mode: part("mode").and_then(|text| serde_json::from_str(text).ok()),
            paused: part("paused").and_then(|text| serde_json::from_str(text).ok()),
            learned: part("learned").and_then(|text| serde_json::from_str(text).ok()),
        }
    }

    /// Reads the overrides from a store.
    pub(crate) async fn load(store: &dyn Store, pool: &PoolName) -> Result<Self, StoreError> {
        let mut settings = BTreeMap::new();
        for part in PARTS {
            let key = key(pool, part);
            if let Some(text) = store.setting(key.clone()).await? {
                settings.insert(key, text);
            }
        }
        Ok(Self::read(&settings, pool))
    }

    /// Stores the overridden settings and leaves the others unchanged.
    pub(crate) fn save(
        self,
        store: &dyn Store,
        pool: &PoolName,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let Self { bounds, mode, paused, learned } = self;
        let texts = [
            bounds.map(|bounds| text(&bounds)),
            mode.map(|mode| text(&mode)),
            paused.map(|paused| text(&paused)),
            learned.map(|at| text(&at)),
        ];
        let overridden = PARTS.iter().zip(texts).filter(|(_, text)| text.is_some());
        let calls: Vec<_> = overridden.map(|(part, text)| store.put_setting(key(pool, part), text)).collect();
        async move { futures_util::future::try_join_all(calls).await.map(drop) }
    }

    /// The same as a change of a running pool.
    pub(crate) fn patch(self) -> PoolPatch {
        let Self { bounds, mode, .. } = self;
        PoolPatch { min: bounds.map(|bounds| bounds.min), max: bounds.map(|bounds| bounds.max), mode }
    }
}

fn key(pool: &PoolName, part: &str) -> String {
    format!("{SETTINGS}{pool}/{part}")
}

fn text(what: &impl Serialize) -> String {
    serde_json::to_string(what).expect("numbers and words have a JSON form")
}

#[cfg(test)]
mod tests {
    use forerunner_store::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn what_is_changed_is_read_back_and_what_is_not_stays() {
        let (store, pool) = (MemoryStore::default(), PoolName::new("p").unwrap());
        assert_eq!(SettingsOverride::load(&store, &pool).await.unwrap(), SettingsOverride::default());
        let bounds = SettingsOverride { bounds: Some(Bounds { min: 1, max: 9 }), ..SettingsOverride::default() };
        bounds.save(&store, &pool).await.unwrap();
        let paused = SettingsOverride { paused: Some(true), mode: Some(Mode::Advise), ..SettingsOverride::default() };
        paused.save(&store, &pool).await.unwrap();
        let both = SettingsOverride { bounds: bounds.bounds, ..paused };
        assert_eq!(SettingsOverride::load(&store, &pool).await.unwrap(), both);
        assert_eq!(
            SettingsOverride::load(&store, &PoolName::new("q").unwrap()).await.unwrap(),
            SettingsOverride::default()
        );
        let newer = BTreeMap::from([(key(&pool, "mode"), "\"dream\"".to_owned())]);
        assert_eq!(SettingsOverride::read(&newer, &pool), SettingsOverride::default());
    }
}
