//! The test kit: a virtual clock, scripted agents, a scripted forecast, and a rig that runs a node's actors in a unit test.
//!
//! [`Rig`] runs all actors of its pools. [`IsolatedQueue`], [`IsolatedPool`] and [`IsolatedForecast`] run one of them, and the test
//! plays the others: it sends what they would send and reads what they would get.
//!
//! Everything runs on the test's own thread and on tokio's paused clock, so an hour passes in milliseconds and a test
//! says exactly when what happens. First line of each test: `tokio::time::pause()`.
//!
//! ```
//! use forerunner_runtime::testkit::{Rig, Script};
//! use forerunner_core::TaskState;
//!
//! # actix_rt::System::new().block_on(async {
//! tokio::time::pause();
//! let rig = Rig::new().pool("coder", Script::answers("\"done\"").service("2s"), |pool| pool.min = 1).start().await;
//! let task = rig.submit("coder", "{}").await;
//! let task = rig.ended(task).await;
//! assert_eq!(task.state, TaskState::Succeeded);
//! rig.stop().await;
//! # });
//! ```

mod forecast;
mod histories;
mod isolated;
mod rig;
mod script;

pub use forecast::ScriptedForecast;
pub use histories::{HistoryCounts, Reopen, live_through};
pub use isolated::{IsolatedForecast, IsolatedPool, IsolatedQueue, SentMessage, Shown};
pub use rig::{Rig, Running};
pub use script::{Act, Script, ScriptLog};
