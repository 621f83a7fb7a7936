//! What one commit costs: a row a transaction, one after the other.

use std::time::Duration;

use tokio::time::Instant;

use super::server;
use crate::{Error, service::percentiles};

pub(crate) const NAME: &str = "one commit of one row";

/// The median and the 99th percentile of an insert that commits, in microseconds.
pub(crate) async fn sample(url: &str, sample: Duration) -> Result<Vec<f64>, Error> {
    let client = server::connect(url).await?;
    client.batch_execute("CREATE TABLE bare (id bigint PRIMARY KEY, input text NOT NULL)").await?;
    let insert = client.prepare("INSERT INTO bare VALUES ($1, $2)").await?;
    let mut micros = Vec::new();
    let until = Instant::now() + sample;
    let mut begun = Instant::now();
    while begun < until {
        client.execute(&insert, &[&(micros.len() as i64), &"0"]).await?;
        let ended = Instant::now();
        micros.push((ended - begun).as_secs_f64() * 1e6);
        begun = ended;
    }
    Ok(percentiles(micros).to_vec())
}
