//! What an error of the engine means for the store.

use std::path::Path;

use rusqlite::{Error, ErrorCode};

use crate::StoreError;

pub(super) const KIND: &str = "sqlite";

/// A result of the engine.
pub(super) type Sql<T> = Result<T, Error>;

/// How far an error reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Only the operation that met it: its values do not fit, or what it read makes no sense.
    Operation,
    /// Whatever needs new space.
    Space,
    /// The connection, and everything that uses it.
    Engine,
}

/// Determines how far an error reaches.
pub(super) fn reach(error: &Error) -> Reach {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Reach::Space,
        Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TooBig
            | ErrorCode::TypeMismatch
            | ErrorCode::ApiMisuse
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::Unknown,
        )
        | None => Reach::Operation,
        Some(_) => Reach::Engine,
    }
}

/// Translates it into the store's errors.
pub(super) fn explain(error: &Error, place: &Path) -> StoreError {
    let reason = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { store: KIND, reason },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(place, reason),
        None if is_unreadable(error) => StoreError::Unreadable { store: KIND, reason },
        _ => StoreError::Unavailable { store: KIND, reason },
    }
}

/// A row was there, but its values cannot be what was written.
fn is_unreadable(error: &Error) -> bool {
    matches!(
        error,
        Error::FromSqlConversionFailure(..) | Error::InvalidColumnType(..) | Error::IntegralValueOutOfRange(..)
    )
}

pub(super) fn damaged(place: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Damaged { place: place.display().to_string(), reason: reason.into() }
}

pub(super) fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable { store: KIND, reason: reason.into() }
}

pub(super) fn closed() -> StoreError {
    StoreError::Closed { store: KIND }
}
