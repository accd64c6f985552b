//! What authorization is asked about a request.

use super::query::Query;
use super::route::{Target, Verb};
use crate::authz::Attributes;
use crate::user::User;
use everleaf_api::selector::{FieldSelector, LabelSelector};

/// What authorization is asked, without selectors. `verb` is the one of a path.
pub(super) fn asked<'a>(
    user: &'a User,
    target: &'a Target,
    verb: &'a str,
    path: &'a str,
) -> Attributes<'a> {
    match target {
        Target::Resource(target) => Attributes {
            verb: target.verb.as_str(),
            group: &target.group,
            version: &target.version,
            resource: &target.resource,
            subresource: &target.subresource,
            namespace: &target.namespace,
            name: &target.name,
            ..Attributes::of(user)
        },
        Target::Path => Attributes {
            verb,
            path,
            ..Attributes::of(user)
        },
    }
}

/// Selectors of a list, watch or deletecollection, for those authorizers that look at them.
pub(super) fn selectors(
    target: &Target,
    query: &Query,
) -> (Option<FieldSelector>, Option<LabelSelector>) {
    let Target::Resource(target) = target else {
        return (None, None);
    };
    if !matches!(
        target.verb,
        Verb::List | Verb::Watch | Verb::DeleteCollection
    ) {
        return (None, None);
    }
    let field = query
        .value("fieldSelector")
        .and_then(|text| FieldSelector::parse(text).ok());
    let label = query
        .value("labelSelector")
        .and_then(|text| LabelSelector::parse(text).ok());
    (field, label)
}
