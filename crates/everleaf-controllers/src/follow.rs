//! Following the API server: discovery, list, watch, and again after whatever interrupts it.
//!
//! One follower feeds all loops. A watch that ends is resumed where it stopped; when the server no
//! longer knows that place (410 Gone) everything is listed again; when it is away the follower
//! comes back with growing pauses, and says so once per change. It never gives up and never skips:
//! an API that is missing today may be there tomorrow.

use crate::client::{ApiError, OBJECT_BYTES_MAX, RIGHTS_HINT, segment};
use crate::notice::Notice;
use crate::perform::{CSRS, parse};
use crate::workplace::Workplace;
use everleaf_api::Status;
use everleaf_api::meta;
use everleaf_api::watch::{EventType, JsonEvents, WatchEvent};
use http::Method;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Requests per page of a list, as kubectl asks.
const PAGE_ITEMS: usize = 500;
/// Largest page; a larger one is asked for again in smaller pieces.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// Pages of one list at most.
const PAGES_MAX: usize = 100_000;
/// How long the server should keep a watch open.
const WATCH_SECONDS: u64 = 300;
/// Silence after which a watch is taken for dead, whatever the connection says.
const WATCH_SILENCE_MAX: Duration = Duration::from_secs(WATCH_SECONDS + 30);
/// Pauses between attempts that fail.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A watch that ends sooner than this, without an event, counts as a failure.
const WATCH_LIFE_MIN: Duration = Duration::from_secs(1);

/// What the follower does, as notices name it.
const DISCOVER: &str = "find certificates.k8s.io/v1";
const LIST: &str = "list certificatesigningrequests";
const WATCH: &str = "watch certificatesigningrequests";

/// How a watch ended.
enum WatchEnd {
    /// Resume from the last resource version.
    Closed,
    /// The resource version is too old: list again.
    Gone,
}

/// Follows for ever. `synced` becomes true with the first complete list.
pub(crate) async fn follow(workplace: &Workplace, synced: &watch::Sender<bool>) -> Infallible {
    let mut pause = Pause::default();
    loop {
        match discover(workplace).await {
            Ok(()) => break,
            Err(error) => pause.after(workplace, DISCOVER, &error).await,
        }
    }
    loop {
        let mut version = match list(workplace).await {
            Ok(version) => version,
            Err(error) => {
                pause.after(workplace, LIST, &error).await;
                continue;
            }
        };
        pause.reset(workplace);
        if !synced.send_replace(true) {
            let requests = workplace.request_count();
            workplace.telemetry.tell(&Notice::CachesSynced { requests });
        }
        while let WatchEnd::Closed = watch(workplace, &mut version, &mut pause).await {}
    }
}

/// The pause before the next attempt, and whether people know why there is one.
#[derive(Default)]
struct Pause {
    length: Duration,
    /// What failed and how, as it was told.
    told: Option<(&'static str, String)>,
}

impl Pause {
    async fn after(&mut self, workplace: &Workplace, what: &'static str, error: &ApiError) {
        let text = match (what, error.code()) {
            (_, 404) => format!("{error} (the server must be Kubernetes 1.19 or newer)"),
            (_, 401) => format!(
                "{error} (the server does not know the credential of the kubeconfig: renew it there)"
            ),
            (_, 403) => format!("{error}{RIGHTS_HINT}"),
            _ => error.to_string(),
        };
        workplace
            .telemetry
            .set_missing("controllers", Some(format!("cannot {what}: {text}")));
        // The client tells by itself, once, that the server is away.
        let unreachable = matches!(error, ApiError::Unreachable(_));
        let told = Some((what, text.clone()));
        if self.told != told && !unreachable {
            workplace.telemetry.tell(&Notice::ServerReachable {
                what,
                error: Some(text),
            });
            self.told = told;
        }
        self.length = self.length.max(error.retry_after());
        self.quietly().await;
    }

    async fn quietly(&mut self) {
        self.length = self.length.max(PAUSE_MIN);
        tokio::time::sleep(self.length).await;
        self.length = self.length.saturating_mul(2).min(PAUSE_MAX);
    }

    fn reset(&mut self, workplace: &Workplace) {
        self.length = Duration::ZERO;
        workplace.telemetry.set_missing("controllers", None);
        if let Some((what, _)) = self.told.take() {
            workplace
                .telemetry
                .tell(&Notice::ServerReachable { what, error: None });
        }
    }
}

/// Checks that the server has the API at all.
async fn discover(workplace: &Workplace) -> Result<(), ApiError> {
    let path = "/apis/certificates.k8s.io/v1";
    let answer = workplace
        .api
        .call(Method::GET, path, None, OBJECT_BYTES_MAX)
        .await?;
    let resources = parse(&answer)?;
    let has = |name: &str| {
        let resources = resources.get("resources").and_then(Value::as_array);
        resources.is_some_and(|list| list.iter().any(|one| one["name"] == name))
    };
    if has("certificatesigningrequests") {
        Ok(())
    } else {
        let text = "the server has certificates.k8s.io/v1, but no certificatesigningrequests in it";
        Err(ApiError::Malformed(text.to_owned()))
    }
}

/// Reads everything, page by page, and returns the resource version to watch from.
async fn list(workplace: &Workplace) -> Result<String, ApiError> {
    let mut items = Vec::new();
    let mut page_items = PAGE_ITEMS;
    let mut token = String::new();
    for _ in 0..PAGES_MAX {
        let path = if token.is_empty() {
            format!("{CSRS}?limit={page_items}")
        } else {
            format!("{CSRS}?limit={page_items}&continue={}", segment(&token))
        };
        let bytes = match workplace
            .api
            .call(Method::GET, &path, None, PAGE_BYTES_MAX)
            .await
        {
            Err(ApiError::TooLarge(_)) if page_items > 1 => {
                page_items = page_items.div_ceil(8);
                continue;
            }
            other => other?,
        };
        let mut page = parse(&bytes)?;
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        let version = meta::resource_version(&page).to_owned();
        token = page
            .pointer("/metadata/continue")
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned();
        if token.is_empty() {
            workplace.reset(items);
            return Ok(version);
        }
    }
    Err(ApiError::Malformed(format!(
        "the list does not end after {PAGES_MAX} pages"
    )))
}

/// Watches once from `version` on, keeping it current, and pauses when it brought nothing.
async fn watch(workplace: &Workplace, version: &mut String, pause: &mut Pause) -> WatchEnd {
    let body = match open(workplace, version).await {
        Ok(body) => body,
        Err(error) if error.code() == 410 => {
            pause.quietly().await;
            return WatchEnd::Gone;
        }
        Err(error) => {
            pause.after(workplace, WATCH, &error).await;
            return WatchEnd::Closed;
        }
    };
    workplace.telemetry.set_missing("controllers", None);
    let begun = Instant::now();
    let mut seen = 0_u64;
    let reading = read_events(body, |event| {
        seen += 1;
        if seen == 1 {
            pause.reset(workplace);
        }
        take(workplace, event, version)
    });
    let end = reading.await;
    let was_useful = seen > 0 || begun.elapsed() >= WATCH_LIFE_MIN;
    if was_useful {
        pause.reset(workplace);
    }
    match end {
        Ok(end) => {
            if !was_useful {
                pause.quietly().await;
            }
            end
        }
        Err(error) => {
            pause.after(workplace, WATCH, &error).await;
            WatchEnd::Closed
        }
    }
}

async fn open(workplace: &Workplace, version: &str) -> Result<Body, ApiError> {
    let path = format!(
        "{CSRS}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}\
         &resourceVersion={}",
        segment(version)
    );
    workplace.api.open(&path).await
}

/// Reads events until the stream ends or `take` says that it has.
async fn read_events(
    mut body: Body,
    mut take: impl FnMut(WatchEvent) -> Result<Option<WatchEnd>, ApiError>,
) -> Result<WatchEnd, ApiError> {
    let mut events = JsonEvents::default();
    loop {
        let Ok(frame) = tokio::time::timeout(WATCH_SILENCE_MAX, body.frame()).await else {
            return Ok(WatchEnd::Closed);
        };
        // A connection that breaks is no more than an early end: the next attempt will tell.
        let Some(Ok(frame)) = frame else {
            return Ok(WatchEnd::Closed);
        };
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        for event in events.feed(&bytes).map_err(ApiError::Malformed)? {
            if let Some(end) = take(event)? {
                return Ok(end);
            }
        }
    }
}

fn take(
    workplace: &Workplace,
    event: WatchEvent,
    version: &mut String,
) -> Result<Option<WatchEnd>, ApiError> {
    if event.kind == EventType::Error {
        return refused(&event.object).map(Some);
    }
    let newer = meta::resource_version(&event.object);
    if !newer.is_empty() {
        newer.clone_into(version);
    }
    match event.kind {
        EventType::Added | EventType::Modified => workplace.apply(event.object),
        EventType::Deleted => workplace.delete(meta::name(&event.object)),
        EventType::Bookmark | EventType::Error => {}
    }
    Ok(None)
}

/// An ERROR event: 410 means list again, anything else is trouble.
fn refused(status: &Value) -> Result<WatchEnd, ApiError> {
    match Status::from_value(status) {
        Some(status) if status.code == 410 => Ok(WatchEnd::Gone),
        Some(status) => Err(ApiError::Refused {
            status: Box::new(status),
            retry_after: Duration::ZERO,
        }),
        None => Err(ApiError::Malformed(
            "the watch ended with an unreadable error".to_owned(),
        )),
    }
}
