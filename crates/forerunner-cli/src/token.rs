//! The key that a command shows to the service. It is never an argument: all users of a machine can read those.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use forerunner_console::Usage;
use forerunner_service::auth::Token;

/// The variable with the key.
const VARIABLE: &str = "FORERUNNER_TOKEN";
/// Others may read or write a file.
const OF_OTHERS: u32 = 0o077;

/// Returns the key of FORERUNNER_TOKEN, else that of the file that is named, else that of the user's own file.
///
/// # Errors
/// [`Usage`] if what there is cannot be read, can be read by others, or is no key.
pub fn find(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    if let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) {
        let text = text.into_string().unwrap_or_default();
        return Ok(Some(check(&text, VARIABLE)?));
    }
    match (file, default_file()) {
        (Some(file), _) => read(file).map(Some),
        (None, Some(file)) if file.exists() => read(&file).map(Some),
        (None, _) => Ok(None),
    }
}

/// Writes a key into a new file that only its owner may read.
///
/// # Errors
/// [`Usage`] if there is such a file, or it cannot be written.
pub fn write(file: &Path, token: &Token) -> anyhow::Result<()> {
    let fault = |error: std::io::Error| Usage(format!("--out {}: {error}; name a new file", file.display()));
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(fault)?;
    Ok(writeln!(new, "{}", token.reveal()).and_then(|()| new.sync_all()).map_err(fault)?)
}

fn default_file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(directory.join("forerunner/token"))
}

fn read(file: &Path) -> anyhow::Result<String> {
    let name = file.display().to_string();
    let unreadable =
        |error: std::io::Error| Usage(format!("key file {name} cannot be read: {error}; name one that can"));
    let mode = fs::metadata(file).map_err(unreadable)?.mode();
    if mode & OF_OTHERS != 0 {
        let mode = mode & 0o7777;
        return Err(Usage(format!("key file {name} is open to others (mode {mode:o}); run chmod 600 {name}")).into());
    }
    check(&fs::read_to_string(file).map_err(unreadable)?, &name)
}

/// Whether it has the form of a JSON Web Token: three parts in base64url. Only the service knows whether it is one.
fn is_jwt(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.starts_with("eyJ") && text.split('.').count() == 3 && text.split('.').all(is_part)
}

fn check(text: &str, place: &str) -> anyhow::Result<String> {
    let text = text.trim();
    if Token::parse(text).is_some() || is_jwt(text) {
        return Ok(text.to_owned());
    }
    Err(Usage(format!("{place} has no key; copy the whole key, from `fr_` to its last letter, or a token (JWT)"))
        .into())
}

#[cfg(test)]
mod tests {
    use forerunner_service::auth::Role;

    use super::*;

    #[test]
    fn a_key_is_written_for_its_owner_alone_and_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("key");
        let token = Token::generate(Role::Read).expect("random bits");
        write(&file, &token).expect("a file");
        assert_eq!(fs::metadata(&file).expect("a file").mode() & 0o777, 0o600);
        assert_eq!(read(&file).expect("a key"), token.reveal());
        assert!(write(&file, &token).is_err(), "it is not overwritten");
    }

    #[test]
    fn a_file_that_others_can_read_and_one_without_a_key_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("key");
        fs::write(&file, "s3cret").expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("its mode");
        assert!(read(&file).expect_err("open").to_string().contains("mode 644"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
        let error = read(&file).expect_err("no key").to_string();
        assert!(error.contains("has no key") && !error.contains("s3cret"), "{error}");
    }
}
