//! Foreign text in messages: one line, of bounded length.

use forerunner_console::terminal::harmless;

/// Longest quotation, in characters.
const MOST: usize = 80;

/// Cuts text to 80 characters, without anything that acts on a terminal.
pub fn quote(text: &str) -> String {
    // Cut first: the text may be megabytes.
    let shown: String = text.chars().take(MOST + 1).collect();
    let shown = harmless(&shown);
    if shown.chars().count() <= MOST {
        return shown;
    }
    shown.chars().take(MOST - 1).chain(['…']).collect()
}
