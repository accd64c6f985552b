//! The dashboard at `/ui` of `everleaf up`, on the API server's own port.
//!
//! Whoever comes with a client certificate, or logs in with a bearer token, is who the server takes
//! them for, and may look who may list and watch requests: the server's own judges say so, at each
//! request anew. Nodes and join tokens may not, whatever they may list. What is read and decided
//! goes through the server's own door with that very credential, so it is authenticated,
//! authorized, admitted, limited and audited as if the user had sent it. Nothing here has a right
//! of its own; the one thing that is read besides is the issuance log.
//!
//! ```text
//! TLS ─▶ guard (origin) ─▶ credential ─▶ judge (may list requests?) ─▶ served ─▶ page
//!                                            viewers: watches ─▶ the server's door, as the user
//! ```

mod refused;
mod sessions;
mod viewers;

use super::answer::{self, Body, hardened, html, plain, refused, see, with_cookie, without_body};
use super::guard::{self, Refusal};
use super::page::login;
use super::route::{Route, parameter};
use super::site::Site;
use super::{Dashboard, served};
use crate::calls::Calls;
use crate::up::entropy;
use anyhow::Result;
use aws_lc_rs::{digest, hmac};
use everleaf_agent::Secret;
use everleaf_api::Status;
use everleaf_apiserver::authn::Peer;
use everleaf_apiserver::handler::{Credential, NotAdmitted, Server};
use everleaf_apiserver::serve::{Page, Pages};
use everleaf_apiserver::user::User;
use everleaf_time::WallClock;
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use refused::Refused;
use sessions::{LIFE_MAX, Sessions, bare_token};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use viewers::{Key, Viewers, Visitor};

/// Where it is.
pub(crate) const PATH: &str = "/ui";
/// What somebody who looks has to be allowed to read.
const RIGHTS: [&str; 2] = [
    "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests?watch=true",
];
/// What is watched besides, and not seen by who may not read it.
const SIGHTS: [&str; 3] = [
    "/api/v1/nodes",
    "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
    "/api/v1/namespaces/kube-system/configmaps",
];
/// Pages that are made at once; streams are counted apart.
const PAGES_MAX: usize = 32;
/// Characters of the secret of a session: more than 128 bits of chance.
const SESSION_LENGTH: usize = 32;
/// Why a node or a join token sees nothing.
const MACHINE: &str = "the dashboard is for people and service accounts, not for nodes and the tokens that they join with";
/// What the script says when the browser is not known any more.
const STRANGER: &str = "Not live: you are not known any more, or may not look. Reload the page.";

/// What it stands on.
pub(crate) struct Foundation {
    pub(crate) server: Arc<Server>,
    pub(crate) clock: WallClock,
    /// Where clients reach the API server.
    pub(crate) url: String,
    /// The port that it listens on.
    pub(crate) port: u16,
    /// Directory of the issuance log.
    pub(crate) issuance_log: PathBuf,
}

/// See the module documentation.
pub(crate) struct Ui(Arc<Gate>);

/// Who comes in, and what they see.
struct Gate {
    server: Arc<Server>,
    clock: WallClock,
    url: String,
    issuance_log: PathBuf,
    /// Of the browser's cookie. Cookies know no ports: servers beside each other keep their own.
    cookie: String,
    /// Makes the keys of forms.
    secret: hmac::Key,
    begun: Instant,
    sessions: Mutex<Sessions>,
    refused: Mutex<Refused>,
    viewers: Viewers,
    pages: Semaphore,
    stopped: watch::Sender<bool>,
}

/// Why somebody does not come in.
enum Outside {
    /// They have shown nothing.
    Stranger,
    /// What they have shown is not believed.
    Unproven(&'static str),
    /// They may not look: as whom, why, and with a session or not.
    Forbidden {
        user: Box<User>,
        why: String,
        session: Option<String>,
    },
    /// It cannot be decided.
    Undecided(String),
}

impl Outside {
    const fn unproven(&self) -> Option<&'static str> {
        match self {
            Self::Unproven(why) => Some(why),
            _ => None,
        }
    }
}

impl Ui {
    /// Begins with nobody.
    ///
    /// # Errors
    /// The system has no entropy.
    pub(crate) fn new(on: Foundation) -> Result<Self> {
        Ok(Self(Arc::new(Gate {
            server: on.server,
            clock: on.clock,
            url: on.url,
            issuance_log: on.issuance_log,
            cookie: format!("__Host-everleaf-{}", on.port),
            secret: hmac::Key::new(hmac::HMAC_SHA256, &entropy::bytes::<32>()?),
            begun: Instant::now(),
            sessions: Mutex::default(),
            refused: Mutex::default(),
            viewers: Viewers::default(),
            pages: Semaphore::new(PAGES_MAX),
            stopped: watch::Sender::new(false),
        })))
    }

    /// Ends all watches and streams.
    pub(crate) fn stop(&self) {
        self.0.stopped.send_replace(true);
    }
}

impl Pages for Ui {
    fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Page {
        let (gate, peer) = (Arc::clone(&self.0), peer.clone());
        Box::pin(async move {
            let is_head = request.method() == Method::HEAD;
            let response = hardened(gate.answer(request, &peer).await);
            match is_head {
                true => without_body(response),
                false => response,
            }
        })
    }
}

impl Gate {
    async fn answer(self: &Arc<Self>, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let (head, body) = request.into_parts();
        let stranger = Site {
            base: PATH,
            ..Site::default()
        };
        if let Err(refusal) = guard::admit_over_tls(&head) {
            return refused(&stranger, refusal);
        }
        let path = head.uri.path();
        let path = path.strip_prefix(PATH).unwrap_or(path).to_owned();
        if head.method == Method::POST {
            let form = match served::form(&head, body).await {
                Ok(form) => form,
                Err(refusal) => return refused(&stranger, refusal),
            };
            return self.submit(&head, peer, (&path, &form)).await;
        }
        if let Err(refusal) = served::nothing(body).await {
            return refused(&stranger, refusal);
        }
        match Route::of(&path, head.uri.query().unwrap_or_default()) {
            _ if path.is_empty() => see(&stranger.at("/")),
            Route::Style => answer::style(),
            Route::Script => answer::script(),
            Route::Icon => answer::icon(),
            route => match self.visitor(&head, peer).await {
                Err(outside) if path == "/login" => {
                    let page = login::show(&stranger, outside.unproven());
                    html(StatusCode::OK, page)
                }
                Err(outside) => self.outside(outside),
                Ok(_) if path == "/login" => see(&stranger.at("/")),
                Ok(visitor) => self.read(route, &visitor).await,
            },
        }
    }

    async fn read(self: &Arc<Self>, route: Route, visitor: &Visitor) -> Response<Body> {
        let Ok(_place) = self.pages.try_acquire() else {
            return busy(&visitor.site);
        };
        match self.dashboard(visitor).await {
            Ok(dashboard) => served::read(route, &dashboard).await,
            Err(response) => *response,
        }
    }

    async fn submit(
        self: &Arc<Self>,
        head: &Parts,
        peer: &Peer,
        (path, form): (&str, &str),
    ) -> Response<Body> {
        if path == "/login" {
            return self.log_in(head, peer, form).await;
        }
        if path == "/logout" {
            return self.log_out(head, form);
        }
        let visitor = match self.visitor(head, peer).await {
            Ok(visitor) => visitor,
            Err(outside) => return self.outside(outside),
        };
        if let Err(refusal) =
            guard::admit_form(parameter(form, "key").as_deref(), &visitor.site.form_key)
        {
            return refused(&visitor.site, refusal);
        }
        let Ok(_place) = self.pages.try_acquire() else {
            return busy(&visitor.site);
        };
        match self.dashboard(&visitor).await {
            Ok(dashboard) => served::submit(Route::of_form(path), form, &dashboard).await,
            Err(response) => *response,
        }
    }

    /// What this visitor sees, with a way to the server of this request's own.
    async fn dashboard(
        self: &Arc<Self>,
        visitor: &Visitor,
    ) -> Result<Dashboard, Box<Response<Body>>> {
        let site = &visitor.site;
        let (snapshots, streams) = match self.viewers.see(self, visitor).await {
            Ok(Some(seen)) => seen,
            Ok(None) => return Err(Box::new(busy(site))),
            Err(error) => {
                let text = format!("{error:#}");
                let status = StatusCode::BAD_GATEWAY;
                return Err(Box::new(plain(site, status, "Not readable", &text)));
            }
        };
        let client = self.client(&visitor.credential);
        Ok(Dashboard {
            site: Arc::clone(site),
            snapshots,
            calls: Calls::new(client.clone()),
            client,
            streams,
            kubeconfig: None,
            context: None,
        })
    }

    // --- Who comes ----------------------------------------------------------------------------

    /// Who sends this request, if they may look. A client certificate goes before a session, as it
    /// goes before a token in a request to the API, unless its user may not look.
    async fn visitor(&self, head: &Parts, peer: &Peer) -> Result<Visitor, Outside> {
        let mut outside = Outside::Stranger;
        if let Some(leaf) = peer.certificates.first() {
            let credential = Credential::of(peer);
            match self.judge(&credential).await {
                Err(NotAdmitted::Stranger) => {}
                Err(NotAdmitted::Unproven) => {
                    outside = Outside::Unproven(
                        "The server does not accept the certificate that this browser shows: it may have ended, or been revoked.",
                    );
                }
                judged => {
                    let digest = digest::digest(&digest::SHA256, leaf);
                    let key = Key::Certificate(digest.as_ref().to_vec());
                    match self.known(judged, key, credential) {
                        Ok(visitor) => return Ok(visitor),
                        Err(why) => outside = why,
                    }
                }
            }
        }
        let session = guard::cookie(&head.headers, &self.cookie);
        let token = session.and_then(|id| Some((id, self.sessions().r#use(id, self.now())?)));
        let Some((id, token)) = token else {
            return Err(outside);
        };
        let Some(credential) = Credential::of_token(peer, token.expose()) else {
            return Err(outside);
        };
        let judged = self.judge(&credential).await;
        if let Err(NotAdmitted::Stranger | NotAdmitted::Unproven) = judged {
            self.end_session(id);
            return Err(Outside::Unproven(
                "The token that you logged in with is not accepted any more.",
            ));
        }
        self.known(judged, Key::Session(id.to_owned()), credential)
    }

    fn known(
        &self,
        judged: Result<User, NotAdmitted>,
        key: Key,
        credential: Credential,
    ) -> Result<Visitor, Outside> {
        let session = match &key {
            Key::Session(id) => Some(id.clone()),
            Key::Certificate(_) => None,
        };
        match judged {
            Ok(user) => Ok(Visitor {
                site: Arc::new(self.site(&key)),
                key,
                user: user.name,
                credential,
            }),
            Err(NotAdmitted::Forbidden(user, status)) => Err(Outside::Forbidden {
                user,
                why: status.message,
                session,
            }),
            Err(NotAdmitted::Undecided(status)) => Err(Outside::Undecided(status.message)),
            Err(NotAdmitted::Stranger | NotAdmitted::Unproven) => Err(Outside::Stranger),
        }
    }

    /// As whom the server would let this credential look. Nodes and join tokens may list requests,
    /// to follow their own; pages are for people, and what watches for them.
    async fn judge(&self, credential: &Credential) -> Result<User, NotAdmitted> {
        let now = (self.clock)();
        let user = self.server.rehearse(credential, &RIGHTS, now).await?;
        match is_machine(&user) {
            false => Ok(user),
            true => {
                let status = Status::forbidden_path(MACHINE);
                Err(NotAdmitted::Forbidden(Box::new(user), Box::new(status)))
            }
        }
    }

    /// Which of [`SIGHTS`] it may read.
    async fn sight(&self, credential: &Credential) -> [bool; SIGHTS.len()] {
        let mut sight = [false; SIGHTS.len()];
        for (sees, uri) in sight.iter_mut().zip(SIGHTS) {
            let (uris, now) = ([uri], (self.clock)());
            *sees = self.server.rehearse(credential, &uris, now).await.is_ok();
        }
        sight
    }

    /// Whether a browser with this key need not come in anew.
    fn is_known(&self, key: &Key) -> bool {
        match key {
            Key::Certificate(_) => true,
            Key::Session(id) => self.sessions().has(id, self.now()),
        }
    }

    fn site(&self, key: &Key) -> Site {
        Site {
            base: PATH,
            form_key: form_key(&self.secret, key),
            has_session: matches!(key, Key::Session(_)),
            stranger: STRANGER,
        }
    }

    // --- Coming and going ---------------------------------------------------------------------

    async fn log_in(&self, head: &Parts, peer: &Peer, form: &str) -> Response<Body> {
        let token = parameter(form, "token").unwrap_or_default();
        let token = Secret::new(bare_token(&token).to_owned());
        let Some(credential) = Credential::of_token(peer, token.expose()) else {
            return self.outside(Outside::Unproven("That is no token."));
        };
        let user = match self.judge(&credential).await {
            Ok(user) => user.name,
            Err(NotAdmitted::Stranger | NotAdmitted::Unproven) => {
                self.tell_refused(peer);
                let text =
                    "The server does not accept this token: it may be mistyped, or have ended.";
                return self.outside(Outside::Unproven(text));
            }
            Err(NotAdmitted::Undecided(status)) => {
                return self.outside(Outside::Undecided(status.message));
            }
            Err(NotAdmitted::Forbidden(user, status)) => {
                return self.outside(Outside::Forbidden {
                    user,
                    why: status.message,
                    session: None,
                });
            }
        };
        if let Some(old) = guard::cookie(&head.headers, &self.cookie) {
            self.end_session(old);
        }
        let Ok(id) = entropy::letters(SESSION_LENGTH) else {
            return self.outside(Outside::Undecided("The system has no entropy.".to_owned()));
        };
        if !self.sessions().begin(id.clone(), token, &user, self.now()) {
            let text = "Too many people are logged in.".to_owned();
            return self.outside(Outside::Undecided(text));
        }
        let lasts = LIFE_MAX.as_secs();
        with_cookie(see("/ui/"), &self.cookie_line(&id, lasts))
    }

    fn tell_refused(&self, peer: &Peer) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = refused.add(self.now()) {
            let from = peer.address.map(tracing::field::display);
            tracing::warn!(
                count,
                from,
                "tokens typed at /ui/login were not accepted; the last one from there"
            );
        }
    }

    /// Ends the session of the form, whatever its token is still worth.
    fn log_out(&self, head: &Parts, form: &str) -> Response<Body> {
        if let Some(id) = guard::cookie(&head.headers, &self.cookie) {
            let site = self.site(&Key::Session(id.to_owned()));
            let key = parameter(form, "key");
            if guard::admit_form(key.as_deref(), &site.form_key).is_err() {
                return refused(&site, Refusal::Form);
            }
            self.end_session(id);
        }
        with_cookie(see("/ui/login"), &self.cookie_line("", 0))
    }

    fn cookie_line(&self, id: &str, lasts: u64) -> String {
        let name = &self.cookie;
        format!("{name}={id}; Max-Age={lasts}; Path=/; Secure; HttpOnly; SameSite=Strict")
    }

    fn end_session(&self, id: &str) {
        self.sessions().end(id);
        self.viewers.end(&Key::Session(id.to_owned()));
    }

    /// What somebody sees who does not come in.
    fn outside(&self, outside: Outside) -> Response<Body> {
        let stranger = Site {
            base: PATH,
            ..Site::default()
        };
        match outside {
            Outside::Stranger => html(StatusCode::UNAUTHORIZED, login::show(&stranger, None)),
            Outside::Unproven(why) => {
                html(StatusCode::UNAUTHORIZED, login::show(&stranger, Some(why)))
            }
            Outside::Forbidden { user, why, session } => {
                let site = session.map_or(stranger, |id| self.site(&Key::Session(id)));
                let page = login::forbidden(&site, &user.name, &why, is_machine(&user));
                html(StatusCode::FORBIDDEN, page)
            }
            Outside::Undecided(why) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                plain(&stranger, status, "Not now", &why)
            }
        }
    }

    // --- What the rest stands on --------------------------------------------------------------

    /// A client that asks with this credential.
    fn client(&self, credential: &Credential) -> kube::Client {
        let door = self
            .server
            .on_behalf(credential.clone(), Arc::clone(&self.clock));
        kube::Client::new(door, "default")
    }

    /// The API server's `host:port`.
    fn host(&self) -> &str {
        self.url.trim_start_matches("https://")
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Returns when all ends.
    async fn stopped(&self) {
        // The sender is this gate's own.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }
}

/// Nodes, and what is to become one.
fn is_machine(user: &User) -> bool {
    let groups = ["system:nodes", "system:bootstrappers"];
    let is_one = |group: &String| groups.contains(&group.as_str());
    user.groups.iter().any(is_one)
}

/// What has to come back with each form of a browser: nobody can say it of another one.
fn form_key(secret: &hmac::Key, key: &Key) -> String {
    let (kind, known_by) = match key {
        Key::Certificate(digest) => (b'c', &digest[..]),
        Key::Session(id) => (b's', id.as_bytes()),
    };
    let tag = hmac::sign(secret, &[&[kind], known_by].concat());
    tag.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn busy(site: &Site) -> Response<Body> {
    let text = "Too many people look at once. Try again in a minute.";
    let mut response = plain(site, StatusCode::SERVICE_UNAVAILABLE, "Not now", text);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_form_key_is_of_one_browser_and_one_run() {
        let secret = |byte: u8| hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]);
        let keys = [
            (1, Key::Certificate(b"a".to_vec())),
            (1, Key::Certificate(b"b".to_vec())),
            (1, Key::Session("a".to_owned())),
            (2, Key::Session("a".to_owned())),
        ];
        let made = keys.map(|(run, key)| {
            let made = form_key(&secret(run), &key);
            assert_eq!(made, form_key(&secret(run), &key));
            assert!(
                made.len() == 64 && made.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{made}"
            );
            made
        });
        assert_eq!(made.iter().collect::<BTreeSet<_>>().len(), 4);
    }

    #[test]
    fn nodes_and_join_tokens_are_no_people() {
        let user = |groups: &[&str]| User {
            groups: groups.iter().map(ToString::to_string).collect(),
            ..User::anonymous()
        };
        assert!(is_machine(&user(&["system:nodes", "system:authenticated"])));
        let joining = "system:bootstrappers:kubeadm:default-node-token";
        assert!(is_machine(&user(&["system:bootstrappers", joining])));
        for person in [
            &["system:masters"][..],
            &["system:serviceaccounts", "system:authenticated"],
            &[],
        ] {
            assert!(!is_machine(&user(person)), "{person:?}");
        }
    }
}
