//! The small HTTP server: connections, heads and bodies of answers. What is answered, the pages
//! say; who is answered, the guard.

use super::guard::{self, Refusal};
use super::page;
use super::route::{Route, parameter};
use super::{Dashboard, Shown};
use bytes::Bytes;
use futures_util::stream;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION,
    REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 128;
/// Streams of events among them.
pub(super) const STREAMS_MAX: usize = 64;
/// Longest wait for the body of a form.
const FORM_MAX: Duration = Duration::from_secs(10);
/// Largest form.
const FORM_BYTES_MAX: usize = 16 << 10;
/// A stream says something so often, that both ends see when the other is gone.
const STREAM_SILENCE: Duration = Duration::from_secs(15);
/// Nothing is fetched from elsewhere, and no text becomes a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/script.js");
const ICON: &str = include_str!("assets/icon.svg");

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, dashboard: Arc<Dashboard>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let dashboard = Arc::clone(&dashboard);
        async move { Ok::<_, Infallible>(hardened(answer(request, &dashboard).await)) }
    });
    everleaf_observe::serve_plain(listener, CONNECTIONS_MAX, "the dashboard", service).await;
}

async fn answer(request: Request<Incoming>, dashboard: &Arc<Dashboard>) -> Response<Body> {
    let (head, body) = request.into_parts();
    if let Err(refusal) = guard::admit(&head, &dashboard.keys) {
        return refused(refusal);
    }
    let path = head.uri.path();
    if head.method == Method::POST {
        let is_form = head.headers.get(CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
        let read = timeout(FORM_MAX, Limited::new(body, FORM_BYTES_MAX).collect()).await;
        let (true, Ok(Ok(form))) = (is_form, read) else {
            return refused(Refusal::Form);
        };
        let form = String::from_utf8_lossy(&form.to_bytes()).into_owned();
        return submit(Route::of_form(path), &form, dashboard).await;
    }
    read(
        Route::of(path, head.uri.query().unwrap_or_default()),
        dashboard,
    )
    .await
}

async fn read(route: Route, dashboard: &Arc<Dashboard>) -> Response<Body> {
    let snapshot = dashboard.snapshot();
    let page = match route {
        Route::Overview => page::overview::show(&snapshot),
        Route::Nodes(query) => page::nodes::show(&snapshot, &query),
        Route::Node(name) => {
            let node = snapshot.fleet.nodes.iter().find(|node| node.name == name);
            let Some(node) = node else {
                let text = format!("No node {name} is known.");
                return html(StatusCode::NOT_FOUND, page::plain("No such node", &text));
            };
            page::node::show(&snapshot, node, &dashboard.commands(&name))
        }
        Route::Requests(query) => page::requests::show(&snapshot, &query),
        Route::Request(name, done) => match dashboard.request(&name, done).await {
            Ok(Shown { status, page }) => return html(status, page),
            Err(error) => {
                let text = format!("{error:#}");
                return html(StatusCode::BAD_GATEWAY, page::plain("Not readable", &text));
            }
        },
        Route::Events => return events(dashboard),
        Route::Enter(key) => return enter(&key, dashboard),
        Route::Style => return asset("text/css; charset=utf-8", STYLE),
        Route::Script => return asset("text/javascript; charset=utf-8", SCRIPT),
        Route::Icon => return asset("image/svg+xml", ICON),
        Route::Decide(..) | Route::Nothing => {
            let text = "The dashboard has no such page.";
            return html(StatusCode::NOT_FOUND, page::plain("No such page", text));
        }
    };
    html(StatusCode::OK, page)
}

async fn submit(route: Route, form: &str, dashboard: &Arc<Dashboard>) -> Response<Body> {
    if let Err(refusal) = guard::admit_form(parameter(form, "key").as_deref(), &dashboard.keys) {
        return refused(refusal);
    }
    let Route::Decide(name, verdict) = route else {
        let text = "The dashboard has no such form.";
        return html(StatusCode::NOT_FOUND, page::plain("No such form", text));
    };
    let word = |key: &str| parameter(form, key).unwrap_or_default();
    match dashboard
        .decide(&name, &word("uid"), verdict, &word("message"))
        .await
    {
        Ok(()) => see(&format!(
            "{}?done={}",
            page::request_path(&name),
            verdict.done()
        )),
        Err(undecided) => {
            let page = page::request::undecided(&dashboard.snapshot(), &name, &undecided.why);
            html(undecided.status, page)
        }
    }
}

/// Takes a browser in that has the key, and leaves the key out of what it shows and remembers.
fn enter(key: &str, dashboard: &Dashboard) -> Response<Body> {
    let keys = &dashboard.keys;
    if !guard::is_same(key, &keys.entry) {
        return refused(Refusal::NoKey);
    }
    let mut response = see("/");
    let cookie = format!(
        "{}={}; HttpOnly; SameSite=Strict; Path=/",
        keys.cookie, keys.session
    );
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// Says the number of each snapshot, from the present one on.
fn events(dashboard: &Dashboard) -> Response<Body> {
    let Ok(place) = Arc::clone(&dashboard.streams).try_acquire_owned() else {
        let text = "Too many pages follow the fleet at once.";
        return html(
            StatusCode::SERVICE_UNAVAILABLE,
            page::plain("Not live", text),
        );
    };
    let mut snapshots = dashboard.snapshots.clone();
    snapshots.mark_changed();
    let start = (snapshots, place);
    let told = stream::unfold(
        start,
        |(mut snapshots, place): (_, OwnedSemaphorePermit)| async {
            let text = match timeout(STREAM_SILENCE, snapshots.changed()).await {
                Err(_) => ": still here\n\n".to_owned(),
                Ok(Err(_)) => return None,
                Ok(Ok(())) => format!("data: {}\n\n", snapshots.borrow_and_update().number),
            };
            Some((Ok(Frame::data(Bytes::from(text))), (snapshots, place)))
        },
    );
    let mut response = Response::new(StreamBody::new(told).boxed_unsync());
    set(&mut response, CONTENT_TYPE, "text/event-stream");
    response
}

fn refused(refusal: Refusal) -> Response<Body> {
    let page = page::plain("Not for this browser", refusal.text());
    let mut response = html(refusal.status(), page);
    if refusal == Refusal::Method {
        set(&mut response, ALLOW, "GET, HEAD, POST");
    }
    response
}

fn html(status: StatusCode, page: String) -> Response<Body> {
    let mut response = asset("text/html; charset=utf-8", page);
    *response.status_mut() = status;
    response
}

fn asset(kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    set(&mut response, CONTENT_TYPE, kind);
    response
}

/// Sends the browser there with a GET.
fn see(path: &str) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(path) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, path);
    }
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

/// What every answer says to the browser that gets it.
fn hardened(mut response: Response<Body>) -> Response<Body> {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // With no-referrer, a browser would not say which origin a form comes from.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        set(&mut response, name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_browser_runs_is_small_and_of_ours_alone() {
        assert!(SCRIPT.len() <= 30 << 10, "{} bytes", SCRIPT.len());
        for foreign in [
            "http://",
            "https://",
            "//cdn",
            "@import",
            "url(",
            "eval(",
            "innerHTML",
        ] {
            for (name, asset) in [("script", SCRIPT), ("style", STYLE)] {
                assert!(!asset.contains(foreign), "{foreign} in the {name}");
            }
        }
        assert!(STYLE.contains("prefers-color-scheme: dark"));
        for directive in POLICY.split("; ") {
            for weak in ["unsafe", "*", "http:", "https:", "data:"] {
                assert!(!directive.contains(weak), "{directive}");
            }
        }
    }

    #[test]
    fn every_answer_is_hardened() {
        for response in [refused(Refusal::Method), see("/"), asset("text/css", STYLE)] {
            let response = hardened(response);
            let policy = response.headers()[CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap();
            assert!(policy.starts_with("default-src 'none';"), "{policy}");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            assert_eq!(response.headers()[X_FRAME_OPTIONS], "DENY");
        }
    }
}
