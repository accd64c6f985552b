//! Who is asking: a name, groups, and what else the proof of identity said. How it was proven is
//! [`crate::authn`]'s business, what it may do [`crate::authz`]'s.

use std::collections::BTreeMap;

/// Name of whoever shows no credential.
pub const ANONYMOUS: &str = "system:anonymous";
/// Group of everyone who proved an identity.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of everyone who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The super-group: may do everything, whatever the policy objects say.
pub const MASTERS: &str = "system:masters";
/// Group of nodes.
pub const NODES: &str = "system:nodes";
/// Prefix of a node's user name.
pub const NODE_PREFIX: &str = "system:node:";
/// Prefix of a service account's user name: `system:serviceaccount:NAMESPACE:NAME`.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// An authenticated (and, after impersonation, effective) identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// `system:anonymous` when nobody was authenticated.
    pub name: String,
    /// UID, often empty.
    pub uid: String,
    /// Groups in the authenticator's order.
    pub groups: Vec<String>,
    /// Further facts of the authenticator, as the fingerprint of a certificate.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Whoever shows no credential.
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// A service account with the groups every service account has.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let mut groups = service_account_groups(namespace);
        groups.push(AUTHENTICATED.to_owned());
        Self {
            name: format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"),
            groups,
            ..Self::default()
        }
    }

    /// `N` when this is `system:node:N` in group `system:nodes` with a non-empty name.
    pub fn node_name(&self) -> Option<&str> {
        self.node_identity().filter(|name| !name.is_empty())
    }

    /// As [`Self::node_name`], but a node whose name cannot be told (group `system:nodes` and an
    /// empty name after the prefix) is `Some("")`: such a caller gets nothing instead of what
    /// anybody gets (`pkg/auth/nodeidentifier/default.go`).
    pub fn node_identity(&self) -> Option<&str> {
        let name = self.name.strip_prefix(NODE_PREFIX)?;
        self.in_group(NODES).then_some(name)
    }

    /// Group membership.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Adds `system:authenticated` unless the groups already tell which of the two this is, or the
    /// proven name is that of whoever shows nothing
    /// (`apiserver/pkg/authentication/group/authenticated_group_adder.go`).
    pub(crate) fn into_authenticated(mut self) -> Self {
        let is_told = self.in_group(AUTHENTICATED) || self.in_group(UNAUTHENTICATED);
        if self.name != ANONYMOUS && !is_told {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }
}

/// `(namespace, name)` of a service account's user name.
pub(crate) fn split_service_account(user_name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user_name
        .strip_prefix(SERVICE_ACCOUNT_PREFIX)?
        .split_once(':')?;
    let valid = |text: &str| crate::registry::names::subdomain(text).is_ok();
    (crate::registry::names::label(namespace).is_ok() && valid(name)).then_some((namespace, name))
}

/// The groups that come with being a service account of this namespace.
pub(crate) fn service_account_groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_a_node() {
        let check = |name: &str, group: &str| {
            let user = User {
                name: name.to_owned(),
                groups: vec![group.to_owned()],
                ..User::default()
            };
            (
                user.node_identity().map(str::to_owned),
                user.node_name().map(str::to_owned),
            )
        };
        let named = |name: &str| (Some(name.to_owned()), Some(name.to_owned()));
        assert_eq!(check("system:node:n1", "system:nodes"), named("n1"));
        assert_eq!(
            check("system:node:", "system:nodes"),
            (Some(String::new()), None)
        );
        assert_eq!(check("system:node:n1", "system:nodes2"), (None, None));
        assert_eq!(check("n1", "system:nodes"), (None, None));
        assert_eq!(check("System:node:n1", "system:nodes"), (None, None));
    }

    #[test]
    fn service_account_names() {
        assert_eq!(
            split_service_account("system:serviceaccount:kube-system:x.y"),
            Some(("kube-system", "x.y"))
        );
        for bad in [
            "system:serviceaccount:a",
            "system:serviceaccount::b",
            "system:serviceaccount:a:",
            "system:serviceaccount:a:b:c",
            "serviceaccount:a:b",
        ] {
            assert_eq!(split_service_account(bad), None, "{bad}");
        }
    }

    #[test]
    fn authenticated_is_added_once() {
        assert_eq!(
            User::service_account("a", "b").into_authenticated().groups,
            [
                "system:serviceaccounts",
                "system:serviceaccounts:a",
                "system:authenticated"
            ]
        );
        assert_eq!(
            User::anonymous().into_authenticated(),
            User::anonymous(),
            "anonymous never becomes authenticated"
        );
    }
}
