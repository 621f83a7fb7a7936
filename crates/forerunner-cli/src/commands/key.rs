//! `forerunner key`: who may call the service.

use std::{collections::BTreeSet, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use forerunner_console::{
    Usage, fields,
    output::{Output, note, render, table},
};
use forerunner_core::{
    ApiKeyId, ApiKeyName, Clock, PoolName, Priority, TenantName, Timestamp, format_duration, parse_duration,
};
use forerunner_runtime::SystemClock;
use forerunner_service::auth::{self, ApiKeyStatus, Made, Network, NewApiKey, Role, Token};
use forerunner_store::Store;
use serde_json::{Value, json};

use super::serve;
use crate::{
    client::{Call, encode},
    config::{ConfigArgs, Loaded},
    server_args::ServerArgs,
    token,
};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and show it once.
    Create(CreateArgs),
    /// List keys, those that ended in the last 30 days too.
    List(PlaceArgs),
    /// Make another key of the same name; the old one expires after --overlap.
    Rotate(RotateArgs),
    /// Refuse a key from now on, for good.
    Revoke(RevokeArgs),
    /// Make a key that no store has: for auth.bootstrap_key_file, and for auth.keys of a configuration.
    Generate(GenerateArgs),
}

/// Where the keys are.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Work on this store rather than on a service. No node may run on a SQLite file meanwhile.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Work on the store of this configuration rather than on a service.
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    store_of: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What a key may do.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Who is to use it: 1 to 64 of a-z, 0-9, _ and -.
    name: ApiKeyName,
    /// What it is for.
    #[arg(long, value_parser = role)]
    role: Role,
    /// A pool that it may use; all pools by default. May be repeated.
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<PoolName>,
    /// The highest priority that it may give, 0 to 9.
    #[arg(long, value_name = "PRIORITY", value_parser = priority)]
    max_priority: Option<Priority>,
    /// Tasks that may be submitted with it in a second, to each node; any by default.
    #[arg(long, value_name = "TASKS")]
    submits_per_s: Option<NonZeroU32>,
    /// Whether it sees inputs and outputs; by default keys of the roles submit and admin do.
    #[arg(long, value_name = "BOOL")]
    payloads: Option<bool>,
    /// An address or a network such as 10.0.0.0/8 that it may be used from; anywhere by default. May be repeated.
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<Network>,
    /// After how long it expires, such as 90d; never by default.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires_in: Option<Duration>,
}

/// The flag of commands that make a key.
#[derive(Debug, Args)]
pub struct OutArgs {
    /// Write the key into this new file, which only you can read, rather than to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    new: NewArgs,
    #[command(flatten)]
    out: OutArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Arguments of `rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The id of the key, which a listing shows.
    key: ApiKeyId,
    /// How long the old key counts beside the new one.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "7d")]
    overlap: Duration,
    #[command(flatten)]
    out: OutArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Arguments of `revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The id of the key, which a listing shows.
    key: ApiKeyId,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    new: NewArgs,
    /// The tenant whose tasks, contexts and schedules it reaches.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantName>,
    #[command(flatten)]
    out: OutArgs,
}

fn role(text: &str) -> Result<Role, String> {
    let names: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
    let found = Role::ALL.iter().copied().find(|role| role.as_str() == text);
    found.ok_or_else(|| format!("there is no role `{text}`; use one of {}", names.join(", ")))
}

fn priority(text: &str) -> Result<Priority, String> {
    let number = text.parse().map_err(|_| format!("`{text}` is not a number; use 0 (last) to 9 (first)"))?;
    Priority::new(number).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

impl NewArgs {
    fn into_new(self, tenant: Option<TenantName>) -> NewApiKey {
        let pools = (!self.pools.is_empty()).then(|| self.pools.into_iter().collect::<BTreeSet<_>>());
        NewApiKey {
            name: self.name,
            role: self.role,
            tenant,
            pools,
            max_priority: self.max_priority,
            submits_per_s: self.submits_per_s,
            payloads: self.payloads,
            networks: self.networks,
            expires_in: self.expires_in,
        }
    }
}

/// Runs a command on a service, or on a store alone.
pub async fn run(command: KeyCommand, out: &Output) -> anyhow::Result<()> {
    match command {
        KeyCommand::Create(args) => create(args, out).await,
        KeyCommand::List(place) => list(place, out).await,
        KeyCommand::Rotate(args) => rotate(args, out).await,
        KeyCommand::Revoke(args) => revoke(args, out).await,
        KeyCommand::Generate(args) => generate(args, out),
    }
}

async fn create(args: CreateArgs, out: &Output) -> anyhow::Result<()> {
    let new = args.new.into_new(args.place.server.tenant.clone());
    let Some(store) = args.place.open().await? else {
        let call = Call::post("/v1/keys");
        return show_answer(&*args.place.server.client()?.send(call.body(&body(&new))).await?, &args.out, out);
    };
    let made = auth::create(store.as_ref(), new, None, now()).await;
    store.close().await?;
    show_made(&made?, &args.out, out)
}

async fn list(place: PlaceArgs, out: &Output) -> anyhow::Result<()> {
    let answer: Value = match place.open().await? {
        None => place.server.client()?.get("/v1/keys").await?.clone(),
        Some(store) => {
            let keys = auth::list(store.as_ref(), now()).await;
            store.close().await?;
            json!({ "keys": keys? })
        }
    };
    out.show(&answer, || render_list(&answer))
}

async fn rotate(args: RotateArgs, out: &Output) -> anyhow::Result<()> {
    let Some(store) = args.place.open().await? else {
        let body = json!({ "overlap": format_duration(args.overlap) });
        let call = Call::post(path(&args.key, ":rotate"));
        return show_answer(&*args.place.server.client()?.send(call.body(&body)).await?, &args.out, out);
    };
    let made = auth::rotate(store.as_ref(), &args.key, args.overlap, None, now()).await;
    store.close().await?;
    show_made(&made?, &args.out, out)
}

async fn revoke(args: RevokeArgs, out: &Output) -> anyhow::Result<()> {
    let key: Value = match args.place.open().await? {
        None => args.place.server.client()?.send(Call::post(path(&args.key, ":revoke"))).await?.clone(),
        Some(store) => {
            let revoked = auth::revoke(store.as_ref(), &args.key, now()).await;
            store.close().await?;
            serde_json::to_value(revoked?)?
        }
    };
    out.show(&key, || format!("key {} is revoked; all nodes refuse it within 10 seconds", fields::text(&key, "id")))
}

fn generate(args: GenerateArgs, out: &Output) -> anyhow::Result<()> {
    if args.new.expires_in.is_some() {
        return Err(Usage("--expires-in is for keys in a store; write `expires_at` into the entry".to_owned()).into());
    }
    let (token, key) = args.new.into_new(args.tenant).generate(None, now())?;
    let mut entry = serde_json::to_value(&key)?;
    if let Some(members) = entry.as_object_mut() {
        members.remove("created_at");
        members.insert("id".to_owned(), token.id().as_str().into());
    }
    let lines = toml::to_string(&json!({ "auth": { "keys": [entry] } }))?;
    show(&token, &json!({ "entry": entry }), &args.out, out, || {
        format!("For the configuration, which may be read by others:\n\n{}", lines.trim_end())
    })
}

impl PlaceArgs {
    /// Opens the store, if one is named.
    async fn open(&self) -> anyhow::Result<Option<Arc<dyn Store>>> {
        if self.store.is_none() && self.store_of.is_none() {
            return Ok(None);
        }
        let args = ConfigArgs { store: self.store.clone(), config: self.store_of.clone(), ..ConfigArgs::default() };
        Ok(Some(serve::open(&Loaded::read(&args)?.config.store).await?))
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn body(new: &NewApiKey) -> Value {
    json!({
        "name": new.name,
        "role": new.role,
        "tenant": new.tenant,
        "pools": new.pools,
        "max_priority": new.max_priority,
        "submits_per_s": new.submits_per_s,
        "payloads": new.payloads,
        "networks": new.networks,
        "expires_in": new.expires_in.map(format_duration),
    })
}

fn path(key: &ApiKeyId, verb: &str) -> String {
    format!("/v1/keys/{}{verb}", encode(key.as_str()))
}

fn show_made(made: &Made, file: &OutArgs, out: &Output) -> anyhow::Result<()> {
    let ApiKeyStatus { id, name, role, .. } = &made.status;
    let about = format!("key {id} `{name}` has the role {}", role.as_str());
    show(&made.token, &json!({ "key": made.status }), file, out, || about)
}

/// Shows the answer of a service.
fn show_answer(answer: &Value, file: &OutArgs, out: &Output) -> anyhow::Result<()> {
    let secret = answer["secret"].as_str().and_then(Token::parse);
    let token = secret.ok_or_else(|| anyhow::anyhow!("the service answered no key; is it a forerunner service?"))?;
    let key = &answer["key"];
    let about = format!(
        "key {} `{}` has the role {}",
        fields::text(key, "id"),
        fields::text(key, "name"),
        fields::text(key, "role")
    );
    show(&token, &json!({ "key": key }), file, out, || about)
}

/// Shows a key once: in a file, or here.
fn show(
    token: &Token,
    told: &Value,
    file: &OutArgs,
    out: &Output,
    about: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let mut told = told.clone();
    if let Some(file) = &file.out {
        token::write(file, token)?;
        told["file"] = file.display().to_string().into();
        return out.show(&told, || format!("{}\nThe key is in {}.", about(), file.display()));
    }
    note("this is the only time that the key is shown");
    told["secret"] = token.reveal().into();
    out.show(&told, || format!("{}\n{}", about(), token.reveal()))
}

fn render_list(answer: &Value) -> String {
    let row = |key: &Value| {
        let pools: Vec<_> = fields::list(key, "pools").iter().filter_map(Value::as_str).collect();
        [
            fields::text(key, "id"),
            fields::text(key, "name"),
            fields::text(key, "role"),
            fields::text(key, "state"),
            key["tenant"].as_str().unwrap_or("all").to_owned(),
            if pools.is_empty() { "all".to_owned() } else { pools.join(",") },
            fields::time(key, "expires_at"),
            fields::time(key, "last_used_on"),
            fields::text(key, "source"),
        ]
    };
    let header = ["key", "name", "role", "state", "tenant", "pools", "expires", "used on", "from"];
    render(&table(header, fields::list(answer, "keys").iter().map(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_a_key_may_do() {
        let key = json!({
            "id": "abcdefgh", "name": "ci", "role": "submit", "state": "active", "source": "store", "pools": ["a", "b"],
            "tenant": "acme", "payloads": true, "expires_at": "2026-01-31T12:00:00Z",
        });
        let shown = render_list(&json!({ "keys": [key] }));
        let row: Vec<_> = shown.lines().last().expect("a row").split_whitespace().collect();
        assert_eq!(row[..8], ["abcdefgh", "ci", "submit", "active", "acme", "a,b", "2026-01-31", "12:00:00"]);
    }

    #[test]
    fn roles_are_named_in_full() {
        assert_eq!(role("operate"), Ok(Role::Operate));
        assert!(role("op").is_err_and(|text| text.contains("metrics, read, submit, operate, admin")));
        assert!(priority("10").is_err() && priority("9").is_ok() && duration("90d").is_ok());
    }
}
