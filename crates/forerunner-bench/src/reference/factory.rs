//! The factory of the actor crate `ractor`: a supervised pool whose free workers claim from one queue.

use std::future::Future;

use ractor::{
    Actor, ActorProcessingErr, ActorRef, RpcReplyPort,
    factory::{
        Factory, FactoryArguments, FactoryMessage, Job, JobOptions, Worker, WorkerId, queues::DefaultQueue,
        routing::QueuerRouting, worker_builder,
    },
};
use tokio::sync::oneshot;

use crate::{Error, service::Service};

/// What a worker gets: a number, and where to send it back to.
struct Echo(u64, RpcReplyPort<u64>);

struct EchoWorker;

impl Worker for EchoWorker {
    type Key = ();
    type Message = Echo;
    type Arguments = ();
    type State = ();

    async fn pre_start(
        &self,
        _: WorkerId,
        _: &ActorRef<FactoryMessage<(), Echo>>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: WorkerId,
        _: &ActorRef<FactoryMessage<(), Echo>>,
        job: Job<(), Echo>,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let Echo(number, reply) = job.msg;
        let _ = reply.send(number);
        Ok(())
    }
}

type EchoFactory = Factory<(), Echo, (), EchoWorker, QueuerRouting<(), Echo>, DefaultQueue<(), Echo>>;

/// A factory whose queue gives each job to any free worker.
pub(crate) struct FactoryPool {
    factory: ActorRef<FactoryMessage<(), Echo>>,
}

impl FactoryPool {
    const NAME: &str = "ractor factory";

    /// Starts a factory on the current tokio runtime.
    pub(crate) async fn start(workers: usize) -> Result<Self, Error> {
        let arguments = FactoryArguments::builder()
            .worker_builder(Box::new(worker_builder(|_| (EchoWorker, ()))))
            .queue(DefaultQueue::default())
            .router(QueuerRouting::default())
            .num_initial_workers(workers)
            .build();
        let started = Actor::spawn(None, EchoFactory::default(), arguments).await;
        let (factory, _) = started.map_err(|_| Error::Reference { reference: Self::NAME })?;
        Ok(Self { factory })
    }
}

impl Drop for FactoryPool {
    fn drop(&mut self) {
        self.factory.stop(None);
    }
}

impl Service for FactoryPool {
    fn send(&self, number: u64) -> impl Future<Output = Result<u64, Error>> {
        let (reply, answer) = oneshot::channel();
        let job = Job::builder().key(()).msg(Echo(number, reply.into())).options(JobOptions::default()).build();
        let _ = self.factory.cast(FactoryMessage::Dispatch(job));
        async { answer.await.map_err(|_| Error::Reference { reference: Self::NAME }) }
    }
}
