//! The program under test.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Returns the `forerunner` program: `FORERUNNER_BIN` if set, else built once, into the target directory and with the
/// profile of the running test.
///
/// # Panics
/// If it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os("FORERUNNER_BIN").map_or_else(build, PathBuf::from))
}

/// A build of fresh code takes a moment only, and a test never runs an outdated program.
fn build() -> PathBuf {
    let place = Place::of(&env::current_exe().expect("a process knows its own path"));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "forerunner-cli", "--profile", &place.profile, "--target-dir"])
        .arg(&place.target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "`forerunner` cannot be built; see above, or set FORERUNNER_BIN"
    );
    place.directory.join("forerunner")
}

/// Where cargo puts programs, derived from the path of this one: `TARGET/debug/deps/e2e-…`.
struct Place {
    target: PathBuf,
    directory: PathBuf,
    profile: String,
}

impl Place {
    fn of(test: &Path) -> Self {
        let directory = test.parent().and_then(Path::parent).expect("tests live in TARGET/PROFILE/deps").to_path_buf();
        let target = directory.parent().expect("a profile's directory lives in the target directory").to_path_buf();
        let profile = match directory.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev".to_owned(),
            Some(name) => name.to_owned(),
        };
        Self { target, directory, profile }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_of_the_test_is_that_of_the_program() {
        for (path, profile) in
            [("/t/debug/deps/e2e-1", "dev"), ("/t/release/deps/e2e-1", "release"), ("/t/fast/deps/e2e-1", "fast")]
        {
            let place = Place::of(Path::new(path));
            assert_eq!((place.profile.as_str(), place.target.as_path()), (profile, Path::new("/t")));
        }
    }
}
