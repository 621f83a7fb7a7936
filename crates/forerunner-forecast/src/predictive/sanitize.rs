//! Rejects impossible numbers.

use std::borrow::Cow;

use crate::{Observation, rate::sane};

/// Greatest time, duration or token count that is believed; some thirty thousand years of seconds.
const MOST: f64 = 1e12;

/// The observation, or a copy without what cannot be: times that are not finite or run backwards, negative or absurd
/// durations and sizes.
pub(crate) fn sanitized(seen: &Observation, before: f64) -> Cow<'_, Observation> {
    let fits = |x: f64| (0.0..=MOST).contains(&x);
    let given = |x: Option<f64>| x.is_none_or(fits);
    if fits(seen.t)
        && given(seen.mean_service_s)
        && given(seen.mean_context_tokens)
        && given(seen.cold_start_s)
        && seen.completed.iter().all(|&(_, s)| fits(s))
        && seen.announced.iter().all(|&(s, _)| fits(s))
    {
        return Cow::Borrowed(seen);
    }
    let mut seen = seen.clone();
    seen.t = if fits(seen.t) { seen.t } else { before.max(0.0) };
    for value in [&mut seen.mean_service_s, &mut seen.mean_context_tokens, &mut seen.cold_start_s] {
        *value = value.filter(|x| fits(*x));
    }
    seen.completed.retain(|&(_, s)| fits(s));
    seen.announced.retain(|&(s, _)| fits(s));
    Cow::Owned(seen)
}

/// A size that arithmetic on any input left in range.
pub(crate) fn bounded(size: f64) -> f64 {
    sane(size).clamp(0.0, f64::from(u32::MAX))
}
