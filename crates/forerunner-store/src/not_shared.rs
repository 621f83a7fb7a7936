//! What a store of one process answers to questions about other nodes: one text for all such stores, test doubles
//! included. Each of them calls the macro.

/// Implements, in an `impl ClusterStore for …`, the methods of a store that no other node uses: it has no clock of its
/// own, and nobody to notify. Leases and heartbeats are left to the store.
#[macro_export]
macro_rules! not_shared {
    () => {
        fn is_shared(&self) -> bool {
            false
        }

        fn time(&self) -> $crate::StoreFuture<Option<$crate::backend::Timestamp>> {
            Box::pin(std::future::ready(Ok(None)))
        }

        fn notify(&self, _hints: $crate::Notification) {}

        fn subscribe(&self) -> Option<$crate::backend::Receiver<$crate::Notification>> {
            None
        }

        fn is_listening(&self) -> bool {
            false
        }
    };
}

/// Implements [`EventLog`](crate::EventLog) for a store that persists no events: its node has them in memory.
#[macro_export]
macro_rules! keeps_no_events {
    ($store:ty) => {
        impl $crate::EventLog for $store {
            fn persists_events(&self) -> bool {
                false
            }

            fn append_events(&self, _events: Vec<$crate::AttemptEvent>) -> $crate::StoreFuture<()> {
                Box::pin(std::future::ready(Ok(())))
            }

            fn events(
                &self,
                _task: $crate::backend::TaskId,
                _after: u64,
                _limit: usize,
            ) -> $crate::StoreFuture<Option<$crate::TaskEvents>> {
                Box::pin(std::future::ready(Ok(None)))
            }

            fn prune_events(&self, _before: $crate::backend::Timestamp, _limit: usize) -> $crate::StoreFuture<()> {
                Box::pin(std::future::ready(Ok(())))
            }
        }
    };
}
