//! Values by key, stronger layers over weaker ones.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::Origin;

/// A key as its segments: `pools.coder.max`.
pub type Key = Vec<String>;

/// One value and its origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// A value that is no table.
    pub value: Value,
    /// Its origin.
    pub origin: Origin,
}

/// The values of all layers. Apply the layers from the weakest to the strongest.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    values: BTreeMap<Key, (Value, Origin)>,
}

impl Layers {
    /// Adds a layer over the earlier ones.
    ///
    /// A value also replaces all values below its key, and the value at the place of its table: a policy by name
    /// replaces one with settings, and vice versa.
    pub fn apply(&mut self, layer: impl IntoIterator<Item = Entry>) {
        for Entry { key, value, origin } in layer {
            self.values.retain(|other, _| !(other.starts_with(&key) || key.starts_with(other)));
            self.values.insert(key, (value, origin));
        }
    }

    /// Returns all values as one table.
    pub fn table(&self) -> Table {
        let mut root = Table::new();
        for (key, (value, _)) in &self.values {
            insert(&mut root, key, value.clone());
        }
        root
    }

    /// Returns the origin of a key's value. A key inside a value that was set as a whole has the origin of the whole.
    pub fn origin(&self, key: &[String]) -> Origin {
        (1..=key.len())
            .find_map(|depth| self.values.get(&key[..depth]))
            .map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// Returns every key with its value and origin, sorted by key.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &Value, &Origin)> {
        self.values.iter().map(|(key, (value, origin))| (key, value, origin))
    }

    /// Returns the names right below a key, such as those of the pools.
    pub fn names_below(&self, prefix: &[&str]) -> Vec<String> {
        let below =
            self.values.keys().filter(|key| key.len() > prefix.len() && key.iter().zip(prefix).all(|(a, b)| a == b));
        let mut names: Vec<String> = below.map(|key| key[prefix.len()].clone()).collect();
        names.dedup();
        names
    }
}

/// Splits a table into its values. An empty table has none.
pub fn flatten(table: &Table) -> Vec<(Key, Value)> {
    let mut found = Vec::new();
    collect(table, &mut Vec::new(), &mut found);
    found
}

fn collect(table: &Table, path: &mut Key, found: &mut Vec<(Key, Value)>) {
    for (name, value) in table {
        path.push(name.clone());
        match value {
            Value::Table(inner) => collect(inner, path, found),
            other => found.push((path.clone(), other.clone())),
        }
        path.pop();
    }
}

fn insert(table: &mut Table, key: &[String], value: Value) {
    match key {
        [] => {}
        [name] => drop(table.insert(name.clone(), value)),
        [name, rest @ ..] => {
            let inner = table.entry(name.clone()).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// Writes a key the way a file would: `pools."my pool".max`.
pub fn dotted(key: &[String]) -> String {
    let bare =
        |name: &String| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let quoted = |name: &String| if bare(name) { name.clone() } else { format!("{name:?}") };
    key.iter().map(quoted).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: impl Into<Value>, origin: Origin) -> Entry {
        Entry { key: key.split('.').map(str::to_owned).collect(), value: value.into(), origin }
    }

    fn key(text: &str) -> Key {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn the_strongest_layer_wins_and_is_named() {
        let mut layers = Layers::default();
        layers.apply([
            entry("http.listen", "a", Origin::File { path: "f".into(), line: 3 }),
            entry("log.level", "info", Origin::Default),
        ]);
        layers.apply([entry("http.listen", "b", Origin::Env("FORERUNNER__HTTP__LISTEN".into()))]);
        assert_eq!(layers.origin(&key("http.listen")).to_string(), "env:FORERUNNER__HTTP__LISTEN");
        assert_eq!(layers.table()["http"]["listen"].as_str(), Some("b"));
        layers.apply([entry("http.listen", "c", Origin::Flag("--listen".into()))]);
        assert_eq!(layers.origin(&key("http.listen")).to_string(), "flag:--listen");
        assert_eq!(layers.table()["log"]["level"].as_str(), Some("info"));
        assert_eq!(layers.origin(&key("shutdown.grace")), Origin::Default);
    }

    #[test]
    fn a_bare_name_and_a_table_replace_each_other() {
        let mut layers = Layers::default();
        let file = Origin::File { path: "f".into(), line: 1 };
        layers.apply([entry("pools.a.policy.kind", "predictive", file)]);
        layers.apply([entry("pools.a.policy", "utilisation", Origin::Env("X".into()))]);
        assert_eq!(layers.table()["pools"]["a"]["policy"].as_str(), Some("utilisation"));
        assert_eq!(
            layers.origin(&key("pools.a.policy.kind")),
            Origin::Env("X".into()),
            "inside a value given as a whole"
        );
        layers.apply([entry("pools.a.policy.kind", "fixed", Origin::Flag("--set".into()))]);
        assert_eq!(layers.table()["pools"]["a"]["policy"]["kind"].as_str(), Some("fixed"));
    }

    #[test]
    fn names_below_a_prefix_are_listed_once() {
        let mut layers = Layers::default();
        layers.apply([
            entry("pools.b.max", 1, Origin::Default),
            entry("pools.a.max", 1, Origin::Default),
            entry("pools.a.min", 1, Origin::Default),
        ]);
        assert_eq!(layers.names_below(&["pools"]), ["a", "b"]);
    }

    #[test]
    fn keys_are_written_like_in_a_file() {
        assert_eq!(dotted(&["pools".into(), "a b".into(), "max".into()]), r#"pools."a b".max"#);
    }
}
