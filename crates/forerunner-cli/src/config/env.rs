//! The layer from the environment.

use toml::{Value, de::DeValue};

use super::{Entry, Layers, Origin, file::plain, layers::Key, secret::is_agent_env};

const PREFIX: &str = "FORERUNNER__";
/// Segments in front of the name of a variable of agents: `pools.NAME.agent.env`.
const AGENT_ENV_DEPTH: usize = 4;

/// Reads variables such as `FORERUNNER__HTTP__LISTEN` and `FORERUNNER__POOLS__CODER__MAX`.
///
/// Values are TOML where possible (`12`, `true`, `["a", "b"]`), else text. Names and values of agents' variables are
/// not changed. Since a variable's name has no `-`, `MY_POOL` also means a pool `my-pool` that `below` knows.
pub fn read(variables: impl IntoIterator<Item = (String, String)>, below: &Layers) -> Vec<Entry> {
    let pools = below.names_below(&["pools"]);
    let mut entries: Vec<Entry> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            let key = key(name.strip_prefix(PREFIX)?, &pools);
            Some(Entry { value: value_of(&key, &value), key, origin: Origin::Env(name) })
        })
        .collect();
    // The environment has no order; a fixed one makes messages the same in every run.
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

/// Reads the value of a key as TOML where it can be, else as text. A variable of agents is text, be it `0123` or `true`.
pub fn value_of(key: &[String], text: &str) -> Value {
    let parsed = DeValue::parse(text.trim()).ok().and_then(|value| plain(value.get_ref()).ok());
    let kept = parsed.filter(|value| !is_agent_env(key) || value.is_str() || value.is_table());
    kept.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn key(name: &str, pools: &[String]) -> Key {
    let mut key: Key = name.split("__").map(str::to_lowercase).collect();
    if is_agent_env(&key) && key.len() > AGENT_ENV_DEPTH {
        // The name of a variable may have `__` in it, and capitals matter.
        let name = name.splitn(AGENT_ENV_DEPTH + 1, "__").last().unwrap_or_default().to_owned();
        key.truncate(AGENT_ENV_DEPTH);
        key.push(name);
    }
    if let [first, pool, ..] = key.as_mut_slice()
        && first == "pools"
        && let Some(known) = pools.iter().find(|known| known.replace('-', "_") == *pool)
    {
        pool.clone_from(known);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(name: &str, value: &str) -> Entry {
        let mut below = Layers::default();
        below.apply([Entry {
            key: vec!["pools".into(), "my-pool".into(), "max".into()],
            value: 1.into(),
            origin: Origin::Default,
        }]);
        read(
            [
                (name.to_owned(), value.to_owned()),
                ("FORERUNNER_SERVER".into(), "http://x".into()),
                ("HOME".into(), "/".into()),
            ],
            &below,
        )
        .pop()
        .expect("one variable of ours")
    }

    #[test]
    fn double_underscores_separate_and_values_are_toml_where_they_can_be() {
        let cases = [
            ("FORERUNNER__HTTP__LISTEN", "127.0.0.1:80", "http.listen", Value::from("127.0.0.1:80")),
            ("FORERUNNER__POOLS__CODER__MAX", "20", "pools.coder.max", Value::from(20)),
            ("FORERUNNER__POOLS__CODER__ON_TIME__SHARE", "0.99", "pools.coder.on_time.share", Value::from(0.99)),
            (
                "FORERUNNER__POOLS__CODER__AGENT__COMMAND",
                r#"["a","b"]"#,
                "pools.coder.agent.command",
                Value::from(vec!["a", "b"]),
            ),
            ("FORERUNNER__SHUTDOWN__GRACE", "30s", "shutdown.grace", Value::from("30s")),
            ("FORERUNNER__POOLS__MY_POOL__MAX", "2", "pools.my-pool.max", Value::from(2)),
            (
                "FORERUNNER__POOLS__MY_POOL__AGENT__ENV__API_KEY",
                "314159",
                "pools.my-pool.agent.env.API_KEY",
                Value::from("314159"),
            ),
            (
                "FORERUNNER__POOLS__CODER__AGENT__ENV__my__Mixed_Name",
                "true",
                "pools.coder.agent.env.my__Mixed_Name",
                Value::from("true"),
            ),
            ("FORERUNNER__POOLS__CODER__AGENT__ENV__A", "\"1\"", "pools.coder.agent.env.A", Value::from("1")),
        ];
        for (name, text, key, value) in cases {
            let entry = read_one(name, text);
            assert_eq!(
                (entry.key.join("."), entry.value, entry.origin),
                (key.to_owned(), value, Origin::Env(name.to_owned()))
            );
        }
    }
}
