//! Encrypted connections, with rustls.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How a connection verifies the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    /// It is encrypted, with any server.
    Nothing,
    /// The certificate names the host and is signed, over however many others, by a root that is trusted.
    Full,
}

/// Makes encrypted connections. The roots are those of the file, or without one those that the system trusts.
pub(crate) fn connector(verify: Verify, roots: Option<&Path>) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let config = match verify {
        Verify::Full => config.with_root_certificates(trusted(roots)?).with_no_client_auth(),
        Verify::Nothing => {
            config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn trusted(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let certificates = match file {
        Some(file) => read(file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let (added, _) = store.add_parsable_certificates(certificates);
    match (added, file) {
        (0, Some(file)) => {
            Err(format!("{} contains no certificate of an authority; give it one in PEM", file.display()))
        }
        (0, None) => Err("this system trusts no authority; name a file with one in `sslrootcert=PATH`".to_owned()),
        _ => Ok(store),
    }
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |why: String| format!("the file of `sslrootcert`, {}, cannot be read: {why}", file.display());
    let text = fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>();
    certificates.map_err(|error| unreadable(error.to_string()))
}

/// Accepts any certificate, as `sslmode=require` without a root is understood everywhere: it protects against
/// eavesdroppers, but not against a server in between.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("roots.pem");
        fs::write(&file, text).unwrap();
        connector(Verify::Full, Some(&file)).err().unwrap()
    }

    #[test]
    fn a_file_without_an_authority_is_refused_with_its_name() {
        assert!(refusal("").contains("roots.pem contains no certificate"));
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(refusal(nonsense).contains("roots.pem contains no certificate"));
        let missing = connector(Verify::Full, Some(Path::new("/nonexistent/roots.pem"))).err().unwrap();
        assert!(missing.contains("/nonexistent/roots.pem"), "{missing}");
    }
}
