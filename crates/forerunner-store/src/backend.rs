//! What implementations of [`Store`](crate::Store) share, besides the trait: for those who write one.
//!
//! A store decides nothing by itself where two stores could decide differently. This module decides where a task
//! starts, its place in its queue, and the error of an end without an attempt. It also decides how a task with an
//! unreadable row is reported, and how events are numbered in a store that persists them. The module `conformance`
//! checks the rest.
//!
//! It is small on purpose: SQL, rows and transactions are each store's own affair.

/// Named by [`not_shared!`](crate::not_shared) and [`keeps_no_events!`](crate::keeps_no_events).
#[doc(hidden)]
pub use forerunner_core::{TaskId, Timestamp};
#[doc(hidden)]
pub use tokio::sync::broadcast::Receiver;

pub use crate::{
    damage::{Damage, DamageCount, given_up, stand_in, stored_json, stored_time, unreadable},
    events::{Legs, after_seq, begin_seq},
    rules::{
        DUE_LIMIT, Moved, PAGE_LIMIT, SELECT_LIMIT, SWEEP_LIMIT, cancelled, child_depth, contexts_full, crashes_with,
        end_state, expired, first_due, first_state, moved, redriven_deadline, retry_state,
    },
};
