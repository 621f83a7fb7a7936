//! Finding tasks by a filter: those that have not ended in `live`, the others in `ended`.
//!
//! An index serves the context, the labels, the window of creation, and the pool with a state other than `succeeded`; the
//! window of ends leaves out partitions. Other conditions are tested on each row that the index finds.

use std::{collections::BTreeSet, sync::LazyLock};

use forerunner_core::{ContextId, PoolName, TaskId, TaskState, TenantName};
use forerunner_store::{TaskFilter, TaskPage, backend};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{
    failure::Sql,
    rows::{ended_columns, get, label_pair, live_columns, state},
    tx::Tx,
};

static UNFINISHED: LazyLock<String> = LazyLock::new(|| format!("SELECT {}, t.cost FROM live t", live_columns()));
static ENDED: LazyLock<String> = LazyLock::new(|| format!("SELECT {}, t.cost FROM ended t", ended_columns()));

/// The same for ids and states alone.
const SELECT_UNFINISHED: &str = "SELECT t.id, t.state FROM live t";
const SELECT_ENDED: &str = "SELECT t.id, t.state FROM ended t";

impl Tx<'_> {
    pub async fn tasks(&self, filter: &TaskFilter) -> Sql<TaskPage> {
        let limit = filter.limit.clamp(1, backend::PAGE_LIMIT);
        let values = Values::of(filter);
        let rows = self.query(&values.sql(filter, (&UNFINISHED, &ENDED), limit + 1), &values.params()).await?;
        let mut tasks = Vec::with_capacity(rows.len());
        for row in rows.iter().take(limit) {
            tasks.push(self.shown(row).await?);
        }
        Ok(TaskPage { tasks, more: rows.len() > limit })
    }

    pub async fn select(&self, filter: &TaskFilter) -> Sql<Vec<(TaskId, TaskState)>> {
        let limit = filter.limit.clamp(1, backend::SELECT_LIMIT);
        let values = Values::of(filter);
        let sql = values.sql(filter, (SELECT_UNFINISHED, SELECT_ENDED), limit);
        let rows = self.query(&sql, &values.params()).await?;
        // One whose state cannot be read is set aside where it is met next, and changed then.
        let named = rows.iter().map(|row| Ok((TaskId::from_uuid(get(row, 0)?), state(row, 1).ok())));
        let named = named.filter_map(|named: Sql<_>| named.map(|(task, state)| Some((task, state?))).transpose());
        named.collect()
    }
}

/// One condition: the comparison, and its value with its type.
type Condition = (&'static str, Box<dyn ToSql + Sync + Send>, Type);

/// The conditions of a filter.
struct Values(Vec<Condition>);

impl Values {
    fn of(filter: &TaskFilter) -> Self {
        let mut all = Self(Vec::new());
        let text = |text: Option<&str>| text.map(str::to_owned);
        all.add("t.tenant =", text(filter.tenant.as_ref().map(TenantName::as_str)), Type::TEXT);
        all.add("t.pool =", text(filter.pool.as_ref().map(PoolName::as_str)), Type::TEXT);
        if !filter.states.is_empty() && filter.pool.is_none() {
            let codes: Vec<i16> = filter.states.iter().map(|state| *state as i16).collect();
            all.add("t.state = ANY", Some(codes), Type::INT2_ARRAY);
        }
        all.add("t.context =", text(filter.context.as_ref().map(ContextId::as_str)), Type::TEXT);
        let pairs: Vec<_> = filter.labels.iter().map(|(key, value)| label_pair(key, value)).collect();
        all.add("label_pairs @>", (!pairs.is_empty()).then_some(pairs), Type::TEXT_ARRAY);
        let (after, before) = filter.id_bounds();
        let id = |id: Option<TaskId>| -> Option<Uuid> { id.map(|id| *id.as_uuid()) };
        all.add("t.id >", id(after), Type::UUID);
        all.add("t.id <", id(before), Type::UUID);
        for (from, to, window) in [
            ("t.submitted_at >=", "t.submitted_at <", &filter.created),
            ("t.finished_at >=", "t.finished_at <", &filter.ended),
            ("t.run_at >=", "t.run_at <", &filter.due),
        ] {
            all.add(from, window.after.map(|at| at.as_micros()), Type::INT8);
            all.add(to, window.before.map(|at| at.as_micros()), Type::INT8);
        }
        all
    }

    fn add<T: ToSql + Sync + Send + 'static>(&mut self, condition: &'static str, value: Option<T>, kind: Type) {
        if let Some(value) = value {
            self.0.push((condition, Box::new(value), kind));
        }
    }

    fn params(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.0.iter().map(|(_, value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone())).collect()
    }

    /// Each part walks an index of its own as far as the page goes; a pool has one part for each state.
    fn sql(&self, filter: &TaskFilter, (unfinished, ended): (&str, &str), limit: usize) -> String {
        let conditions =
            self.0.iter().enumerate().map(|(place, (condition, ..))| format!("{condition} (${})", place + 1));
        let first = match filter.states[..] {
            // Through the table of those, which is short.
            [TaskState::Damaged] => "t.id = ANY (ARRAY(SELECT id FROM damaged))",
            // Without it the index of tenants does not count.
            _ if filter.tenant.as_ref().is_some_and(|tenant| !tenant.is_default()) => "t.tenant <> 'default'",
            _ => "true",
        };
        let conditions = std::iter::once(first.to_owned()).chain(conditions).collect::<Vec<_>>().join(" AND ");
        let order = if filter.oldest_first { "ASC" } else { "DESC" };
        let page = format!("ORDER BY t.id {order} LIMIT {limit}");
        let mut parts = Vec::new();
        let mut add = |state: &str, has_ended: bool| {
            let of = |part: &str| format!("({part} WHERE {conditions}{state} {page})");
            parts.push(of(unfinished));
            if has_ended {
                parts.push(of(ended));
            }
        };
        if filter.states.is_empty() || filter.pool.is_none() {
            let has_ended = filter.states.iter().any(|state| state.is_terminal());
            add("", filter.states.is_empty() || has_ended);
        } else {
            for state in filter.states.iter().copied().collect::<BTreeSet<TaskState>>() {
                add(&format!(" AND t.state = {}", state as i16), state.is_terminal());
            }
        }
        format!("SELECT * FROM ({}) AS t ORDER BY id {order} LIMIT {limit}", parts.join(" UNION ALL "))
    }
}
