//! What happens in a child between fork and exec.

use std::io;

use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, getppid, set_parent_process_death_signal, setrlimit};

use super::{ProcessLimits, os};

const LIMITS: usize = 5;

/// What a child gives up before its program begins.
///
/// - It is killed when the thread that spawned it ends, so no child outlives a node that was killed. Agents are
///   therefore spawned on the thread of their own actor, which lives as long as they do.
/// - It inherits no open file but its three pipes: the node may have inherited some itself that are not marked.
/// - It gains no privileges by running programs that are set-user-id.
/// - It keeps to the limits of its [`ProcessLimits`].
pub(super) struct Confinement {
    parent: Pid,
    limits: [Option<(Resource, Rlimit)>; LIMITS],
}

impl Confinement {
    /// Prepares everything that the child will need: it cannot allocate.
    pub(super) fn new(limits: &ProcessLimits) -> Self {
        let both = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
        let limits = [
            (Resource::As, limits.address_space_bytes),
            (Resource::Cpu, limits.cpu_s),
            (Resource::Nofile, limits.open_files),
            (Resource::Nproc, limits.processes),
            (Resource::Core, Some(limits.core_bytes)),
        ];
        Self { parent: getpid(), limits: limits.map(|(resource, value)| Some((resource, both(value?)))) }
    }

    /// Runs in the child between fork and exec, where only system calls are allowed: no allocation, no lock, no panic.
    pub(super) fn apply(&self) -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the line above took effect: then nobody would ever send that signal.
        if getppid() != Some(self.parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        os::close_others_on_exec()?;
        os::set_no_new_privs()?;
        for (resource, limit) in self.limits.iter().flatten() {
            setrlimit(*resource, *limit)?;
        }
        Ok(())
    }
}
