//! The wall clock of one program, set while it runs, by libfaketime.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Site;

/// The wall clock of a program that is started under [`SetClock::wrapper`]. Monotonic clocks, and so timers, are not
/// affected.
#[derive(Debug)]
pub struct SetClock {
    library: PathBuf,
    /// How far off it is; read anew once a second.
    offset: PathBuf,
}

impl SetClock {
    /// A clock that is right, until it is set, for programs of a site.
    ///
    /// # Errors
    /// Why there is none: the package `faketime` is not installed.
    pub fn of(site: &Site) -> Result<Self, String> {
        let library = library().ok_or("no libfaketime; install the package `faketime`")?;
        let clock = Self { library, offset: site.path("clock") };
        clock.set("+0");
        Ok(clock)
    }

    /// Sets it off by so much, such as `+1h` or `-1d`.
    ///
    /// # Panics
    /// If that cannot be written down.
    pub fn set(&self, offset: &str) {
        // Never half written: the program may read it at any time.
        let fresh = self.offset.with_extension("fresh");
        let written = fs::write(&fresh, format!("{offset}\n")).and_then(|()| fs::rename(&fresh, &self.offset));
        written.expect("a fresh directory can be written to");
    }

    /// What to start a program with.
    pub fn wrapper(&self) -> [String; 6] {
        [
            "env".to_owned(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.offset.display()),
            "FAKETIME_CACHE_DURATION=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ]
    }
}

/// Debian's path: `/usr/lib/MACHINE/faketime`.
fn library() -> Option<PathBuf> {
    let machines = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let places = machines.chain([Path::new("/usr/lib").to_owned(), Path::new("/usr/local/lib").to_owned()]);
    places.map(|place| place.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}
