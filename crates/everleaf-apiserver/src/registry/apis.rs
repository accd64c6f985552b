//! Which of the versions that this server knows it serves: what the release has that it acts as,
//! with what its operator switched on and off.
//!
//! A version of a resource is there from one release until another ([`Lifecycle`]), its gate must
//! be on, and it must be enabled: stable versions are by default, others are by `--runtime-config`
//! (`apiserver/pkg/server/{deleted_kinds.go,resourceconfig}`, `pkg/controlplane/instance.go`).

use super::gates::{Gate, Gates, Minor, NEWEST, OLDEST_EMULATED};
use super::reviews::{REVIEWS, Review};
use super::runtime_config::{Enabled, Kind, RuntimeConfig, RuntimeConfigError, Standing};
use super::{Descriptor, known};
use everleaf_api::schema::Type;
use std::fmt;

/// The releases in which a version of a resource is there
/// (`k8s.io/api`, `zz_generated.prerelease-lifecycle.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifecycle {
    /// The first that has it; 0: long ago.
    pub introduced: Minor,
    /// The first that warns who uses it; None: it is not on its way out.
    pub deprecated: Option<Deprecated>,
}

/// A version that is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deprecated {
    /// Since when.
    pub since: Minor,
    /// The first release without it.
    pub removed: Minor,
    /// The version to use instead; None: there is none to be told of.
    pub replacement: Option<&'static str>,
}

impl Lifecycle {
    /// There since long ago, and to stay.
    pub const ALWAYS: Self = Self {
        introduced: 0,
        deprecated: None,
    };

    fn is_at(&self, minor: Minor) -> bool {
        let ends = |deprecated: Deprecated| deprecated.removed <= minor;
        self.introduced <= minor && !self.deprecated.is_some_and(ends)
    }
}

impl Descriptor {
    /// What whoever uses it is to be told; upstream goes by the release that the program is, not by
    /// the one that it acts as.
    pub fn deprecation(&self) -> Option<String> {
        let deprecated = self.lifecycle.deprecated?;
        if deprecated.since > NEWEST {
            return None;
        }
        let r#type = self.r#type;
        let mut text = format!(
            "{} {} is deprecated in v1.{}+, unavailable in v1.{}+",
            r#type.api_version(),
            r#type.kind,
            deprecated.since,
            deprecated.removed
        );
        if let Some(version) = deprecated.replacement {
            text += &format!("; use {}/{version} {}", r#type.group, r#type.kind);
        }
        Some(text)
    }
}

/// Why a server cannot serve what it is told to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApisError {
    /// No release that it can act as.
    #[error(
        "emulation version 1.{minor} is not between [1.{OLDEST_EMULATED}, 1.{NEWEST}]: write one of \
         these, such as 1.{NEWEST}"
    )]
    Release {
        /// The one that was wanted.
        minor: Minor,
    },
    /// No release that it can get on with.
    #[error(
        "minCompatibilityVersion version 1.{minor} is not between [1.{OLDEST_EMULATED}, 1.{emulated}]: \
         write one of these"
    )]
    Compatibility {
        /// The one that was wanted.
        minor: Minor,
        /// The release that is emulated.
        emulated: Minor,
    },
    /// What comes later is asked for, and nothing does.
    #[error(
        "cannot be set to true if the emulation version is the same as the binary version: write \
         --emulated-version too, or leave it out"
    )]
    NothingLater {
        /// For whom: see [`Release`].
        is_for_asked: bool,
    },
    /// See there.
    #[error(transparent)]
    RuntimeConfig(#[from] RuntimeConfigError),
    /// A resource is asked for that the release does not have yet.
    #[error(
        "cannot enable resource {resource} in runtime-config because it is introduced at 1.{introduced} \
         after the current version 1.{minor}. Consider setting --runtime-config-emulation-forward-compatible=true"
    )]
    FutureResource {
        /// `group/version, Resource=plural`.
        resource: String,
        /// Since when it is there.
        introduced: Minor,
        /// The release that is emulated.
        minor: Minor,
    },
    /// A version is asked for of which the release has nothing yet.
    #[error(
        "cannot enable version {version} in runtime-config because all the resources have been introduced \
         after the current version 1.{minor}. Consider setting --runtime-config-emulation-forward-compatible=true"
    )]
    FutureVersion {
        /// `group/version`.
        version: String,
        /// The release that is emulated.
        minor: Minor,
    },
}

/// As which release a server acts, and how strictly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// 1.N.
    pub emulated: Minor,
    /// The oldest release of other servers that it gets on with; None: the one before.
    pub oldest_compatible: Option<Minor>,
    /// What is served in a version (none that is alpha) is served in its later ones, too, also
    /// those that the release does not have yet.
    pub is_forward_compatible: bool,
    /// Whoever asks for a version or a resource by name gets it, likewise.
    pub is_forward_for_asked: bool,
}

impl From<Minor> for Release {
    fn from(emulated: Minor) -> Self {
        Self {
            emulated,
            oldest_compatible: None,
            is_forward_compatible: false,
            is_forward_for_asked: false,
        }
    }
}

impl Release {
    fn check(&self) -> Result<(), ApisError> {
        let emulated = self.emulated;
        if !(OLDEST_EMULATED..=NEWEST).contains(&emulated) {
            return Err(ApisError::Release { minor: emulated });
        }
        let oldest = self.oldest_compatible;
        if let Some(minor) = oldest.filter(|one| !(OLDEST_EMULATED..=emulated).contains(one)) {
            return Err(ApisError::Compatibility { minor, emulated });
        }
        for (is_set, is_for_asked) in [
            (self.is_forward_compatible, false),
            (self.is_forward_for_asked, true),
        ] {
            if is_set && emulated == NEWEST {
                return Err(ApisError::NothingLater { is_for_asked });
            }
        }
        Ok(())
    }
}

/// What a server serves.
#[derive(Clone)]
pub struct Apis {
    release: Release,
    gates: Gates,
    resources: Vec<&'static Descriptor>,
    reviews: Vec<&'static Review>,
    warnings: Vec<String>,
}

impl Apis {
    /// As this release with these gates, which are its own or somebody's, and with what is switched
    /// on and off.
    ///
    /// # Errors
    /// A release that is none of those that can be emulated, and what cannot be switched so.
    pub fn new(
        release: impl Into<Release>,
        gates: Gates,
        runtime_config: &RuntimeConfig,
    ) -> Result<Self, ApisError> {
        let release = release.into();
        release.check()?;
        let enabled = runtime_config.apply(group_versions())?;
        let mut apis = Self {
            release,
            gates,
            resources: Vec::new(),
            reviews: Vec::new(),
            warnings: Vec::new(),
        };
        apis.choose(&enabled)?;
        Ok(apis)
    }

    fn choose(&mut self, enabled: &Enabled) -> Result<(), ApisError> {
        for descriptor in known() {
            let standing = enabled.standing(descriptor.r#type, descriptor.resource);
            if standing == Standing::Off {
                continue;
            }
            let (r#type, lifecycle) = (descriptor.r#type, descriptor.lifecycle);
            let gate = descriptor.gate.filter(|gate| !self.gates.has(*gate));
            if let Some(gate) = gate {
                self.refuse(gate, r#type);
            } else if lifecycle.is_at(self.emulated()) || self.is_let_ahead(descriptor, enabled) {
                self.resources.push(descriptor);
            } else if standing == Standing::Asked && lifecycle.introduced > self.emulated() {
                return Err(ApisError::FutureResource {
                    resource: format!("{}, Resource={}", r#type.api_version(), descriptor.resource),
                    introduced: lifecycle.introduced,
                    minor: self.emulated(),
                });
            }
        }
        let reviews = REVIEWS
            .iter()
            .filter(|review| enabled.standing(review.r#type, review.resource) != Standing::Off);
        self.reviews = reviews.collect();
        for (group, version) in enabled.asked_versions() {
            let of_it = |descriptor: &&'static Descriptor| {
                (descriptor.r#type.group, descriptor.r#type.version) == (group, version)
            };
            let is_open = |d: &&Descriptor| d.gate.is_none_or(|gate| self.gates.has(gate));
            let mut open = known().filter(of_it).filter(is_open).peekable();
            let is_late = |d: &Descriptor| {
                d.lifecycle.introduced > self.emulated() && !self.is_let_ahead(d, enabled)
            };
            if open.peek().is_some() && open.all(is_late) {
                return Err(ApisError::FutureVersion {
                    version: format!("{group}/{version}"),
                    minor: self.emulated(),
                });
            }
        }
        Ok(())
    }

    /// Is it served although the release does not have it yet
    /// (`shouldServeBasedOnVersionIntroduced` in `apiserver/pkg/server/deleted_kinds.go`)?
    fn is_let_ahead(&self, descriptor: &Descriptor, enabled: &Enabled) -> bool {
        let (r#type, lifecycle) = (descriptor.r#type, descriptor.lifecycle);
        if lifecycle.introduced <= self.emulated() {
            return false;
        }
        let standing = enabled.standing(r#type, descriptor.resource);
        let mut asked = enabled.asked_versions();
        let is_asked = standing == Standing::Asked
            || asked.any(|version| version == (r#type.group, r#type.version));
        if self.release.is_forward_for_asked && is_asked {
            return true;
        }
        let kind = Kind::of(r#type.version);
        let is_lower = |other: &&Descriptor| {
            let lower = Kind::of(other.r#type.version);
            (other.r#type.group, other.resource) == (r#type.group, descriptor.resource)
                && lower > kind
                && lower != Kind::Alpha
                && other.lifecycle.is_at(self.emulated())
                && other.gate.is_none_or(|gate| self.gates.has(gate))
                && enabled.standing(other.r#type, other.resource) != Standing::Off
        };
        self.release.is_forward_compatible && known().any(|other| is_lower(&other))
    }

    /// Upstream's words; they are few, for most servers say nothing about it.
    fn refuse(&mut self, gate: Gate, r#type: &Type) {
        let name = gate.name();
        self.warnings.push(format!(
            "{} {} is not served: {} storage is disabled because the {name} feature gate is disabled",
            r#type.api_version(),
            r#type.kind,
            r#type.kind
        ));
    }

    /// The release that it acts as.
    pub fn emulated(&self) -> Minor {
        self.release.emulated
    }

    /// The oldest release that it gets on with: without a word the one before, unless it is too
    /// old.
    pub fn oldest_compatible(&self) -> Minor {
        let usual = OLDEST_EMULATED.max(self.emulated() - 1);
        self.release.oldest_compatible.unwrap_or(usual)
    }

    /// Which gates are on.
    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// What is enabled and not served all the same, in words.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Stored resources, in the order in which discovery lists them.
    pub fn resources(&self) -> impl Iterator<Item = &'static Descriptor> + Clone {
        self.resources.iter().copied()
    }

    /// Reviews.
    pub fn reviews(&self) -> impl Iterator<Item = &'static Review> + Clone {
        self.reviews.iter().copied()
    }

    /// Does anything that is served belong to this group?
    pub fn has_group(&self, group: &str) -> bool {
        let types = self.resources().map(|descriptor| descriptor.r#type);
        let mut types = types.chain(self.reviews().map(|review| review.r#type));
        types.any(|r#type| r#type.group == group)
    }

    /// Is a resource or review served under this address?
    pub fn serves(&self, group: &str, version: &str, resource: &str) -> bool {
        let resources = self.resources().map(|d| (d.r#type, d.resource));
        let mut all = resources.chain(
            self.reviews()
                .map(|review| (review.r#type, review.resource)),
        );
        all.any(|(r#type, name)| (r#type.group, r#type.version, name) == (group, version, resource))
    }
}

/// Group and version of everything that is known.
fn group_versions() -> impl Iterator<Item = (&'static str, &'static str)> {
    let types = known().map(|descriptor| descriptor.r#type);
    let types = types.chain(REVIEWS.iter().map(|review| review.r#type));
    types.map(|r#type| (r#type.group, r#type.version))
}

impl Default for Apis {
    fn default() -> Self {
        Self::new(NEWEST, Gates::default(), &RuntimeConfig::default())
            .expect("invariant: a server without a word serves what its release does")
    }
}

impl PartialEq for Apis {
    fn eq(&self, other: &Self) -> bool {
        let names = |apis: &Self| -> Vec<_> {
            let resources = apis.resources().map(|d| (d.r#type, d.resource));
            let all = resources.chain(
                apis.reviews()
                    .map(|review| (review.r#type, review.resource)),
            );
            all.map(|(r#type, name)| (r#type.group, r#type.version, name))
                .collect()
        };
        (self.release, &self.gates) == (other.release, &other.gates) && names(self) == names(other)
    }
}

impl fmt::Debug for Apis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apis")
            .field("release", &self.release)
            .field("gates", &self.gates)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions of what is not served in one version alone, as `BUNDLES v1 …; REQUESTS …`.
    fn served(minor: Minor, gates: &str, runtime_config: &str) -> String {
        served_by(Release::from(minor), gates, runtime_config)
    }

    fn served_by(release: Release, gates: &str, runtime_config: &str) -> String {
        let gates = Gates::parse(release.emulated, gates.split(',')).unwrap();
        let config = RuntimeConfig::parse([runtime_config]);
        match Apis::new(release, gates, &config) {
            Ok(apis) => {
                let of = |resource: &str| {
                    let all = apis.resources().filter(|d| d.resource == resource);
                    let mut versions: Vec<&str> = all.map(|d| d.r#type.version).collect();
                    versions.sort_unstable();
                    versions.join(" ")
                };
                let (bundles, requests) = (of("clustertrustbundles"), of("podcertificaterequests"));
                format!("{bundles}; {requests}")
            }
            Err(error) => error.to_string(),
        }
    }

    const BOTH_GATES: &str = "ClusterTrustBundle=true,PodCertificateRequest=true";
    const BETA: &str = "certificates.k8s.io/v1beta1=true";

    /// From what kube-apiserver 1.37 does by its own rules: `api/certificates/*/
    /// zz_generated.prerelease-lifecycle.go`, `pkg/features/kube_features.go` and
    /// `pkg/registry/certificates/rest/storage_certificates.go`.
    #[test]
    fn each_release_serves_its_own() {
        for (minor, gates, config, expected) in [
            (37, "", "", "v1; v1"),
            (37, "", BETA, "v1 v1beta1; v1 v1beta1"),
            (37, "", "api/all=true", "v1 v1beta1; v1 v1beta1"),
            (37, "", "api/beta=true", "v1 v1beta1; v1 v1beta1"),
            (37, "", "certificates.k8s.io/v1alpha1=true", "v1; v1"),
            (37, "ClusterTrustBundle=false", BETA, "; v1 v1beta1"),
            (
                37,
                "",
                "certificates.k8s.io/v1beta1/podcertificaterequests=true",
                "v1; v1 v1beta1",
            ),
            (37, "", "certificates.k8s.io/v1=false", "; "),
            (
                37,
                "",
                "api/ga=false,certificates.k8s.io/v1/clustertrustbundles",
                "v1; ",
            ),
            (36, "", "", "; "),
            (36, "", BETA, "; "),
            (36, BOTH_GATES, "", "; "),
            (36, BOTH_GATES, BETA, "v1beta1; v1beta1"),
            (35, BOTH_GATES, BETA, "v1beta1; v1beta1"),
            (34, BOTH_GATES, BETA, "v1beta1; "),
            (36, BOTH_GATES, "api/all=true", "v1alpha1 v1beta1; v1beta1"),
            (36, BOTH_GATES, "api/alpha=true", "v1alpha1; "),
        ] {
            assert_eq!(
                served(minor, gates, config),
                expected,
                "1.{minor} {gates} {config}"
            );
        }
    }

    #[test]
    fn what_comes_later_cannot_be_asked_for() {
        assert_eq!(
            served(
                36,
                BOTH_GATES,
                "certificates.k8s.io/v1/clustertrustbundles=true"
            ),
            "cannot enable resource certificates.k8s.io/v1, Resource=clustertrustbundles in \
             runtime-config because it is introduced at 1.37 after the current version 1.36. \
             Consider setting --runtime-config-emulation-forward-compatible=true"
        );
        for minor in [33, 38] {
            assert_eq!(
                Apis::new(minor, Gates::of(minor), &RuntimeConfig::default())
                    .unwrap_err()
                    .to_string(),
                format!(
                    "emulation version 1.{minor} is not between [1.34, 1.37]: write one of these, such as 1.37"
                )
            );
        }
    }

    /// What `removeUnintroducedKinds` of `apiserver/pkg/server/deleted_kinds.go` leaves.
    #[test]
    fn what_comes_later_is_served_where_that_is_wanted() {
        const V1: &str = "certificates.k8s.io/v1=true";
        const BUNDLE_ONLY: &str = "ClusterTrustBundle=true";
        let release = |emulated, all, asked| Release {
            is_forward_compatible: all,
            is_forward_for_asked: asked,
            ..Release::from(emulated)
        };
        for (minor, all, asked, gates, config, expected) in [
            (36, true, false, BOTH_GATES, "", "; "),
            (36, true, false, BOTH_GATES, BETA, "v1 v1beta1; v1 v1beta1"),
            // What is alpha leads nowhere.
            (36, true, false, BOTH_GATES, "api/alpha=true", "v1alpha1; "),
            // Not in the release at all.
            (34, true, false, BUNDLE_ONLY, BETA, "v1 v1beta1; "),
            (36, true, false, BUNDLE_ONLY, BETA, "v1 v1beta1; "),
            (
                36,
                true,
                false,
                BOTH_GATES,
                "certificates.k8s.io/v1beta1=true,certificates.k8s.io/v1/clustertrustbundles=false",
                "v1beta1; v1 v1beta1",
            ),
            (36, false, true, BOTH_GATES, BETA, "v1beta1; v1beta1"),
            (36, false, true, BOTH_GATES, V1, "v1; v1"),
            (
                36,
                false,
                true,
                BOTH_GATES,
                "certificates.k8s.io/v1/podcertificaterequests=true",
                "; v1",
            ),
            (36, false, true, "", V1, "; "),
            (34, false, true, BUNDLE_ONLY, BETA, "v1beta1; "),
        ] {
            let served = served_by(release(minor, all, asked), gates, config);
            assert_eq!(served, expected, "1.{minor} {all} {asked} {gates} {config}");
        }
        for (all, asked) in [(true, false), (false, true)] {
            let error = served_by(release(37, all, asked), "", "");
            assert!(error.starts_with("cannot be set to true"), "{error}");
        }
    }

    #[test]
    fn a_gate_that_is_off_is_told_of() {
        let config = RuntimeConfig::parse([BETA]);
        let apis = Apis::new(36, Gates::of(36), &config).unwrap();
        let told = apis.warnings().iter().any(|text| {
            text.contains("certificates.k8s.io/v1beta1 ClusterTrustBundle")
                && text.contains("the ClusterTrustBundle feature gate is disabled")
        });
        assert!(told, "{:?}", apis.warnings());
        assert_eq!(Apis::default().warnings(), [""; 0]);
    }

    #[test]
    fn who_uses_what_goes_is_warned() {
        let warning = |version: &str| {
            let mut all = known().filter(|d| d.resource == "clustertrustbundles");
            let found = all.find(|d| d.r#type.version == version);
            found.unwrap().deprecation()
        };
        assert_eq!(warning("v1"), None);
        assert_eq!(
            warning("v1beta1").unwrap(),
            "certificates.k8s.io/v1beta1 ClusterTrustBundle is deprecated in v1.37+, unavailable in \
             v1.40+; use certificates.k8s.io/v1 ClusterTrustBundle"
        );
    }

    #[test]
    fn compatibility_goes_one_release_back() {
        let oldest = |minor| {
            let apis = Apis::new(minor, Gates::of(minor), &RuntimeConfig::default());
            apis.unwrap().oldest_compatible()
        };
        assert_eq!([37, 36, 35, 34].map(oldest), [36, 35, 34, 34]);
        let wanted = |emulated, oldest| {
            let release = Release {
                oldest_compatible: Some(oldest),
                ..Release::from(emulated)
            };
            let apis = Apis::new(release, Gates::of(emulated), &RuntimeConfig::default());
            apis.map(|apis| apis.oldest_compatible())
                .map_err(|error| error.to_string())
        };
        assert_eq!(wanted(37, 37), Ok(37));
        assert_eq!(wanted(37, 34), Ok(34));
        for (emulated, oldest) in [(37, 33), (36, 37), (37, 38)] {
            let error = wanted(emulated, oldest).unwrap_err();
            let expected = format!(
                "minCompatibilityVersion version 1.{oldest} is not between [1.34, 1.{emulated}]"
            );
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
