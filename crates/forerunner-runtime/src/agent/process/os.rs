//! The calls that Rust cannot check. All `unsafe` code of the runtime is in this file.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_long, c_ulong},
    io,
    os::fd::OwnedFd,
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Command,
};

use super::sandbox::Confinement;

/// Has the child confine itself between fork and exec. If that fails, so does the spawn.
pub(super) fn before_exec(command: &mut Command, confinement: Confinement) {
    // SAFETY: after fork another thread of the node may hold the allocator's or any other lock for ever, so the hook
    // may make only async-signal-safe calls. `Confinement::apply` makes bare system calls with arguments that exist
    // already: it neither allocates, locks nor unwinds.
    unsafe { command.pre_exec(move || confinement.apply()) };
}

unsafe extern "C" {
    fn prctl(option: c_int, ...) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

/// Forbids the calling thread, and what it executes, to gain privileges. Async-signal-safe.
pub(super) fn set_no_new_privs() -> io::Result<()> {
    const PR_SET_NO_NEW_PRIVS: c_int = 38;

    let (yes, unused): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: `prctl(2)` takes an option and up to four numbers; this option reads and writes no memory.
    match unsafe { prctl(PR_SET_NO_NEW_PRIVS, yes, unused, unused, unused) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Marks all descriptors but the standard three to be closed by exec. Async-signal-safe. Needs Linux 5.11.
pub(super) fn close_others_on_exec() -> io::Result<()> {
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
