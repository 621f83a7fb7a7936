//! Policies that send a task to an agent as it arrives.

use std::collections::HashMap;

use super::PlacementPolicy;

/// Most load of an agent under [`PlacementPolicy::Rendezvous`], as a multiple of the mean. Source: Mirrokni, Thorup,
/// Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018.
const BOUND: f64 = 1.25;

/// Tasks, the running one included, up to which an agent retains its sessions under [`PlacementPolicy::Sticky`].
const STICKY_TASKS: usize = 2;

/// The agents of sessions.
#[derive(Debug, Default)]
pub(super) struct Router {
    homes: HashMap<u32, usize>,
}

impl Router {
    /// The agent for a task of `context`; `loads` has the number of tasks of each, the running one included.
    pub fn route(&mut self, policy: PlacementPolicy, context: u32, loads: &[usize]) -> usize {
        match policy {
            PlacementPolicy::Sticky => {
                let home = self.homes.get(&context).copied().filter(|home| loads[*home] < STICKY_TASKS);
                let agent = home.unwrap_or_else(|| least(loads));
                self.homes.insert(context, agent);
                agent
            }
            PlacementPolicy::Rendezvous => rendezvous(context, loads),
            _ => least(loads),
        }
    }
}

fn least(loads: &[usize]) -> usize {
    (0..loads.len()).min_by_key(|agent| loads[*agent]).unwrap_or(0)
}

fn rendezvous(context: u32, loads: &[usize]) -> usize {
    let mean = (loads.iter().sum::<usize>() + 1) as f64 / loads.len() as f64;
    let most = (BOUND * mean).ceil() as usize;
    let open = (0..loads.len()).filter(|agent| loads[*agent] < most);
    open.max_by_key(|agent| mix(u64::from(context) << 32 | *agent as u64)).unwrap_or(0)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_stays_until_its_agent_is_full() {
        let mut router = Router::default();
        let sticky = PlacementPolicy::Sticky;
        assert_eq!(router.route(sticky, 7, &[1, 0, 0]), 1);
        assert_eq!(router.route(sticky, 7, &[0, 1, 0]), 1, "though others are idle");
        assert_eq!(router.route(sticky, 7, &[1, 2, 0]), 2);
        assert_eq!(router.route(sticky, 7, &[0, 0, 0]), 2, "from now on there");
    }

    #[test]
    fn hashing_spreads_sessions_and_no_agent_is_over_its_bound() {
        let homes: Vec<usize> = (0..4_000).map(|context| rendezvous(context, &[0; 4])).collect();
        for agent in 0..4 {
            let share = homes.iter().filter(|home| **home == agent).count();
            assert!((900..1_100).contains(&share), "{share}");
        }
        let moved = (0..4_000).filter(|context| rendezvous(*context, &[0; 5]) != homes[*context as usize]);
        assert!((700..900).contains(&moved.count()), "one in five moves to a fifth agent");
        let busy = homes[9];
        let mut loads = [0; 4];
        loads[busy] = 3;
        assert_ne!(rendezvous(9, &loads), busy);
    }
}
