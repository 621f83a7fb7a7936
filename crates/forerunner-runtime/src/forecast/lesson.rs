//! What a forecast learns from while it runs, and how the other nodes get it.

use std::time::Duration;

use forerunner_core::{PoolName, Timestamp};
use forerunner_forecast::{Policy, PolicyLimits};
use forerunner_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use super::packed::{pack, unpack};
use crate::cluster::settings::SettingsOverride;

/// What a forecast can learn from. The texts are what a policy of the same kind saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lesson {
    /// The tasks of a recording: durations, habits, sessions and rules.
    Recording {
        /// What a policy knew at the end of the recording.
        saved: String,
        /// How long ago the recording ended.
        ended: Duration,
    },
    /// The agents of another pool: durations, sessions and the cold start, and not how many tasks come.
    Agents {
        /// What the policy of the other pool knows.
        saved: String,
    },
}

/// What the forecast of a pool has learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedForecast {
    /// The name of its policy.
    pub policy: &'static str,
    /// Tasks that it learned from.
    pub tasks: u64,
    /// What it knows; `None` for a policy that does not learn.
    pub saved: Option<String>,
}

/// A policy as the pool has one, that knows nothing, with the pool's bounds and its measured cold start.
pub struct UntaughtPolicy {
    /// The policy.
    pub policy: Box<dyn Policy>,
    /// Its limits.
    pub limits: PolicyLimits,
}

impl Lesson {
    /// Teaches a policy; false where it cannot learn from this.
    pub(crate) fn teach(&self, policy: &mut dyn Policy) -> bool {
        match self {
            Self::Recording { saved, ended } => policy.teach(saved, ended.as_secs_f64()),
            Self::Agents { saved } => policy.adopt(saved),
        }
    }

    /// Stores it for the other nodes, and then the time at which they see that there is a new one.
    pub(crate) async fn share(&self, store: &dyn Store, pool: &PoolName, at: Timestamp) -> Result<(), StoreError> {
        let text = serde_json::to_string(&SharedLesson::new(self, at)).expect("texts and times have a JSON form");
        store.put_setting(key(pool), Some(text)).await?;
        SettingsOverride { learned: Some(at), ..SettingsOverride::default() }.save(store, pool).await
    }
}

/// The form of a [`Lesson`] in the store.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SharedLesson {
    /// When it was stored.
    pub(crate) at: Timestamp,
    /// Seconds from the end of the recording to `at`; absent for that of another pool's agents.
    ended_s: Option<f64>,
    packed: String,
}

impl SharedLesson {
    fn new(lesson: &Lesson, at: Timestamp) -> Self {
        match lesson {
            Lesson::Recording { saved, ended } => Self { at, ended_s: Some(ended.as_secs_f64()), packed: pack(saved) },
            Lesson::Agents { saved } => Self { at, ended_s: None, packed: pack(saved) },
        }
    }

    /// Reads the newest one of a pool; `None` without one, and for one that cannot be read, as from a newer version.
    pub(crate) async fn load(call: impl Future<Output = Result<Option<String>, StoreError>>) -> Option<Self> {
        match call.await {
            Ok(text) => serde_json::from_str(&text?).ok(),
            Err(error) => {
                tracing::debug!(%error, "what another node learned could not be read");
                None
            }
        }
    }

    /// Returns what it teaches at `now`.
    pub(crate) fn lesson(&self, now: Timestamp) -> Option<Lesson> {
        let saved = unpack(&self.packed)?;
        let ended = self.ended_s.map(|before_s| Duration::try_from_secs_f64(before_s).unwrap_or_default());
        Some(match ended {
            Some(before) => Lesson::Recording { saved, ended: before + now.since(self.at) },
            None => Lesson::Agents { saved },
        })
    }
}

pub(crate) fn key(pool: &PoolName) -> String {
    format!("pool/{pool}/lesson")
}

#[cfg(test)]
mod tests {
    use forerunner_store::{MemoryStore, SettingsStore};

    use super::*;

    #[tokio::test]
    async fn a_lesson_is_read_back_and_grows_older() {
        let (store, pool) = (MemoryStore::default(), PoolName::new("p").unwrap());
        let at = Timestamp::from_micros(5_000_000);
        for (lesson, expected) in [
            (
                Lesson::Recording { saved: "{}".to_owned(), ended: Duration::from_secs(60) },
                Lesson::Recording { saved: "{}".to_owned(), ended: Duration::from_secs(70) },
            ),
            (Lesson::Agents { saved: "[1]".to_owned() }, Lesson::Agents { saved: "[1]".to_owned() }),
        ] {
            lesson.share(&store, &pool, at).await.unwrap();
            let shared = SharedLesson::load(store.setting(key(&pool))).await.unwrap();
            assert_eq!(shared.lesson(at + Duration::from_secs(10)), Some(expected));
            assert_eq!(SettingsOverride::load(&store, &pool).await.unwrap().learned, Some(at));
        }
    }
}
