//! How the agents of a pool are divided among the nodes that run it.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::NodeId;

/// A node that runs agents of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Most agents of the pool that the node may run.
    pub capacity: u32,
    /// Agents of the pool that it runs now, also those that start or are on the way out.
    pub agents: u32,
}

/// Divides `total` agents among `members`, in their order: by capacity, but never so that more than `total` exist at once.
///
/// The aim is proportional to capacity, by the method of Webster and Sainte-Laguë. It is *house monotone*: one agent
/// more for the pool never removes one from any node. A node gets an aim above its present share only as far as the
/// others have released theirs. So a node that joins grows as the old ones shrink, and nothing starts twice.
///
/// The sum of the result is at most `total`, and each entry at most the member's capacity.
pub fn shares(total: u32, members: &[Member]) -> Vec<u32> {
    let aims = aims(total, members);
    let held: u64 = members.iter().map(|member| u64::from(member.agents)).sum();
    let mut free = u32::try_from(u64::from(total).saturating_sub(held)).unwrap_or(u32::MAX);
    let mut grants: Vec<u32> = members.iter().zip(&aims).map(|(member, aim)| member.agents.min(*aim)).collect();
    // The emptiest come first; of equals the one that was there first.
    let mut growing: Vec<usize> = (0..members.len()).filter(|&index| grants[index] < aims[index]).collect();
    growing.sort_by_key(|&index| (Reverse(aims[index] - grants[index]), members[index].node));
    for index in growing {
        let grant = (aims[index] - grants[index]).min(free);
        grants[index] += grant;
        free -= grant;
    }
    grants
}

/// Each member's part of `total`: the member with the least for its size gets the next one.
fn aims(total: u32, members: &[Member]) -> Vec<u32> {
    let capacity: u64 = members.iter().map(|member| u64::from(member.capacity)).sum();
    let mut aims = vec![0_u32; members.len()];
    let mut next: BinaryHeap<_> = (0..members.len()).filter_map(|index| claim(members, index, 0)).collect();
    for _ in 0..capacity.min(u64::from(total)) {
        let Some(Claim { index, .. }) = next.pop() else { break };
        aims[index] += 1;
        next.extend(claim(members, index, aims[index]));
    }
    aims
}

/// How strong a member's claim to one agent more is. The greatest is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    /// Capacity, and twice the agents it has plus one: their quotient counts.
    quotient: (u32, u32),
    node: NodeId,
    index: usize,
}

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let cross = |of: (u32, u32), by: (u32, u32)| u64::from(of.0) * u64::from(by.1);
        let (ours, theirs) = (cross(self.quotient, other.quotient), cross(other.quotient, self.quotient));
        ours.cmp(&theirs).then_with(|| other.node.cmp(&self.node))
    }
}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn claim(members: &[Member], index: usize, has: u32) -> Option<Claim> {
    let Member { node, capacity, .. } = members[index];
    (has < capacity).then(|| Claim { quotient: (capacity, has.saturating_mul(2).saturating_add(1)), node, index })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Timestamp;

    fn member(number: u128, capacity: u32, agents: u32) -> Member {
        Member { node: NodeId::from_parts(Timestamp::default(), number << 64), capacity, agents }
    }

    #[test]
    fn agents_are_divided_by_capacity() {
        type Case = (u32, &'static [(u32, u32)], &'static [u32]);
        let table: [Case; 7] = [
            (6, &[(10, 0), (10, 0), (10, 0)], &[2, 2, 2]),
            (7, &[(10, 0), (10, 0), (10, 0)], &[3, 2, 2]),
            (9, &[(20, 0), (10, 0)], &[6, 3]),
            // More than there is room for.
            (99, &[(4, 0), (2, 0)], &[4, 2]),
            // A node has joined: it gets what is free, and the rest as the first node releases it.
            (10, &[(20, 8), (20, 0)], &[5, 2]),
            (10, &[(20, 5), (20, 2)], &[5, 5]),
            // A node shrinks before another grows.
            (4, &[(20, 4), (20, 0)], &[2, 0]),
        ];
        for (total, nodes, expected) in table {
            let members: Vec<_> =
                nodes.iter().zip(1..).map(|(&(capacity, agents), n)| member(n, capacity, agents)).collect();
            assert_eq!(shares(total, &members), expected, "{total} among {nodes:?}");
        }
        assert!(shares(5, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn no_more_than_the_total_ever_exist(
            total in 0_u32..300,
            nodes in prop::collection::vec((0_u32..80, 0_u32..80), 0..6),
        ) {
            let members: Vec<_> = nodes.iter().zip(1..).map(|(&(capacity, agents), n)| member(n, capacity, agents)).collect();
            let granted = shares(total, &members);
            let agents: u64 = members.iter().map(|member| u64::from(member.agents)).sum();
            // While those on the way out are still there.
            let at_most: u64 = members.iter().zip(&granted).map(|(member, grant)| u64::from(*grant.max(&member.agents))).sum();
            prop_assert!(at_most <= u64::from(total).max(agents));
            prop_assert!(granted.iter().sum::<u32>() <= total);
            prop_assert!(members.iter().zip(&granted).all(|(member, grant)| *grant <= member.capacity));
        }

        #[test]
        fn with_time_the_whole_total_is_granted_and_one_more_takes_from_nobody(
            total in 0_u32..300,
            capacities in prop::collection::vec(1_u32..80, 1..6),
            agents in prop::collection::vec(0_u32..80, 6),
        ) {
            let settle = |total: u32, mut members: Vec<Member>| {
                for _ in 0..3 {
                    let granted = shares(total, &members);
                    for (member, grant) in members.iter_mut().zip(granted) {
                        member.agents = grant;
                    }
                }
                members.iter().map(|member| member.agents).collect::<Vec<_>>()
            };
            let members: Vec<_> = capacities.iter().zip(&agents).zip(1..).map(|((&c, &h), n)| member(n, c, h)).collect();
            let room: u32 = capacities.iter().sum();
            let settled = settle(total, members.clone());
            prop_assert_eq!(settled.iter().sum::<u32>(), total.min(room));
            let grown = settle(total + 1, members);
            prop_assert!(settled.iter().zip(&grown).all(|(before, after)| before <= after), "{:?} {:?}", settled, grown);
        }
    }
}
