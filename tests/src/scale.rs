//! How much of a thing a test does.

/// The bounded count; the full one if `FORERUNNER_FULL` is set to anything but `0`.
pub fn count(bounded: u64, full: u64) -> u64 {
    match std::env::var_os("FORERUNNER_FULL") {
        Some(value) if value != "0" => full,
        _ => bounded,
    }
}
