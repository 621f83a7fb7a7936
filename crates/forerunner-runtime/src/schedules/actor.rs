//! Submits the tasks of schedules in time: polls the store for what changed, and wakes when an occurrence is due.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture};
use forerunner_core::{ScheduleName, Timestamp};
use forerunner_store::StoreError;

use super::advance::advance;
use crate::{Handle, metrics};

/// How often the actor polls the store for changed schedules, and checks the clock.
const POLL: Duration = Duration::from_secs(1);
/// How long after its time an occurrence is left to the leader. Then every node tries: the store lets one succeed.
const LEADER_FIRST: Duration = Duration::from_secs(1);
/// How long an occurrence that could not be submitted is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// Schedules that are advanced at the same time.
const AT_ONCE: usize = 32;
/// Schedules that are read at once.
const READ_AT_ONCE: usize = 100;

/// Schedules of the store have changed on this node. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SchedulesChanged;

/// Advances the schedules in the store of this node, whichever node else does.
pub(crate) struct ScheduleActor {
    handle: Handle,
    polling: bool,
    poll_again: bool,
    /// Schedules that are being advanced.
    advancing: BTreeSet<ScheduleName>,
    /// Schedules whose last occurrence could not be submitted, and when to try again.
    retry_at: BTreeMap<ScheduleName, Timestamp>,
    looked_at: Timestamp,
    wake: Option<SpawnHandle>,
}

impl ScheduleActor {
    pub(crate) fn new(handle: Handle) -> Self {
        Self {
            looked_at: handle.time(),
            handle,
            polling: false,
            poll_again: false,
            advancing: BTreeSet::new(),
            retry_at: BTreeMap::new(),
            wake: None,
        }
    }

    /// Reads what has changed in the store, then does what is due.
    fn poll(&mut self, ctx: &mut Context<Self>) {
        if self.handle.is_closed() {
            // The node stops. Others submit what is due from now on, or the next start does.
            return ctx.stop();
        }
        if self.polling {
            self.poll_again = true;
            return;
        }
        self.polling = true;
        let handle = self.handle.clone();
        let read = async move { read_changes(&handle).await };
        ctx.spawn(read.into_actor(self).map(|read, actor, ctx| {
            actor.polling = false;
            if let Err(error) = read {
                tracing::debug!(%error, "cannot read which schedules have changed");
            }
            actor.act(ctx);
            if std::mem::take(&mut actor.poll_again) {
                actor.poll(ctx);
            }
        }));
    }

    /// Advances the schedules that are due, and sets the timer for the next.
    fn act(&mut self, ctx: &mut Context<Self>) {
        if self.handle.is_closed() {
            return;
        }
        let (now, book) = (self.handle.time(), &self.handle.shared.deps.schedules);
        if now < self.looked_at {
            book.look_ahead(now);
        }
        self.looked_at = now;
        self.retry_at.retain(|_, at| *at > now);
        let mine = if self.handle.shared.deps.leads() { now } else { now - LEADER_FIRST };
        for (name, pool) in book.due(mine) {
            let is_here = self.handle.shared.pools.contains_key(&pool);
            let waits = self.advancing.contains(&name) || self.retry_at.contains_key(&name);
            if is_here && !waits && self.advancing.len() < AT_ONCE {
                self.advance(name, ctx);
            }
        }
        self.set_timer(ctx);
    }

    fn advance(&mut self, name: ScheduleName, ctx: &mut Context<Self>) {
        self.advancing.insert(name.clone());
        let (handle, schedule) = (self.handle.clone(), name.clone());
        let advanced = async move { advance(&handle, &schedule).await };
        ctx.spawn(advanced.into_actor(self).map(move |advanced, actor, ctx| {
            actor.advancing.remove(&name);
            let book = &actor.handle.shared.deps.schedules;
            match advanced {
                Ok(()) => {
                    book.note_problem(&name, None);
                }
                Err(error) => {
                    if book.note_problem(&name, Some(error.to_string())) && !actor.handle.is_closed() {
                        tracing::warn!(schedule = %name, %error, "cannot submit the task of a schedule; trying again");
                    }
                    actor.retry_at.insert(name, actor.handle.time() + RETRY);
                }
            }
            actor.poll(ctx);
        }));
    }

    /// Wakes when the next occurrence is due, if that is before the next poll.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.wake.take() {
            ctx.cancel_future(timer);
        }
        let now = self.handle.time();
        let next = self.handle.shared.deps.schedules.next().filter(|next| *next > now && *next < now + POLL);
        self.wake = next.map(|next| ctx.run_later(next.since(now), |actor, ctx| actor.act(ctx)));
    }
}

/// Updates the node's view of the schedules.
async fn read_changes(handle: &Handle) -> Result<(), StoreError> {
    let deps = &handle.shared.deps;
    let revisions = deps.store.schedule_revisions().await?;
    for names in deps.schedules.compare(&revisions).chunks(READ_AT_ONCE) {
        for stored in deps.store.schedules_of(names.to_vec()).await? {
            deps.schedules.learn(&stored, deps.now());
        }
    }
    let counts = deps.schedules.counts();
    for pool in handle.shared.pools.keys() {
        metrics::set_schedules(pool, counts.get(pool).copied().unwrap_or(0));
    }
    Ok(())
}

impl Actor for ScheduleActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.poll(ctx);
        ctx.run_interval(POLL, |actor, ctx| actor.poll(ctx));
    }
}

impl Handler<SchedulesChanged> for ScheduleActor {
    type Result = ();

    fn handle(&mut self, _: SchedulesChanged, ctx: &mut Self::Context) {
        self.poll(ctx);
    }
}
