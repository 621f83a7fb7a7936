//! Whom an encrypted client trusts.

use std::{path::Path, sync::Arc};

use forerunner_console::Usage;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Returns a configuration that trusts the authorities of the system, and those in a file.
///
/// # Errors
/// [`Usage`] if the file cannot be read or has no authority, or if nobody is trusted.
pub fn config(cacert: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = cacert {
        let fault = |why: &str| Usage(format!("--cacert {}: {why}; name a file in PEM", file.display()));
        let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates = read.map_err(|error| fault(&error.to_string()))?;
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(fault("there is no certificate of an authority in it").into());
        }
    }
    if roots.is_empty() {
        return Err(Usage("this system trusts no authority; name one with --cacert FILE".to_owned()).into());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
