//! `forerunner openapi`: the HTTP API as a document that clients can be generated from.

use forerunner_console::output::Output;

/// Writes the document to standard output.
pub fn run(out: &Output) -> anyhow::Result<()> {
    out.line(forerunner_http::openapi_json().trim_end())
}
