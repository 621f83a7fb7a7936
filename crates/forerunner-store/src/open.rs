//! Stores by their address.

use std::sync::Arc;

use crate::{MemoryOptions, MemoryStore, SqliteOptions, SqliteStore, Store, StoreError};

/// What [`open`] accepts, for messages.
#[cfg(feature = "postgres")]
const FORMS: &str = "`memory:`, `sqlite:PATH` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`";
/// What [`open`] accepts, for messages.
#[cfg(not(feature = "postgres"))]
const FORMS: &str = "`memory:` or `sqlite:PATH`";

/// Opens the store that an address names: `memory:`, `sqlite:PATH` with an absolute path or one from the current
/// directory, or, in a build with the feature `postgres`, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. Each has its
/// default options. Opening a file blocks while it is checked, opening a database while it is reached.
///
/// # Errors
/// [`StoreError::Address`] when the address has another form, or one that this build lacks; else whatever
/// [`SqliteStore::open`], or that of PostgreSQL, says.
pub fn open(address: &str) -> Result<Arc<dyn Store>, StoreError> {
    let refuse = |reason: &str| {
        // An address may carry a password, so only the part before the colon is shown.
        let scheme = address.split(':').next().unwrap_or_default().to_owned();
        Err(StoreError::Address { scheme, reason: reason.to_owned(), forms: FORMS })
    };
    match address.split_once(':') {
        Some(("memory", "")) => Ok(Arc::new(MemoryStore::new(MemoryOptions::default()))),
        Some(("memory", _)) => refuse("nothing follows `memory:`"),
        Some(("sqlite", "")) => refuse("a path follows `sqlite:`"),
        Some(("sqlite", path)) => Ok(Arc::new(SqliteStore::open(path, SqliteOptions::default())?)),
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => {
            Ok(Arc::new(crate::PostgresStore::open(address, crate::PostgresOptions::default())?))
        }
        #[cfg(not(feature = "postgres"))]
        Some(("postgres" | "postgresql", _)) => refuse("PostgreSQL is not in this build"),
        _ => refuse("no store has this form"),
    }
}

/// Opens the store that an address names, as [`open`] does, one in PostgreSQL with these options.
///
/// # Errors
/// As [`open`].
#[cfg(feature = "postgres")]
pub fn open_with(address: &str, options: crate::PostgresOptions) -> Result<Arc<dyn Store>, StoreError> {
    match address.split_once(':') {
        Some(("postgres" | "postgresql", _)) => Ok(Arc::new(crate::PostgresStore::open(address, options)?)),
        _ => open(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(address: &str) -> String {
        open(address).err().unwrap().to_string()
    }

    #[test]
    fn addresses_name_their_store() {
        assert_eq!(open("memory:").unwrap().kind(), "memory");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tasks.db");
        assert_eq!(open(&format!("sqlite:{}", path.display())).unwrap().kind(), "sqlite");
        assert!(path.exists());
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_slip_and_not_created() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("new");
        let message = refusal(&format!("sqlite:{}/tasks.db", missing.display()));
        let reason = format!("there is no directory {}; name a file in a directory that exists", missing.display());
        assert!(message.contains(&reason) && !missing.exists(), "{message}");
    }

    #[test]
    fn other_addresses_are_refused_with_what_is_accepted() {
        for address in ["", "mysql://h/d", "memory", "memory:x", "sqlite:", "tasks.db"] {
            assert!(refusal(address).contains(FORMS), "{address}");
        }
        let message = refusal("postgres://user:secret@/db?nonsense=1");
        assert!(message.contains("cannot open a `postgres` store") && !message.contains("secret"), "{message}");
    }
}
