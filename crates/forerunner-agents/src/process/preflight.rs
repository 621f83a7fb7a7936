//! What a machine lacks to run a child, found before a start: the program, its script, its directory and its secrets.

use std::path::Path;

use super::{
    ProcessSpec,
    diagnosis::{check_directory, unusable_program},
};
use crate::{MissingFile, read_secret};

/// Endings of files that interpreters run. Other relative arguments may be anything, such as the name of a model.
const SCRIPTS: [&str; 11] = ["cjs", "jar", "js", "lua", "mjs", "php", "pl", "py", "rb", "sh", "ts"];

/// Returns what is missing, in the order of the settings.
pub(super) fn missing(spec: &ProcessSpec) -> Vec<MissingFile> {
    let program = missing_program(spec).map(|message| MissingFile { key: "argv", message });
    let arguments = spec.argv[1..].iter().filter_map(|argument| missing_argument(argument, spec.cwd.as_deref()));
    let directory = spec.cwd.as_deref().and_then(|cwd| check_directory(cwd).err());
    let directory = directory.map(|error| MissingFile { key: "cwd", message: error.to_string() });
    // A relative one may come from a service manager, which is not here yet.
    let secrets = spec.env_file.values().filter(|file| file.is_absolute());
    let secrets = secrets.filter_map(|file| read_secret(file).err());
    let secrets = secrets.map(|error| MissingFile { key: "env_file", message: error.to_string() });
    program.into_iter().chain(arguments).chain(directory).chain(secrets).collect()
}

/// Returns why the program of a command cannot be started, if that shows.
pub(super) fn missing_program(spec: &ProcessSpec) -> Option<String> {
    let environment = spec.environment(std::env::vars_os());
    let path = environment.get(std::ffi::OsStr::new("PATH")).map(|path| path.as_os_str());
    unusable_program(&spec.argv[0], path)
}

fn missing_argument(argument: &str, cwd: Option<&Path>) -> Option<MissingFile> {
    let named = named_file(argument)?;
    let file = Path::new(named);
    let message = match cwd {
        _ if file.is_absolute() && file.exists() => return None,
        _ if file.is_absolute() => format!("there is no file {named}; correct the path, or create the file"),
        Some(cwd) if cwd.join(file).exists() => return None,
        Some(cwd) => format!("there is no file {named} in {}, which is `cwd`; write the whole path", cwd.display()),
        None => format!(
            "`{named}` is relative, and each agent starts in an empty directory of its own; write the whole path, or set \
             `cwd`"
        ),
    };
    Some(MissingFile { key: "argv", message })
}

/// The file that an argument names, if it looks like one: an absolute path, one that begins with a dot, or a script.
fn named_file(argument: &str) -> Option<&str> {
    let value = match argument.split_once('=') {
        Some((option, value)) if option.starts_with('-') => value,
        _ => argument,
    };
    if value.starts_with('-') || value.contains(char::is_whitespace) || value.contains("://") {
        return None;
    }
    let is_script =
        || Path::new(value).extension().and_then(|end| end.to_str()).is_some_and(|end| SCRIPTS.contains(&end));
    (value.starts_with('/') || value.starts_with("./") || value.starts_with("../") || is_script()).then_some(value)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn messages(spec: &ProcessSpec) -> Vec<String> {
        missing(spec).into_iter().map(|missing| format!("{}: {}", missing.key, missing.message)).collect()
    }

    #[test]
    fn a_program_is_looked_up_in_the_path_that_agents_get() {
        assert_eq!(messages(&ProcessSpec::new(["sh", "-c", "cat /nowhere/file; echo a.py"])), Vec::<String>::new());
        let [slip] = &messages(&ProcessSpec::new(["pyton3-not-installed"]))[..] else { panic!("one message") };
        assert!(slip.starts_with("argv: `pyton3-not-installed`: no program of that name is in the PATH"), "{slip}");
        let mut elsewhere = ProcessSpec::new(["sh"]);
        elsewhere.env = [("PATH".to_owned(), "/nowhere".to_owned())].into();
        assert!(messages(&elsewhere)[0].contains("(/nowhere); install it"), "{:?}", messages(&elsewhere));
    }

    #[test]
    fn a_program_by_its_path_has_to_be_an_executable_file_with_its_interpreter() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("agent");
        let message = |mode, text: &str| {
            fs::write(&script, text).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(mode)).unwrap();
            messages(&ProcessSpec::new([script.to_str().unwrap()])).join("\n")
        };
        assert_eq!(message(0o755, "#!/bin/sh\n"), "");
        assert!(message(0o644, "#!/bin/sh\n").contains("is not executable; make it so (chmod +x)"));
        assert!(message(0o755, "#!/nowhere/python\n").contains("the interpreter `/nowhere/python`"));
        fs::remove_file(&script).unwrap();
        let gone = messages(&ProcessSpec::new([script.to_str().unwrap()])).join("\n");
        assert!(gone.starts_with("argv: there is no file /"), "{gone}");
    }

    #[test]
    fn a_script_has_to_be_where_the_agent_looks_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.py");
        fs::write(&file, "").unwrap();
        let run = |argument: &str, cwd: Option<&Path>| {
            let mut spec = ProcessSpec::new(["sh", argument]);
            spec.cwd = cwd.map(Path::to_owned);
            messages(&spec).join("\n")
        };
        assert_eq!(run(file.to_str().unwrap(), None), "");
        assert_eq!(run("agent.py", Some(directory.path())), "");
        assert!(run("agent.py", None).contains("`agent.py` is relative, and each agent starts in an empty directory"));
        assert!(run("other.py", Some(directory.path())).contains("there is no file other.py in /"));
        assert!(run("--script=/nowhere/a.py", None).contains("there is no file /nowhere/a.py"));
        for other in ["-c", "--model=org/model", "org/model", "https://host/a.py", "--verbose", "v1.5", "a b.py"] {
            assert_eq!(run(other, None), "", "{other}");
        }
    }

    #[test]
    fn a_directory_and_secrets_have_to_be_there() {
        let mut spec = ProcessSpec::new(["sh"]);
        spec.cwd = Some("/nowhere/at/all".into());
        spec.env_file = [("KEY", "/nowhere/key"), ("CREDENTIAL", "from-systemd")]
            .map(|(name, file)| (name.to_owned(), file.into()))
            .into();
        let told = messages(&spec);
        assert!(told[0].starts_with("cwd: its working directory (`cwd`) /nowhere/at/all"), "{told:?}");
        assert!(told[1].starts_with("env_file: /nowhere/key cannot be read"), "{told:?}");
        assert_eq!(told.len(), 2, "{told:?}");
    }
}
