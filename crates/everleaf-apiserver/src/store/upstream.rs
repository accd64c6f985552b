//! What those who read have to know of a store that others write to, too.
//!
//! What they read is as old as the last change that the store has told of. Whoever must not miss
//! anything asks how far the store itself is, and waits until that much is visible.

use super::StoreError;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long whoever reads waits for the answer how far the store is, and until all is visible: as
/// kube-apiserver (`staging/src/k8s.io/apiserver/pkg/storage/cacher/watch_cache.go`,
/// `blockTimeout`).
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two questions how far the changes are that are told.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A revision, some time.
pub(super) type Revision<'a> = Pin<Box<dyn Future<Output = Result<u64, StoreError>> + Send + 'a>>;

/// A store as [`Upstream`] sees it.
pub(super) trait Source: Send + Sync {
    /// The revision of the last change that anybody has had acknowledged.
    fn latest(&self) -> Revision<'_>;
    /// Has told of how far the changes are that are told, though there are no more.
    fn request_progress(&self);
}

type Wake = Box<dyn Fn() + Send + Sync>;

/// A store with other writers, for those who read.
pub struct Upstream {
    source: Box<dyn Source>,
    /// How far all is visible.
    published: watch::Sender<u64>,
    failure: Mutex<Option<StoreError>>,
    wake: OnceLock<Wake>,
    /// Questions so far, by whose number it is known which answers are young enough for whom.
    questions: AtomicU64,
    answer: tokio::sync::Mutex<Answer>,
}

/// The last answer of the store.
#[derive(Default)]
struct Answer {
    /// It is good for questions with a smaller number.
    covers: u64,
    revision: u64,
}

impl Upstream {
    pub(super) fn new(source: Box<dyn Source>) -> Self {
        Self {
            source,
            published: watch::Sender::default(),
            failure: Mutex::default(),
            wake: OnceLock::new(),
            questions: AtomicU64::new(0),
            answer: tokio::sync::Mutex::default(),
        }
    }

    /// Waits until everything is visible that was committed before this was called.
    ///
    /// # Errors
    /// The store cannot be asked, or does not tell in time.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        let late = || self.failure().unwrap_or(StoreError::Behind);
        let wanted = match timeout(PATIENCE, self.latest()).await {
            Ok(latest) => latest?,
            Err(_) => return Err(late()),
        };
        let mut published = self.published.subscribe();
        if *published.borrow_and_update() >= wanted {
            return Ok(());
        }
        // A store that has yet to tell something does not answer the question.
        let ask = async {
            loop {
                self.source.request_progress();
                sleep(ASK_AGAIN).await;
            }
        };
        let reached = async {
            tokio::select! {
                reached = published.wait_for(|revision| *revision >= wanted) => reached.is_ok(),
                () = ask => false,
            }
        };
        match timeout(PATIENCE, reached).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(late()),
        }
    }

    /// One question to the store is enough for all who asked before it was sent.
    async fn latest(&self) -> Result<u64, StoreError> {
        let question = self.questions.fetch_add(1, Ordering::SeqCst);
        let mut answer = self.answer.lock().await;
        if question < answer.covers {
            return Ok(answer.revision);
        }
        let covers = self.questions.load(Ordering::SeqCst);
        let revision = self.source.latest().await?;
        *answer = Answer { covers, revision };
        Ok(revision)
    }

    /// Why changes are not told at present; None: they are.
    pub fn failure(&self) -> Option<StoreError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    /// All up to this revision is visible.
    pub(crate) fn published(&self, revision: u64) {
        self.published.send_replace(revision);
    }

    /// Whom to call when there are changes to be told. Once.
    pub(crate) fn on_change(&self, wake: Wake) {
        let _ = self.wake.set(wake);
    }

    /// There are changes to be told.
    pub(super) fn changed(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// Notes whether changes are told; says so in the log when that is new.
    pub(super) fn note(&self, failure: Option<StoreError>) {
        let mut known = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &failure) {
            (None, Some(error)) => tracing::warn!(%error, "the store tells no changes: not ready"),
            (Some(_), None) => tracing::info!("the store tells its changes again"),
            _ => {}
        }
        *known = failure;
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").finish_non_exhaustive()
    }
}
