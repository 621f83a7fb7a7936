//! How a command ends: the exit codes, and errors as people see them.

use std::fmt;

use forerunner_console::{
    Usage,
    output::{self, Output},
    terminal::harmless_lines,
};
use forerunner_store::StoreError;

use crate::signals::StopSignal;

/// How a service ends, for its own help.
pub const SERVICE_EXIT_CODES: &str = "\
Exit codes: 0 stopped as asked, 1 failed, 2 wrong configuration, 4 the store cannot be opened or closed, \
5 the address cannot be listened on, 128 + N a second signal N ended it at once.
SIGTERM, SIGINT, SIGHUP and SIGQUIT let running tasks finish for shutdown.grace.";

/// The service could not be reached.
#[derive(Debug)]
pub struct NotReachable {
    /// The address that was tried.
    pub server: String,
    /// The error of the connection.
    pub reason: String,
}

/// The store could not be closed.
#[derive(Debug)]
pub struct NotClosed(pub String);

/// The service cannot listen.
#[derive(Debug)]
pub struct NotListening(pub std::io::Error);

/// A signal ended the command early.
#[derive(Debug)]
pub struct Interrupted(pub StopSignal);

/// A second signal ended the service at once.
#[derive(Debug)]
pub struct Forced(pub StopSignal);

impl fmt::Display for NotReachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, reason } = self;
        write!(
            f,
            "no service answers at {server}: {reason}; start one with `forerunner serve`, or name it with --server URL or FORERUNNER_SERVER"
        )
    }
}

impl fmt::Display for NotClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store could not be closed: {}", self.0)
    }
}

impl fmt::Display for NotListening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted by {}; everything that was started is stopped", self.0)
    }
}

impl fmt::Display for Forced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped at once by a second signal, {}; the next start re-queues running tasks", self.0)
    }
}

impl std::error::Error for NotReachable {}
impl std::error::Error for NotClosed {}
impl std::error::Error for NotListening {}
impl std::error::Error for Interrupted {}
impl std::error::Error for Forced {}

/// Writes an error to standard error and returns its exit code.
pub fn report(error: &anyhow::Error, out: &Output) -> u8 {
    output::note(&format!("{} {}", out.bad("error:"), harmless_lines(&format!("{error:#}"))));
    code(error)
}

/// Returns the exit code of an error, as `forerunner --help` and docs/OPERATIONS.md list them.
pub fn code(error: &anyhow::Error) -> u8 {
    /// What shells add to the number of a signal.
    const SIGNAL: u8 = 128;
    if let Some(signal) = signal_of(error) {
        return SIGNAL + signal.number;
    }
    match () {
        () if error.is::<Usage>() || matches!(error.downcast_ref(), Some(StoreError::Address { .. })) => 2,
        () if error.is::<NotReachable>() => 3,
        () if is_of_store(error) => 4,
        () if error.is::<NotListening>() => 5,
        () => 1,
    }
}

fn signal_of(error: &anyhow::Error) -> Option<StopSignal> {
    let interrupted = error.downcast_ref().map(|Interrupted(signal)| *signal);
    interrupted.or_else(|| error.downcast_ref().map(|Forced(signal)| *signal))
}

fn is_of_store(error: &anyhow::Error) -> bool {
    let of_node = matches!(error.downcast_ref(), Some(forerunner_runtime::Error::Store(_)));
    of_node || error.is::<StoreError>() || error.is::<NotClosed>()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn codes_survive_added_context() {
        let usage = Err::<(), _>(Usage("no".into())).context("while reading").expect_err("an error");
        let gone = NotReachable { server: "http://x".into(), reason: "refused".into() };
        assert_eq!([code(&usage), code(&gone.into()), code(&anyhow::anyhow!("no"))], [2, 3, 1]);
    }

    #[test]
    fn codes_say_what_happened_to_a_service() {
        let reason = || "disk".to_owned();
        let store = StoreError::Damaged { place: "tasks.db".to_owned(), reason: reason() };
        let of_node = anyhow::Error::new(forerunner_runtime::Error::Store(store.clone())).context("at the start");
        let address = StoreError::Address { scheme: "mysql".to_owned(), reason: reason(), forms: "" };
        let listen = NotListening(std::io::ErrorKind::AddrInUse.into());
        assert_eq!([code(&store.into()), code(&of_node), code(&NotClosed(reason()).into())], [4, 4, 4]);
        assert_eq!([code(&address.into()), code(&listen.into())], [2, 5]);
        let term = StopSignal::named("SIGTERM");
        assert_eq!([code(&Forced(term).into()), code(&Interrupted(term).into())], [143, 143]);
    }
}
