//! Acting as somebody else: `Impersonate-*` headers, each item authorized for the real user
//! (`apiserver/pkg/endpoints/filters/impersonation`).

use std::collections::BTreeMap;

use everleaf_api::Status;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use crate::{
    authz::{Attributes, Authorizer},
    objects::Objects,
    user::{self, ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User},
};

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "impersonate-extra-";
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

/// The effective identity: `real` itself, or whom its `Impersonate-*` headers name, when `real` may. 400 for malformed
/// headers, 403 when refused.
pub fn impersonate(
    headers: &HeaderMap,
    real: User,
    authorizer: &Authorizer,
    objects: &dyn Objects,
) -> Result<User, Status> {
    let Some(wanted) = wanted(headers)? else {
        return Ok(real);
    };
    let may = |attributes: &Attributes<'_>| authorizer.check(attributes, objects);
    let question = Attributes {
        verb: "impersonate",
        version: "v1",
        ..Attributes::of(&real)
    };
    let service_account = user::split_service_account(&wanted.name);
    may(&match service_account {
        Some((namespace, name)) => Attributes {
            resource: "serviceaccounts",
            namespace,
            name,
            ..question.clone()
        },
        None => Attributes {
            resource: "users",
            name: &wanted.name,
            ..question.clone()
        },
    })?;
    for group in &wanted.groups {
        may(&Attributes {
            resource: "groups",
            name: group,
            ..question.clone()
        })?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            may(&Attributes {
                group: AUTHENTICATION_GROUP,
                resource: "userextras",
                subresource: key,
                name: value,
                ..question.clone()
            })?;
        }
    }
    if !wanted.uid.is_empty() {
        may(&Attributes {
            group: AUTHENTICATION_GROUP,
            resource: "uids",
            name: &wanted.uid,
            ..question
        })?;
    }
    Ok(with_implied_groups(wanted))
}

/// Whom the headers name; None without any.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let mut wanted = User {
        name: single(headers, &USER)?.unwrap_or_default(),
        uid: single(headers, &UID)?.unwrap_or_default(),
        groups: headers
            .get_all(&GROUP)
            .iter()
            .map(|value| text(&GROUP, value))
            .collect::<Result<_, _>>()?,
        extra: BTreeMap::new(),
    };
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            let values = wanted.extra.entry(extra_key(key)).or_default();
            values.push(text(name, value)?);
        }
    }
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted == User::default() {
        return Ok(None);
    }
    Err(Status::bad_request(
        "impersonation: groups, extra or uid without a user; send Impersonate-User too",
    ))
}

/// Header names are lower case; what a key loses by that it keeps by percent-encoding. An undecodable key is itself.
fn extra_key(key: &str) -> String {
    percent_decode_str(key)
        .decode_utf8()
        .map_or_else(|_| key.to_owned(), |decoded| decoded.into_owned())
}

/// The one value of a header. Two would be read differently by different proxies on the way, so they are refused.
fn single(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Status> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| text(name, value)).transpose()?;
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Status::bad_request(format!(
            "impersonation: header {name} given more than once"
        ))),
    }
}

fn text(name: &HeaderName, value: &http::HeaderValue) -> Result<String, Status> {
    std::str::from_utf8(value.as_bytes())
        .map(str::to_owned)
        .map_err(|_| Status::bad_request(format!("impersonation: header {name} is not UTF-8")))
}

/// A service account named without groups has its own; then `system:authenticated`, or for anonymous
/// `system:unauthenticated`, unless the groups already tell.
fn with_implied_groups(mut wanted: User) -> User {
    if wanted.groups.is_empty()
        && let Some((namespace, _)) = user::split_service_account(&wanted.name)
    {
        wanted.groups = user::service_account_groups(namespace);
    }
    if wanted.name != ANONYMOUS {
        return wanted.into_authenticated();
    }
    if !wanted.in_group(UNAUTHENTICATED) && !wanted.in_group(AUTHENTICATED) {
        wanted.groups.push(UNAUTHENTICATED.to_owned());
    }
    wanted
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::fixture::{self, Shelf, cluster_role, cluster_role_binding};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("a header name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    /// `front` may impersonate user bob, group dev, the uid 7, extra scopes=read, and any service account.
    fn shelf() -> Shelf {
        let shelf = Shelf::installed();
        shelf.put("clusterroles", cluster_role("front", json!([
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob", "system:anonymous"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["dev"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]},
            {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["uids"], "resourceNames": ["7"]},
            {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"], "resourceNames": ["read"]},
        ])));
        shelf.put(
            "clusterrolebindings",
            cluster_role_binding("front", "front", json!([{"kind": "User", "name": "front"}])),
        );
        shelf
    }

    fn check(real: &str, pairs: &[(&str, &str)]) -> Result<User, (u16, String)> {
        let real = fixture::user(real, &[]);
        impersonate(&headers(pairs), real, &Authorizer::default(), &shelf())
            .map_err(|status| (status.code, status.message))
    }

    #[test]
    fn nobody_else() {
        assert_eq!(check("front", &[]), Ok(fixture::user("front", &[])));
        assert_eq!(
            check("front", &[("Impersonate-User", "")]),
            Ok(fixture::user("front", &[])),
            "an empty header names nobody"
        );
    }

    #[test]
    fn allowed_items() {
        let bob = check(
            "front",
            &[
                ("Impersonate-User", "bob"),
                ("Impersonate-Group", "dev"),
                ("Impersonate-Uid", "7"),
                ("Impersonate-Extra-Scopes", "read"),
            ],
        )
        .expect("allowed");
        assert_eq!((bob.name.as_str(), bob.uid.as_str()), ("bob", "7"));
        assert_eq!(bob.groups, ["dev", "system:authenticated"]);
        assert_eq!(bob.extra["scopes"], ["read"]);
    }

    #[test]
    fn each_item_is_asked_for() {
        for (name, value) in [
            ("Impersonate-User", "eve"),
            ("Impersonate-Group", "system:masters"),
            ("Impersonate-Uid", "8"),
            ("Impersonate-Extra-scopes", "write"),
            ("Impersonate-Extra-scope%73", "write"),
            ("Impersonate-Extra-other", "read"),
        ] {
            let mut pairs = vec![(name, value)];
            if name != "Impersonate-User" {
                pairs.push(("Impersonate-User", "bob"));
            }
            let (code, _) = check("front", &pairs).expect_err(value);
            assert_eq!(code, 403, "{name}: {value}");
        }
        assert_eq!(
            check("nobody", &[("Impersonate-User", "bob")]),
            Err((
                403,
                r#"users "bob" is forbidden: User "nobody" cannot impersonate resource "users" in API group "" at the cluster scope"#
                    .to_owned()
            ))
        );
    }

    #[test]
    fn one_bad_group_among_good_ones_is_refused() {
        let pairs = [
            ("Impersonate-User", "bob"),
            ("Impersonate-Group", "dev"),
            ("Impersonate-Group", "system:masters"),
        ];
        assert_eq!(check("front", &pairs).expect_err("refused").0, 403);
    }

    #[test]
    fn service_accounts_and_anonymous_get_their_groups() {
        let account = check(
            "front",
            &[("Impersonate-User", "system:serviceaccount:a:b")],
        );
        assert_eq!(
            account.expect("allowed").groups,
            [
                "system:serviceaccounts",
                "system:serviceaccounts:a",
                "system:authenticated"
            ]
        );
        let anonymous = check("front", &[("Impersonate-User", "system:anonymous")]);
        assert_eq!(anonymous, Ok(User::anonymous()));
    }

    #[test]
    fn malformed() {
        for pairs in [
            vec![("Impersonate-Group", "dev")],
            vec![("Impersonate-Uid", "7")],
            vec![("Impersonate-Extra-scopes", "read")],
            vec![("Impersonate-User", "bob"), ("Impersonate-User", "eve")],
            vec![
                ("Impersonate-User", "bob"),
                ("Impersonate-Uid", "7"),
                ("Impersonate-Uid", "8"),
            ],
        ] {
            assert_eq!(check("front", &pairs).expect_err("bad").0, 400, "{pairs:?}");
        }
        let mut raw = HeaderMap::new();
        raw.insert(USER, HeaderValue::from_bytes(b"b\xffb").expect("opaque"));
        let refused = impersonate(&raw, fixture::admin(), &Authorizer::default(), &shelf());
        assert_eq!(refused.expect_err("not UTF-8").code, 400);
    }

    #[test]
    fn a_giant_group_list_is_judged_item_by_item() {
        let mut many = headers(&[("Impersonate-User", "bob")]);
        for number in 0..2_000 {
            let value = HeaderValue::from_str(&format!("g{number}")).expect("a value");
            many.append(GROUP, value);
        }
        let shelf = shelf();
        let authorizer = Authorizer::default();
        let refused = impersonate(&many, fixture::user("front", &[]), &authorizer, &shelf);
        assert_eq!(refused.expect_err("g0").code, 403);
        let allowed = impersonate(&many, fixture::admin(), &authorizer, &shelf);
        assert_eq!(allowed.expect("admin may").groups.len(), 2_001);
    }
}
