//! The direction of dependencies: what each crate may use, compared with cargo's answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Crates that only decide: no actors, no runtime, no clock.
const PURE: [&str; 4] = ["forerunner-core", "forerunner-forecast", "forerunner-context", "forerunner-sim"];

/// Crates that depend on actors, a runtime or a web server.
const IMPURE: [&str; 6] = ["actix", "actix-rt", "actix-web", "actix-http", "awc", "tokio"];

/// Crates that use a store through its trait only, without a database client.
const WITHOUT_DATABASE: [&str; 5] =
    ["forerunner-store", "forerunner-runtime", "forerunner-service", "forerunner-http", "forerunner"];

/// The fronts: crates that implement a protocol. They use the service layer, and no actor.
const FRONTS: [&str; 1] = ["forerunner-http"];

/// Crates for HTTP: fronts depend on them, and agents that are behind an endpoint.
const HTTP: [&str; 4] = ["actix-http", "actix-server", "actix-web", "awc"];

/// Crates below the fronts, which speak no protocol.
const WITHOUT_HTTP: [&str; 2] = ["forerunner-runtime", "forerunner-service"];

/// Which crates of ours each crate may depend on. An arrow that is missing here is forbidden.
const ARROWS: [(&str, &[&str]); 17] = [
    ("forerunner-core", &[]),
    ("forerunner-forecast", &["forerunner-core"]),
    ("forerunner-context", &["forerunner-core"]),
    ("forerunner-store", &["forerunner-core", "forerunner-context"]),
    ("forerunner-postgres", &["forerunner-core", "forerunner-store"]),
    ("forerunner-sim", &["forerunner-core", "forerunner-forecast"]),
    ("forerunner-console", &[]),
    (
        "forerunner-lab",
        &["forerunner-console", "forerunner-context", "forerunner-core", "forerunner-forecast", "forerunner-sim"],
    ),
    ("forerunner-runtime", &["forerunner-core", "forerunner-context", "forerunner-forecast", "forerunner-store"]),
    ("forerunner-agents", &["forerunner-core", "forerunner-context", "forerunner-runtime"]),
    (
        "forerunner-service",
        &[
            "forerunner-core",
            "forerunner-forecast",
            "forerunner-lab",
            "forerunner-runtime",
            "forerunner-sim",
            "forerunner-store",
        ],
    ),
    ("forerunner-http", &["forerunner-core", "forerunner-service"]),
    ("forerunner-remote", &["forerunner-agents", "forerunner-http", "forerunner-service"]),
    (
        "forerunner",
        &[
            "forerunner-core",
            "forerunner-context",
            "forerunner-forecast",
            "forerunner-store",
            "forerunner-sim",
            "forerunner-runtime",
            "forerunner-agents",
            "forerunner-service",
            "forerunner-http",
        ],
    ),
    (
        "forerunner-bench",
        &["forerunner", "forerunner-core", "forerunner-http", "forerunner-postgres", "forerunner-store"],
    ),
    (
        "forerunner-cli",
        &[
            "forerunner",
            "forerunner-agents",
            "forerunner-bench",
            "forerunner-console",
            "forerunner-context",
            "forerunner-core",
            "forerunner-forecast",
            "forerunner-http",
            "forerunner-lab",
            "forerunner-postgres",
            "forerunner-remote",
            "forerunner-runtime",
            "forerunner-service",
            "forerunner-store",
        ],
    ),
    ("forerunner-e2e", &[]),
];

/// Names that pure code must not use, since time is an argument.
const CLOCKS: [&str; 4] = ["SystemTime", "Instant::now", "thread::sleep", "Timestamp::now()"];

/// Who depends on whom: normal dependencies only, by name.
#[derive(Debug, Default, Clone)]
struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    /// Reads the graph that `cargo metadata` resolves, all features of our crates included.
    fn resolve() -> Self {
        let metadata = metadata();
        let name = |id: &Value| -> String {
            let package = list(&metadata["packages"]).iter().find(|package| package["id"] == *id);
            text(&package.expect("a resolved package is listed")["name"])
        };
        let names: BTreeMap<String, String> =
            list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), name(&package["id"]))).collect();
        let is_normal = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let mut graph = Self::default();
        for node in list(&metadata["resolve"]["nodes"]) {
            let uses = graph.0.entry(names[&text(&node["id"])].clone()).or_default();
            uses.extend(list(&node["deps"]).iter().filter(is_normal).map(|dep| names[&text(&dep["pkg"])].clone()));
        }
        graph
    }

    fn direct(&self, name: &str) -> &BTreeSet<String> {
        self.0.get(name).unwrap_or_else(|| panic!("there is no crate {name}"))
    }

    /// Everything below a crate, however far down.
    fn below(&self, name: &str) -> BTreeSet<String> {
        let (mut found, mut open) = (BTreeSet::new(), vec![name.to_owned()]);
        while let Some(next) = open.pop() {
            let uses = self.0.get(&next).into_iter().flatten();
            open.extend(uses.filter(|used| found.insert((*used).clone())).cloned());
        }
        found
    }

    /// Returns the violations; empty if there are none.
    fn faults(&self) -> Vec<String> {
        let impure = PURE.iter().flat_map(|name| {
            let below = self.below(name);
            IMPURE.iter().filter(move |bad| below.contains(**bad)).map(move |bad| format!("{name} reaches {bad}"))
        });
        let clients = WITHOUT_DATABASE.iter().filter(|name| self.below(name).contains("tokio-postgres"));
        let clients = clients.map(|name| format!("{name} reaches tokio-postgres"));
        let upward = ARROWS.iter().flat_map(|(name, allowed)| {
            let ours = self.direct(name).iter().filter(|used| used.starts_with("forerunner"));
            ours.filter(|used| !allowed.contains(&used.as_str())).map(move |used| format!("{name} depends on {used}"))
        });
        let unknown = self.0.keys().filter(|name| name.starts_with("forerunner"));
        let unknown = unknown.filter(|name| ARROWS.iter().all(|(known, _)| known != name));
        let unknown = unknown.map(|name| format!("{name} has no place in the map"));
        let of_actors = FRONTS.iter().flat_map(|name| {
            let direct = self.direct(name);
            let actors = ["actix", "forerunner-runtime", "forerunner-store"].into_iter();
            let known = actors.filter(|used| direct.contains(*used));
            known.map(move |used| format!("{name} depends on {used}: a front knows the service layer and no actor"))
        });
        let protocols = WITHOUT_HTTP.iter().flat_map(|name| {
            let below = self.below(name);
            HTTP.iter().filter(move |bad| below.contains(**bad)).map(move |bad| format!("{name} reaches {bad}"))
        });
        impure.chain(clients).chain(upward).chain(unknown).chain(of_actors).chain(protocols).collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace").to_path_buf()
}

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let told = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--all-features", "--locked", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .current_dir(root())
        .output()
        .expect("cargo can be run");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).expect("cargo writes JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// The lines of a source that speak of clocks, apart from comments and from tests at its end.
fn clocks(source: &str) -> Vec<&str> {
    let code = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.filter(|line| CLOCKS.iter().any(|clock| line.contains(clock))).collect()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a crate has sources");
    let paths = entries.map(|entry| entry.expect("a directory can be listed").path());
    let sources = paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    sources.filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

#[test]
fn all_arrows_point_down_and_pure_crates_reach_no_runtime() {
    assert_eq!(Graph::resolve().faults(), Vec::<String>::new());
}

#[test]
fn pure_crates_never_look_at_a_clock() {
    for name in PURE {
        for path in sources(&root().join("crates").join(name).join("src")) {
            let source = fs::read_to_string(&path).expect("a source is text");
            assert_eq!(clocks(&source), Vec::<&str>::new(), "{}", path.display());
        }
    }
}

#[test]
fn agents_use_nothing_of_the_runtime_but_the_interface_of_a_driver() {
    for path in sources(&root().join("crates/forerunner-agents/src")) {
        let source = fs::read_to_string(&path).expect("a source is text");
        let uses = source.split("forerunner_runtime::").skip(1).filter(|rest| !rest.starts_with("agent"));
        assert_eq!(uses.count(), 0, "{}", path.display());
    }
}

#[test]
fn a_forbidden_arrow_would_be_noticed() {
    let mut sound = Graph::default();
    for (name, allowed) in ARROWS {
        sound.0.insert(name.to_owned(), allowed.iter().map(|used| (*used).to_owned()).collect());
    }
    assert_eq!(sound.faults(), Vec::<String>::new());
    let with = |name: &str, used: &str| {
        let mut graph = sound.clone();
        graph.0.entry(name.to_owned()).or_default().insert(used.to_owned());
        graph
    };
    let upward = with("forerunner-core", "forerunner-store").faults();
    assert_eq!(upward, ["forerunner-core depends on forerunner-store"]);
    assert_eq!(with("forerunner-sim", "forerunner-runtime").faults(), ["forerunner-sim depends on forerunner-runtime"]);
    assert_eq!(with("forerunner-http", "actix").faults().len(), 1);
    // It is no arrow of the map either.
    assert_eq!(with("forerunner-http", "forerunner-runtime").faults().len(), 2);
    assert_eq!(with("forerunner-service", "actix-web").faults(), ["forerunner-service reaches actix-web"]);
    assert_eq!(with("forerunner-runtime", "awc").faults().len(), WITHOUT_HTTP.len(), "the service layer stands above");
    assert_eq!(with("forerunner-new", "serde").faults(), ["forerunner-new has no place in the map"]);
    assert_eq!(with("forerunner-store", "tokio-postgres").faults().len(), WITHOUT_DATABASE.len());
    let mut hidden = with("forerunner-context", "innocent");
    hidden.0.insert("innocent".to_owned(), ["tokio".to_owned()].into());
    assert_eq!(hidden.faults(), ["forerunner-context reaches tokio"]);
}

#[test]
fn a_look_at_a_clock_would_be_noticed() {
    assert_eq!(clocks("fn f() {\n    let now = std::time::Instant::now();\n}\n").len(), 1);
    assert_eq!(clocks("use std::time::SystemTime;\n").len(), 1);
    assert_eq!(
        clocks("// Instant::now is for others\n#[cfg(test)]\nmod tests { fn f() { Instant::now() } }\n").len(),
        0
    );
}
