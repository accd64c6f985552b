//! One RBAC policy rule: what it allows, what it covers, and its JSON shape
//! (`plugin/pkg/auth/authorizer/rbac/rbac.go`, `pkg/apis/rbac/v1/evaluation_helpers.go`).

use super::Attributes;
use crate::read;
use everleaf_api::fields::quote;
use serde_json::{Map, Value};
use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
};

/// Upper bound of the single permissions one rule is broken into when cover is checked. A larger
/// rule that no held rule covers whole is reported as not covered.
const ATOMS_MAX: usize = 10_000;

/// A rule of a Role or ClusterRole: verbs on resources of API groups (perhaps only some names), or
/// verbs on paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) paths: Vec<String>,
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

impl Rule {
    /// Verbs on resources.
    pub(crate) fn on(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Self {
        Self {
            verbs: owned(verbs),
            groups: owned(groups),
            resources: owned(resources),
            ..Self::default()
        }
    }

    /// The same on these names only.
    pub(crate) fn named(mut self, names: &[&str]) -> Self {
        self.names = owned(names);
        self
    }

    /// Verbs on paths.
    pub(crate) fn on_paths(verbs: &[&str], paths: &[&str]) -> Self {
        Self {
            verbs: owned(verbs),
            paths: owned(paths),
            ..Self::default()
        }
    }

    /// The same with every list in order, as upstream installs its rules.
    pub(crate) fn sorted(mut self) -> Self {
        for texts in [
            &mut self.verbs,
            &mut self.groups,
            &mut self.resources,
            &mut self.names,
            &mut self.paths,
        ] {
            texts.sort_unstable();
        }
        self
    }

    /// The rules of a Role or ClusterRole object.
    pub(crate) fn all_of(role: &Value) -> Vec<Self> {
        read::items(role, "/rules")
            .iter()
            .map(|rule| Self {
                verbs: read::texts(rule, "/verbs"),
                groups: read::texts(rule, "/apiGroups"),
                resources: read::texts(rule, "/resources"),
                names: read::texts(rule, "/resourceNames"),
                paths: read::texts(rule, "/nonResourceURLs"),
            })
            .collect()
    }

    /// JSON shape of a `PolicyRule`.
    pub(crate) fn to_value(&self) -> Value {
        let mut members = Map::new();
        members.insert("verbs".to_owned(), self.verbs.clone().into());
        for (member, texts) in [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ] {
            if !texts.is_empty() {
                members.insert(member.to_owned(), texts.clone().into());
            }
        }
        Value::Object(members)
    }

    /// Does this rule allow it?
    pub(crate) fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has_or_any(&self.verbs, attributes.verb) {
            return false;
        }
        if attributes.resource.is_empty() {
            return self
                .paths
                .iter()
                .any(|path| path_matches(path, attributes.path));
        }
        has_or_any(&self.groups, attributes.group)
            && self
                .resources
                .iter()
                .any(|r| resource_matches(r, attributes.resource, attributes.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| name == attributes.name))
    }

    /// Does holding this rule alone mean holding all that `other` gives?
    fn covers(&self, other: &Self) -> bool {
        let contains_all =
            |mine: &[String], theirs: &[String]| theirs.iter().all(|text| has_or_any(mine, text));
        contains_all(&self.verbs, &other.verbs)
            && contains_all(&self.groups, &other.groups)
            && other.resources.iter().all(|theirs| {
                let (resource, subresource) = theirs.split_once('/').unwrap_or((theirs, ""));
                self.resources
                    .iter()
                    .any(|mine| mine == theirs || resource_matches(mine, resource, subresource))
            })
            && (self.names.is_empty()
                || (!other.names.is_empty()
                    && other.names.iter().all(|name| self.names.contains(name))))
            && other
                .paths
                .iter()
                .all(|theirs| self.paths.iter().any(|mine| path_matches(mine, theirs)))
    }

    /// The single permissions this rule gives, each as a rule of one verb on one thing; None when
    /// there are too many.
    fn atoms(&self) -> Option<Vec<Self>> {
        let names = self.names.len().max(1);
        let count = self
            .verbs
            .len()
            .checked_mul(self.groups.len())
            .and_then(|n| n.checked_mul(self.resources.len()))
            .and_then(|n| n.checked_mul(names))
            .and_then(|n| n.checked_add(self.verbs.len().checked_mul(self.paths.len())?))
            .filter(|&count| count <= ATOMS_MAX)?;
        let mut atoms = Vec::with_capacity(count);
        for verb in &self.verbs {
            for group in &self.groups {
                for resource in &self.resources {
                    let atom = Self::on(&[verb], &[group], &[resource]);
                    if self.names.is_empty() {
                        atoms.push(atom);
                    } else {
                        atoms.extend(self.names.iter().map(|name| atom.clone().named(&[name])));
                    }
                }
            }
            atoms.extend(
                self.paths
                    .iter()
                    .map(|path| Self::on_paths(&[verb], &[path])),
            );
        }
        Some(atoms)
    }
}

/// What of `wanted` is not given by `held`, as rules; empty when all is held. A rule too large to
/// take apart is returned whole unless one held rule covers it.
pub(crate) fn not_held(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let covered = |rule: &Rule| held.iter().any(|mine| mine.covers(rule));
    let mut missing = Vec::new();
    for rule in wanted {
        if covered(rule) {
            continue;
        }
        match rule.atoms() {
            Some(atoms) => missing.extend(atoms.into_iter().filter(|atom| !covered(atom))),
            None => missing.push(rule.clone()),
        }
    }
    missing
}

/// `rules` with those on one and the same resource (and name) joined to one, as upstream lists what
/// is missing (`pkg/registry/rbac/validation/policy_compact.go`).
pub(crate) fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let is_simple = |rule: &Rule| {
        rule.groups.len() == 1
            && rule.resources.len() == 1
            && rule.names.len() <= 1
            && rule.paths.is_empty()
    };
    let mut places = HashMap::new();
    let mut compacted: Vec<Rule> = Vec::new();
    for mut rule in rules {
        if is_simple(&rule) {
            let about = (
                rule.groups.clone(),
                rule.resources.clone(),
                rule.names.clone(),
            );
            match places.entry(about) {
                Entry::Occupied(place) => {
                    let same: &mut Rule = &mut compacted[*place.get()];
                    same.verbs.append(&mut rule.verbs);
                    continue;
                }
                Entry::Vacant(place) => {
                    place.insert(compacted.len());
                }
            }
        }
        compacted.push(rule);
    }
    compacted
}

/// Texts as Go prints a slice of them with `%q`: `["a" "b"]`.
pub(crate) fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quote(text)).collect();
    format!("[{}]", texts.join(" "))
}

/// As upstream prints a rule: `{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "{";
        for (label, texts) in [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ] {
            if !texts.is_empty() {
                write!(f, "{separator}{label}:{}", quoted(texts))?;
                separator = ", ";
            }
        }
        f.write_str(if separator == "{" { "{}" } else { "}" })
    }
}

fn has_or_any(list: &[String], text: &str) -> bool {
    list.iter().any(|item| item == "*" || item == text)
}

/// `*`, `res`, `res/sub` or `*/sub`; a rule on `res` says nothing of `res/sub`.
fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((rule_resource, rule_subresource)) => {
            !subresource.is_empty()
                && rule_subresource == subresource
                && (rule_resource == "*" || rule_resource == resource)
        }
    }
}

/// Exact, `*`, or a prefix ending in `*`.
fn path_matches(rule: &str, path: &str) -> bool {
    rule == path
        || rule
            .strip_suffix('*')
            .is_some_and(|prefix| path.starts_with(prefix.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn resources() {
        for (rule, resource, subresource, expected) in [
            ("*", "a", "", true),
            ("*", "a", "b", true),
            ("a", "a", "", true),
            ("a", "a", "b", false),
            ("a/b", "a", "b", true),
            ("a/b", "a", "", false),
            ("*/b", "a", "b", true),
            ("*/b", "a", "c", false),
            ("*/b", "a", "", false),
            ("a/*", "a", "b", false),
            ("", "a", "", false),
        ] {
            assert_eq!(
                resource_matches(rule, resource, subresource),
                expected,
                "{rule} {resource}/{subresource}"
            );
        }
    }

    #[test]
    fn paths() {
        for (rule, path, expected) in [
            ("*", "/anything", true),
            ("/api/*", "/api/v1", true),
            ("/api/*", "/api", false),
            ("/api", "/api", true),
            ("/api", "/api/v1", false),
            ("/a*", "/apis", true),
            ("/a/*/b", "/a/x/b", false),
        ] {
            assert_eq!(path_matches(rule, path), expected, "{rule} {path}");
        }
    }

    #[test]
    fn cover_takes_rules_apart() {
        let held = [
            Rule::on(&["get"], &[""], &["secrets", "configmaps"]),
            Rule::on(&["list"], &[""], &["secrets"]),
            Rule::on(&["update"], &["x"], &["*/scale"]),
            Rule::on(&["get"], &["x"], &["things"]).named(&["a", "b"]),
            Rule::on_paths(&["get"], &["/api/*"]),
        ];
        let check = |wanted: Rule| not_held(&held, &[wanted]);
        assert_eq!(check(Rule::on(&["get", "list"], &[""], &["secrets"])), []);
        assert_eq!(
            check(Rule::on(
                &["get", "list"],
                &[""],
                &["secrets", "configmaps"]
            )),
            [Rule::on(&["list"], &[""], &["configmaps"])]
        );
        assert_eq!(check(Rule::on(&["update"], &["x"], &["things/scale"])), []);
        assert_eq!(
            check(Rule::on(&["get"], &["x"], &["things"]).named(&["a"])),
            []
        );
        assert_eq!(
            check(Rule::on(&["get"], &["x"], &["things"])).len(),
            1,
            "all names are more than two names"
        );
        assert_eq!(check(Rule::on_paths(&["get"], &["/api/v1/*"])), []);
        assert_eq!(check(Rule::on_paths(&["get"], &["*"])).len(), 1);
        assert_eq!(check(Rule::on(&["*"], &[""], &["secrets"])).len(), 1);
        assert_eq!(check(Rule::on(&["get"], &[""], &["*"])).len(), 1);
        assert_eq!(check(Rule::on(&["get"], &["*"], &["secrets"])).len(), 1);
    }

    #[test]
    fn a_giant_rule_is_refused_not_expanded() {
        let many: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        let giant = Rule {
            verbs: many.clone(),
            groups: many.clone(),
            resources: many.clone(),
            names: many,
            ..Rule::default()
        };
        let all = Rule::on(&["*"], &["*"], &["*"]);
        assert_eq!(not_held(&[], std::slice::from_ref(&giant)).len(), 1);
        assert_eq!(not_held(&[all], &[giant]), []);
    }

    #[test]
    fn what_is_missing_is_told_once_per_resource() {
        let named = |verb: &str, name: &str| Rule::on(&[verb], &[""], &["secrets"]).named(&[name]);
        let paths = || Rule::on_paths(&["get"], &["/x"]);
        let rules = vec![
            Rule::on(&["get"], &[""], &["secrets"]),
            Rule::on(&["get"], &["x"], &["secrets"]),
            paths(),
            Rule::on(&["list"], &[""], &["secrets"]),
            named("get", "a"),
            named("get", "b"),
            named("list", "a"),
            paths(),
        ];
        let mut joined = named("get", "a");
        joined.verbs.push("list".to_owned());
        assert_eq!(
            compact(rules),
            [
                Rule::on(&["get", "list"], &[""], &["secrets"]),
                Rule::on(&["get"], &["x"], &["secrets"]),
                paths(),
                joined,
                named("get", "b"),
                paths(),
            ]
        );
    }

    #[test]
    fn display() {
        assert_eq!(
            Rule::on(&["get"], &[""], &["secrets"]).to_string(),
            r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#
        );
        assert_eq!(
            Rule::on_paths(&["get", "head"], &["/a", "/b"]).to_string(),
            r#"{NonResourceURLs:["/a" "/b"], Verbs:["get" "head"]}"#
        );
        assert_eq!(Rule::default().to_string(), "{}");
    }

    fn words() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(
            prop::sample::select(vec!["*", "a", "b", "a/b", "*/b"]).prop_map(str::to_owned),
            1..3,
        )
    }
    fn rules() -> impl Strategy<Value = Rule> {
        (words(), words(), words(), prop::option::of(words())).prop_map(
            |(verbs, groups, resources, names)| Rule {
                verbs,
                groups,
                resources,
                names: names.unwrap_or_default(),
                paths: Vec::new(),
            },
        )
    }

    proptest! {
        /// The law escalation checks rest on: what is covered is never more than what is held.
        #[test]
        fn covered_rules_allow_nothing_new(held in prop::collection::vec(rules(), 0..4), wanted in rules(), verb in "[abc]", group in "[abc]", resource in "[abc]", subresource in "[abc]?", name in "[abc]?") {
            let user = crate::user::User::default();
            let attributes = Attributes { verb: &verb, group: &group, resource: &resource, subresource: &subresource, name: &name, ..Attributes::of(&user) };
            if not_held(&held, std::slice::from_ref(&wanted)).is_empty() && wanted.allows(&attributes) {
                prop_assert!(held.iter().any(|rule| rule.allows(&attributes)));
            }
        }
    }
}
