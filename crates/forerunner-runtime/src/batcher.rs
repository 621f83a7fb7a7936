//! Batches messages to an actor: those of many senders in one turn travel as one message.
//!
//! A message per item would cost an envelope, a slot in the mailbox and a poll of the reader. Here a sender adds its
//! item to a list, and only the first item after a read sends a message. An item is read no later than a message of its
//! own would be.

use std::{marker::PhantomData, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

use actix::{Message, Recipient};

/// There is at least one item in the batcher. Sent by a [`BatchSender`].
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Batch<T>(PhantomData<fn(T)>);

/// The reader's end, owned by an actor. After it is dropped, items are dropped by their senders.
pub(crate) struct Batcher<T> {
    shared: Arc<Shared<T>>,
    /// The allocation of the last batch, for reuse.
    spare: Vec<T>,
}

/// A sender's end without the address of the reader.
pub(crate) struct BatchInlet<T>(Arc<Shared<T>>);

/// A sender's end.
pub(crate) struct BatchSender<T: 'static> {
    shared: Arc<Shared<T>>,
    wake: Recipient<Batch<T>>,
}

struct Shared<T>(Mutex<Items<T>>);

struct Items<T> {
    waiting: Vec<T>,
    closed: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Items<T>> {
        self.0.lock()
    }
}

impl<T> Batcher<T> {
    pub(crate) fn new() -> Self {
        let items = Items { waiting: Vec::new(), closed: false };
        Self { shared: Arc::new(Shared(Mutex::new(items))), spare: Vec::new() }
    }

    /// Returns an inlet, for senders that are created once the owner has an address.
    pub(crate) fn inlet(&self) -> BatchInlet<T> {
        BatchInlet(self.shared.clone())
    }

    /// Removes the items. Return the vector with [`Batcher::recycle`].
    pub(crate) fn take(&mut self) -> Vec<T> {
        std::mem::replace(&mut self.shared.lock().waiting, std::mem::take(&mut self.spare))
    }

    /// Returns the allocation of a batch that was read.
    pub(crate) fn recycle(&mut self, mut read: Vec<T>) {
        /// Larger allocations are freed: a burst should not occupy memory for ever.
        const MAX_CAPACITY: usize = 1_024;
        read.clear();
        if read.capacity() <= MAX_CAPACITY {
            self.spare = read;
        }
    }
}

impl<T> BatchInlet<T> {
    /// Adds the address of the actor that owns the batcher.
    pub(crate) fn with_reader(self, reader: Recipient<Batch<T>>) -> BatchSender<T> {
        BatchSender { shared: self.0, wake: reader }
    }
}

impl<T> Drop for Batcher<T> {
    fn drop(&mut self) {
        let left = {
            let mut items = self.shared.lock();
            items.closed = true;
            std::mem::take(&mut items.waiting)
        };
        drop(left);
    }
}

impl<T: Send> BatchSender<T> {
    /// Sends an item. It is dropped if the reader has stopped.
    pub(crate) fn send(&self, item: T) {
        self.add(|waiting| waiting.push(item));
    }

    /// Sends items together: the reader gets them in one batch. They are dropped if the reader has stopped.
    pub(crate) fn send_all(&self, sent: impl IntoIterator<Item = T>) {
        self.add(|waiting| waiting.extend(sent));
    }

    fn add(&self, add: impl FnOnce(&mut Vec<T>)) {
        let is_first = {
            let mut items = self.shared.lock();
            if items.closed {
                return;
            }
            let none_waited = items.waiting.is_empty();
            add(&mut items.waiting);
            none_waited && !items.waiting.is_empty()
        };
        if is_first {
            self.wake.do_send(Batch(PhantomData));
        }
    }
}

impl<T> Clone for BatchSender<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), wake: self.wake.clone() }
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler};
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// Reports the size of each batch, and drops the items.
    struct Reader {
        inbox: Batcher<oneshot::Sender<()>>,
        reads: mpsc::UnboundedSender<usize>,
    }

    impl Actor for Reader {
        type Context = Context<Self>;
    }

    impl Handler<Batch<oneshot::Sender<()>>> for Reader {
        type Result = ();

        fn handle(&mut self, _: Batch<oneshot::Sender<()>>, _: &mut Self::Context) {
            let items = self.inbox.take();
            self.reads.send(items.len()).expect("the test listens");
            self.inbox.recycle(items);
        }
    }

    #[actix::test]
    async fn what_is_sent_in_one_turn_is_read_at_one_look() {
        let inbox = Batcher::new();
        let (reads, mut seen) = mpsc::unbounded_channel();
        let inlet = inbox.inlet();
        let outlet = inlet.with_reader(Reader { inbox, reads }.start().recipient());
        for round in [3, 1, 100] {
            for _ in 0..round {
                outlet.send(oneshot::channel().0);
            }
            assert_eq!(seen.recv().await, Some(round));
        }
        outlet.send_all([]);
        outlet.send_all((0..7).map(|_| oneshot::channel().0));
        assert_eq!(seen.recv().await, Some(7), "and nothing is no reason to look");
    }

    #[actix::test]
    async fn a_reader_that_is_gone_lets_go_of_what_it_was_sent() {
        let inbox = Batcher::new();
        let (reads, _seen) = mpsc::unbounded_channel();
        let inlet = inbox.inlet();
        // Never started, so that it reads nothing.
        let reader = Reader { inbox, reads };
        let other = Reader { inbox: Batcher::new(), reads: mpsc::unbounded_channel().0 }.start();
        let outlet = inlet.with_reader(other.recipient());
        let ((before, answer), (after, late)) = (oneshot::channel(), oneshot::channel());
        outlet.send(before);
        drop(reader);
        outlet.send(after);
        assert!(answer.await.is_err() && late.await.is_err());
    }
}
