//! What happens in a child between fork and exec.

use std::io;

use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, getpid, getppid, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, setsid,
};

use super::{ProcessLimits, leavings::Mark, os};

const LIMITS: usize = 5;

/// What a child gives up before its program begins.
///
/// - It is killed when the thread that spawned it ends, so no child outlives a node that was killed. Agents are
///   therefore spawned on the thread of their own actor, which lives as long as they do.
/// - It leads a session, and so a process group, of its own: it has no terminal, and cannot type into the operator's shell.
/// - It bears a mark that all its descendants inherit, so that they can be found when it ends.
/// - It inherits no open file but its three pipes: the node may have inherited some itself that are not marked.
/// - It gains no privileges by running programs that are set-user-id.
/// - It keeps to the limits of its [`ProcessLimits`].
pub(super) struct Confinement {
    parent: Pid,
    mark: Rlimit,
    limits: [Option<(Resource, Rlimit)>; LIMITS],
}

impl Confinement {
    /// Prepares everything that the child will need: it cannot allocate.
    pub(super) fn new(limits: &ProcessLimits, mark: Mark) -> Self {
        let both = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
        let limits = wanted(limits).map(|(_, resource, value)| Some((resource, both(value?))));
        Self { parent: getpid(), mark: both(mark.limit()), limits }
    }

    /// Runs in the child between fork and exec, where only system calls are allowed: no allocation, no lock, no panic.
    pub(super) fn apply(&self) -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the line above took effect: then nobody would ever send that signal.
        if getppid() != Some(self.parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        setsid()?;
        os::close_others_on_exec()?;
        os::set_no_new_privs()?;
        for (resource, limit) in self.limits.iter().flatten() {
            setrlimit(*resource, *limit)?;
        }
        // Where the node itself has a lower limit, its group alone is known to be an agent's.
        let _unmarked = setrlimit(Resource::Rttime, self.mark);
        Ok(())
    }
}

/// Shuts the node's memory, environment and files to other processes of its user, such as agents: `/proc/PID/environ`,
/// `mem` and `fd` of the node then belong to root, and no debugger can attach. Root gets there still.
///
/// Call it before agents start. The process leaves no core dump from then on. What it executes is open again.
///
/// # Errors
/// Where the system does not know how.
pub fn shield_node() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The limits that are asked for, by the names that the operator knows.
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
