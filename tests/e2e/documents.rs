//! Checks of the documents: links have targets, and the commands of the quick starts work.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use forerunner_e2e::{Service, Site, binary};
use tokio::{process::Command, time::timeout};

const SOON: Duration = Duration::from_secs(60);
/// Most characters of a line of prose, as CONTRIBUTING.md says.
const LINE_CHARS: usize = 100;
/// Most words of a sentence, as CONTRIBUTING.md says.
const SENTENCE_WORDS: usize = 25;

#[test]
fn every_link_of_the_documents_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = read(&page);
        broken.extend(links(&text).filter_map(|link| fault(&page, link)));
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_document_is_within_reach_of_the_readme() {
    let root = root();
    let mut reached = BTreeSet::from([root.join("README.md")]);
    let mut rest: Vec<PathBuf> = reached.iter().cloned().collect();
    while let Some(page) = rest.pop() {
        let text = read(&page);
        let next = links(&text).filter_map(|link| page.parent()?.join(link.split('#').next()?).canonicalize().ok());
        let next = next.filter(|path| path.extension().is_some_and(|end| end == "md"));
        rest.extend(next.filter(|path| reached.insert(path.clone())));
    }
    let lost: Vec<PathBuf> = pages().into_iter().filter(|page| !reached.contains(page)).collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}

#[test]
fn lines_and_sentences_of_the_documents_are_short() {
    let mut faults = Vec::new();
    for page in pages() {
        let text = read(&page);
        let prose = prose(&text);
        let wide = prose.iter().filter(|(_, line)| line.chars().count() > LINE_CHARS && !is_picture_or_table(line));
        faults.extend(wide.map(|(number, line)| format!("{}:{number}: a long line: {line}", page.display())));
        let long = sentences(&prose).into_iter().filter(|(_, sentence)| words(sentence) > SENTENCE_WORDS);
        faults
            .extend(long.map(|(number, sentence)| format!("{}:{number}: a long sentence: {sentence}", page.display())));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[actix_rt::test]
async fn the_quick_start_of_the_service_works_as_it_is_written() {
    let page = Page::open("service");
    let (site, service) = page.serve().await;
    let answers = page.run(&site, Some(&service)).await;
    let turns = answers.iter().filter(|answer| answer.contains("\"turn\":2")).count();
    assert_eq!(turns, 1, "the conversation goes on");
    let replay = Page::open("replay");
    let answers = replay.run(&site, Some(&service)).await;
    let tables = answers.iter().filter(|answer| answer.contains("predictive")).count();
    assert!(tables >= 3, "three replays print a table each, not {tables}");
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn the_quick_start_in_python_works_as_it_is_written() {
    let walk = Walk::through("python").await;
    walk.printed("python3 -c", "{'text': 'HELLO', 'turn': 2}");
    walk.printed("forerunner submit shout --input '\"hello\"'", r#"{"text":"HELLO","turn":1}"#);
    walk.printed("python3 client.py", "{'text': 'AND AGAIN', 'turn': 2}\n");
    walk.printed("python3 client.py", "progress shouting\noutput FOLLOW ME\nstate succeeded\n");
    walk.printed("forerunner submit shout --input 5", "the input is no text");
    walk.printed("forerunner task list --state failed", "failed");
    walk.stop().await;
}

#[actix_rt::test]
async fn the_quick_start_in_typescript_works_as_it_is_written() {
    let walk = Walk::through("typescript").await;
    walk.printed("node -e", "{ text: 'HELLO', turn: 1 }");
    walk.printed("forerunner submit shout --input '\"hello\"'", r#"{"text":"HELLO","turn":1}"#);
    walk.printed("node client.js", "{ text: 'AND AGAIN', turn: 2 }\n");
    walk.printed("node client.js", "progress\noutput\nstate\n");
    walk.stop().await;
}

#[actix_rt::test]
async fn new_projects_run_at_once() {
    for language in ["python", "typescript"] {
        let mut walk = Walk::new();
        walk.step(&format!("forerunner agent new {language} my-agent")).await;
        walk.step("cd my-agent").await;
        let readme = read(&walk.directory.join("README.md"));
        for command in Page(readme).all_commands() {
            walk.step(&command).await;
        }
        walk.printed("forerunner submit", r#"{"text":"HELLO","turn":1}"#);
        walk.stop().await;
    }
    // The program of the Rust project is the example of its quick start, which the tests run.
    let mut walk = Walk::new();
    let crate_path = root().join("crates/forerunner");
    walk.step(&format!("forerunner agent new rust my-agent --crate {}", crate_path.display())).await;
    walk.step("cd my-agent").await;
    walk.step("cargo metadata --format-version 1 --offline --no-deps").await;
    walk.printed("cargo metadata", "\"name\":\"my-agent\"");
}

#[test]
fn the_quick_start_in_rust_shows_the_example_that_the_tests_run() {
    let example = read(&root().join("crates/forerunner/examples/quickstart.rs"));
    let code = Page::open("rust").blocks("rust").remove(0);
    assert!(example.ends_with(&code), "docs/quickstart/rust.md and its example differ");
}

/// A page of `docs/quickstart`.
struct Page(String);

impl Page {
    fn open(name: &str) -> Self {
        Self(read(&root().join(format!("docs/quickstart/{name}.md"))))
    }

    /// The code blocks of a language.
    fn blocks(&self, language: &str) -> Vec<String> {
        let begin = format!("```{language}\n");
        let rest = self.0.split(&begin).skip(1);
        rest.filter_map(|block| Some(block.split("```").next()?.to_owned())).collect()
    }

    /// Writes the files of the page and starts the service that it describes, in the root of the repository.
    async fn serve(&self) -> (Site, Service) {
        let site = Site::new();
        for name in ["docs", "crates"] {
            symlink(root().join(name), site.path(name)).expect("a fresh directory has room for a link");
        }
        let pool = self.blocks("toml").remove(0);
        let text = format!("http.listen = \"127.0.0.1:0\"\n{pool}");
        fs::write(site.config(), text).expect("a fresh directory can be written to");
        let service = site.serve().await;
        (site, service)
    }

    /// Runs each command of the page but those that build and start the program. Answers what they print.
    async fn run(&self, site: &Site, service: Option<&Service>) -> Vec<String> {
        let mut answers = Vec::new();
        for command in self.commands() {
            let output = run(site, service, &command).await;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "`{command}`: {text}{}", String::from_utf8_lossy(&output.stderr));
            answers.push(text);
        }
        answers
    }

    fn commands(&self) -> Vec<String> {
        let is_tried =
            |line: &String| !line.starts_with("cargo ") && !line.starts_with("export ") && line != "forerunner serve";
        self.all_commands().into_iter().filter(is_tried).collect()
    }

    fn all_commands(&self) -> Vec<String> {
        let blocks = self.blocks("console");
        let lines = blocks.iter().flat_map(|block| block.lines()).filter_map(|line| line.strip_prefix("$ "));
        lines.map(str::to_owned).collect()
    }

    /// The page as its reader follows it: files to save, and commands to type.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut file = None;
        for (index, part) in self.0.split("```").enumerate() {
            if index % 2 == 0 {
                let name = part.rsplit_once("<!-- file: ").and_then(|(_, rest)| rest.strip_suffix(" -->\n"));
                file = name.map(str::to_owned);
            } else if let Some(name) = file.take() {
                let (_, text) = part.split_once('\n').expect("a block of code has a first line");
                steps.push(Step::Save(name, text.to_owned()));
            } else {
                steps.extend(Page(format!("```{part}```")).all_commands().into_iter().map(Step::Type));
            }
        }
        steps
    }
}

enum Step {
    Save(String, String),
    Type(String),
}

/// Follows a page in a fresh directory, word by word.
struct Walk {
    site: Site,
    directory: PathBuf,
    service: Option<Service>,
    printed: Vec<(String, String)>,
}

impl Walk {
    fn new() -> Self {
        let site = Site::new();
        Self { directory: site.directory().to_path_buf(), site, service: None, printed: Vec::new() }
    }

    async fn through(page: &str) -> Self {
        let mut walk = Self::new();
        for step in Page::open(page).steps() {
            match step {
                Step::Save(name, text) => {
                    fs::write(walk.directory.join(name), text).expect("a fresh directory can be written to");
                }
                Step::Type(line) => walk.step(&line).await,
            }
        }
        walk
    }

    async fn step(&mut self, line: &str) {
        if let Some(directory) = line.strip_prefix("cd ") {
            self.directory = self.directory.join(directory);
            return;
        }
        match line {
            "forerunner serve" => self.serve().await,
            // The same packages as those of the repository's own, which have been installed.
            "npm install" => symlink(node_modules(), self.directory.join("node_modules")).expect("a link"),
            _ => {
                let output = run_in(&self.directory, self.service.as_ref(), line).await;
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success(), "`{line}`: {text}{}", String::from_utf8_lossy(&output.stderr));
                self.printed.push((line.to_owned(), text));
            }
        }
    }

    /// Starts the service of the project, but on a free port.
    async fn serve(&mut self) {
        let project = read(&self.directory.join("forerunner.toml"));
        let here = format!("cwd = \"{}\"", self.directory.display());
        assert!(project.contains("cwd = \".\""), "{project}");
        let text = format!("http.listen = \"127.0.0.1:0\"\n{}", project.replace("cwd = \".\"", &here));
        fs::write(self.site.config(), text).expect("a fresh directory can be written to");
        self.service = Some(self.site.serve().await);
    }

    /// Checks what the first command that begins so has printed.
    fn printed(&self, command: &str, expected: &str) {
        let found = self.printed.iter().find(|(line, _)| line.starts_with(command));
        let (line, text) = found.unwrap_or_else(|| panic!("no command begins with `{command}`"));
        assert!(text.contains(expected), "`{line}` printed {text:?}, without {expected:?}");
    }

    async fn stop(self) {
        assert_eq!(self.service.expect("the page starts the service").stop(SOON).await, 0);
    }
}

/// The packages that build the package for TypeScript, installed if they are missing.
fn node_modules() -> PathBuf {
    let package = root().join("crates/forerunner-typescript");
    let modules = package.join("node_modules");
    if !modules.join("typescript").exists() {
        let install = ["ci", "--no-audit", "--no-fund", "--silent"];
        let status = std::process::Command::new("npm").args(install).current_dir(&package).status();
        assert!(status.expect("npm is installed").success(), "run `npm ci` in {}", package.display());
    }
    modules
}

/// Runs a line as a shell would, with the program in the PATH and the service at its address.
async fn run(site: &Site, service: Option<&Service>, line: &str) -> Output {
    run_in(site.directory(), service, line).await
}

async fn run_in(directory: &Path, service: Option<&Service>, line: &str) -> Output {
    let address = service.map_or("http://127.0.0.1:9", Service::address);
    let line = line.replace("localhost:7077", address.trim_start_matches("http://"));
    let programs = binary().parent().expect("a program is in a directory").display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &line]).current_dir(directory).kill_on_drop(true);
    command.env("PATH", path).env("FORERUNNER_SERVER", address);
    let output = timeout(SOON, command.output()).await;
    output.unwrap_or_else(|_| panic!("`{line}` has not ended after {SOON:?}")).expect("bash can be started")
}

/// The texts of warnings and errors in a source file, in the form in which `docs/log-messages.md` has them.
fn log_lines(source: &str) -> Vec<String> {
    let shipped = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let starts = ["tracing::warn!(", "tracing::error!("].into_iter().flat_map(|start| shipped.match_indices(start));
    let call = |at: usize| &shipped[at..at + length_of_call(&shipped[at..])];
    let text = |call: &str| {
        // The message is the last string of the call.
        let (before, _) = call.rsplit_once('"')?;
        let begin = before.rfind(" \"").or(before.rfind("(\""))? + 2;
        let lines = before[begin..].split("\\\n").map(str::trim_start);
        let text: String = lines.collect::<String>().replace('`', "");
        // The text before a filled-in value differs from line to line.
        text.rsplit("}; ").next().map(str::to_owned)
    };
    let texts = starts.filter_map(|(at, _)| text(call(at)));
    texts.filter(|text| text.len() > 12 && !text.contains('{')).collect()
}

/// Bytes until the parenthesis that a call opens is closed again; those in strings do not count.
fn length_of_call(text: &str) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '(' if !in_string => depth += 1,
            ')' if !in_string && depth == 1 => return at,
            ')' if !in_string => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn every_warning_and_error_of_the_log_is_documented() {
    let page = read(&root().join("docs/log-messages.md"));
    let listed = std::process::Command::new("git").args(["ls-files", "crates/*/src/*.rs"]).current_dir(root()).output();
    let listed = String::from_utf8(listed.expect("git is installed").stdout).expect("names are UTF-8");
    let texts: Vec<String> = listed.lines().flat_map(|file| log_lines(&read(&root().join(file)))).collect();
    assert!(texts.len() > 60, "only {} texts were found: is the pattern right?", texts.len());
    let missing: Vec<_> = texts.iter().filter(|text| !page.contains(text.as_str())).collect();
    assert!(missing.is_empty(), "docs/log-messages.md lacks {missing:#?}");
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are in a directory of the repository").canonicalize().expect("it is there")
}

/// The documents: those in the root and all below `docs`, but no decision records, which are linked from their index.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut rest = vec![root().join("docs")];
    while let Some(directory) = rest.pop() {
        let entries = fs::read_dir(&directory).expect("the documents are there");
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            match path.is_dir() {
                true => rest.push(path),
                false if path.extension().is_some_and(|end| end == "md") => pages.push(path),
                false => {}
            }
        }
    }
    pages.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name)));
    pages
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The targets of the links and pictures of a page, but those to other hosts.
/// Returns the lines outside of code blocks, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if !is_code && !is_fence {
            lines.push((index + 1, line));
        }
    }
    lines
}

fn is_picture_or_table(line: &str) -> bool {
    line.starts_with('|') || line.trim_start().starts_with("![")
}

/// Returns the sentences of paragraphs and list items, each with the number of the first line of its paragraph.
fn sentences(prose: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut paragraphs: Vec<(usize, String)> = Vec::new();
    let mut is_open = false;
    for &(number, line) in prose {
        let text = line.trim();
        let is_other = text.is_empty() || is_picture_or_table(text) || text.starts_with('#') || text.starts_with('<');
        let begins_item = text.starts_with("- ") || text.split_once(". ").is_some_and(|(n, _)| n.parse::<u8>().is_ok());
        match paragraphs.last_mut() {
            _ if is_other => {}
            Some((_, paragraph)) if is_open && !begins_item => {
                paragraph.push(' ');
                paragraph.push_str(text);
            }
            _ => paragraphs.push((number, text.trim_start_matches("- ").to_owned())),
        }
        is_open = !is_other;
    }
    let split = |(number, paragraph): (usize, String)| {
        let plain = paragraph.replace("**", "");
        let sentences = plain.split_inclusive([':', ';']).flat_map(|part| part.split(". ")).map(str::to_owned);
        sentences.map(|sentence| (number, sentence)).collect::<Vec<_>>()
    };
    paragraphs.into_iter().flat_map(split).collect()
}

/// Counts words; what stands in one pair of backquotes is one.
fn words(sentence: &str) -> usize {
    let outside = sentence.split('`').step_by(2).flat_map(str::split_whitespace);
    let quoted = sentence.matches('`').count() / 2;
    outside.filter(|word| word.chars().any(char::is_alphanumeric)).count() + quoted
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:") && !target.contains(' '))
}

/// What is wrong with a link of a page; `None` if it leads somewhere.
fn fault(page: &Path, link: &str) -> Option<String> {
    let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
    let target = if file.is_empty() { page.to_path_buf() } else { page.parent()?.join(file) };
    let told = |what: &str| Some(format!("{}: {link}: {what}", page.display()));
    if !target.exists() {
        return told("no such file");
    }
    match heading {
        Some(heading) if target.extension().is_some_and(|end| end == "md") => {
            let known = headings(&read(&target)).any(|known| known == heading);
            if known { None } else { told("no such heading") }
        }
        _ => None,
    }
}

/// The names by which headings are linked: lower case, words joined by hyphens, punctuation left out.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let mut in_code = false;
    let lines = text.lines().filter(move |line| {
        in_code ^= line.starts_with("```");
        !in_code && line.starts_with('#')
    });
    lines.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            })
            .collect()
    })
}
