//! What implementations of [`Store`](crate::Store) share, besides the trait: for authors of stores.
//!
//! A store decides nothing by itself where two stores could decide differently. `forerunner_core::transition` decides
//! what each event makes of a task; this module decides where a task starts, and its place in its queue. It also decides how a task with an
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
    columns::{
        COLUMNS, Cell, Column, Kind, Part, cell_of_new, column_list, columns_of, columns_of_new, place_of, salvaged,
        whole,
    },
    damage::{Damage, DamageCount, given_up, stored_time, unreadable},
    events::{Legs, after_seq, begin_seq},
    rules::{
        DUE_LIMIT, Moved, PAGE_LIMIT, SELECT_LIMIT, SWEEP_LIMIT, cancellation_by, child_depth, contexts_full,
        first_due, first_state, moved, report_of_attempt,
    },
};
