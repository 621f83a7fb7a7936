/// A verb of [`Store`](crate::Store) whose answer can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// [`Store::enqueue`](crate::Store::enqueue).
    Enqueue,
    /// [`Store::claim`](crate::Store::claim).
    Claim,
    /// [`Store::peek`](crate::Store::look).
    Peek,
    /// [`Store::claim_ids`](crate::Store::take).
    Take,
    /// [`Store::settle`](crate::Store::settle).
    Settle,
    /// [`Store::cancel`](crate::Store::cancel).
    Cancel,
    /// [`Store::retry`](crate::Store::retry).
    RetryTask,
    /// [`Store::sweep`](crate::Store::sweep).
    Sweep,
    /// [`Store::renew`](crate::Store::renew).
    Renew,
    /// [`Store::heartbeat`](crate::Store::beat).
    Heartbeat,
    /// [`Store::deregister`](crate::Store::leave).
    Leave,
    /// [`Store::rescue`](crate::Store::rescue).
    Rescue,
    /// [`Store::task`](crate::Store::task).
    Task,
    /// [`Store::tasks`](crate::Store::tasks).
    Tasks,
    /// [`Store::counts`](crate::Store::counts).
    Counts,
    /// [`Store::context`](crate::Store::context).
    Context,
    /// [`Store::contexts`](crate::Store::contexts).
    Contexts,
    /// [`Store::rebase`](crate::Store::rebase).
    Rebase,
    /// [`Store::expire_contexts`](crate::Store::expire_contexts).
    ExpireContexts,
    /// [`Store::delete_context`](crate::Store::delete_context).
    DeleteContext,
    /// [`Store::put_setting`](crate::Store::put_setting).
    PutNote,
    /// [`Store::setting`](crate::Store::note).
    Note,
    /// [`Store::purge`](crate::Store::purge).
    Purge,
    /// [`Store::check`](crate::Store::check).
    Check,
    /// [`Store::close`](crate::Store::close).
    Close,
}

impl Verb {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Close as usize + 1;
}
