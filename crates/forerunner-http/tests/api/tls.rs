//! Encrypted connections: the version, and a certificate that changes under open ones.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use forerunner_http::{HttpServer, HttpSettings, TlsSettings};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::rig::{Rig, prometheus};

/// Writes a new certificate and its key, and returns the certificate.
fn issue(directory: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(directory.join("key.pem"), signing_key.serialize_pem()).unwrap();
    fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
    cert.der().clone()
}

async fn connect(
    to: SocketAddr,
    trusted: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_protocol_versions(&[version]).unwrap().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(to).await?).await
}

/// Returns the answer to a request on an open connection.
async fn ask(connection: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    connection.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        let mut bytes = [0; 1_024];
        match connection.read(&mut bytes).await? {
            0 => break,
            read => answer.extend_from_slice(&bytes[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[actix_web::test]
async fn a_certificate_changes_under_open_connections() {
    let rig = Rig::start().await;
    let directory = tempfile::tempdir().unwrap();
    let first = issue(directory.path());
    let file = |name: &str| directory.path().join(name).display().to_string();
    let tls = TlsSettings { cert: file("cert.pem"), key: file("key.pem"), ..TlsSettings::default() };
    let server = HttpServer::bind(HttpSettings { tls, ..rig.settings.clone() }, rig.handle(), prometheus()).unwrap();
    assert!(server.address().starts_with("https://127.0.0.1:"), "{}", server.address());
    let (to, control) = (server.addrs()[0], server.control());
    let serving = server.spawn();

    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(connect(to, &first, &TLS13).await.unwrap());
    }
    assert!(ask(&mut open[0]).await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(connect(to, &first, &TLS12).await.is_err(), "an old version is refused");
    let mut plain = TcpStream::connect(to).await.unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1 200"), "nothing is answered without encryption");

    fs::write(directory.path().join("cert.pem"), "nonsense").unwrap();
    let second = issue(directory.path());
    let mut renewed = connect(to, &second, &TLS13).await;
    for _ in 0..300 {
        if renewed.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The server closes connections that are idle for long.
        for connection in &mut open {
            assert!(ask(connection).await.unwrap().starts_with("HTTP/1.1 200"), "an open connection goes on");
        }
        renewed = connect(to, &second, &TLS13).await;
    }
    assert!(ask(&mut renewed.unwrap()).await.unwrap().starts_with("HTTP/1.1 200"));
    for connection in &mut open {
        assert!(ask(connection).await.unwrap().starts_with("HTTP/1.1 200"), "an open connection goes on");
    }
    drop(open);
    control.stop(false).await;
    serving.await.unwrap().unwrap();
}
