//! The layers together, and the documented file.

use super::*;

pub(super) const DOCUMENTED: &str = include_str!("../../../../config/forerunner.toml");
const POOL: &str = "[pools.coder]\nagent = { kind = \"process\", argv = [\"a\"] }\n";

fn loaded(file: &str, variables: &[(&str, &str)], args: ConfigArgs) -> anyhow::Result<Loaded> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("f.toml");
    std::fs::write(&path, file).expect("a file");
    let args = ConfigArgs { config: Some(path), ..args };
    Loaded::assemble(&args, variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn fault(file: &str, variables: &[(&str, &str)]) -> String {
    let error = loaded(file, variables, ConfigArgs::default()).expect_err("not valid");
    assert_eq!(crate::exit::code(&error), 2);
    // The file is in another directory on every run.
    error.to_string().split('/').next_back().unwrap_or_default().to_owned()
}

fn origin_of(loaded: &Loaded, key: &str) -> String {
    let entries = loaded.effective().expect("serialisable");
    let entry = entries.iter().find(|entry| dotted(&entry.key) == key).expect("a key of the configuration");
    format!("{} {}", entry.value, entry.origin.to_string().split('/').next_back().unwrap_or_default())
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = format!("[http]\nlisten = \"file:1\"\n{POOL}max = 10\nmin = 3\n");
    let variables = [("FORERUNNER__HTTP__LISTEN", "env:1"), ("FORERUNNER__POOLS__CODER__MAX", "20")];
    let args = ConfigArgs { listen: Some("flag:1".into()), ..ConfigArgs::default() };
    let loaded = loaded(&file, &variables, args).expect("valid");
    assert_eq!(origin_of(&loaded, "http.listen"), "\"flag:1\" flag:--listen");
    assert_eq!(origin_of(&loaded, "pools.coder.max"), "20 env:FORERUNNER__POOLS__CODER__MAX");
    assert_eq!(origin_of(&loaded, "pools.coder.min"), "3 f.toml:6");
    assert_eq!(origin_of(&loaded, "pools.coder.on_time.share"), "0.99 default");
    assert_eq!(origin_of(&loaded, "store.url"), "\"sqlite:forerunner.db\" default");
}

#[test]
fn a_policy_by_its_bare_name_replaces_one_given_as_a_table() {
    let file = format!("{POOL}policy = {{ kind = \"predictive\", window_s = 600 }}\n");
    let loaded =
        loaded(&file, &[("FORERUNNER__POOLS__CODER__POLICY", "fixed:4")], ConfigArgs::default()).expect("valid");
    assert_eq!(origin_of(&loaded, "pools.coder.policy.size"), "4 env:FORERUNNER__POOLS__CODER__POLICY");
}

#[test]
fn faults_name_their_place_the_key_and_what_would_do() {
    let pool = |line: &str| format!("{POOL}{line}\n");
    let faults = [
        fault("[http]\nlisten_on = \"x\"\n", &[]),
        fault(&pool("maxx = 3"), &[]),
        fault(&pool("max = \"many\""), &[]),
        fault(&pool("min = 20"), &[]),
        fault(&pool("tick = \"5\""), &[]),
        fault(&pool("policy = \"clairvoyant\""), &[]),
        fault(&pool("policy = \"fixed:99\""), &[]),
        fault(&pool("policy = { kind = \"predictive\", colour = 3 }"), &[]),
        fault("[pools.coder]\nmax = 3\n", &[]),
        fault("[pools.coder]\nagent = { kind = \"robot\" }\n", &[]),
        fault("[pools.coder]\nagent.argv = [\"a\"]\nagent.kind = \"docker\"\n", &[]),
        fault(POOL, &[("FORERUNNER__POOLS__CODER__AGENT__KIND", "docker")]),
        fault("[pools.coder]\nagent = { kind = \"simulated\", argv = [\"a\"] }\n", &[]),
        fault("[pools.Coder]\nagent = { kind = \"simulated\" }\n", &[]),
        fault("[http]\nworkers = 0\n", &[]),
        fault(POOL, &[("FORERUNNER__POOLS__CODER__MAXIMUM", "3")]),
    ];
    // The existing kinds of agents and policies follow: a new one changes nothing here.
    let without_lists = |fault: &String| match (fault.split_once(", expected"), fault.split_once("; known are")) {
        (Some((before, kinds)), _) if kinds.contains("`process`") => format!("{before}, expected …"),
        (_, Some((before, _))) => format!("{before}; known are …"),
        _ => fault.clone(),
    };
    insta::assert_snapshot!(faults.iter().map(without_lists).collect::<Vec<_>>().join("\n"), @r#"
    f.toml:2: `http.listen_on`: there is no key `listen_on`; did you mean `listen`?
    f.toml:3: `pools.coder.maxx`: there is no key `maxx`; did you mean `max`?
    f.toml:3: `pools.coder.max`: invalid type: string "many", expected u32
    f.toml:3: `pools.coder.min`: 20 is not valid; use at most max = 16
    f.toml:3: `pools.coder.tick`: `duration` = 5 is not valid; write a number and a unit, such as 250ms, 5s, 2m, 1h30m or 7d
    f.toml:3: `pools.coder.policy`: there is no policy `clairvoyant`; known are …
    f.toml:3: `pools.coder.policy`: fixed:99 is not valid; use a size from min = 1 to max = 16
    f.toml:3: `pools.coder.policy.colour`: there is no key `colour`; the keys here are kind, window_s
    f.toml:2: `pools.coder.agent`: pool `coder` has no `agent`; write agent = { kind = "process", argv = ["program", "argument"] } under [pools.coder]
    f.toml:2: `pools.coder.agent.kind`: unknown variant `robot`, expected …
    f.toml:3: `pools.coder.agent.kind`: unknown variant `docker`, expected …
    FORERUNNER__POOLS__CODER__AGENT__KIND: `pools.coder.agent.kind`: unknown variant `docker`, expected …
    f.toml:2: `pools.coder.agent.argv`: unknown field `argv`, expected one of `cold_start`, `service`, `speed`, `crash_rate`, `error_rate`, `slow_rate`, `slow_factor`, `context_growth_bytes`, `context_memory_bytes`, `restore_s_per_mb`, `outage`, `seed`
    f.toml:2: `pools.Coder`: pool name `Coder` is not valid; use 1 to 64 of a-z, 0-9, _ and -
    f.toml:2: `http.workers`: 0 is not valid; use 1 to 512
    FORERUNNER__POOLS__CODER__MAXIMUM: `pools.coder.maximum`: there is no key `maximum`; did you mean `max`?
    "#);
}

#[test]
fn the_documented_file_changes_nothing() {
    let documented = loaded(DOCUMENTED, &[], ConfigArgs::default()).expect("valid");
    assert_eq!(documented.config, Config::default());
}

#[test]
fn a_table_without_keys_is_not_overlooked() {
    assert!(fault("[pool.coder]\n", &[]).contains("did you mean `pools`?"), "{}", fault("[pool.coder]\n", &[]));
    assert!(fault("[pools.coder]\n", &[]).contains("pool `coder` has no `agent`"));
    loaded(&format!("[http]\n[log]\n{POOL}"), &[], ConfigArgs::default()).expect("sections may be empty");
    loaded("[pools.coder]\n", &[("FORERUNNER__POOLS__CODER__AGENT__KIND", "simulated")], ConfigArgs::default())
        .expect("the agent may come from elsewhere");
}

#[test]
fn addresses_and_threads_are_checked_before_anything_starts() {
    for (file, told) in [
        (
            "[store]\nurl = \"mysql://me:secret@x\"\n",
            "f.toml:2: `store.url`: mysql:… is not valid; use sqlite:PATH, memory: or the address of a PostgreSQL",
        ),
        (
            "[http]\nlisten = \"nonsense\"\n",
            "f.toml:2: `http.listen`: nonsense is not valid; use HOST:PORT, such as 127.0.0.1:7077, or unix:PATH",
        ),
        ("[node]\nthreads = 0\n", "f.toml:2: `node.threads`: 0 is not valid; use 1 to 1024"),
    ] {
        assert_eq!(fault(file, &[]), told);
    }
}

#[test]
fn what_is_logged_is_a_level_or_filters_wherever_it_is_said() {
    let level = |text: &str| format!("[log]\nlevel = \"{text}\"\n");
    for text in ["warn", "INFO", "off", "info,forerunner_runtime=debug", "forerunner_http=trace", "warn,a[span]=debug"]
    {
        loaded(&level(text), &[], ConfigArgs::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    let known = "use error, warn, info, debug, trace, off, or filters such as info,forerunner_runtime=debug";
    for (text, reason) in [
        ("warning", "`warning` is neither a level nor a filter"),
        ("info,loud", "`loud` is neither a level nor a filter"),
        ("", "it is empty"),
        ("forerunner_http=loud", "`forerunner_http=loud` is neither a level nor a filter"),
    ] {
        let told = format!("`log.level`: `{text}` is not valid; {reason}; {known}");
        assert_eq!(fault(&level(text), &[]), format!("f.toml:2: {told}"));
        assert_eq!(fault("", &[("FORERUNNER__LOG__LEVEL", text)]), format!("FORERUNNER__LOG__LEVEL: {told}"));
        let args = ConfigArgs { log_level: Some(text.to_owned()), ..ConfigArgs::default() };
        assert_eq!(loaded("", &[], args).expect_err("no level").to_string(), format!("--log-level: {told}"));
    }
}

#[test]
fn the_address_of_the_store_may_come_from_a_file_of_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let secret = directory.path().join("store-url");
    std::fs::write(&secret, "\u{feff}postgres://me:secret@db/tasks\r\n").expect("a file");
    let named = format!("[store]\nurl_file = \"{}\"\n", secret.display());
    let read = loaded(&named, &[], ConfigArgs::default()).expect("valid");
    assert_eq!(read.config.store.url, "postgres://me:secret@db/tasks");
    let both = fault(&format!("{named}url = \"memory:\"\n"), &[]);
    assert_eq!(both, "f.toml:2: `store.url_file`: `store.url` is set as well; leave one of them out");
    std::fs::write(&secret, "secret").expect("a file");
    let no_address = fault(&named, &[]);
    assert!(no_address.starts_with("`store.url`: (hidden) is not valid"), "{no_address}");
    let missing = fault("[store]\nurl_file = \"gone\"\n", &[]);
    assert!(missing.starts_with("f.toml:2: `store.url_file`: gone cannot be read: "), "{missing}");
}
