//! Which versions an operator switches on and off (`--runtime-config`:
//! `apiserver/pkg/server/{options/api_enablement.go,resourceconfig/helpers.go}`).

use super::gates::boolean;
use everleaf_api::schema::Type;
use std::collections::{BTreeMap, BTreeSet};

/// What is said about every version there is.
const ALL: &str = "api/all";
/// About every version of the form `v1`, and so on.
const MATCHERS: [(&str, Option<Kind>); 4] = [
    (ALL, None),
    ("api/ga", Some(Kind::Stable)),
    ("api/beta", Some(Kind::Beta)),
    ("api/alpha", Some(Kind::Alpha)),
];

/// What a version's name says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Stable,
    Beta,
    Alpha,
}

impl Kind {
    pub(crate) fn of(version: &str) -> Self {
        match version {
            alpha if alpha.contains("alpha") => Self::Alpha,
            beta if beta.contains("beta") => Self::Beta,
            _ => Self::Stable,
        }
    }
}

/// What is wrong with it; the words are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeConfigError {
    /// Nothing would be left.
    #[error("invalid runtime-config with only {ALL}=false: say as well what is to be served")]
    Nothing,
    /// No version and no resource.
    #[error("runtime-config invalid key {key}: write GROUP/VERSION, or GROUP/VERSION/RESOURCE")]
    Key {
        /// What was written.
        key: String,
    },
    /// Groups of which nothing is known here.
    #[error("unknown api groups {groups}: this server has nothing of them")]
    Groups {
        /// `group/version`, sorted.
        groups: String,
    },
    /// A version that is not known of a known group.
    #[error("group version {version} that has not been registered: this server does not know it")]
    Version {
        /// `group/version`.
        version: String,
    },
    /// A resource that cannot be one.
    #[error(
        "invalid key {key}: group/version/resource and resource is always lowercase plural, not \
         {resource:?}"
    )]
    Case {
        /// What was written.
        key: String,
        /// The resource in it.
        resource: String,
    },
    /// Neither true nor false.
    #[error("invalid value {key}={value}: write true or false")]
    Value {
        /// What was written.
        key: String,
        /// What it was set to.
        value: String,
    },
}

/// What an operator says, unread: the last word about a key counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeConfig(BTreeMap<String, String>);

/// Whether a version of a resource is enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// No.
    Off,
    /// Yes.
    On,
    /// Yes, since somebody asked for this very resource.
    Asked,
}

/// What is enabled.
pub(super) struct Enabled {
    versions: BTreeMap<(&'static str, &'static str), bool>,
    asked: BTreeSet<(&'static str, &'static str)>,
    /// By `group/version/resource`.
    resources: BTreeMap<String, bool>,
}

impl RuntimeConfig {
    /// Of texts of the form `KEY=VALUE,KEY,…`.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let pairs = texts.into_iter().flat_map(|text| text.split(','));
        let pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.trim().to_owned(), value.trim().to_owned())
        });
        Self(pairs.collect())
    }

    /// What it makes of these versions, of which the stable ones are enabled without a word.
    pub(super) fn apply(
        &self,
        known: impl Iterator<Item = (&'static str, &'static str)>,
    ) -> Result<Enabled, RuntimeConfigError> {
        let known = known.map(|known| (known, Kind::of(known.1) == Kind::Stable));
        let mut enabled = Enabled {
            versions: known.collect(),
            asked: BTreeSet::new(),
            resources: BTreeMap::new(),
        };
        self.check(&enabled)?;
        for (key, kind) in MATCHERS {
            let Some(value) = self.0.get(key) else {
                continue;
            };
            let is_on = match value.as_str() {
                "true" => true,
                "false" => false,
                _ => return Err(bad_value(key, value)),
            };
            let all = enabled.versions.iter_mut();
            let meant = all.filter(|((_, version), _)| kind.is_none_or(|k| k == Kind::of(version)));
            meant.for_each(|(_, enabled)| *enabled = is_on);
        }
        for (key, value) in self.specific() {
            let is_on = match value.as_str() {
                "" => true,
                value => boolean(value).ok_or_else(|| bad_value(key, value))?,
            };
            let (group, version, resource) = split(key)?;
            let found = enabled
                .versions
                .keys()
                .find(|known| **known == (group, version));
            let Some(known) = found.copied() else {
                let version = format!("{group}/{version}");
                return Err(RuntimeConfigError::Version { version });
            };
            match resource {
                None => {
                    enabled.versions.insert(known, is_on);
                    if is_on {
                        enabled.asked.insert(known);
                    }
                }
                Some(resource) if resource.to_lowercase() != resource => {
                    let (key, resource) = (key.clone(), resource.to_owned());
                    return Err(RuntimeConfigError::Case { key, resource });
                }
                Some(_) => {
                    enabled.resources.insert(key.clone(), is_on);
                }
            }
        }
        Ok(enabled)
    }

    /// What is said about a version or a resource, not about all of a kind.
    fn specific(&self) -> impl Iterator<Item = (&String, &String)> {
        let is_general = |key: &str| MATCHERS.iter().any(|(matcher, _)| *matcher == key);
        self.0.iter().filter(move |(key, _)| !is_general(key))
    }

    fn check(&self, enabled: &Enabled) -> Result<(), RuntimeConfigError> {
        if self.0.len() == 1 && self.0.get(ALL).is_some_and(|value| value == "false") {
            return Err(RuntimeConfigError::Nothing);
        }
        let mut unknown = BTreeSet::new();
        for (key, _) in self.specific() {
            let (group, version, _) = split(key)?;
            if !enabled.versions.keys().any(|(known, _)| *known == group) {
                unknown.insert(format!("{group}/{version}"));
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let groups = unknown.into_iter().collect::<Vec<_>>().join(",");
        Err(RuntimeConfigError::Groups { groups })
    }
}

impl Enabled {
    pub(super) fn standing(&self, r#type: &Type, resource: &str) -> Standing {
        let (group, version) = (r#type.group, r#type.version);
        match self.resources.get(&format!("{group}/{version}/{resource}")) {
            Some(true) => Standing::Asked,
            Some(false) => Standing::Off,
            None if self.versions.get(&(group, version)) == Some(&true) => Standing::On,
            None => Standing::Off,
        }
    }

    /// The versions that somebody asked for by name.
    pub(super) fn asked_versions(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.asked.iter().copied()
    }
}

/// Group, version and, if it has one, resource of a key.
fn split(key: &str) -> Result<(&str, &str, Option<&str>), RuntimeConfigError> {
    let parts: Vec<&str> = key.split('/').collect();
    match parts[..] {
        [group, version] => Ok((group, version, None)),
        [group, version, resource] => Ok((group, version, Some(resource))),
        _ => Err(RuntimeConfigError::Key {
            key: key.to_owned(),
        }),
    }
}

fn bad_value(key: &str, value: &str) -> RuntimeConfigError {
    RuntimeConfigError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [(&str, &str); 4] = [
        ("", "v1"),
        ("certificates.k8s.io", "v1"),
        ("certificates.k8s.io", "v1beta1"),
        ("certificates.k8s.io", "v1alpha1"),
    ];

    /// The enabled versions, or what is wrong.
    fn outcome(text: &str) -> String {
        match RuntimeConfig::parse([text]).apply(KNOWN.into_iter()) {
            Ok(enabled) => {
                let on = enabled.versions.iter().filter(|(_, is_on)| **is_on);
                let on = on.map(|((group, version), _)| format!("{group}/{version}"));
                on.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn versions_are_switched_as_upstream_switches_them() {
        let stable = "/v1 certificates.k8s.io/v1";
        let all = "/v1 certificates.k8s.io/v1 certificates.k8s.io/v1alpha1 \
                   certificates.k8s.io/v1beta1";
        for (text, expected) in [
            ("", stable),
            ("api/all=true", all),
            ("api/all=true,api/alpha=false,api/beta=false", stable),
            ("api/ga=false,/v1=true", "/v1"),
            ("api/beta=true,certificates.k8s.io/v1beta1=0", stable),
            (
                "certificates.k8s.io/v1beta1=false,certificates.k8s.io/v1beta1",
                &all.replace(" certificates.k8s.io/v1alpha1", ""),
            ),
        ] {
            assert_eq!(outcome(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, expected) in [
            (
                "api/all=false",
                "invalid runtime-config with only api/all=false",
            ),
            ("v1=false", "runtime-config invalid key v1"),
            ("a/b/c/d", "runtime-config invalid key a/b/c/d"),
            ("b/v1=true,a/v2", "unknown api groups a/v2,b/v1"),
            (
                "certificates.k8s.io/v2=true",
                "group version certificates.k8s.io/v2 that has not been registered",
            ),
            (
                "certificates.k8s.io/v1/clusterTrustBundles",
                "invalid key certificates.k8s.io/v1/clusterTrustBundles: group/version/resource and \
                 resource is always lowercase plural, not \"clusterTrustBundles\"",
            ),
            ("api/all=1", "invalid value api/all=1"),
            ("/v1=maybe", "invalid value /v1=maybe"),
        ] {
            let found = outcome(text);
            assert!(found.starts_with(expected), "{text}: {found}");
        }
    }
}
