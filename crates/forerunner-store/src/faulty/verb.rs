/// A verb of [`Store`](crate::Store) whose answer can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// [`TaskStore::enqueue`](crate::TaskStore::enqueue).
    Enqueue,
    /// [`TaskStore::claim`](crate::TaskStore::claim).
    Claim,
    /// [`TaskStore::peek`](crate::TaskStore::peek).
    Peek,
    /// [`TaskStore::claim_ids`](crate::TaskStore::claim_ids).
    ClaimIds,
    /// [`TaskStore::settle`](crate::TaskStore::settle).
    Settle,
    /// [`TaskStore::cancel`](crate::TaskStore::cancel).
    Cancel,
    /// [`TaskStore::retry`](crate::TaskStore::retry).
    Retry,
    /// [`TaskStore::sweep`](crate::TaskStore::sweep).
    Sweep,
    /// [`ClusterStore::renew`](crate::ClusterStore::renew).
    Renew,
    /// [`ClusterStore::heartbeat`](crate::Store::beat).
    Heartbeat,
    /// [`ClusterStore::deregister`](crate::ClusterStore::deregister).
    Deregister,
    /// [`TaskStore::rescue`](crate::TaskStore::rescue).
    Rescue,
    /// [`TaskStore::task`](crate::TaskStore::task).
    Task,
    /// [`TaskStore::tasks`](crate::TaskStore::tasks).
    Tasks,
    /// [`TaskStore::counts`](crate::TaskStore::counts).
    Counts,
    /// [`ContextStore::context`](crate::ContextStore::context).
    Context,
    /// [`ContextStore::contexts`](crate::ContextStore::contexts).
    Contexts,
    /// [`ContextStore::rebase`](crate::ContextStore::rebase).
    Rebase,
    /// [`ContextStore::expire_contexts`](crate::ContextStore::expire_contexts).
    ExpireContexts,
    /// [`ContextStore::delete_context`](crate::ContextStore::delete_context).
    DeleteContext,
    /// [`SettingsStore::put_setting`](crate::SettingsStore::put_setting).
    PutSetting,
    /// [`SettingsStore::setting`](crate::Store::note).
    Setting,
    /// [`ScheduleStore::schedule_revisions`](crate::ScheduleStore::schedule_revisions) and
    /// [`ScheduleStore::schedules_of`](crate::ScheduleStore::schedules_of).
    Schedules,
    /// [`ScheduleStore::write_schedule`](crate::ScheduleStore::write_schedule).
    WriteSchedule,
    /// [`ApiKeyStore::api_keys`](crate::ApiKeyStore::api_keys).
    ApiKeys,
    /// [`ApiKeyStore::write_api_key`](crate::ApiKeyStore::write_api_key) and
    /// [`ApiKeyStore::note_api_key_use`](crate::ApiKeyStore::note_api_key_use).
    WriteApiKey,
    /// [`Maintenance::purge`](crate::Maintenance::purge).
    Purge,
    /// [`Maintenance::check`](crate::Maintenance::check).
    Check,
    /// [`Store::close`](crate::Store::close).
    Close,
}

impl Verb {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Close as usize + 1;
}
