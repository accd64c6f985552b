//! The ways of impersonation, and what each asks (`mode.go`).

use crate::{
    authz::{Attributes, Authorizer, Decision},
    objects::Objects,
    registry::names,
    user::{self, ANONYMOUS, MASTERS, NODE_PREFIX, NODES, UNAUTHENTICATED, User},
};
use everleaf_api::{Status, fields::quote};
use std::collections::BTreeMap;

const AUTHENTICATION: &str = "authentication.k8s.io";
/// What a token of a service account says about the node its pod runs on.
const NODE_NAME_KEY: &str = "authentication.kubernetes.io/node-name";
/// From so many groups or extra values on, all of them are asked for at once first.
const MANY: usize = 4;

/// A way of impersonation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A service account's own node.
    AssociatedNode,
    /// Any node.
    ArbitraryNode,
    /// A service account.
    ServiceAccount,
    /// Anybody else, with groups, uid and extra.
    UserInfo,
    /// Anybody, for anything.
    Legacy,
}

impl Mode {
    /// In the order in which they are tried.
    pub(super) const ALL: [Self; 5] = [
        Self::AssociatedNode,
        Self::ArbitraryNode,
        Self::ServiceAccount,
        Self::UserInfo,
        Self::Legacy,
    ];

    /// Part of its verbs; None: the verb is `impersonate`.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::AssociatedNode => Some("associated-node"),
            Self::ArbitraryNode => Some("arbitrary-node"),
            Self::ServiceAccount => Some("serviceaccount"),
            Self::UserInfo => Some("user-info"),
            Self::Legacy => None,
        }
    }

    /// The verb that allows it, as an audit names it; "" for the way of old.
    pub(super) fn constraint(self) -> String {
        let name = self.name();
        name.map_or_else(String::new, |name| format!("impersonate:{name}"))
    }

    /// Is it made for this? Nodes and service accounts are told by their names alone.
    pub(super) fn suits(self, wanted: &User, real: &User) -> bool {
        let only_named =
            wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node_name(&wanted.name);
        let account = user::split_service_account(&wanted.name);
        match self {
            Self::AssociatedNode => only_named && node.is_some() && node == own_node(real),
            Self::ArbitraryNode => only_named && node.is_some(),
            Self::ServiceAccount => only_named && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }
}

/// The node that a user name names.
fn node_name(user_name: &str) -> Option<&str> {
    let name = user_name.strip_prefix(NODE_PREFIX)?;
    names::subdomain(name).is_ok().then_some(name)
}

/// The node that a service account's token is bound to.
fn own_node(real: &User) -> Option<&str> {
    user::split_service_account(&real.name)?;
    match real.extra.get(NODE_NAME_KEY)?.as_slice() {
        [node] => Some(node),
        _ => None,
    }
}

/// Somebody who wants to make a request as somebody else.
pub(super) struct Impersonator<'a> {
    pub(super) wanted: &'a User,
    /// The request, with who they really are.
    pub(super) request: &'a Attributes<'a>,
    pub(super) authorizer: &'a Authorizer,
    pub(super) objects: &'a dyn Objects,
}

impl Impersonator<'_> {
    /// Whom they become this way, or the first refusal.
    pub(super) fn become_by(&self, mode: Mode) -> Result<User, Status> {
        let verb = match mode.name() {
            Some(name) => {
                let verb = format!("impersonate-on:{name}:{}", self.request.verb);
                self.may(&Attributes {
                    verb: &verb,
                    ..self.request.clone()
                })?;
                format!("impersonate:{name}")
            }
            None => "impersonate".to_owned(),
        };
        let question = Attributes {
            verb: &verb,
            group: match mode {
                Mode::Legacy => "",
                _ => AUTHENTICATION,
            },
            version: "v1",
            ..Attributes::of(self.request.user)
        };
        self.name(mode, &question)?;
        if !self.wanted.uid.is_empty() {
            self.may(&Attributes {
                group: AUTHENTICATION,
                resource: "uids",
                name: &self.wanted.uid,
                ..question.clone()
            })?;
        }
        self.groups(mode, &question)?;
        self.extra(mode, &question)?;
        Ok(with_implied_groups(mode, self.wanted.clone()))
    }

    fn may(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        self.authorizer.check(attributes, self.objects)
    }

    fn name(&self, mode: Mode, question: &Attributes<'_>) -> Result<(), Status> {
        let wanted = &self.wanted.name;
        let node = node_name(wanted).filter(|_| mode != Mode::Legacy);
        self.may(&match (user::split_service_account(wanted), node) {
            (Some((namespace, name)), _) => Attributes {
                resource: "serviceaccounts",
                namespace,
                name,
                ..question.clone()
            },
            (None, Some(node)) => Attributes {
                resource: "nodes",
                // Which of them is its own needs no right of its own.
                name: match mode {
                    Mode::AssociatedNode => "*",
                    _ => node,
                },
                ..question.clone()
            },
            (None, None) => Attributes {
                resource: "users",
                name: wanted,
                ..question.clone()
            },
        })
    }

    fn groups(&self, mode: Mode, question: &Attributes<'_>) -> Result<(), Status> {
        let groups = &self.wanted.groups;
        let of = |name| Attributes {
            resource: "groups",
            name,
            ..question.clone()
        };
        if mode != Mode::Legacy {
            if groups.iter().any(String::is_empty) {
                return Err(refused(
                    &of(""),
                    "impersonating the empty string group is not allowed",
                ));
            }
            if self.wanted.in_group(MASTERS) {
                return Err(refused(
                    &of(MASTERS),
                    "impersonating the system:masters group is not allowed",
                ));
            }
            if groups.len() >= MANY && self.may(&of("*")).is_ok() {
                return Ok(());
            }
        }
        groups.iter().try_for_each(|group| self.may(&of(group)))
    }

    fn extra(&self, mode: Mode, question: &Attributes<'_>) -> Result<(), Status> {
        let extra = &self.wanted.extra;
        let of = |subresource, name| Attributes {
            group: AUTHENTICATION,
            resource: "userextras",
            subresource,
            name,
            ..question.clone()
        };
        if mode != Mode::Legacy {
            if let Some(fault) = extra_fault(extra) {
                return Err(refused(&of("", ""), &fault));
            }
            let count = extra.values().map(Vec::len).sum::<usize>();
            if count >= MANY && self.may(&of("*", "*")).is_ok() {
                return Ok(());
            }
        }
        let mut items = extra
            .iter()
            .flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        items.try_for_each(|(key, value)| self.may(&of(key, value)))
    }
}

fn refused(attributes: &Attributes<'_>, reason: &str) -> Status {
    let decision = Decision {
        allowed: false,
        reason: reason.to_owned(),
        ..Decision::default()
    };
    Authorizer::denied(attributes, &decision)
}

/// What a constrained way does not allow among the extra attributes.
fn extra_fault(extra: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let fault = |(key, values): (&String, &Vec<String>)| {
        let what = if key.is_empty() {
            "the empty string key in extra is not allowed".to_owned()
        } else if let Err((shown, detail)) = domain_prefixed(key) {
            let shown = quote(shown);
            format!(
                "an invalid key in extra is not allowed: extra.key: Invalid value: {shown}: {detail}"
            )
        } else if *key != key.to_lowercase() {
            format!(
                "a non-lowercase key in extra is not allowed: {}",
                quote(key)
            )
        } else if values.iter().any(String::is_empty) {
            "the empty string value in extra is not allowed".to_owned()
        } else {
            return None;
        };
        Some(format!("impersonating {what}"))
    };
    extra.iter().find_map(fault)
}

/// `example.com/path` (`IsDomainPrefixedPath`); Err = what of it is wrong, and why.
fn domain_prefixed(key: &str) -> Result<(), (&str, String)> {
    let (domain, path) = match key.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => (domain, path),
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            return Err((key, detail.to_owned()));
        }
    };
    names::subdomain(domain).map_err(|detail| (domain, detail))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if path.chars().all(fits) {
        return Ok(());
    }
    let detail = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
    Err((path, detail.to_owned()))
}

/// A service account named without groups has its own, and by a constrained way a node, too; then
/// `system:authenticated`, or for anonymous `system:unauthenticated`, unless the groups already
/// tell.
fn with_implied_groups(mode: Mode, mut wanted: User) -> User {
    if wanted.groups.is_empty()
        && let Some((namespace, _)) = user::split_service_account(&wanted.name)
    {
        wanted.groups = user::service_account_groups(namespace);
    }
    if matches!(mode, Mode::AssociatedNode | Mode::ArbitraryNode) {
        wanted.groups = vec![NODES.to_owned()];
    }
    if wanted.name != ANONYMOUS {
        return wanted.into_authenticated();
    }
    if !wanted.in_group(UNAUTHENTICATED) {
        wanted.groups.push(UNAUTHENTICATED.to_owned());
    }
    wanted
}
