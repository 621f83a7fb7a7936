//! Roles, and what each may do: the one table behind the routes of HTTP and the calls of other fronts.

use serde::{Deserialize, Serialize};

/// What a key is for. It has one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Scrapes metrics, and asks what an autoscaler of nodes needs.
    Metrics,
    /// Sees pools, tasks and contexts; inputs and outputs only if the key allows it.
    Read,
    /// Submits tasks, and sees and steers tasks of its pools.
    Submit,
    /// Steers pools, schedules and all tasks.
    Operate,
    /// Does everything, keys included.
    Admin,
}

/// What a call needs. Each call of a front names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// No key at all: it shows nothing of the node's work.
    Open,
    /// Any valid key. The front then asks [`Service::require`](crate::Service::require) for what it does.
    AnyKey,
    /// Metrics, and the scaler.
    Metrics,
    /// State and size of pools.
    ReadPools,
    /// Forecasts, decisions, history and agents of pools; schedules.
    ReadDecisions,
    /// Tasks, apart from inputs, outputs and error messages.
    ReadTasks,
    /// Inputs, outputs, error messages and events of tasks.
    ReadPayloads,
    /// Contexts, without their items.
    ReadContexts,
    /// Submit tasks.
    Submit,
    /// Cancel, retry, change and answer single tasks.
    ChangeTasks,
    /// Steer pools and schedules, change many tasks, delete tasks and contexts, replay a day.
    Operate,
    /// Keys.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: &[Self] = &[Self::Metrics, Self::Read, Self::Submit, Self::Operate, Self::Admin];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    /// Returns what a key of the role begins with, after `fr_`, so that people and scanners know it.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Metrics => "met",
            Self::Read => "ro",
            Self::Submit => "sub",
            Self::Operate => "op",
            Self::Admin => "adm",
        }
    }

    /// Returns whether the role may do it.
    pub fn may(self, permission: Permission) -> bool {
        matches!(permission, Permission::Open | Permission::AnyKey) || permission.roles().contains(&self)
    }

    /// Returns whether a key of the role has all tenants by default.
    pub const fn has_all_tenants(self) -> bool {
        matches!(self, Self::Metrics | Self::Operate | Self::Admin)
    }

    /// Returns whether a key of the role sees inputs and outputs by default.
    pub const fn sees_payloads(self) -> bool {
        matches!(self, Self::Submit | Self::Admin)
    }
}

impl Permission {
    /// All permissions.
    pub const ALL: &[Self] = &[
        Self::Open,
        Self::AnyKey,
        Self::Metrics,
        Self::ReadPools,
        Self::ReadDecisions,
        Self::ReadTasks,
        Self::ReadPayloads,
        Self::ReadContexts,
        Self::Submit,
        Self::ChangeTasks,
        Self::Operate,
        Self::Admin,
    ];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::AnyKey => "any-key",
            Self::Metrics => "metrics",
            Self::ReadPools => "read-pools",
            Self::ReadDecisions => "read-decisions",
            Self::ReadTasks => "read-tasks",
            Self::ReadPayloads => "read-payloads",
            Self::ReadContexts => "read-contexts",
            Self::Submit => "submit",
            Self::ChangeTasks => "change-tasks",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    /// Returns the roles that have it.
    pub const fn roles(self) -> &'static [Role] {
        use Role::{Admin, Metrics, Operate, Read, Submit};
        match self {
            Self::Open | Self::AnyKey => Role::ALL,
            Self::Metrics => &[Metrics, Operate, Admin],
            Self::ReadDecisions => &[Read, Operate, Admin],
            Self::ReadPools | Self::ReadTasks | Self::ReadPayloads | Self::ReadContexts => {
                &[Read, Submit, Operate, Admin]
            }
            Self::Submit | Self::ChangeTasks => &[Submit, Operate, Admin],
            Self::Operate => &[Operate, Admin],
            Self::Admin => &[Admin],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_the_manual_says() {
        let manual = include_str!("../../../../docs/security.md");
        for permission in Permission::ALL {
            let cells = Role::ALL.iter().map(|role| if role.may(*permission) { "yes" } else { "–" });
            let row = format!("| `{}` | {} |", permission.as_str(), cells.collect::<Vec<_>>().join(" | "));
            assert!(manual.contains(&row), "docs/security.md lacks the row\n{row}");
        }
    }

    #[test]
    fn who_administers_may_do_everything_and_who_scrapes_sees_no_task() {
        assert!(Permission::ALL.iter().all(|permission| Role::Admin.may(*permission)));
        let of_metrics: Vec<_> = Permission::ALL.iter().filter(|permission| Role::Metrics.may(**permission)).collect();
        assert_eq!(of_metrics, [&Permission::Open, &Permission::AnyKey, &Permission::Metrics]);
    }
}
