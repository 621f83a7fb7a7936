//! The suite that every store must pass.
//!
//! [`store_conformance!`](crate::store_conformance) makes one test of each case, so that a failure has a name. A case
//! opens a store of its own through a factory. A bug found in one store becomes a case for all.
//!
//! ```ignore
//! mod postgres {
//!     forerunner_store::store_conformance!(|| async { Arc::new(open_a_fresh_one().await) as Arc<dyn Store> });
//! }
//! ```

mod answers;
mod api_keys;
mod bulk;
mod contexts;
mod fencing;
mod held;
mod keys;
mod lab;
mod life;
mod lines;
mod listing;
mod model;
mod moves;
mod nodes;
mod order;
mod parents;
mod peeks;
mod property;
mod random;
mod schedules;
mod sizes;
mod tenants;

pub use answers::*;
pub use api_keys::*;
pub use bulk::*;
pub use contexts::*;
pub use fencing::*;
pub use held::*;
pub use keys::*;
pub use life::*;
pub use lines::*;
pub use listing::*;
pub use moves::*;
pub use nodes::*;
pub use order::*;
pub use parents::*;
pub use peeks::*;
pub use random::*;
pub use schedules::*;
pub use sizes::*;
pub use tenants::*;

/// Makes a test of each conformance case. The argument is the factory: `Fn() -> impl Future<Output = Arc<dyn Store>>`;
/// each call makes a new store.
///
/// The crate that calls it needs `tokio` with `macros` and `rt`.
#[macro_export]
macro_rules! store_conformance {
    ($factory:expr) => {
        $crate::store_conformance! { @cases $factory;
            a_task_lives_from_enqueue_to_settle
            a_failed_attempt_is_noted_and_tried_again_later
            an_attempt_that_does_not_count_sends_its_task_to_the_end_of_the_queue
            a_release_is_not_counted_and_goes_to_the_front
            a_retry_keeps_its_place
            a_waiting_task_is_cancelled_at_once_and_a_running_one_reported
            a_task_cancelled_while_it_runs_is_not_run_again
            a_retried_task_starts_afresh
            rescue_takes_back_what_other_nodes_ran
            rescue_takes_back_what_outlived_its_node_s_lease
            a_task_that_crashed_too_often_dies
            purge_removes_the_oldest_ends_only
            a_closed_store_says_so
            priorities_come_first_and_then_the_first_due
            a_claim_takes_no_more_than_it_may_and_only_from_its_pool
            pools_with_tasks_are_those_with_unfinished_ones
            a_look_shows_what_would_be_claimed_and_hands_nothing_out
            a_take_leases_what_it_names_and_what_is_still_there
            a_look_knows_version_and_size_of_a_context
            a_delayed_task_waits_for_its_time
            a_deadline_ends_queued_and_scheduled_tasks
            delayed_tasks_are_counted_by_the_second_they_are_due_in
            retries_are_due_when_their_delay_is_over_though_the_clock_was_set_back
            calls_take_effect_in_the_order_they_were_made
            a_context_runs_one_task_at_a_time_in_order
            a_context_waits_while_its_first_task_waits_for_a_retry
            cancelling_in_a_line_lets_only_the_next_come
            an_expired_head_lets_the_next_come
            a_scheduled_task_joins_its_line_when_due
            a_clock_that_went_back_lets_nobody_push_in
            the_same_key_and_body_is_the_same_task
            one_key_in_one_batch_is_one_task
            one_key_at_once_from_many_is_one_task
            the_task_of_a_key_is_found
            a_purged_key_is_free_again
            the_same_id_is_the_same_task
            a_stale_epoch_settles_nothing
            a_settle_after_cancel_or_rescue_is_lost
            the_newest_epoch_alone_is_accepted
            agents_are_noted_under_their_lease_only
            a_held_task_starts_when_that_is_told
            a_held_task_given_back_was_never_tried
            a_held_task_whose_node_is_gone_is_under_suspicion_only
            a_context_grows_by_frames_and_is_replaced_by_a_full_one
            a_context_of_another_version_loses_the_lease
            who_holds_a_version_reads_only_what_follows
            a_piece_lives_as_long_as_a_context_names_it
            a_fresh_base_replaces_what_led_to_it
            a_context_begun_anew_is_another_one
            contexts_are_listed_by_pages
            old_contexts_expire_unless_in_use
            what_a_context_took_is_on_its_task
            a_context_in_use_is_not_deleted
            notes_are_kept_replaced_and_removed
            listings_filter_by_everything
            listings_filter_by_time
            many_tasks_are_cancelled_at_once
            many_tasks_are_sent_back_in_the_order_of_their_conversation
            a_deleted_task_leaves_nothing_behind
            attempts_that_did_not_succeed_are_kept_with_their_task
            a_task_that_waits_is_moved_and_a_conversation_keeps_its_order
            tasks_that_wait_go_to_another_pool
            tasks_that_cannot_go_to_another_pool_stay
            a_key_goes_to_another_pool_with_its_task
            the_inputs_of_tasks_that_have_not_ended_are_summed
            a_pool_without_room_begins_no_context
            a_child_is_one_deeper_than_its_parent
            pages_neither_skip_nor_repeat
            pages_of_a_label_neither_skip_nor_repeat
            nodes_that_beat_are_known_until_their_lease_ends
            one_node_leads_under_a_term_that_only_grows
            a_plan_is_the_leader_s_under_its_term
            a_beat_renews_the_leases_of_the_node
            a_schedule_is_made_changed_and_removed_at_its_revision
            the_task_of_a_schedule_is_accepted_with_its_change_or_not_at_all
            of_many_who_decide_the_same_occurrence_one_succeeds
            a_key_is_made_changed_and_removed_at_its_revision
            the_day_of_the_last_use_is_noted
            of_many_who_change_a_key_one_succeeds
            a_task_that_asks_waits_without_an_agent_and_is_answered_once
            a_task_that_asks_keeps_its_place_in_its_conversation
            a_question_without_an_answer_ends_at_the_deadline
            a_question_has_a_deadline_of_its_own
            what_a_submission_says_stays_with_its_task
            what_agents_report_stays_with_their_task
            names_of_two_tenants_never_meet
            tasks_are_listed_by_tenant
            who_cancelled_a_task_is_noted
            the_unfinished_tasks_of_a_tenant_are_counted
            random_operations_agree_with_a_simple_model
        }
    };
    (@cases $factory:expr; $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::conformance::$case($factory).await;
            }
        )*
    };
}

#[cfg(test)]
mod memory {
    use std::sync::Arc;

    use crate::{MemoryStore, Store};

    crate::store_conformance!(|| async { Arc::new(MemoryStore::default()) as Arc<dyn Store> });
}

#[cfg(test)]
mod sqlite {
    use std::{cell::RefCell, path::Path, sync::Arc};

    use tempfile::TempDir;

    use crate::{SqliteOptions, SqliteStore, Store};

    thread_local! {
        /// Retains the directories of a test until its thread ends.
        static DIRECTORIES: RefCell<Vec<TempDir>> = const { RefCell::new(Vec::new()) };
    }

    fn fresh() -> Arc<dyn Store> {
        // What is tested here is not the disk, so it may as well be in memory.
        let shared = Path::new("/dev/shm");
        let directory = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.unwrap();
        let store = SqliteStore::open(directory.path().join("tasks.db"), SqliteOptions::default()).unwrap();
        DIRECTORIES.with_borrow_mut(|directories| directories.push(directory));
        Arc::new(store)
    }

    crate::store_conformance!(|| async { fresh() });
}
