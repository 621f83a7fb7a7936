//! The calls of a handle that concern other nodes.

use std::{collections::BTreeMap, future::Future, time::Duration};

use forerunner_core::{Task, TaskId};

use super::messages::ListNodes;
use crate::{Error, Handle, NodeStatus};

/// Pause between two reads of a task that may end on another node: the first one, and the longest.
const FIRST_POLL: Duration = Duration::from_millis(25);
const LONGEST_POLL: Duration = Duration::from_millis(500);
/// The same pause while other nodes send notifications.
const POLL_WHILE_NOTIFIED: Duration = Duration::from_secs(1);

impl Handle {
    /// Returns whether this node acts where one node acts for all: it is the leader, or has its store alone.
    pub fn leads(&self) -> bool {
        self.shared.deps.leads()
    }

    /// Lists the nodes that share the store, oldest first: this one alone if the store is not shared.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when the node is stopping.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, Error> {
        match &self.shared.cluster {
            Some(cluster) => Ok(cluster.send(ListNodes).await.map_err(|_| Error::ShuttingDown)?.0),
            None => Ok(vec![self.this_node().await?]),
        }
    }

    async fn this_node(&self) -> Result<NodeStatus, Error> {
        let mut pools = BTreeMap::new();
        for pool in self.pools().await? {
            pools.insert(pool.name, pool.agents);
        }
        Ok(NodeStatus {
            id: self.shared.deps.node,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.shared.started_at,
            leads: true,
            this: true,
            pools,
        })
    }

    /// Waits for a task to end on this node, as `here` reports, or on another. Returns `None` when the task does not
    /// exist any more.
    pub(crate) async fn ended_anywhere(&self, id: TaskId, here: impl Future<Output = Option<Task>>) -> Option<Task> {
        let elsewhere = async {
            let mut pause = FIRST_POLL;
            loop {
                let is_notified = self.shared.deps.store.is_listening();
                tokio::time::sleep(if is_notified { POLL_WHILE_NOTIFIED } else { pause }).await;
                pause = (pause * 2).min(LONGEST_POLL);
                match self.task(id).await {
                    Ok(task) if task.state.is_terminal() => return Some(task),
                    Ok(_) => {}
                    // A failing store is read again.
                    Err(error) if error.is_retryable() => {}
                    Err(_) => return None,
                }
            }
        };
        tokio::select! {
            task = here => task,
            task = elsewhere => task,
        }
    }
}
