//! The keys of the identity provider, as they are now.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use forerunner_service::{
    Service,
    auth::{JwtSettings, JwtVerifier},
};
use rustls::ClientConfig;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::trust;

/// How long the provider may take to answer, and the least pause between two questions.
const LIMIT: Duration = Duration::from_secs(10);
/// Most bytes of the keys.
const MAX_BYTES: usize = 1 << 20;

/// Reads the keys of the provider while this lives, if the service accepts tokens.
#[derive(Debug)]
#[must_use = "the keys are no longer read when this is dropped"]
pub struct Jwks(Option<JoinHandle<()>>);

impl Jwks {
    /// Reads them once, and begins to read them again and again. If the provider is away, the node accepts no tokens
    /// until it is back.
    ///
    /// # Errors
    /// When this system cannot trust any https:// address, and the provider has one.
    pub async fn keep(service: &Service) -> anyhow::Result<Self> {
        let Some(tokens) = service.auth().tokens() else { return Ok(Self(None)) };
        let source = Source::of(tokens.settings())?;
        let mut is_failing = !source.refresh(tokens, false).await;
        let service = service.clone();
        Ok(Self(Some(actix_rt::spawn(async move {
            let Some(tokens) = service.auth().tokens() else { return };
            loop {
                let pause = if is_failing { LIMIT } else { tokens.settings().refresh };
                tokio::select! {
                    () = sleep(pause) => {}
                    // Anybody can name a key that is not known: the provider is asked once in a while.
                    () = async { sleep(LIMIT).await; tokens.lacks_key().await } => {}
                }
                is_failing = !source.refresh(tokens, is_failing).await;
            }
        }))))
    }
}

impl Drop for Jwks {
    fn drop(&mut self) {
        if let Some(reading) = &self.0 {
            reading.abort();
        }
    }
}

/// Where the keys are.
struct Source {
    place: String,
    tls: Option<Arc<ClientConfig>>,
}

impl Source {
    fn of(settings: &JwtSettings) -> anyhow::Result<Self> {
        let JwtSettings { jwks_url, jwks_file, .. } = settings;
        let tls = jwks_url.starts_with("https://").then(|| trust::config(None)).transpose()?;
        Ok(Self { place: if jwks_url.is_empty() { jwks_file } else { jwks_url }.clone(), tls })
    }

    /// Reads the keys. Returns whether that worked; the first failure in a row is logged.
    async fn refresh(&self, tokens: &JwtVerifier, is_failing: bool) -> bool {
        let asked_at = Instant::now();
        let read = match timeout(LIMIT, self.read()).await {
            Ok(read) => read.and_then(|set| tokens.load(&set, asked_at).map_err(anyhow::Error::msg)),
            Err(_) => Err(anyhow::anyhow!("there was no answer within 10 s")),
        };
        match &read {
            Ok(keys) if is_failing => {
                tracing::info!(place = self.place, keys, "the keys of the identity provider can be read again");
            }
            Ok(_) => {}
            Err(error) if !is_failing => tracing::warn!(
                place = self.place,
                error = format!("{error:#}"),
                "cannot read the keys of the identity provider; tokens are checked with those of the last 24 h"
            ),
            Err(_) => {}
        }
        read.is_ok()
    }

    async fn read(&self) -> anyhow::Result<String> {
        if self.place.starts_with("http://") || self.place.starts_with("https://") {
            return self.fetch().await;
        }
        let path = Path::new(&self.place).to_owned();
        let size = std::fs::metadata(&path)?.len();
        anyhow::ensure!(size <= MAX_BYTES as u64, "it has {size} bytes, which are too many for keys");
        Ok(std::fs::read_to_string(path)?)
    }

    async fn fetch(&self) -> anyhow::Result<String> {
        let connector = awc::Connector::new().timeout(LIMIT);
        let connector = match &self.tls {
            Some(tls) => connector.rustls_0_23(Arc::clone(tls)),
            None => connector,
        };
        let client = awc::Client::builder().connector(connector).disable_redirects().finish();
        let sent = client.get(&self.place).insert_header(("Accept", "application/json")).send().await;
        let mut answer = sent.map_err(|error| anyhow::anyhow!("{error}"))?;
        anyhow::ensure!(answer.status().is_success(), "it answered {}", answer.status());
        let body = answer.body().limit(MAX_BYTES).await.context("its answer cannot be read")?;
        String::from_utf8(body.to_vec()).context("its answer is no text")
    }
}
