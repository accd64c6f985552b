//! The thread that talks to a token.

use crate::token::{Token, Trouble};
use crate::uri::TokenUri;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// How long an answer is waited for, those before it in the queue included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Questions that may wait for one thread.
const WAITING_MAX: usize = 64;

/// Whose keys are in the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A CA's, which is used and nothing more.
    Authority,
    /// A node's, which are made and deleted.
    Node,
}

/// A thread that talks to one token.
pub(crate) struct Worker {
    jobs: SyncSender<Job>,
}

type Job = Box<dyn FnOnce(&mut Token) + Send>;

impl Worker {
    /// Begins a thread; the token is looked for when it is first asked for something.
    pub(crate) fn new(uri: TokenUri, used_for: Use) -> Result<Self, String> {
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        let token = Token::new(uri, used_for);
        std::thread::Builder::new()
            .name("pkcs11".to_owned())
            .spawn(move || serve(token, &waiting))
            .map_err(|error| format!("no thread for the token: {error}"))?;
        Ok(Self { jobs })
    }

    /// Has the thread do something; waits for it, but not for ever.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Token) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (answer, answered) = sync_channel(1);
        let is_abandoned = Arc::new(AtomicBool::new(false));
        let abandoned = Arc::clone(&is_abandoned);
        let job: Job = Box::new(move |token| {
            if !abandoned.load(Ordering::Relaxed) {
                // An error: nobody waits any more.
                let _ = answer.send(act(token));
            }
        });
        let fail = |reason: String| Err(Trouble::Other(reason));
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return fail(format!("{WAITING_MAX} calls wait for the token already"));
            }
            Err(TrySendError::Disconnected(_)) => {
                return fail("its thread has ended, which is a bug".to_owned());
            }
        }
        match answered.recv_timeout(PATIENCE) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => {
                is_abandoned.store(true, Ordering::Relaxed);
                let seconds = PATIENCE.as_secs();
                fail(format!("the token has not answered within {seconds} s"))
            }
            Err(RecvTimeoutError::Disconnected) => {
                fail("its thread has ended, which is a bug".to_owned())
            }
        }
    }
}

/// Does one after the other, until nobody can ask any more.
fn serve(mut token: Token, waiting: &Receiver<Job>) {
    while let Ok(job) = waiting.recv() {
        job(&mut token);
    }
}
