//! The file of `AuthenticationConfiguration` as it is written.

use crate::config_file::{self, Kind};
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) api_version: String,
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    pub(super) jwt: Option<Vec<FileJwt>>,
    pub(super) anonymous: Option<FileAnonymous>,
}

impl config_file::File for File {
    const KIND: Kind = Kind {
        name: "AuthenticationConfiguration",
        versions: &[
            "apiserver.config.k8s.io/v1",
            "apiserver.config.k8s.io/v1beta1",
        ],
    };

    fn head(&self) -> (&str, &str) {
        (&self.api_version, &self.kind)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAnonymous {
    #[serde(default)]
    pub(super) enabled: bool,
    pub(super) conditions: Option<Vec<FileCondition>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileCondition {
    pub(super) path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FileJwt {
    pub(super) issuer: FileIssuer,
    pub(super) claim_validation_rules: Option<Vec<FileRule>>,
    pub(super) claim_mappings: FileMappings,
    pub(super) user_validation_rules: Option<Vec<FileUserRule>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FileIssuer {
    #[serde(default)]
    pub(super) url: String,
    #[serde(rename = "discoveryURL")]
    pub(super) discovery_url: Option<String>,
    pub(super) certificate_authority: Option<String>,
    pub(super) audiences: Option<Vec<String>>,
    pub(super) audience_match_policy: Option<String>,
    pub(super) egress_selector_type: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FileRule {
    pub(super) claim: Option<String>,
    pub(super) required_value: Option<String>,
    pub(super) expression: Option<String>,
    pub(super) message: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileUserRule {
    #[serde(default)]
    pub(super) expression: String,
    pub(super) message: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FileMappings {
    #[serde(default)]
    pub(super) username: FileMapping,
    pub(super) groups: Option<FileMapping>,
    pub(super) uid: Option<FileMapping>,
    pub(super) extra: Option<Vec<FileExtra>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileMapping {
    pub(super) claim: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) expression: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FileExtra {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value_expression: String,
}
