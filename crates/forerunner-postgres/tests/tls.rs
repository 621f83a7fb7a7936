//! Encrypted connections to a PostgreSQL server started here, with certificates made here.

#[expect(dead_code, reason = "other tests need more of it")]
#[path = "pg/mod.rs"]
mod pg;

use forerunner_store::roles::*;
use std::{path::PathBuf, time::Duration};

use forerunner_core::{NodeId, Timestamp};
use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_store::{Heartbeat, LEASE, Notification, StoreError};
use pg::PgServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// An authority, and a server that can prove by it to be `localhost`.
struct Site {
    server: PgServer,
    directory: TempDir,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Site {
    fn start() -> Self {
        let authority = authority();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let files = [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        let server = PgServer::start_with(false, &files, "ssl = on");
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("ours.pem"), authority.pem()).unwrap();
        std::fs::write(directory.path().join("other.pem"), self::authority().pem()).unwrap();
        Self { server, directory }
    }

    fn root(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Opens a store of its own at a host with these options.
    async fn open(&self, host: &str, options: &str) -> Result<PostgresStore, StoreError> {
        open(&self.server.database().replace("127.0.0.1", host), options).await
    }

    /// Connections of ours by whether they are encrypted: `t` and `f`, and whether there are several.
    fn connections(&self) -> String {
        let sql = "SELECT ssl, count(*) > 1 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                   WHERE application_name = 'forerunner' GROUP BY ssl ORDER BY ssl";
        self.server.sql("postgres", sql)
    }
}

async fn open(url: &str, options: &str) -> Result<PostgresStore, StoreError> {
    let url = format!("{url}?{options}");
    let limits = PostgresOptions { connect_timeout: Duration::from_secs(5), ..PostgresOptions::default() };
    tokio::task::spawn_blocking(move || PostgresStore::open(&url, limits)).await.unwrap()
}

fn beat(number: u128) -> Heartbeat {
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let node = NodeId::from_parts(now, number << 64);
    Heartbeat { node, now, lease: LEASE, report: "{}".to_owned(), plan: None }
}

#[tokio::test]
async fn connections_are_encrypted_when_asked_for_those_that_listen_too() {
    let site = Site::start();
    let url = site.server.database();
    let store = open(&url, "sslmode=require").await.unwrap();
    store.check().await.unwrap();
    let mut news = store.subscribe().expect("it is shared");
    assert_eq!(news.recv().await.unwrap(), Notification::anything(), "it hears now");
    assert_eq!(site.connections(), "t|t");
    let other = open(&url, "sslmode=disable").await.unwrap();
    assert_eq!(site.connections(), "f|f\nt|t");
    let mut heard = other.subscribe().expect("it is shared");
    assert_eq!(heard.recv().await.unwrap(), Notification::anything());
    for number in [1, 2] {
        store.heartbeat(beat(number)).await.unwrap();
    }
    store.put_setting(format!("{}p/paused", forerunner_store::SETTINGS), Some("true".to_owned())).await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), Notification { settings: true, ..Notification::default() });
}

#[tokio::test]
async fn a_server_is_believed_by_its_name_and_its_authority_alone() {
    let site = Site::start();
    let ours = format!("sslmode=verify-full&sslrootcert={}", site.root("ours.pem").display());
    site.open("localhost", &ours).await.unwrap().check().await.unwrap();
    let unknown = site.open("127.0.0.1", &ours).await.unwrap_err();
    assert!(unknown.to_string().contains("certificate"), "its certificate names another host: {unknown}");
    let other = format!("sslmode=verify-full&sslrootcert={}", site.root("other.pem").display());
    let forged = site.open("localhost", &other).await.unwrap_err();
    assert!(forged.to_string().contains("certificate"), "another authority signed it: {forged}");
    let asked = format!("sslmode=require&sslrootcert={}", site.root("other.pem").display());
    assert!(site.open("localhost", &asked).await.is_err(), "who names a root wants it looked at");
}

#[tokio::test]
async fn a_server_that_cannot_encrypt_is_not_spoken_with() {
    let server = PgServer::start(false);
    let refused = open(&server.database(), "sslmode=require").await.unwrap_err();
    assert!(refused.to_string().contains("TLS"), "{refused}");
}
