//! The barest durable queue: one table, one connection, and one commit for all that waits.

use std::future::Future;

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_postgres::{Client, Statement, types::ToSql};

use super::server;
use crate::{Error, service::Service};

pub(crate) const NAME: &str = "bare group commit, one table";

/// Most new rows of one transaction, as the product has it.
const MAX_GROUP: usize = 1_024;

const TABLE: &str = "CREATE TABLE bare (id bigint PRIMARY KEY, done boolean NOT NULL, input text NOT NULL, output text); \
                     CREATE INDEX bare_ready ON bare (id) WHERE NOT done";
const INSERT: &str =
    "INSERT INTO bare SELECT id, false, input, NULL FROM unnest($1::bigint[], $2::text[]) AS s (id, input)";
const FINISH: &str = "WITH c AS MATERIALIZED (SELECT id FROM bare WHERE NOT done ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) \
                      UPDATE bare SET done = true, output = bare.input FROM c WHERE bare.id = c.id \
                      RETURNING bare.id, bare.output";

type Param<'a> = &'a (dyn ToSql + Sync);
type Job = (u64, oneshot::Sender<u64>);

/// Accepts numbers in one transaction and ends them in the next, together with newly accepted ones. It has no
/// priorities, leases, retries, keys or contexts, and no workers.
pub(crate) struct GroupCommit {
    jobs: mpsc::UnboundedSender<Job>,
}

impl GroupCommit {
    pub(crate) async fn start(url: &str) -> Result<Self, Error> {
        let client = server::connect(url).await?;
        client.batch_execute(TABLE).await?;
        let statements = [client.prepare(INSERT).await?, client.prepare(FINISH).await?];
        let (jobs, waiting) = mpsc::unbounded_channel();
        // It ends with an error once its caller has stopped waiting.
        tokio::spawn(async move { drop(serve(client, statements, waiting).await) });
        Ok(Self { jobs })
    }
}

impl Service for GroupCommit {
    fn send(&self, number: u64) -> impl Future<Output = Result<u64, Error>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.jobs.send((number, reply));
        async move {
            let gone = || Error::Reference { reference: NAME };
            sent.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())
        }
    }
}

/// The same by one caller with whole batches: accepted by one transaction, ended by the next.
pub(crate) struct Batches {
    client: Client,
    statements: [Statement; 2],
    next: i64,
}

impl Batches {
    pub(crate) async fn start(url: &str) -> Result<Self, Error> {
        let client = server::connect(url).await?;
        client.batch_execute(TABLE).await?;
        let statements = [client.prepare(INSERT).await?, client.prepare(FINISH).await?];
        Ok(Self { client, statements, next: 0 })
    }

    /// Accepts and ends batches until the time given; counts tasks.
    pub(crate) async fn cycle(&mut self, batch: usize, until: Instant) -> Result<u64, Error> {
        let mut done = 0;
        while Instant::now() < until {
            let ids: Vec<i64> = (self.next..).take(batch).collect();
            self.next += batch as i64;
            let inputs: Vec<String> = ids.iter().map(ToString::to_string).collect();
            self.client.execute(&self.statements[0], &[&ids, &inputs]).await?;
            done += self.client.query(&self.statements[1], &[&(batch as i64)]).await?.len() as u64;
        }
        Ok(done)
    }
}

async fn serve(
    client: Client,
    [insert, finish]: [Statement; 2],
    mut waiting: mpsc::UnboundedReceiver<Job>,
) -> Result<(), tokio_postgres::Error> {
    let mut accepted = std::collections::HashMap::new();
    let mut group: Vec<Job> = Vec::new();
    // Submitters repeat numbers.
    let mut next = 0_i64;
    loop {
        if accepted.is_empty() && waiting.recv_many(&mut group, MAX_GROUP).await == 0 {
            return Ok(());
        }
        while group.len() < MAX_GROUP
            && let Ok(job) = waiting.try_recv()
        {
            group.push(job);
        }
        let ids: Vec<i64> = (next..).take(group.len()).collect();
        next += group.len() as i64;
        let inputs: Vec<String> = group.iter().map(|(number, _)| number.to_string()).collect();
        let limit = accepted.len() as i64;
        let (arrived, open): ([Param<'_>; 2], [Param<'_>; 1]) = ([&ids, &inputs], [&limit]);
        // All four are sent at once; the server runs them in order.
        let (begun, ended, inserted, committed) = tokio::join!(
            client.batch_execute("BEGIN"),
            client.query(&finish, &open),
            client.execute(&insert, &arrived),
            client.batch_execute("COMMIT"),
        );
        begun?;
        inserted?;
        committed?;
        for row in ended? {
            let (id, output): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
            if let (Some(reply), Ok(number)) = (accepted.remove(&id), output.parse()) {
                // The caller may have stopped waiting.
                let _ = oneshot::Sender::<u64>::send(reply, number);
            }
        }
        accepted.extend(ids.into_iter().zip(group.drain(..).map(|(_, reply)| reply)));
    }
}
