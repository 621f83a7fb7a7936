//! Signals: those that stop the service, and those that must have no effect.

use std::{fmt, future::poll_fn, task::Poll};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that stop the service, by number. Unhandled, each would end the process at once.
const STOPS: [StopSignal; 6] = [
    // A terminal was closed, or a supervisor wants the configuration read anew: that needs another start, since it is
    // read once.
    StopSignal { number: 1, name: "SIGHUP", urgent: false },
    StopSignal { number: 2, name: "SIGINT", urgent: true },
    StopSignal { number: 3, name: "SIGQUIT", urgent: true },
    StopSignal { number: 15, name: "SIGTERM", urgent: true },
    // The soft limit of processor time is reached. It is sent every second until the hard limit.
    StopSignal { number: 24, name: "SIGXCPU", urgent: false },
    StopSignal { number: 30, name: "SIGPWR", urgent: false },
];
/// Signals without a meaning for a service that would end it: SIGUSR1, SIGUSR2, SIGALRM, SIGSTKFLT, SIGVTALRM, SIGPROF,
/// SIGIO. The last one is SIGXFSZ: with a handler, a file that may not grow is an error of the write.
const IGNORED: [i32; 8] = [10, 12, 14, 16, 26, 27, 29, 25];
/// Real-time signals that the C library leaves to programs.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// A signal that stops the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSignal {
    /// Its number on Linux.
    pub number: u8,
    name: &'static str,
    /// Whether a second one ends the process at once. Some come twice, or repeatedly, without a request: a terminal
    /// that is closed sends one SIGHUP, and its shell another.
    urgent: bool,
}

impl StopSignal {
    /// What Ctrl-C means where the terminal does not send it as a signal.
    pub const INTERRUPT: Self = STOPS[1];

    #[cfg(test)]
    pub fn named(name: &str) -> Self {
        STOPS.into_iter().find(|stop| stop.name == name).expect("one of those that ask for an end")
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Receives the signals that stop the service, from its creation on.
pub struct Signals {
    stops: Vec<(StopSignal, Signal)>,
}

impl Signals {
    /// Begins to listen. SIGHUP stays ignored if it was at the start, as under `nohup`.
    pub fn listen() -> anyhow::Result<Self> {
        let wanted = STOPS.into_iter().filter(|stop| stop.name != "SIGHUP" || !is_ignored(stop.number));
        let stops = wanted.map(|stop| Ok((stop, handle(i32::from(stop.number))?))).collect::<anyhow::Result<_>>()?;
        Ok(Self { stops })
    }

    /// Resolves at the next signal that stops the service. Signals that arrived together with it are one request: a
    /// terminal that is closed sends several at once, in any order.
    pub async fn next(&mut self) -> StopSignal {
        let stop = self.receive(|_| true).await;
        self.forget_pending().await;
        stop
    }

    /// Resolves at the next signal that stops the service at once, if another has arrived before.
    pub async fn next_urgent(&mut self) -> StopSignal {
        self.receive(|stop| stop.urgent).await
    }

    async fn forget_pending(&mut self) {
        poll_fn(|cx| {
            for (_, signal) in &mut self.stops {
                while signal.poll_recv(cx).is_ready() {}
            }
            Poll::Ready(())
        })
        .await;
    }

    async fn receive(&mut self, is_wanted: impl Fn(&StopSignal) -> bool) -> StopSignal {
        poll_fn(|cx| {
            for (stop, signal) in self.stops.iter_mut().filter(|(stop, _)| is_wanted(stop)) {
                if signal.poll_recv(cx).is_ready() {
                    return Poll::Ready(*stop);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Ignores signals that have no meaning for the process. Programs that it starts have the default again: unlike
/// "ignored", a handler does not survive an exec.
pub fn ignore_others() -> anyhow::Result<()> {
    // A handler stays when its receiver is dropped.
    IGNORED.into_iter().chain(REAL_TIME).try_for_each(|number| handle(number).map(drop))
}

fn handle(number: i32) -> anyhow::Result<Signal> {
    signal(SignalKind::from_raw(number)).with_context(|| format!("signal {number} cannot be handled"))
}

/// Returns whether the process was started with this signal ignored. To be called before the signal is handled.
fn is_ignored(number: u8) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, number))
}

fn ignores(status: &str, number: u8) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (number - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, Signal as Sent, getpid, kill_process};

    use super::*;

    fn send(number: i32) {
        let pid: Pid = getpid();
        let signal = Sent::from_named_raw(number).expect("it has a name");
        kill_process(pid, signal).expect("a process may signal itself");
    }

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status =
            "Name:\tforerunner\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        assert!(ignores(status, 1) && ignores(status, 13) && !ignores(status, 2) && !ignores("", 1));
    }

    #[actix_rt::test]
    async fn every_signal_that_asks_for_an_end_is_received_by_name() {
        let mut signals = Signals::listen().expect("signals can be handled");
        for stop in STOPS.into_iter().filter(|stop| !is_ignored(stop.number)) {
            send(i32::from(stop.number));
            assert_eq!(signals.next().await, stop);
        }
        // Signals that arrive together are one request, and a repetition without a request is not urgent.
        send(30);
        send(15);
        assert_eq!(signals.next().await.to_string(), "SIGTERM");
        send(24);
        send(15);
        assert_eq!(signals.next_urgent().await.to_string(), "SIGTERM");
    }

    #[actix_rt::test]
    async fn signals_that_mean_nothing_do_not_end_the_process() {
        ignore_others().expect("signals can be handled");
        IGNORED.into_iter().for_each(send);
    }
}
