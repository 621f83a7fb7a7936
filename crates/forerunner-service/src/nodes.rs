//! The state of this node, and the list of nodes.

use forerunner_runtime::{NodeStatus, Readiness};

use crate::{error::Error, problem_kind::ProblemKind, service::Service};

impl Service {
    /// Returns whether this node acts where one node acts for all: it is the leader, or has its store alone.
    pub fn leads(&self) -> bool {
        self.handle().leads()
    }

    /// Lists the nodes that share the store, oldest first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, Error> {
        Ok(self.handle().nodes().await?)
    }

    /// Returns what an operator should check, although the node accepts traffic.
    ///
    /// # Errors
    /// The node accepts no traffic.
    pub async fn readiness(&self) -> Result<Readiness, Error> {
        let readiness = self.handle().readiness().await;
        if readiness.ready {
            return Ok(readiness);
        }
        let detail = format!("the node accepts no traffic: {}", readiness.reasons.join("; "));
        let error = Error::new(ProblemKind::NotReady, detail);
        Err(error.with("reasons", readiness.reasons).with("store", readiness.store))
    }
}
