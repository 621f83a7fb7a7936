//! Marks of the descendants of an agent, which they cannot remove.

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Set in every mark, and far beyond any real limit: as one it would be 36,000 years.
const BASE: u64 = 1 << 60;
const COUNT_BITS: u32 = 24;

/// A number that an agent and all its descendants have: their hard limit `RLIMIT_RTTIME`.
///
/// Children inherit limits, also those that begin a session or a group of their own, lose their parents, or clear their
/// environment. This limit bounds the processor time of real-time threads alone, in microseconds, and a mark is far
/// above what a thread could use: it changes nothing. Only a process that lowers its limit by itself loses the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::process) struct Mark(u64);

/// The part of a mark that all agents of one node share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeMark(u64);

impl Mark {
    /// A mark for another agent of this process.
    pub(in crate::process) fn next() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed) & ((1 << COUNT_BITS) - 1);
        Self(BASE | NodeMark::own().0 << COUNT_BITS | count)
    }

    /// Returns the limit that represents it.
    pub(in crate::process) const fn limit(self) -> u64 {
        self.0
    }

    /// Returns the node of the mark.
    pub(super) const fn node(self) -> NodeMark {
        NodeMark((self.0 & !BASE) >> COUNT_BITS)
    }

    /// Reads the mark of a process.
    fn of(pid: Pid) -> Option<Self> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max realtime timeout"))?;
        let hard: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        (hard & BASE == BASE && hard < BASE << 1).then_some(Self(hard))
    }
}

impl NodeMark {
    /// The mark of this process, drawn at the first call.
    pub(super) fn own() -> Self {
        static OWN: OnceLock<NodeMark> = OnceLock::new();
        *OWN.get_or_init(|| Self(RandomState::new().build_hasher().finish() & ((1 << 36) - 1)))
    }

    /// Reads it from a name that [`NodeMark::to_string`] is part of.
    pub(super) fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().filter(|mark| *mark < 1 << 36).map(Self)
    }
}

impl std::fmt::Display for NodeMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:09x}", self.0)
    }
}

/// Sends SIGKILL to every process whose mark matches. Returns how many there were.
pub(super) fn kill_marked(is_meant: impl Fn(Mark) -> bool) -> usize {
    let meant = |pid: Pid| Mark::of(pid).is_some_and(&is_meant) && !has_ended(pid);
    let kill = |pid: Pid| {
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        // The kernel may have given its number to another process before the descriptor was opened.
        if meant(pid) { pidfd_send_signal(process, Signal::KILL) } else { Ok(()) }
    };
    processes().filter(|pid| meant(*pid)).filter(|pid| kill(*pid).is_ok()).count()
}

/// Reaps children of this process that have a mark of this process, have ended, and are no agents.
///
/// Process 1 adopts all processes whose parents ended. Agents are reaped by their process group.
pub(super) fn reap_adopted(is_agent: impl Fn(Pid) -> bool) {
    let is_own = |pid: Pid| Mark::of(pid).is_some_and(|mark| mark.node() == NodeMark::own());
    for pid in processes().filter(|pid| is_adopted_zombie(*pid) && !is_agent(*pid) && is_own(*pid)) {
        let _reaped = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
    }
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
}

/// The state of a process, and its parent.
fn state(pid: Pid) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn has_ended(pid: Pid) -> bool {
    state(pid).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
}

fn is_adopted_zombie(pid: Pid) -> bool {
    state(pid) == Some(('Z', 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_apart_and_name_their_node() {
        let (one, other) = (Mark::next(), Mark::next());
        assert_ne!(one, other);
        assert_eq!(one.node(), NodeMark::own());
        assert_eq!(NodeMark::parse(&NodeMark::own().to_string()), Some(NodeMark::own()));
        assert_eq!(NodeMark::parse("x"), None);
    }
}
