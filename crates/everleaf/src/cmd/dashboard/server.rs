//! The small HTTP server of `everleaf dashboard`: who comes in, by the key of this run.

use super::answer::{Body, hardened, refused, see, with_cookie};
use super::guard::{self, Keys, Refusal};
use super::route::Route;
use super::{Dashboard, served};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 128;

/// The dashboard, and who may see it.
pub(super) struct Local {
    pub(super) keys: Keys,
    pub(super) dashboard: Dashboard,
}

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, local: Arc<Local>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let local = Arc::clone(&local);
        async move { Ok::<_, Infallible>(hardened(answer(request, &local).await)) }
    });
    everleaf_observe::serve_plain(listener, CONNECTIONS_MAX, "the dashboard", service).await;
}

async fn answer(request: Request<Incoming>, local: &Local) -> Response<Body> {
    let Local { keys, dashboard } = local;
    let (head, body) = request.into_parts();
    if let Err(refusal) = guard::admit(&head, keys) {
        return refused(&dashboard.site, refusal);
    }
    let path = head.uri.path();
    if head.method == Method::POST {
        return match served::form(&head, body).await {
            Ok(form) => served::submit(Route::of_form(path), &form, dashboard).await,
            Err(refusal) => refused(&dashboard.site, refusal),
        };
    }
    match Route::of(path, head.uri.query().unwrap_or_default()) {
        Route::Enter(key) => enter(&key, local),
        route => served::read(route, dashboard).await,
    }
}

/// Takes a browser in that has the key, and leaves the key out of what it shows and remembers.
fn enter(key: &str, local: &Local) -> Response<Body> {
    let keys = &local.keys;
    if !guard::is_same(key, &keys.entry) {
        return refused(&local.dashboard.site, Refusal::NoKey);
    }
    let cookie = format!(
        "{}={}; HttpOnly; SameSite=Strict; Path=/",
        keys.cookie, keys.session
    );
    with_cookie(see("/"), &cookie)
}
