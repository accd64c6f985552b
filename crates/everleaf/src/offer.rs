//! What the flags of `apiserver` say that is served, and how much at once. Names, defaults and
//! errors are kube-apiserver's (`apiserver/pkg/server/options`, `component-base/compatibility`).

use crate::args::offer::OfferArgs;
use crate::failure::UsageError;
use crate::server::Offer;
use everleaf_apiserver::handler::{Chance, Limits};
use everleaf_apiserver::registry::apis::{Apis, ApisError, Release};
use everleaf_apiserver::registry::gates::{Gates, Minor, NEWEST};
use everleaf_apiserver::registry::runtime_config::RuntimeConfig;

/// The component that this server is.
const KUBE: &str = "kube";

/// What the flags say.
pub(crate) fn of(args: &OfferArgs) -> Result<Offer, UsageError> {
    let limit = |flag: &str, value: i64| {
        usize::try_from(value).map_err(|_| {
            UsageError(format!(
                "{flag} can not be negative value, and is {value}: write how many requests may be served at once, \
                 or 0 for any number"
            ))
        })
    };
    let goaway = Chance::new(args.goaway_chance).ok_or_else(|| {
        UsageError(format!(
            "--goaway-chance can not be less than 0 or greater than 0.02, and is {}: write a share such as 0.001",
            args.goaway_chance
        ))
    })?;
    let limits = Limits {
        reads_inflight_max: limit("--max-requests-inflight", args.max_requests_inflight)?,
        writes_inflight_max: limit(
            "--max-mutating-requests-inflight",
            args.max_mutating_requests_inflight,
        )?,
        goaway,
        ..Limits::default()
    };
    let apis = apis(args)?;
    for warning in apis.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(Offer { limits, apis })
}

fn apis(args: &OfferArgs) -> Result<Apis, UsageError> {
    let release = release(args)?;
    let minor = release.emulated;
    // The release first: what is wrong with it explains what follows.
    let usual = RuntimeConfig::default();
    Apis::new(release, Gates::of(minor), &usual).map_err(|error| {
        let flag = match error {
            ApisError::Compatibility { .. } => "--min-compatibility-version",
            ApisError::NothingLater { is_for_asked: true } => {
                "--runtime-config-emulation-forward-compatible"
            }
            ApisError::NothingLater { .. } => "--emulation-forward-compatible",
            _ => "--emulated-version",
        };
        UsageError(format!("{flag}: {error}"))
    })?;
    let gates = Gates::parse(minor, args.feature_gates.iter().map(String::as_str))
        .map_err(|error| UsageError(format!("--feature-gates: {error}")))?;
    let config = RuntimeConfig::parse(args.runtime_config.iter().map(String::as_str));
    Apis::new(release, gates, &config)
        .map_err(|error| UsageError(format!("--runtime-config: {error}")))
}

fn release(args: &OfferArgs) -> Result<Release, UsageError> {
    let read = |flag: &str, given: &[String]| {
        version(given).map_err(|why| UsageError(format!("{flag}: {why}")))
    };
    let emulated = read("--emulated-version", &args.emulated_version)?;
    let oldest = &args.min_compatibility_version;
    Ok(Release {
        oldest_compatible: read("--min-compatibility-version", oldest)?,
        is_forward_compatible: args.emulation_forward_compatible.unwrap_or(false),
        is_forward_for_asked: args
            .runtime_config_emulation_forward_compatible
            .unwrap_or(false),
        ..Release::from(emulated.unwrap_or(NEWEST))
    })
}

/// The release that is named; why it cannot be read.
fn version(given: &[String]) -> Result<Option<Minor>, String> {
    let mut found = None;
    for text in given.iter().filter(|text| !text.is_empty()) {
        let (component, version) = text.split_once('=').unwrap_or((KUBE, text));
        let (component, version) = (component.trim(), version.trim());
        if component != KUBE {
            return Err(format!(
                "component not registered: {component}; this server has {KUBE} alone"
            ));
        }
        let minor = minor(version)?;
        if let Some(earlier) = found.replace(minor) {
            return Err(format!(
                "duplicate version flag, {KUBE}=1.{earlier} and {KUBE}=1.{minor}"
            ));
        }
    }
    Ok(found)
}

/// N of `1.N`, `v1.N` or `1.N.0`.
fn minor(text: &str) -> Result<Minor, String> {
    let unreadable = || format!("illegal version string {text:?}: write it like 1.{NEWEST}");
    let numbers: Option<Vec<Minor>> = text
        .strip_prefix('v')
        .unwrap_or(text)
        .split('.')
        .map(|number| number.parse().ok())
        .collect();
    match numbers.ok_or_else(unreadable)?[..] {
        [1, minor] | [1, minor, 0] => Ok(minor),
        [1, minor, patch] => Err(format!(
            "patch version not allowed, got: {KUBE}=1.{minor}.{patch}; write 1.{minor}"
        )),
        _ => Err(unreadable()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser as _;

    fn offer(flags: &str) -> Result<Offer, String> {
        let line = format!("everleaf apiserver --data-dir d {flags}");
        let cli =
            Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        let Command::Apiserver(args) = cli.command else {
            panic!("another command")
        };
        of(&args.offer).map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_all_is_as_upstream() {
        let offer = offer("").unwrap();
        assert_eq!(offer.limits, Limits::default());
        assert_eq!(offer.apis, Apis::default());
        assert_eq!(
            (
                offer.limits.reads_inflight_max,
                offer.limits.writes_inflight_max
            ),
            (400, 200)
        );
    }

    #[test]
    fn limits_are_taken_over() {
        let flags =
            "--max-requests-inflight 0 --max-mutating-requests-inflight=7 --goaway-chance=0.02";
        let limits = offer(flags).unwrap().limits;
        assert_eq!(
            (limits.reads_inflight_max, limits.writes_inflight_max),
            (0, 7)
        );
        assert_eq!(Some(limits.goaway), Chance::new(0.02));
    }

    #[test]
    fn a_release_is_named_in_several_ways() {
        for text in ["1.36", "kube=1.36", "v1.36", "kube=1.36.0"] {
            let apis = offer(&format!("--emulated-version={text}")).unwrap().apis;
            assert_eq!(apis.emulated(), 36, "{text}");
        }
    }

    #[test]
    fn gates_and_versions_are_taken_together() {
        let flags = "--emulated-version 1.36 --feature-gates ClusterTrustBundle=true --runtime-config \
                     certificates.k8s.io/v1beta1=true";
        let apis = offer(flags).unwrap().apis;
        assert!(apis.serves("certificates.k8s.io", "v1beta1", "clustertrustbundles"));
        assert!(!apis.serves("certificates.k8s.io", "v1", "clustertrustbundles"));
        assert!(!apis.serves("certificates.k8s.io", "v1beta1", "podcertificaterequests"));
    }

    #[test]
    fn later_versions_are_let_in() {
        let gates = "--emulated-version 1.36 --feature-gates ClusterTrustBundle=true";
        for (flags, expected) in [
            (
                "--runtime-config certificates.k8s.io/v1beta1=true --emulation-forward-compatible",
                [true, true],
            ),
            (
                "--runtime-config certificates.k8s.io/v1beta1=true --emulation-forward-compatible=false",
                [false, true],
            ),
            (
                "--runtime-config certificates.k8s.io/v1=true --runtime-config-emulation-forward-compatible",
                [true, false],
            ),
        ] {
            let apis = offer(&format!("{gates} {flags}")).unwrap().apis;
            let serves =
                |version| apis.serves("certificates.k8s.io", version, "clustertrustbundles");
            assert_eq!(["v1", "v1beta1"].map(serves), expected, "{flags}");
        }
        let apis = offer("--min-compatibility-version=kube=1.37").unwrap().apis;
        assert_eq!(apis.oldest_compatible(), 37);
    }

    #[test]
    fn releases_that_do_not_go_together_are_told_with_their_flag() {
        for (flags, expected) in [
            (
                "--emulated-version=1.36 --min-compatibility-version=1.37",
                "--min-compatibility-version: minCompatibilityVersion version 1.37 is not between [1.34, 1.36]",
            ),
            (
                "--min-compatibility-version=1.36,1.35",
                "--min-compatibility-version: duplicate version flag, kube=1.36 and kube=1.35",
            ),
            (
                "--emulation-forward-compatible",
                "--emulation-forward-compatible: cannot be set to true if the emulation version is the same",
            ),
            (
                "--runtime-config-emulation-forward-compatible",
                "--runtime-config-emulation-forward-compatible: cannot be set to true",
            ),
        ] {
            let error = offer(flags).unwrap_err();
            assert!(error.starts_with(expected), "{flags}: {error}");
        }
    }

    #[test]
    fn wrong_values_are_told_with_their_flag() {
        for (flags, expected) in [
            (
                "--max-requests-inflight=-1",
                "--max-requests-inflight can not be negative value",
            ),
            (
                "--max-mutating-requests-inflight -2",
                "--max-mutating-requests-inflight can not be negative value",
            ),
            (
                "--goaway-chance=0.03",
                "--goaway-chance can not be less than 0 or greater than 0.02",
            ),
            (
                "--goaway-chance=-0.1",
                "--goaway-chance can not be less than 0 or greater than 0.02",
            ),
            (
                "--emulated-version=1.33",
                "--emulated-version: emulation version 1.33 is not between [1.34, 1.37]",
            ),
            (
                "--emulated-version=1.38",
                "--emulated-version: emulation version 1.38 is not between [1.34, 1.37]",
            ),
            (
                "--emulated-version=1.36.2",
                "--emulated-version: patch version not allowed, got: kube=1.36.2",
            ),
            (
                "--emulated-version=new",
                "--emulated-version: illegal version string \"new\"",
            ),
            (
                "--emulated-version=2.36",
                "--emulated-version: illegal version string \"2.36\"",
            ),
            (
                "--emulated-version=1.36,kube=1.35",
                "--emulated-version: duplicate version flag, kube=1.36 and kube=1.35",
            ),
            (
                "--emulated-version=wardle=1.2",
                "--emulated-version: component not registered: wardle",
            ),
            (
                "--feature-gates=Foo=true",
                "--feature-gates: unrecognized feature gate: Foo",
            ),
            (
                "--runtime-config=batch/v1=true",
                "--runtime-config: unknown api groups batch/v1",
            ),
        ] {
            let error = offer(flags).unwrap_err();
            assert!(error.starts_with(expected), "{flags}: {error}");
        }
    }
}
