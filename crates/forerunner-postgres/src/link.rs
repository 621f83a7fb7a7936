//! Connections: how they are made, bounded and closed, and the names of their statements.

use std::{collections::HashMap, time::Duration};

use parking_lot::{Mutex, MutexGuard};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use forerunner_store::StoreError;
use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls, Statement, types::Type};

use crate::{
    address::{Address, Naming},
    direct::is_direct,
    failure::{reason, unavailable},
    options::PostgresOptions,
};

/// Most statements with a name on a connection. Statements that are built, as those of listings, have many forms.
const MOST_NAMES: usize = 128;
/// After so long without a word of the server, a connection is asked whether it lives before anything is entrusted to it.
const RESTED: Duration = Duration::from_secs(10);

/// How long a session may use its plans. They were made for tables of some size, and those grow; making them takes
/// about a millisecond.
const PLANNED: Duration = Duration::from_secs(1);

/// Settings of a session. Without statistics of the newest rows, the planner would rather read whole tables than walk indexes.
///
/// An index must not lead to the same. A table of dead rows that an open transaction retains is an empty one for the
/// planner, and so a good start of a join. Hence `a = ANY (ARRAY[b])` instead of `a = b` in joins with `tasks` and
/// `inputs`: `a` is then looked up for each `b`, and never the other way round.
const WALKS: &str = "enable_bitmapscan = off; SET enable_seqscan = off; SET enable_sort = off; SET jit = off";

/// The connections of a node.
pub(crate) fn pool(address: &Address, options: &PostgresOptions, most: usize) -> Result<Pool, StoreError> {
    let settings = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let config = address.config.clone();
    let manager = match address.tls.clone() {
        Some(tls) => Manager::from_config(config, tls, settings),
        None => Manager::from_config(config, NoTls, settings),
    };
    let wait = Some(options.connect_timeout);
    let pool = Pool::builder(manager).max_size(most.max(1)).runtime(Runtime::Tokio1);
    let pool = pool.wait_timeout(wait).create_timeout(wait).recycle_timeout(wait).build();
    pool.map_err(|error| unavailable(error.to_string()))
}

/// A connection that is open as far as known.
pub(crate) async fn connect(pool: &Pool) -> Result<Object, StoreError> {
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => unavailable(reason(&error)),
        error => unavailable(error.to_string()),
    })
}

/// A connection of a lane of the writer, with the names of its statements.
pub(crate) struct Link {
    client: Object,
    /// Its session is this node's alone: what was set for it stays.
    pub has_session: bool,
    /// Statements may have names.
    has_names: bool,
    names: Mutex<Names>,
    /// The time of the newest message of the server.
    heard_at: Mutex<Instant>,
    /// When it was last asked to make its plans anew.
    planned_at: Mutex<Instant>,
}

#[derive(Default)]
struct Names {
    known: HashMap<String, Statement>,
    /// Those that were run without one.
    wanted: HashMap<String, Vec<Type>>,
}

impl Link {
    /// A connection for a lane, with its session set up if it has one.
    pub async fn open(pool: &Pool, options: &PostgresOptions, naming: Naming) -> Result<Self, StoreError> {
        let client = connect(pool).await?;
        let failed = |error: tokio_postgres::Error| unavailable(reason(&error));
        let has_session = naming != Naming::Never && is_direct(&client).await.map_err(failed)?;
        if has_session {
            let millis = options.call_timeout.as_millis().max(1);
            let settings = format!(
                "SET statement_timeout = {millis}; SET lock_timeout = {millis}; SET plan_cache_mode = force_generic_plan; \
                 SET idle_in_transaction_session_timeout = {millis}; SET {WALKS}"
            );
            client.batch_execute(&settings).await.map_err(failed)?;
        }
        let has_names = has_session || naming == Naming::Always;
        let [heard_at, planned_at] = [(); 2].map(|()| Mutex::new(Instant::now()));
        Ok(Self { client, has_session, has_names, names: Mutex::default(), heard_at, planned_at })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether the server was silent for so long that it may be lost.
    pub fn has_rested(&self) -> bool {
        self.heard_at.lock().elapsed() > RESTED
    }

    pub fn note_heard(&self) {
        *self.heard_at.lock() = Instant::now();
    }

    /// The statement under its name; none if it has none yet.
    pub fn named(&self, sql: &str) -> Option<Statement> {
        self.names().known.get(sql).cloned()
    }

    /// Gives a statement a name at the next [`tend`](Self::tend).
    pub fn want(&self, sql: &str, types: impl Iterator<Item = Type>) {
        let mut names = self.names();
        if self.has_names && names.known.len() + names.wanted.len() < MOST_NAMES {
            names.wanted.entry(sql.to_owned()).or_insert_with(|| types.collect());
        }
    }

    /// Prepares requested statements and discards old plans, outside of any transaction.
    pub async fn tend(&self) -> Result<(), tokio_postgres::Error> {
        let wanted = std::mem::take(&mut self.names().wanted);
        let prepared = join_all(wanted.iter().map(|(sql, types)| self.client.prepare_typed(sql, types))).await;
        for ((sql, _), statement) in wanted.iter().zip(prepared) {
            self.names().known.insert(sql.clone(), statement?);
        }
        if self.are_plans_old() {
            self.client.batch_execute("DISCARD PLANS").await?;
            *self.planned_at.lock() = Instant::now();
        }
        Ok(())
    }

    /// Whether there is anything to [`tend`](Self::tend) to.
    pub fn is_to_be_tended(&self) -> bool {
        self.are_plans_old() || !self.names().wanted.is_empty()
    }

    fn are_plans_old(&self) -> bool {
        self.has_session && self.planned_at.lock().elapsed() > PLANNED
    }

    /// Closes the connection, which ends its transaction.
    pub fn discard(self) {
        drop(Object::take(self.client));
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock()
    }
}
