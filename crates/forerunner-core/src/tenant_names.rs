//! Names that belong to a tenant, so that those of two tenants never meet.
//!
//! A context id and an idempotency key are stored with their tenant before them: `acme chat-1`. A client's name has no
//! space, so the two parts are always told apart. Names of the tenant `default` are stored as they are.

use crate::{ContextId, Error, IdempotencyKey, TenantName};

/// Stands between a tenant and a name.
const SEPARATOR: char = ' ';

macro_rules! name_of_tenant {
    ($name:ident) => {
        impl $name {
            /// Returns the name as the store has it for a tenant. A name that has a tenant already stays as it is.
            #[must_use]
            pub fn of_tenant(&self, tenant: &TenantName) -> Self {
                if tenant.is_default() || self.tenant().is_some() {
                    return self.clone();
                }
                Self::joined(tenant, self.as_str())
            }

            /// Reads a name as the store has it: with its tenant, unless that is the default one.
            ///
            /// # Errors
            /// [`Error::Name`] with the value and the rule that it breaks.
            pub fn stored(text: impl AsRef<str>) -> Result<Self, Error> {
                match text.as_ref().split_once(SEPARATOR) {
                    None => Self::new(text),
                    Some((tenant, name)) => Ok(Self::joined(&TenantName::new(tenant)?, Self::new(name)?.as_str())),
                }
            }

            /// Returns the tenant in a stored name; `None` for the default one.
            pub fn tenant(&self) -> Option<&str> {
                self.as_str().split_once(SEPARATOR).map(|(tenant, _)| tenant)
            }

            /// Returns the name that the client gave.
            pub fn local(&self) -> &str {
                self.as_str().split_once(SEPARATOR).map_or(self.as_str(), |(_, name)| name)
            }

            /// Returns the name without its tenant.
            #[must_use]
            pub fn to_local(&self) -> Self {
                if self.tenant().is_none() { self.clone() } else { Self::unchecked(self.local()) }
            }

            fn joined(tenant: &TenantName, name: &str) -> Self {
                Self::unchecked(&format!("{tenant}{SEPARATOR}{name}"))
            }
        }
    };
}

name_of_tenant!(ContextId);
name_of_tenant!(IdempotencyKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_two_tenants_never_meet() {
        let tenant = |name: &str| TenantName::new(name).unwrap();
        let chat = ContextId::new("chat-1").unwrap();
        let [acme, bolt] = ["acme", "bolt"].map(|name| chat.of_tenant(&tenant(name)));
        assert!(acme != bolt && acme != chat && chat.of_tenant(&TenantName::default()) == chat);
        assert_eq!((acme.as_str(), acme.tenant(), acme.local()), ("acme chat-1", Some("acme"), "chat-1"));
        assert_eq!((acme.to_local(), chat.tenant()), (chat.clone(), None));
        assert_eq!(acme.of_tenant(&tenant("bolt")), acme, "a name has one tenant");
        for stored in [&acme, &bolt, &chat] {
            assert_eq!(&ContextId::stored(stored.as_str()).unwrap(), stored);
        }
    }

    #[test]
    fn no_client_can_write_the_name_of_another_tenant() {
        assert!(ContextId::new("acme chat-1").is_err() && IdempotencyKey::new("acme k").is_err());
        assert!(serde_json::from_str::<ContextId>(r#""acme chat-1""#).is_err());
        for bad in ["acme ", " chat", "acme a b", "Acme chat", "acme\tchat"] {
            assert!(ContextId::stored(bad).is_err(), "{bad}");
        }
    }
}
