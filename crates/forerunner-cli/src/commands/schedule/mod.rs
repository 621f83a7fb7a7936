//! `forerunner schedule`: tasks that are submitted by the clock.

mod field_args;

use clap::{Args, Subcommand};
use forerunner_console::{
    Usage, fields,
    output::{Output, pairs, render, right_from, table},
    text,
};
use serde_json::{Map, Value, value::RawValue};

use self::field_args::FieldArgs;
use crate::{
    client::{Call, Client, encode},
    render::task,
    server_args::ServerArgs,
};

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Create a schedule.
    Create(Box<CreateArgs>),
    /// List the schedules, with their next and last runs.
    List(ListArgs),
    /// Show a schedule.
    Show(ScheduleArg),
    /// Change a schedule.
    Update(Box<UpdateArgs>),
    /// Submit no more tasks of a schedule. Occurrences within the pause are skipped.
    Pause(ScheduleArg),
    /// Submit tasks of a schedule again.
    Resume(ScheduleArg),
    /// Submit a task of a schedule now. Its times stay as they are.
    RunNow(ScheduleArg),
    /// Remove a schedule. Tasks that it submitted continue.
    Delete(ScheduleArg),
}

/// Which schedule.
#[derive(Debug, Args)]
pub struct ScheduleArg {
    /// Its name.
    schedule: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Which schedules.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Most schedules.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// The page behind another: `next` of that one.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// A schedule to make.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name: 1 to 64 of a-z, 0-9, _ and -.
    #[arg(required_unless_present = "file")]
    schedule: Option<String>,
    /// A file of schedules, each a JSON object on a line, or `-`: as `forerunner schedule list --output json` has them.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["schedule", "FieldArgs"])]
    file: Option<String>,
    #[command(flatten)]
    fields: FieldArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What to change of which schedule.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Its name.
    schedule: String,
    #[command(flatten)]
    fields: FieldArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Reads and changes schedules.
pub async fn run(command: ScheduleCommand, out: &Output) -> anyhow::Result<()> {
    match command {
        ScheduleCommand::Create(args) => create(*args, out).await,
        ScheduleCommand::List(args) => {
            let cursor =
                args.cursor.as_deref().map_or_else(String::new, |cursor| format!("&cursor={}", encode(cursor)));
            let path = format!("/v1/schedules?limit={}{cursor}", args.limit);
            let schedules = args.server.client()?.get(path).await?;
            out.show(&schedules, || render_list(&schedules))
        }
        ScheduleCommand::Show(args) => one(&args, out, Call::get(path(&args.schedule, ""))).await,
        ScheduleCommand::Pause(args) => one(&args, out, Call::post(path(&args.schedule, ":pause"))).await,
        ScheduleCommand::Resume(args) => one(&args, out, Call::post(path(&args.schedule, ":resume"))).await,
        ScheduleCommand::Update(args) => update(*args, out).await,
        ScheduleCommand::RunNow(args) => {
            let submitted = args.server.client()?.send(Call::post(path(&args.schedule, ":run"))).await?;
            out.show(&submitted, || task::render(&submitted))
        }
        ScheduleCommand::Delete(args) => {
            args.server.client()?.send(Call::delete(path(&args.schedule, ""))).await?;
            let gone = serde_json::json!({"deleted": args.schedule});
            out.show(&gone, || format!("schedule {} is gone; tasks that it submitted continue", args.schedule))
        }
    }
}

fn path(name: &str, rest: &str) -> String {
    format!("/v1/schedules/{}{rest}", encode(name))
}

async fn one(args: &ScheduleArg, out: &Output, call: Call<'_>) -> anyhow::Result<()> {
    let schedule = args.server.client()?.send(call).await?;
    out.show(&schedule, || render_one(&schedule))
}

async fn create(args: CreateArgs, out: &Output) -> anyhow::Result<()> {
    let client = args.server.client()?;
    if let Some(file) = &args.file {
        return create_from(&client, file, out).await;
    }
    let mut body = args.fields.body()?;
    let name = Value::from(args.schedule.unwrap_or_default());
    body.insert("name".to_owned(), serde_json::value::to_raw_value(&name)?);
    if !body.contains_key("pool") {
        return Err(Usage("no pool is named; add --pool, the pool whose agents can do it".to_owned()).into());
    }
    if !body.contains_key("input") {
        body.insert("input".to_owned(), serde_json::value::to_raw_value(&Value::Null)?);
    }
    let schedule = client.send(Call::post("/v1/schedules").json_text(serde_json::to_string(&body)?)).await?;
    out.show(&schedule, || render_one(&schedule))
}

/// What a schedule has besides its definition.
const OF_STATE: [&str; 7] = ["created_at", "next_runs", "last_run", "active", "fired", "skipped", "problem"];

/// Makes the schedules of a file, one after another, up to the first that is refused.
async fn create_from(client: &Client, file: &str, out: &Output) -> anyhow::Result<()> {
    let text = text::read("--file", file)?;
    let mut made = Vec::new();
    for mut definition in definitions(&text)? {
        definition.retain(|name, _| !OF_STATE.contains(&name.as_str()));
        let call = Call::post("/v1/schedules").json_text(serde_json::to_string(&definition)?);
        made.push(client.send(call).await?);
    }
    out.show(&made, || format!("{} schedules made", made.len()))
}

type Definition = std::collections::BTreeMap<String, Box<RawValue>>;

/// Reads schedules from lines of objects, from one object, or from a listing.
fn definitions(text: &str) -> anyhow::Result<Vec<Definition>> {
    #[derive(serde::Deserialize)]
    struct Listing {
        schedules: Vec<Definition>,
    }
    if let Ok(listing) = serde_json::from_str::<Listing>(text) {
        return Ok(listing.schedules);
    }
    let objects = serde_json::Deserializer::from_str(text).into_iter::<Definition>();
    objects.collect::<Result<_, _>>().map_err(|error| {
        Usage(format!("--file is no list of schedules: {error}; write each as a JSON object on a line")).into()
    })
}

async fn update(args: UpdateArgs, out: &Output) -> anyhow::Result<()> {
    let body = args.fields.body()?;
    if body.is_empty() {
        let text = format!(
            "nothing to change; name a field, such as `forerunner schedule update {} --cron '0 3 * * *'`",
            args.schedule
        );
        return Err(Usage(text).into());
    }
    let call = Call::patch(path(&args.schedule, "")).json_text(serde_json::to_string(&body)?);
    let schedule = args.server.client()?.send(call).await?;
    out.show(&schedule, || render_one(&schedule))
}

/// When a schedule comes, in a few words.
pub fn times(schedule: &Value) -> String {
    let of =
        |name: &str| fields::at(schedule, name).filter(|value| !value.is_null()).map(|_| fields::text(schedule, name));
    match (of("cron"), of("every")) {
        (Some(cron), _) => format!("{cron} ({})", of("time_zone").unwrap_or_else(|| "UTC".to_owned())),
        (None, Some(every)) => format!("every {every}"),
        (None, None) => format!("at {}", fields::time(schedule, "at")),
    }
}

/// The next runs.
fn runs(schedule: &Value) -> Vec<String> {
    let runs = fields::list(schedule, "next_runs").iter();
    runs.map(|at| fields::time(&serde_json::json!({ "at": at }), "at")).collect()
}

/// The next run, or why there is none.
pub fn next(schedule: &Value) -> String {
    match runs(schedule).into_iter().next() {
        Some(first) => first,
        None if schedule["enabled"] == false => "paused".to_owned(),
        None => "over".to_owned(),
    }
}

fn render_list(answer: &Value) -> String {
    let row = |schedule: &Value| {
        [
            fields::text(schedule, "name"),
            fields::text(schedule, "pool"),
            times(schedule),
            next(schedule),
            fields::time(schedule, "last_run.occurrence"),
            fields::text(schedule, "fired"),
            fields::text(schedule, "skipped"),
        ]
    };
    let schedules = fields::list(answer, "schedules");
    if schedules.is_empty() {
        return "no schedules".to_owned();
    }
    let header = ["schedule", "pool", "when", "next (UTC)", "last (UTC)", "fired", "skipped"];
    let mut table = table(header, schedules.iter().map(row));
    right_from(&mut table, 5);
    let problems = schedules.iter().filter_map(|schedule| {
        let problem = fields::at(schedule, "problem")?.as_str()?;
        Some(format!("\n\n{}: {problem}", fields::text(schedule, "name")))
    });
    let more = fields::at(answer, "next").and_then(Value::as_str);
    let more = more.map_or_else(String::new, |next| format!("\n\nmore: --cursor {next}"));
    render(&table) + &problems.collect::<String>() + &more
}

fn render_one(schedule: &Value) -> String {
    let runs = runs(schedule);
    let next = if runs.is_empty() { next(schedule) } else { runs.join(", ") };
    let last = match fields::at(schedule, "last_run").filter(|last| !last.is_null()) {
        Some(last) => format!("{}, task {}", fields::time(last, "occurrence"), fields::text(last, "task")),
        None => fields::NOTHING.to_owned(),
    };
    let mut rows = vec![
        ("schedule", fields::text(schedule, "name")),
        ("pool", fields::text(schedule, "pool")),
        ("when", times(schedule)),
        ("next", next),
        ("last", last),
        ("fired", format!("{}, {} skipped", fields::text(schedule, "fired"), fields::text(schedule, "skipped"))),
        ("overlap", fields::text(schedule, "overlap")),
        ("catch up", fields::text(schedule, "catch_up")),
    ];
    let extra = ["jitter", "context", "priority", "expires_after", "timeout", "max_attempts"];
    rows.extend(
        extra.iter().filter(|name| !schedule[**name].is_null()).map(|name| (*name, fields::text(schedule, name))),
    );
    let labels: Vec<_> = schedule["labels"].as_object().map(Map::iter).into_iter().flatten().collect();
    if !labels.is_empty() {
        let labels: Vec<_> =
            labels.into_iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
        rows.push(("labels", labels.join(", ")));
    }
    if let Some(problem) = schedule["problem"].as_str() {
        rows.push(("problem", problem.to_owned()));
    }
    pairs(rows)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::{cli::Cli, commands::Command};

    fn nightly() -> Value {
        json!({
            "name": "nightly", "pool": "coder", "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "input": {"n": 1},
            "priority": 4, "labels": {"team": "docs"}, "overlap": "skip", "catch_up": "latest", "jitter": "30s",
            "enabled": true, "created_at": "2027-01-01T00:00:00Z",
            "next_runs": ["2027-01-02T01:30:12Z", "2027-01-03T01:30:04Z"],
            "last_run": {"occurrence": "2027-01-01T01:30:00Z", "submitted_at": "2027-01-01T01:30:12Z", "task": "t1"},
            "active": [], "fired": 7, "skipped": 1, "problem": null,
        })
    }

    #[test]
    fn schedules_are_shown_with_their_next_and_last_runs() {
        insta::assert_snapshot!(render_list(&json!({"schedules": [nightly()]})), @r"
        SCHEDULE  POOL   WHEN                        NEXT (UTC)           LAST (UTC)           FIRED  SKIPPED
        nightly   coder  30 2 * * * (Europe/Berlin)  2027-01-02 01:30:12  2027-01-01 01:30:00      7        1
        ");
        insta::assert_snapshot!(render_one(&nightly()), @r"
        schedule  nightly
        pool      coder
        when      30 2 * * * (Europe/Berlin)
        next      2027-01-02 01:30:12, 2027-01-03 01:30:04
        last      2027-01-01 01:30:00, task t1
        fired     7, 1 skipped
        overlap   skip
        catch up  latest
        jitter    30s
        priority  4
        labels    team=docs
        ");
        let mut over = nightly();
        (over["next_runs"], over["problem"]) = (json!([]), json!("pool `coder` is full"));
        assert!(render_list(&json!({"schedules": [over.clone()]})).ends_with("nightly: pool `coder` is full"));
        assert_eq!(next(&over), "over");
        over["enabled"] = json!(false);
        assert_eq!(next(&over), "paused");
        assert_eq!(render_list(&json!({"schedules": []})), "no schedules");
    }

    #[test]
    fn flags_become_the_definition() {
        let line = [
            "forerunner",
            "schedule",
            "create",
            "nightly",
            "--pool",
            "coder",
            "--cron",
            "30 2 * * *",
            "--time-zone",
            "Europe/Berlin",
            "--input",
            "1e400",
            "--label",
            "team=docs",
            "--overlap",
            "cancel-running",
            "--catch-up",
            "all",
            "--jitter",
            "30s",
        ];
        let Command::Schedule(ScheduleCommand::Create(args)) = Cli::try_parse_from(line).expect("valid").command else {
            panic!("not a schedule");
        };
        assert_eq!(
            serde_json::to_string(&args.fields.body().expect("valid")).expect("JSON"),
            r#"{"catch_up":"all","cron":"30 2 * * *","input":1e400,"jitter":"30s","labels":{"team":"docs"},"overlap":"cancel_running","pool":"coder","time_zone":"Europe/Berlin"}"#
        );
        assert!(Cli::try_parse_from(["forerunner", "schedule", "create"]).is_err());
        assert!(Cli::try_parse_from(["forerunner", "schedule", "create", "--file", "x", "--cron", "@daily"]).is_err());
    }

    #[test]
    fn a_listing_is_read_back_as_definitions() {
        let listing = json!({"schedules": [nightly()]}).to_string();
        for text in [listing, nightly().to_string(), format!("{}\n{}", nightly(), nightly())] {
            let found = definitions(&text).expect("schedules");
            assert_eq!(found[0]["name"].get(), "\"nightly\"");
        }
        assert!(definitions("[1]").unwrap_err().to_string().contains("as a JSON object on a line"));
    }
}
