//! Tenants: their limits, and what they have used.

mod book;
mod limits;

use std::time::Duration;

use forerunner_core::{NewTask, TenantName};
use forerunner_store::TenantUsage;
use metrics::counter;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior};

use book::Exceeded;
pub use book::RateStatus;
pub(crate) use book::TenantBook;
pub use limits::TenantLimits;
use limits::{AllLimits, MOST_TENANTS};

use crate::{error::Error, metrics::LIMITED, problem_kind::ProblemKind, service::Service};

/// How often a node reads the limits, and counts what limited tenants have.
const POLL: Duration = Duration::from_secs(2);
/// How long a count may take, as a share of the time to the next one.
const COUNTING_SHARE: u32 = 10;
/// Where the limits of all tenants are stored.
const SETTING: &str = "tenants";

/// A tenant that has limits.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TenantStatus {
    /// Its name.
    pub name: TenantName,
    /// What it may have at most.
    pub limits: TenantLimits,
    /// Its tasks that wait or run, as far as this node knows; omitted unless `tasks` or `input_bytes` is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub tasks: Option<u64>,
    /// The bytes of their inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub input_bytes: Option<u64>,
}

impl Service {
    /// Lists the tenants that have limits, by name.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn tenants(&self) -> Result<Vec<TenantStatus>, Error> {
        let limits = self.read_limits().await?;
        let own = limits.into_iter().filter(|(tenant, _)| self.scope().has_tenant(tenant));
        Ok(own.map(|(tenant, limits)| self.tenant_status(tenant, limits)).collect())
    }

    /// Sets the limits of a tenant in place of those that it had. All nodes follow within some seconds. Of two changes at
    /// the same time the later one counts.
    ///
    /// # Errors
    /// A limit is not acceptable, the caller belongs to a tenant, or there are too many tenants with limits.
    pub async fn set_tenant(&self, tenant: TenantName, limits: TenantLimits) -> Result<TenantStatus, Error> {
        self.scope().require_all_tenants("changes limits")?;
        limits.validate()?;
        let mut all = self.read_limits().await?;
        match limits.is_empty() {
            true => all.remove(&tenant),
            false => all.insert(tenant.clone(), limits),
        };
        if all.len() > MOST_TENANTS {
            let detail =
                format!("{MOST_TENANTS} tenants have limits, as many as there may be; remove those of another one");
            return Err(Error::new(ProblemKind::InvalidValue, detail).with("limit", MOST_TENANTS));
        }
        let text = serde_json::to_string(&all).map_err(|error| Error::internal(error.to_string()))?;
        self.handle().settings().put_setting(SETTING.to_owned(), Some(text)).await?;
        self.refresh_tenants().await?;
        Ok(self.tenant_status(tenant, limits))
    }

    /// Returns what the caller may submit now; `None` without a limit of its rate.
    pub fn rate_status(&self) -> Option<RateStatus> {
        self.book().rate(&self.tenant(), self.clock_s())
    }

    /// Reads the limits now, and counts what limited tenants have.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn refresh_tenants(&self) -> Result<(), Error> {
        let limits = self.read_limits().await?;
        self.book().set(&limits);
        for (tenant, before) in self.book().to_measure() {
            let stored = self.handle().tenant_usage(&tenant).await?;
            self.book().measured(&tenant, stored, before);
        }
        Ok(())
    }

    /// Reads the limits again and again, for as long as the service runs.
    pub async fn keep_tenants(&self) {
        let mut rhythm = tokio::time::interval(POLL);
        rhythm.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            rhythm.tick().await;
            let begun = Instant::now();
            let failed = self.refresh_tenants().await.err();
            if let Some(error) = failed.as_ref().filter(|_| !is_failing) {
                tracing::warn!(%error, "cannot read the limits of tenants; those that were read last count meanwhile");
            }
            is_failing = failed.is_some();
            tokio::time::sleep(begun.elapsed() * COUNTING_SHARE).await;
        }
    }

    /// Counts a task of the caller before it is submitted.
    pub(crate) fn enter(&self, task: &NewTask) -> Result<(), Error> {
        let caller = self.scope().caller();
        if let Some((caller, per_s)) = caller.and_then(|caller| Some((caller, caller.submits_per_s?))) {
            let entered = self.book().enter_by_key(&caller.name, per_s, self.clock_s());
            entered.map_err(|exceeded| refused(exceeded, &format!("key `{}`", caller.name), "key"))?;
        }
        let entered = self.book().enter(&task.tenant, 1, task.input.len() as u64, self.clock_s());
        entered.map_err(|exceeded| refused(exceeded, &format!("tenant `{}`", task.tenant), task.tenant.as_str()))
    }

    async fn read_limits(&self) -> Result<AllLimits, Error> {
        let text = self.handle().settings().setting(SETTING.to_owned()).await?;
        let read = text.as_deref().map(serde_json::from_str).transpose();
        let unreadable = |error| Error::internal(format!("the limits of tenants in the store cannot be read: {error}"));
        Ok(read.map_err(unreadable)?.unwrap_or_default())
    }

    fn tenant_status(&self, name: TenantName, limits: TenantLimits) -> TenantStatus {
        let usage: Option<TenantUsage> = self.book().usage(&name);
        let (tasks, input_bytes) = (usage.map(|usage| usage.tasks), usage.map(|usage| usage.input_bytes));
        TenantStatus { name, limits, tasks, input_bytes }
    }
}

/// Counts and explains a refusal. Only tenants with limits are refused, so the labels are bounded.
fn refused(exceeded: Exceeded, who: &str, label: &str) -> Error {
    counter!(LIMITED, "tenant" => label.to_owned(), "limit" => exceeded.name()).increment(1);
    exceeded.of(who)
}

impl Exceeded {
    const fn name(&self) -> &'static str {
        match self {
            Self::Rate { .. } => "rate",
            Self::KeyRate { .. } => "key_rate",
            Self::Tasks { .. } => "tasks",
            Self::Bytes { .. } => "bytes",
        }
    }

    fn of(self, who: &str) -> Error {
        let (detail, limit, wait_s) = match self {
            Self::Rate { limit, wait_s } | Self::KeyRate { limit, wait_s } => {
                let per_s = limit.per_s();
                let detail = format!("{who} may submit {per_s} tasks a second; submit fewer, or retry later");
                (detail, Value::from(limit.burst()), wait_s)
            }
            Self::Tasks { there, limit } => {
                let detail = format!("{who} has {there} unfinished tasks, limit {limit}; retry once some have ended");
                (detail, limit.into(), POLL.as_secs_f64())
            }
            Self::Bytes { there, limit } => {
                let detail = format!(
                    "the inputs of the unfinished tasks of {who} have {there} bytes, limit {limit}; send less, or retry \
                     once some have ended"
                );
                (detail, limit.into(), POLL.as_secs_f64())
            }
        };
        let error = Error::new(ProblemKind::TenantLimit, detail).with("limited", self.name()).with("limit", limit);
        error.retry_after(Duration::from_secs_f64(wait_s.clamp(0.001, 3_600.0)))
    }
}
