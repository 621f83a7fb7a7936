//! The host that a request is for, and the page that sent it: the names in `Host` and `Origin`.
//!
//! A page can point its own name at the address of a node (DNS rebinding) and so make the node look like its own
//! server. Only the name shows that. In addition, a browser sends simple requests of any page to any host, and names
//! the page in `Origin`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use actix_web::{
    dev::ServiceRequest,
    http::{
        Method, Version,
        header::{self, HeaderName},
        uri::Authority,
    },
};

use crate::{error::Problem, net::Reach, problems, settings::HttpSettings};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// A host and a port, as `Host` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Target {
    /// Reads `HOST`, `HOST:PORT` or `[IPV6]:PORT`. Names are compared in lower case, without the dot of the root.
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Host::Address(address.parse::<Ipv6Addr>().ok()?.to_canonical()), port)
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (Host::parse(host)?, port)
            }
        };
        Some(Self { host, port: read_port(port)? })
    }
}

/// Reads what follows a host. An empty port is that of the scheme (RFC 3986 §3.2.3).
fn read_port(text: &str) -> Option<Option<u16>> {
    match text.strip_prefix(':') {
        None => text.is_empty().then_some(None),
        Some("") => Some(None),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Some),
        Some(_) => None,
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = bare.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let whole = !bare.is_empty() && bare.bytes().all(is_name);
        whole.then(|| Self::Name(bare.to_ascii_lowercase()))
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// Whether one of the configured names is this one.
    fn is_among(&self, names: &[String]) -> bool {
        names.iter().any(|name| match (name.strip_prefix("*."), self) {
            _ if name == "*" => true,
            (Some(domain), Self::Name(host)) => host.strip_suffix(domain).is_some_and(|label| label.ends_with('.')),
            _ => Self::configured(name).as_ref() == Some(self),
        })
    }

    /// Reads a configured name.
    fn configured(text: &str) -> Option<Self> {
        text.parse::<IpAddr>().ok().map(|address| Self::Address(address.to_canonical())).or_else(|| Self::parse(text))
    }
}

/// Returns whether a name is valid in `http.hosts`: a host without scheme and port, `*.DOMAIN`, or `*`.
pub(crate) fn is_configurable(name: &str) -> bool {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    name == "*" || Host::configured(bare.trim_start_matches('[').trim_end_matches(']')).is_some()
}

/// Rejects a request for another host, or from a page of another site.
///
/// `reach` is that of the local address; `None` if another server serves the request, which must then check names
/// itself.
pub(crate) fn check(request: &ServiceRequest, settings: &HttpSettings, reach: Option<Reach>) -> Result<(), Problem> {
    let Targets { absolute, host } = Targets::of(request, reach.is_some())?;
    check_origin(request, host.as_ref().or(absolute.as_ref()), settings)?;
    check_fetch_metadata(request)?;
    match reach {
        None | Some(Reach::Socket) => Ok(()),
        Some(reach) => {
            let mut targets = absolute.iter().chain(&host);
            targets.try_for_each(|target| check_host(request, target, settings, reach))
        }
    }
}

/// The hosts that a request names.
struct Targets {
    /// That of a target that is a whole URL.
    absolute: Option<Target>,
    /// That of `Host`.
    host: Option<Target>,
}

impl Targets {
    fn of(request: &ServiceRequest, is_required: bool) -> Result<Self, Problem> {
        let invalid = |detail: &str| Problem::new(problems::INVALID_HEADER, detail).with("header", "Host");
        let mut headers = request.headers().get_all(header::HOST);
        let host = match (headers.next(), headers.next()) {
            (Some(host), None) => Some(host.to_str().map_err(|_| invalid("header Host is not visible ASCII"))?),
            // Required since HTTP/1.1 (RFC 9112 §3.2); browsers always send it.
            (None, _) if is_required && request.version() > Version::HTTP_10 => {
                return Err(invalid("header Host is missing"));
            }
            (None, _) => None,
            (Some(_), Some(_)) => return Err(invalid("header Host occurs more than once")),
        };
        let read = |text: &str| Target::parse(text).ok_or_else(|| misdirected(text, "it is not HOST or HOST:PORT"));
        let absolute = request.uri().authority().map(Authority::as_str);
        Ok(Self { absolute: absolute.map(read).transpose()?, host: host.map(read).transpose()? })
    }
}

fn check_host(request: &ServiceRequest, target: &Target, settings: &HttpSettings, reach: Reach) -> Result<(), Problem> {
    // A page cannot have an address as its name unless it is served from there.
    let is_open_address = reach == Reach::Network && matches!(target.host, Host::Address(_));
    if target.host.is_loopback() || is_open_address || target.host.is_among(&settings.hosts) {
        return Ok(());
    }
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("of the target");
    Err(misdirected(named, "this node is not known by that name; add the name to http.hosts"))
}

fn misdirected(host: &str, reason: &str) -> Problem {
    Problem::new(problems::MISDIRECTED, format!("host `{host}` is refused: {reason}"))
}

/// A browser names a page's origin in `Origin`. It must be this node's.
fn check_origin(request: &ServiceRequest, target: Option<&Target>, settings: &HttpSettings) -> Result<(), Problem> {
    let mut origins = request.headers().get_all(header::ORIGIN);
    let Some(origin) = origins.next() else { return Ok(()) };
    let text = origin.to_str().unwrap_or_default();
    if origins.next().is_none() && is_own(text, target, settings) {
        return Ok(());
    }
    let detail = format!("a page of `{text}` sent this call; nothing was done");
    Err(Problem::new(problems::CROSS_SITE, detail))
}

fn is_own(origin: &str, target: Option<&Target>, settings: &HttpSettings) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    let (Some(origin), Some(usual)) = (Target::parse(rest), usual_port(scheme)) else { return false };
    // A proxy may end TLS, and may name the node otherwise than the page does: then the name must be configured.
    let explicit: Vec<String> = settings.hosts.iter().filter(|name| *name != "*").cloned().collect();
    if origin.host.is_among(&explicit) {
        return true;
    }
    let own_scheme = if settings.tls.is_on() { "https" } else { "http" };
    let same =
        |target: &Target| target.host == origin.host && target.port.unwrap_or(usual) == origin.port.unwrap_or(usual);
    scheme == own_scheme && target.is_some_and(same)
}

fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// On https and loopback, browsers report what caused a request (W3C Fetch Metadata). A page of another site may
/// navigate to the pages of this one, as a link does, and request nothing else.
fn check_fetch_metadata(request: &ServiceRequest) -> Result<(), Problem> {
    let sent = |name: &HeaderName| request.headers().get(name).map(header::HeaderValue::as_bytes);
    if matches!(sent(&FETCH_SITE), None | Some(b"same-origin" | b"none")) || is_link(request, &sent) {
        return Ok(());
    }
    Err(Problem::new(problems::CROSS_SITE, "a page of another site sent this call; nothing was done"))
}

fn is_link<'a>(request: &ServiceRequest, sent: &impl Fn(&HeaderName) -> Option<&'a [u8]>) -> bool {
    let is_page = !request.path().starts_with("/v1/");
    let is_navigation = sent(&FETCH_MODE) == Some(b"navigate") && sent(&FETCH_DEST) == Some(b"document");
    is_page && is_navigation && matches!(*request.method(), Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn verdict(hosts: &[&str], reach: Reach, headers: &[(&str, &str)]) -> u16 {
        verdict_at("/v1/tasks", hosts, reach, headers)
    }

    fn verdict_at(uri: &str, hosts: &[&str], reach: Reach, headers: &[(&str, &str)]) -> u16 {
        let hosts = hosts.iter().map(|name| (*name).to_owned()).collect();
        let settings = HttpSettings { hosts, ..HttpSettings::default() };
        let request = headers.iter().fold(TestRequest::with_uri(uri), |request, header| request.append_header(*header));
        check(&request.to_srv_request(), &settings, Some(reach)).map_or_else(|problem| problem.kind().status, |()| 200)
    }

    #[test]
    fn on_loopback_only_names_of_loopback_are_answered() {
        for (host, status) in [
            ("localhost", 200),
            ("localhost:7077", 200),
            ("LOCALHOST:7077", 200),
            ("localhost.:7077", 200),
            ("a.b.localhost", 200),
            ("127.0.0.1:7077", 200),
            ("127.9.8.7", 200),
            ("[::1]:7077", 200),
            ("[::ffff:127.0.0.1]", 200),
            ("localhost:", 200),
            ("evil.test:7077", 421),
            ("localhost.evil.test", 421),
            ("notlocalhost", 421),
            ("127.0.0.1.evil.test", 421),
            ("127.1", 421),
            ("2130706433", 421),
            ("192.168.1.5:7077", 421),
            ("0.0.0.0:7077", 421),
            ("[::1%25lo]:7077", 421),
            ("[::1", 421),
            ("::1", 421),
            ("localhost:70777", 421),
            ("localhost:+80", 421),
            ("localhost:80:80", 421),
            ("localhost@evil.test", 421),
            ("evil.test@localhost", 421),
            ("localhost, evil.test", 421),
            ("localhost/", 421),
            ("", 421),
            (".", 421),
        ] {
            assert_eq!(verdict(&[], Reach::Loopback, &[("Host", host)]), status, "{host}");
        }
    }

    #[test]
    fn beyond_loopback_addresses_and_configured_names_are_answered() {
        for (host, hosts, status) in [
            ("10.1.2.3:7077", &[][..], 200),
            ("[2001:db8::1]", &[], 200),
            ("localhost", &[], 200),
            ("forerunner.internal", &[], 421),
            ("Forerunner.Internal:7077", &["forerunner.internal"], 200),
            ("a.example.org", &["*.example.org"], 200),
            ("example.org", &["*.example.org"], 421),
            ("anexample.org", &["*.example.org"], 421),
            ("anything", &["*"], 200),
        ] {
            assert_eq!(verdict(hosts, Reach::Network, &[("Host", host)]), status, "{host}");
        }
        assert_eq!(verdict(&["forerunner.internal"], Reach::Loopback, &[("Host", "forerunner.internal")]), 200);
        assert_eq!(verdict(&[], Reach::Socket, &[("Host", "anything")]), 200);
    }

    #[test]
    fn a_host_is_there_once_and_an_absolute_target_counts_as_one() {
        assert_eq!(verdict(&[], Reach::Loopback, &[]), 400);
        assert_eq!(verdict(&[], Reach::Loopback, &[("Host", "localhost"), ("Host", "localhost")]), 400);
        let absolute =
            |host: &str| verdict_at(&format!("http://{host}/v1/tasks"), &[], Reach::Loopback, &[("Host", "localhost")]);
        assert_eq!((absolute("evil.test"), absolute("localhost"), absolute("x@localhost")), (421, 200, 421));
    }

    #[test]
    fn a_page_is_of_this_node_or_nothing_is_done() {
        let host = ("Host", "localhost:7077");
        for (origin, status) in [
            ("http://localhost:7077", 200),
            ("http://LocalHost:7077", 200),
            ("https://localhost:7077", 403),
            ("http://localhost", 403),
            ("http://localhost:8080", 403),
            ("http://127.0.0.1:7077", 403),
            ("http://evil.test:7077", 403),
            ("http://localhost:7077.evil.test", 403),
            ("null", 403),
            ("", 403),
            ("file://", 403),
            ("chrome-extension://abcdef", 403),
        ] {
            assert_eq!(verdict(&[], Reach::Loopback, &[host, ("Origin", origin)]), status, "{origin}");
        }
        let twice = [host, ("Origin", "http://localhost:7077"), ("Origin", "http://localhost:7077")];
        assert_eq!(verdict(&[], Reach::Loopback, &twice), 403);
        // Behind a proxy that terminates TLS and passes on or changes the host.
        for host in ["node.example.org", "127.0.0.1:7077"] {
            let page = [("Host", host), ("Origin", "https://node.example.org")];
            assert_eq!(verdict(&["node.example.org"], Reach::Loopback, &page), 200);
        }
    }

    #[test]
    fn another_site_may_link_to_pages_and_do_nothing_else() {
        let from = |site, mode, dest| {
            [("Host", "localhost"), ("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", dest)]
        };
        assert_eq!(verdict(&[], Reach::Loopback, &from("same-origin", "cors", "empty")), 200);
        assert_eq!(verdict(&[], Reach::Loopback, &from("none", "navigate", "document")), 200);
        assert_eq!(verdict(&[], Reach::Loopback, &from("cross-site", "no-cors", "image")), 403);
        assert_eq!(verdict(&[], Reach::Loopback, &from("same-site", "cors", "empty")), 403);
        assert_eq!(verdict(&[], Reach::Loopback, &from("cross-site", "navigate", "document")), 403);
        assert_eq!(verdict_at("/", &[], Reach::Loopback, &from("cross-site", "navigate", "document")), 200);
        assert_eq!(verdict_at("/", &[], Reach::Loopback, &from("cross-site", "navigate", "iframe")), 403);
    }

    #[test]
    fn a_configured_name_is_a_host_and_no_address_of_a_page() {
        for good in ["*", "*.example.org", "node-1", "10.0.0.1", "::1", "[::1]"] {
            assert!(is_configurable(good), "{good}");
        }
        for bad in ["", "http://a", "a:80", "a/b", "*.*", "a b"] {
            assert!(!is_configurable(bad), "{bad}");
        }
    }
}
