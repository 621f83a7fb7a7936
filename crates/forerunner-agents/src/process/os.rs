//! The calls that Rust cannot check. All `unsafe` code of the workspace is in this file.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_long, c_ulong},
    io,
    os::fd::OwnedFd,
};

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getppid, pidfd_open, set_parent_process_death_signal, setrlimit, setsid,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Command,
};

/// How many limits a child can have of its own.
pub(super) const LIMITS: usize = 5;

/// Restrictions of a child before its program begins.
///
/// - It is killed when the thread that spawned it ends, so no child outlives a node that was killed. Agents are
///   therefore spawned on the thread `spawner`, which lives as long as the node.
/// - It leads a session, and so a process group, of its own: it has no terminal, and cannot type into the operator's shell.
/// - It bears a mark that all its descendants inherit, so that they can be found when it ends.
/// - It inherits no open file but its three pipes: the node may have inherited some itself that are not marked.
/// - It gains no privileges by running programs that are set-user-id.
/// - It has the limits of its settings.
pub(super) struct Confinement {
    /// The node.
    pub parent: Pid,
    /// The limit `RLIMIT_RTTIME`, which is the mark.
    pub mark: Rlimit,
    pub limits: [Option<(Resource, Rlimit)>; LIMITS],
}

impl Confinement {
    /// Runs in the child between fork and exec, where only system calls are allowed: no allocation, no lock, no panic.
    fn apply(&self) -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the line above took effect: then that signal would never come.
        if getppid() != Some(self.parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        setsid()?;
        close_others_on_exec()?;
        set_no_new_privs()?;
        for (resource, limit) in self.limits.iter().flatten() {
            setrlimit(*resource, *limit)?;
        }
        // Where the node itself has a lower limit, its group alone is known to be an agent's.
        let _unmarked = setrlimit(Resource::Rttime, self.mark);
        Ok(())
    }
}

/// Makes the child confine itself between fork and exec. If that fails, so does the spawn.
pub(super) fn before_exec(command: &mut Command, confinement: Confinement) {
    // SAFETY: after fork another thread of the node may own the allocator's or any other lock for ever, so the hook may
    // make only async-signal-safe calls. `Confinement::apply` makes bare system calls with existing arguments: it
    // neither allocates, locks nor unwinds.
    unsafe { command.pre_exec(move || confinement.apply()) };
}

unsafe extern "C" {
    fn prctl(option: c_int, ...) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

/// Forbids the calling thread, and what it executes, to gain privileges. Async-signal-safe.
fn set_no_new_privs() -> io::Result<()> {
    const PR_SET_NO_NEW_PRIVS: c_int = 38;

    let (yes, unused): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: `prctl(2)` takes an option and up to four numbers; this option reads and writes no memory.
    match unsafe { prctl(PR_SET_NO_NEW_PRIVS, yes, unused, unused, unused) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Marks all descriptors but the standard three to be closed by exec. Async-signal-safe. Needs Linux 5.11.
fn close_others_on_exec() -> io::Result<()> {
    /// The same number on all architectures that Rust has a standard library for.
    const SYS_CLOSE_RANGE: c_long = 436;
    const CLOSE_RANGE_CLOEXEC: c_ulong = 4;

    let (first, last): (c_ulong, c_ulong) = (3, c_ulong::from(u32::MAX));
    // SAFETY: `close_range(2)` takes three numbers. With this flag it closes nothing now.
    match unsafe { syscall(SYS_CLOSE_RANGE, first, last, CLOSE_RANGE_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns a descriptor that becomes readable when the process ends, also before it is reaped.
pub(super) fn watch_exit(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // SAFETY: the descriptor is open, owned by the `AsyncFd` from here on, and an `OwnedFd` never changes its number.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}
