//! Which clients can reach a service.

use std::net::{SocketAddr, ToSocketAddrs};

use forerunner_console::Usage;

use crate::config::{AuthMode, Config};

/// Refuses a service that others could reach without a key, unless the operator has chosen that.
///
/// # Errors
/// [`Usage`] with the ways out.
pub fn check(config: &Config) -> Result<(), Usage> {
    let listeners = [("http.listen", &config.http.listen), ("http.admin_listen", &config.http.admin_listen)];
    let open = listeners.into_iter().find(|(_, listen)| is_open(&addresses(listen)));
    match open.filter(|_| config.auth.mode == AuthMode::Auto) {
        None => Ok(()),
        Some((key, listen)) => Err(Usage(format!(
            "`{key}` = {listen} is reachable from other machines, and no choice is made about who may call; choose \
             one:\n\
             - auth.mode = \"keys\": calls need a key; `forerunner key generate --role admin` makes the first one\n\
             - auth.mode = \"jwt\": calls need a token of the identity provider in auth.jwt\n\
             - {key} = \"127.0.0.1:7077\" or \"unix:PATH\": only this machine reaches it\n\
             - auth.mode = \"off\": whoever reaches it may do everything; only where a firewall or an authenticating \
             proxy is in front"
        ))),
    }
}

/// Returns the warning that belongs to addresses that other machines can reach without a key.
pub fn warning(addresses: &[SocketAddr], mode: AuthMode) -> Option<String> {
    if mode.is_on() {
        return None;
    }
    let open: Vec<String> = addresses.iter().filter(|address| is_beyond(address)).map(ToString::to_string).collect();
    (!open.is_empty()).then(|| {
        format!(
            "the service listens on {} without authentication: whoever reaches it can read all tasks, submit tasks that \
             agents run, and change pools; set auth.mode to \"keys\", listen on 127.0.0.1, or put a firewall or an \
             authenticating proxy in front of it",
            open.join(", ")
        )
    })
}

fn is_open(addresses: &[SocketAddr]) -> bool {
    addresses.iter().any(is_beyond)
}

fn is_beyond(address: &SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// The addresses of a listener. One that has none is refused when it is bound.
fn addresses(listen: &str) -> Vec<SocketAddr> {
    if listen.is_empty() || listen.starts_with("unix:") {
        return Vec::new();
    }
    listen.to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(listen: &str, admin: &str, mode: AuthMode) -> Option<String> {
        let mut config = Config::default();
        (config.http.listen, config.http.admin_listen) = (listen.to_owned(), admin.to_owned());
        config.auth.mode = mode;
        check(&config).err().map(|Usage(text)| text)
    }

    #[test]
    fn a_service_that_others_reach_needs_a_choice() {
        for own in ["127.0.0.1:7077", "127.8.8.8:1", "[::1]:7077", "[::ffff:127.0.0.1]:7077", "localhost:1", "unix:/s"]
        {
            assert_eq!(refusal(own, "", AuthMode::Auto), None, "{own}");
        }
        for open in ["0.0.0.0:7077", "[::]:7077", "10.0.0.1:80", "[fe80::1]:80"] {
            let text = refusal(open, "", AuthMode::Auto).expect("a refusal");
            assert!(text.contains(open) && text.matches("\n- ").count() == 4, "{text}");
            assert!(refusal("127.0.0.1:1", open, AuthMode::Auto).expect("a refusal").contains("`http.admin_listen`"));
            assert_eq!(refusal(open, open, AuthMode::Keys), None);
            assert_eq!(refusal(open, "", AuthMode::Off), None);
        }
    }

    #[test]
    fn only_addresses_that_others_reach_without_a_key_are_warned_of() {
        let of = |text: &str, mode| warning(&[text.parse().expect("an address")], mode);
        assert_eq!(of("127.0.0.1:7077", AuthMode::Off), None);
        assert!(of("0.0.0.0:7077", AuthMode::Off).expect("a warning").contains("0.0.0.0:7077"));
        assert_eq!(of("0.0.0.0:7077", AuthMode::Keys), None);
    }
}
