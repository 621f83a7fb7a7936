//! Progress of long work, on standard error and only on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that counts to `total`; invisible when standard error is no terminal.
pub fn bar(total: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(style("{prefix} {bar:24} {percent:>3} %  {human_pos}/{human_len}  {per_sec}  {eta} left"));
    bar.set_prefix(what);
    bar
}

/// A count without a known end.
pub fn counter(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(style("{prefix} {human_pos}  {per_sec}  {msg}"));
    bar.set_prefix(what);
    bar
}

/// Reads a template of this program.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("templates are constants that tests draw").progress_chars("━╸─")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_has_a_valid_template_and_hides_off_a_terminal() {
        let bar = bar(10, "tasks");
        bar.inc(3);
        assert_eq!(bar.position(), 3);
        bar.finish_and_clear();
        counter("tasks").finish_and_clear();
    }
}
