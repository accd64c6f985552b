//! Defaults and field errors of roles and bindings. Since 1.36 what is declared as required is told
//! after what is checked by hand (`pkg/apis/rbac/v1/zz_generated.validations.go`).

use crate::{
    read,
    registry::{Context, Strategy, names},
};
use everleaf_api::fields::{FieldError, quote};
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Rules of Roles and ClusterRoles.
pub(super) struct RoleStrategy {
    pub(super) namespaced: bool,
}

impl Strategy for RoleStrategy {
    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut declared = Vec::new();
        for (index, rule) in read::items(object, "/rules").iter().enumerate() {
            let path = format!("rules[{index}]");
            if read::is_empty(rule.get("verbs")) {
                declared.push(FieldError::required(
                    &format!("{path}.verbs"),
                    "verbs must contain at least one value",
                ));
            }
            self.rule(&path, rule, &mut errors);
        }
        let aggregation = object.get("aggregationRule");
        if aggregation.is_some_and(Value::is_object)
            && read::is_empty(object.pointer("/aggregationRule/clusterRoleSelectors"))
        {
            errors.push(FieldError::required(
                "aggregationRule.clusterRoleSelectors",
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            ));
        }
        errors.extend(declared);
        errors
    }
}

impl RoleStrategy {
    fn rule(&self, path: &str, rule: &Value, errors: &mut Vec<FieldError>) {
        let has = |member: &str| !read::is_empty(rule.get(member));
        if has("nonResourceURLs") {
            let path = format!("{path}.nonResourceURLs");
            let shown = rule["nonResourceURLs"].to_string();
            if self.namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(&path, &shown, detail));
            }
            if has("apiGroups") || has("resources") || has("resourceNames") {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(&path, &shown, detail));
            }
            return;
        }
        for (member, detail) in [
            (
                "apiGroups",
                "resource rules must supply at least one api group",
            ),
            (
                "resources",
                "resource rules must supply at least one resource",
            ),
        ] {
            if !has(member) {
                errors.push(FieldError::required(&format!("{path}.{member}"), detail));
            }
        }
    }
}

/// Rules of RoleBindings and ClusterRoleBindings.
pub(super) struct BindingStrategy {
    pub(super) namespaced: bool,
}

impl Strategy for BindingStrategy {
    fn default(&self, object: &mut Value) {
        fill_groups(object);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.role_reference(object, &mut errors);
        let subjects = read::items(object, "/subjects");
        for (index, subject) in subjects.iter().enumerate() {
            self.subject(&format!("subjects[{index}]"), subject, &mut errors);
        }
        let nameless = |subject: &Value| read::text(subject, "/name").is_empty();
        for (index, _) in subjects.iter().enumerate().filter(|(_, s)| nameless(s)) {
            errors.push(FieldError::required(&format!("subjects[{index}].name"), ""));
        }
        if read::text(object, "/roleRef/name").is_empty() {
            errors.push(FieldError::required("roleRef.name", ""));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = self.validate_create(new, context);
        let differs = ["/roleRef/apiGroup", "/roleRef/kind", "/roleRef/name"]
            .iter()
            .any(|pointer| read::text(new, pointer) != read::text(old, pointer));
        if differs {
            let shown = new
                .get("roleRef")
                .map_or_else(|| "{}".to_owned(), Value::to_string);
            errors.push(FieldError::invalid(
                "roleRef",
                &shown,
                "cannot change roleRef",
            ));
        }
        errors
    }
}

impl BindingStrategy {
    fn role_reference(&self, object: &Value, errors: &mut Vec<FieldError>) {
        let group = read::text(object, "/roleRef/apiGroup");
        if group != GROUP {
            errors.push(FieldError::not_supported(
                "roleRef.apiGroup",
                &quote(group),
                &[GROUP],
            ));
        }
        let kinds: &[&str] = if self.namespaced {
            &["ClusterRole", "Role"]
        } else {
            &["ClusterRole"]
        };
        let kind = read::text(object, "/roleRef/kind");
        if !kinds.contains(&kind) {
            errors.push(FieldError::not_supported(
                "roleRef.kind",
                &quote(kind),
                kinds,
            ));
        }
        let name = read::text(object, "/roleRef/name");
        if let Err(detail) = names::path_segment(name) {
            errors.push(FieldError::invalid("roleRef.name", &quote(name), &detail));
        }
    }

    fn subject(&self, path: &str, subject: &Value, errors: &mut Vec<FieldError>) {
        let name = read::text(subject, "/name");
        let group_path = format!("{path}.apiGroup");
        let group = read::text(subject, "/apiGroup");
        let kind = read::text(subject, "/kind");
        match kind {
            "ServiceAccount" => {
                if !name.is_empty()
                    && let Err(detail) = names::subdomain(name)
                {
                    let name_path = format!("{path}.name");
                    errors.push(FieldError::invalid(&name_path, &quote(name), &detail));
                }
                if !group.is_empty() {
                    errors.push(FieldError::not_supported(&group_path, &quote(group), &[""]));
                }
                if !self.namespaced && read::text(subject, "/namespace").is_empty() {
                    errors.push(FieldError::required(&format!("{path}.namespace"), ""));
                }
            }
            "User" | "Group" => {
                if group != GROUP {
                    errors.push(FieldError::not_supported(
                        &group_path,
                        &quote(group),
                        &[GROUP],
                    ));
                }
            }
            _ => errors.push(FieldError::not_supported(
                &format!("{path}.kind"),
                &quote(kind),
                &["ServiceAccount", "User", "Group"],
            )),
        }
    }
}

/// The API group of role references and of subjects that are users or groups is implied
/// (`pkg/apis/rbac/v1/defaults.go`).
fn fill_groups(object: &mut Value) {
    let fill = |value: &mut Value| {
        if read::text(value, "/apiGroup").is_empty()
            && let Some(members) = value.as_object_mut()
        {
            members.insert("apiGroup".to_owned(), GROUP.into());
        }
    };
    if let Some(reference) = object.get_mut("roleRef") {
        fill(reference);
    }
    if let Some(subjects) = object.get_mut("subjects").and_then(Value::as_array_mut) {
        for subject in subjects {
            if matches!(read::text(subject, "/kind"), "User" | "Group") {
                fill(subject);
            }
        }
    }
}
