//! Who is asking.
use std::collections::BTreeMap;
/// An authenticated (and, after impersonation, effective) identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// UID, often empty.
    pub uid: String,
    /// Groups in the authenticator's order.
    pub groups: Vec<String>,
    /// Extra.
    pub extra: BTreeMap<String, Vec<String>>,
}
impl User {
    /// `N` when this is `system:node:N` in group `system:nodes` with a non-empty name.
    pub fn node_name(&self) -> Option<&str> {
        let name = self.name.strip_prefix("system:node:")?;
        (!name.is_empty() && self.in_group("system:nodes")).then_some(name)
    }
    /// Group membership.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}
