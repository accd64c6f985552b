//! PKCS#11 libraries, each loaded once per process.

use crate::token::words;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use zeroize::Zeroizing;

/// PKCS#11 knows one application in each.
static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// A loaded library.
pub(crate) struct Module {
    pub(crate) context: Pkcs11,
    /// How often it was begun anew. Whoever calls the library holds it for reading: beginning anew
    /// ends all sessions, and nobody may be within a call then (PKCS#11 2.40, C_Finalize).
    generation: RwLock<u64>,
    /// The PINs that its tokens refused.
    pub(crate) refused: Mutex<BTreeMap<String, Zeroizing<String>>>,
}

impl Module {
    /// The library of a path, loaded and initialized.
    pub(crate) fn of(path: &Path) -> Result<Arc<Self>, String> {
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
    pub(crate) fn calls(&self) -> RwLockReadGuard<'_, u64> {
        self.generation
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the library forget all it knows of slots and sessions.
    pub(crate) fn begin_anew(&self) -> Result<(), String> {
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
