//! What a child may do, and which resources of the machine it may use.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getpid, getrlimit, set_dumpable_behavior};

use super::{
    ProcessLimits,
    cleanup::Mark,
    os::{Confinement, LIMITS},
};

/// Prepares everything that the child will need for its confinement: it cannot allocate.
pub(super) fn confinement(limits: &ProcessLimits, mark: Mark) -> Confinement {
    let both = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    let limits = wanted(limits).map(|(_, resource, value)| Some((resource, both(value?))));
    Confinement { parent: getpid(), mark: both(mark.limit()), limits }
}

/// Closes the node's memory, environment and files to other processes of its user, such as agents: `/proc/PID/environ`,
/// `mem` and `fd` of the node then belong to root, and no debugger can attach. Root still can.
///
/// Call it before agents start. From then on the process leaves no core dump. A program that it executes is open again.
///
/// # Errors
/// Where the system does not know how.
pub fn shield_node() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The requested limits, by their names in the configuration.
fn wanted(limits: &ProcessLimits) -> [(&'static str, Resource, Option<u64>); LIMITS] {
    [
        ("address_space_bytes", Resource::As, limits.address_space_bytes),
        ("cpu_s", Resource::Cpu, limits.cpu_s),
        ("open_files", Resource::Nofile, limits.open_files),
        ("processes", Resource::Nproc, limits.processes),
        ("core_bytes", Resource::Core, Some(limits.core_bytes)),
    ]
}

/// Finds a limit that is above the node's own hard limit, and what that is: only root may raise it.
pub(super) fn unattainable(limits: &ProcessLimits) -> Option<(&'static str, u64, u64)> {
    wanted(limits).into_iter().find_map(|(name, resource, value)| {
        let (value, most) = (value?, getrlimit(resource).maximum?);
        (value > most).then_some((name, value, most))
    })
}
