//! Which column has what.

use std::str::FromStr;

use super::{cells::Key, times::Unit};

/// A column, or a member of a JSON object, by its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name; of a member of an object in an object the path, with dots.
    pub name: String,
    /// The unit of its numbers; `None` to guess.
    pub unit: Option<Unit>,
}

/// The columns of the keys; none for those that are not mapped.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapping {
    columns: [Option<Column>; Key::ALL.len()],
    /// The columns are those of a trace of Forerunner's own, whose times are seconds from the begin.
    pub native: bool,
}

impl Mapping {
    /// The columns of a trace of Forerunner's own.
    pub fn native() -> Self {
        let column = |key: Key| key.native().map(|name| Column { name: name.to_owned(), unit: Some(Unit::Seconds) });
        Self { columns: Key::ALL.map(column), native: true }
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.columns.iter().all(Option::is_none)
    }

    /// The column of a key.
    pub fn get(&self, key: Key) -> Option<&Column> {
        self.columns[key as usize].as_ref()
    }

    /// The name of the column of a key, or else the key.
    pub fn name(&self, key: Key) -> &str {
        self.get(key).map_or(key.as_str(), |column| &column.name)
    }

    /// Maps a key that has no column yet.
    pub fn default_to(&mut self, key: Key, name: &str, unit: Option<Unit>) {
        self.columns[key as usize].get_or_insert_with(|| Column { name: name.to_owned(), unit });
    }

    /// The keys that have a column.
    pub fn keys(&self) -> impl Iterator<Item = (Key, &Column)> {
        Key::ALL.into_iter().filter_map(|key| Some((key, self.get(key)?)))
    }

    /// Checks that a task's arrival and duration follow from the columns.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self) -> Result<(), String> {
        let has = |key| self.get(key).is_some();
        if !has(Key::Arrival) && !has(Key::Start) {
            return Err("--map has no `arrival`; add the column with the time when a task came: arrival=…".to_owned());
        }
        if !has(Key::Duration) && !has(Key::End) {
            return Err("--map has neither `duration` nor `end`; add one of them: duration=…".to_owned());
        }
        Ok(())
    }
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mapping = Self::default();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let known = || Key::ALL.map(Key::as_str).join(", ");
            let (key, column) = pair.split_once('=').ok_or_else(|| {
                format!("`{pair}` names no column; write KEY=COLUMN, such as arrival=ts; keys are {}", known())
            })?;
            let found = Key::ALL.into_iter().find(|known| known.as_str() == key.trim());
            let key = found.ok_or_else(|| format!("`{key}` is no key; keys are {}", known()))?;
            mapping.columns[key as usize] = Some(column.parse()?);
        }
        Ok(mapping)
    }
}

impl FromStr for Column {
    type Err = String;

    /// Reads `took` or `took:ms`. A name may have colons of its own.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a column has no name; write KEY=COLUMN, such as arrival=ts".to_owned());
        }
        let with_unit = text.rsplit_once(':').and_then(|(name, unit)| Some((name, Unit::named(unit)?)));
        Ok(match with_unit {
            Some((name, unit)) if !name.is_empty() => Self { name: name.to_owned(), unit: Some(unit) },
            _ => Self { name: text.to_owned(), unit: None },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_names_columns_and_units() {
        let mapping: Mapping = "arrival=received:ms, duration=took,session=a:b".parse().expect("valid");
        assert_eq!(mapping.get(Key::Arrival), Some(&Column { name: "received".into(), unit: Some(Unit::Millis) }));
        assert_eq!((mapping.name(Key::Duration), mapping.name(Key::Session)), ("took", "a:b"));
        assert!(mapping.check().is_ok());
        for (text, said) in [("arrival", "KEY=COLUMN"), ("came=ts", "`came` is no key"), ("arrival=", "no name")] {
            let refused = text.parse::<Mapping>().expect_err(text);
            assert!(refused.contains(said), "{refused}");
        }
        for (text, said) in [("duration=x", "`arrival`"), ("arrival=x", "`duration`")] {
            let refused = text.parse::<Mapping>().expect("keys").check().expect_err(text);
            assert!(refused.contains(said), "{refused}");
        }
    }
}
