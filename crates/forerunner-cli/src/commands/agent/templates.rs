//! The files of new projects. Each project in Python or TypeScript has a copy of the package, so that it runs at once and
//! offline, with the package of the program's version.

/// A list of files of one directory, as pairs of name and text.
macro_rules! files {
    ($directory:literal: $($name:literal)*) => {
        &[$(($name, include_str!(concat!($directory, $name)))),*]
    };
}

type Files = &'static [(&'static str, &'static str)];

const PYTHON: Files = files!("templates/python/": "README.md" "agent.py" "forerunner.toml");

const TYPESCRIPT: Files = files!("templates/typescript/":
    "README.md" "agent.js" "agent.ts" "forerunner.toml" "package.json" "tsconfig.json");

const RUST: Files = files!("templates/rust/": "Cargo.toml" "README.md");

const PYTHON_PACKAGE: Files = files!("../../../../forerunner-python/src/forerunner/":
    "__init__.py" "agent.py" "async_client.py" "client.py" "context.py" "dial.py" "dial_forever.py" "errors.py" "pipe.py"
    "py.typed" "question.py" "run.py" "server.py" "sse.py" "task.py" "transport.py" "views.py" "websocket.py");

const TYPESCRIPT_PACKAGE: Files = files!("../../../../forerunner-typescript/dist/":
    "agent.d.ts" "agent.js" "client.d.ts" "client.js" "context.d.ts" "context.js" "errors.d.ts" "errors.js"
    "https.d.ts" "https.js" "index.d.ts" "index.js" "question.d.ts" "question.js" "server.d.ts" "server.js" "sse.d.ts" "sse.js" "task.d.ts" "task.js" "transport.d.ts"
    "transport.js" "views.d.ts" "views.js");

/// The program of the quick start, which the tests build and run.
const RUST_PROGRAM: &str = include_str!("../../../../forerunner/examples/quickstart.rs");

/// Returns the files of a project in Python.
pub fn python() -> Vec<(String, String)> {
    with_package(PYTHON, PYTHON_PACKAGE)
}

/// Returns the files of a project in TypeScript.
pub fn typescript() -> Vec<(String, String)> {
    with_package(TYPESCRIPT, TYPESCRIPT_PACKAGE)
}

/// Returns the files of a project in Rust.
pub fn rust() -> Vec<(String, String)> {
    // Its first lines are about the place of the example in the repository.
    let program = RUST_PROGRAM.split_once("\n\n").map_or(RUST_PROGRAM, |(_, program)| program);
    let mut files = owned(RUST, "");
    files.push(("src/main.rs".to_owned(), program.to_owned()));
    files
}

fn with_package(project: Files, package: Files) -> Vec<(String, String)> {
    let mut files = owned(project, "");
    files.extend(owned(package, "forerunner/"));
    files
}

fn owned(files: Files, below: &str) -> Vec<(String, String)> {
    files.iter().map(|(name, text)| (format!("{below}{name}"), (*text).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn a_project_has_every_file_of_its_package() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (directory, package) in
            [("forerunner-python/src/forerunner", PYTHON_PACKAGE), ("forerunner-typescript/dist", TYPESCRIPT_PACKAGE)]
        {
            let entries = fs::read_dir(crates.join(directory)).expect("the package is there");
            let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
            let there: BTreeSet<String> = names.filter(|name| name != "__pycache__").collect();
            let copied: BTreeSet<String> = package.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(copied, there, "{directory}");
        }
    }

    #[test]
    fn the_packages_have_the_version_of_the_workspace() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let version = env!("CARGO_PKG_VERSION");
        for (file, line) in [
            ("forerunner-python/pyproject.toml", format!("version = \"{version}\"")),
            ("forerunner-python/src/forerunner/__init__.py", format!("__version__ = \"{version}\"")),
            ("forerunner-typescript/package.json", format!("\"version\": \"{version}\",")),
        ] {
            let text = fs::read_to_string(crates.join(file)).expect("the package is there");
            assert!(text.lines().any(|found| found.trim() == line), "{file} lacks {line}");
        }
    }
}
