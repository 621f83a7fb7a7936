//! Keeps the tables small whose rows come and go all the time, and says what keeps them from being so.
//!
//! A claim reads past every row that was claimed and not yet vacuumed away. The database's own vacuum comes once a minute
//! at most; under load that is too seldom.

use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use tokio::time::{sleep, timeout};
use tokio_postgres::types::{ToSql, Type};

use super::{
    failure::{reason, unavailable},
    link,
};
use crate::StoreError;

/// The tables that change with every task. What is locked is left for the next time.
const VACUUM: &str = "VACUUM (SKIP_LOCKED) ready, line, nodes";
/// Longest time of a round: a table that takes longer is the database's own affair.
const LIMIT: Duration = Duration::from_secs(60);
/// A transaction that is open for so long keeps rows of all tables from being removed.
const OLD: Duration = Duration::from_secs(300);

/// Takes the turn of this period, unless another node had it: notes when it was taken, by the clock of the database.
const TURN: &str = "INSERT INTO notes AS n (key, text) SELECT 'store/vacuumed_at', now::text \
                    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS now) AS clock \
                    ON CONFLICT (key) DO UPDATE SET text = excluded.text \
                    WHERE excluded.text::int8 - n.text::int8 >= $1 RETURNING key";
/// The oldest transaction that others have to keep rows for, and how many seconds it has been open.
const OLDEST: &str = "SELECT pid, COALESCE(application_name, ''), extract(epoch FROM clock_timestamp() - xact_start)::int8 \
                      FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND datname = current_database() \
                      AND backend_type = 'client backend' ORDER BY xact_start LIMIT 1";

/// Vacuums once a period, on one node at a time.
pub(super) struct Janitor {
    pub pool: Pool,
    pub period: Duration,
}

impl Janitor {
    /// Runs until it is dropped.
    pub async fn serve(self) {
        loop {
            sleep(self.period).await;
            // A database that is away is said by those who need it.
            if let Err(error) = self.round().await {
                tracing::debug!(%error, "the store was not cleaned up");
            }
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        let client = link::connect(&self.pool).await?;
        let failed = |error: tokio_postgres::Error| unavailable(reason(&error));
        match timeout(LIMIT, self.clean(&client)).await {
            Ok(outcome) => outcome.map_err(failed),
            Err(_) => {
                drop(Object::take(client));
                Err(unavailable(format!("cleaning up took longer than {LIMIT:?}")))
            }
        }
    }

    async fn clean(&self, client: &Object) -> Result<(), tokio_postgres::Error> {
        // Half of it, so that a node whose turn it was does not miss the next one by a hair.
        let since = i64::try_from(self.period.as_micros() / 2).unwrap_or(i64::MAX);
        let period: (&(dyn ToSql + Sync), Type) = (&since, Type::INT8);
        if client.query_typed(TURN, &[period]).await?.is_empty() {
            return Ok(());
        }
        client.batch_execute(VACUUM).await?;
        for row in client.query_typed(OLDEST, &[]).await? {
            let (pid, program, age_s): (i32, String, Option<i64>) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if age_s.is_some_and(|age| age.unsigned_abs() >= OLD.as_secs()) {
                tracing::warn!(
                    pid,
                    program,
                    age_s,
                    "a transaction that is open for long keeps dead rows alive, and claims slow; end it with pg_terminate_backend"
                );
            }
        }
        Ok(())
    }
}
