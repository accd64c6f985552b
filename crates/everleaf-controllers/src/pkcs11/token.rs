//! One session with a token, and what to do when it breaks.

use super::uri::KeyUri;
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
use std::sync::{Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// Keys of one name and identifier that are tried.
const KEYS_MAX: usize = 16;
/// Longest file of a PIN.
const PIN_FILE_BYTES_MAX: u64 = 4096;

/// Modules, each loaded and initialized once per process (PKCS#11 knows one application each), and
/// the PINs that their tokens refused.
static MODULES: Mutex<BTreeMap<PathBuf, Module>> = Mutex::new(BTreeMap::new());

struct Module {
    context: Pkcs11,
    refused: BTreeMap<String, Zeroizing<String>>,
}

/// A token that holds a key, with the session if there is one.
pub(super) struct Token {
    uri: KeyUri,
    public_key: PublicKey,
    open: Option<(Session, ObjectHandle)>,
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
        if let Some((session, key)) = &self.open {
            if let Ok(signature) = sign(session, *key, &self.public_key, message) {
                return Ok(signature);
            }
            self.open = None;
        }
        let (session, key) = self.find()?;
        let signature = sign(&session, key, &self.public_key, message)?;
        self.open = Some((session, key));
        Ok(signature)
    }

    /// Opens a session, logs in, and finds the key.
    fn find(&self) -> Result<(Session, ObjectHandle), String> {
        let context = context(self.uri.module_path())?;
        let slot = self.slot(&context)?;
        let session = context.open_ro_session(slot).map_err(words)?;
        self.log_in(&context, slot, &session)?;
        let mut wanted = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        if let Some(label) = self.uri.object() {
            wanted.push(Attribute::Label(label.as_bytes().to_vec()));
        }
        if let Some(id) = self.uri.id() {
            wanted.push(Attribute::Id(id.to_vec()));
        }
        let found = session.find_objects(&wanted).map_err(words)?;
        if found.is_empty() {
            return Err(
                "the token has no such private key, or shows it only with a PIN".to_owned(),
            );
        }
        // Several keys may share name and identifier; the certificate says which one it is.
        let mut reason = String::new();
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
        Err(reason)
    }

    fn slot(&self, context: &Pkcs11) -> Result<Slot, String> {
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
            [] => Err("no token fits: it is not there, or has another name".to_owned()),
            _ => Err(format!(
                "{} tokens fit: name one by token, serial or slot-id",
                fitting.len()
            )),
        }
    }

    fn log_in(&self, context: &Pkcs11, slot: Slot, session: &Session) -> Result<(), String> {
        let Some(path) = self.uri.pin_source() else {
            return Ok(());
        };
        let pin = read_pin(path)?;
        let info = context.get_token_info(slot).map_err(words)?;
        let place = format!("{}/{}", info.label(), info.serial_number());
        let mut modules = modules();
        let refused = modules
            .get_mut(self.uri.module_path())
            .map(|module| &mut module.refused);
        if refused
            .as_ref()
            .is_some_and(|refused| refused.get(&place) == Some(&pin))
        {
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
                if let Some(refused) = refused.filter(|_| is_pins_fault) {
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

/// The module, loaded and initialized.
fn context(path: &Path) -> Result<Pkcs11, String> {
    let mut modules = modules();
    if let Some(module) = modules.get(path) {
        return Ok(module.context.clone());
    }
    let fail = |error: Error| {
        format!(
            "the module {} cannot be used: {}",
            path.display(),
            words(error)
        )
    };
    let context = Pkcs11::new(path).map_err(fail)?;
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(fail(error)),
    }
    let module = Module {
        context: context.clone(),
        refused: BTreeMap::new(),
    };
    modules.insert(path.to_owned(), module);
    Ok(context)
}

fn modules() -> MutexGuard<'static, BTreeMap<PathBuf, Module>> {
    MODULES.lock().unwrap_or_else(PoisonError::into_inner)
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
    let metadata = std::fs::metadata(path).map_err(|error| fail(&error))?;
    if !metadata.is_file() || metadata.len() > PIN_FILE_BYTES_MAX {
        return Err(fail(&"it is not a small regular file"));
    }
    let text = Zeroizing::new(std::fs::read(path).map_err(|error| fail(&error))?);
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
