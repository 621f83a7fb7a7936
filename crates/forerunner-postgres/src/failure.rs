//! What an error of the database or its connection means for the store.

use std::error::Error as _;

use forerunner_store::StoreError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::unread::Unread;

pub(crate) const KIND: &str = "postgres";

/// A result inside a transaction.
pub(crate) type Sql<T> = Result<T, Fault>;

/// Why a transaction failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The database or the connection reported an error.
    Engine(tokio_postgres::Error),
    /// Another transaction got ahead between a read and a write; to be run again.
    Conflict,
    /// A value cannot be what was written.
    Unreadable(String),
    /// A task cannot be read: it is to be set aside.
    Damaged(Box<Unread>),
    /// The transaction did not begin: nothing was done, and another connection may do it.
    NotBegun(String),
    /// The transaction did not begin, over a connection that went on: what was sent behind it may be stored by itself.
    OutcomeUnknown(String),
    /// The connection took, or would take, too long.
    Slow(&'static str),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Engine(error)
    }
}

impl Fault {
    pub fn unreadable(reason: String) -> Self {
        Self::Unreadable(reason)
    }

    fn code(&self) -> Option<&SqlState> {
        if let Self::Engine(error) = self { error.code() } else { None }
    }

    /// Whether the transaction was rolled back and may well succeed when run again.
    pub fn is_transient(&self) -> bool {
        let codes = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::UNIQUE_VIOLATION];
        matches!(self, Self::Conflict) || self.is_about_names() || self.code().is_some_and(|code| codes.contains(code))
    }

    /// Whether a statement is not known by its name, or not as it was when it got it: the next connection may help.
    pub fn is_about_names(&self) -> bool {
        // A pooler that lost its server reports a violation of the protocol as well, and closes the connection.
        if self.ends_connection() {
            return false;
        }
        let codes = [
            SqlState::INVALID_SQL_STATEMENT_NAME,
            SqlState::DUPLICATE_PSTATEMENT,
            // So many parameters as the statement of another client that has the same name.
            SqlState::PROTOCOL_VIOLATION,
            // A table has changed.
            SqlState::FEATURE_NOT_SUPPORTED,
        ];
        self.code().is_some_and(|code| codes.contains(code))
    }

    /// Whether the connection is of no use any more, or may not be.
    pub fn ends_connection(&self) -> bool {
        match self {
            Self::Conflict | Self::Unreadable(_) | Self::Damaged(_) => false,
            Self::NotBegun(_) | Self::OutcomeUnknown(_) | Self::Slow(_) => true,
            Self::Engine(error) => is_spent(error),
        }
    }

    /// Whether only the operation that met it is at fault, not the connection or the server.
    pub fn is_of_operation(&self) -> bool {
        match self {
            Self::Conflict | Self::Unreadable(_) | Self::Damaged(_) => true,
            Self::Slow(_) | Self::NotBegun(_) | Self::OutcomeUnknown(_) => false,
            Self::Engine(error) => match error.code() {
                Some(code) => OF_OPERATION.iter().any(|class| code.code().starts_with(class)),
                // A value that cannot be sent, and not a connection that broke.
                None => !error.is_closed() && error.source().is_none_or(|cause| !cause.is::<std::io::Error>()),
            },
        }
    }

    /// Why the database refuses the values themselves, so that the same would be refused again; none if that is not the reason.
    pub fn refusal(&self) -> Option<String> {
        let Self::Engine(error) = self else { return None };
        let is_lasting = self.is_of_operation() && error.code() != Some(&SqlState::UNIQUE_VIOLATION);
        is_lasting.then(|| error.as_db_error().map_or_else(|| reason(error), |error| error.message().to_owned()))
    }

    /// Whether the limits of the database are exceeded.
    pub fn is_over_limit(&self) -> bool {
        self.code().is_some_and(|code| code.code().starts_with("54"))
    }

    /// What happened, as far as known.
    pub fn reason(&self) -> String {
        match self {
            Self::Engine(error) => reason(error),
            other => other.explain().to_string(),
        }
    }

    /// Translates it into the store's errors.
    pub fn explain(&self) -> StoreError {
        match self {
            Self::Conflict => unavailable("other nodes changed the same tasks at the same time"),
            Self::Unreadable(reason) => StoreError::Unreadable { store: KIND, reason: reason.clone() },
            Self::Damaged(unread) => StoreError::Unreadable { store: KIND, reason: unread.to_string() },
            Self::Slow(what) => unavailable(*what),
            Self::NotBegun(why) | Self::OutcomeUnknown(why) => unavailable(why.as_str()),
            Self::Engine(error) if error.code() == Some(&SqlState::DISK_FULL) => {
                StoreError::Full { store: KIND, reason: reason(error) }
            }
            Self::Engine(error) => unavailable(reason(error)),
        }
    }
}

/// Errors of one operation alone: of classes 22 (data), 23 (integrity), 44 (check option), 54 (limits), P0 (raised by a trigger).
const OF_OPERATION: [&str; 5] = ["22", "23", "44", "54", "P0"];

/// Errors of a session that another session may not have: it was opened while the database was read-only or on a
/// standby, it is being ended, or somebody has changed its role or its schemas.
const OF_SESSION: [SqlState; 8] = [
    SqlState::READ_ONLY_SQL_TRANSACTION,
    SqlState::ADMIN_SHUTDOWN,
    SqlState::CRASH_SHUTDOWN,
    SqlState::CANNOT_CONNECT_NOW,
    SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    SqlState::UNDEFINED_TABLE,
    SqlState::INVALID_SCHEMA_NAME,
    SqlState::INSUFFICIENT_PRIVILEGE,
];

/// Whether a session is to be given up for another one.
pub(crate) fn is_spent(error: &tokio_postgres::Error) -> bool {
    let is_of_session = |code: &SqlState| {
        // 57P05: it was idle for too long. 08: the connection.
        OF_SESSION.contains(code)
            || code.code() == "57P05"
            || code.code().starts_with("08") && code != &SqlState::PROTOCOL_VIOLATION
    };
    ends_connection(error) || error.code().is_some_and(is_of_session)
}

/// Whether the connection of an error is lost.
pub(crate) fn ends_connection(error: &tokio_postgres::Error) -> bool {
    let is_fatal = |error: &DbError| matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
    error.is_closed() || error.as_db_error().is_none_or(is_fatal)
}

/// The driver's message, with the cause that it has apart.
pub(crate) fn reason(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

pub(crate) fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable { store: KIND, reason: reason.into() }
}

pub(crate) fn closed() -> StoreError {
    StoreError::Closed { store: KIND }
}
