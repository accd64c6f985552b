//! Checkpoints: what a log says about its tree, signed (C2SP `signed-note`, `tlog-checkpoint`).
//!
//! Owns the texts and the Ed25519 signature on them. A key is named by the log's origin; its public
//! half is told as the `vkey` that Go's `golang.org/x/mod/sumdb/note` and others take.

use super::merkle::{Hash, sha256};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_pki::{KeyAlgorithm, PrivateKey};
use std::fmt;
use zeroize::Zeroizing;

/// Type of a signature by Ed25519, in key IDs and keys.
const ED25519_TYPE: u8 = 1;
/// Signatures of a checkpoint that are looked at.
const SIGNATURES_MAX: usize = 64;

/// Why a text is no checkpoint of this log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not of the form.
    #[error("it is no checkpoint: {0}")]
    Malformed(&'static str),
    /// No signature of the key, or one that does not hold.
    #[error("{0}")]
    Signature(String),
}

/// The size and the root of a log at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root)
        )
    }

    /// Reads a checkpoint that `key` signed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(note: &[u8], key: &VerifyingKey) -> Result<Self, NoteError> {
        let malformed = NoteError::Malformed;
        let note = std::str::from_utf8(note).map_err(|_| malformed("it is not UTF-8"))?;
        let (text, signatures) = note
            .rsplit_once("\n\n")
            .ok_or(malformed("a blank line before its signatures is missing"))?;
        let text = format!("{text}\n");
        key.check(&text, signatures)?;
        let mut lines = text.lines();
        let mut line = || lines.next().filter(|line| !line.is_empty());
        let origin = line().ok_or(malformed("it names no log"))?;
        let size = line().unwrap_or_default();
        let is_plain = size == "0" || !size.starts_with(['0', '+']);
        let size = size.parse().ok().filter(|_| is_plain);
        let root = line().and_then(|root| STANDARD.decode(root).ok());
        Ok(Self {
            origin: origin.to_owned(),
            size: size.ok_or(malformed("its second line is no size"))?,
            root: root
                .and_then(|root| root.try_into().ok())
                .ok_or(malformed("its third line is no hash"))?,
        })
    }
}

/// Whether this may name a log and its key: not empty, no blanks, no plus.
pub fn is_origin(name: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    !name.is_empty() && name.len() <= 255 && name.chars().all(allowed)
}

/// The public half of a log's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    public: Vec<u8>,
}

impl VerifyingKey {
    /// Reads what `Display` writes: name, key ID in hex, type and key in base64, joined by plus.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let malformed = || NoteError::Signature("it is no Ed25519 key of a signed note".to_owned());
        let mut parts = text.trim().splitn(3, '+');
        let mut part = || parts.next().ok_or_else(malformed);
        let (name, id, key) = (part()?, part()?, part()?);
        let key = STANDARD.decode(key).map_err(|_| malformed())?;
        let public = match key.split_first() {
            Some((&ED25519_TYPE, public)) if public.len() == 32 => public.to_vec(),
            _ => return Err(malformed()),
        };
        let name = name.to_owned();
        let key = Self { name, public };
        if !is_origin(&key.name) || hex(&key.id()) != id {
            return Err(malformed());
        }
        Ok(key)
    }

    /// The log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let hash = sha256(&[self.name.as_bytes(), b"\n", &[ED25519_TYPE], &self.public]);
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Looks for our signature among those of a note.
    fn check(&self, text: &str, signatures: &str) -> Result<(), NoteError> {
        let name = &self.name;
        for line in signatures.lines().take(SIGNATURES_MAX) {
            let parts = line
                .strip_prefix("— ")
                .and_then(|rest| rest.split_once(' '));
            let Some((by, signature)) = parts else {
                return Err(NoteError::Malformed("a line of its signatures is none"));
            };
            let signature = STANDARD.decode(signature).unwrap_or_default();
            let Some((id, signature)) = signature.split_at_checked(4) else {
                return Err(NoteError::Malformed("a line of its signatures is none"));
            };
            if by != name || id != self.id() {
                continue;
            }
            let key = UnparsedPublicKey::new(&ED25519, &self.public);
            return key.verify(text.as_bytes(), signature).map_err(|_| {
                NoteError::Signature(format!("the signature of {name} does not fit it"))
            });
        }
        Err(NoteError::Signature(format!(
            "the log's key {name}+{} has not signed it",
            hex(&self.id())
        )))
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519_TYPE], self.public.as_slice()].concat();
        let (name, id) = (&self.name, hex(&self.id()));
        write!(f, "{name}+{id}+{}", STANDARD.encode(key))
    }
}

/// A log's key.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

impl SigningKey {
    /// A fresh key in PEM (PKCS#8).
    ///
    /// # Errors
    /// When the system has no entropy.
    pub fn generate() -> Result<Zeroizing<String>, String> {
        let key = PrivateKey::generate(KeyAlgorithm::Ed25519).map_err(|error| error.to_string())?;
        Ok(key.to_pem())
    }

    /// The key in this PEM text, for the log of this origin.
    ///
    /// # Errors
    /// When it is no Ed25519 key.
    pub fn from_pem(pem: &str, origin: &str) -> Result<Self, String> {
        let key = PrivateKey::from_pem(pem).map_err(|error| error.to_string())?;
        let pair =
            Ed25519KeyPair::from_pkcs8(&key.to_pkcs8_der().map_err(|error| error.to_string())?)
                .map_err(|_| format!("it holds a key for {}, and not Ed25519", key.algorithm()))?;
        let public = VerifyingKey {
            name: origin.to_owned(),
            public: pair.public_key().as_ref().to_vec(),
        };
        Ok(Self { pair, public })
    }

    /// Its public half.
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// The note that says this.
    pub fn sign(&self, size: u64, root: Hash) -> String {
        let origin = self.public.name.clone();
        let text = Checkpoint { origin, size, root }.text();
        let signature = self.pair.sign(text.as_bytes());
        let signature = [&self.public.id(), signature.as_ref()].concat();
        let (name, signature) = (&self.public.name, STANDARD.encode(signature));
        format!("{text}\n— {name} {signature}\n")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public).finish()
    }
}

/// Lower hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of `golang.org/x/mod/sumdb/note` (its package documentation and tests).
    #[test]
    fn gos_example() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key = VerifyingKey::parse(key).unwrap();
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let signature = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        assert_eq!(key.check(text, signature), Ok(()));
        assert!(
            key.check(&text.replace("answer", "Answer"), signature)
                .is_err()
        );
        let printed = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(key.to_string(), printed);
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_signed() {
        let pem = SigningKey::generate().unwrap();
        let key = SigningKey::from_pem(&pem, "ca.example/log").unwrap();
        let note = key.sign(20_852_163, [7; 32]);
        let public = VerifyingKey::parse(&key.public().to_string()).unwrap();
        let checkpoint = Checkpoint::open(note.as_bytes(), &public).unwrap();
        assert_eq!(checkpoint.size, 20_852_163);
        assert_eq!(checkpoint.root, [7; 32]);
        assert_eq!(checkpoint.origin, "ca.example/log");

        let by_a_witness = format!("{note}— witness.example AAAAAAAA\n");
        assert_eq!(
            Checkpoint::open(by_a_witness.as_bytes(), &public),
            Ok(checkpoint)
        );
        let other = SigningKey::from_pem(&SigningKey::generate().unwrap(), "ca.example/log");
        let other = other.unwrap().public().clone();
        for (note, key, expected) in [
            (note.clone(), &other, "has not signed it"),
            (
                note.replace("20852163", "20852164"),
                &public,
                "does not fit it",
            ),
            (note.replace("\n\n", "\n"), &public, "blank line"),
            (
                key.sign(1, [7; 32]).replace("\n1\n", "\n01\n"),
                &public,
                "does not fit",
            ),
        ] {
            let error = Checkpoint::open(note.as_bytes(), key)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(!is_origin("two words") && !is_origin("a+b") && !is_origin(""));
    }
}
