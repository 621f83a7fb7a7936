//! Arguments that several commands share.

use forerunner_core::parse_duration;

/// Reads `10s`, or `10` for seconds.
pub fn seconds(text: &str) -> Result<f64, String> {
    let parsed = match text.trim().parse::<f64>() {
        Ok(seconds) => Some(seconds).filter(|seconds| seconds.is_finite() && *seconds >= 0.0),
        Err(_) => parse_duration(text).ok().map(|duration| duration.as_secs_f64()),
    };
    let most = 366.0 * 86_400.0;
    let refused = || "write a duration of 366d at most, such as 250ms, 5s or 2m".to_owned();
    parsed.filter(|seconds| *seconds <= most).ok_or_else(refused)
}

/// Reads a share between 0 and 1.
pub fn share(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("write a share between 0 and 1, such as 0.99 for 99 %".to_owned()),
    }
}
