//! Tables of the manual: text that a command writes between two markers of a file.

use std::{fs, path::Path};

use anyhow::Context;
use forerunner_console::Usage;

/// Puts `text` between `<!-- NAME:begin -->` and `<!-- NAME:end -->` of a file; one that is not there yet is made.
///
/// # Errors
/// When the file has other text and no markers, or cannot be read or written.
pub fn write(path: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let [begin, end] = ["begin", "end"].map(|edge| format!("<!-- {name}:{edge} -->"));
    let old = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => format!("{begin}\n{end}\n"),
        read => read.with_context(|| format!("cannot read `{}`", path.display()))?,
    };
    let new = between(&old, &begin, &end, text).ok_or_else(|| {
        Usage(format!("`{}` has no lines `{begin}` and `{end}`; put them where the table belongs", path.display()))
    })?;
    fs::write(path, new).with_context(|| format!("cannot write `{}`", path.display()))
}

fn between(old: &str, begin: &str, end: &str, text: &str) -> Option<String> {
    let (before, rest) = old.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n\n{text}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_replaces_what_stood_between_the_markers() {
        let old = "# Manual\n\n<a>\nold\n<b>\n\nrest\n";
        assert_eq!(
            between(old, "<a>", "<b>", "| new |").expect("markers"),
            "# Manual\n\n<a>\n\n| new |\n<b>\n\nrest\n"
        );
        assert_eq!(between("no markers", "<a>", "<b>", "x"), None);
    }
}
