//! The flag of every command that asks a service something.

use clap::Args;

/// Where the service listens: a flag of every command that asks it something.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Address of the service.
    #[arg(long, env = "FORERUNNER_SERVER", default_value = "http://127.0.0.1:7077", value_name = "URL")]
    pub server: String,
}
