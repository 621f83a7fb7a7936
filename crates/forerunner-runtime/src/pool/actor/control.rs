//! Commands to a pool: its size, its bounds, pause and stop.

use std::time::Duration;

use actix::{AsyncContext, Handler};
use forerunner_core::PoolEvent;

use super::PoolActor;
use crate::{
    agent::messages::StopAgent,
    pool::messages::{AttachForecast, Configure, ForgetContext, Resize, SetPaused, SetReturnChances, Stop},
};

impl Handler<SetReturnChances> for PoolActor {
    type Result = ();

    fn handle(&mut self, SetReturnChances(chances): SetReturnChances, ctx: &mut Self::Context) {
        self.apply(PoolEvent::Returns(chances), ctx);
    }
}

impl Handler<Resize> for PoolActor {
    type Result = ();

    fn handle(&mut self, Resize(target): Resize, ctx: &mut Self::Context) {
        self.apply(PoolEvent::Resize(target), ctx);
        self.send_size();
    }
}

impl Handler<Configure> for PoolActor {
    type Result = ();

    fn handle(&mut self, Configure(patch): Configure, ctx: &mut Self::Context) {
        let (min, max) = self.machine.bounds();
        let event = PoolEvent::Configure { min: patch.min.unwrap_or(min), max: patch.max.unwrap_or(max) };
        self.apply(event, ctx);
        self.send_size();
    }
}

impl Handler<SetPaused> for PoolActor {
    type Result = ();

    fn handle(&mut self, SetPaused(paused): SetPaused, ctx: &mut Self::Context) {
        self.apply(if paused { PoolEvent::Pause } else { PoolEvent::Resume }, ctx);
    }
}

impl Handler<AttachForecast> for PoolActor {
    type Result = ();

    fn handle(&mut self, AttachForecast(nudge): AttachForecast, _: &mut Self::Context) {
        self.links.nudge = Some(nudge);
    }
}

impl Handler<ForgetContext> for PoolActor {
    type Result = ();

    fn handle(&mut self, msg: ForgetContext, _: &mut Self::Context) {
        self.machine.forget_context(&msg.0);
        for agent in self.agents.values() {
            agent.do_send(msg.clone());
        }
    }
}

impl Handler<Stop> for PoolActor {
    type Result = ();

    fn handle(&mut self, msg: Stop, ctx: &mut Self::Context) {
        self.stopped = Some(msg.reply);
        self.apply(PoolEvent::Stop, ctx);
        self.answer_stop_if_empty();
        ctx.run_later(msg.kill_at.since(self.deps.now()), |pool, _| {
            for agent in pool.agents.values() {
                agent.do_send(StopAgent { grace: Duration::ZERO });
            }
        });
    }
}
