//! From layers of loose values to a configuration that is valid.

use std::{collections::BTreeMap, path::Path};

use forerunner_agents::{AgentSpec, read_secret};
use forerunner_console::Usage;
use forerunner_core::{Error, PoolName};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{
    Config, Layers, Origin, PoolConfig, StoreConfig,
    layers::{Key, dotted, flatten},
    schema::Node,
    secret::type_fault,
    types::{policy_schema, schema},
};

/// Reads a configuration; every fault is named with its key and its place, all unknown keys at once.
pub fn read(layers: &Layers) -> anyhow::Result<Config> {
    refuse_unknown(layers)?;
    let mut root = layers.table();
    let mut section = |name: &str| root.remove(name).unwrap_or_else(|| Value::Table(Table::new()));
    let pools = section("pools");
    let mut config = Config {
        node: typed(layers, &["node"], section("node"))?,
        store: typed(layers, &["store"], section("store"))?,
        http: typed(layers, &["http"], section("http"))?,
        auth: typed(layers, &["auth"], section("auth"))?,
        log: typed(layers, &["log"], section("log"))?,
        shutdown: typed(layers, &["shutdown"], section("shutdown"))?,
        pools: read_pools(layers, pools)?,
    };
    read_address(layers, &mut config.store)?;
    config.store.validate().map_err(|error| Usage(located(layers, &[], &error)))?;
    config.node.validate().map_err(|error| Usage(located(layers, &[], &error)))?;
    config.http.validate().map_err(|error| Usage(located(layers, &[], &error)))?;
    config.auth.validate().map_err(|error| Usage(located(layers, &[], &error)))?;
    config.log.validate().map_err(|error| Usage(located(layers, &[], &error)))?;
    Ok(config)
}

/// Reads the address of the store from the file that has it, if one is named.
fn read_address(layers: &Layers, store: &mut StoreConfig) -> anyhow::Result<()> {
    if store.url_file.is_empty() {
        return Ok(());
    }
    let origin = |name| layers.origin(&owned(&["store", name]));
    let refuse = |fault: String| Usage(at(&origin("url_file"), "store.url_file", &fault));
    if origin("url") != Origin::Default {
        return Err(refuse("`store.url` is set as well; leave one of them out".to_owned()).into());
    }
    let secret = read_secret(Path::new(&store.url_file)).map_err(|error| refuse(error.to_string()))?;
    store.url = secret.trim_start_matches('\u{feff}').trim().to_owned();
    Ok(())
}

fn refuse_unknown(layers: &Layers) -> anyhow::Result<()> {
    let schema = schema();
    let faults: Vec<String> = layers
        .entries()
        .filter_map(|(key, _, origin)| {
            let checked = match policy_of(layers, key) {
                Some((policy, setting)) => policy.check(setting),
                None => schema.check(key),
            };
            checked.err().map(|fault| at(origin, &dotted(key), &fault))
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Usage(faults.join("\n       ")).into()) }
}

/// The settings of the policy that is named beside a key of `pools.NAME.policy`, and the key within it.
fn policy_of<'a>(layers: &Layers, key: &'a [String]) -> Option<(Node, &'a [String])> {
    let [pools, _, policy, setting @ ..] = key else { return None };
    if pools != "pools" || policy != "policy" || setting.is_empty() {
        return None;
    }
    let kind = [&key[..3], &["kind".to_owned()]].concat();
    let kind = layers.entries().find(|(other, ..)| **other == kind)?.1.as_str()?;
    Some((policy_schema(kind)?, setting))
}

fn read_pools(layers: &Layers, pools: Value) -> anyhow::Result<BTreeMap<PoolName, PoolConfig>> {
    let Value::Table(pools) = pools else {
        let text = at(&layers.origin(&["pools".to_owned()]), "pools", "pools are tables: write [pools.NAME]");
        return Err(Usage(text).into());
    };
    pools.into_iter().map(|(name, value)| read_pool(layers, &name, value)).collect()
}

fn read_pool(layers: &Layers, name: &str, value: Value) -> anyhow::Result<(PoolName, PoolConfig)> {
    let path = ["pools", name];
    let place =
        || layers.entries().find(|(key, ..)| starts_with(key, &path)).map_or(Origin::Default, |(.., at)| at.clone());
    let refuse = |key: &str, fault: &str| Usage(at(&place(), key, fault));
    let pool = PoolName::new(name).map_err(|error| refuse(&dotted(&owned(&path)), &error.to_string()))?;
    let Value::Table(mut table) = value else {
        return Err(refuse(&dotted(&owned(&path)), "a pool is a table: write [pools.NAME]").into());
    };
    let Some(mut agent) = table.remove("agent") else {
        return Err(refuse(&format!("{}.agent", dotted(&owned(&path))), &missing_agent(name)).into());
    };
    write_out_env(&mut agent);
    let agent: AgentSpec = typed(layers, &["pools", name, "agent"], agent)?;
    let settings = typed(layers, &path, Value::Table(table))?;
    let checked = |error: Error, below: &[&str]| Usage(located(layers, below, &error));
    agent.validate().map_err(|error| checked(error, &["pools", name, "agent"]))?;
    let pool_config = PoolConfig { agent, settings };
    pool_config.settings.validate().map_err(|error| checked(error, &path))?;
    Ok((pool, pool_config))
}

/// Converts numbers and truth values of agents' variables to text.
fn write_out_env(agent: &mut Value) {
    let Some(Value::Table(variables)) = agent.get_mut("env") else { return };
    for value in variables.iter_mut().map(|(_, value)| value) {
        if matches!(value, Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_)) {
            *value = Value::String(value.to_string());
        }
    }
}

fn missing_agent(name: &str) -> String {
    format!(
        "pool `{name}` has no `agent`; write agent = {{ kind = \"process\", argv = [\"program\", \"argument\"] }} \
         under [pools.{name}]"
    )
}

/// Reads one section; a fault is blamed on the value that causes it alone, where there is one.
fn typed<T: DeserializeOwned>(layers: &Layers, path: &[&str], value: Value) -> anyhow::Result<T> {
    value.clone().try_into().map_err(|error: toml::de::Error| {
        let Value::Table(table) = &value else {
            let key = owned(path);
            return Usage(at(&layers.origin(&key), &dotted(&key), &type_fault(&key, error.message()))).into();
        };
        // Each value is tried beside the kind, so a wrong kind would blame the first of them.
        let mut values = flatten(table);
        values.sort_by_key(|(key, _)| key != &["kind"]);
        let culprit = values.into_iter().find_map(|(key, value)| {
            let alone: Result<T, toml::de::Error> = Value::Table(nested(&key, value, table)).try_into();
            alone.err().filter(|fault| fault.message() == error.message()).map(|_| key)
        });
        let key: Key = owned(path).into_iter().chain(culprit.unwrap_or_default()).collect();
        Usage(at(&layers.origin(&key), &dotted(&key), &type_fault(&key, error.message()))).into()
    })
}

/// A table with one value, and the kind that its neighbours are read by.
fn nested(key: &[String], value: Value, whole: &Table) -> Table {
    let mut layers = Layers::default();
    let entry = |key: &[String], value| super::Entry { key: key.to_vec(), value, origin: Origin::Default };
    if let Some(kind) = whole.get("kind") {
        layers.apply([entry(&["kind".to_owned()], kind.clone())]);
    }
    layers.apply([entry(key, value)]);
    layers.table()
}

/// Writes a fault of checked settings with the place of the setting it names.
fn located(layers: &Layers, path: &[&str], error: &Error) -> String {
    match error {
        Error::Setting { key, value, rule } => {
            let key: Key = owned(path).into_iter().chain(key.split('.').map(str::to_owned)).collect();
            at(&layers.origin(&key), &dotted(&key), &format!("{value} is not valid; {rule}"))
        }
        other => at(&Origin::Default, &path.join("."), &other.to_string()),
    }
}

/// Writes a fault with the place and the key of its value.
pub(super) fn at(origin: &Origin, key: &str, fault: &str) -> String {
    match origin {
        Origin::Default => format!("`{key}`: {fault}"),
        Origin::File { path, line } => format!("{path}:{line}: `{key}`: {fault}"),
        Origin::Env(name) => format!("{name}: `{key}`: {fault}"),
        Origin::Flag(name) => format!("{name}: `{key}`: {fault}"),
    }
}

fn owned(path: &[&str]) -> Key {
    path.iter().map(|&name| name.to_owned()).collect()
}

fn starts_with(key: &[String], path: &[&str]) -> bool {
    key.len() >= path.len() && key.iter().zip(path).all(|(a, b)| a == b)
}
