//! One session with a token, and what to do when it breaks.

use super::uri::KeyUri;
use crate::input;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
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
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use zeroize::Zeroizing;

/// Keys of one name and identifier that are tried.
const KEYS_MAX: usize = 16;
/// Longest file of a PIN.
const PIN_FILE_BYTES_MAX: u64 = 4096;

/// Modules, each loaded once per process: PKCS#11 knows one application in each.
static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// A loaded library.
struct Module {
    context: Pkcs11,
    /// How often it was begun anew. Whoever calls the library holds it for reading: beginning anew
    /// ends all sessions, and nobody may be within a call then (PKCS#11 2.40, C_Finalize).
    generation: RwLock<u64>,
    /// The PINs that its tokens refused.
    refused: Mutex<BTreeMap<String, Zeroizing<String>>>,
}

/// A token that holds a key, with the session if there is one.
pub(super) struct Token {
    uri: KeyUri,
    public_key: PublicKey,
    open: Option<Open>,
}

/// A session in which the key was found.
struct Open {
    session: Session,
    key: ObjectHandle,
    generation: u64,
}

/// Why there is no session.
enum Trouble {
    /// Nothing that fits is there, as far as the library knows.
    NoToken,
    Other(String),
}

impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl From<Trouble> for String {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoToken => "no token fits: it is not there, or has another name".to_owned(),
            Trouble::Other(text) => text,
        }
    }
}

impl Token {
    pub(super) fn new(uri: KeyUri, public_key: PublicKey) -> Self {
        Self {
            uri,
            public_key,
            open: None,
        }
    }

    /// Signs; in a new session when the old one does not any more.
    pub(super) fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, String> {
        let module = Module::of(self.uri.module_path())?;
        match self.sign_once(&module, message) {
            // SoftHSM, among others, does not see a token that has come back before this.
            Err(Trouble::NoToken) => {
                module.begin_anew()?;
                Ok(self.sign_once(&module, message)?)
            }
            outcome => Ok(outcome?),
        }
    }

    fn sign_once(&mut self, module: &Module, message: &[u8]) -> Result<Vec<u8>, Trouble> {
        let generation = module.calls();
        if let Some(open) = self.open.take().and_then(|open| open.of(*generation))
            && let Ok(signature) = sign(&open.session, open.key, &self.public_key, message)
        {
            self.open = Some(open);
            return Ok(signature);
        }
        let (session, key) = self.find(module)?;
        let signature = sign(&session, key, &self.public_key, message)?;
        self.open = Some(Open {
            session,
            key,
            generation: *generation,
        });
        Ok(signature)
    }

    /// Opens a session, logs in, and finds the key.
    fn find(&self, module: &Module) -> Result<(Session, ObjectHandle), Trouble> {
        let slot = self.slot(&module.context)?;
        let session = module.context.open_ro_session(slot).map_err(words)?;
        self.log_in(module, slot, &session)?;
        let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        if let Some(label) = self.uri.object() {
            wanted.push(Attribute::Label(label.as_bytes().to_vec()));
        }
        if let Some(id) = self.uri.id() {
            wanted.push(Attribute::Id(id.to_vec()));
        }
        let found = session.find_objects(&wanted).map_err(words)?;
        let mut reason =
            "the token has no such private key, or shows it only with a PIN".to_owned();
        // Several keys may share name and identifier; the certificate says which one it is.
        for key in found.into_iter().take(KEYS_MAX) {
            match sign(&session, key, &self.public_key, super::PROOF) {
                Ok(signature) if has_signed(&self.public_key, super::PROOF, &signature) => {
                    return Ok((session, key));
                }
                Ok(_) => {
                    reason =
                        "the private key in the token does not match the CA certificate".to_owned();
                }
                Err(error) => reason = error,
            }
        }
        Err(reason.into())
    }

    fn slot(&self, context: &Pkcs11) -> Result<Slot, Trouble> {
        let mut fitting = Vec::new();
        for slot in context.get_slots_with_token().map_err(words)? {
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

    fn log_in(&self, module: &Module, slot: Slot, session: &Session) -> Result<(), String> {
        let Some(path) = self.uri.pin_source() else {
            return Ok(());
        };
        let pin = read_pin(path)?;
        let info = module.context.get_token_info(slot).map_err(words)?;
        let place = format!("{}/{}", info.label(), info.serial_number());
        let mut refused = module
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if refused.get(&place) == Some(&pin) {
            return Err(format!(
                "the token has refused the PIN in {}; it is tried again when that file changes, since tokens lock \
                 themselves after a few wrong ones",
                path.display()
            ));
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
                Err(match is_pins_fault {
                    true => format!("the token refuses the PIN in {}", path.display()),
                    false => words(error),
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

impl Module {
    /// The library of a path, loaded and initialized.
    fn of(path: &Path) -> Result<Arc<Self>, String> {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(path) {
            return Ok(Arc::clone(module));
        }
        let fail = |error: Error| {
            format!(
                "the module {} cannot be used: {}",
                path.display(),
                words(error)
            )
        };
        let module = Arc::new(Self {
            context: Pkcs11::new(path).map_err(fail)?,
            generation: RwLock::default(),
            refused: Mutex::default(),
        });
        module.initialize().map_err(fail)?;
        modules.insert(path.to_owned(), Arc::clone(&module));
        Ok(module)
    }

    fn initialize(&self) -> Result<(), Error> {
        let threads = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        match self.context.initialize(threads) {
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
            outcome => outcome,
        }
    }

    /// To be held while the library is called.
    fn calls(&self) -> RwLockReadGuard<'_, u64> {
        self.generation
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the library forget all it knows of slots and sessions.
    fn begin_anew(&self) -> Result<(), String> {
        let mut generation = self
            .generation
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *generation += 1;
        // That it was not initialized is as good.
        let _ = self.context.clone().finalize();
        self.initialize().map_err(words)
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

/// First line of the file.
fn read_pin(path: &Path) -> Result<Zeroizing<String>, String> {
    let fail =
        |what: &dyn std::fmt::Display| format!("cannot read the PIN in {}: {what}", path.display());
    let text = input::read(path, PIN_FILE_BYTES_MAX).map_err(|error| fail(&error))?;
    let text = std::str::from_utf8(&text).map_err(|_| fail(&"it is not UTF-8"))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(fail(&"it is empty"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// An error in one sentence: PKCS#11's own texts are paragraphs.
fn words(error: Error) -> String {
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
