//! `forerunner agent new`: writes a small project that runs at once.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use forerunner_console::{Usage, output::Output};
use serde_json::json;

use super::templates;

/// The language of the project, and where it goes.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The language of the agent.
    #[arg(value_enum)]
    language: Language,
    /// The directory of the project; its last part names the agent and its pool.
    #[arg(default_value = "my-agent", value_name = "DIR")]
    directory: PathBuf,
    /// The crate `forerunner` in a copy of the repository, from the project's directory. For Rust.
    #[arg(long = "crate", default_value = "../forerunner/crates/forerunner", value_name = "PATH")]
    path_of_crate: String,
}

/// The languages with a package for agents.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Language {
    /// A process in Python 3.9 or later.
    Python,
    /// A process in TypeScript, for Node 20 or later.
    Typescript,
    /// A program with the pool inside.
    Rust,
}

impl Language {
    /// The files of a project: paths below its directory, and texts with `{name}` and `{crate}` to fill in.
    fn files(self) -> Vec<(String, String)> {
        match self {
            Self::Python => templates::python(),
            Self::Typescript => templates::typescript(),
            Self::Rust => templates::rust(),
        }
    }

    /// The commands that try the project.
    fn next(self, name: &str) -> Vec<String> {
        match self {
            Self::Rust => vec!["cargo run".to_owned()],
            Self::Python | Self::Typescript => {
                let submit = format!(r#"forerunner submit {name} --input '"hello"' --context first --wait"#);
                vec!["forerunner serve".to_owned(), submit]
            }
        }
    }
}

/// Writes the project.
///
/// # Errors
/// [`Usage`] if the directory has no name for a pool, or has one of the files already. Then nothing is written.
pub fn run(args: &NewArgs, out: &Output) -> anyhow::Result<()> {
    let name = name_of(&args.directory)?;
    let files = args.language.files();
    if let Some((path, _)) = files.iter().find(|(path, _)| args.directory.join(path).exists()) {
        let path = args.directory.join(path);
        return Err(Usage(format!("{} is there already; choose another directory", path.display())).into());
    }
    for (path, text) in &files {
        let text = text.replace("{name}", &name).replace("{crate}", &args.path_of_crate);
        write(&args.directory.join(path), &text)?;
    }
    let next = args.language.next(&name);
    let paths: Vec<&String> = files.iter().map(|(path, _)| path).collect();
    let answer = json!({ "name": name, "directory": args.directory, "files": paths, "next": next });
    out.show(&answer, || {
        let directory = args.directory.display();
        format!("{} files are in {directory}. Next:\n  cd {directory}\n  {}", paths.len(), next.join("\n  "))
    })
}

/// Returns the name of the agent and its pool.
fn name_of(directory: &Path) -> Result<String, Usage> {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    let is_valid = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if starts_well && name.chars().all(is_valid) && name.len() <= 64 {
        return Ok(name.to_owned());
    }
    Err(Usage(format!(
        "the directory {} has no name for a pool; use a letter, then letters, digits and `-`, all lower case: my-agent",
        directory.display()
    )))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("cannot make the directory {}", parent.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_the_directory_names_the_pool() {
        assert_eq!(name_of(Path::new("work/my-agent2")).unwrap(), "my-agent2");
        for bad in ["", "..", "/", "Upper", "2nd", "a b", "a.b", "a\"b", "ü", &"a".repeat(65)] {
            assert!(name_of(Path::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_project_has_its_name_everywhere_and_replaces_no_file() {
        let place = tempfile::tempdir().expect("a directory");
        let out = Output::new(forerunner_console::output::Format::Json);
        for language in Language::value_variants() {
            let directory = place.path().join(format!("{language:?}").to_lowercase());
            let args = NewArgs { language: *language, directory: directory.clone(), path_of_crate: "../crate".into() };
            run(&args, &out).expect("the directory is new");
            for (path, _) in language.files() {
                let text = fs::read_to_string(directory.join(&path)).expect("it was written");
                assert!(!text.contains("{name}") && !text.contains("{crate}"), "{path}");
            }
            let readme = fs::read_to_string(directory.join("README.md")).expect("a README");
            fs::write(directory.join("README.md"), "mine").expect("it can be written to");
            assert!(readme.starts_with(&format!("# {}", name_of(&directory).unwrap())));
            let error = run(&args, &out).expect_err("the files are there");
            assert!(error.to_string().ends_with("is there already; choose another directory"), "{error}");
            assert_eq!(fs::read_to_string(directory.join("README.md")).unwrap(), "mine");
        }
    }
}
