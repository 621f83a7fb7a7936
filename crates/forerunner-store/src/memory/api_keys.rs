//! API keys.

use forerunner_core::ApiKeyId;

use super::state::State;
use crate::{ApiKeyConflict, ApiKeyWrite, StoredApiKey};

impl State {
    pub fn api_keys(&self) -> Vec<StoredApiKey> {
        self.api_keys.values().cloned().collect()
    }

    pub fn write_api_key(&mut self, write: ApiKeyWrite) -> Result<(), ApiKeyConflict> {
        let found = self.api_keys.get(&write.id);
        write.check(found.map(|key| key.revision), self.api_keys.len())?;
        let last_used_day = found.and_then(|key| key.last_used_day);
        match write.next {
            Some((revision, definition)) => {
                let key = StoredApiKey { id: write.id.clone(), revision, definition, last_used_day };
                self.api_keys.insert(write.id, key);
            }
            None => drop(self.api_keys.remove(&write.id)),
        }
        Ok(())
    }

    pub fn note_api_key_use(&mut self, ids: &[ApiKeyId], day: i64) {
        for id in ids {
            if let Some(key) = self.api_keys.get_mut(id) {
                key.last_used_day = key.last_used_day.max(Some(day));
            }
        }
    }
}
