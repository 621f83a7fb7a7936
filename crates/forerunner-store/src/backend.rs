//! What implementations of [`Store`](crate::Store) share, besides the trait: for those who write one.
//!
//! A store decides nothing by itself where two stores could decide differently. Where a task starts, what place it has in
//! its queue and which error an end without an attempt has is decided here. So is how a task is reported whose row cannot
//! be read, and how events are numbered where the store itself keeps them. What a store does is held to by the
//! module `conformance`.
//!
//! It is small on purpose: SQL, rows and transactions are each store's own affair.

pub use crate::{
    damage::{Damage, DamageCount, given_up, stand_in, stored_json, stored_time, unreadable},
    events::{Legs, after_seq, begin_seq},
    rules::{
        DUE_LIMIT, Moved, PAGE_LIMIT, SELECT_LIMIT, SWEEP_LIMIT, cancelled, child_depth, contexts_full, crashes_with,
        end_state, expired, first_due, first_state, moved, redriven_deadline, retry_state,
    },
};
