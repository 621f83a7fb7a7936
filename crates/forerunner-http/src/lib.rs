//! The HTTP service of Forerunner: tasks, pools, contexts and the node itself under `/v1`, `/metrics` and `/readyz`,
//! and a dashboard for browsers at `/`.
//!
//! The first front of `forerunner-service`: a handler parses, calls the [`Service`](forerunner_service::Service), and renders.
//! Problems are answered as RFC 9457 describes, with the kinds of [`PROBLEMS`]. It handles no signals, and does not log what
//! is in a task. Another protocol is a [`Front`]: a crate whose calls are mounted on the same server.
//!
//! ```
//! use forerunner_http::{HttpSettings, ProblemType};
//!
//! let settings = HttpSettings { listen: "127.0.0.1:0".to_owned(), ..HttpSettings::default() };
//! assert!(settings.validate().is_ok());
//! assert_eq!(ProblemType::named("queue-full").unwrap().status, 429);
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod answer;
mod api;
mod batch;
mod body;
mod bulk;
mod call;
mod contexts;
mod credentials;
mod dashboard;
mod error;
mod events;
mod fields;
mod filter;
mod forwarded;
mod front;
mod gate;
mod headers;
mod health;
mod hosts;
mod index;
mod json;
mod keys;
mod metrics;
mod net;
mod nodes;
mod observe;
mod openapi;
mod page;
mod pools;
mod problems;
mod query;
mod routes;
mod schedules;
mod schema;
mod server;
mod settings;
mod status;
mod submission;
mod tasks;
mod tenants;
mod tls;
mod views;
mod what_if;

pub use self::metrics::{DURATION_BUCKETS, count_connection_error, describe_metrics};
pub use api::Api;
pub use body::{AnyPoolLimit, BatchLimit, BodyLimit, JsonBody, PathLimit};
pub use call::Call;
pub use dashboard::{FORMS_JS, THEME_CSS};
pub use error::Problem;
pub use front::Front;
pub use problems::{PROBLEMS, ProblemType, problems_markdown};
pub use routes::openapi_json;
pub use server::{HttpControl, HttpServer};
pub use settings::HttpSettings;
pub use tls::{TlsSettings, TlsVersion};
