//! The admission of tasks to a pool: limits of the number of waiting tasks and of the bytes of inputs.
//!
//! The capacity of an actix mailbox is no backpressure: `do_send` ignores it, and each clone of an `Addr` has a slot of
//! its own. So every submission reserves a place here before its message is sent.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use crate::spec::QueueSettings;

/// Counts the waiting tasks of a pool, with delayed ones, and the input bytes of the tasks that have not ended.
#[derive(Debug)]
pub(crate) struct Admission {
    waiting: AtomicUsize,
    limit: usize,
    bytes: AtomicU64,
    limit_bytes: u64,
    /// Whether the bytes must be summed again: a task may have ended or been stored without a report.
    unsure: AtomicBool,
    /// Completions per 1,000 seconds. They determine when a rejected client should retry.
    millirate: AtomicU64,
}

/// Why a task has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The limit of tasks is reached: this many wait.
    Tasks(usize),
    /// The limit of bytes is reached: the inputs have this many.
    Bytes(u64),
}

/// Bytes that are reserved for tasks from another pool. Dropping it releases them: by then the queue has counted the
/// inputs, or the tasks were not moved.
#[derive(Debug)]
pub(crate) struct ReservedBytes<'a> {
    admission: &'a Admission,
    bytes: u64,
}

/// Counts the places that tasks from another pool would need, without reserving them.
#[derive(Debug, Default)]
pub(crate) struct CountedPlaces {
    tasks: usize,
    bytes: u64,
}

impl CountedPlaces {
    /// Counts a place for one more task, with an input of `bytes`, if there is one.
    pub(crate) fn enter(&mut self, admission: &Admission, bytes: u64) -> Result<(), Full> {
        let (waiting, there) = (admission.waiting() + self.tasks, admission.bytes().saturating_add(self.bytes));
        if waiting >= admission.limit {
            return Err(Full::Tasks(waiting));
        }
        if there.saturating_add(bytes) > admission.limit_bytes {
            return Err(Full::Bytes(there));
        }
        self.tasks += 1;
        self.bytes += bytes;
        Ok(())
    }
}

impl<'a> ReservedBytes<'a> {
    /// Releases bytes on drop that are reserved already.
    pub(crate) const fn of(admission: &'a Admission, bytes: u64) -> Self {
        Self { admission, bytes }
    }

    /// Reserves a place for one more task, with an input of `bytes`.
    pub(crate) fn enter(&mut self, bytes: u64) -> Result<(), Full> {
        self.admission.enter(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for ReservedBytes<'_> {
    fn drop(&mut self) {
        self.admission.leave_bytes(self.bytes);
    }
}

impl Admission {
    /// Creates the admission of a pool where `waiting` tasks wait and the inputs have `bytes`.
    pub(crate) const fn new(waiting: usize, bytes: u64, settings: &QueueSettings) -> Self {
        Self {
            waiting: AtomicUsize::new(waiting),
            limit: settings.limit,
            bytes: AtomicU64::new(bytes),
            limit_bytes: settings.limit_bytes,
            unsure: AtomicBool::new(false),
            millirate: AtomicU64::new(0),
        }
    }

    /// Reserves a place for a task with an input of `bytes`.
    pub(crate) fn enter(&self, bytes: u64) -> Result<(), Full> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting >= self.limit {
            self.leave(1);
            return Err(Full::Tasks(waiting));
        }
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.limit_bytes {
            self.back_out(1, bytes);
            return Err(Full::Bytes(before));
        }
        Ok(())
    }

    /// Reserves places for tasks that wait again. They were accepted before, so the limit does not apply.
    pub(crate) fn reenter(&self, count: usize) {
        self.waiting.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds the inputs of tasks that were accepted before or elsewhere. The limit does not apply.
    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Sets the number of waiting tasks, as counted by a store that other nodes use too.
    pub(crate) fn count(&self, waiting: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Sets the bytes of inputs, as summed by the store.
    pub(crate) fn count_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Releases places.
    pub(crate) fn leave(&self, count: usize) {
        let _ = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| Some(waiting.saturating_sub(count)));
    }

    /// Subtracts the inputs of tasks that have ended.
    pub(crate) fn leave_bytes(&self, bytes: u64) {
        let _ =
            self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |there| Some(there.saturating_sub(bytes)));
    }

    /// Releases the places and the inputs of tasks that no longer wait and will not run.
    pub(crate) fn back_out(&self, count: usize, bytes: u64) {
        self.leave(count);
        self.leave_bytes(bytes);
    }

    /// Requests a new sum of the bytes.
    pub(crate) fn note_unsure(&self) {
        self.unsure.store(true, Ordering::Relaxed);
    }

    /// Returns whether a new sum was requested, and clears the request.
    pub(crate) fn take_unsure(&self) -> bool {
        self.unsure.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) const fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    pub(crate) fn note_completion_rate(&self, per_sec: f64) {
        self.millirate.store((per_sec.max(0.0) * 1_000.0) as u64, Ordering::Relaxed);
    }

    /// The time that the pool needs for a tenth of its queue's limit: 1 s to 60 s.
    pub(crate) fn retry_after(&self) -> Duration {
        self.time_for(self.limit)
    }

    /// The time that the pool needs for a tenth of the waiting tasks: 1 s to 60 s.
    pub(crate) fn retry_bytes_after(&self) -> Duration {
        self.time_for(self.waiting())
    }

    fn time_for(&self, tasks: usize) -> Duration {
        let per_sec = self.millirate.load(Ordering::Relaxed) as f64 / 1_000.0;
        let secs = if per_sec > 0.0 { tasks as f64 / 10.0 / per_sec } else { 1.0 };
        Duration::from_secs(secs.ceil().clamp(1.0, 60.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(waiting: usize, limit: usize, limit_bytes: u64) -> Admission {
        Admission::new(waiting, 0, &QueueSettings { limit, limit_bytes, ..QueueSettings::default() })
    }

    #[test]
    fn the_door_closes_at_the_limit_and_opens_when_a_place_is_given_back() {
        let admission = admission(1, 2, 100);
        assert_eq!(admission.enter(1), Ok(()));
        assert_eq!(admission.enter(1), Err(Full::Tasks(2)));
        admission.leave(1);
        assert_eq!(admission.enter(1), Ok(()));
        admission.reenter(5);
        assert_eq!((admission.waiting(), admission.enter(1)), (7, Err(Full::Tasks(7))));
    }

    #[test]
    fn bytes_that_are_reserved_count_until_they_are_released() {
        let admission = admission(0, 10, 100);
        let mut reserved = ReservedBytes::of(&admission, 0);
        assert_eq!((reserved.enter(60), reserved.enter(60)), (Ok(()), Err(Full::Bytes(60))));
        assert_eq!(admission.enter(60), Err(Full::Bytes(60)), "another one has no room meanwhile");
        drop(reserved);
        assert_eq!((admission.waiting(), admission.bytes()), (1, 0), "the place is given back apart");
    }

    #[test]
    fn a_look_counts_places_as_they_would_be_taken_and_takes_none() {
        let admission = admission(1, 3, 100);
        let mut counted = CountedPlaces::default();
        let mut enter = |bytes| counted.enter(&admission, bytes);
        assert_eq!(
            [enter(60), enter(60), enter(40), enter(0)],
            [Ok(()), Err(Full::Bytes(60)), Ok(()), Err(Full::Tasks(3))]
        );
        assert_eq!((admission.waiting(), admission.bytes()), (1, 0));
    }

    #[test]
    fn inputs_have_room_up_to_the_limit_of_bytes() {
        let admission = admission(0, 10, 100);
        assert_eq!((admission.enter(60), admission.enter(40)), (Ok(()), Ok(())));
        assert_eq!(admission.enter(1), Err(Full::Bytes(100)));
        assert_eq!((admission.waiting(), admission.bytes()), (2, 100), "what was refused left nothing");
        admission.leave(2);
        assert_eq!(admission.enter(1), Err(Full::Bytes(100)), "tasks that run count");
        admission.leave_bytes(60);
        assert_eq!((admission.enter(60), admission.enter(9)), (Ok(()), Err(Full::Bytes(100))));
        admission.back_out(1, 60);
        admission.add_bytes(500);
        assert_eq!(
            (admission.bytes(), admission.enter(1)),
            (540, Err(Full::Bytes(540))),
            "what comes back is not refused"
        );
        admission.count_bytes(7);
        assert_eq!(admission.bytes(), 7);
        admission.leave_bytes(8);
        assert_eq!(admission.bytes(), 0);
    }

    #[test]
    fn the_hint_grows_with_the_time_to_work_a_tenth_off() {
        let admission = admission(0, 1_000, 1);
        assert_eq!(admission.retry_after(), Duration::from_secs(1));
        admission.note_completion_rate(10.0);
        assert_eq!(admission.retry_after(), Duration::from_secs(10));
        admission.note_completion_rate(0.001);
        assert_eq!(admission.retry_after(), Duration::from_secs(60));
    }
}
