//! The test kit: a virtual clock, scripted agents, a scripted forecast, and a rig that runs a node's actors in a unit test.
//!
//! [`Rig`] runs all actors of its pools. [`IsolatedQueue`], [`IsolatedPool`] and [`IsolatedForecast`] run one of them.
//! The test plays the others: it sends their messages and reads the answers.
//!
//! Everything runs on the test's own thread and on tokio's paused clock. So an hour passes in milliseconds, and a test
//! controls when things happen. The first line of each test is `tokio::time::pause()`.
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
pub use histories::{HistoryCounts, Reopen, run_history};
pub use isolated::{IsolatedForecast, IsolatedPool, IsolatedQueue, SentMessage, ShownState};
pub use rig::{Rig, Running};
pub use script::{Act, Script, ScriptLog};
