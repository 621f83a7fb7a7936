//! The known keys, from the types that read them.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor, value::Error},
    forward_to_deserialize_any,
};

/// What is allowed at a key.
#[derive(Debug, Clone)]
pub enum Node {
    /// A value.
    Value,
    /// A table with these keys.
    Table(BTreeMap<String, Node>),
    /// A table whose keys the operator chooses.
    Named(Box<Node>),
}

impl Node {
    /// A table with the fields of `T`, all of them values.
    pub fn of<T: for<'de> Deserialize<'de>>() -> Self {
        Self::Table(fields::<T>().iter().map(|name| ((*name).to_owned(), Self::Value)).collect())
    }

    /// The keys of a template of settings. An empty table is one whose keys the operator chooses.
    pub fn of_template(template: &serde_json::Value) -> Self {
        match template.as_object() {
            None => Self::Value,
            Some(keys) if keys.is_empty() => Self::Named(Box::new(Self::Value)),
            Some(keys) => {
                Self::Table(keys.iter().map(|(name, value)| (name.clone(), Self::of_template(value))).collect())
            }
        }
    }

    /// A table with these keys.
    pub fn table<const N: usize>(keys: [(&str, Node); N]) -> Self {
        Self::Table(keys.map(|(name, node)| (name.to_owned(), node)).into())
    }

    /// The same table with another key, or another meaning of a key.
    pub fn with(self, name: &str, node: Node) -> Self {
        match self {
            Self::Table(mut keys) => {
                keys.insert(name.to_owned(), node);
                Self::Table(keys)
            }
            other => other,
        }
    }

    /// The keys of both tables.
    pub fn or(self, other: Node) -> Self {
        match (self, other) {
            (Self::Table(mut keys), Self::Table(more)) => {
                keys.extend(more);
                Self::Table(keys)
            }
            (one, _) => one,
        }
    }

    /// Checks a key; returns what is wrong with it.
    ///
    /// A value is allowed in place of a table: some settings have a short form, and the types reject the others.
    pub fn check(&self, key: &[String]) -> Result<(), String> {
        match (self, key) {
            (_, []) | (Self::Value, [_]) => Ok(()),
            (Self::Value, _) => Ok(()),
            (Self::Named(inner), [_, rest @ ..]) => inner.check(rest),
            (Self::Table(keys), [name, rest @ ..]) => match keys.get(name) {
                Some(node) => node.check(rest),
                None => Err(unknown(name, keys.keys())),
            },
        }
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    match nearest(name, &known) {
        Some(near) => format!("there is no key `{name}`; did you mean `{near}`?"),
        None => format!("there is no key `{name}`; the keys here are {}", known.join(", ")),
    }
}

/// Returns the known name that a misspelt one most likely means, if any is near.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // Jaro-Winkler rates an error in a short name low, such as `mni`.
    let one_slip = |other: &str| strsim::osa_distance(name, other) == 1;
    let likeness = |other: &str| if one_slip(other) { 1.0 } else { strsim::jaro_winkler(name, other) };
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= 0.8 || best.split('_').any(|part| part == name)).then_some(best)
}

/// Returns the names of the fields that `T` reads, by observing its calls of the deserializer.
fn fields<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut found: &'static [&'static str] = &[];
    let stopped = T::deserialize(Probe(&mut found));
    debug_assert!(stopped.is_err(), "the probe never yields a value");
    found
}

struct Probe<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom(NotAStruct))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("seen enough"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct NotAStruct;

impl fmt::Display for NotAStruct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only structs have fields")
    }
}

#[cfg(test)]
impl Node {
    /// Returns the keys of all values; a chosen name is written as `*`.
    pub fn leaves(&self) -> Vec<String> {
        let below = |name: &str, node: &Node| -> Vec<String> {
            match node {
                Self::Value => vec![name.to_owned()],
                node => node.leaves().into_iter().map(|leaf| format!("{name}.{leaf}")).collect(),
            }
        };
        match self {
            Self::Value => Vec::new(),
            Self::Named(node) => below("*", node),
            Self::Table(keys) => keys.iter().flat_map(|(name, node)| below(name, node)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only the names matter")]
    struct Limits {
        min: u32,
        max: Option<u32>,
        on_time: String,
    }

    fn key(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn keys_come_from_the_types_optional_ones_included() {
        let root = Node::table([("pools", Node::Named(Box::new(Node::of::<Limits>())))]);
        assert_eq!(root.leaves(), ["pools.*.max", "pools.*.min", "pools.*.on_time"]);
        assert_eq!(root.check(&key("pools.coder.max")), Ok(()));
    }

    #[test]
    fn keys_come_from_a_template_absent_ones_included() {
        let template = serde_json::json!({ "argv": [], "cwd": null, "env": {}, "limits": { "cpu_s": null } });
        let node = Node::of_template(&template);
        assert_eq!(node.leaves(), ["argv", "cwd", "env.*", "limits.cpu_s"]);
        assert!(node.check(&key("env.API_KEY")).is_ok() && node.check(&key("limits.cpu")).is_err());
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_one() {
        let node = Node::of::<Limits>();
        assert_eq!(nearest("mni", &["max", "min", "on_time"]), Some("min"));
        assert_eq!(nearest("colour", &["max", "min", "on_time"]), None);
        assert_eq!(node.check(&key("maxx")), Err("there is no key `maxx`; did you mean `max`?".to_owned()));
        assert_eq!(node.check(&key("ontime")), Err("there is no key `ontime`; did you mean `on_time`?".to_owned()));
        assert_eq!(
            node.check(&key("colour")),
            Err("there is no key `colour`; the keys here are max, min, on_time".to_owned())
        );
    }
}
