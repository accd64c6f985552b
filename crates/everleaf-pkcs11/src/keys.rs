//! A node's keys: made in a token, found again, deleted.

use crate::key::TokenKey;
use crate::token::{Open, Trouble, words};
use crate::uri::{KeyUri, TokenUri};
use crate::worker::{Use, Worker};
use aws_lc_rs::digest::{Context, SHA256};
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use everleaf_pki::{KeyAlgorithm, KeyError, PrivateKey, PublicKey};
use std::sync::{Arc, Mutex, PoisonError};

/// Objects that are looked at, and deleted, in one pass.
const SWEPT_MAX: usize = 256;
/// Bytes of an identifier that say whose key it is, and those that say which.
const TAG_BYTES: usize = 8;
const NUMBER_BYTES: usize = 8;

/// Tokens in use by this process, those that were named first before others.
static TOKENS: Mutex<Vec<(TokenUri, Arc<Worker>)>> = Mutex::new(Vec::new());

/// For which certificate of which node keys are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The label of its keys.
    pub label: String,
    /// What their identifiers begin with: two that share a token and a label must differ in it.
    pub tag: [u8; TAG_BYTES],
}

impl Owner {
    /// One that has this label, and a tag of all of these.
    pub fn new(label: String, of: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in of.iter().chain([&label.as_bytes()]) {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&context.finish().as_ref()[..TAG_BYTES]);
        Self { label, tag }
    }
}

/// A token in which keys are made.
#[derive(Clone)]
pub struct TokenKeys {
    uri: TokenUri,
    worker: Arc<Worker>,
}

impl TokenKeys {
    /// The token of this URI, which is looked for when it is needed. What the URI says of module
    /// and PIN counts for the keys that are there already, too.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn new(uri: TokenUri) -> Result<Self, String> {
        let worker = worker_of(&uri)?;
        Ok(Self { uri, worker })
    }

    /// Why the token cannot be used now, if it cannot.
    ///
    /// # Errors
    /// That, for people.
    pub fn check(&self) -> Result<(), String> {
        self.worker
            .ask(|token| token.within(|_| Ok(())))
            .map_err(|trouble| self.words(&trouble))
    }

    /// A new key, which never leaves the token (`CKA_SENSITIVE`, not `CKA_EXTRACTABLE`).
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for other kinds than ECDSA on P-256 and P-384;
    /// [`KeyError::Elsewhere`] when the token does not make one, or one that can be exported.
    pub fn generate(&self, owner: &Owner, algorithm: KeyAlgorithm) -> Result<PrivateKey, KeyError> {
        let curve = Curve::of(algorithm)?;
        let elsewhere = |trouble: Trouble| KeyError::Elsewhere(self.words(&trouble));
        let mut id = [0; TAG_BYTES + NUMBER_BYTES];
        id[..TAG_BYTES].copy_from_slice(&owner.tag);
        getrandom::fill(&mut id[TAG_BYTES..])
            .map_err(|_| KeyError::Crypto("asking the system for random numbers"))?;
        let label = owner.label.clone();
        let public_key = self
            .worker
            .ask(move |token| token.within(|open| make(open, curve, &label, &id)))
            .map_err(elsewhere)?;
        let uri = self.uri.key(&owner.label, &id);
        let key = TokenKey::new(Arc::clone(&self.worker), &uri, public_key, Use::Node);
        key.prove()
            .map_err(|trouble| KeyError::Elsewhere(key.words(trouble)))?;
        PrivateKey::held(Arc::new(key))
    }

    /// Deletes this owner's keys but those that one of these URIs names; returns how many.
    ///
    /// # Errors
    /// When a URI cannot be read (then nothing is deleted), or the token does not do it.
    pub fn retain(&self, owner: &Owner, used: &[String]) -> Result<usize, KeyError> {
        let mut used_ids = Vec::new();
        for uri in used {
            let uri = KeyUri::parse(uri).map_err(|error| KeyError::Elsewhere(error.to_string()))?;
            let Some(id) = uri.id() else {
                return Err(KeyError::Elsewhere(format!("{uri} names no key by its id")));
            };
            used_ids.push(id.to_vec());
        }
        let owner = owner.clone();
        self.worker
            .ask(move |token| token.within(|open| sweep(open, &owner, &used_ids)))
            .map_err(|trouble| KeyError::Elsewhere(self.words(&trouble)))
    }

    fn words(&self, trouble: &Trouble) -> String {
        format!("{}: {trouble}", self.uri)
    }
}

impl TokenKey {
    /// A node's key at this URI, of which `public_key` is the public half. A token that is away, or
    /// that refuses, is no error: the key signs when it is back.
    ///
    /// # Errors
    /// The URI is none, or the token is there and the key is gone for good.
    pub fn find(uri: &str, public_key: PublicKey) -> Result<Self, String> {
        let uri = KeyUri::parse(uri).map_err(|error| error.to_string())?;
        let key = Self::new(worker_of(uri.token())?, &uri, public_key, Use::Node);
        match key.prove() {
            Err(Trouble::NoKey) => Err(key.words(Trouble::NoKey)),
            _ => Ok(key),
        }
    }
}

/// The thread of a token; the same for all URIs that mean it.
fn worker_of(uri: &TokenUri) -> Result<Arc<Worker>, String> {
    let mut tokens = TOKENS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, worker)) = tokens.iter().find(|(known, _)| known.means_token_of(uri)) {
        return Ok(Arc::clone(worker));
    }
    let worker = Arc::new(Worker::new(uri.clone(), Use::Node)?);
    tokens.push((uri.clone(), Arc::clone(&worker)));
    Ok(worker)
}

/// Curves of keys that are made here, with what PKCS#11 and X.509 say of them.
#[derive(Clone, Copy)]
struct Curve {
    /// The curve's object identifier, DER.
    parameters: &'static [u8],
    /// A SubjectPublicKeyInfo up to its point.
    spki: &'static [u8],
    point_bytes: usize,
}

const P256: Curve = Curve {
    parameters: b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
    spki: b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
    point_bytes: 65,
};

const P384: Curve = Curve {
    parameters: b"\x06\x05\x2b\x81\x04\x00\x22",
    spki: b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
    point_bytes: 97,
};

impl Curve {
    fn of(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        match algorithm {
            KeyAlgorithm::EcdsaP256 => Ok(P256),
            KeyAlgorithm::EcdsaP384 => Ok(P384),
            other => Err(KeyError::Unsupported(format!(
                "{other}: keys in a token are ECDSA on P-256 or P-384"
            ))),
        }
    }

    /// The key of a `CKA_EC_POINT`: a DER OCTET STRING around the point, and from some tokens the
    /// point alone.
    fn public_key(self, point: &[u8]) -> Result<PublicKey, Trouble> {
        let point = match point.len().checked_sub(self.point_bytes) {
            Some(header) => &point[header..],
            None => point,
        };
        PublicKey::from_spki_der(&[self.spki, point].concat())
            .map_err(|error| Trouble::Other(format!("the token made a key that is none: {error}")))
    }
}

/// Makes a key pair; its public half.
fn make(open: &mut Open, curve: Curve, label: &str, id: &[u8]) -> Result<PublicKey, Trouble> {
    let names = [
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    let mut public = names.to_vec();
    public.extend([
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(curve.parameters.to_vec()),
    ]);
    let mut private = names.to_vec();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]);
    let session = &open.session;
    let (public, private) = session
        .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
        .map_err(|error| match error {
            Error::Pkcs11(cryptoki::error::RvError::MechanismInvalid, _) => {
                Trouble::Other("the token cannot make keys on this curve".to_owned())
            }
            error => Trouble::Other(words(error)),
        })?;
    let made = judge(open, private).and_then(|()| {
        let found = open
            .session
            .get_attributes(public, &[AttributeType::EcPoint])?;
        match &found[..] {
            [Attribute::EcPoint(point)] => curve.public_key(point),
            _ => Err(Trouble::Other(
                "the token does not show the public half of a key that it made".to_owned(),
            )),
        }
    });
    if made.is_err() {
        // The first error is the one to tell; what stays is swept later.
        let _ = open.session.destroy_object(private);
        let _ = open.session.destroy_object(public);
    }
    made
}

/// Whether a key stays in its token.
fn judge(open: &Open, private: ObjectHandle) -> Result<(), Trouble> {
    let wanted = [AttributeType::Sensitive, AttributeType::Extractable];
    let found = open.session.get_attributes(private, &wanted)?;
    let stays = found.contains(&Attribute::Sensitive(true))
        && found.contains(&Attribute::Extractable(false));
    match stays {
        true => Ok(()),
        false => Err(Trouble::Other(
            "the token makes keys that can be exported, although it was told not to".to_owned(),
        )),
    }
}

/// Deletes what nobody uses; how many private keys.
fn sweep(open: &mut Open, owner: &Owner, used: &[Vec<u8>]) -> Result<usize, Trouble> {
    let mut deleted = 0;
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let wanted = [
            Attribute::Class(class),
            Attribute::Label(owner.label.as_bytes().to_vec()),
        ];
        let found = open.session.find_objects(&wanted)?;
        for object in found.into_iter().take(SWEPT_MAX) {
            let id = open.session.get_attributes(object, &[AttributeType::Id])?;
            let [Attribute::Id(id)] = &id[..] else {
                continue;
            };
            let is_ours = id.len() == TAG_BYTES + NUMBER_BYTES && id.starts_with(&owner.tag);
            if is_ours && !used.contains(id) {
                open.session.destroy_object(object)?;
                deleted += usize::from(class == ObjectClass::PRIVATE_KEY);
            }
        }
    }
    Ok(deleted)
}
