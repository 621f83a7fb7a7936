//! What a queue claims, prefetches, dispatches and releases.

use super::*;

const fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(1_000_000_000 + millis * 1_000)
}

/// A queue that has just polled for work and found none.
fn idle() -> QueueMachine {
    let mut queue = QueueMachine::new(0, None);
    assert_eq!(queue.step(QueueEvent::Demand(1), at(0)), vec![QueueAction::Claim(1)]);
    queue.step(QueueEvent::Claimed { asked: 1, got: 0 }, at(0));
    queue.step(QueueEvent::Withdraw(1), at(0));
    queue
}

#[test]
fn a_claim_is_made_when_work_meets_demand_and_one_at_a_time() {
    let mut queue = idle();
    assert!(queue.step(QueueEvent::BecameClaimable(3), at(1)).is_empty());
    assert_eq!(queue.step(QueueEvent::Demand(2), at(1)), vec![QueueAction::Claim(2)]);
    assert!(queue.step(QueueEvent::Demand(5), at(1)).is_empty(), "one claim at a time");
    assert_eq!(queue.step(QueueEvent::Claimed { asked: 2, got: 2 }, at(2)), vec![QueueAction::Claim(1)]);
    let actions = queue.step(QueueEvent::Claimed { asked: 1, got: 1 }, at(2));
    assert_eq!(actions, vec![QueueAction::Wake(at(1_002))], "nothing is known of: it looks again later");
    assert_eq!((queue.depth(), queue.open_slots()), (0, 4));
}

#[test]
fn tasks_that_it_was_not_told_of_are_found_and_hide_none_that_come_later() {
    let mut queue = idle();
    assert!(queue.step(QueueEvent::Demand(3), at(10)).is_empty(), "it has asked to be woken when it last looked");
    assert_eq!(queue.step(QueueEvent::Tick, at(1_000)), vec![QueueAction::Claim(3)]);
    queue.step(QueueEvent::Claimed { asked: 3, got: 2 }, at(1_001));
    assert_eq!(
        queue.step(QueueEvent::BecameClaimable(1), at(1_002)),
        vec![QueueAction::Claim(1)],
        "at once, not later"
    );
}

#[test]
fn work_that_another_node_speaks_of_is_looked_for_at_once_or_once_there_is_a_slot() {
    let mut queue = idle();
    queue.step(QueueEvent::Demand(2), at(1));
    assert_eq!(queue.step(QueueEvent::WorkHint, at(2)), vec![QueueAction::Claim(2)]);
    assert!(queue.step(QueueEvent::WorkHint, at(3)).is_empty(), "one claim at a time");
    assert_eq!(queue.step(QueueEvent::Claimed { asked: 2, got: 2 }, at(4)), vec![]);
    assert_eq!(queue.step(QueueEvent::Demand(1), at(5)), vec![QueueAction::Claim(1)], "told of during the claim");
    queue.step(QueueEvent::Claimed { asked: 1, got: 0 }, at(6));
    assert!(queue.step(QueueEvent::Tick, at(7)).iter().all(|action| !matches!(action, QueueAction::Claim(_))));
}

#[test]
fn a_submission_heard_of_during_a_claim_is_not_forgotten() {
    let mut queue = idle();
    queue.step(QueueEvent::BecameClaimable(1), at(1));
    queue.step(QueueEvent::Demand(4), at(1));
    queue.step(QueueEvent::BecameClaimable(2), at(1));
    // The first task had expired, so none arrived. The two that arrived since are still there.
    assert_eq!(queue.step(QueueEvent::Claimed { asked: 1, got: 0 }, at(2)), vec![QueueAction::Claim(2)]);
}

#[test]
fn a_claim_that_outruns_the_answer_to_a_submission_keeps_the_count_right() {
    let mut queue = idle();
    queue.step(QueueEvent::Demand(1), at(1));
    assert_eq!(queue.step(QueueEvent::Tick, at(1_500)), vec![QueueAction::Claim(1)], "a poll");
    queue.step(QueueEvent::Claimed { asked: 1, got: 1 }, at(1_501));
    assert_eq!(queue.depth(), 0);
    queue.step(QueueEvent::BecameClaimable(1), at(1_502));
    assert_eq!(queue.depth(), 0);
}

#[test]
fn a_task_on_its_way_to_the_store_is_claimed_right_behind_it() {
    let mut queue = idle();
    assert!(queue.step(QueueEvent::EnqueueStarted(1), at(1)).is_empty(), "nobody could take it");
    queue.step(QueueEvent::EnqueueDone { left: 0 }, at(1));
    queue.step(QueueEvent::BecameClaimable(1), at(1));
    assert_eq!(queue.step(QueueEvent::Demand(3), at(1)), vec![QueueAction::Claim(1)]);
    queue.step(QueueEvent::Claimed { asked: 1, got: 1 }, at(1));
    assert_eq!(queue.step(QueueEvent::EnqueueStarted(1), at(2)), vec![QueueAction::Claim(1)]);
    assert!(queue.step(QueueEvent::EnqueueStarted(1), at(2)).is_empty(), "one claim at a time");
    assert_eq!(queue.step(QueueEvent::Claimed { asked: 1, got: 1 }, at(3)), vec![QueueAction::Claim(1)]);
    queue.step(QueueEvent::EnqueueDone { left: 1 }, at(3));
    queue.step(QueueEvent::BecameClaimable(1), at(3));
    queue.step(QueueEvent::EnqueueDone { left: 0 }, at(4));
    queue.step(QueueEvent::BecameClaimable(1), at(4));
    assert!(!queue.step(QueueEvent::Claimed { asked: 1, got: 1 }, at(4)).contains(&QueueAction::Claim(1)));
    assert_eq!((queue.depth(), queue.open_slots()), (0, 0));
}

#[test]
fn a_task_that_was_on_its_way_and_did_not_come_is_not_claimed() {
    let mut queue = idle();
    queue.step(QueueEvent::EnqueueStarted(2), at(1));
    queue.step(QueueEvent::EnqueueDone { left: 0 }, at(1));
    assert!(queue.step(QueueEvent::Demand(3), at(1)).is_empty());
}

#[test]
fn slots_under_claim_cannot_be_withdrawn() {
    let mut queue = idle();
    queue.step(QueueEvent::BecameClaimable(1), at(1));
    queue.step(QueueEvent::Demand(3), at(1));
    let actions = queue.step(QueueEvent::Withdraw(3), at(1));
    assert_eq!(actions, vec![QueueAction::Withdrawn { asked: 2, got: 2 }]);
    let actions = queue.step(QueueEvent::Claimed { asked: 1, got: 1 }, at(2));
    assert_eq!(actions, vec![QueueAction::Withdrawn { asked: 1, got: 0 }], "said once it is known");
    assert_eq!(queue.open_slots(), 0);
    queue.step(QueueEvent::BecameClaimable(1), at(3));
    queue.step(QueueEvent::Demand(1), at(3));
    assert!(queue.step(QueueEvent::Withdraw(1), at(3)).is_empty());
    let actions = queue.step(QueueEvent::ClaimFailed { retry_at: at(9) }, at(4));
    assert!(actions.contains(&QueueAction::Withdrawn { asked: 1, got: 1 }), "{actions:?}");
}

#[test]
fn a_store_that_fails_is_asked_again_later() {
    let mut queue = idle();
    queue.step(QueueEvent::BecameClaimable(1), at(1));
    queue.step(QueueEvent::Demand(1), at(1));
    let actions = queue.step(QueueEvent::ClaimFailed { retry_at: at(100) }, at(2));
    assert_eq!(actions, vec![QueueAction::Wake(at(100))]);
    assert!(queue.step(QueueEvent::BecameClaimable(1), at(50)).is_empty());
    assert_eq!(queue.step(QueueEvent::Tick, at(100)), vec![QueueAction::Claim(1)]);
}

#[test]
fn tasks_that_are_left_for_a_busy_agent_are_looked_at_again_in_time_or_once_something_changes() {
    let left = || {
        let mut queue = idle();
        queue.step(QueueEvent::BecameClaimable(3), at(1));
        assert_eq!(queue.step(QueueEvent::Demand(4), at(1)), vec![QueueAction::Claim(3)]);
        let actions = queue.step(QueueEvent::ClaimDeferred { got: 1, again_at: at(400) }, at(2));
        assert_eq!(actions, vec![QueueAction::Wake(at(400))]);
        assert_eq!((queue.depth(), queue.open_slots()), (2, 3));
        queue
    };
    assert_eq!(left().step(QueueEvent::Tick, at(300)), vec![QueueAction::Wake(at(400))], "woken too early");
    assert_eq!(left().step(QueueEvent::Tick, at(400)), vec![QueueAction::Claim(2)]);
    assert_eq!(left().step(QueueEvent::BecameClaimable(1), at(3)), vec![QueueAction::Claim(3)]);
    assert_eq!(left().step(QueueEvent::Demand(1), at(3)), vec![QueueAction::Claim(2)]);
    let actions = left().step(QueueEvent::Withdraw(2), at(3));
    assert_eq!(actions, vec![QueueAction::Withdrawn { asked: 2, got: 2 }]);
}

#[test]
fn what_becomes_due_during_a_sweep_is_not_forgotten() {
    let mut queue = idle();
    queue.step(QueueEvent::Due(at(10)), at(1));
    assert_eq!(queue.step(QueueEvent::Tick, at(10)), vec![QueueAction::Sweep]);
    queue.step(QueueEvent::Due(at(20)), at(11));
    assert_eq!(queue.step(QueueEvent::Swept { next_due: None }, at(12)), vec![QueueAction::Wake(at(20))]);
    assert_eq!(queue.step(QueueEvent::Tick, at(20)), vec![QueueAction::Sweep]);
}

#[test]
fn due_tasks_are_swept_once_and_in_time() {
    let mut queue = idle();
    assert_eq!(queue.step(QueueEvent::Due(at(500)), at(1)), vec![QueueAction::Wake(at(500))]);
    assert!(queue.step(QueueEvent::Due(at(900)), at(2)).is_empty());
    assert_eq!(queue.step(QueueEvent::Tick, at(499)), vec![QueueAction::Wake(at(500))], "woken too early");
    assert_eq!(queue.step(QueueEvent::Tick, at(500)), vec![QueueAction::Sweep]);
    assert!(queue.step(QueueEvent::Tick, at(501)).is_empty(), "one sweep at a time");
    let actions = queue.step(QueueEvent::Swept { next_due: Some(at(900)) }, at(502));
    assert_eq!(actions, vec![QueueAction::Wake(at(900))]);
}

/// A queue with one running task and three prefetched ones, of six that wait.
fn ahead() -> QueueMachine {
    let mut queue = idle();
    queue.step(QueueEvent::SetPrefetch { limit: 3, nodes: 1 }, at(1));
    assert_eq!(queue.step(QueueEvent::Demand(1), at(1)), vec![]);
    assert_eq!(queue.step(QueueEvent::BecameClaimable(10), at(1)), vec![QueueAction::Claim(4)]);
    let actions = queue.step(QueueEvent::Claimed { asked: 4, got: 4 }, at(2));
    assert_eq!(actions, vec![QueueAction::Wake(at(2) + PREFETCH_IDLE_LIMIT)]);
    assert_eq!((queue.depth(), queue.open_slots()), (9, 0), "what is held waits");
    queue
}

fn claims(actions: &[QueueAction]) -> Vec<usize> {
    let claims =
        actions.iter().filter_map(|action| if let QueueAction::Claim(limit) = action { Some(*limit) } else { None });
    claims.collect()
}

#[test]
fn what_is_held_is_handed_out_first_and_made_up_for_once_half_of_it_is_gone() {
    let mut queue = ahead();
    let actions = queue.step(QueueEvent::Demand(1), at(3));
    assert_eq!((actions[0], claims(&actions)), (QueueAction::Dispatch(1), Vec::new()));
    let actions = queue.step(QueueEvent::Demand(1), at(4));
    assert_eq!((actions[0], claims(&actions)), (QueueAction::Dispatch(1), vec![2]));
    let actions = queue.step(QueueEvent::Demand(2), at(5));
    assert_eq!(actions[0], QueueAction::Dispatch(1), "one slot is left for what the claim brings");
    queue.step(QueueEvent::Claimed { asked: 2, got: 2 }, at(6));
    assert_eq!((queue.depth(), queue.open_slots()), (5, 0));
}

#[test]
fn tasks_that_go_before_held_ones_are_claimed_although_enough_are_held() {
    let mut queue = ahead();
    assert_eq!(claims(&queue.step(QueueEvent::BecameClaimable(1), at(3))), [0; 0]);
    assert_eq!(claims(&queue.step(QueueEvent::Overtaking(1), at(3))), vec![1]);
}

#[test]
fn a_node_leaves_the_others_their_part_of_what_waits() {
    let mut queue = idle();
    queue.step(QueueEvent::SetPrefetch { limit: 100, nodes: 3 }, at(1));
    queue.step(QueueEvent::Demand(2), at(1));
    assert_eq!(
        queue.step(QueueEvent::BecameClaimable(8), at(1)),
        vec![QueueAction::Claim(4)],
        "two, and a third of six"
    );
}

#[test]
fn tasks_that_nobody_takes_go_back_and_none_is_held_until_it_is_asked_for_anew() {
    let mut queue = ahead();
    let late = at(2) + PREFETCH_IDLE_LIMIT;
    assert!(queue.step(QueueEvent::Tick, late).contains(&QueueAction::ReleasePrefetched));
    assert_eq!(queue.step(QueueEvent::PrefetchDropped(3), late), vec![]);
    assert_eq!(queue.step(QueueEvent::BecameClaimable(3), late), vec![]);
    assert_eq!(queue.depth(), 9);
    assert_eq!(claims(&queue.step(QueueEvent::Demand(1), late)), vec![1]);
}

#[test]
fn slots_can_be_withdrawn_while_tasks_are_claimed_ahead() {
    let mut queue = idle();
    queue.step(QueueEvent::SetPrefetch { limit: 4, nodes: 1 }, at(1));
    queue.step(QueueEvent::BecameClaimable(9), at(1));
    queue.step(QueueEvent::Claimed { asked: 4, got: 4 }, at(1));
    assert_eq!(queue.step(QueueEvent::Withdraw(1), at(1))[0], QueueAction::Withdrawn { asked: 1, got: 0 });
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let mut queue = idle();
    queue.step(QueueEvent::BecameClaimable(1), at(10_000));
    queue.step(QueueEvent::Demand(1), at(10_000));
    queue.step(QueueEvent::ClaimFailed { retry_at: at(10_100) }, at(10_000));
    queue.step(QueueEvent::Due(at(18_000)), at(10_000));
    let actions = queue.step(QueueEvent::ClockSetBack(Duration::from_secs(9)), at(1_000));
    assert!(actions.contains(&QueueAction::Sweep), "the store knows what is due by now: {actions:?}");
    assert!(queue.step(QueueEvent::Tick, at(1_050)).contains(&QueueAction::Wake(at(1_100))));
    assert!(queue.step(QueueEvent::Tick, at(1_100)).contains(&QueueAction::Claim(1)), "it waits no longer than before");
}

#[test]
fn no_more_tasks_begin_than_are_allowed_whatever_slots_are_open() {
    let mut queue = QueueMachine::new(10, None);
    assert_eq!(queue.step(QueueEvent::SetAllowance(Some(0)), at(0)), []);
    assert_eq!(queue.step(QueueEvent::Demand(4), at(0)), [], "no claim, and no poll either");
    assert_eq!(queue.step(QueueEvent::SetAllowance(Some(1)), at(0)), [QueueAction::Claim(1)]);
    queue.step(QueueEvent::Claimed { asked: 1, got: 1 }, at(0));
    assert_eq!((queue.startable(), queue.open_slots()), (0, 3));
    assert_eq!(queue.step(QueueEvent::SetAllowance(Some(2)), at(0)), [QueueAction::Claim(2)]);
    // Tasks that arrive after the allowance ended go to the buffer, and from there to the store.
    queue.step(QueueEvent::SetAllowance(Some(0)), at(0));
    let late = queue.step(QueueEvent::Claimed { asked: 2, got: 2 }, at(0));
    assert_eq!((late, queue.open_slots()), (vec![QueueAction::Wake(at(0) + PREFETCH_IDLE_LIMIT)], 3));
    assert_eq!(queue.step(QueueEvent::Tick, at(0) + PREFETCH_IDLE_LIMIT), [QueueAction::ReleasePrefetched]);
    queue.step(QueueEvent::PrefetchDropped(2), at(0) + PREFETCH_IDLE_LIMIT);
    queue.step(QueueEvent::BecameClaimable(2), at(0) + PREFETCH_IDLE_LIMIT);
    assert_eq!(queue.step(QueueEvent::SetAllowance(None), at(0) + PREFETCH_IDLE_LIMIT), [QueueAction::Claim(3)]);
}
