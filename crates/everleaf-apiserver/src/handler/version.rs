//! `/version`.

use super::respond::{Form, Occasion, error, to_json};
use super::{Admitted, Body, Server};
use crate::registry::gates::{Minor, NEWEST};
use http::{Response, StatusCode};
use serde_json::json;

/// What the server says it is: a Kubernetes version, so that clients know what to expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The Kubernetes minor version whose API this is.
    pub minor: Minor,
    /// Semantic version with a leading `v`, e.g. `v1.37.0-everleaf.0.1`.
    pub git_version: String,
    /// Commit, or "".
    pub git_commit: String,
    /// RFC 3339, or "".
    pub build_date: String,
    /// `linux/amd64`.
    pub platform: String,
}

impl Version {
    /// The version of an Everleaf release, e.g. `0.1.0`; commit and date may be "".
    pub fn of_release(release: &str, git_commit: &str, build_date: &str) -> Self {
        let short = release.strip_suffix(".0").unwrap_or(release);
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            minor: NEWEST,
            git_version: format!("v1.{NEWEST}.0-everleaf.{short}"),
            git_commit: git_commit.to_owned(),
            build_date: build_date.to_owned(),
            platform: format!("{}/{architecture}", std::env::consts::OS),
        }
    }
}

impl Server {
    pub(super) fn version_document(&self, admitted: &Admitted) -> Response<Body> {
        let form = match Form::negotiate(&admitted.headers, &admitted.query, Occasion::Document) {
            Ok(form) => form,
            Err(status) => return error(&status),
        };
        let version = &self.version;
        let apis = self.catalogue.apis();
        let document = json!({
            "major": "1",
            "minor": version.minor.to_string(),
            "emulationMajor": "1",
            "emulationMinor": apis.emulated().to_string(),
            "minCompatibilityMajor": "1",
            "minCompatibilityMinor": apis.oldest_compatible().to_string(),
            "gitVersion": version.git_version,
            "gitCommit": version.git_commit,
            "gitTreeState": "clean",
            "buildDate": version.build_date,
            "goVersion": "",
            "compiler": "rustc",
            "platform": version.platform,
        });
        form.document(StatusCode::OK, to_json(&document))
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn names_the_release() {
        assert_eq!(
            Version::of_release("0.1.0", "", "").git_version,
            "v1.37.0-everleaf.0.1"
        );
        assert_eq!(
            Version::of_release("0.1.2", "", "").git_version,
            "v1.37.0-everleaf.0.1.2"
        );
    }
}
