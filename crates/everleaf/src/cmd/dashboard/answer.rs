//! Answers to a browser: kinds, headers, and what every one of them says.

use super::guard::Refusal;
use super::page;
use super::site::Site;
use bytes::Bytes;
use everleaf_apiserver::serve::PageBody;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION,
    REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

/// Nothing is fetched from elsewhere, and no text becomes a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/script.js");
const ICON: &str = include_str!("assets/icon.svg");

/// Of whatever is answered.
pub(super) type Body = PageBody;

/// Why the head or the form of a request is not obeyed.
pub(super) fn refused(site: &Site, refusal: Refusal) -> Response<Body> {
    let page = page::plain(site, "Not for this browser", refusal.text());
    let mut response = html(refusal.status(), page);
    if refusal == Refusal::Method {
        set(&mut response, ALLOW, "GET, HEAD, POST");
    }
    response
}

/// A page that says one thing.
pub(super) fn plain(site: &Site, status: StatusCode, title: &str, text: &str) -> Response<Body> {
    html(status, page::plain(site, title, text))
}

/// A page.
pub(super) fn html(status: StatusCode, page: String) -> Response<Body> {
    let mut response = asset("text/html; charset=utf-8", page);
    *response.status_mut() = status;
    response
}

/// How the pages look.
pub(super) fn style() -> Response<Body> {
    asset("text/css; charset=utf-8", STYLE)
}

/// What keeps them live.
pub(super) fn script() -> Response<Body> {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

/// What stands beside their titles.
pub(super) fn icon() -> Response<Body> {
    asset("image/svg+xml", ICON)
}

fn asset(kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    set(&mut response, CONTENT_TYPE, kind);
    response
}

/// Sends the browser there with a GET.
pub(super) fn see(path: &str) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(path) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, path);
    }
    response
}

/// Has the browser keep a cookie, or drop it.
pub(super) fn with_cookie(mut response: Response<Body>, cookie: &str) -> Response<Body> {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// The answer to a HEAD has no body.
pub(super) fn without_body(response: Response<Body>) -> Response<Body> {
    response.map(|_| Full::default().boxed_unsync())
}

pub(super) fn set(response: &mut Response<Body>, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

/// What every answer says to the browser that gets it.
pub(super) fn hardened(mut response: Response<Body>) -> Response<Body> {
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
        for response in [
            refused(&Site::default(), Refusal::Method),
            see("/"),
            style(),
        ] {
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
