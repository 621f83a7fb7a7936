//! Messages of one kind that gather on their way to an actor: what many senders say in one turn travels as one.
//!
//! A message of its own for each costs an envelope, a place in the mailbox and a poll of the reader. Here a sender puts
//! its item down, and only the first after the reader has looked sends a message. An item is read no later than a
//! message sent in its place would have been.

use std::{marker::PhantomData, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

use actix::{Message, Recipient};

/// Look into your inbox: at least one item is there. Sent by an [`BatchSender`].
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Batch<T>(PhantomData<fn(T)>);

/// The reader's end, owned by an actor. Once it is dropped, items are dropped where they are sent.
pub(crate) struct Batcher<T> {
    shared: Arc<Shared<T>>,
    /// Keeps the room of items that were read for those to come.
    spare: Vec<T>,
}

/// Where items enter an inbox.
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

    /// The opening of this inbox, for senders that are made once its owner has an address.
    pub(crate) fn opening(&self) -> BatchInlet<T> {
        BatchInlet(self.shared.clone())
    }

    /// Takes out what has gathered. Give the vector back with [`Batcher::recycle`].
    pub(crate) fn take(&mut self) -> Vec<T> {
        std::mem::replace(&mut self.shared.lock().waiting, std::mem::take(&mut self.spare))
    }

    /// Keeps the room of a vector that was read.
    pub(crate) fn recycle(&mut self, mut read: Vec<T>) {
        /// Room for more is let go of: a burst is not to hold its memory for ever.
        const KEPT: usize = 1_024;
        read.clear();
        if read.capacity() <= KEPT {
            self.spare = read;
        }
    }
}

impl<T> BatchInlet<T> {
    /// The way in; `reader` is the actor that owns the inbox.
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
    /// Sends an item. It is dropped if the reader is gone.
    pub(crate) fn send(&self, item: T) {
        self.send_all([item]);
    }

    /// Sends items together: the reader finds all of them at one look. They are dropped if it is gone.
    pub(crate) fn send_all(&self, sent: impl IntoIterator<Item = T>) {
        let is_first = {
            let mut items = self.shared.lock();
            if items.closed {
                return;
            }
            let none_waited = items.waiting.is_empty();
            items.waiting.extend(sent);
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

    /// Passes on how many items it found at each look, and drops them.
    struct Reader {
        inbox: Batcher<oneshot::Sender<()>>,
        looks: mpsc::UnboundedSender<usize>,
    }

    impl Actor for Reader {
        type Context = Context<Self>;
    }

    impl Handler<Batch<oneshot::Sender<()>>> for Reader {
        type Result = ();

        fn handle(&mut self, _: Batch<oneshot::Sender<()>>, _: &mut Self::Context) {
            let items = self.inbox.take();
            self.looks.send(items.len()).expect("the test listens");
            self.inbox.recycle(items);
        }
    }

    #[actix::test]
    async fn what_is_sent_in_one_turn_is_read_at_one_look() {
        let inbox = Batcher::new();
        let (looks, mut seen) = mpsc::unbounded_channel();
        let opening = inbox.opening();
        let outlet = opening.with_reader(Reader { inbox, looks }.start().recipient());
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
        let (looks, _seen) = mpsc::unbounded_channel();
        let opening = inbox.opening();
        // Never started, so that nobody looks.
        let reader = Reader { inbox, looks };
        let other = Reader { inbox: Batcher::new(), looks: mpsc::unbounded_channel().0 }.start();
        let outlet = opening.with_reader(other.recipient());
        let ((before, answer), (after, late)) = (oneshot::channel(), oneshot::channel());
        outlet.send(before);
        drop(reader);
        outlet.send(after);
        assert!(answer.await.is_err() && late.await.is_err());
    }
}
