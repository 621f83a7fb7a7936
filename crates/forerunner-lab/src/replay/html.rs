//! The page: figures and plots in one self-contained file.

use serde::Serialize;

use super::{
    plot::Plot,
    study::{Row, Run, Study},
};

const FRAME: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");

/// What the page has in common with the dashboard of the service.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    /// Colours and forms, as CSS.
    pub css: &'static str,
    /// A script that defines `forms`: numbers for people, scales, outlines.
    pub js: &'static str,
}

/// One choice of the page: a trace at a cold start.
#[derive(Serialize)]
struct CellView<'a> {
    trace: &'a str,
    cold_start_s: f64,
    share: f64,
    within_s: f64,
    warmup_s: f64,
    span_s: f64,
    min: u32,
    max: u32,
    least_fixed: u32,
    points: Vec<PointView>,
    /// How each row went, in their order.
    plots: Vec<Option<Plot>>,
    rows: Vec<Row>,
    /// The row that is shown first: that of the first policy.
    first: usize,
}

/// One point of the cost curves.
#[derive(Serialize)]
struct PointView {
    policy: &'static str,
    params: String,
    late: f64,
    cost: Option<f64>,
    swept: bool,
}

/// Writes the page.
pub fn page(study: &Study, theme: Theme) -> String {
    let cells: Vec<CellView> = (0..study.cells.len()).map(|cell| view(study, cell)).collect();
    // Numbers and texts always have a JSON form; `<` is escaped so that no text can end the script.
    let data = serde_json::to_string(&cells).unwrap_or_default().replace('<', "\\u003c");
    let (style, script) = (format!("{}{STYLE}", theme.css), format!("{}{SCRIPT}", theme.js));
    FRAME.replace("/*STYLE*/", &style).replace("/*SCRIPT*/", &script).replace("/*DATA*/", &data)
}

fn view(study: &Study, cell: usize) -> CellView<'_> {
    let of = &study.cells[cell];
    let runs = || study.runs.iter().filter(move |run| run.cell == cell);
    let point = |run: &'_ Run| PointView {
        policy: run.asked.kind.name(),
        params: run.report.params.clone(),
        late: run.report.late_share,
        cost: of.ratio(&run.report),
        swept: run.swept,
    };
    let mut rows = study.rows(cell);
    let ours = study.ours(cell).map(|run| (&run.report.policy, &run.report.params));
    let is_ours = |row: &Row| ours == Some((&row.report.policy, &row.report.params)) && !row.today;
    let first = rows.iter().position(is_ours).unwrap_or(0);
    let plots = rows.iter_mut().map(|row| row.plot.take()).collect();
    let limits = &of.replay.limits;
    CellView {
        trace: &of.trace,
        cold_start_s: limits.cold_start_s,
        share: limits.objective.share,
        within_s: limits.objective.within_s,
        warmup_s: of.replay.warm_up_s,
        span_s: of.span_s,
        min: limits.min,
        max: limits.max,
        least_fixed: of.least_fixed,
        points: runs().map(point).collect(),
        plots,
        rows,
        first,
    }
}
