//! The same load for every service that accepts numbers and returns them.

use std::{collections::VecDeque, future::Future, time::Duration};

use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::Error;

/// Accepts numbers. A worker returns each of them.
pub(crate) trait Service {
    /// Sends a number when called; the future is its answer.
    fn send(&self, number: u64) -> impl Future<Output = Result<u64, Error>>;
}

/// How often a submitter reads the clock.
const LOOK: u64 = 64;

/// Tasks per second with `in_flight` of them under way, from some submitters, each a loop of its own on this thread.
pub(crate) async fn throughput<S: Service>(
    service: &S,
    submitters: usize,
    in_flight: usize,
    warm_up: Duration,
    sample: Duration,
) -> Result<f64, Error> {
    let each = (in_flight / submitters).max(1);
    for duration in [warm_up, sample] {
        let begun = Instant::now();
        let until = begun + duration;
        let counts = try_join_all((0..submitters).map(|_| submit(service, each, until))).await?;
        if duration == sample {
            return Ok(counts.iter().sum::<u64>() as f64 / begun.elapsed().as_secs_f64());
        }
    }
    Ok(0.0)
}

/// Keeps `in_flight` numbers in flight until the given time, then waits for the rest. Counts answers.
async fn submit<S: Service>(service: &S, in_flight: usize, until: Instant) -> Result<u64, Error> {
    let mut under_way = VecDeque::with_capacity(in_flight);
    let mut sent = 0;
    while sent % LOOK != 0 || Instant::now() < until {
        if under_way.len() == in_flight
            && let Some((number, oldest)) = under_way.pop_front()
        {
            check(oldest, number).await?;
        }
        under_way.push_back((sent, service.send(sent)));
        sent += 1;
    }
    for (number, answer) in under_way {
        check(answer, number).await?;
    }
    Ok(sent)
}

async fn check(answer: impl Future<Output = Result<u64, Error>>, number: u64) -> Result<(), Error> {
    let got = answer.await?;
    if got == number {
        return Ok(());
    }
    Err(Error::Wrong { who: "a service", what: format!("{got} instead of {number}") })
}

/// Round trip times with one task at a time: the median and the 99th percentile, in microseconds.
pub(crate) async fn round_trips<S: Service>(
    service: &S,
    warm_up: Duration,
    sample: Duration,
) -> Result<[f64; 2], Error> {
    submit(service, 1, Instant::now() + warm_up).await?;
    let until = Instant::now() + sample;
    let mut micros = Vec::new();
    let mut begun = Instant::now();
    while begun < until {
        check(service.send(micros.len() as u64), micros.len() as u64).await?;
        let ended = Instant::now();
        micros.push((ended - begun).as_secs_f64() * 1e6);
        begun = ended;
    }
    Ok(percentiles(micros))
}

/// The median and the 99th percentile; 0 of none.
pub(crate) fn percentiles(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    let rank = |share: f64| {
        let place = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
        values.get(place).copied().unwrap_or_default()
    };
    [rank(0.5), rank(0.99)]
}
