//! Pools as the configuration file has them.

use std::path::Path;

use crate::{Effects, Marker, binary};

/// A pool to serve: its name, the program of its agents, and settings.
#[derive(Debug, Clone)]
pub struct Pool {
    name: String,
    argv: Vec<String>,
    settings: Vec<String>,
}

impl Pool {
    /// A pool whose agents run the given program.
    pub fn of(name: &str, argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { name: name.to_owned(), argv: argv.into_iter().map(Into::into).collect(), settings: Vec::new() }
    }

    /// A pool of the program's own agents, which start at once and work for `service_s` of their input.
    pub fn builtin(name: &str) -> Self {
        let program = binary().to_str().expect("a build directory is text");
        Self::of(name, [program, "agent", "--cold-start", "0s", "--service", "0s"])
    }

    /// A pool of agents that write down each run before they answer; see [`Effects`].
    pub fn writing(name: &str, effects: &Effects) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/effect_agent.py");
        let effects = effects.path().display().to_string();
        // Isolated and without site packages: it starts in half the time.
        Self::of(name, ["python3", "-I", "-S", script.to_str().expect("a source directory is text"), &effects])
    }

    /// A pool of agents that run their input as Python, and answer with the value of `out`.
    pub fn python(name: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/python_agent.py");
        Self::of(name, ["python3", "-I", "-S", script.to_str().expect("a source directory is text")])
    }

    /// A pool of the agents from the manual.
    pub fn echo(name: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/echo_agent.py");
        Self::of(name, ["python3", script.to_str().expect("a source directory is text")])
    }

    /// Adds arguments to those of the agents' program.
    #[must_use]
    pub fn arguments(mut self, more: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.argv.extend(more.into_iter().map(Into::into));
        self
    }

    /// Adds a setting, as a line of TOML below `[pools.NAME]`.
    #[must_use]
    pub fn set(mut self, line: &str) -> Self {
        self.settings.push(line.to_owned());
        self
    }

    /// As many agents as this, always.
    #[must_use]
    pub fn fixed(self, agents: u32) -> Self {
        self.set(&format!("min = {agents}\nmax = {agents}\npolicy = \"fixed:{agents}\""))
    }

    /// Writes the pool as a table of TOML.
    pub(crate) fn render(&self, marker: &Marker) -> String {
        let argv: Vec<String> = self.argv.iter().map(|argument| format!("{argument:?}")).collect();
        format!(
            "[pools.{}]\n{}\nagent.kind = \"process\"\nagent.argv = [{}]\nagent.env = {{ {} = {:?} }}\n",
            self.name,
            self.settings.join("\n"),
            argv.join(", "),
            Marker::VARIABLE,
            marker.value(),
        )
    }
}
