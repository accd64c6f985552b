//! What is answered to a browser that is known: pages, the stream that keeps them live, and the two
//! decisions. Who is known, the guard and the server that it stands before say.

use super::answer::{self, Body, html, plain, refused, see, set};
use super::guard::{self, Refusal};
use super::page;
use super::route::{Route, parameter};
use super::{Dashboard, Shown};
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// Streams of events at once.
pub(super) const STREAMS_MAX: usize = 64;
/// Longest wait for the body of a form.
const FORM_MAX: Duration = Duration::from_secs(10);
/// Largest form.
const FORM_BYTES_MAX: usize = 16 << 10;
/// A stream says something so often, that both ends see when the other is gone.
const STREAM_SILENCE: Duration = Duration::from_secs(15);

/// The body of a form.
///
/// # Errors
/// It is none, or too large, or does not come.
pub(super) async fn form(head: &Parts, body: Incoming) -> Result<String, Refusal> {
    let is_form = head.headers.get(CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    if !is_form {
        return Err(Refusal::NoForm);
    }
    let form = whole(body).await?;
    Ok(String::from_utf8_lossy(&form).into_owned())
}

/// Takes in what comes with a request that needs nothing: over HTTP/2, whoever sends more than one
/// window of it would wait for ever to be rid of the rest.
///
/// # Errors
/// It is too large, or does not come.
pub(super) async fn nothing(body: Incoming) -> Result<(), Refusal> {
    match body.is_end_stream() {
        true => Ok(()),
        false => whole(body).await.map(drop),
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Refusal> {
    match timeout(FORM_MAX, Limited::new(body, FORM_BYTES_MAX).collect()).await {
        Ok(Ok(form)) => Ok(form.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLong),
        Ok(Err(_)) | Err(_) => Err(Refusal::NoForm),
    }
}

/// Answers a GET.
pub(super) async fn read(route: Route, dashboard: &Dashboard) -> Response<Body> {
    let snapshot = dashboard.snapshot();
    let site = &*dashboard.site;
    let page = match route {
        Route::Overview => page::overview::show(&snapshot),
        Route::Nodes(query) => page::nodes::show(&snapshot, &query),
        Route::Node(name) => {
            let node = snapshot.fleet.nodes.iter().find(|node| node.name == name);
            let Some(node) = node else {
                let text = format!("No node {name} is known.");
                return plain(site, StatusCode::NOT_FOUND, "No such node", &text);
            };
            page::node::show(&snapshot, node, &dashboard.commands(&name))
        }
        Route::Requests(query) => page::requests::show(&snapshot, &query),
        Route::Request(name, done) => match dashboard.request(&name, done).await {
            Ok(Shown { status, page }) => return html(status, page),
            Err(error) => {
                let text = format!("{error:#}");
                return plain(site, StatusCode::BAD_GATEWAY, "Not readable", &text);
            }
        },
        Route::Events => return events(dashboard),
        Route::Style => return answer::style(),
        Route::Script => return answer::script(),
        Route::Icon => return answer::icon(),
        Route::Enter(_) | Route::Decide(..) | Route::Nothing => {
            let text = "The dashboard has no such page.";
            return plain(site, StatusCode::NOT_FOUND, "No such page", text);
        }
    };
    html(StatusCode::OK, page)
}

/// Answers a form.
pub(super) async fn submit(route: Route, form: &str, dashboard: &Dashboard) -> Response<Body> {
    let site = &*dashboard.site;
    let word = |key: &str| parameter(form, key).unwrap_or_default();
    if let Err(refusal) = guard::admit_form(parameter(form, "key").as_deref(), &site.form_key) {
        return refused(site, refusal);
    }
    let Route::Decide(name, verdict) = route else {
        let text = "The dashboard has no such form.";
        return plain(site, StatusCode::NOT_FOUND, "No such form", text);
    };
    match dashboard
        .decide(&name, &word("uid"), verdict, &word("message"))
        .await
    {
        Ok(()) => see(&format!("{}?done={}", site.request(&name), verdict.done())),
        Err(undecided) => {
            let page = page::request::undecided(&dashboard.snapshot(), &name, &undecided.why);
            html(undecided.status, page)
        }
    }
}

/// Says the number of each snapshot, from the present one on, until there are no more.
fn events(dashboard: &Dashboard) -> Response<Body> {
    let Ok(place) = Arc::clone(&dashboard.streams).try_acquire_owned() else {
        let text = "Too many pages follow the fleet at once.";
        let site = &dashboard.site;
        return plain(site, StatusCode::SERVICE_UNAVAILABLE, "Not live", text);
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
