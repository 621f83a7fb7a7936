//! `forerunner migrate`: a store's schema.

use clap::Args;
use forerunner_console::output::{Output, note};
use serde::Serialize;

use super::serve;
use crate::config::{ConfigArgs, Loaded};

/// Which store: by the flags, file and variables of `serve`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Serialize)]
struct Migrated {
    store: &'static str,
    schema: &'static str,
}

/// Migrates the store to the newest schema of this program. It rejects a newer schema and changes nothing.
pub async fn run(args: MigrateArgs, out: &Output) -> anyhow::Result<()> {
    let loaded = Loaded::read(&args.config)?;
    note(&format!("configuration file: {}", loaded.source()));
    let config = loaded.config;
    let store = serve::open(&config.store).await?;
    store.close().await?;
    let done = Migrated { store: store.kind(), schema: "current" };
    out.show(&done, || format!("the {} store has the newest schema that this program knows\n", done.store))
}
