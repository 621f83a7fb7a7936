//! TLS of the listeners: the certificate, and how it is read again.

use std::{
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use forerunner_core::Error;
use parking_lot::RwLock;
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

/// How often the files of the certificate are compared with those that were read.
const POLL: Duration = Duration::from_secs(5);

/// Encryption of the listeners. Without a certificate there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// A file with the certificate and those between it and its authority, in PEM; empty for no encryption.
    pub cert: String,
    /// A file with the private key, in PEM.
    pub key: String,
    /// The oldest version that is spoken: `1.2` or `1.3`.
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V13,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { cert: String::new(), key: String::new(), min_version: TlsVersion::V13 }
    }
}

impl TlsSettings {
    /// Returns whether connections are encrypted.
    pub const fn is_on(&self) -> bool {
        !self.cert.is_empty()
    }

    /// Checks the settings together; the files are read when the service starts.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.cert.is_empty() == self.key.is_empty() {
            return Ok(());
        }
        let (key, rule) = match self.cert.is_empty() {
            true => ("http.tls.cert", "name the file of the certificate, since there is a key"),
            false => ("http.tls.key", "name the file of the private key, since there is a certificate"),
        };
        Err(Error::Setting { key, value: "\"\"".to_owned(), rule: rule.to_owned() })
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        match self.min_version {
            TlsVersion::V12 => vec![&TLS13, &TLS12],
            TlsVersion::V13 => vec![&TLS13],
        }
    }
}

/// Encrypts connections with a certificate that can change meanwhile. Cloning is cheap, and shares the certificate.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
}

#[derive(Debug)]
struct Certificate {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read()))
    }
}

impl Tls {
    /// Reads the certificate; `None` without one.
    pub(crate) fn read(settings: &TlsSettings) -> io::Result<Option<Self>> {
        if !settings.is_on() {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let current = RwLock::new(Arc::new(read(settings, &provider)?));
        let certificate =
            Arc::new(Certificate { settings: settings.clone(), provider: Arc::clone(&provider), current });
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&settings.versions());
        let config = config.map_err(io::Error::other)?.with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificate }))
    }

    /// Returns what encrypts a connection.
    pub(crate) const fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Reads the files again whenever they change. Open connections continue as they are.
    pub(crate) async fn keep_current(self) {
        let Certificate { settings, provider, current } = &*self.certificate;
        let mut seen = changed_at(settings);
        loop {
            tokio::time::sleep(POLL).await;
            let now = changed_at(settings);
            if now == seen {
                continue;
            }
            seen = now;
            match read(settings, provider) {
                Ok(key) => {
                    *current.write() = Arc::new(key);
                    tracing::info!(file = settings.cert, "the certificate was read again");
                }
                Err(error) => tracing::warn!(%error, "cannot use the new certificate; continuing with the old one"),
            }
        }
    }
}

fn read(settings: &TlsSettings, provider: &CryptoProvider) -> io::Result<CertifiedKey> {
    let fault = |key: &str, file: &str, why: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("`{key}` = {file}: {why}; name a file in PEM"))
    };
    let in_cert = |why: &dyn std::fmt::Display| fault("http.tls.cert", &settings.cert, why);
    let in_key = |why: &dyn std::fmt::Display| fault("http.tls.key", &settings.key, why);
    let chain = CertificateDer::pem_file_iter(&settings.cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| in_cert(&error))?;
    if chain.is_empty() {
        return Err(in_cert(&"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&settings.key).map_err(|error| in_key(&error))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| in_key(&error))
}

/// When the files changed last. Of a link, which orchestrators exchange, it is the file behind it.
fn changed_at(settings: &TlsSettings) -> [Option<SystemTime>; 2] {
    [&settings.cert, &settings.key].map(|file| fs::metadata(Path::new(file)).and_then(|file| file.modified()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_needs_a_key_and_a_key_a_certificate() {
        let of = |cert: &str, key: &str| {
            let settings = TlsSettings { cert: cert.to_owned(), key: key.to_owned(), ..TlsSettings::default() };
            settings.validate().err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!((of("", ""), of("a", "b")), (String::new(), String::new()));
        assert!(of("a", "").contains("http.tls.key") && of("", "b").contains("http.tls.cert"));
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let settings = TlsSettings { cert: "/nowhere/cert".to_owned(), key: "k".to_owned(), ..TlsSettings::default() };
        let error = Tls::read(&settings).err().expect("no file").to_string();
        assert!(error.starts_with("`http.tls.cert` = /nowhere/cert"), "{error}");
        assert!(Tls::read(&TlsSettings::default()).unwrap().is_none());
    }
}
