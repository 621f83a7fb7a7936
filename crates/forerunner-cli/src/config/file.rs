//! The layer from a file.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use forerunner_console::{Usage, text};
use toml::{
    Spanned, Value,
    de::{DeTable, DeValue},
};

use super::{Entry, Origin, layers::Key, owner};

/// Where a file is searched when none is named.
const PLACES: [&str; 2] = ["forerunner.toml", "/etc/forerunner/forerunner.toml"];

/// A configuration file that is open.
pub struct OpenFile {
    /// Where it is, as an absolute path.
    pub path: PathBuf,
    /// The path in the user's form, for messages.
    given: PathBuf,
    file: File,
}

/// Opens the file to read: the named one, or the first of the usual places that exists.
///
/// A file of the working directory must belong to this user unless it is named: it decides which programs run.
pub fn find(named: Option<&Path>) -> anyhow::Result<Option<OpenFile>> {
    if let Some(path) = named {
        return OpenFile::open(path).map(Some);
    }
    let Some(place) = PLACES.iter().map(Path::new).find(|path| path.exists()) else { return Ok(None) };
    let found = OpenFile::open(place)?;
    if place.is_relative() {
        owner::check(&found.path, &found.file)?;
    }
    Ok(Some(found))
}

impl OpenFile {
    fn open(given: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(given).unwrap_or_else(|_| given.to_owned());
        let file = File::open(given).map_err(|error| unreadable(&path, &error))?;
        Ok(Self { path, given: given.to_owned(), file })
    }

    /// Reads the file into values with their lines.
    pub fn read(&self) -> anyhow::Result<Vec<Entry>> {
        let mut bytes = Vec::new();
        (&self.file).read_to_end(&mut bytes).map_err(|error| unreadable(&self.path, &error))?;
        let text = text::decode(&bytes).map_err(|why| unreadable(&self.path, &why))?;
        parse(text, &self.given.display().to_string())
    }
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Usage {
    Usage(format!("configuration file {} cannot be read: {why}; name one that can", path.display()))
}

/// Parses the text of a file into values with their lines. `path` is for messages only.
pub fn parse(text: &str, path: &str) -> anyhow::Result<Vec<Entry>> {
    let lines = Lines::of(text);
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| lines.at(span.start));
        Usage(format!("{path}:{line}: {}", error.message()))
    })?;
    let mut walk = Walk { path, lines: &lines, found: Vec::new() };
    walk.table(document.get_ref(), &mut Vec::new())?;
    Ok(walk.found)
}

struct Walk<'a> {
    path: &'a str,
    lines: &'a Lines,
    found: Vec<Entry>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, key: &mut Key) -> anyhow::Result<()> {
        for (name, value) in table {
            key.push(name.get_ref().to_string());
            match value.get_ref() {
                DeValue::Table(inner) if !inner.is_empty() => self.table(inner, key)?,
                _ => self.value(name, value, key)?,
            }
            key.pop();
        }
        Ok(())
    }

    fn value(&mut self, name: &Spanned<impl Sized>, value: &Spanned<DeValue<'_>>, key: &Key) -> anyhow::Result<()> {
        let origin = Origin::File { path: self.path.to_owned(), line: self.lines.at(name.span().start) };
        self.found.push(Entry { key: key.clone(), value: plain(value.get_ref())?, origin });
        Ok(())
    }
}

/// Turns a parsed value into a plain one.
pub fn plain(value: &DeValue<'_>) -> anyhow::Result<Value> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(value) => Value::Datetime(*value),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Value::Integer(parsed.with_context(|| format!("number `{}` is out of range", number.as_str()))?)
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse();
            Value::Float(parsed.with_context(|| format!("number `{}` is out of range", number.as_str()))?)
        }
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| plain(item.get_ref())).collect::<anyhow::Result<_>>()?)
        }
        DeValue::Table(table) => {
            let pairs = table.iter().map(|(name, value)| Ok((name.get_ref().to_string(), plain(value.get_ref())?)));
            Value::Table(pairs.collect::<anyhow::Result<_>>()?)
        }
    })
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// Returns the line of a byte offset, from 1.
    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let text = "# first\n[http]\nlisten = \"x\"\n\n[pools.coder]\nagent = { kind = \"process\", command = [\"a\", \"b\"] }\nmax = 1_000\n";
        let entries = parse(text, "f.toml").expect("valid");
        let shown: Vec<String> = entries
            .iter()
            .map(|entry| format!("{} = {} ({})", entry.key.join("."), entry.value, entry.origin))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        http.listen = "x" (file:f.toml:3)
        pools.coder.agent.command = ["a", "b"] (file:f.toml:6)
        pools.coder.agent.kind = "process" (file:f.toml:6)
        pools.coder.max = 1000 (file:f.toml:7)
        "#);
    }

    #[test]
    fn an_empty_table_is_an_entry_too() {
        let entries = parse("[http]\n[pool.coder]\n", "f.toml").expect("valid");
        let keys: Vec<String> = entries.iter().map(|entry| entry.key.join(".")).collect();
        assert_eq!(keys, ["http", "pool.coder"]);
    }

    #[test]
    fn a_syntax_error_names_file_and_line() {
        let error = parse("[http]\nlisten = \n", "f.toml").expect_err("no value");
        assert!(error.to_string().starts_with("f.toml:2: "), "{error}");
        assert_eq!(crate::exit::code(&error), 2);
    }
}
