//! CA keys in a PKCS#11 token: named by a URI, used through the module that it names.
//!
//! A token may be slow, be pulled out, or hang. One thread per key talks to it, so that whoever
//! wants a signature waits for a bounded time, in a queue of bounded length. After any error the
//! session is given up, and made anew once before the error is told: tokens that went away and came
//! back, sessions that another program closed, and logins that ended look alike. Where no token
//! fits, the library is begun anew, too. A PIN that was refused is not tried again, since tokens
//! lock themselves after a few wrong ones.

mod token;
mod uri;

pub use uri::{KeyUri, UriError};

use everleaf_pki::issuer::has_signed;
use everleaf_pki::{CaKey, PublicKey};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use token::Token;

/// How long a signature is waited for, those before it in the queue included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Signatures that may wait for one key.
const WAITING_MAX: usize = 64;
/// What is signed to see that a key is the one that belongs to the certificate.
const PROOF: &[u8] = b"everleaf: proof that this token holds the key of the CA certificate";

/// A key in a token.
pub struct TokenKey {
    jobs: SyncSender<Job>,
    public_key: PublicKey,
    uri: KeyUri,
}

/// A signature to be made.
struct Job {
    message: Vec<u8>,
    answer: SyncSender<Result<Vec<u8>, String>>,
    /// Nobody waits for it any more.
    is_abandoned: Arc<AtomicBool>,
}

impl TokenKey {
    /// The key of a URI, which has to be that of `public_key`: it has to sign once. Blocks.
    ///
    /// # Errors
    /// Why it cannot be used, for people; never with a PIN in it.
    pub fn open(uri: KeyUri, public_key: PublicKey) -> Result<Self, String> {
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        let token = Token::new(uri.clone(), public_key.clone());
        std::thread::Builder::new()
            .name("pkcs11".to_owned())
            .spawn(move || serve(token, &waiting))
            .map_err(|error| format!("no thread for the token: {error}"))?;
        let key = Self {
            jobs,
            public_key,
            uri,
        };
        key.sign(PROOF)?;
        Ok(key)
    }
}

impl CaKey for TokenKey {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let (answer, answered) = sync_channel(1);
        let is_abandoned = Arc::new(AtomicBool::new(false));
        let job = Job {
            message: message.to_vec(),
            answer,
            is_abandoned: Arc::clone(&is_abandoned),
        };
        let fail = |reason: String| Err(format!("{}: {reason}", self.uri));
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return fail(format!(
                    "{WAITING_MAX} signatures wait for the token already"
                ));
            }
            Err(TrySendError::Disconnected(_)) => {
                return fail("its thread has ended, which is a bug".to_owned());
            }
        }
        match answered.recv_timeout(PATIENCE) {
            Ok(Ok(signature)) if has_signed(&self.public_key, message, &signature) => Ok(signature),
            Ok(Ok(_)) => fail("the token's signature does not fit the CA certificate".to_owned()),
            Ok(Err(reason)) => fail(reason),
            Err(RecvTimeoutError::Timeout) => {
                is_abandoned.store(true, Ordering::Relaxed);
                let seconds = PATIENCE.as_secs();
                fail(format!("the token has not signed within {seconds} s"))
            }
            Err(RecvTimeoutError::Disconnected) => {
                fail("its thread has ended, which is a bug".to_owned())
            }
        }
    }
}

/// Signs one after the other, until the key is dropped.
fn serve(mut token: Token, waiting: &Receiver<Job>) {
    while let Ok(job) = waiting.recv() {
        if job.is_abandoned.load(Ordering::Relaxed) {
            continue;
        }
        let outcome = token.sign(&job.message);
        // An error: nobody waits any more.
        let _ = job.answer.send(outcome);
    }
}
