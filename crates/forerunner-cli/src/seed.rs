//! What a pool knows before it has run: a recording, learned in virtual time.

use std::path::Path;

use anyhow::Context;
use forerunner_console::Usage;
use forerunner_core::{Clock, PoolName};
use forerunner_lab::{
    import::{self, ImportArgs},
    seed::{LearnedState, train},
};
use forerunner_runtime::SystemClock;
use forerunner_store::Store;
use serde_json::json;

use crate::config::Config;

/// The setting in which a pool's forecast is saved.
fn key(pool: &PoolName) -> String {
    format!("pool/{pool}/history")
}

/// Lets the forecasts of pools learn from files, each `FILE` or `POOL=FILE`. A pool that has a history keeps it.
///
/// # Errors
/// [`Usage`] for a pool that is not configured, and a file that cannot be read.
pub async fn from_files(store: &dyn Store, config: &Config, files: &[String]) -> anyhow::Result<()> {
    for text in files {
        let (pool, path) = named(config, text)?;
        if store.setting(key(&pool)).await.context("the store cannot be read")?.is_some() {
            tracing::info!(%pool, file = path, "the pool has a history; the seed is not used");
            continue;
        }
        let settings = config.pools[&pool].settings.clone();
        let file = path.to_owned();
        let learned = tokio::task::spawn_blocking(move || {
            let trace = import::read(Path::new(&file), &ImportArgs::default())?.trace;
            let taught = train(settings.policy, settings.limits(), &trace, trace.span_s())?;
            Ok::<_, anyhow::Error>((trace.tasks().len(), taught.learned()))
        });
        let (tasks, learned) = learned.await?.with_context(|| format!("--seed-history {text}"))?;
        tracing::info!(%pool, file = path, tasks, desired = learned.desired, "the forecast has learned from a recording");
        remember(store, &pool, &learned).await?;
    }
    Ok(())
}

/// The pool and the file of `POOL=FILE`, or of `FILE` where there is one pool.
fn named<'a>(config: &Config, text: &'a str) -> anyhow::Result<(PoolName, &'a str)> {
    let names = || config.pools.keys().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some((name, path)) = text.split_once('=')
        && let Some(pool) = config.pools.keys().find(|pool| pool.as_str() == name)
    {
        return Ok((pool.clone(), path));
    }
    let mut pools = config.pools.keys();
    match (pools.next(), pools.next()) {
        (Some(pool), None) if !text.contains('=') || Path::new(text).exists() => Ok((pool.clone(), text)),
        _ => Err(Usage(format!("--seed-history {text} names no pool; write POOL=FILE; pools are {}", names())).into()),
    }
}

/// Writes what a node that had seen the recording would have stored when it stopped.
///
/// # Errors
/// When the store cannot be written.
pub async fn remember(store: &dyn Store, pool: &PoolName, learned: &LearnedState) -> anyhow::Result<()> {
    let LearnedState { policy, text, desired } = learned;
    let note = json!({
        "at": SystemClock.now(),
        "policy": policy,
        "text": text.as_deref().unwrap_or_default(),
        "desired": desired,
        "seq": 0,
    });
    store.put_setting(key(pool), Some(note.to_string())).await?;
    Ok(())
}
