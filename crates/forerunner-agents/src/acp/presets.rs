//! What is known of common agents. Found with the versions that `docs/acp.md` lists.

/// How an agent is started, and in what it differs from others.
#[derive(Debug)]
pub struct Preset {
    /// The name, as in the setting `agent`.
    pub name: &'static str,
    /// The command. The operator installs the program.
    pub argv: &'static [&'static str],
    /// Variables that stop updates, telemetry and browsers.
    pub env: &'static [(&'static str, &'static str)],
    /// Where the files of a session are, below HOME.
    pub session_files: &'static [&'static str],
    /// Texts with which a message of the adapter begins, in front of or behind an answer.
    pub notices: &'static [&'static str],
    /// Whether each session is a process of its own, so that a ready session is worth more than a ready process.
    pub starts_process_per_session: bool,
    /// Whether `refusal` may mean that the model did not answer.
    pub retries_refusals: bool,
    /// Whether the agent has no tools unless the client offers files.
    pub needs_files: bool,
}

const PLAIN: Preset = Preset {
    name: "",
    argv: &[],
    env: &[],
    session_files: &[],
    notices: &[],
    starts_process_per_session: false,
    retries_refusals: false,
    needs_files: false,
};

/// All presets.
pub static PRESETS: &[Preset] = &[
    Preset {
        name: "opencode",
        argv: &["opencode", "acp"],
        env: &[
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
        ],
        ..PLAIN
    },
    Preset {
        name: "codex",
        argv: &["codex-acp"],
        env: &[("NO_BROWSER", "1")],
        session_files: &[".codex/sessions/*/*/*/rollout-*{session}.jsonl"],
        notices: &["Warning: Model metadata"],
        ..PLAIN
    },
    Preset {
        name: "claude",
        argv: &["claude-agent-acp"],
        env: &[
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("DISABLE_TELEMETRY", "1"),
            ("NO_BROWSER", "1"),
        ],
        session_files: &[".claude/projects/*/{session}.jsonl"],
        notices: &["**Warning:**"],
        starts_process_per_session: true,
        ..PLAIN
    },
    // Its sessions are not found again after `session/load`, so its files do not travel.
    Preset { name: "gemini", argv: &["gemini", "--acp", "--skip-trust"], ..PLAIN },
    Preset {
        name: "qwen",
        argv: &["qwen", "--acp"],
        session_files: &[".qwen/projects/*/chats/{session}.jsonl"],
        ..PLAIN
    },
    Preset {
        name: "vibe",
        argv: &["vibe-acp"],
        session_files: &[".vibe/logs/session/session_*{session:8}*/*"],
        ..PLAIN
    },
    // `session/load` succeeds in another process, and the conversation is forgotten, so its files do not travel.
    Preset {
        name: "pi",
        argv: &["pi-acp"],
        env: &[("PI_OFFLINE", "1"), ("PI_SKIP_VERSION_CHECK", "1")],
        starts_process_per_session: true,
        ..PLAIN
    },
    Preset { name: "fast-agent", argv: &["fast-agent", "acp"], retries_refusals: true, needs_files: true, ..PLAIN },
];

impl Preset {
    /// Returns the preset of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Returns all names, for messages.
    pub fn names() -> String {
        PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_has_a_name_of_its_own_and_a_command() {
        let names: std::collections::BTreeSet<_> = PRESETS.iter().map(|preset| preset.name).collect();
        assert_eq!(names.len(), PRESETS.len());
        assert!(PRESETS.iter().all(|preset| !preset.argv.is_empty()));
        let is_relative = |path: &&str| !path.starts_with('/') && !path.contains("..");
        assert!(PRESETS.iter().flat_map(|preset| preset.session_files).all(is_relative));
    }
}
