//! Whether a configuration could be served.

use forerunner_console::Usage;

use super::{Config, Loaded, PoolConfig, pools::pools};

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
    pools(&loaded.config).map(drop)
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
