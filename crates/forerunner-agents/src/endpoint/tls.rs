//! Encrypted connections, with rustls.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Returns what verifies a server: by the authorities of the file, or without one by those that the system trusts.
///
/// # Errors
/// When there is no authority to trust.
pub(super) fn client_config(authorities: Option<&Path>) -> Result<ClientConfig, String> {
    let certificates = match authorities {
        Some(file) => read(file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    match (added, authorities) {
        (0, Some(file)) => {
            return Err(format!(
                "`ca_file` {} contains no certificate of an authority; give it one in PEM",
                file.display()
            ));
        }
        (0, None) => {
            return Err(
                "this system trusts no authority; install ca-certificates, or name a file in `ca_file`".to_owned()
            );
        }
        _ => {}
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // A slot sends one request at a time, so streams within a connection would gain nothing.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |why: String| format!("`ca_file` {} cannot be read: {why}", file.display());
    let text = fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| unreadable(error.to_string()))
}
