//! Refuses names that were replaced: `docs/concepts.md` has the words in use.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Identifiers, metrics and settings that are no longer in use. `CHANGELOG.md` has the replacements of the public ones.
const RETIRED: &[&str] = &[
    // Metrics and their labels.
    "forerunner_tasks_refused_total",
    "forerunner_contexts_held",
    "forerunner_contexts_held_bytes",
    "forerunner_placements_held_total",
    "forerunner_placement_held_seconds",
    "forerunner_context_warm_total",
    "forerunner_context_rebases_total",
    "forerunner_context_rebased_bytes_total",
    "forerunner_decision_seconds",
    "forerunner_node_leads",
    "forerunner_lead_changes_total",
    // Members, reasons and settings.
    "held_s",
    "stake_s",
    "least_stake",
    "least_worth",
    "hold_s",
    "contexts_held",
    // The interface of a driver.
    "OwnMemory",
    "OwnContext",
    "Rein",
    "StopWhy",
    // Placement, pool and queue.
    "HeldContext",
    "AgentMemory",
    "Warmth",
    "StopRule",
    "stake_bytes",
    "let_one_go",
    "looks_ahead",
    "held_back",
    // The forecast.
    "Outlook",
    "Standing",
    "complaint",
    "Told",
    "wary",
    // The runtime.
    "Gathered",
    "Outlet",
    "QueueWays",
    "SaidBox",
    "Voice",
    "Happened",
    "WatchBoard",
    "Tend",
    "Tended",
    "TurnTaken",
    "ContextBook",
    "Prefetches",
    "HandedOver",
    "PolicyMaker",
    "keep_house",
    "OnItsWay",
    "UnderWay",
    "BeatNow",
    "TakeSample",
    "LookForWork",
    "PoolAlone",
    "QueueAlone",
    "ForecastAlone",
    "Neighbour",
    // The runtime, second pass.
    "KeptPlacement",
    "HangDeaf",
    "LookedAt",
    "told_of_contexts",
    "tell_facts",
    "tell_crash_cost",
    "give_back",
    "hand_held",
    "look_at_depth",
    "plan_ahead",
    "held_ms",
    "finish_as",
    "forget_gone",
    "Unheld",
    "keep_said",
    "send_said",
    "live_through",
    "Looker",
    "take_place",
    "gathered_by",
    "acquit",
    "LeastWorth",
    // Contexts and the terminal.
    "should_rebase",
    "rebase_cost_ratio",
    // The store.
    "Beaten",
    "Mismatch",
    "PieceKind",
    "Hints",
    "Upkeep",
    "Retired",
    "put_note",
    "redrive",
    "keeps_events",
    "forget_events",
    "is_hearing",
    "Janitor",
    "Floors",
    "Astray",
    "patiently",
    "Deed",
    "HeldVersion",
    "KeyHolder",
    "said_seq",
    "Rescuing",
    "Redriven",
    "redriven_deadline",
    "log_redrive",
    "TOLD_BELOW",
    "told_by",
    "FIRST_LOOK",
    // Forecast, simulator, laboratory, service, HTTP and command line, second pass.
    "Pace",
    "Rhythm",
    "Tally",
    "Scene",
    "Pupil",
    "Stoppable",
    "OfState",
    "OfPath",
    "OfBatch",
    "OfAnyPool",
    "ReadingBody",
    "LongNames",
    "Gated",
    "OverHttp",
    "NoLabel",
    "OfLine",
    "WhichArgs",
    "ManyArgs",
    "OnePool",
    "OneTask",
    "OneSchedule",
    "TooFew",
    "fields_of",
    "may_look",
    "held_at",
    "held_micros",
    "held_tasks",
    "give_back_if_idle",
    "keeps_timeline",
    "keep_metrics",
];

/// Files that may name them: what was before, what others call it, and this list.
const EXCEPTIONS: [&str; 5] =
    ["CHANGELOG.md", "docs/adr/0025", "docs/concepts.md", "tests/e2e/retired_words.rs", "/migrations/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace").to_path_buf()
}

/// Where a text uses a retired name, as `LINE: NAME`.
fn uses(text: &str) -> Vec<String> {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let lines = text.lines().enumerate();
    lines
        .flat_map(|(number, line)| {
            let names = line.split(move |character| !is_name(character));
            names.filter(|name| RETIRED.contains(name)).map(move |name| format!("{}: {name}", number + 1))
        })
        .collect()
}

#[test]
fn no_file_uses_a_retired_name() {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git is installed");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).expect("names are UTF-8");
    let files: Vec<&str> = listed.split_terminator('\0').collect();
    assert!(files.len() > 500, "the list of files is not that of the repository: {}", files.len());
    let found: Vec<String> = files
        .into_iter()
        .filter(|file| !EXCEPTIONS.iter().any(|exception| file.contains(exception)))
        .filter_map(|file| Some((file, std::fs::read_to_string(root().join(file)).ok()?)))
        .flat_map(|(file, text)| uses(&text).into_iter().map(move |found| format!("{file}:{found}")))
        .collect();
    assert!(found.is_empty(), "retired names; see docs/concepts.md for the words in use:\n{}", found.join("\n"));
}

#[test]
fn a_retired_name_is_found_where_it_stands_alone() {
    assert_eq!(uses("let x = 1;\nstruct Beaten;"), ["2: Beaten"]);
    assert!(uses("unbeaten, BeatenPath, redrives").is_empty());
}
