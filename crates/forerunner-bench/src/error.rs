//! The errors of a measurement.

use std::io;

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The product refused, or failed.
    #[error("forerunner failed while it was measured: {0}")]
    Runtime(#[from] forerunner::Error),
    /// The store failed.
    #[error("the store failed while it was measured: {0}")]
    Store(#[from] forerunner::store::StoreError),
    /// A file or a socket failed.
    #[error("the measurement could not use a file or a socket: {0}")]
    Io(#[from] io::Error),
    /// A reference stopped before it answered.
    #[error("the reference `{reference}` ended before it answered")]
    Reference {
        /// Which one.
        reference: &'static str,
    },
    /// Something answered, but not with what was expected.
    #[error("{who} gave a wrong answer: {what}")]
    Wrong {
        /// The program that answered.
        who: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The database rejected a statement of a reference.
    #[error("the database failed while it was measured: {0}")]
    Database(#[from] tokio_postgres::Error),
    /// Something that is measured is not on this machine.
    #[error("{what} is not on this machine; {remedy}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A thread that measured panicked.
    #[error("a thread that measured panicked; its message is above")]
    Panicked,
}
