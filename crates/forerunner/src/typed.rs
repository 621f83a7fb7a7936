//! Pools whose inputs and outputs the compiler checks.

use std::{
    any::{TypeId, type_name},
    collections::BTreeMap,
    fmt,
    future::Future,
    marker::PhantomData,
};

use forerunner_core::PoolName;
use forerunner_runtime::{Error, Handle};
use futures_util::future::join_all;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    agent::Agent,
    task::{Submit, Task},
};

/// The type of a pool's agents, and that of their inputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AgentType {
    id: TypeId,
    input: TypeId,
    name: &'static str,
}

impl AgentType {
    pub(crate) fn of<A: Agent>() -> Self {
        Self { id: TypeId::of::<A>(), input: TypeId::of::<A::Input>(), name: type_name::<A>() }
    }

    /// Whether the agents get inputs of this type.
    pub(crate) fn takes<T: 'static>(&self) -> bool {
        self.input == TypeId::of::<T>()
    }
}

/// The types of the agents of all pools; none for agents that are no Rust type.
pub(crate) type AgentTypes = BTreeMap<PoolName, Option<AgentType>>;

/// A pool whose agents are of type `A`: a submission with another input does not compile.
///
/// Cheap to clone. Works from any thread.
pub struct PoolRef<A> {
    handle: Handle,
    name: PoolName,
    agent: PhantomData<fn() -> A>,
}

impl<A> Clone for PoolRef<A> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), name: self.name.clone(), agent: PhantomData }
    }
}

impl<A> fmt::Debug for PoolRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PoolRef").field(&self.name.as_str()).finish()
    }
}

impl<A: Agent> PoolRef<A> {
    /// Finds a pool by its name and checks the type of its agents.
    pub(crate) fn find(handle: Handle, types: &AgentTypes, name: &str) -> Result<Self, Error> {
        let Some((name, found)) = types.iter().find(|(known, _)| known.as_str() == name) else {
            let known = types.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(Error::NoPool { pool: name.to_owned(), known });
        };
        let asked = AgentType::of::<A>();
        if found.is_some_and(|found| found.id == asked.id) {
            return Ok(Self { handle, name: name.clone(), agent: PhantomData });
        }
        let found = found.map_or("no Rust type", |found| found.name);
        Err(Error::OtherAgent { pool: name.clone(), found, asked: asked.name })
    }

    /// Returns the pool's name.
    pub const fn name(&self) -> &PoolName {
        &self.name
    }

    /// Returns the handle of the runtime, for all that is not submission.
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl<A> PoolRef<A>
where
    A: Agent<Input: Serialize + Send + Sync, Output: DeserializeOwned + Clone>,
{
    /// Begins a submission; `.await` sends it. See [`Submit`] for the options of a task.
    ///
    /// # Errors
    /// The `.await` fails where the pool is full, the input too large, or the store away; see
    /// [`Handle::submit`](forerunner_runtime::Handle::submit).
    pub fn submit(&self, input: A::Input) -> Submit<Task<A::Output>> {
        Submit::of(self.handle.clone(), self.name.clone(), input, true)
    }

    /// Submits tasks at once, so that they share commits. Answers one result for each input, in their order: a pool that
    /// fills up on the way accepts the first ones.
    pub fn submit_many(
        &self,
        inputs: Vec<A::Input>,
    ) -> impl Future<Output = Vec<Result<Task<A::Output>, Error>>> + use<A> {
        // Each is sent here, before the first is waited for.
        let sent: Vec<_> = inputs.into_iter().map(|input| self.submit(input).into_future()).collect();
        join_all(sent)
    }
}
