//! Who may have written a file that the user did not name: its commands run as this user.

use std::{
    fs::{File, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

use forerunner_console::Usage;
use rustix::process::geteuid;

/// Anybody may write.
const OTHERS_WRITE: u32 = 0o002;
/// The group may write.
const GROUP_WRITES: u32 = 0o020;
/// Only owners remove and rename what is in a directory, as in /tmp.
const STICKY: u32 = 0o1000;

/// Rejects a file that another user may have written, or put into its directory.
///
/// # Errors
/// [`Usage`] naming the file, the reason and the remedy.
pub fn check(path: &Path, file: &File) -> anyhow::Result<()> {
    let me = geteuid().as_raw();
    let unreadable =
        |error: std::io::Error| Usage(format!("configuration file {} cannot be checked: {error}", path.display()));
    // Behind symbolic links: the directory of the file, and the one in which it was found.
    let real = path.canonicalize().map_err(unreadable)?;
    let directory = |path: &Path| path.parent().unwrap_or(Path::new("/")).metadata().map_err(unreadable);
    let faults = [
        fault("it", &file.metadata().map_err(unreadable)?, me),
        fault("its directory", &directory(path)?, me),
        fault("its directory", &directory(&real)?, me),
    ];
    match faults.into_iter().flatten().next() {
        Some(fault) => Err(Usage(format!(
            "configuration file {} is not read: {fault}, so that it may not be yours, and its commands would run as you; \
             change that, or name the file with --config",
            path.display()
        ))
        .into()),
        None => Ok(()),
    }
}

fn fault(what: &str, meta: &Metadata, me: u32) -> Option<String> {
    let owner = meta.uid();
    if owner != me && owner != 0 {
        return Some(format!("{what} belongs to user {owner}"));
    }
    let mode = meta.mode();
    let is_shared = meta.is_dir() && mode & STICKY != 0;
    // A user's own group, which many systems create, has no other members.
    let is_own_group = meta.gid() == owner;
    let writes = mode & OTHERS_WRITE != 0 || mode & GROUP_WRITES != 0 && !is_own_group;
    (writes && !is_shared).then(|| format!("others may write {what} (mode {:o})", mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    fn refusal(file_mode: u32, directory_mode: u32) -> Option<String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("forerunner.toml");
        std::fs::write(&path, "").expect("a file");
        std::fs::set_permissions(&path, Permissions::from_mode(file_mode)).expect("its mode");
        std::fs::set_permissions(directory.path(), Permissions::from_mode(directory_mode)).expect("its mode");
        check(&path, &File::open(&path).expect("a file")).err().map(|error| error.to_string())
    }

    #[test]
    fn a_file_that_only_this_user_can_write_is_read() {
        for (file, directory) in [(0o644, 0o755), (0o600, 0o700), (0o644, 0o1777)] {
            assert_eq!(refusal(file, directory), None, "{file:o} in {directory:o}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused_unless_it_is_root() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let meta = file.as_file().metadata().expect("its data");
        let owner = meta.uid();
        let fault = fault("it", &meta, owner + 1);
        match owner {
            0 => assert_eq!(fault, None, "the administrator may write everybody's configuration"),
            _ => assert_eq!(fault, Some(format!("it belongs to user {owner}"))),
        }
        if owner == 0 {
            std::os::unix::fs::chown(file.path(), Some(65_534), None).expect("root may give files away");
            let meta = file.as_file().metadata().expect("its data");
            assert_eq!(super::fault("it", &meta, 0), Some("it belongs to user 65534".to_owned()));
        }
    }

    #[test]
    fn a_file_that_others_can_write_or_replace_is_refused_with_the_remedy() {
        for (file, directory, part) in
            [(0o666, 0o755, "others may write it (mode 666)"), (0o644, 0o777, "its directory")]
        {
            let refusal = refusal(file, directory).expect("refused");
            assert!(refusal.contains(part) && refusal.contains("--config"), "{refusal}");
        }
    }
}
