//! Attempts without success: in the row of their task, with which they are removed.

use forerunner_core::{AgentId, AttemptRecord, ErrorKind, NodeId, TaskError, TaskId, TaskState, Timestamp};
use serde::Deserialize;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{failure::Sql, rows::get, tables::earliest_end, tx::Tx};

/// The attempts of the row `t`, with the one that ends; what is no list of attempts counts as none. `$to` is the new
/// state, `$at` the time, `$kind`, `$error` and `$log` the reason, `$agent` and `$start` what the row may not have yet.
macro_rules! with_attempt {
    ($to:literal, $at:literal, $kind:literal, $error:literal, $log:literal, $agent:literal, $start:literal) => {
        concat!(
            "with_attempt(CASE WHEN jsonb_typeof(t.attempts) = 'array' THEN t.attempts END, ",
            "jsonb_build_object('attempt', t.attempt, 'state', ",
            $to,
            ", 'started_at', ",
            $start,
            ", 'ended_at', ",
            $at,
            ", 'agent', ",
            $agent,
            ", 'node', t.node, 'error_kind', ",
            $kind,
            ", 'error', ",
            $error,
            ", 'log', ",
            $log,
            "))"
        )
    };
}
pub(crate) use with_attempt;

/// An attempt as stored.
#[derive(Deserialize)]
struct Stored {
    attempt: u32,
    state: i64,
    started_at: i64,
    ended_at: i64,
    agent: Option<Uuid>,
    node: Option<Uuid>,
    error_kind: Option<ErrorKind>,
    error: Option<String>,
    log: Option<String>,
}

impl Stored {
    fn record(self) -> AttemptRecord {
        let state = TaskState::from_code(self.state).unwrap_or(TaskState::Failed);
        AttemptRecord {
            attempt: self.attempt,
            outcome: state.into(),
            started_at: Timestamp::from_micros(self.started_at),
            ended_at: Some(Timestamp::from_micros(self.ended_at)),
            agent: self.agent.map(AgentId::from_uuid),
            node: self.node.map(NodeId::from_uuid),
            error: self.error_kind.map(|kind| TaskError::new(kind, self.error.unwrap_or_default())),
            log: self.log,
        }
    }
}

impl Tx<'_> {
    pub async fn attempts(&self, task: TaskId) -> Sql<Option<Vec<AttemptRecord>>> {
        let sql = "SELECT attempts::text FROM live WHERE id = $1 UNION ALL \
                   SELECT attempts::text FROM ended WHERE id = $1 AND finished_at >= $2";
        let earliest = earliest_end(*task.as_uuid());
        let params = [(task.as_uuid() as &(dyn ToSql + Sync), Type::UUID), (&earliest, Type::INT8)];
        let rows = self.query(sql, &params).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let Some(text) = get::<Option<String>>(row, 0)? else { return Ok(Some(Vec::new())) };
        // Nothing depends on them: those that cannot be read are left out.
        let records: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
        let stored = records.into_iter().filter_map(|record| serde_json::from_value::<Stored>(record).ok());
        Ok(Some(stored.map(Stored::record).collect()))
    }
}
