//! Made-up loads.

use forerunner_sim::{Trace, TraceTask};

use crate::common::Random;

/// Poisson arrivals at `rate(t)` until `span_s`, by thinning; durations are `service(t)` times an exponential draw that
/// is never far from its mean.
pub fn load(
    name: &str,
    seed: u64,
    span_s: f64,
    most: f64,
    rate: impl Fn(f64) -> f64,
    service: impl Fn(f64) -> f64,
) -> Trace {
    let mut random = Random(seed);
    let (mut t, mut tasks) = (0.0, Vec::new());
    loop {
        t += random.exponential(1.0 / most);
        if t > span_s {
            return Trace::new(name, tasks).expect("some tasks");
        }
        if random.uniform() * most <= rate(t) {
            let service_s = service(t) * (0.5 + 0.5 * random.exponential(1.0));
            tasks.push(TraceTask { arrival_s: t, service_s, ..TraceTask::default() });
        }
    }
}
