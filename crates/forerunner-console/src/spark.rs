//! Charts of block characters, and text that fits a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Eighths of a cell, from empty to full.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Marks a band without a value in front of it.
const SHADE: char = '░';

/// Draws values as bars from 0 to the greatest. There are at most `width` bars, each the greatest of its span of time.
pub fn sparkline(values: &[f64], width: usize) -> String {
    let greatest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let most = greatest(values).max(f64::MIN_POSITIVE);
    let drawn: String = stretches(values, width)
        .map(|stretch| EIGHTHS[1 + (greatest(stretch) / most * 7.0).round() as usize])
        .collect();
    format!("{drawn:<width$}")
}

/// Cuts values into at most `width` spans of about the same length.
fn stretches<T>(values: &[T], width: usize) -> impl Iterator<Item = &[T]> {
    let bars = values.len().min(width);
    (0..bars).map(move |bar| &values[bar * values.len() / bars..(bar + 1) * values.len() / bars])
}

/// A moment of a chart: what was, and the band in which it was expected.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ChartPoint {
    /// The value; `None` draws nothing.
    pub value: Option<f64>,
    /// Lower and upper edge.
    pub band: Option<(f64, f64)>,
}

impl ChartPoint {
    /// A moment without a band.
    pub const fn of(value: Option<f64>) -> Self {
        Self { value, band: None }
    }

    /// The greatest value of a stretch, and all of its bands.
    fn over(stretch: &[Self]) -> Self {
        let values = stretch.iter().filter_map(|moment| moment.value);
        let bands = stretch.iter().filter_map(|moment| moment.band);
        Self {
            value: values.reduce(f64::max),
            band: bands.reduce(|(low, high), (other_low, other_high)| (low.min(other_low), high.max(other_high))),
        }
    }
}

/// Draws moments as bars from 0 to `most` in `rows` rows, the top one first; the newest moment is at the right. The band is
/// shaded where no bar hides it.
pub fn bars(moments: &[ChartPoint], most: f64, width: usize, rows: usize) -> Vec<String> {
    let columns: Vec<ChartPoint> = stretches(moments, width).map(ChartPoint::over).collect();
    let left = " ".repeat(width - columns.len());
    let row = |row: usize| {
        let below = (rows - 1 - row) as f64;
        let cells = columns.iter().map(|moment| cell(*moment, below, rows as f64 / most.max(f64::MIN_POSITIVE)));
        left.chars().chain(cells).collect()
    };
    (0..rows).map(row).collect()
}

/// The cell that has `below` others below it, where a row is worth `1 / per_row`.
fn cell(moment: ChartPoint, below: f64, per_row: f64) -> char {
    let filled = moment.value.map(|value| (value * per_row - below).clamp(0.0, 1.0));
    let eighths = filled.map_or(0, |filled| (filled * 8.0).round() as usize);
    // A value above 0 is visible, however small.
    let is_seen = below == 0.0 && moment.value.is_some();
    match (eighths, moment.band) {
        (0, _) if is_seen => EIGHTHS[1],
        (0, Some((low, high))) if low * per_row < below + 1.0 && high * per_row > below => SHADE,
        (eighths, _) => EIGHTHS[eighths],
    }
}

/// Cuts text to at most `width` columns.
pub fn cut(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.to_owned();
    }
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or(0);
        taken < width
    };
    line.chars().take_while(fits).chain((width > 0).then_some('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_before_their_band_with_the_newest_at_the_right() {
        let moment = |value: f64, low: f64, high: f64| ChartPoint { value: Some(value), band: Some((low, high)) };
        let moments = [moment(0.0, 3.0, 7.0), moment(1.0, 3.0, 7.0), moment(4.0, 3.0, 7.0), moment(8.0, 6.0, 8.0)];
        assert_eq!(bars(&moments, 8.0, 6, 4), ["  ░░░█", "  ░░░█", "  ░░██", "  ▁▄██"]);
        assert_eq!(bars(&[ChartPoint::of(None), ChartPoint::of(Some(1e-9))], 8.0, 2, 1), [" ▁"]);
        assert_eq!(bars(&moments, 8.0, 2, 1), ["▁█"]);
        assert_eq!(bars(&[], 0.0, 3, 1), ["   "]);
    }

    #[test]
    fn text_is_cut_by_the_columns_it_takes() {
        assert_eq!([cut("abcd", 4), cut("abcde", 4), cut("日本語", 5), cut("x", 0)], ["abcd", "abc…", "日本…", ""]);
    }
}
