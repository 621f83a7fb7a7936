//! The flags of every command that calls a service.

use std::path::PathBuf;

use clap::Args;
use forerunner_core::TenantName;

use crate::{client::Client, token};

/// The address of the service and the key: flags of every command that calls it.
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
    /// File with the key, which only its owner may read; else the key is in FORERUNNER_TOKEN or in
    /// ~/.config/forerunner/token.
    #[arg(long, env = "FORERUNNER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Authorities that sign the certificate of an https:// service, beside those of the system.
    #[arg(long, env = "FORERUNNER_CACERT", value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// The tenant to act for; all of them by default, if the key has all.
    #[arg(long, env = "FORERUNNER_TENANT", value_name = "TENANT")]
    pub tenant: Option<TenantName>,
}

impl ServerArgs {
    /// Returns a client of the service.
    pub fn client(&self) -> anyhow::Result<Client> {
        let token = token::find(self.token_file.as_deref())?;
        Client::new(&self.server, token.as_deref(), self.cacert.as_deref(), self.tenant.as_ref())
    }
}
