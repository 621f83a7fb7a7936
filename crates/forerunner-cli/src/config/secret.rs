//! The hidden part of a configuration: values that are, or may contain, secrets.

use toml::Value;

/// Replaces a hidden value.
pub const HIDDEN: &str = "(hidden)";

/// Parameters of an address that are no secrets. The values of all others are hidden, so that a new one is no leak.
const PLAIN_PARAMETERS: [&str; 22] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "listen",
    "load_balance_hosts",
    "mode",
    "port",
    "replication",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "statements",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Returns whether a key is a variable of agents, which may have secrets.
pub fn is_agent_env(key: &[String]) -> bool {
    matches!(key, [pools, _, agent, env, ..] if pools == "pools" && agent == "agent" && env == "env")
}

/// Returns whether a key is the command line of agents, whose arguments may contain secrets.
fn is_argv(key: &[String]) -> bool {
    matches!(key, [pools, _, agent, argv] if pools == "pools" && agent == "agent" && argv == "argv")
}

/// Returns whether the value of a key may be a secret, or have one in it.
fn may_be_secret(key: &[String]) -> bool {
    is_agent_env(key) || is_argv(key) || key == ["store", "url"]
}

/// Returns whether a value is a secret or contains one, as far as that is recognisable. A user without a password is
/// not a secret.
pub fn is_there(key: &[String], value: &Value) -> bool {
    match value {
        _ if is_agent_env(key) => true,
        Value::String(url) if key == ["store", "url"] => {
            let user_alone = url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?)));
            let plain = match user_alone {
                Some((scheme, (user, place))) if !user.contains([':', '?', '/']) => format!("{scheme}://{place}"),
                _ => url.clone(),
            };
            address(&plain) != plain
        }
        _ => false,
    }
}

/// Returns a value as it may be shown.
pub fn shown(key: &[String], value: &Value) -> Value {
    match value {
        _ if is_agent_env(key) => HIDDEN.into(),
        Value::Array(argv) if is_argv(key) => {
            let [program, arguments @ ..] = argv.as_slice() else { return value.clone() };
            let hidden = arguments.iter().map(|_| Value::from(HIDDEN));
            Value::Array(std::iter::once(program.clone()).chain(hidden).collect())
        }
        Value::String(text) => Value::String(address(text)),
        other => other.clone(),
    }
}

/// Returns what is wrong with the type of a value, without the value where it may be a secret.
pub fn type_fault(key: &[String], fault: &str) -> String {
    let quotes_value = fault.starts_with("invalid type") || fault.starts_with("invalid value");
    match fault.rfind(", expected ") {
        Some(at) if quotes_value && may_be_secret(key) => format!("the value has the wrong type{}", &fault[at..]),
        _ => fault.to_owned(),
    }
}

/// Returns an address without user, password and other possible secrets. Text that is not an address stays unchanged.
pub fn address(text: &str) -> String {
    let is_keyed = text.starts_with("postgres:") || text.starts_with("postgresql:");
    match text.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", place(rest).unwrap_or_else(|| HIDDEN.to_owned())),
        None if is_keyed => format!("{}:{HIDDEN}", text.split(':').next().unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The host and path of an address; `None` if it is unclear what of it is a secret.
fn place(rest: &str) -> Option<String> {
    let (place, parameters) = rest.split_once('?').map_or((rest, None), |(place, rest)| (place, Some(rest)));
    // A raw `?` in a password makes the end of the password look like parameters.
    if parameters.is_some_and(|parameters| parameters.contains('@')) {
        return None;
    }
    let (user, place) = place.rsplit_once('@').map_or(("", place), |(_, place)| ("(hidden)@", place));
    // `user:password` without a host looks like a host with a port.
    let hosts = place.split('/').next().unwrap_or_default();
    let has_ports = |host: &str| host.rsplit_once(':').is_none_or(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    if !hosts.split(',').filter(|host| !host.ends_with(']')).all(has_ports) {
        return None;
    }
    let shown = parameters.map(|parameters| parameters.split('&').map(parameter).collect::<Vec<_>>().join("&"));
    Some(format!("{user}{place}{}", shown.map(|shown| format!("?{shown}")).unwrap_or_default()))
}

fn parameter(text: &str) -> String {
    match text.split_once('=') {
        Some((name, _)) if !PLAIN_PARAMETERS.contains(&name) => format!("{name}={HIDDEN}"),
        Some(_) => text.to_owned(),
        None => HIDDEN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (given, told) in [
            ("sqlite:forerunner.db", "sqlite:forerunner.db"),
            ("memory:", "memory:"),
            ("postgres://db:5432/tasks", "postgres://db:5432/tasks"),
            ("postgres://me:s3cret@db:5432/tasks", "postgres://(hidden)@db:5432/tasks"),
            ("postgres://me:s3@cret@db/tasks", "postgres://(hidden)@db/tasks"),
            ("postgres://a,b:5433/t?user=me&password=s3cret", "postgres://a,b:5433/t?user=me&password=(hidden)"),
            (
                "postgres://db/t?sslmode=require&sslpassword=s3cret",
                "postgres://db/t?sslmode=require&sslpassword=(hidden)",
            ),
            ("postgres://db/t?PASSWORD=s3cret&s3cret", "postgres://db/t?PASSWORD=(hidden)&(hidden)"),
            ("postgres://me:s3?cret@db/t", "postgres://(hidden)"),
            ("postgres://db/t?password=s3@cret", "postgres://(hidden)"),
            ("postgres://me:s3cret", "postgres://(hidden)"),
            ("postgres://[::1]:5432/t", "postgres://[::1]:5432/t"),
            ("postgresql:password=s3cret host=db", "postgresql:(hidden)"),
            ("http://proxy:s3cret@host", "http://(hidden)@host"),
            ("127.0.0.1:7077", "127.0.0.1:7077"),
        ] {
            assert_eq!(address(given), told);
            assert!(!address(given).contains("cret"), "{given}");
        }
    }

    #[test]
    fn variables_and_arguments_of_agents_are_hidden() {
        assert_eq!(shown(&key("pools.coder.agent.env.API_KEY"), &"s3cret".into()), HIDDEN.into());
        let argv = Value::from(vec!["python3", "--token", "s3cret"]);
        assert_eq!(shown(&key("pools.coder.agent.argv"), &argv), Value::from(vec!["python3", HIDDEN, HIDDEN]));
        assert_eq!(shown(&key("pools.coder.max"), &4.into()), 4.into());
    }

    #[test]
    fn a_wrong_type_is_named_without_the_value_of_a_secret() {
        let fault = "invalid type: string \"s3cret, expected \", expected a map";
        assert_eq!(type_fault(&key("pools.a.agent.env"), fault), "the value has the wrong type, expected a map");
        let number = "invalid type: integer `314159`, expected a string";
        assert_eq!(type_fault(&key("store.url"), number), "the value has the wrong type, expected a string");
        assert_eq!(type_fault(&key("pools.a.max"), number), number);
    }

    #[test]
    fn a_password_is_told_from_a_user() {
        let is_there = |url: &str| is_there(&key("store.url"), &Value::from(url));
        for plain in
            ["memory:", "sqlite:/a@b.db", "postgres://me@db/t", "postgres://a,b:5433/t?user=me&sslmode=require"]
        {
            assert!(!is_there(plain), "{plain}");
        }
        for secret in ["postgres://me:s3cret@db/t", "postgres://db/t?password=s3cret", "postgres:s3cret"] {
            assert!(is_there(secret), "{secret}");
        }
        assert!(super::is_there(&key("pools.a.agent.env.KEY"), &Value::from("x")));
        assert!(!super::is_there(&key("http.listen"), &Value::from("127.0.0.1:1")));
    }
}
