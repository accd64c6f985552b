//! Discovery documents: APIVersions, APIGroupList, APIResourceList and the aggregated form.
//!
//! Groups and versions come in the order in which they first appear among the resources, which is
//! their order of preference; the first version of a group is the preferred one.

use serde_json::{Value, json};

/// One resource in discovery; subresources are separate entries
/// (`certificatesigningrequests/approval`).
#[derive(Debug, Clone)]
pub struct Resource {
    /// "" for the core group, as in `apiVersion: v1`.
    pub group: &'static str,
    /// As `v1`.
    pub version: &'static str,
    /// Plural, or plural/subresource.
    pub name: &'static str,
    /// What `kubectl get node` is looked up by.
    pub singular: &'static str,
    /// Namespaced?
    pub namespaced: bool,
    /// As manifests write it: `Node`.
    pub kind: &'static str,
    /// Group and version of the kind, when they are not the resource's own: a subresource may speak
    /// of another type.
    pub kind_version: Option<(&'static str, &'static str)>,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
    /// Short names.
    pub short_names: &'static [&'static str],
    /// Categories, such as `all`.
    pub categories: &'static [&'static str],
    /// Changes when objects are stored as another version; "" for what is not stored. Opaque to
    /// clients.
    pub storage_version_hash: &'static str,
    /// A delete answers with the object, not with a Status.
    pub returns_deleted: bool,
}

/// Distinct values in order of first appearance.
fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

fn groups(resources: &[Resource]) -> Vec<&'static str> {
    distinct(resources.iter().map(|resource| resource.group))
}

fn versions(resources: &[Resource], group: &str) -> Vec<&'static str> {
    distinct(
        resources
            .iter()
            .filter(|r| r.group == group)
            .map(|resource| resource.version),
    )
}

/// `GET /api`: the core group's versions, and where the server is reached.
pub fn api_versions(resources: &[Resource], server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": versions(resources, ""),
        "serverAddressByClientCIDRs": [
            {"clientCIDR": "0.0.0.0/0", "serverAddress": server_address},
        ],
    })
}

/// `GET /apis` plain.
pub fn group_list(resources: &[Resource]) -> Value {
    let named = groups(resources)
        .into_iter()
        .filter(|group| !group.is_empty());
    json!({
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": named.map(|group| group_entry(resources, group)).collect::<Vec<_>>(),
    })
}

fn group_entry(resources: &[Resource], group: &str) -> Value {
    let entries: Vec<Value> = versions(resources, group)
        .into_iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    let preferred = entries.first().cloned();
    json!({"name": group, "versions": entries, "preferredVersion": preferred})
}

/// `GET /apis/<group>`; None when there is no such group.
pub fn group(resources: &[Resource], group: &str) -> Option<Value> {
    if group.is_empty() || versions(resources, group).is_empty() {
        return None;
    }
    let mut document = group_entry(resources, group);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Some(document)
}

/// `GET /apis/<group>/<version>` and `/api/v1`; None when there is no such version.
pub fn resource_list(resources: &[Resource], group: &str, version: &str) -> Option<Value> {
    let entries: Vec<Value> = resources
        .iter()
        .filter(|resource| resource.group == group && resource.version == version)
        .map(resource_entry)
        .collect();
    if entries.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut document = json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": entries,
    });
    // The core group's list is older than apiVersion in it.
    if group.is_empty()
        && let Some(members) = document.as_object_mut()
    {
        members.remove("apiVersion");
    }
    Some(document)
}

fn resource_entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.name,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    if let Some((group, version)) = resource.kind_version {
        entry["group"] = group.into();
        entry["version"] = version.into();
    }
    if !resource.short_names.is_empty() {
        entry["shortNames"] = resource.short_names.into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.into();
    }
    if !resource.storage_version_hash.is_empty() {
        entry["storageVersionHash"] = resource.storage_version_hash.into();
    }
    entry
}

/// Aggregated form for `/api` (core = true) or `/apis`.
pub fn aggregated(resources: &[Resource], core: bool) -> Value {
    let items: Vec<Value> = groups(resources)
        .into_iter()
        .filter(|group| group.is_empty() == core)
        .map(|group| {
            let metadata = if core {
                json!({})
            } else {
                json!({"name": group})
            };
            let versions: Vec<Value> = versions(resources, group)
                .into_iter()
                .map(|version| {
                    json!({
                        "version": version,
                        "freshness": "Current",
                        "resources": aggregated_resources(resources, group, version),
                    })
                })
                .collect();
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resources(resources: &[Resource], group: &str, version: &str) -> Vec<Value> {
    let here = || {
        resources
            .iter()
            .filter(move |r| r.group == group && r.version == version)
    };
    here()
        .filter(|resource| !resource.name.contains('/'))
        .map(|resource| {
            let subresources: Vec<Value> = here()
                .filter_map(|other| {
                    let (parent, subresource) = other.name.split_once('/')?;
                    (parent == resource.name).then(|| {
                        json!({
                            "subresource": subresource,
                            "responseKind": response_kind(other),
                            "verbs": other.verbs,
                        })
                    })
                })
                .collect();
            let mut entry = json!({
                "resource": resource.name,
                "responseKind": response_kind(resource),
                "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": resource.singular,
                "verbs": resource.verbs,
            });
            if !resource.short_names.is_empty() {
                entry["shortNames"] = resource.short_names.into();
            }
            if !resource.categories.is_empty() {
                entry["categories"] = resource.categories.into();
            }
            if !subresources.is_empty() {
                entry["subresources"] = subresources.into();
            }
            entry
        })
        .collect()
}

/// The kind; group and version only where they differ from those of the document.
fn response_kind(resource: &Resource) -> Value {
    let (group, version) = resource.kind_version.unwrap_or(("", ""));
    json!({"group": group, "version": version, "kind": resource.kind})
}
