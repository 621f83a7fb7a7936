//! The connections of one worker thread.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
    time::Duration,
};

use actix_web::rt;
use metrics::{Gauge, counter, gauge};
use tokio::{sync::Notify, time::Instant};

use super::{
    connection::Connection,
    lifetime::{End, Limits},
    listen::Reach,
    peers::Peer,
};
use crate::metrics::{CLOSED, CONNECTIONS};

/// How often connections are compared with their limits.
const SWEEP_PERIOD: Duration = Duration::from_millis(250);
/// Connections of a worker beyond its limit that still get an answer: probes a normal one, others 503.
pub(crate) const EXTRA_CONNECTIONS: usize = 16;

/// The open connections of one worker thread. A sweep ends those that are over a limit.
pub(crate) struct Connections {
    open: RefCell<HashMap<u64, Rc<Connection>>>,
    next: Cell<u64>,
    most: usize,
    limits: Limits,
    opened: Notify,
    gauge: Gauge,
}

impl Connections {
    /// Begins without connections. Needs the actix system of the worker.
    pub(crate) fn start(most: usize, limits: Limits) -> Rc<Self> {
        let connections = Rc::new(Self {
            open: RefCell::default(),
            next: Cell::default(),
            most,
            limits,
            opened: Notify::new(),
            gauge: gauge!(CONNECTIONS),
        });
        rt::spawn(sweep(Rc::downgrade(&connections)));
        connections
    }

    /// Admits a connection. At the limit it replaces the one that has been idle longest.
    ///
    /// A connection beyond the limit of its address counts as one beyond the limit of all.
    pub(super) fn admit(self: &Rc<Self>, reach: Reach, peer: Option<Peer>) -> ConnectionGuard {
        let is_beyond = peer.as_ref().is_some_and(|peer| peer.is_beyond);
        let is_extra = is_beyond || (self.open.borrow().len() >= self.most && !self.evict());
        let connection = Rc::new(Connection::new(is_extra, reach, Instant::now()));
        let number = self.next.replace(self.next.get() + 1);
        self.open.borrow_mut().insert(number, Rc::clone(&connection));
        self.gauge.increment(1.0);
        self.opened.notify_one();
        ConnectionGuard { connection, number, among: Rc::clone(self), _peer: peer }
    }

    fn evict(&self) -> bool {
        let open = self.open.borrow();
        let idle = open.values().filter_map(|connection| Some((connection.idle_since()?, connection)));
        let Some((_, longest)) = idle.min_by_key(|(since, _)| *since) else { return false };
        longest.close(End::Evicted);
        count(End::Evicted);
        true
    }

    fn judge(&self) {
        let now = Instant::now();
        // A connection that is woken is polled later, so none leaves during the iteration.
        for connection in self.open.borrow().values() {
            if let Some(end) = connection.judge(&self.limits, now) {
                count(end);
            }
        }
    }
}

fn count(end: End) {
    counter!(CLOSED, "reason" => end.as_str()).increment(1);
}

async fn sweep(connections: Weak<Connections>) {
    while let Some(connections) = connections.upgrade() {
        connections.judge();
        if connections.open.borrow().is_empty() {
            connections.opened.notified().await;
        }
        drop(connections);
        tokio::time::sleep(SWEEP_PERIOD).await;
    }
}

/// An admitted connection, until it is dropped.
pub(crate) struct ConnectionGuard {
    pub(super) connection: Rc<Connection>,
    number: u64,
    among: Rc<Connections>,
    _peer: Option<Peer>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.among.open.borrow_mut().remove(&self.number);
        self.among.gauge.decrement(1.0);
    }
}
