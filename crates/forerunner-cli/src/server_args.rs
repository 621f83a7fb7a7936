//! The flag of every command that calls a service.

use clap::Args;

/// The address of the service: a flag of every command that calls it.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Address of the service.
    #[arg(
        long,
        env = "FORERUNNER_SERVER",
        default_value = "http://127.0.0.1:7077",
        help_heading = "Global options",
        value_name = "URL"
    )]
    pub server: String,
}
