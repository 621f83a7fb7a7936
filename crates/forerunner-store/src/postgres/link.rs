//! Connections: how they are made, kept, bounded and given up.

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;

use super::{
    PostgresOptions,
    address::Address,
    failure::{reason, unavailable},
};
use crate::StoreError;

/// The connections of a node.
pub(super) fn pool(address: &Address, options: &PostgresOptions) -> Result<Pool, StoreError> {
    let settings = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let config = address.config.clone();
    let manager = match address.tls.clone() {
        Some(tls) => Manager::from_config(config, tls, settings),
        None => Manager::from_config(config, NoTls, settings),
    };
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
