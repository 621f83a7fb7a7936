//! Connections: how they are made, kept, bounded and given up.

use std::{str::FromStr, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio_postgres::{Config, NoTls, config::SslMode};

use super::{
    PostgresOptions,
    failure::{reason, unavailable},
};
use crate::StoreError;

/// What an address looks like, for messages.
const FORM: &str = "`postgres://USER:PASSWORD@HOST:PORT/DATABASE`";
/// How long a peer may stay silent before it is asked whether it lives, and between two such questions.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Reads an address and adds what keeps a dead connection from being waited for.
pub(super) fn config(url: &str, options: &PostgresOptions) -> Result<Config, StoreError> {
    let refuse = |reason: String| StoreError::Address { scheme: "postgres".to_owned(), reason, forms: FORM };
    // What the parser says names the option, not its value.
    let mut config = Config::from_str(url).map_err(|error| refuse(reason(&error)))?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(refuse("this build cannot encrypt connections, so `sslmode=require` cannot be met".to_owned()));
    }
    if config.get_application_name().is_none() {
        config.application_name("forerunner");
    }
    config.connect_timeout(options.connect_timeout).tcp_user_timeout(options.call_timeout);
    config.keepalives(true).keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(2);
    Ok(config)
}

/// The connections of a node.
pub(super) fn pool(config: Config, options: &PostgresOptions) -> Result<Pool, StoreError> {
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    let wait = Some(options.connect_timeout);
    let pool = Pool::builder(manager).max_size(options.connections.max(1)).runtime(Runtime::Tokio1);
    let pool = pool.wait_timeout(wait).create_timeout(wait).recycle_timeout(wait).build();
    pool.map_err(|error| unavailable(error.to_string()))
}

/// A connection that is open as far as known.
pub(super) async fn connect(pool: &Pool) -> Result<Object, StoreError> {
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => unavailable(reason(&error)),
        error => unavailable(error.to_string()),
    })
}
