//! The pools that a configuration describes.

use anyhow::Context;
use forerunner_console::Usage;
use forerunner_context::Dictionary;
use forerunner_core::PoolName;
use forerunner_runtime::PoolSpec;

use super::{Config, PoolConfig};

/// The pools of a configuration, with the files that it names for them.
pub fn pools(config: &Config) -> anyhow::Result<Vec<PoolSpec>> {
    let pool = |(name, pool): (&PoolName, &PoolConfig)| {
        let agents = pool.agent.factory().with_context(|| format!("pool `{name}`"))?;
        let made = PoolSpec::new(name.as_str(), pool.settings.clone(), agents)?;
        let dictionary = dictionary(&pool.settings.contexts.dictionary).with_context(|| format!("pool `{name}`"))?;
        Ok(match dictionary {
            Some(dictionary) => made.dictionary(dictionary),
            None => made,
        })
    };
    config.pools.iter().map(pool).collect()
}

/// Reads a dictionary for contexts, if one is named.
fn dictionary(path: &str) -> anyhow::Result<Option<Dictionary>> {
    if path.is_empty() {
        return Ok(None);
    }
    let unreadable = |error| Usage(format!("dictionary {path} cannot be read: {error}; name one that can"));
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let refuse = |error: forerunner_context::Error| Usage(format!("dictionary {path}: {error}"));
    Ok(Some(Dictionary::load(bytes).map_err(refuse)?))
}
