//! Encryption at rest: what the values of the store are on disk, as kube-apiserver has it.
//!
//! A value that is encrypted says by what: `k8s:enc:<provider>:v1:<key name>:`, then what the
//! provider made of it. The first provider of a resource's rule writes; all are tried for reading.
//! An object in memory knows by which key it is [sealed](Seal) on disk, so that an update that
//! changes nothing writes it all the same when that is another one now: thus keys are rotated.
//!
//! Only the [writer](crate::writer) asks: the store has values as they are on disk, everybody else
//! has objects.
//!
//! Sources: Kubernetes, `staging/src/k8s.io/apiserver/pkg/storage/value/transformer.go`,
//! `pkg/storage/value/encrypt/{aes,secretbox,identity}`, `pkg/server/options/encryptionconfig`.

mod cipher;
pub mod config;
#[cfg(test)]
mod tests;

use crate::registry::Descriptor;
use crate::store::KEY_PREFIX;
use arc_swap::ArcSwap;
use bytes::Bytes;
use cipher::Cipher;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How every encrypted value begins.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// Longest part of a value's beginning that is shown.
const SHOWN_BYTES_MAX: usize = 64;

/// By which key a value is encrypted on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seal(u32);

impl Seal {
    /// By none.
    pub const PLAIN: Self = Self(0);
}

/// A provider with one of its keys.
struct Key {
    /// With which values begin; empty: they are plain.
    prefix: Vec<u8>,
    cipher: Cipher,
    seal: Seal,
}

/// Resources by group and name; `*` is any.
type GroupResource = (String, String);

/// Which resources are encrypted, and how: what a configuration file says.
#[derive(Default)]
pub struct Rules(BTreeMap<GroupResource, Arc<[Key]>>);

impl Rules {
    /// The keys for a resource, the one to write with first; None: what no rule names is plain.
    fn keys(&self, descriptor: &'static Descriptor) -> Option<&[Key]> {
        if self.0.is_empty() {
            return None;
        }
        let stored = descriptor.stored();
        let group = stored.r#type.group;
        [(group, stored.resource), (group, "*"), ("*", "*")]
            .into_iter()
            .find_map(|(group, resource)| self.0.get(&(group.to_owned(), resource.to_owned())))
            .map(AsRef::as_ref)
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The rules in force, which may be replaced.
#[derive(Debug)]
pub struct Encryption {
    rules: ArcSwap<Rules>,
    /// With a slash at its end: keys as they are in the store are authenticated with the values.
    prefix: String,
}

impl Default for Encryption {
    fn default() -> Self {
        Self::new(Rules::default(), KEY_PREFIX)
    }
}

impl Encryption {
    /// By these rules, for a store whose keys begin with `prefix` (`/registry`).
    pub fn new(rules: Rules, prefix: &str) -> Self {
        Self {
            rules: ArcSwap::from_pointee(rules),
            prefix: format!("/{}/", prefix.trim_matches('/')),
        }
    }

    /// Puts other rules in force.
    pub fn set(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// The key as the store has it, which a value must not be moved away from.
    fn place(&self, key: &str) -> String {
        let rest = key.strip_prefix(KEY_PREFIX).unwrap_or(key);
        format!("{}{rest}", self.prefix)
    }

    /// What is written to disk in place of a value, and by which key.
    ///
    /// # Errors
    /// The provider fails; in words.
    pub(crate) fn seal(
        &self,
        descriptor: &'static Descriptor,
        key: &str,
        value: Bytes,
    ) -> Result<(Bytes, Seal), String> {
        let rules = self.rules.load();
        let writing = rules.keys(descriptor).and_then(<[Key]>::first);
        let Some(writing) = writing.filter(|one| one.seal != Seal::PLAIN) else {
            return Ok((value, Seal::PLAIN));
        };
        let place = self.place(key);
        let sealed = writing
            .cipher
            .seal(&writing.prefix, &value, place.as_bytes())
            .ok_or_else(|| format!("{key} cannot be encrypted by {}", writing.name()))?;
        Ok((sealed.into(), writing.seal))
    }

    /// The value behind what is on disk, and by which key it is there.
    ///
    /// # Errors
    /// None of the keys decrypts it; in words.
    pub(crate) fn open(
        &self,
        descriptor: &'static Descriptor,
        key: &str,
        stored: &Bytes,
    ) -> Result<(Bytes, Seal), String> {
        let rules = self.rules.load();
        let is_encrypted = stored.starts_with(ENCRYPTED);
        let keys = match rules.keys(descriptor) {
            Some(keys) => keys,
            None if !is_encrypted => return Ok((stored.clone(), Seal::PLAIN)),
            None => &[],
        };
        let mut fitting = None;
        for one in keys {
            if one.seal == Seal::PLAIN {
                // Plain text is no fallback for what says that it is not.
                if is_encrypted {
                    continue;
                }
                return Ok((stored.clone(), Seal::PLAIN));
            }
            let Some(sealed) = stored.strip_prefix(&*one.prefix) else {
                continue;
            };
            if let Some(value) = one.cipher.open(sealed, self.place(key).as_bytes()) {
                return Ok((value.into(), one.seal));
            }
            fitting = Some(one);
        }
        Err(match fitting {
            Some(one) => format!(
                "it does not decrypt with the key {}: it is damaged, was moved here from another object, or that key has \
                 another secret now",
                one.name()
            ),
            None => lacking(descriptor.stored(), is_encrypted.then_some(stored)),
        })
    }

    /// False when an update has to write a value although it stays the same.
    pub(crate) fn is_current(&self, descriptor: &'static Descriptor, seal: Seal) -> bool {
        let rules = self.rules.load();
        let writing = rules.keys(descriptor).and_then(<[Key]>::first);
        writing.map_or(Seal::PLAIN, |one| one.seal) == seal
    }

    /// Whether a rule is about a resource.
    pub(crate) fn covers(&self, descriptor: &'static Descriptor) -> bool {
        self.rules.load().keys(descriptor).is_some()
    }

    /// Whether what is sealed so could be read again.
    pub(crate) fn knows(&self, descriptor: &'static Descriptor, seal: Seal) -> bool {
        let rules = self.rules.load();
        match rules.keys(descriptor) {
            Some(keys) => keys.iter().any(|one| one.seal == seal),
            None => seal == Seal::PLAIN,
        }
    }
}

impl Key {
    /// As people know it: `aescbc:key1`.
    fn name(&self) -> String {
        shown(&self.prefix)
    }
}

/// What has no key, in words.
fn lacking(descriptor: &Descriptor, encrypted: Option<&Bytes>) -> String {
    let group = descriptor.r#type.group;
    let dot = if group.is_empty() { "" } else { "." };
    let resource = format!("{}{dot}{group}", descriptor.resource);
    match encrypted {
        Some(stored) => format!(
            "it is encrypted by {}, and --encryption-provider-config has no such key for {resource}",
            shown(stored)
        ),
        None => format!(
            "it is not encrypted, and --encryption-provider-config has no provider identity for {resource}"
        ),
    }
}

/// Provider and name of the key at the beginning of a value.
fn shown(stored: &[u8]) -> String {
    let rest = stored.strip_prefix(ENCRYPTED).unwrap_or_default();
    let mut parts = rest.splitn(4, |byte| *byte == b':');
    let mut part = || {
        let part = parts.next().unwrap_or_default();
        let part = &part[..part.len().min(SHOWN_BYTES_MAX)];
        part.escape_ascii().to_string()
    };
    let (provider, _version, name) = (part(), part(), part());
    format!("{provider}:{name}")
}
