//! What a service has counted.

use crate::Client;

/// The metrics of a service, as its page for Prometheus had them.
#[derive(Debug, Clone)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// The sum of all series whose name, labels included, begins with `name` and contains `label`.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        self.0.iter().filter(|(key, _)| key.starts_with(name) && key.contains(label)).map(|(_, value)| value).sum()
    }
}

impl Client {
    /// Reads `/metrics`.
    ///
    /// # Panics
    /// If it is not what Prometheus reads.
    pub async fn metrics(&self) -> Metrics {
        let page = self.get("/metrics").await;
        let lines = page.as_str().expect("metrics are text").lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        Metrics(pairs.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect())
    }
}
