//! Text of others on a terminal: it is shown, and never acted on.
//!
//! Agents, clients, the service, files and the environment are foreign. Characters that act on a terminal, change the
//! direction of writing or are invisible are replaced by [`STAND_IN`]. `--output json` escapes them instead.

use std::borrow::Cow;

/// Shown instead of a character that is not shown as it is.
pub const STAND_IN: char = '·';

/// Begins a control sequence.
const ESCAPE: char = '\u{1b}';
/// The colours of this program, behind [`ESCAPE`]: the only control sequences that pass [`guard`].
const COLOURS: [&str; 4] = ["[1;31m", "[1m", "[2m", "[0m"];

/// Returns whether a terminal would act on a character, turn the text around or hide it.
///
/// These are the control characters (C0, DEL, C1), the bidirectional controls, separators of lines and paragraphs, and
/// characters without a width that text can do without.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns whether a character joins or separates its neighbours. Emoji and some scripts need these.
pub const fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Writes text as one line that cannot act on a terminal.
pub fn harmless(text: &str) -> String {
    cleaned(text, |_| false).into_owned()
}

/// Writes text so that it cannot act on a terminal; ends of lines and tabs stay.
pub fn harmless_lines(text: &str) -> Cow<'_, str> {
    match text.contains("\r\n") {
        true => Cow::Owned(cleaned(&text.replace("\r\n", "\n"), is_layout).into_owned()),
        false => cleaned(text, is_layout),
    }
}

/// The last gate in front of standard output and standard error: as [`harmless_lines`], but the colours of this program
/// pass.
pub fn guard(text: &str) -> Cow<'_, str> {
    let Some((first, escaped)) = text.split_once(ESCAPE) else { return harmless_lines(text) };
    let mut guarded = harmless_lines(first).into_owned();
    for piece in escaped.split(ESCAPE) {
        let colour = COLOURS.into_iter().find(|colour| piece.starts_with(colour)).unwrap_or_default();
        if colour.is_empty() {
            guarded.push(STAND_IN);
        } else {
            guarded.push(ESCAPE);
            guarded.push_str(colour);
        }
        guarded.push_str(&harmless_lines(&piece[colour.len()..]));
    }
    Cow::Owned(guarded)
}

const fn is_layout(c: char) -> bool {
    matches!(c, '\n' | '\t')
}

fn cleaned(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(|c| (is_hidden(c) || is_joiner(c)) && !stays(c)) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len());
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_shown = stays(c) || if is_joiner(c) { joins(before, chars.peek()) } else { !is_hidden(c) };
        cleaned.push(if is_shown { c } else { STAND_IN });
        before = Some(c);
    }
    Cow::Owned(cleaned)
}

/// Returns whether a joiner is where scripts need one. Between letters of ASCII it only hides.
fn joins(before: Option<char>, after: Option<&char>) -> bool {
    let may_be_joined = |c: char| !c.is_ascii() && !is_hidden(c) && !is_joiner(c);
    before.is_some_and(may_be_joined) && after.copied().is_some_and(may_be_joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_as_dots() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\nc\u{202e}d\u{9b}é"), "a·[2Jb··c·d·é");
        for hidden in
            ["\u{1b}", "\u{7}", "\u{7f}", "\u{9d}", "\u{202a}", "\u{2069}", "\u{2028}", "\u{200b}", "\u{feff}"]
        {
            let text = format!("a{hidden}b");
            assert_eq!([harmless(&text), guard(&text).into_owned()], ["a·b", "a·b"], "{}", text.escape_unicode());
        }
    }

    #[test]
    fn what_people_write_is_left_as_it_is() {
        for text in ["", "plain", "naïve – „ü“ 漢字 עברית", "👩\u{200d}🚀", "می\u{200c}خواهم", "1\n\t2"]
        {
            assert!(matches!(harmless_lines(text), Cow::Borrowed(_)) || harmless_lines(text) == text, "{text}");
        }
        assert_eq!(harmless("pass\u{200d}word"), "pass·word", "a joiner that only hides");
    }

    #[test]
    fn lines_stay_lines_and_a_lone_return_does_not_overwrite_them() {
        assert_eq!(harmless_lines("one\r\ntwo\n\tthree\rfour"), "one\ntwo\n\tthree·four");
    }

    #[test]
    fn only_the_colours_of_this_program_pass_the_gate() {
        let text = "\u{1b}[1;31merror:\u{1b}[0m a\u{1b}[31mb\u{1b}]0;title\u{7}";
        assert_eq!(guard(text), "\u{1b}[1;31merror:\u{1b}[0m a·[31mb·]0;title·");
    }
}
