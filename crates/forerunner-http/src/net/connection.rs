//! The state of one connection.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
};

use actix_web::HttpRequest;
use tokio::time::Instant;

use super::{
    lifetime::{End, Lifetime, Limits},
    listen::Reach,
};

/// Bytes that are read from a client before the current request is answered. actix-http would spin at 128 KiB.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// A connection, as its bytes, its requests and the sweep see it. All are on one thread.
#[derive(Debug)]
pub(crate) struct Connection {
    lifetime: RefCell<Lifetime>,
    /// Why the connection ended, for the next access to its bytes.
    end: Cell<Option<End>>,
    waker: RefCell<Option<Waker>>,
    read_ahead: Cell<usize>,
    is_reading_body: Cell<bool>,
    is_extra: bool,
    reach: Reach,
}

impl Connection {
    /// A connection that was just accepted. One that is `extra` exceeds the limit: it gets one answer.
    pub(super) fn new(is_extra: bool, reach: Reach, now: Instant) -> Self {
        Self {
            lifetime: RefCell::new(Lifetime::new(now)),
            end: Cell::default(),
            waker: RefCell::default(),
            read_ahead: Cell::default(),
            is_reading_body: Cell::default(),
            is_extra,
            reach,
        }
    }

    /// Returns the connection of a request; `None` if another server serves it.
    pub(crate) fn of(request: &HttpRequest) -> Option<Rc<Self>> {
        request.conn_data::<Rc<Self>>().cloned()
    }

    /// Returns whether it is beyond the limit of connections.
    pub(crate) const fn is_extra(&self) -> bool {
        self.is_extra
    }

    /// Returns who can reach the local address.
    pub(crate) const fn reach(&self) -> Reach {
        self.reach
    }

    /// Marks that a body is read until the guard is dropped.
    pub(crate) fn read_body(self: &Rc<Self>) -> BodyGuard {
        self.is_reading_body.set(true);
        BodyGuard(Rc::clone(self))
    }

    /// Registers the task to wake when the connection ends.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end.get()
    }

    pub(super) fn is_answering(&self) -> bool {
        self.lifetime.borrow().is_answering()
    }

    /// Returns whether no more is to be read before the request at hand is answered.
    pub(super) fn has_read_ahead(&self) -> bool {
        self.is_answering() && !self.is_reading_body.get() && self.read_ahead.get() >= READ_AHEAD_BYTES
    }

    pub(super) fn received(&self, bytes: usize) {
        self.read_ahead.set(self.read_ahead.get().saturating_add(bytes));
        self.lifetime.borrow_mut().received(bytes, Instant::now());
    }

    pub(super) fn written(&self, bytes: usize) {
        self.lifetime.borrow_mut().written(bytes);
    }

    pub(super) fn write_blocked(&self) {
        self.lifetime.borrow_mut().write_blocked(Instant::now());
    }

    pub(super) fn flushed(&self) {
        self.lifetime.borrow_mut().flushed();
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.lifetime.borrow().idle_since().filter(|_| self.end.get().is_none())
    }

    /// Ends the connection if it is over a limit. Returns why, the first time.
    pub(super) fn judge(&self, limits: &Limits, now: Instant) -> Option<End> {
        if self.end.get().is_some() {
            return None;
        }
        let end = self.lifetime.borrow_mut().verdict(limits, now)?;
        self.close(end);
        Some(end)
    }

    /// Ends the connection: the next access to its bytes is an error.
    pub(super) fn close(&self, end: End) {
        self.end.set(Some(end));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A request that is being answered, until the last byte of the answer has been handed out.
#[derive(Debug)]
pub(crate) struct AnswerGuard(Rc<Connection>);

impl AnswerGuard {
    pub(crate) fn begin(connection: Rc<Connection>) -> Self {
        connection.lifetime.borrow_mut().begin_answer();
        connection.read_ahead.set(0);
        Self(connection)
    }
}

impl Drop for AnswerGuard {
    fn drop(&mut self) {
        self.0.lifetime.borrow_mut().end_answer(Instant::now());
        // Unread bytes after the request are read now.
        if self.0.read_ahead.get() >= READ_AHEAD_BYTES {
            self.0.wake();
        }
    }
}

/// A body that is being read.
#[derive(Debug)]
pub(crate) struct BodyGuard(Rc<Connection>);

impl Drop for BodyGuard {
    fn drop(&mut self) {
        self.0.is_reading_body.set(false);
        self.0.read_ahead.set(0);
    }
}
