//! Switches that Kubernetes has for what may be new (`--feature-gates`), as far as they mean
//! anything here, and how each of them stands in a release (`pkg/features/kube_features.go`,
//! `apiserver/pkg/features/kube_features.go`, `component-base/featuregate`).

use std::collections::BTreeMap;

/// A minor release of Kubernetes 1: 37 is 1.37.
pub type Minor = u32;

/// The release whose API this server has.
pub const NEWEST: Minor = 37;
/// The oldest release that it can act as: three before its own, as upstream.
pub const OLDEST_EMULATED: Minor = NEWEST - 3;

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// Certificate signing requests may have ML-DSA keys.
    CertificateSigningRequestMlDsa,
    /// ClusterTrustBundles are served, and who may read them is installed.
    ClusterTrustBundle,
    /// Impersonation by constrained rights.
    ConstrainedImpersonation,
    /// PodCertificateRequests may have ML-DSA keys.
    PodCertificateMlDsa,
    /// PodCertificateRequests are served, and nodes may file them.
    PodCertificateRequest,
    /// A list that is streamed by a watch is compressed for who takes it.
    WatchListCompression,
}

/// How far something has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
    Stable,
}

impl Gate {
    /// All of them, by name.
    pub const ALL: [Self; 6] = [
        Self::CertificateSigningRequestMlDsa,
        Self::ClusterTrustBundle,
        Self::ConstrainedImpersonation,
        Self::PodCertificateMlDsa,
        Self::PodCertificateRequest,
        Self::WatchListCompression,
    ];

    /// As Kubernetes calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CertificateSigningRequestMlDsa => "CertificateSigningRequestMLDSA",
            Self::ClusterTrustBundle => "ClusterTrustBundle",
            Self::ConstrainedImpersonation => "ConstrainedImpersonation",
            Self::PodCertificateMlDsa => "PodCertificateMLDSA",
            Self::PodCertificateRequest => "PodCertificateRequest",
            Self::WatchListCompression => "WatchListCompression",
        }
    }

    /// Since when it stands how, and whether it is on without a word.
    ///
    /// ML-DSA comes with 1.38, where it is off as long as the control plane may have to go back to
    /// an older release; here it stands in the newest release that this server has, which alone
    /// writes its store.
    fn history(self) -> &'static [(Minor, Stage, bool)] {
        match self {
            Self::CertificateSigningRequestMlDsa | Self::PodCertificateMlDsa => {
                &[(NEWEST, Stage::Beta, true)]
            }
            Self::ClusterTrustBundle => &[
                (27, Stage::Alpha, false),
                (33, Stage::Beta, false),
                (37, Stage::Stable, true),
            ],
            Self::ConstrainedImpersonation => &[(35, Stage::Alpha, false), (36, Stage::Beta, true)],
            Self::PodCertificateRequest => &[
                (34, Stage::Alpha, false),
                (35, Stage::Beta, false),
                (37, Stage::Stable, true),
            ],
            Self::WatchListCompression => &[(37, Stage::Beta, true)],
        }
    }

    /// How it stands in a release; None: that release does not know it.
    fn at(self, minor: Minor) -> Option<(Stage, bool)> {
        let mut until_then = self.history().iter().rev();
        let (_, stage, is_on) = until_then.find(|(since, ..)| *since <= minor)?;
        Some((*stage, *is_on))
    }
}

/// What is wrong with `--feature-gates`; the words are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// None of ours.
    #[error(
        "unrecognized feature gate: {name}; this server knows CertificateSigningRequestMLDSA, \
         ClusterTrustBundle, ConstrainedImpersonation, PodCertificateMLDSA, PodCertificateRequest, \
         WatchListCompression, AllAlpha and AllBeta"
    )]
    Unknown {
        /// What was written.
        name: String,
    },
    /// No value.
    #[error("missing bool value for {name}: write {name}=true or {name}=false")]
    NoValue {
        /// Which gate.
        name: String,
    },
    /// Neither true nor false.
    #[error("invalid value of {name}={value}: write true or false")]
    NoBool {
        /// Which gate.
        name: String,
        /// What it was set to.
        value: String,
    },
    /// It comes with a later release than the one that is emulated.
    #[error(
        "cannot set feature gate {name} to {value}, feature is PreAlpha at emulated version 1.{minor}"
    )]
    TooEarly {
        /// Which gate.
        name: &'static str,
        /// What it was set to.
        value: bool,
        /// The release that is emulated.
        minor: Minor,
    },
    /// Gates of something else.
    #[error("component not registered: {component}; this server has kube alone")]
    OtherComponent {
        /// What stands before the colon.
        component: String,
    },
}

/// Which switches are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gates {
    on: Vec<Gate>,
}

impl Gates {
    /// As a release has them.
    pub fn of(minor: Minor) -> Self {
        Self::choose(minor, |_, by_default| by_default)
    }

    /// The same, with what an operator says: `NAME=true` or `NAME=false`, `AllAlpha` and `AllBeta`
    /// among them, each with `kube:` before it or without. The last word about a gate counts, and
    /// one about it alone before one about all.
    ///
    /// # Errors
    /// The first that cannot be set.
    pub fn parse<'a>(
        minor: Minor,
        settings: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, GateError> {
        let mut all: BTreeMap<&str, bool> = BTreeMap::new();
        let mut single: BTreeMap<Gate, bool> = BTreeMap::new();
        let settings = settings.into_iter().map(str::trim);
        for setting in settings.filter(|setting| !setting.is_empty()) {
            let (name, value) = read(setting)?;
            if matches!(name, "AllAlpha" | "AllBeta") {
                all.insert(name, value);
                continue;
            }
            let gate = Gate::ALL.into_iter().find(|gate| gate.name() == name);
            let gate = gate.ok_or_else(|| GateError::Unknown {
                name: name.to_owned(),
            })?;
            if gate.at(minor).is_none() {
                let name = gate.name();
                return Err(GateError::TooEarly { name, value, minor });
            }
            single.insert(gate, value);
        }
        Ok(Self::choose(minor, |gate, by_default| {
            let group = match gate.at(minor) {
                Some((Stage::Alpha, _)) => all.get("AllAlpha"),
                Some((Stage::Beta, _)) => all.get("AllBeta"),
                Some((Stage::Stable, _)) | None => None,
            };
            *single.get(&gate).or(group).unwrap_or(&by_default)
        }))
    }

    fn choose(minor: Minor, is_on: impl Fn(Gate, bool) -> bool) -> Self {
        let on = Gate::ALL.into_iter().filter(|gate| {
            let by_default = gate.at(minor).is_some_and(|(_, is_on)| is_on);
            is_on(*gate, by_default)
        });
        Self { on: on.collect() }
    }

    /// Is it on?
    pub fn has(&self, gate: Gate) -> bool {
        self.on.contains(&gate)
    }
}

/// As the newest release has them, for tests of single rules.
#[cfg(test)]
pub(crate) static USUAL: std::sync::LazyLock<Gates> = std::sync::LazyLock::new(Gates::default);

impl Default for Gates {
    fn default() -> Self {
        Self::of(NEWEST)
    }
}

/// Name and value of one setting.
fn read(setting: &str) -> Result<(&str, bool), GateError> {
    let setting = match setting.split_once(':') {
        Some(("kube", setting)) => setting,
        Some((component, _)) => {
            return Err(GateError::OtherComponent {
                component: component.to_owned(),
            });
        }
        None => setting,
    };
    let Some((name, value)) = setting.split_once('=') else {
        return Err(GateError::NoValue {
            name: setting.to_owned(),
        });
    };
    let (name, value) = (name.trim(), value.trim());
    match boolean(value) {
        Some(value) => Ok((name, value)),
        None => Err(GateError::NoBool {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
    }
}

/// Go's `strconv.ParseBool`.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Gate::{
        CertificateSigningRequestMlDsa, ClusterTrustBundle, ConstrainedImpersonation,
        PodCertificateRequest, WatchListCompression,
    };
    use super::*;

    #[test]
    fn each_release_has_its_own() {
        assert_eq!(Gates::of(34).on, []);
        assert_eq!(Gates::of(35).on, []);
        assert_eq!(Gates::of(36).on, [ConstrainedImpersonation]);
        assert_eq!(Gates::of(37).on, Gate::ALL);
    }

    #[test]
    fn an_operator_has_the_last_word() {
        let on = |minor, text: &str| Gates::parse(minor, text.split(',')).map(|gates| gates.on);
        assert_eq!(
            on(36, "ClusterTrustBundle=true,kube:PodCertificateRequest=t,,"),
            Ok(vec![
                ClusterTrustBundle,
                ConstrainedImpersonation,
                PodCertificateRequest
            ])
        );
        assert_eq!(
            on(
                37,
                "ClusterTrustBundle=true, ClusterTrustBundle=false ,AllBeta=false"
            ),
            Ok(vec![PodCertificateRequest])
        );
        assert_eq!(
            on(36, "AllBeta=true,PodCertificateRequest=false"),
            Ok(vec![ClusterTrustBundle, ConstrainedImpersonation])
        );
        let alpha = Ok(vec![PodCertificateRequest]);
        assert_eq!(on(34, "AllAlpha=true"), alpha);
        assert_eq!(on(37, "WatchListCompression=0").unwrap().len(), 5);
        let off = "CertificateSigningRequestMLDSA=false";
        let off = Gates::parse(37, [off]).unwrap();
        assert!(!off.has(CertificateSigningRequestMlDsa));
        assert!(Gates::of(37).has(WatchListCompression));
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        for (minor, text, expected) in [
            (
                36,
                "CertificateSigningRequestMLDSA=true",
                "cannot set feature gate CertificateSigningRequestMLDSA to true",
            ),
            (37, "Nothing=true", "unrecognized feature gate: Nothing"),
            (37, "ClusterTrustBundle", "missing bool value"),
            (
                37,
                "ClusterTrustBundle=maybe",
                "invalid value of ClusterTrustBundle=maybe",
            ),
            (
                37,
                "wardle:ClusterTrustBundle=true",
                "component not registered: wardle",
            ),
            (
                36,
                "WatchListCompression=true",
                "cannot set feature gate WatchListCompression to true, feature is PreAlpha at \
                 emulated version 1.36",
            ),
        ] {
            let error = Gates::parse(minor, [text]).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
