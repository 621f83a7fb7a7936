//! Addresses: their parts, for the connections, their encryption, and notifications.

use std::{path::PathBuf, str::FromStr, time::Duration};

use forerunner_store::StoreError;
use tokio_postgres::{
    Config,
    config::{SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    failure::reason,
    options::PostgresOptions,
    tls::{Verify, connector},
};

/// The form of an address, for messages.
const FORM: &str = "`postgres://USER:PASSWORD@HOST:PORT/DATABASE`";
/// How long a peer may stay silent before it is asked whether it lives, and between two such questions.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// A database, and how to speak with it.
#[derive(Clone)]
pub(crate) struct Address {
    pub config: Config,
    /// Makes connections encrypted; none for those that are not.
    pub tls: Option<MakeRustlsConnect>,
    /// Where notifications of other nodes arrive; `None` for no notifications.
    pub listen: Option<Config>,
    /// Which statements have names.
    pub naming: Naming,
}

/// Which statements have names, so that they are parsed and planned once a connection instead of each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Naming {
    /// Those on connections that lead to the server itself.
    #[default]
    Direct,
    /// All. For a pooler that tracks names, as PgBouncer does with `max_prepared_statements`.
    Always,
    /// None.
    Never,
}

/// The options of an address that the client of the database does not know.
#[derive(Debug, Default, PartialEq, Eq)]
struct UrlOptions {
    verify: Option<Verify>,
    roots: Option<PathBuf>,
    listen: Option<String>,
    naming: Naming,
}

impl Address {
    /// Reads an address and adds the settings that detect a dead connection.
    pub fn parse(url: &str, options: &PostgresOptions) -> Result<Self, StoreError> {
        let refuse = |reason: String| StoreError::Address { scheme: "postgres".to_owned(), reason, forms: FORM };
        let (plain, url_options) = split(url).map_err(refuse)?;
        // The parser's message names the option, not its value.
        let mut config = Config::from_str(&plain).map_err(|error| refuse(reason(&error)))?;
        if config.get_application_name().is_none() {
            config.application_name("forerunner");
        }
        let tls = match url_options.verify {
            None => None,
            Some(verify) => {
                config.ssl_mode(SslMode::Require);
                Some(connector(verify, url_options.roots.as_deref()).map_err(refuse)?)
            }
        };
        if url_options.verify == Some(Verify::Nothing) {
            tracing::warn!(
                "connections to the database are encrypted, but the server's certificate is not verified; use \
                 `sslmode=verify-full`"
            );
        }
        // A session that was opened while the database was read-only, or on a standby, would stay of no use.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.connect_timeout(options.connect_timeout).tcp_user_timeout(options.call_timeout);
        config.keepalives(true).keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(2);
        let listen = match url_options.listen.as_deref() {
            None => Some(config.clone()),
            Some("off") => None,
            Some(place) => Some(at(&config, place).map_err(refuse)?),
        };
        Ok(Self { config, tls, listen, naming: url_options.naming })
    }
}

/// Removes the options of this program from an address.
fn split(url: &str) -> Result<(String, UrlOptions), String> {
    let mut url_options = UrlOptions::default();
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), url_options)) };
    let mut rest = Vec::new();
    for option in query.split('&') {
        match option.split_once('=').unwrap_or((option, "")) {
            ("sslmode", mode) => url_options.verify = verify(mode)?,
            ("sslrootcert", path) if !path.is_empty() => url_options.roots = Some(decoded(path)?.into()),
            ("listen", place) if !place.is_empty() => url_options.listen = Some(decoded(place)?),
            ("statements", which) => url_options.naming = naming(which)?,
            _ => rest.push(option),
        }
    }
    if url_options.roots.is_some() {
        // An address that names a root asks for its verification.
        url_options.verify = url_options.verify.map(|_| Verify::Full);
    }
    let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    Ok((format!("{base}{query}"), url_options))
}

fn naming(which: &str) -> Result<Naming, String> {
    match which {
        "auto" => Ok(Naming::Direct),
        "named" => Ok(Naming::Always),
        "unnamed" => Ok(Naming::Never),
        other => Err(format!(
            "there is no `statements={}`; use auto, named or unnamed",
            other.chars().take(20).collect::<String>()
        )),
    }
}

fn verify(mode: &str) -> Result<Option<Verify>, String> {
    match mode {
        "disable" | "allow" | "prefer" => Ok(None),
        "require" => Ok(Some(Verify::Nothing)),
        "verify-full" => Ok(Some(Verify::Full)),
        "verify-ca" => Err("`sslmode=verify-ca` is not supported; use `verify-full`".to_owned()),
        other => Err(format!(
            "there is no `sslmode={}`; use disable, require or verify-full",
            other.chars().take(20).collect::<String>()
        )),
    }
}

/// The same database at another place: `HOST` or `HOST:PORT`.
fn at(config: &Config, place: &str) -> Result<Config, String> {
    let wrong = || format!("`listen={place}` is neither `off` nor HOST:PORT");
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
        None => (place, 5432),
    };
    if host.is_empty() {
        return Err(wrong());
    }
    let mut listen = Config::new();
    listen.host(host).port(port).ssl_mode(config.get_ssl_mode());
    listen.target_session_attrs(config.get_target_session_attrs());
    if let Some(user) = config.get_user() {
        listen.user(user);
    }
    if let Some(password) = config.get_password() {
        listen.password(password);
    }
    if let Some(name) = config.get_dbname() {
        listen.dbname(name);
    }
    if let Some(name) = config.get_application_name() {
        listen.application_name(name);
    }
    if let Some(limit) = config.get_connect_timeout() {
        listen.connect_timeout(*limit);
    }
    if let Some(limit) = config.get_tcp_user_timeout() {
        listen.tcp_user_timeout(*limit);
    }
    listen.keepalives(true).keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(2);
    Ok(listen)
}

/// A value of an address with its `%XX` replaced.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.ok_or("a `%` in the address is not followed by two hexadecimal digits")?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| "a value in the address is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Result<Address, StoreError> {
        let url = format!("postgres://user:secret@pooler:6432/db{query}");
        Address::parse(&url, &PostgresOptions::default())
    }

    #[test]
    fn what_the_client_does_not_understand_is_taken_out() {
        let (plain, url_options) =
            split("postgres://h/d?sslmode=require&keepalives=1&sslrootcert=/etc/a%20b.pem&listen=db%3A5433").unwrap();
        assert_eq!(plain, "postgres://h/d?keepalives=1");
        let roots = Some(PathBuf::from("/etc/a b.pem"));
        let listen = Some("db:5433".to_owned());
        assert_eq!(url_options, UrlOptions { verify: Some(Verify::Full), roots, listen, naming: Naming::Direct });
        assert_eq!(split("postgres://h/d?statements=named").unwrap().1.naming, Naming::Always);
        assert_eq!(split("postgres://h/d").unwrap(), ("postgres://h/d".to_owned(), UrlOptions::default()));
    }

    #[test]
    fn connections_are_encrypted_if_asked_for_and_other_nodes_heard_where_asked_for() {
        let plain = parsed("").unwrap();
        assert!(plain.tls.is_none());
        assert_eq!(plain.listen, Some(plain.config));
        let direct = parsed("?sslmode=require&listen=db").unwrap();
        assert!(direct.tls.is_some());
        let listen = direct.listen.unwrap();
        assert_eq!(
            (listen.get_ports(), listen.get_dbname(), listen.get_user()),
            (&[5432][..], Some("db"), Some("user"))
        );
        assert_eq!((listen.get_ssl_mode(), direct.config.get_ssl_mode()), (SslMode::Require, SslMode::Require));
        assert_eq!(parsed("?listen=off").unwrap().listen, None);
    }

    #[test]
    fn wishes_that_cannot_be_met_are_refused_without_the_password() {
        for query in [
            "?sslmode=verify-ca",
            "?sslmode=nonsense",
            "?listen=db:port",
            "?listen=%zz",
            "?nonsense=1",
            "?statements=some",
        ] {
            let message = parsed(query).err().unwrap().to_string();
            assert!(message.contains("cannot open a `postgres` store") && !message.contains("secret"), "{message}");
        }
    }
}
