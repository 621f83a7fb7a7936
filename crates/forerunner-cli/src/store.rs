//! Stores by their address: which crate opens which.

use std::sync::Arc;

use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_store::{Store, StoreError};

/// What [`open`] accepts, for messages.
const FORMS: &str = "`memory:`, `sqlite:PATH` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`";

/// Opens the store that an address names, one in PostgreSQL with these options.
///
/// # Errors
/// [`StoreError::Address`] when the address has none of the forms; else the errors of the store.
pub fn open(address: &str, options: PostgresOptions) -> Result<Arc<dyn Store>, StoreError> {
    if is_postgres(address) {
        return Ok(Arc::new(PostgresStore::open(address, options)?));
    }
    forerunner_store::open(address).map_err(with_all_forms)
}

/// Checks the form of an address without opening it. The parts of a PostgreSQL address are checked when it is opened.
///
/// # Errors
/// [`StoreError::Address`], as with [`open`].
pub fn check_address(address: &str) -> Result<(), StoreError> {
    if is_postgres(address) {
        return Ok(());
    }
    forerunner_store::check_address(address).map_err(with_all_forms)
}

fn is_postgres(address: &str) -> bool {
    matches!(address.split_once(':'), Some(("postgres" | "postgresql", _)))
}

/// The stores of one crate name only their own forms.
fn with_all_forms(error: StoreError) -> StoreError {
    match error {
        StoreError::Address { scheme, reason, .. } => StoreError::Address { scheme, reason, forms: FORMS },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(address: &str) -> String {
        open(address, PostgresOptions::default()).err().expect("an address that is refused").to_string()
    }

    #[test]
    fn addresses_name_their_store() {
        assert_eq!(open("memory:", PostgresOptions::default()).expect("a store").kind(), "memory");
        for address in ["sqlite:tasks.db", "postgres://h/d", "postgresql://h/d"] {
            assert!(check_address(address).is_ok(), "{address}");
        }
    }

    #[test]
    fn other_addresses_are_refused_with_all_that_is_accepted() {
        for address in ["", "mysql://h/d", "memory:x", "sqlite:", "tasks.db"] {
            assert!(refusal(address).contains(FORMS), "{address}");
            assert!(check_address(address).is_err(), "{address}");
        }
        let message = refusal("postgres://user:secret@/db?nonsense=1");
        assert!(message.contains("cannot open a `postgres` store") && !message.contains("secret"), "{message}");
    }
}
