//! Who may ask: a decision about the head of a request, before anything is looked up.
//!
//! The dashboard of a kubeconfig acts with the rights of the user who has started it, so whoever
//! reaches its port is not yet welcome: other users of the machine, and pages of other sites in the
//! user's own browser. The first have no key; the second are told by `Host` (a name that was made
//! to lead here), `Origin` and `Sec-Fetch-Site` (W3C Fetch Metadata), and by a key in each form. At
//! `/ui` of the API server it acts with the rights of whoever comes, whom the server judges; a
//! client certificate goes along with what any page has a browser send, so that the same holds for
//! pages of other sites there.

use aws_lc_rs::constant_time;
use http::header::{COOKIE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, StatusCode};

/// What a browser says of where a request comes from.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What a browser says of what a request is for.
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// Characters of a key: more than 128 bits of chance.
pub(super) const KEY_LENGTH: usize = 32;

/// The secrets of one run.
pub(super) struct Keys {
    /// In the URL that is printed.
    pub(super) entry: String,
    /// In the cookie of a browser that came by that URL.
    pub(super) session: String,
    /// Cookies know no ports: dashboards beside each other keep their own.
    pub(super) cookie: String,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has no key, or a wrong one.
    NoKey,
    /// It was sent to a name that is not this machine's own.
    Host,
    /// It does not say to whom it was sent, or says it in two ways.
    NoHost,
    /// A page of another origin has sent it.
    Origin,
    /// It neither reads nor sends a form.
    Method,
    /// Its form is none of ours, or of an earlier run.
    Form,
    /// What it sends is no form, or has not come.
    NoForm,
    /// Its form is larger than any of ours.
    TooLong,
}

impl Refusal {
    /// The status of the answer.
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::NoKey => StatusCode::UNAUTHORIZED,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Origin | Self::Form | Self::NoForm => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// What to say.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::NoKey => {
                "This browser has not come by the address that `everleaf dashboard` printed when it started. Open that one: it holds the key."
            }
            Self::Host => {
                "This dashboard answers to 127.0.0.1, [::1] and localhost only, so that no other name can be made to lead here."
            }
            Self::NoHost => "A request has to say, once, which host it is for.",
            Self::Origin => "Another page has sent this. The dashboard takes it from its own only.",
            Self::Method => "The dashboard knows GET, and POST of its own forms.",
            Self::Form => {
                "This form is from another run of the dashboard, or from before somebody logged in or out. Nothing was changed: go back, reload the page, and try again."
            }
            Self::NoForm => {
                "What was sent is no form, or has not come as a whole within ten seconds. Nothing was changed."
            }
            Self::TooLong => {
                "What was sent is longer than 16 KiB, which no token is, and no reason has to be. Nothing was changed: go back and shorten it."
            }
        }
    }
}

/// What may be served without the key: nothing of the cluster.
pub(super) fn is_free(path: &str) -> bool {
    matches!(path, "/enter" | "/style.css" | "/script.js" | "/icon.svg")
}

/// Whether a request may be answered.
///
/// # Errors
/// Why it may not.
pub(super) fn admit(head: &Parts, keys: &Keys) -> Result<(), Refusal> {
    let host = sole(&head.headers, &HOST).filter(|host| is_local(host));
    let Some(host) = host.filter(|_| head.uri.authority().is_none()) else {
        return Err(Refusal::Host);
    };
    let reads = admit_sender(head, &format!("http://{host}"))?;
    if is_free(head.uri.path()) && reads {
        return Ok(());
    }
    match cookie(&head.headers, &keys.cookie).is_some_and(|key| is_same(key, &keys.session)) {
        true => Ok(()),
        false => Err(Refusal::NoKey),
    }
}

/// Whether a request may be looked at that came over TLS, to a name that its certificate has: no
/// other name can be made to lead here.
///
/// # Errors
/// Why it may not.
pub(super) fn admit_over_tls(head: &Parts) -> Result<(), Refusal> {
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let named = head.headers.contains_key(HOST);
    let host = match (authority, sole(&head.headers, &HOST)) {
        (Some(one), Some(other)) if one == other => one,
        (Some(host), None) if !named => host,
        (None, Some(host)) if !host.is_empty() => host,
        _ => return Err(Refusal::NoHost),
    };
    admit_sender(head, &format!("https://{host}")).map(drop)
}

/// Whether it reads; what sends a form comes from a page of this origin.
fn admit_sender(head: &Parts, own: &str) -> Result<bool, Refusal> {
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    if !reads && head.method != Method::POST {
        return Err(Refusal::Method);
    }
    match is_foreign(&head.headers, own, reads) {
        true => Err(Refusal::Origin),
        false => Ok(reads),
    }
}

/// Whether a form is one of ours: it has the key `wanted`.
///
/// # Errors
/// It is not.
pub(super) fn admit_form(key: Option<&str>, wanted: &str) -> Result<(), Refusal> {
    match key.is_some_and(|key| !wanted.is_empty() && is_same(key, wanted)) {
        true => Ok(()),
        false => Err(Refusal::Form),
    }
}

/// Compares secrets in a time that tells nothing of where they differ.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

/// Whether another origin is behind it. Who changes something has to say that none is; of the
/// reading ones, following a link from elsewhere is allowed, which the cookie then does not go
/// along with.
fn is_foreign(headers: &HeaderMap, own: &str, reads: bool) -> bool {
    // Of what is said twice nobody knows which counts.
    let is_twice = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    if is_twice(&ORIGIN) || is_twice(&SITE) || is_twice(&MODE) {
        return true;
    }
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str());
    let is_own = |origin: &str| origin == own;
    match origin {
        Some(Ok(origin)) if !is_own(origin) => return true,
        Some(Err(_)) => return true,
        Some(Ok(_)) => {}
        None if !reads => return true,
        None => {}
    }
    let word = |name: HeaderName| headers.get(name).map(|value| value.as_bytes());
    let is_navigation = reads && word(MODE) == Some(b"navigate");
    match word(SITE) {
        None | Some(b"same-origin" | b"none") => false,
        Some(_) => !is_navigation,
    }
}

/// The value of a header that is there once.
fn sole<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

/// Whether this is a name of the machine itself, at whichever port: one may be forwarded.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    ["127.0.0.1", "[::1]", "localhost"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
}

/// The value of this cookie.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(COOKIE).iter();
    let all = all.filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use http::Request;

    pub(in super::super) fn keys() -> Keys {
        Keys {
            entry: "entry".to_owned(),
            session: "session".to_owned(),
            cookie: "everleaf-4000".to_owned(),
        }
    }

    fn asked(line: &str, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        admit(&request.body(()).unwrap().into_parts().0, &keys())
    }

    const OWN: (&str, &str) = ("host", "127.0.0.1:4000");
    const KEY: (&str, &str) = ("cookie", "a=b; everleaf-4000=session");
    const FROM: (&str, &str) = ("origin", "http://127.0.0.1:4000");

    #[test]
    fn only_names_of_the_machine_itself_are_answered() {
        for host in ["127.0.0.1:4000", "localhost", "LOCALHOST:9", "[::1]:80"] {
            assert_eq!(asked("GET /", &[("host", host), KEY]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:4000",
            "127.0.0.1.evil.example",
            "localhost.evil.example:4000",
            "localhost:4000:80",
            "127.0.0.1:x",
            "",
            "user@localhost",
        ] {
            let refused = Err(Refusal::Host);
            assert_eq!(asked("GET /", &[("host", host), KEY]), refused, "{host}");
        }
        assert_eq!(asked("GET /", &[KEY]), Err(Refusal::Host));
        let twice = [OWN, ("host", "localhost"), KEY];
        assert_eq!(asked("GET /", &twice), Err(Refusal::Host));
        let elsewhere = asked("GET http://evil.example/", &[OWN, KEY]);
        assert_eq!(elsewhere, Err(Refusal::Host));
    }

    #[test]
    fn nothing_of_the_cluster_is_told_without_the_key() {
        for path in ["/", "/nodes", "/requests/a", "/events", "/nothing"] {
            let line = format!("GET {path}");
            for cookie in [
                ("x", "y"),
                ("cookie", "everleaf-4000=wrong"),
                ("cookie", "everleaf-4000="),
                ("cookie", "everleaf-4001=session"),
                ("cookie", "everleaf-4000=sessionsession"),
            ] {
                let refused = Err(Refusal::NoKey);
                assert_eq!(asked(&line, &[OWN, cookie]), refused, "{path} {cookie:?}");
            }
            assert_eq!(asked(&line, &[OWN, KEY]), Ok(()));
        }
        assert_eq!(asked("GET /enter?key=x", &[OWN]), Ok(()));
        assert_eq!(asked("POST /enter", &[OWN, FROM]), Err(Refusal::NoKey));
    }

    #[test]
    fn what_changes_something_comes_from_a_page_of_ours() {
        let line = "POST /requests/a/approve";
        assert_eq!(asked(line, &[OWN, KEY, FROM]), Ok(()));
        for origin in [
            "null",
            "http://evil.example",
            "https://127.0.0.1:4000",
            "http://127.0.0.1:4001",
            "http://localhost:4000",
            "",
        ] {
            let refused = Err(Refusal::Origin);
            let headers = [OWN, KEY, ("origin", origin)];
            assert_eq!(asked(line, &headers), refused, "{origin}");
            assert_eq!(asked("GET /", &headers), refused, "{origin}");
        }
        assert_eq!(asked(line, &[OWN, KEY]), Err(Refusal::Origin));
        let own = ("sec-fetch-site", "same-origin");
        assert_eq!(asked(line, &[OWN, KEY, FROM, own]), Ok(()));
        for twice in [FROM, ("origin", "http://evil.example"), own] {
            let headers = [OWN, KEY, FROM, own, twice];
            assert_eq!(asked(line, &headers), Err(Refusal::Origin), "{twice:?}");
        }
        for site in ["cross-site", "same-site", "anything"] {
            let headers = [OWN, KEY, FROM, ("sec-fetch-site", site)];
            assert_eq!(asked(line, &headers), Err(Refusal::Origin));
            assert_eq!(asked("GET /", &headers), Err(Refusal::Origin));
            let followed = [&headers[..], &[("sec-fetch-mode", "navigate")]].concat();
            assert_eq!(asked("GET /", &followed), Ok(()));
            assert_eq!(asked(line, &followed), Err(Refusal::Origin));
        }
        for method in ["PUT", "DELETE", "OPTIONS", "TRACE"] {
            let line = format!("{method} /");
            assert_eq!(asked(&line, &[OWN, KEY, FROM]), Err(Refusal::Method));
        }
    }

    #[test]
    fn over_tls_the_origin_is_the_one_that_it_was_sent_to() {
        let asked = |line: &str, headers: &[(&str, &str)]| {
            let (method, uri) = line.split_once(' ').unwrap();
            let mut request = Request::builder().method(method).uri(uri);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            admit_over_tls(&request.body(()).unwrap().into_parts().0)
        };
        const HOST: (&str, &str) = ("host", "ca.example:6443");
        const OWN: (&str, &str) = ("origin", "https://ca.example:6443");
        // HTTP/1.1 names the host in a header, HTTP/2 in the URI.
        for (uri, headers) in [
            ("/ui/login", &[HOST, OWN][..]),
            ("https://ca.example:6443/ui/login", &[OWN]),
            ("https://ca.example:6443/ui/login", &[HOST, OWN]),
        ] {
            assert_eq!(asked(&format!("POST {uri}"), headers), Ok(()), "{uri}");
            assert_eq!(asked(&format!("GET {uri}"), headers), Ok(()), "{uri}");
        }
        for (uri, headers) in [
            ("/ui/", &[][..]),
            ("/ui/", &[HOST, HOST]),
            ("https://a/ui/", &[HOST]),
            ("https://a/ui/", &[("host", "a"), ("host", "a")]),
        ] {
            let refused = Err(Refusal::NoHost);
            assert_eq!(asked(&format!("GET {uri}"), headers), refused, "{uri}");
        }
        for origin in [
            "http://ca.example:6443",
            "https://ca.example",
            "https://evil.example",
            "https://ca.example:6443.evil.example",
            "null",
            "",
        ] {
            let headers = [HOST, ("origin", origin)];
            let refused = Err(Refusal::Origin);
            assert_eq!(asked("POST /ui/a", &headers), refused, "{origin}");
        }
        assert_eq!(asked("POST /ui/a", &[HOST]), Err(Refusal::Origin));
        let beside = [HOST, OWN, ("sec-fetch-site", "same-site")];
        assert_eq!(asked("POST /ui/a", &beside), Err(Refusal::Origin));
        assert_eq!(asked("DELETE /ui/a", &[HOST, OWN]), Err(Refusal::Method));
    }

    #[test]
    fn a_form_has_the_key_of_this_run() {
        assert_eq!(admit_form(Some("form"), "form"), Ok(()));
        for key in [None, Some(""), Some("for"), Some("session")] {
            assert_eq!(admit_form(key, "form"), Err(Refusal::Form), "{key:?}");
        }
    }
}
