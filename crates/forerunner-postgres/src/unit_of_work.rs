//! A group of requests as one transaction: in which of three ways they are sent, and how far they came.

use std::collections::HashSet;

use forerunner_store::StoreError;
use futures_util::future::join_all;

use crate::{
    failure::{Fault, KIND, Sql, ends_connection, unavailable},
    request::Request,
    tx::Tx,
};

/// Most statements that are sent together: past this, ever more of them wait for the same turn.
const SENT_TOGETHER: usize = 16;

/// How far a group came.
pub(crate) enum Failure {
    /// Nothing of it is stored.
    Undone(Fault),
    /// The same, and the connection is not to be used again.
    Broken(Fault),
    /// The connection broke, or was too slow, once the commit was sent: it may be stored.
    Unknown(Fault),
    /// There was no connection.
    NotBegun(StoreError),
}

impl Failure {
    /// What a fault of a statement means when the commit was sent behind it, or is part of it.
    ///
    /// If the server itself reported an error, it did not commit. In a session of one's own (`ones_own`) the server
    /// reports in order what it does, so its last message came before the commit as well. A pooler that lost its server
    /// does not know what that did.
    fn of_statement(fault: Fault, ones_own: bool) -> Self {
        match &fault {
            Fault::Engine(error) if error.code().is_some() && (ones_own || !ends_connection(error)) => {
                Self::Undone(fault)
            }
            _ => Self::Unknown(fault),
        }
    }

    /// The meaning of a fault of the commit. The last message of a server before it ends a session may come after it
    /// has committed: when it logs how long that took.
    fn of_commit(fault: Fault) -> Self {
        Self::of_statement(fault, false)
    }

    pub fn explain(&self) -> StoreError {
        match self {
            Self::Undone(fault) | Self::Broken(fault) => fault.explain(),
            Self::NotBegun(error) => error.clone(),
            Self::Unknown(fault) => StoreError::OutcomeUnknown { store: KIND, reason: fault.reason() },
        }
    }

    /// Whether the database was silent for as long as it may be.
    pub const fn is_silence(&self) -> bool {
        matches!(self, Self::Undone(fault) | Self::Broken(fault) | Self::Unknown(fault) if matches!(fault, Fault::Slow(_)))
    }

    /// Whether the connection broke before anything was stored, so that the same can be done over another one.
    pub fn is_broken_off(&self) -> bool {
        match self {
            Self::NotBegun(_) => true,
            Self::Undone(fault) | Self::Broken(fault) => fault.ends_connection() && !self.is_silence(),
            Self::Unknown(_) => false,
        }
    }

    /// Whether the connection may be used again.
    pub fn leaves_connection(&self) -> bool {
        matches!(self, Self::Undone(fault) if !fault.ends_connection())
    }
}

/// Whether requests that follow each other are run as one.
fn are_alike(one: &&mut Request, next: &&mut Request) -> bool {
    one.is_alike(next)
}

/// Whether requests are one statement each, or each that runs as one is, and few enough to be sent together.
fn are_few_statements(requests: &[&mut Request]) -> bool {
    requests.chunk_by(are_alike).count() <= SENT_TOGETHER && requests.iter().all(|request| request.is_one_statement())
}

/// How many statements requests are, if no answer has to be known before another: then they, and the commit, can be sent at
/// once.
pub(crate) fn statements(requests: &[&mut Request]) -> Option<usize> {
    let is_distinct = |run: &[&mut Request]| {
        let mut seen = HashSet::new();
        run.iter().flat_map(|request| request.tasks()).all(|task| seen.insert(task))
    };
    let mut runs = requests.chunk_by(are_alike);
    (are_few_statements(requests) && runs.all(is_distinct)).then(|| requests.chunk_by(are_alike).count())
}

impl Tx<'_> {
    /// Runs one statement without any other. It is committed when it is answered.
    pub async fn run_alone(&self, requests: &mut [&mut Request]) -> Result<(), Failure> {
        let answered = self.with_deadline(self.run_all(requests)).await.map_err(Failure::Unknown)?;
        answered.map_err(|fault| Failure::of_statement(fault, true))
    }

    /// Sends a transaction with its commit, and waits for all answers.
    pub async fn run_at_once(&self, begin: &str, requests: &mut [&mut Request]) -> Result<(), Failure> {
        // Polled in this order, and each sends what it has when it is polled first.
        let all = async { tokio::join!(self.send(begin), self.run_all(requests), self.send("COMMIT")) };
        let (begun, answered, committed) = self.with_deadline(all).await.map_err(Failure::Unknown)?;
        if let Err(error) = begun {
            // If that was the server's last message, nothing was done. Otherwise the requests sent behind it were.
            let nothing = error.code().is_some() && ends_connection(&error) && self.link.has_session;
            let fault = Fault::Engine(error);
            return Err(if nothing { Failure::NotBegun(fault.explain()) } else { Failure::Unknown(fault) });
        }
        answered.map_err(|fault| Failure::of_statement(fault, self.link.has_session))?;
        committed.map_err(|error| Failure::of_commit(Fault::Engine(error)))
    }

    /// Runs a transaction in which one thing may follow from another.
    pub async fn run_stepwise(&self, requests: &mut [&mut Request]) -> Result<(), Failure> {
        match self.with_deadline(self.run_all(requests)).await.and_then(|answered| answered) {
            Ok(()) => {}
            Err(Fault::NotBegun(why)) => return Err(Failure::NotBegun(unavailable(why))),
            Err(fault @ Fault::Slow(_)) => return Err(Failure::Undone(fault)),
            Err(fault @ Fault::OutcomeUnknown(_)) => return Err(Failure::Unknown(fault)),
            Err(fault) => {
                let undone = self.with_deadline(self.send("ROLLBACK")).await;
                return Err(if matches!(undone, Ok(Ok(()))) { Failure::Undone(fault) } else { Failure::Broken(fault) });
            }
        }
        if self.take_opening().is_some() {
            // Nothing was asked of the database.
            return Ok(());
        }
        let committed = self.with_deadline(self.send("COMMIT")).await.map_err(Failure::Unknown)?;
        committed.map_err(|error| Failure::of_commit(Fault::Engine(error)))
    }

    /// Runs requests in order; equal ones in a row run as one. If each is one statement, they are sent together: the
    /// server runs them in the order of sending.
    async fn run_all(&self, requests: &mut [&mut Request]) -> Sql<()> {
        if are_few_statements(requests) {
            // Polled in this order, and each sends its statement when it is polled first.
            let runs = requests.chunk_by_mut(are_alike).map(|run| Request::run_alike(run, self));
            return join_all(runs).await.into_iter().collect();
        }
        for run in requests.chunk_by_mut(are_alike) {
            Request::run_alike(run, self).await?;
        }
        Ok(())
    }
}
