//! One session with a token, and what to do when it breaks.

use crate::module::Module;
use crate::pin;
use crate::uri::TokenUri;
use crate::worker::Use;
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use everleaf_pki::issuer::{ecdsa_digest, ecdsa_signature, has_signed};
use everleaf_pki::{PublicKey, PublicKeyKind};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::PoisonError;

/// Keys of one name and identifier that are tried.
const KEYS_MAX: usize = 16;
/// Keys whose places in a session are remembered.
const REMEMBERED_MAX: usize = 64;
/// What is signed to see that a key is the one that belongs to the certificate.
const PROOF: &[u8] = b"everleaf: proof that this token holds the key of the certificate";

/// A token, with the session if there is one.
pub(crate) struct Token {
    uri: TokenUri,
    used_for: Use,
    open: Option<Open>,
}

/// What a key in a token is called; at least one of both.
#[derive(Clone, Debug)]
pub(crate) struct KeyName {
    pub(crate) label: Option<String>,
    pub(crate) id: Option<Vec<u8>>,
}

/// A session, and the keys that were found in it, by their public halves.
pub(crate) struct Open {
    pub(crate) session: Session,
    generation: u64,
    keys: BTreeMap<Vec<u8>, ObjectHandle>,
    used_for: Use,
    is_logged_in: bool,
}

/// Why the token did not do it. `Display` is for people, and holds no PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing that fits is there, as far as the library knows.
    NoToken,
    /// The token is there, it has shown all it has, and the key is not there.
    NoKey,
    /// The PIN is refused, locked, or not to be read: what is tried again costs tries.
    Pin(String),
    Other(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoToken => "no token fits: it is not there, or has another name",
            Self::NoKey => "the token has no such private key",
            Self::Pin(text) | Self::Other(text) => text,
        })
    }
}

impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Other(words(error))
    }
}

impl Token {
    pub(crate) fn new(uri: TokenUri, used_for: Use) -> Self {
        Self {
            uri,
            used_for,
            open: None,
        }
    }

    /// Does something in a session; once more in a new one when that fails in the old one.
    pub(crate) fn within<T>(
        &mut self,
        mut act: impl FnMut(&mut Open) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let module = Module::of(self.uri.module_path())?;
        match self.attempt(&module, &mut act) {
            Err(trouble) if self.may_be_stale(&trouble) => {
                module.begin_anew()?;
                self.attempt(&module, &mut act)
            }
            outcome => outcome,
        }
    }

    /// Whether the library may have to forget what it knows. SoftHSM, among others, does not see a
    /// token that has come back before this; a library that lost the connection to its device
    /// never makes another one. With a CA there are others whose sessions would end.
    fn may_be_stale(&self, trouble: &Trouble) -> bool {
        match trouble {
            Trouble::NoToken => true,
            Trouble::Pin(_) => false,
            Trouble::NoKey | Trouble::Other(_) => self.used_for == Use::Node,
        }
    }

    fn attempt<T>(
        &mut self,
        module: &Module,
        act: &mut impl FnMut(&mut Open) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let generation = module.calls();
        if let Some(mut open) = self.open.take().and_then(|open| open.of(*generation))
            && let Ok(done) = act(&mut open)
        {
            self.open = Some(open);
            return Ok(done);
        }
        let mut open = self.begin(module, *generation)?;
        let done = act(&mut open)?;
        self.open = Some(open);
        Ok(done)
    }

    /// Opens a session, and logs in.
    fn begin(&self, module: &Module, generation: u64) -> Result<Open, Trouble> {
        let slot = self.slot(&module.context)?;
        let session = match self.used_for {
            Use::Authority => module.context.open_ro_session(slot)?,
            Use::Node => module.context.open_rw_session(slot)?,
        };
        self.log_in(module, slot, &session)?;
        Ok(Open {
            session,
            generation,
            keys: BTreeMap::new(),
            used_for: self.used_for,
            is_logged_in: self.uri.pin_source().is_some(),
        })
    }

    fn slot(&self, context: &Pkcs11) -> Result<Slot, Trouble> {
        let mut fitting = Vec::new();
        for slot in context.get_slots_with_token()? {
            // A token may go while we look.
            let Ok(token) = context.get_token_info(slot) else {
                continue;
            };
            let is_it = self.uri.fits(
                token.label(),
                token.manufacturer_id(),
                token.model(),
                token.serial_number(),
                slot.id(),
            );
            if is_it {
                fitting.push(slot);
            }
        }
        match fitting[..] {
            [slot] => Ok(slot),
            [] => Err(Trouble::NoToken),
            _ => Err(Trouble::Other(format!(
                "{} tokens fit: name one by token, serial or slot-id",
                fitting.len()
            ))),
        }
    }

    fn log_in(&self, module: &Module, slot: Slot, session: &Session) -> Result<(), Trouble> {
        let Some(path) = self.uri.pin_source() else {
            return Ok(());
        };
        let pin = pin::read(path).map_err(Trouble::Pin)?;
        let info = module.context.get_token_info(slot)?;
        let place = format!("{}/{}", info.label(), info.serial_number());
        let mut refused = module
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if refused.get(&place) == Some(&pin) {
            return Err(Trouble::Pin(format!(
                "the token has refused the PIN in {}; it is tried again when that file changes, since tokens lock \
                 themselves after a few wrong ones",
                path.display()
            )));
        }
        match session.login(UserType::User, Some(&AuthPin::from(pin.as_str()))) {
            // The login belongs to all sessions of a process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let is_pins_fault = matches!(
                    error,
                    Error::Pkcs11(
                        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
                        _
                    )
                );
                if is_pins_fault {
                    refused.insert(place, pin);
                }
                let is_locked = matches!(error, Error::Pkcs11(RvError::PinLocked, _));
                Err(match is_pins_fault {
                    true => {
                        Trouble::Pin(format!("the token refuses the PIN in {}", path.display()))
                    }
                    false if is_locked => Trouble::Pin(words(error)),
                    false => error.into(),
                })
            }
        }
    }
}

impl Open {
    /// Itself, unless the library was begun anew since: then its session is no more, and its number
    /// may be another one's.
    fn of(self, generation: u64) -> Option<Self> {
        if self.generation == generation {
            return Some(self);
        }
        // Not dropped, which would close whatever has the number now.
        std::mem::forget(self.session);
        None
    }

    /// Signs as certificates are signed.
    pub(crate) fn sign(
        &mut self,
        name: &KeyName,
        public_key: &PublicKey,
        message: &[u8],
    ) -> Result<Vec<u8>, Trouble> {
        let key = self.find(name, public_key)?;
        Ok(sign(&self.session, key, public_key, message)?)
    }

    /// The private half of `public_key`, among the keys of this name.
    pub(crate) fn find(
        &mut self,
        name: &KeyName,
        public_key: &PublicKey,
    ) -> Result<ObjectHandle, Trouble> {
        if let Some(key) = self.keys.get(public_key.spki_der()) {
            return Ok(*key);
        }
        let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        if let Some(label) = &name.label {
            wanted.push(Attribute::Label(label.as_bytes().to_vec()));
        }
        if let Some(id) = &name.id {
            wanted.push(Attribute::Id(id.clone()));
        }
        let found = self.session.find_objects(&wanted)?;
        if found.is_empty() {
            return Err(match self.is_logged_in {
                true => Trouble::NoKey,
                false => Trouble::Other(
                    "the token has no such private key, or shows it only with a PIN".to_owned(),
                ),
            });
        }
        let mut reason = String::new();
        // Several keys may share name and identifier; the certificate says which one it is.
        for key in found.into_iter().take(KEYS_MAX) {
            match sign(&self.session, key, public_key, PROOF) {
                Ok(signature) if has_signed(public_key, PROOF, &signature) => {
                    if self.keys.len() >= REMEMBERED_MAX {
                        self.keys.clear();
                    }
                    self.keys.insert(public_key.spki_der().to_vec(), key);
                    return Ok(key);
                }
                Ok(_) => {
                    reason = format!(
                        "the private key in the token does not match the {}",
                        self.used_for.certificate()
                    );
                }
                Err(error) => reason = error,
            }
        }
        Err(reason.into())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let Ok(module) = Module::of(self.uri.module_path()) else {
            return;
        };
        let generation = module.calls();
        drop(self.open.take().and_then(|open| open.of(*generation)));
    }
}

/// As certificates are signed; tokens know hashing for RSA, most of them not for ECDSA.
fn sign(
    session: &Session,
    handle: ObjectHandle,
    key: &PublicKey,
    message: &[u8],
) -> Result<Vec<u8>, String> {
    let with = |mechanism: &Mechanism<'_>, data: &[u8]| {
        session.sign(mechanism, handle, data).map_err(words)
    };
    if let Some(digest) = ecdsa_digest(key, message) {
        let numbers = with(&Mechanism::Ecdsa, &digest)?;
        return ecdsa_signature(&numbers)
            .ok_or_else(|| "the token's answer is no ECDSA signature".to_owned());
    }
    match key.kind() {
        PublicKeyKind::Ed25519 => {
            let scheme = EddsaParams::new(EddsaSignatureScheme::Ed25519);
            with(&Mechanism::Eddsa(scheme), message)
        }
        PublicKeyKind::Rsa { .. } => with(&Mechanism::Sha256RsaPkcs, message),
        other => Err(format!("{other} keys cannot sign here")),
    }
}

/// An error in one sentence: PKCS#11's own texts are paragraphs.
pub(crate) fn words(error: Error) -> String {
    match &error {
        Error::Pkcs11(RvError::PinLocked, _) => "the token has locked its PIN".to_owned(),
        Error::Pkcs11(RvError::TokenNotPresent | RvError::DeviceRemoved, _) => {
            "the token is not there".to_owned()
        }
        Error::Pkcs11(RvError::MechanismInvalid, _) => {
            "the token cannot sign with such a key as certificates need it".to_owned()
        }
        _ => {
            let text = error.to_string();
            text.split(".  ").next().unwrap_or_default().to_owned()
        }
    }
}
