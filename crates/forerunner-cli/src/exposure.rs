//! Which clients can reach a service without authentication.

use std::net::SocketAddr;

/// Returns the warning that belongs to addresses that other machines can reach.
pub fn warning(addresses: &[SocketAddr]) -> Option<String> {
    let open: Vec<String> = addresses
        .iter()
        .filter(|address| !address.ip().to_canonical().is_loopback())
        .map(ToString::to_string)
        .collect();
    (!open.is_empty()).then(|| {
        format!(
            "the service listens on {} without authentication: whoever reaches it can read all tasks, submit tasks that \
             agents run, and change pools; listen on 127.0.0.1, or put a firewall or an authenticating proxy in front \
             of it",
            open.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_others_reach_are_warned_of() {
        let of = |text: &str| warning(&[text.parse().expect("an address")]);
        for own in ["127.0.0.1:7077", "127.8.8.8:1", "[::1]:7077", "[::ffff:127.0.0.1]:7077"] {
            assert_eq!(of(own), None, "{own}");
        }
        for open in ["0.0.0.0:7077", "[::]:7077", "10.0.0.1:80", "[fe80::1]:80"] {
            assert!(of(open).expect("a warning").contains(open), "{open}");
        }
    }
}
