//! One list and watch of all requests, for all nodes of a load.

use crate::frames::{self, Lines, Seen};
use crate::line::{Call, Line, REQUESTS};
use crate::trouble::Trouble;
use everleaf_agent::client::FailureClass;
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Objects per page of its list, as client-go's informers ask for them.
const PAGE: u32 = 500;
/// When the server is to end a watch; then it watches on.
const WATCH_SECONDS: u32 = 300;
/// Pause before it lists again after something went wrong.
const PAUSE: Duration = Duration::from_secs(1);

/// What a node is told: the certificate in base64, if it wants it.
pub(crate) type Told = Result<Option<String>, Trouble>;

/// Who waits for which request.
#[derive(Debug, Default)]
pub(crate) struct Informer {
    waiting: Mutex<HashMap<String, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    told: oneshot::Sender<Told>,
    wants_certificate: bool,
}

impl Informer {
    /// Where the verdict on this request will come. To be called before it is made.
    pub(crate) fn expect(&self, name: &str, wants_certificate: bool) -> oneshot::Receiver<Told> {
        let (told, receiver) = oneshot::channel();
        let waiting = Waiting {
            told,
            wants_certificate,
        };
        self.lock().insert(name.to_owned(), waiting);
        receiver
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Lists all, and returns the version to watch from.
    ///
    /// # Errors
    /// Why it cannot list.
    pub(crate) async fn list(&self, line: &Line) -> Result<String, Trouble> {
        let mut next = String::new();
        loop {
            let token = utf8_percent_encode(&next, NON_ALPHANUMERIC);
            let path = format!("{REQUESTS}?limit={PAGE}&continue={token}");
            let text = line.call(&Call::get(&path)).await?;
            let (items, version, after) = frames::page(&text)?;
            items.iter().for_each(|seen| self.settle(seen));
            if after.is_empty() {
                return Ok(version);
            }
            next = after;
        }
    }

    /// Watches from that version on, for ever.
    pub(crate) async fn watch(self: Arc<Self>, line: Line, mut version: String) {
        loop {
            let path = format!(
                "{REQUESTS}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}"
            );
            let call = Call::get(&path);
            let Err(trouble) = self.follow(&line, &call, &mut version).await else {
                continue;
            };
            let is_gone =
                matches!(&trouble, Trouble::Call(failure) if failure.class == FailureClass::Gone);
            line.tell(&call, trouble);
            if !is_gone {
                tokio::time::sleep(PAUSE).await;
            }
            if let Ok(listed) = self.list(&line).await {
                version = listed;
            }
        }
    }

    /// One watch, until the server ends it.
    async fn follow(
        &self,
        line: &Line,
        call: &Call<'_>,
        version: &mut String,
    ) -> Result<(), Trouble> {
        let mut body = line.open(call).await?.into_body();
        let mut lines = Lines::default();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            let flow = lines.feed(&data, |line| match frames::event(line) {
                Ok(Some(seen)) => {
                    version.clear();
                    version.push_str(seen.version());
                    self.settle(&seen);
                    ControlFlow::Continue(())
                }
                // Nobody waits for a bookmark; a request that is gone is its node's to find out.
                Ok(None) | Err(Trouble::Deleted) => ControlFlow::Continue(()),
                Err(trouble) => ControlFlow::Break(trouble),
            })?;
            if let ControlFlow::Break(trouble) = flow {
                return Err(trouble);
            }
        }
        Ok(())
    }

    fn settle(&self, seen: &Seen<'_>) {
        let Some(verdict) = seen.verdict() else {
            return;
        };
        if let Some(waiting) = self.lock().remove(seen.name()) {
            let told = verdict
                .map(|certificate| waiting.wants_certificate.then(|| certificate.to_owned()));
            // Whoever gave up waiting does not want to know.
            let _ = waiting.told.send(told);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Waiting>> {
        // Each change is one call.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
