//! Coding agents as their makers ship them, with a configuration for the model of `coding-agents/model.py`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::Site;

/// A coding agent that is installed.
#[derive(Debug)]
pub struct CodingAgent {
    preset: &'static str,
    /// Where its program and its interpreter are.
    path: String,
    /// Arguments that the command of the preset lacks.
    argv: Vec<&'static str>,
    /// The mode in which it asks a person.
    mode: Option<&'static str>,
}

/// Where `coding-agents/install.sh` installs.
pub fn coding_agents() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "../target".into(), PathBuf::from);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("coding-agents")
}

impl CodingAgent {
    /// Returns the agent of a preset if it is installed.
    pub fn installed(preset: &'static str) -> Option<Self> {
        let (directories, program): (&[&str], &str) = match preset {
            "opencode" => (&["npm/node_modules/opencode-linux-x64/bin"], "opencode"),
            "codex" => (&["npm/node_modules/.bin"], "codex-acp"),
            "claude" => (&["more/node_modules/.bin", "more/node"], "claude-agent-acp"),
            "gemini" => (&["more/node_modules/.bin", "more/node"], "gemini"),
            "qwen" => (&["more/node_modules/.bin", "more/node"], "qwen"),
            "pi" => (&["more/node_modules/.bin", "more/node"], "pi-acp"),
            "vibe" => (&["vibe/bin"], "vibe-acp"),
            "fast-agent" => (&["fast-agent/bin"], "fast-agent"),
            _ => return None,
        };
        let root = coding_agents().canonicalize().ok()?;
        let is_there = root.join(directories[0]).join(program).exists();
        let own = directories.iter().map(|directory| root.join(directory).display().to_string());
        let path = own.chain(std::env::var("PATH")).collect::<Vec<_>>().join(":");
        let (argv, mode) = match preset {
            "codex" => (vec![], Some("read-only")),
            "claude" | "gemini" | "qwen" => (vec![], Some("default")),
            "fast-agent" => (vec!["fast-agent", "acp", "--model", "generic.mock-model"], None),
            _ => (vec![], None),
        };
        is_there.then_some(Self { preset, path, argv, mode })
    }

    /// Returns its name.
    pub const fn preset(&self) -> &'static str {
        self.preset
    }

    /// Writes its configuration for the model at `model`, and returns the table of a pool's `agent`, with these lines.
    ///
    /// # Panics
    /// If the configuration cannot be written.
    pub fn table(&self, site: &Site, model: &str, lines: &str) -> String {
        let home = site.path("home");
        fs::create_dir_all(&home).expect("a fresh directory can be written to");
        for (path, text) in self.files(model) {
            let path = home.join(path);
            fs::create_dir_all(path.parent().expect("a file has a directory")).expect("it can be made");
            fs::write(path, text).expect("it can be written");
        }
        let argv = if self.argv.is_empty() { String::new() } else { format!("argv = {:?}\n", self.argv) };
        let mode = self.mode.map_or_else(String::new, |mode| format!("mode = {mode:?}\n"));
        let mut env: BTreeMap<&str, String> = self.variables(model);
        env.insert("PATH", self.path.clone());
        let env: Vec<String> = env.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
        format!(
            "kind = \"acp\"\nagent = {:?}\nhome = {home:?}\nworkspace = {:?}\n{argv}{mode}{lines}\n[env]\n{}\n",
            self.preset,
            site.path("work"),
            env.join("\n"),
        )
    }

    fn variables(&self, model: &str) -> BTreeMap<&'static str, String> {
        let api = format!("{model}/v1");
        let variables: Vec<(&str, &str)> = match self.preset {
            "codex" => vec![("MODEL_PROVIDER", "mock")],
            "claude" => vec![
                ("ANTHROPIC_BASE_URL", model),
                ("ANTHROPIC_API_KEY", "placeholder"),
                ("ANTHROPIC_MODEL", "mock-model"),
                ("IS_SANDBOX", "1"),
            ],
            "gemini" => vec![
                ("GOOGLE_GEMINI_BASE_URL", model),
                ("GEMINI_API_KEY", "placeholder"),
                ("GEMINI_MODEL", "gemini-2.5-pro"),
            ],
            "qwen" => {
                vec![("OPENAI_BASE_URL", &api), ("OPENAI_API_KEY", "placeholder"), ("OPENAI_MODEL", "mock-model")]
            }
            "vibe" => vec![("MOCK_KEY", "placeholder")],
            "fast-agent" => vec![("GENERIC_BASE_URL", &api), ("GENERIC_API_KEY", "placeholder")],
            _ => vec![],
        };
        variables.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
    }

    /// The files of its HOME.
    fn files(&self, model: &str) -> Vec<(&'static str, String)> {
        let quiet = |auth: &str| {
            json!({
                "security": {"auth": {"selectedType": auth}},
                "general": {"disableAutoUpdate": true},
                "privacy": {"usageStatisticsEnabled": false},
                "telemetry": {"enabled": false},
            })
        };
        let json = |path: &'static str, value: Value| (path, value.to_string());
        match self.preset {
            "opencode" => vec![json(".config/opencode/opencode.json", opencode(model))],
            "codex" => vec![(".codex/config.toml", codex(model))],
            "gemini" => vec![json(".gemini/settings.json", quiet("gemini-api-key"))],
            "qwen" => vec![json(".qwen/settings.json", quiet("openai"))],
            "vibe" => vec![(".vibe/config.toml", vibe(model))],
            "pi" => vec![json(".pi/agent/models.json", pi(model)), json(".pi/agent/settings.json", pi_settings())],
            _ => vec![],
        }
    }
}

fn opencode(model: &str) -> Value {
    json!({
        "autoupdate": false,
        "share": "disabled",
        "model": "mock/mock-model",
        "small_model": "mock/mock-model",
        "provider": {"mock": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": format!("{model}/v1"), "apiKey": "none"},
            "models": {"mock-model": {"tool_call": true, "limit": {"context": 128_000, "output": 8_000}}},
        }},
        "permission": {"bash": "ask", "edit": "ask", "webfetch": "deny"},
    })
}

fn codex(model: &str) -> String {
    format!(
        "model = \"mock-model\"\nmodel_provider = \"mock\"\napproval_policy = \"on-request\"\n\
         sandbox_mode = \"workspace-write\"\ncheck_for_update_on_startup = false\n[model_providers.mock]\n\
         name = \"mock\"\nbase_url = \"{model}/v1\"\nwire_api = \"responses\"\nrequires_openai_auth = false\n\
         [analytics]\nenabled = false\n"
    )
}

fn vibe(model: &str) -> String {
    format!(
        "active_model = \"mock\"\nenable_update_checks = false\nenable_telemetry = false\n[[providers]]\n\
         name = \"mock\"\napi_base = \"{model}/v1\"\napi_key_env_var = \"MOCK_KEY\"\napi_style = \"openai\"\n\
         backend = \"generic\"\n[[models]]\nname = \"mock-model\"\nprovider = \"mock\"\nalias = \"mock\"\n"
    )
}

fn pi(model: &str) -> Value {
    let known = json!({
        "id": "mock-model", "name": "Mock", "reasoning": false, "input": ["text"], "contextWindow": 128_000,
        "maxTokens": 4_096, "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
    });
    let api = format!("{model}/v1");
    let provider = json!({"baseUrl": api, "api": "openai-completions", "apiKey": "placeholder", "models": [known]});
    json!({"providers": {"mock": provider}})
}

fn pi_settings() -> Value {
    json!({"defaultProvider": "mock", "defaultModel": "mock-model", "quietStartup": true})
}
