//! Which nodes live, and which of them leads: one row a node, one row for the lead.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use forerunner_core::{LeaseEpoch, NodeId, PoolName, TaskId, Timestamp};
use forerunner_store::{ClusterState, Heartbeat, Leader, LiveNode, Plan, SETTINGS};
use tokio::time::Instant;
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    failure::{Fault, Sql},
    liveness::{CLASS, Found},
    rows::get,
    tx::{Param, Tx},
};

impl Tx<'_> {
    /// Records the heartbeat of a node, and returns the state of the cluster.
    pub async fn take_beat(&self, beat: &Heartbeat) -> Sql<ClusterState> {
        let [lasts, lead] = [beat.lease, beat.lead()].map(|span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX));
        let now = self.now(beat.now).await?;
        self.renew(beat.node, beat.now + beat.lease, lasts).await?;
        let sql = "UPDATE nodes SET report = $2 WHERE node = $1 RETURNING node";
        self.run(sql, &[(beat.node.as_uuid(), Type::UUID), (&beat.report, Type::TEXT)]).await?;
        let have_ended = self.end_gone(beat.node, now).await?;
        self.take_lead(beat.node, now, now.saturating_add(lead)).await?;
        if let Some(plan) = &beat.plan {
            self.put_plan(beat.node, plan).await?;
        }
        let standing = self.standing(beat.node, now).await?;
        Ok(ClusterState { next_end: if have_ended { Some(Duration::ZERO) } else { standing.next_end }, ..standing })
    }

    /// Removes a node and its lead. Its tasks keep their leases.
    pub async fn forget_node(&self, node: NodeId) -> Sql<()> {
        let node = [(node.as_uuid() as &(dyn ToSql + Sync), Type::UUID)];
        self.run("UPDATE nodes SET report = NULL WHERE node = $1 RETURNING node", &node).await?;
        self.run("UPDATE lead SET until = 0, node = NULL WHERE node = $1 RETURNING term", &node).await.map(drop)
    }

    /// The time by the clock of the database, unless it is to follow its callers.
    pub async fn time(&self) -> Sql<Option<Timestamp>> {
        if !self.database_time {
            return Ok(None);
        }
        Ok(Some(Timestamp::from_micros(self.now(Timestamp::default()).await?)))
    }

    /// The time that leases are compared with, in microseconds.
    async fn now(&self, callers: Timestamp) -> Sql<i64> {
        let sql = "SELECT CASE WHEN $1 THEN (extract(epoch FROM clock_timestamp()) * 1000000)::int8 ELSE $2 END";
        let callers = callers.as_micros();
        let rows = self.query(sql, &[(&self.database_time, Type::BOOL), (&callers, Type::INT8)]).await?;
        rows.first().map_or_else(
            || Err(Fault::unreadable("the database did not return its time".to_owned())),
            |row| get(row, 0),
        )
    }

    /// Checks which other nodes exist, and ends the leases of those that are gone; returns whether there were any.
    async fn end_gone(&self, own: NodeId, now: i64) -> Sql<bool> {
        self.node.liveness.note_own(own);
        let sql = "SELECT node, lease_until, NOT pg_try_advisory_xact_lock_shared($1, hashtext(node::text)) FROM nodes \
                   WHERE report IS NOT NULL AND lease_until >= $2 AND node <> $3";
        let params: [Param<'_>; 3] = [(&CLASS, Type::INT4), (&now, Type::INT8), (own.as_uuid(), Type::UUID)];
        let rows = self.query(sql, &params).await?;
        let found = rows.iter().map(|row| {
            Ok(Found { node: NodeId::from_uuid(get(row, 0)?), lease_until: get(row, 1)?, is_there: get(row, 2)? })
        });
        let mut have_ended = false;
        for gone in self.node.liveness.note(&found.collect::<Sql<Vec<_>>>()?, Instant::now()) {
            let sql = "WITH n AS (UPDATE nodes SET lease_until = $3 WHERE node = $1 AND lease_until = $2 RETURNING node), \
                       l AS (UPDATE lead SET until = 0 FROM n WHERE lead.node = n.node) SELECT node FROM n";
            let ended = now.saturating_sub(1);
            let params = [
                (gone.node.as_uuid() as &(dyn ToSql + Sync), Type::UUID),
                (&gone.lease_until, Type::INT8),
                (&ended, Type::INT8),
            ];
            if self.run(sql, &params).await? > 0 {
                tracing::warn!(node = %gone.node, "the process of another node has ended; its leases end now");
                have_ended = true;
            }
        }
        Ok(have_ended)
    }

    /// Renews the lead of a node that has it, or gives it to one that asks when nobody has it.
    async fn take_lead(&self, node: NodeId, now: i64, until: i64) -> Sql<()> {
        let sql = "UPDATE lead SET node = $1, until = greatest($3, CASE WHEN node = $1 THEN until ELSE 0 END), \
                   term = CASE WHEN node = $1 AND until >= $2 THEN term ELSE term + 1 END \
                   WHERE node IS NULL OR node = $1 OR until < $2 RETURNING term";
        self.run(sql, &[(node.as_uuid(), Type::UUID), (&now, Type::INT8), (&until, Type::INT8)]).await.map(drop)
    }

    async fn put_plan(&self, node: NodeId, plan: &Plan) -> Sql<()> {
        let sql = "UPDATE lead SET plan_term = $2, plan = $3 WHERE node = $1 AND term = $2 \
                   AND (plan_term IS DISTINCT FROM $2 OR plan IS DISTINCT FROM $3) RETURNING term";
        let term = signed(plan.term);
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(node.as_uuid(), Type::UUID), (&term, Type::INT8), (&plan.text, Type::TEXT)];
        if !self.query(sql, &params).await?.is_empty() {
            self.hints().settings = true;
        }
        Ok(())
    }

    async fn standing(&self, own: NodeId, now: i64) -> Sql<ClusterState> {
        let sql = "SELECT node, report, lease_until FROM nodes WHERE report IS NOT NULL AND lease_until >= $1 \
                   ORDER BY node";
        let rows = self.query(sql, &[(&now, Type::INT8)]).await?;
        let (mut nodes, mut next_end) = (Vec::with_capacity(rows.len()), None::<i64>);
        for row in &rows {
            let node = NodeId::from_uuid(get(row, 0)?);
            if node != own {
                let until = get::<i64>(row, 2)?;
                next_end = Some(next_end.map_or(until, |end| end.min(until)));
            }
            nodes.push(LiveNode { node, report: get(row, 1)? });
        }
        self.node.notifier.note_peers(nodes.iter().filter(|one| one.node != own).count());
        let rows = self.query("SELECT node, term, plan_term, plan FROM lead", &[]).await?;
        let lead = rows.first().ok_or_else(|| Fault::unreadable("the table `lead` is empty".to_owned()))?;
        let plan = get::<Option<String>>(lead, 3)?;
        let plan_term = get::<Option<i64>>(lead, 2)?;
        Ok(ClusterState {
            nodes,
            leader: Leader { node: NodeId::from_uuid(get(lead, 0)?), term: get::<i64>(lead, 1)?.unsigned_abs() },
            plan: plan.zip(plan_term).map(|(text, term)| Plan { term: term.unsigned_abs(), text }),
            stops: self.stops(own).await?,
            settings: self.settings().await?,
            next_end: next_end.map(|end| Duration::from_micros(end.saturating_sub(now).max(0).unsigned_abs())),
        })
    }

    /// The leases that a node has in a pool: those of the tasks that it knows, and, if its own claims may have given out
    /// more, all others.
    pub async fn leases(&self, node: NodeId, pool: &PoolName, known: &[TaskId]) -> Sql<Vec<(TaskId, LeaseEpoch)>> {
        let of_known = "SELECT id, epoch FROM live WHERE id = ANY ($3) AND node = $1 AND state = 2 AND pool = $2";
        let all = "SELECT id, epoch FROM live WHERE node = $1 AND state = 2 AND pool = $2";
        let ids: Vec<_> = known.iter().map(|task| *task.as_uuid()).collect();
        let params = [
            (node.as_uuid() as &(dyn ToSql + Sync), Type::UUID),
            (&pool.as_str(), Type::TEXT),
            (&ids, Type::UUID_ARRAY),
        ];
        if !self.node.unanswered.may_be_some(pool, Instant::now()) {
            return leases(&self.query(of_known, &params).await?);
        }
        let found = leases(&self.query(all, &params[..2]).await?)?;
        let known: HashSet<_> = known.iter().collect();
        if found.iter().any(|(task, _)| !known.contains(task)) {
            self.node.unanswered.note(Instant::now());
        }
        Ok(found)
    }

    /// The running tasks of a node that somebody cancelled.
    async fn stops(&self, node: NodeId) -> Sql<Vec<(TaskId, LeaseEpoch)>> {
        let sql = "SELECT t.id, t.epoch FROM cancellations c JOIN live t ON t.id = ANY (ARRAY[c.id]) WHERE c.node = $1 \
                   AND t.node = c.node AND t.state = 2 AND t.cancel_epoch = t.epoch LIMIT 10000";
        let stops = leases(&self.query(sql, &[(node.as_uuid(), Type::UUID)]).await?)?;
        Ok(stops)
    }

    /// The notes that all nodes are to follow.
    async fn settings(&self) -> Sql<BTreeMap<String, String>> {
        let sql = "SELECT key, text FROM settings WHERE starts_with(key, $1)";
        let rows = self.query(sql, &[(&SETTINGS, Type::TEXT)]).await?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }
}

/// Tasks and epochs, in the first two columns.
fn leases(rows: &[Row]) -> Sql<Vec<(TaskId, LeaseEpoch)>> {
    let leases =
        rows.iter().map(|row| Ok((TaskId::from_uuid(get(row, 0)?), LeaseEpoch(get::<i64>(row, 1)?.unsigned_abs()))));
    leases.collect()
}

/// A term in the form of the database; at one change a nanosecond it would overflow after centuries.
fn signed(term: u64) -> i64 {
    i64::try_from(term).unwrap_or(i64::MAX)
}
