//! Discovery documents: APIVersions, APIGroupList, APIResourceList and the aggregated form (spec/api.md 3.1).
use serde_json::Value;
/// One resource in discovery; subresources are separate entries (`certificatesigningrequests/approval`).
#[derive(Debug, Clone)]
pub struct Resource {
    /// Group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Plural, or plural/subresource.
    pub name: &'static str,
    /// Singular.
    pub singular: &'static str,
    /// Namespaced?
    pub namespaced: bool,
    /// Kind.
    pub kind: &'static str,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
    /// Short names.
    pub short_names: &'static [&'static str],
}
/// `GET /apis` plain.
pub fn group_list(_resources: &[Resource]) -> Value {
    unimplemented!()
}
/// `GET /apis/<group>`.
pub fn group(_resources: &[Resource], _group: &str) -> Option<Value> {
    unimplemented!()
}
/// `GET /apis/<group>/<version>` and `/api/v1`.
pub fn resource_list(_resources: &[Resource], _group: &str, _version: &str) -> Option<Value> {
    unimplemented!()
}
/// Aggregated form for `/api` (core = true) or `/apis`.
pub fn aggregated(_resources: &[Resource], _core: bool) -> Value {
    unimplemented!()
}
