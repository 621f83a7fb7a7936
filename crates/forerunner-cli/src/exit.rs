//! How a command ends: the exit codes, and errors as people see them.

use std::{fmt, process::ExitCode};

use crate::{
    output::{self, Output},
    terminal::harmless_lines,
};

/// The user asked for something that makes no sense, or the configuration does not.
#[derive(Debug)]
pub struct Usage(pub String);

/// The service could not be reached.
#[derive(Debug)]
pub struct NotReachable {
    /// The address that was tried.
    pub server: String,
    /// What the connection said.
    pub reason: String,
}

/// A signal ended the command early.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NotReachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, reason } = self;
        write!(
            f,
            "no service answers at {server}: {reason}; start one with `forerunner serve`, or name it with --server URL or FORERUNNER_SERVER"
        )
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted; everything that was started is stopped")
    }
}

impl std::error::Error for Usage {}
impl std::error::Error for NotReachable {}
impl std::error::Error for Interrupted {}

/// Writes an error to standard error and returns its exit code.
pub fn report(error: &anyhow::Error, out: &Output) -> ExitCode {
    output::note(&format!("{} {}", out.bad("error:"), harmless_lines(&format!("{error:#}"))));
    ExitCode::from(code(error))
}

/// 1 failed, 2 wrong usage or configuration, 3 not reachable.
pub fn code(error: &anyhow::Error) -> u8 {
    match () {
        () if error.is::<Usage>() => 2,
        () if error.is::<NotReachable>() => 3,
        () => 1,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn codes_survive_added_context() {
        let usage = Err::<(), _>(Usage("no".into())).context("while reading").expect_err("an error");
        let gone = NotReachable { server: "http://x".into(), reason: "refused".into() };
        assert_eq!([code(&usage), code(&gone.into()), code(&Interrupted.into())], [2, 3, 1]);
    }
}
