//! The configuration: default < file < environment < flags, and the origin of each value.

mod auth;
mod check;
mod env;
mod examples;
mod file;
mod flags;
mod layers;
mod origin;
mod owner;
mod pools;
mod read;
mod schema;
pub mod secret;
mod types;

use std::path::{Path, PathBuf};

use toml::Table;

pub use auth::{AuthConfig, AuthMode};
pub use check::{check, warnings};
pub use examples::{example, examples, title};
pub use flags::{ConfigArgs, HEADING};
pub use layers::{Entry, Layers, dotted};
pub use origin::Origin;
pub use pools::pools;
pub use types::{Config, LogConfig, LogFormat, PoolConfig, StoreConfig};

/// A configuration and its origin.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file that was read, as an absolute path.
    pub file: Option<PathBuf>,
    layers: Layers,
}

impl Loaded {
    /// Reads file, environment and flags.
    pub fn read(args: &ConfigArgs) -> anyhow::Result<Self> {
        Self::assemble(
            args,
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// Reads one file alone, without environment and flags.
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let args = ConfigArgs { config: Some(path.to_path_buf()), ..ConfigArgs::default() };
        Self::assemble(&args, [])
    }

    fn assemble(args: &ConfigArgs, variables: impl IntoIterator<Item = (String, String)>) -> anyhow::Result<Self> {
        let found = file::find(args.config.as_deref())?;
        let mut layers = Layers::default();
        if let Some(found) = &found {
            layers.apply(found.read()?);
        }
        let file = found.map(|found| found.path);
        let variables = env::read(variables, &layers);
        layers.apply(variables);
        layers.apply(args.entries()?);
        Ok(Self { config: read::read(&layers)?, file, layers })
    }

    /// Names the file that was read.
    pub fn source(&self) -> String {
        self.file.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    }

    /// Returns the keys whose secrets are on the command line, which others can read.
    pub fn secrets_in_flags(&self) -> Vec<String> {
        let of_flags = self.layers.entries().filter(|(_, _, origin)| matches!(origin, Origin::Flag(_)));
        let secret = of_flags.filter(|(key, value, _)| secret::is_there(key, value));
        secret.map(|(key, _, _)| layers::dotted(key)).collect()
    }

    /// Returns every effective value with its key and origin.
    pub fn effective(&self) -> anyhow::Result<Vec<Entry>> {
        let table = Table::try_from(&self.config)?;
        let entries = layers::flatten(&table).into_iter().map(|(key, value)| {
            let origin = self.layers.origin(&key);
            Entry { key, value, origin }
        });
        Ok(entries.collect())
    }
}

#[cfg(test)]
mod tests;
