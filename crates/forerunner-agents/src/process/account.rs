//! The user that a child runs as, if not the node's own.

use std::{fs, io};

use super::{ProcessSpec, cleanup::Owner};

/// The user and group of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub owner: Owner,
    /// Name and home directory, if the user has a name.
    pub name: Option<String>,
    pub home: Option<String>,
}

impl Account {
    /// Looks up the user and the group that a specification names; `None` if it names neither.
    ///
    /// # Errors
    /// When one is unknown, or when the node may not become another user.
    pub(crate) fn of(spec: &ProcessSpec) -> io::Result<Option<Self>> {
        if spec.user.is_none() && spec.group.is_none() {
            return Ok(None);
        }
        if !rustix::process::geteuid().is_root() {
            let message = "`user` and `group` need a node that runs as root; start it as root, or leave them out and \
                           run the node itself as that user";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        Self::found(spec.user.as_deref(), spec.group.as_deref(), &passwd, &groups).map(Some)
    }

    fn found(user: Option<&str>, group: Option<&str>, passwd: &str, groups: &str) -> io::Result<Self> {
        let unknown = |key: &str, name: &str, file: &str| {
            let message = format!("`{key}` {name} is not in {file}; create it, or give its number");
            io::Error::new(io::ErrorKind::NotFound, message)
        };
        let own = rustix::process::getgid().as_raw();
        let mut account = Self { owner: Owner { uid: 0, gid: own }, name: None, home: None };
        if let Some(user) = user {
            let number: Option<u32> = user.parse().ok();
            let line = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| match number {
                Some(_) => fields.get(2) == Some(&user),
                None => fields.first() == Some(&user),
            });
            let field = |at: usize| line.as_ref().and_then(|fields| fields.get(at)).copied();
            let uid = field(2).and_then(|uid| uid.parse().ok()).or(number);
            let uid = uid.ok_or_else(|| unknown("user", user, "/etc/passwd"))?;
            let gid = field(3).and_then(|gid| gid.parse().ok()).unwrap_or(uid);
            account = Self {
                owner: Owner { uid, gid },
                name: field(0).map(str::to_owned),
                home: field(5).map(str::to_owned),
            };
        }
        if let Some(group) = group {
            let named = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let gid =
                named.filter(|fields| fields.first() == Some(&group)).find_map(|fields| fields.get(2)?.parse().ok());
            account.owner.gid =
                gid.or_else(|| group.parse().ok()).ok_or_else(|| unknown("group", group, "/etc/group"))?;
        }
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nagent:x:900:901:Agents:/srv/agent:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nagents:x:902:\n";

    fn found(user: &str, group: Option<&str>) -> (u32, u32, Option<String>) {
        let account = Account::found(Some(user), group, PASSWD, GROUPS).unwrap();
        (account.owner.uid, account.owner.gid, account.home)
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_by_number() {
        let home = || Some("/srv/agent".to_owned());
        assert_eq!(found("agent", None), (900, 901, home()));
        assert_eq!(found("900", None), (900, 901, home()));
        assert_eq!(found("agent", Some("agents")), (900, 902, home()));
        assert_eq!(found("12345", Some("7")), (12_345, 7, None));
        for (user, group, names) in [("nobody2", None, "`user` nobody2"), ("agent", Some("x"), "`group` x")] {
            let error = Account::found(Some(user), group, PASSWD, GROUPS).unwrap_err().to_string();
            assert!(error.starts_with(names), "{error}");
        }
    }
}
