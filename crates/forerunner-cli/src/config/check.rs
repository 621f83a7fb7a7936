//! Whether a configuration could be served.

use forerunner_agents::MissingFile;
use forerunner_console::Usage;
use forerunner_core::PoolName;

use crate::exposure;

use super::{Config, Loaded, PoolConfig, layers::dotted, pools::pools, read::at};

/// Shown where a pool is missing.
const HOW_TO_WRITE_A_POOL: &str = "\
Write one into forerunner.toml:

  [pools.coder]
  agent = { kind = \"process\", argv = [\"python3\", \"/srv/agent.py\"] }
  min = 2
  max = 40

or name one on the command line:

  forerunner serve --pool 'coder=process:python3 /srv/agent.py'
  forerunner serve --pool 'trial=process:forerunner agent'";

/// Refuses a configuration that could not be served, as far as that shows before the store is opened.
pub fn check(loaded: &Loaded) -> anyhow::Result<()> {
    if loaded.config.pools.is_empty() {
        let place = loaded.file.as_ref().map_or_else(
            || "no configuration file was found".to_owned(),
            |path| format!("{} has none", path.display()),
        );
        return Err(Usage(format!("there are no pools to serve: {place}.\n\n{HOW_TO_WRITE_A_POOL}")).into());
    }
    has_room_for_inputs(&loaded.config)?;
    exposure::check(&loaded.config)?;
    pools(&loaded.config).map(drop)
}

/// Returns what this machine lacks for the agents of a configuration, with the place of the setting that names it.
///
/// It is advice: the service may run on another machine than the check.
pub fn warnings(loaded: &Loaded) -> Vec<String> {
    let of_pool = |(name, pool): (&PoolName, &PoolConfig)| {
        let located = |missing: MissingFile| {
            let key = ["pools", name.as_str(), "agent"].into_iter().chain(missing.key.split('.'));
            let key: Vec<String> = key.map(str::to_owned).collect();
            at(&loaded.layers.origin(&key), &dotted(&key), &missing.message)
        };
        pool.agent.missing().into_iter().map(located).collect::<Vec<_>>()
    };
    loaded.config.pools.iter().flat_map(of_pool).collect()
}

/// An input that is larger than all bodies may be together would never be accepted.
fn has_room_for_inputs(config: &Config) -> Result<(), Usage> {
    let room = config.http.memory_bytes;
    let is_too_large = |pool: &PoolConfig| pool.settings.queue.max_input_bytes > room / 2;
    match config.pools.iter().find(|(_, pool)| is_too_large(pool)) {
        None => Ok(()),
        Some((name, pool)) => Err(Usage(format!(
            "`pools.{name}.queue.max_input_bytes` = {} is more than half of `http.memory_bytes` = {room}; raise the latter",
            pool.settings.queue.max_input_bytes,
        ))),
    }
}
