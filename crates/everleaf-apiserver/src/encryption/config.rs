//! `EncryptionConfiguration`, as kube-apiserver reads it.
//!
//! The same files are taken and the same are refused, in the same order of precedence; but for
//! `kms`, which needs a plugin. No secret is in any error.
//!
//! Sources: Kubernetes, `staging/src/k8s.io/apiserver/pkg/apis/apiserver/{v1/types_encryption.go,
//! validation/validation_encryption.go}`, `pkg/server/options/encryptionconfig/config.go`.

use super::cipher::Cipher;
use super::{ENCRYPTED, GroupResource, Key, Rules, Seal};
use crate::config_file::{self, ConfigFileError, File, Kind, invalid};
use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Makes a cipher of a key; None: the key has another length.
type Make = fn(&[u8]) -> Option<Cipher>;

/// Shortest secret, as base64: of what is as long nothing is shown.
const SECRET_BYTES_MIN: usize = 24;
/// Lengths of AES keys.
const AES_KEY_BYTES: &[usize] = &[16, 24, 32];
/// Length of the key of a secretbox.
const SECRETBOX_KEY_BYTES: &[usize] = &[32];
/// What kube-apiserver stores, and serves to nobody.
const INTERNAL_RESOURCES: [&str; 3] = [
    "apiserveripinfo",
    "serviceipallocations",
    "servicenodeportallocations",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    resources: Option<Vec<Resource>>,
}

impl File for Configuration {
    const KIND: Kind = Kind {
        name: "EncryptionConfiguration",
        versions: &["apiserver.config.k8s.io/v1"],
    };

    fn head(&self) -> (&str, &str) {
        (&self.api_version, &self.kind)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    resources: Option<Vec<String>>,
    providers: Option<Vec<Provider>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Provider {
    aesgcm: Option<Keys>,
    aescbc: Option<Keys>,
    secretbox: Option<Keys>,
    identity: Option<Identity>,
    kms: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Option<Vec<NamedSecret>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedSecret {
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "secret")]
    secret: Zeroizing<String>,
}

fn secret<'de, D: serde::Deserializer<'de>>(given: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(given).map(Zeroizing::new)
}

/// Reads the text of a file, YAML or JSON.
///
/// # Errors
/// It is none, of another type, or says what cannot be; no secret is shown.
pub fn parse(text: &str) -> Result<Rules, ConfigFileError> {
    let file: Configuration = config_file::parse(text).map_err(|error| match error {
        ConfigFileError::Unreadable { kind, what } => ConfigFileError::Unreadable {
            kind,
            what: without_secrets(&what),
        },
        other => other,
    })?;
    let resources = file.resources.unwrap_or_default();
    if resources.is_empty() {
        return invalid("resources", "at least one resources is required");
    }
    let mut rules: BTreeMap<GroupResource, Vec<Key>> = BTreeMap::new();
    for (place, rule) in resources.into_iter().enumerate() {
        let path = format!("resources[{place}]");
        let names = rule.resources.unwrap_or_default();
        let providers = rule.providers.unwrap_or_default();
        check_resources(&names, &format!("{path}.resources"))?;
        if providers.is_empty() {
            return invalid(format!("{path}.providers"), "at least one is required");
        }
        for (place, name) in names.iter().enumerate() {
            let resource = group_resource(name);
            check_masked(&rules, &resource, &format!("{path}.resources[{place}]"))?;
            // A resource that is named in several rules has the keys of all, one after another.
            let keys = rules.entry(resource).or_default();
            for (place, provider) in providers.iter().enumerate() {
                provider.add(keys, &format!("{path}.providers[{place}]"))?;
            }
        }
    }
    let rules = rules.into_iter().map(|(name, keys)| (name, keys.into()));
    Ok(Rules(rules.collect()))
}

impl Provider {
    fn add(&self, keys: &mut Vec<Key>, path: &str) -> Result<(), ConfigFileError> {
        let given = [
            self.aesgcm.is_some(),
            self.aescbc.is_some(),
            self.secretbox.is_some(),
            self.identity.is_some(),
            self.kms.is_some(),
        ];
        match given.into_iter().filter(|is_given| *is_given).count() {
            0 => {
                let what = "provider does not contain any of the expected providers: aesgcm, aescbc, secretbox, identity";
                return invalid(path, what);
            }
            1 => {}
            _ => {
                let what = "more than one provider specified in a single element, should split into different list elements";
                return invalid(path, what);
            }
        }
        if self.kms.is_some() {
            let what = "KMS plugins are not supported here: use secretbox, aesgcm or aescbc; before you move from a \
                        kube-apiserver, have it write all objects anew with one of these";
            return invalid(format!("{path}.kms"), what);
        }
        if self.identity.is_some() {
            keys.push(Key {
                prefix: Vec::new(),
                cipher: Cipher::Identity,
                seal: Seal::PLAIN,
            });
        }
        let aes = AES_KEY_BYTES;
        let providers: [(&str, &Option<Keys>, &[usize], Make); 3] = [
            ("aesgcm", &self.aesgcm, aes, Cipher::aes_gcm),
            ("aescbc", &self.aescbc, aes, Cipher::aes_cbc),
            (
                "secretbox",
                &self.secretbox,
                SECRETBOX_KEY_BYTES,
                Cipher::secretbox,
            ),
        ];
        for (provider, given, lengths, make) in providers {
            let Some(given) = given else { continue };
            let path = format!("{path}.{provider}.keys");
            let secrets = given.keys.as_deref().unwrap_or_default();
            if secrets.is_empty() {
                return invalid(path, "at least one keys is required");
            }
            for (place, one) in secrets.iter().enumerate() {
                let path = format!("{path}[{place}]");
                keys.push(one.key(provider, (lengths, make), &path)?);
            }
        }
        Ok(())
    }
}

impl NamedSecret {
    fn key(
        &self,
        provider: &str,
        (lengths, make): (&[usize], Make),
        path: &str,
    ) -> Result<Key, ConfigFileError> {
        if self.name.is_empty() {
            return invalid(
                format!("{path}.name"),
                "name is a mandatory field for a key",
            );
        }
        let path = format!("{path}.secret");
        if self.secret.is_empty() {
            return invalid(path, "secret is a mandatory field for a key");
        }
        let secret = STANDARD.decode(self.secret.as_bytes()).map(Zeroizing::new);
        let Ok(secret) = secret else {
            return invalid(path, "secrets must be base64 encoded");
        };
        let is_of_length = lengths.contains(&secret.len());
        let Some(cipher) = make(&secret).filter(|_| is_of_length) else {
            let lengths: Vec<String> = lengths.iter().map(ToString::to_string).collect();
            return invalid(
                path,
                format!(
                    "secret is not of the expected length, got {}, expected one of [{}]",
                    secret.len(),
                    lengths.join(" ")
                ),
            );
        };
        let mut prefix = ENCRYPTED.to_vec();
        prefix.extend_from_slice(format!("{provider}:v1:{}:", self.name).as_bytes());
        let seal = seal_of(&prefix, &secret);
        Ok(Key {
            prefix,
            cipher,
            seal,
        })
    }
}

/// Tells keys apart, also two secrets of one name.
fn seal_of(prefix: &[u8], secret: &[u8]) -> Seal {
    let mut sum = Context::new(&SHA256);
    sum.update(prefix);
    sum.update(secret);
    let sum = sum.finish();
    let number = sum.as_ref().iter().take(4);
    let number = number.fold(0, |number, byte| number << 8 | u32::from(*byte));
    Seal(number | 1)
}

/// As Go's `schema.ParseGroupResource`: what is before the first dot, and what is after it.
fn group_resource(name: &str) -> GroupResource {
    let (resource, group) = name.split_once('.').unwrap_or((name, ""));
    (group.to_owned(), resource.to_owned())
}

fn check_masked(
    rules: &BTreeMap<GroupResource, Vec<Key>>,
    resource: &GroupResource,
    path: &str,
) -> Result<(), ConfigFileError> {
    let (group, name) = resource;
    for earlier in [
        (group.clone(), "*".to_owned()),
        ("*".to_owned(), "*".to_owned()),
    ] {
        if rules.contains_key(&earlier) {
            let what = format!(
                "resource {:?} is masked by earlier rule {:?}",
                written(group, name),
                written(&earlier.0, &earlier.1)
            );
            return invalid(path, what);
        }
    }
    Ok(())
}

/// As one writes it into a file.
fn written(group: &str, resource: &str) -> String {
    match (group, resource) {
        ("", "*") => "*.".to_owned(),
        ("", resource) => resource.to_owned(),
        (group, resource) => format!("{resource}.{group}"),
    }
}

fn check_resources(names: &[String], path: &str) -> Result<(), ConfigFileError> {
    if names.is_empty() {
        return invalid(path, "at least one is required");
    }
    for (place, name) in names.iter().enumerate() {
        if let Some(what) = fault(name) {
            return invalid(format!("{path}[{place}]"), format!("{name:?}: {what}"));
        }
    }
    let resources: Vec<GroupResource> = names.iter().map(|name| group_resource(name)).collect();
    for (place, (group, name)) in resources.iter().enumerate() {
        let mut others = resources[..place].iter();
        if others.any(|(g, n)| (g, n) == (group, name)) {
            return invalid(path, "the same resource cannot be specified multiple times");
        }
        let is_any = (group.as_str(), name.as_str()) == ("*", "*");
        let masks = |(other_group, other): &GroupResource| {
            (other_group, other) != (group, name)
                && (is_any || (other_group == group && (other == "*" || name == "*")))
        };
        if resources.iter().any(masks) {
            let what = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not \
                        allowed as they will be masked";
            return invalid(path, what);
        }
    }
    Ok(())
}

/// What is wrong with the name of a resource.
fn fault(name: &str) -> Option<&'static str> {
    let (group, resource) = group_resource(name);
    if name.to_lowercase() != name {
        Some("resource name should not contain capital letters")
    } else if name == "*" {
        Some(
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
        )
    } else if INTERNAL_RESOURCES.contains(&name) {
        Some("resources which do not have REST API/s cannot be encrypted")
    } else if group == "events.k8s.io" {
        Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the \
             config file",
        )
    } else if group == "extensions" {
        Some("'extensions' group has been removed and cannot be used for encryption")
    } else if group == "*" && resource != "*" {
        Some("encrypting the same resource across groups is not supported")
    } else {
        None
    }
}

/// What a parser says of a file, without anything that may be a secret.
fn without_secrets(text: &str) -> String {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest.find(|c| !is_base64(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(run);
        out.push_str(if word.len() >= SECRET_BYTES_MIN {
            "REDACTED"
        } else {
            word
        });
        let other = after.find(is_base64).unwrap_or(after.len());
        let (between, after) = after.split_at(other);
        out.push_str(between);
        rest = after;
    }
    out
}
