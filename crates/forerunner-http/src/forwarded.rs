//! Which address a request came from, when it came through proxies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use actix_web::http::header::{HeaderMap, X_FORWARDED_FOR};
use forerunner_service::auth::Network;

/// Returns the address of the client. A peer without an address is on a Unix socket of this machine.
///
/// A trusted proxy appends the address of its own peer to `X-Forwarded-For`. So what counts is the last address that is
/// no trusted proxy; the client wrote the addresses before it. A peer that is not trusted may write anything.
pub(crate) fn client_address(headers: &HeaderMap, peer: Option<SocketAddr>, trusted: &[Network]) -> IpAddr {
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip().to_canonical());
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(*address));
    if !is_trusted(&peer) {
        return peer;
    }
    let sent: Vec<&str> = headers.get_all(X_FORWARDED_FOR).filter_map(|value| value.to_str().ok()).collect();
    let mut nearest = peer;
    for text in sent.iter().rev().flat_map(|value| value.rsplit(',')) {
        // What is no address was not written by a proxy of ours: the proxy in front of it is all that is known.
        let Ok(address) = text.trim().parse::<IpAddr>() else { return nearest };
        nearest = address.to_canonical();
        if !is_trusted(&nearest) {
            return nearest;
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn seen(peer: &str, sent: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        sent.iter().for_each(|value| headers.append(X_FORWARDED_FOR, HeaderValue::from_str(value).unwrap()));
        let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        client_address(&headers, peer.parse().ok(), &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_say_where_a_request_came_from() {
        for (peer, sent, trusted, client) in [
            ("10.0.0.1:1", &["203.0.113.9"][..], &[][..], "10.0.0.1"),
            ("10.0.0.1:1", &["203.0.113.9"], &["10.0.0.0/8"], "203.0.113.9"),
            ("[::ffff:10.0.0.1]:1", &["203.0.113.9"], &["10.0.0.0/8"], "203.0.113.9"),
            ("198.51.100.7:1", &["203.0.113.9"], &["10.0.0.0/8"], "198.51.100.7"),
            ("10.0.0.1:1", &["127.0.0.1, 203.0.113.9"], &["10.0.0.0/8"], "203.0.113.9"),
            ("10.0.0.1:1", &["203.0.113.9, 10.0.0.2"], &["10.0.0.0/8"], "203.0.113.9"),
            ("10.0.0.1:1", &["127.0.0.1", "203.0.113.9"], &["10.0.0.0/8"], "203.0.113.9"),
            ("10.0.0.1:1", &["203.0.113.9, nonsense"], &["10.0.0.0/8"], "10.0.0.1"),
            ("10.0.0.1:1", &[], &["10.0.0.0/8"], "10.0.0.1"),
            ("10.0.0.1:1", &["10.0.0.3"], &["10.0.0.0/8"], "10.0.0.3"),
            ("", &["203.0.113.9"], &[], "127.0.0.1"),
        ] {
            assert_eq!(seen(peer, sent, trusted), client, "{peer} {sent:?} {trusted:?}");
        }
    }
}
