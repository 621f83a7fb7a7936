//! Stores by their address.

use std::sync::Arc;

use crate::{MemoryOptions, MemoryStore, SqliteOptions, SqliteStore, Store, StoreError};

/// What [`open`] accepts, for messages.
const FORMS: &str = "`memory:` or `sqlite:PATH`";

/// Opens the store of this crate at an address: `memory:`, or `sqlite:PATH` with an absolute path or one relative to
/// the current directory. Each has its default options. Opening blocks while the file is checked.
///
/// # Errors
/// [`StoreError::Address`] when the address has another form; else the errors of [`SqliteStore::open`].
pub fn open(address: &str) -> Result<Arc<dyn Store>, StoreError> {
    check_address(address)?;
    match address.split_once(':') {
        Some(("sqlite", path)) => Ok(Arc::new(SqliteStore::open(path, SqliteOptions::default())?)),
        _ => Ok(Arc::new(MemoryStore::new(MemoryOptions::default()))),
    }
}

/// Checks the form of an address, and opens nothing.
///
/// # Errors
/// [`StoreError::Address`], as with [`open`].
pub fn check_address(address: &str) -> Result<(), StoreError> {
    let refuse = |reason: String| {
        // An address may carry a password, so only the part before the colon is shown.
        let scheme = address.split(':').next().unwrap_or_default().to_owned();
        Err(StoreError::Address { scheme, reason, forms: FORMS })
    };
    match address.split_once(':') {
        Some(("memory", "")) => Ok(()),
        Some(("memory", _)) => refuse("nothing follows `memory:`".to_owned()),
        Some(("sqlite", path)) => misread(path).map_or(Ok(()), refuse),
        _ => refuse("no store has this form".to_owned()),
    }
}

/// Why the part after `sqlite:` would be misunderstood, if it would: other programs have other forms.
fn misread(path: &str) -> Option<String> {
    if path.is_empty() {
        return Some("a path follows `sqlite:`".to_owned());
    }
    if let Some(rest) = path.strip_prefix("//") {
        let rest = rest.trim_start_matches('/').split('?').next().unwrap_or_default();
        let rest = if rest.is_empty() { "tasks.db" } else { rest };
        return Some(format!(
            "`sqlite:{path}` may mean two files; write `sqlite:{rest}` for one in the current directory, `sqlite:/{rest}` for one \
             from the root"
        ));
    }
    if path.starts_with(":memory:") || path.starts_with("file:") {
        return Some(format!(
            "`sqlite:{path}` is not understood; write `memory:` for a store without a file, else the path alone"
        ));
    }
    if let Some((plain, options)) = path.split_once('?') {
        return Some(format!("there are no options such as `?{options}`; write `sqlite:{plain}`"));
    }
    if path.starts_with('~') {
        return Some(format!("`~` is not expanded in `sqlite:{path}`; write the whole path"));
    }
    (path.trim() != path || path.contains(char::is_control))
        .then(|| format!("spaces around the path in `sqlite:{}`, or control characters", path.escape_debug()))
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
    fn forms_of_other_programs_are_refused_with_what_to_write() {
        for (address, remedy) in [
            ("sqlite://tasks.db", "write `sqlite:tasks.db` for one in the current directory, `sqlite:/tasks.db`"),
            ("sqlite:///var/lib/tasks.db", "`sqlite:/var/lib/tasks.db` for one from the root"),
            ("sqlite:////var/lib/tasks.db?mode=rwc", "`sqlite:/var/lib/tasks.db` for one from the root"),
            ("sqlite://", "write `sqlite:tasks.db`"),
            ("sqlite:tasks.db?mode=rwc", "no options such as `?mode=rwc`; write `sqlite:tasks.db`"),
            ("sqlite::memory:", "write `memory:`"),
            ("sqlite:file:tasks.db", "else the path alone"),
            ("sqlite:~/tasks.db", "write the whole path"),
            ("sqlite: tasks.db", "spaces around the path"),
        ] {
            let message = refusal(address);
            assert!(message.contains(remedy), "{address}: {message}");
        }
        assert!(check_address("sqlite:/var/lib/tasks.db").is_ok() && check_address("sqlite:./a b.db").is_ok());
    }

    #[test]
    fn other_addresses_are_refused_with_what_is_accepted() {
        for address in ["", "mysql://h/d", "postgres://h/d", "memory", "memory:x", "sqlite:", "tasks.db"] {
            assert!(refusal(address).contains(FORMS), "{address}");
        }
        let message = refusal("mysql://user:secret@h/d");
        assert!(message.contains("cannot open a `mysql` store") && !message.contains("secret"), "{message}");
    }
}
