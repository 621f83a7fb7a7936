//! Reports that a queue receives from other actors, and its answers about itself.

use actix::{AsyncContext, Handler};
use forerunner_core::QueueEvent;

use super::{
    QueueActor,
    messages::{
        AttachQueue, ClockSetBack, Counted, GetQueueStatus, PoolFacts, QueueStatus, SampleQueue, SetBaseline,
        WorkAvailable,
    },
    sample::QueueSample,
};

impl Handler<ClockSetBack> for QueueActor {
    type Result = ();

    fn handle(&mut self, ClockSetBack(by): ClockSetBack, ctx: &mut Self::Context) {
        if let Some((_, timer)) = self.wake.take() {
            ctx.cancel_future(timer);
        }
        self.stats.forget_times();
        self.dependency.clock_set_back(by);
        self.steer(ctx);
        self.apply(QueueEvent::ClockSetBack(by), ctx);
        self.apply(QueueEvent::Tick, ctx);
        self.check_depth(ctx);
    }
}

impl Handler<AttachQueue> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: AttachQueue, ctx: &mut Self::Context) {
        self.links = Some(msg);
        self.check_depth(ctx);
    }
}

impl Handler<PoolFacts> for QueueActor {
    type Result = ();

    fn handle(&mut self, facts: PoolFacts, _: &mut Self::Context) {
        self.facts = facts;
        self.stats.set_agents(facts.warm);
    }
}

impl Handler<SetBaseline> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: SetBaseline, _: &mut Self::Context) {
        self.stats.expect(&msg);
    }
}

impl Handler<SampleQueue> for QueueActor {
    type Result = QueueSample;

    fn handle(&mut self, SampleQueue { after }: SampleQueue, _: &mut Self::Context) -> QueueSample {
        self.set_gauges();
        let next_due = self.machine.next_due();
        let (dependency, is_suspicious) = (self.dependency_report(), self.dependency.is_suspicious(self.deps.now()));
        let counted = self.stats.sample(&after.here, self.machine.depth());
        QueueSample { next_due, dependency, is_suspicious, ..counted }
    }
}

impl Handler<Counted> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: Counted, ctx: &mut Self::Context) {
        if let Some(due) = msg.next_due {
            self.apply(QueueEvent::Due(due), ctx);
        }
        self.nodes = msg.nodes.max(1);
        // A sweep or a claim may have set damaged tasks aside: their inputs no longer count.
        self.admission.note_unsure();
        if let Some(waiting) = msg.waiting {
            self.admission.count(usize::try_from(waiting).unwrap_or(usize::MAX).saturating_add(self.prefetched.len()));
        }
        self.apply(QueueEvent::Recounted(msg.claimable), ctx);
        self.check_depth(ctx);
    }
}

impl Handler<WorkAvailable> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: WorkAvailable, ctx: &mut Self::Context) {
        self.apply(QueueEvent::WorkHint, ctx);
    }
}

impl Handler<GetQueueStatus> for QueueActor {
    type Result = QueueStatus;

    fn handle(&mut self, _: GetQueueStatus, _: &mut Self::Context) -> QueueStatus {
        QueueStatus { dependency: self.dependency_report(), ..self.stats.status(self.machine.depth()) }
    }
}
