//! What others would build, or have built, for the same work.

mod dispatcher;
#[cfg(feature = "peers")]
mod factory;
mod round_robin;

pub(crate) use dispatcher::Dispatcher;
#[cfg(feature = "peers")]
pub(crate) use factory::FactoryPool;
pub(crate) use round_robin::RoundRobin;
