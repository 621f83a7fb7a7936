//! Who calls, and what of the node belongs to the caller.

use std::{collections::BTreeSet, num::NonZeroU32, sync::Arc};

use forerunner_core::{ApiKeyName, PoolName, Priority, TenantName};

use super::role::{Permission, Role};
use crate::{error::Error, problem_kind::ProblemKind};

/// A caller that has shown a valid key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the key.
    pub name: ApiKeyName,
    /// What the key is for.
    pub role: Role,
    /// The tenant whose tasks, contexts and schedules the caller reaches; those of all tenants if there is none.
    pub tenant: Option<TenantName>,
    /// The pools that the key may use; all if there is no list.
    pub pools: Option<BTreeSet<PoolName>>,
    /// The highest priority that the key may give; any if there is none.
    pub max_priority: Option<Priority>,
    /// Tasks that may be submitted with the key in a second; any if there is none.
    pub submits_per_s: Option<NonZeroU32>,
    /// Whether the caller sees inputs, outputs and messages of errors.
    pub payloads: bool,
}

/// What of the node a call may reach. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub enum Scope {
    /// Everything: a caller in the process, or a service without authentication.
    #[default]
    All,
    /// The same, of one tenant.
    Tenant(TenantName),
    /// What belongs to a caller.
    Of(Arc<Caller>),
    /// Nothing: nobody has shown a key.
    Nothing,
}

impl Scope {
    /// Returns the caller, if it is known.
    pub fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Of(caller) => Some(caller),
            Self::All | Self::Tenant(_) | Self::Nothing => None,
        }
    }

    /// Returns the tenant that the caller is restricted to.
    pub(crate) fn tenant(&self) -> Option<&TenantName> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::Of(caller) => caller.tenant.as_ref(),
            Self::All | Self::Nothing => None,
        }
    }

    /// Returns whether what belongs to a tenant is there for the caller.
    pub(crate) fn has_tenant(&self, tenant: &TenantName) -> bool {
        !matches!(self, Self::Nothing) && self.tenant().is_none_or(|own| own == tenant)
    }

    /// Restricts the caller to one tenant.
    ///
    /// # Errors
    /// [`ProblemKind::Forbidden`] for a caller of another tenant.
    pub(crate) fn of_tenant(&self, tenant: TenantName) -> Result<Self, Error> {
        match self {
            Self::Nothing => Ok(Self::Nothing),
            Self::Of(caller) if !self.has_tenant(&tenant) => Err(caller.not_of(&tenant)),
            Self::Of(caller) => Ok(Self::Of(Arc::new(Caller { tenant: Some(tenant), ..Caller::clone(caller) }))),
            Self::All | Self::Tenant(_) => Ok(Self::Tenant(tenant)),
        }
    }

    /// Refuses a caller of one tenant what concerns all tenants; `wish` completes "this call".
    pub(crate) fn require_all_tenants(&self, wish: &str) -> Result<(), Error> {
        match (self.tenant(), self.caller()) {
            (Some(tenant), Some(caller)) => {
                let name = &caller.name;
                let detail = format!(
                    "this call {wish} for all tenants, and key `{name}` acts for tenant `{tenant}`; use a key without a \
                     tenant"
                );
                Err(caller.forbidden(detail))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what the caller may not do.
    ///
    /// # Errors
    /// [`ProblemKind::Unauthenticated`], [`ProblemKind::Forbidden`].
    pub fn require(&self, needs: Permission) -> Result<(), Error> {
        match self {
            Self::All | Self::Tenant(_) => Ok(()),
            _ if needs == Permission::Open => Ok(()),
            Self::Nothing => Err(no_key()),
            Self::Of(caller) if !caller.role.may(needs) => Err(caller.lacks(needs)),
            Self::Of(caller) if needs == Permission::ReadPayloads && !caller.payloads => Err(caller.is_blind()),
            Self::Of(_) => Ok(()),
        }
    }

    /// Returns whether the caller may use a pool.
    pub fn has_pool(&self, pool: &str) -> bool {
        match self {
            Self::All | Self::Tenant(_) => true,
            Self::Of(caller) => caller.pools.as_ref().is_none_or(|pools| pools.contains(pool)),
            Self::Nothing => false,
        }
    }

    /// Returns the pools that the caller is restricted to.
    pub(crate) fn pools(&self) -> Option<Vec<&PoolName>> {
        match self {
            Self::All | Self::Tenant(_) => None,
            Self::Of(caller) => caller.pools.as_ref().map(|pools| pools.iter().collect()),
            Self::Nothing => Some(Vec::new()),
        }
    }

    /// Returns whether all of what another key may use belongs to the caller.
    pub(crate) fn covers(&self, tenant: Option<&TenantName>, pools: Option<&BTreeSet<PoolName>>) -> bool {
        if self.tenant().is_some_and(|own| tenant != Some(own)) {
            return false;
        }
        match (self.pools(), pools) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(pools)) => pools.iter().all(|pool| own.contains(&pool)),
        }
    }

    /// Returns whether the caller sees inputs, outputs and messages of errors.
    pub fn sees_payloads(&self) -> bool {
        match self {
            Self::All | Self::Tenant(_) => true,
            Self::Of(caller) => caller.payloads,
            Self::Nothing => false,
        }
    }

    /// Refuses a priority above what the caller may give.
    pub(crate) fn check_priority(&self, priority: Priority) -> Result<(), Error> {
        match self.caller().and_then(|caller| Some((caller, caller.max_priority?))) {
            Some((caller, most)) if priority > most => Err(caller.too_urgent(priority, most)),
            _ => Ok(()),
        }
    }
}

/// The answer to a call without a key that needs one.
pub(super) fn no_key() -> Error {
    let detail = "this call needs a key; send `Authorization: Bearer KEY`, or set FORERUNNER_TOKEN or --token-file";
    Error::new(ProblemKind::Unauthenticated, detail)
}

impl Caller {
    fn lacks(&self, needs: Permission) -> Error {
        let roles: Vec<_> = needs.roles().iter().map(|role| role.as_str()).collect();
        let detail = format!(
            "key `{}` has the role {}, and this call needs {}, which the roles {} have; use a key of one of these",
            self.name,
            self.role.as_str(),
            needs.as_str(),
            roles.join(", ")
        );
        self.forbidden(detail).with("needs", needs.as_str())
    }

    fn is_blind(&self) -> Error {
        let detail = format!(
            "key `{}` sees no inputs and outputs, and this call shows them; use a key that was made with payloads",
            self.name
        );
        self.forbidden(detail).with("needs", Permission::ReadPayloads.as_str())
    }

    fn too_urgent(&self, priority: Priority, most: Priority) -> Error {
        let (name, priority, most) = (&self.name, priority.get(), most.get());
        let detail = format!("key `{name}` may give priorities up to {most}, not {priority}; use {most} or less");
        self.forbidden(detail).with("needs", Permission::Submit.as_str()).with("limit", most)
    }

    fn not_of(&self, tenant: &TenantName) -> Error {
        let own = self.tenant.as_ref().map_or(TenantName::DEFAULT, TenantName::as_str);
        let detail = format!(
            "key `{}` belongs to tenant `{own}`, and the call names tenant `{tenant}`; name `{own}`, or no tenant",
            self.name
        );
        self.forbidden(detail)
    }

    fn forbidden(&self, detail: String) -> Error {
        Error::new(ProblemKind::Forbidden, detail).with("role", self.role.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(role: Role, pools: Option<&[&str]>) -> Scope {
        let pools = pools.map(|pools| pools.iter().map(|pool| PoolName::new(pool).unwrap()).collect());
        let name = ApiKeyName::new("ci").unwrap();
        let max_priority = Some(Priority::new(5).unwrap());
        let tenant = None;
        Scope::Of(Arc::new(Caller {
            name,
            role,
            tenant,
            pools,
            max_priority,
            submits_per_s: None,
            payloads: role.sees_payloads(),
        }))
    }

    #[test]
    fn a_refusal_names_role_and_need() {
        let error = scope(Role::Read, None).require(Permission::Operate).unwrap_err();
        assert_eq!(error.kind(), ProblemKind::Forbidden);
        assert_eq!(
            (&error.details().members["role"], &error.details().members["needs"]),
            (&"read".into(), &"operate".into())
        );
        let error = scope(Role::Operate, None).require(Permission::ReadPayloads).unwrap_err();
        assert!(error.to_string().contains("made with payloads"), "{error}");
        assert_eq!(Scope::Nothing.require(Permission::AnyKey).unwrap_err().kind(), ProblemKind::Unauthenticated);
        assert!(Scope::Nothing.require(Permission::Open).is_ok() && Scope::All.require(Permission::Admin).is_ok());
    }

    #[test]
    fn a_caller_is_restricted_to_a_tenant_and_never_to_another_one() {
        let tenant = |name: &str| TenantName::new(name).unwrap();
        for all in [Scope::All, scope(Role::Operate, None)] {
            assert!(all.has_tenant(&tenant("a")) && all.require_all_tenants("pauses a pool").is_ok());
            let one = all.of_tenant(tenant("a")).unwrap();
            assert!(one.has_tenant(&tenant("a")) && !one.has_tenant(&tenant("b")));
            assert_eq!(one.pools(), all.pools());
        }
        let one = scope(Role::Operate, None).of_tenant(tenant("a")).unwrap();
        assert_eq!(one.of_tenant(tenant("b")).unwrap_err().kind(), ProblemKind::Forbidden);
        assert_eq!(one.require_all_tenants("pauses a pool").unwrap_err().kind(), ProblemKind::Forbidden);
        assert!(one.of_tenant(tenant("a")).is_ok() && !Scope::Nothing.has_tenant(&tenant("a")));
    }

    #[test]
    fn a_caller_has_its_pools_and_its_priorities() {
        let own = scope(Role::Submit, Some(&["coder"]));
        assert!(own.has_pool("coder") && !own.has_pool("other") && !Scope::Nothing.has_pool("coder"));
        assert!(own.check_priority(Priority::new(5).unwrap()).is_ok());
        assert_eq!(own.check_priority(Priority::new(6).unwrap()).unwrap_err().kind(), ProblemKind::Forbidden);
        let of = |pools: &[&str]| pools.iter().map(|pool| PoolName::new(pool).unwrap()).collect::<BTreeSet<_>>();
        assert!(
            own.covers(None, Some(&of(&["coder"])))
                && !own.covers(None, Some(&of(&["coder", "b"])))
                && !own.covers(None, None)
        );
        assert!(
            Scope::All.covers(None, None)
                && scope(Role::Admin, None).covers(None, None)
                && !Scope::Nothing.covers(None, None)
        );
    }
}
