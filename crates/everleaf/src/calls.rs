//! Single calls to an API server, as commands make them with a user's kubeconfig: JSON there and
//! back, errors as sentences.

use crate::args::token::ServerArgs;
use crate::kube_client::{self, Connected, usual_kubeconfig};
use anyhow::{Result, anyhow, bail};
use everleaf_agent::{Clock, SystemClock};
use everleaf_api::http_date::http_date;
use everleaf_controllers::call::segment;
use everleaf_controllers::transport_text;
use http::header::{ACCEPT, CONTENT_TYPE, DATE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use kube::client::Body;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Largest answer; a page of a list of objects is far smaller.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Objects per page.
const PAGE: usize = 500;

/// The API server, as this user sees it.
pub(crate) struct Calls {
    client: kube::Client,
    /// What its clock said last.
    date: Mutex<Option<Timestamp>>,
}

/// Calls as the kubeconfig says, and the URL that it names.
///
/// # Errors
/// The kubeconfig cannot be used.
pub(crate) fn connect(args: &ServerArgs) -> Result<(Calls, String)> {
    let kubeconfig = usual_kubeconfig(args.kubeconfig.as_deref())?;
    let Connected { client, host, .. } =
        kube_client::connect_context(&kubeconfig, args.context.as_deref())?;
    Ok((Calls::new(client), format!("https://{host}")))
}

/// An answer: status and body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl Calls {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self {
            client,
            date: Mutex::default(),
        }
    }

    /// What the server's clock said last.
    pub(crate) fn server_time(&self) -> Option<Timestamp> {
        *self.date.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's clock decides when something ends; this host's only where the server tells
    /// none.
    pub(crate) fn now(&self) -> Timestamp {
        self.server_time()
            .unwrap_or_else(|| SystemClock::new().wall())
    }

    /// One call; the error says why there is no answer at all.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json");
        let body = body.map_or_else(Body::empty, |body| {
            Body::from(body.to_string().into_bytes())
        });
        let request = request.body(body).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = self.client.send(request).await;
            let response = response.map_err(|error| transport_text(&error))?;
            let (head, body) = response.into_parts();
            let date = head.headers.get(DATE).and_then(|date| date.to_str().ok());
            if let Some(date) = date.and_then(http_date) {
                *self.date.lock().unwrap_or_else(PoisonError::into_inner) = Some(date);
            }
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?;
            Ok(Answer {
                status: head.status,
                body: body.to_bytes().to_vec(),
            })
        };
        let timed = tokio::time::timeout(ANSWER_MAX, exchange).await;
        timed.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_MAX.as_secs())))
    }

    /// One call whose answer has to be an object; none for 404.
    ///
    /// # Errors
    /// `what` failed: nobody answered, or the server refused; in its words.
    pub(crate) async fn object(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Option<Value>> {
        let answer = self.send(method, path, body).await;
        let Answer { status, body } =
            answer.map_err(|why| anyhow!("cannot {what}: cannot reach the API server: {why}"))?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED => bail!(
                "cannot {what}: the API server does not take this kubeconfig's credential: {}; see `everleaf certs` about it",
                message(status, &body)
            ),
            _ if status.is_success() => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|error| anyhow!("cannot {what}: the answer is no JSON: {error}")),
            _ => Err(Refused {
                what: what.to_owned(),
                status,
                message: message(status, &body),
            }
            .into()),
        }
    }

    /// Whom the API server takes this user for: a UserInfo (Kubernetes since 1.28); null where it
    /// does not say.
    pub(crate) async fn user_info(&self) -> Value {
        const PATH: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let answer = self.object("ask who it is", Method::POST, PATH, Some(review));
        let mut answer = answer.await.ok().flatten().unwrap_or_default();
        answer["status"]["userInfo"].take()
    }

    /// All pages of a list. `more` is what else the query says, from `&` on.
    ///
    /// # Errors
    /// As [`object`](Self::object).
    pub(crate) async fn list(&self, what: &str, path: &str, more: &str) -> Result<Vec<Value>> {
        let mut objects = Vec::new();
        let mut token = String::new();
        loop {
            let page = format!("{path}?limit={PAGE}{more}{token}");
            let Some(mut page) = self.object(what, Method::GET, &page, None).await? else {
                return Ok(objects);
            };
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                objects.extend(items);
            }
            match page["metadata"]["continue"].as_str() {
                None | Some("") => return Ok(objects),
                Some(next) => token = format!("&continue={}", segment(next)),
            }
        }
    }
}

/// A server's no.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {message}")]
pub(crate) struct Refused {
    what: String,
    pub(crate) status: StatusCode,
    message: String,
}

/// The server's words, from a Status or as plain text.
pub(crate) fn message(status: StatusCode, body: &[u8]) -> String {
    const SHOWN_MAX: usize = 500;
    let object: Option<Value> = serde_json::from_slice(body).ok();
    let text = object
        .as_ref()
        .and_then(|object| object["message"].as_str())
        .map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let text: String = text.trim().chars().take(SHOWN_MAX).collect();
    match text.is_empty() {
        true => format!("HTTP status {}", status.as_u16()),
        false => text,
    }
}
