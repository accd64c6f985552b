//! Front proxies: who shows a client certificate of theirs says for whom it asks, in headers
//! (`apiserver/pkg/authentication/request/headerrequest`).
//!
//! Whoever holds such a certificate can be anybody. So their authority is one of its own, and a
//! header without the certificate is nothing.

use super::ConfigError;
use super::impersonation::extra_key;
use super::x509::{ClientCa, Refusal};
use crate::user::User;
use everleaf_pki::trust::BundleError;
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use rustls::DistinguishedName;
use std::collections::BTreeMap;

/// Who front proxies are, and in which headers they tell of whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrontProxyConfig {
    /// PEM bundle of their authorities.
    pub ca_pem: String,
    /// Common names of their certificates; empty: any that the authorities gave.
    pub allowed_names: Vec<String>,
    /// Headers of the name; the first that is not empty counts.
    pub username_headers: Vec<String>,
    /// Headers of the UID, likewise.
    pub uid_headers: Vec<String>,
    /// Headers of the groups, each value a group.
    pub group_headers: Vec<String>,
    /// How headers of further facts begin; the rest of their names is the key, percent-encoded.
    pub extra_prefixes: Vec<String>,
    /// False: this server itself believes none; those that learn from it whom to believe may.
    pub is_believed: bool,
}

impl FrontProxyConfig {
    /// kubeadm's names of front proxies and headers; only told, not believed.
    pub fn of_kubeadm(ca_pem: String) -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self {
            ca_pem,
            allowed_names: one("front-proxy-client"),
            username_headers: one("X-Remote-User"),
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_prefixes: one("X-Remote-Extra-"),
            is_believed: false,
        }
    }
}

/// Those that are believed.
pub(super) struct FrontProxies {
    ca: ClientCa,
    allowed_names: Vec<String>,
    username_headers: Vec<HeaderName>,
    uid_headers: Vec<HeaderName>,
    group_headers: Vec<HeaderName>,
    /// In lower case, as names of headers are held.
    extra_prefixes: Vec<String>,
}

impl FrontProxies {
    pub(super) fn new(config: &FrontProxyConfig) -> Result<Self, ConfigError> {
        let bad_ca = |error: BundleError| ConfigError::BadFrontProxyCa(error);
        Ok(Self {
            ca: ClientCa::from_pem(config.ca_pem.as_bytes()).map_err(bad_ca)?,
            allowed_names: config.allowed_names.clone(),
            username_headers: names(&config.username_headers)?,
            uid_headers: names(&config.uid_headers)?,
            group_headers: names(&config.group_headers)?,
            extra_prefixes: config
                .extra_prefixes
                .iter()
                .map(|prefix| prefix.to_ascii_lowercase())
                .collect(),
        })
    }

    /// Subjects of the authorities.
    pub(super) fn subjects(&self) -> Vec<DistinguishedName> {
        self.ca.subjects()
    }

    /// For whom a front proxy asks; None when nobody is named. The certificate is looked at only
    /// then: most who come with one are no proxies.
    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        leaf: &[u8],
        intermediates: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Option<User>, Refusal> {
        let Some(name) = first(headers, &self.username_headers) else {
            return Ok(None);
        };
        let proxy = self.ca.authenticate(leaf, intermediates, now)?;
        let proxy = proxy.map_or_else(String::new, |proxy| proxy.name);
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&proxy) {
            return Err(Refusal::NoFrontProxy(proxy));
        }
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (header, value) in headers {
            let mut prefixes = self.extra_prefixes.iter();
            let key = prefixes.find_map(|prefix| header.as_str().strip_prefix(prefix.as_str()));
            if let (Some(key), Ok(value)) = (key, std::str::from_utf8(value.as_bytes())) {
                extra
                    .entry(extra_key(key))
                    .or_default()
                    .push(value.to_owned());
            }
        }
        let groups = self
            .group_headers
            .iter()
            .flat_map(|name| headers.get_all(name));
        let groups = groups.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
        Ok(Some(User {
            name,
            uid: first(headers, &self.uid_headers).unwrap_or_default(),
            groups: groups
                .filter(|group| !group.is_empty())
                .map(str::to_owned)
                .collect(),
            extra,
        }))
    }
}

/// The first value that is not empty.
fn first(headers: &HeaderMap, names: &[HeaderName]) -> Option<String> {
    let values = names.iter().filter_map(|name| headers.get(name));
    let mut values = values.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
    values.find(|value| !value.is_empty()).map(str::to_owned)
}

fn names(names: &[String]) -> Result<Vec<HeaderName>, ConfigError> {
    let names = names.iter().map(|name| {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| ConfigError::BadHeaderName { name: name.clone() })
    });
    names.collect()
}
