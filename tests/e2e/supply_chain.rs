//! Dependencies follow `deny.toml`: the part of `cargo deny check` that needs no network, for everybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use spdx::{Expression, ParseMode};

/// The source of crates: their content cannot change, and Cargo.lock has a checksum of each.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The parts of `deny.toml` that are checked here.
#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

/// A version of a crate that may coexist with another: `name@version`.
#[derive(Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    spec: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
    allow_registry: Vec<String>,
}

/// The output of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rules() -> Rules {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("the rules can be read");
    toml::from_str(&text).expect("the rules have the form that cargo-deny reads")
}

fn metadata(rules: &Rules) -> Metadata {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["metadata", "--locked", "--offline", "--all-features", "--format-version", "1"]);
    cargo.args(rules.graph.targets.iter().flat_map(|target| ["--filter-platform", target]));
    let output = cargo.output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo tells of its packages as it always did")
}

impl Metadata {
    /// The packages of a release build, without those that only tests need.
    fn released(&self) -> BTreeSet<&str> {
        let nodes: BTreeMap<&str, &Node> = self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = self.workspace_members.iter().map(String::as_str).collect();
        while let Some(id) = next.pop() {
            if seen.insert(id) {
                let is_built = |one: &&Dependency| one.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"));
                next.extend(nodes[id].deps.iter().filter(is_built).map(|one| one.pkg.as_str()));
            }
        }
        seen
    }

    fn foreign(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| !self.workspace_members.contains(&package.id))
    }
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed_and_every_allowed_one_is_needed() {
    let rules = rules();
    let metadata = metadata(&rules);
    let mut needed = BTreeSet::new();
    for package in &metadata.packages {
        let text = package.license.as_deref().unwrap_or_else(|| panic!("{} names no licence", package.name));
        let licence = Expression::parse_mode(text, ParseMode::LAX);
        let licence = licence.unwrap_or_else(|error| panic!("{}: `{text}`: {error}", package.name));
        let allowed = licence.evaluate(|wanted| {
            let name = wanted.to_string();
            let is_allowed = rules.licenses.allow.contains(&name);
            needed.extend(is_allowed.then_some(name));
            is_allowed
        });
        assert!(allowed, "{} {}: `{text}` is not allowed by deny.toml", package.name, package.version);
    }
    assert_eq!(needed, rules.licenses.allow, "deny.toml allows what no crate needs");
}

#[test]
fn dependencies_come_from_the_registry_alone() {
    let rules = rules();
    assert_eq!([&rules.sources.unknown_registry, &rules.sources.unknown_git], ["deny", "deny"]);
    assert_eq!(rules.sources.allow_registry, [REGISTRY.trim_start_matches("registry+")]);
    for package in metadata(&rules).foreign() {
        assert_eq!(package.source.as_deref(), Some(REGISTRY), "{} {}", package.name, package.version);
    }
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("the lock file can be read");
    assert_eq!(lock.matches("\nsource = ").count(), lock.matches("\nchecksum = ").count(), "each has a checksum");
}

#[test]
fn a_crate_that_is_there_twice_is_named_with_a_reason() {
    let rules = rules();
    let metadata = metadata(&rules);
    let released = metadata.released();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in metadata.packages.iter().filter(|package| released.contains(package.id.as_str())) {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    let mut unused: BTreeSet<&str> = rules.bans.skip.iter().map(|skip| skip.spec.as_str()).collect();
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let skips = rules.bans.skip.iter().filter(|skip| versions.iter().any(|one| matches(&skip.spec, name, one)));
        let skips: Vec<&str> = skips.map(|skip| skip.spec.as_str()).collect();
        assert_eq!(
            skips.len(),
            versions.len() - 1,
            "{name} is there as {versions:?}: all but one belong into deny.toml"
        );
        unused.retain(|spec| !skips.contains(spec));
    }
    assert!(unused.is_empty(), "no longer there twice: {unused:?}");
}

/// Returns whether `name@0.2` is of `name` and `0.2.12`.
fn matches(spec: &str, name: &str, version: &str) -> bool {
    let Some((skipped, wanted)) = spec.split_once('@') else { return spec == name };
    skipped == name && version.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
