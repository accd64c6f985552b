//! What a node asks of the API server, and what the answers mean to its machine.
//!
//! Stands where the agent's client stands in production: it builds the same requests and translates
//! answers into rotation's outcomes, and judges nothing.

use bytes::Bytes;
use everleaf_api::csr::{self, Csr};
use everleaf_api::meta;
use everleaf_pki::{Chain, VerifiedRequest};
use everleaf_rotation::{
    AwaitOutcome, ConfirmOutcome, CredentialChoice, Event, ExistingRequest, PendingRequest,
    Refusal, RefusalClass, RequestUid, SubmitOutcome,
};
use http::{HeaderValue, Method, Request, StatusCode, header};
use jiff::Timestamp;
use serde_json::json;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SELF_REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// An answer as a node sees it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub code: StatusCode,
    /// JSON body; null when it is not JSON.
    pub body: serde_json::Value,
}

/// One call of a node.
#[derive(Clone, Debug)]
pub enum Call {
    /// Create the request object.
    Create(PendingRequest),
    /// It exists already: what is it?
    Inspect(PendingRequest),
    /// Has it been decided?
    Look(PendingRequest),
    /// Is this credential accepted?
    Confirm(CredentialChoice),
}

/// What follows from an answer.
#[derive(Debug)]
pub enum Next {
    /// Tell the machine.
    Tell(Event),
    /// Make another call.
    Then(Call),
    /// No verdict yet: look again later.
    LookAgain(PendingRequest),
}

impl Call {
    /// The HTTP request, with a bearer token when that is the credential.
    pub fn to_request(&self, token: Option<&str>) -> Request<Bytes> {
        let (method, path, body) = match self {
            Self::Create(pending) => {
                let usages: Vec<_> = pending.usages.iter().map(|usage| usage.as_str()).collect();
                let object = csr::build(
                    pending.name.as_str(),
                    "",
                    &pending.request_pem,
                    pending.signer_name.as_str(),
                    &usages,
                    pending.expiration_seconds,
                );
                (Method::POST, REQUESTS.to_owned(), object.to_string())
            }
            Self::Inspect(pending) | Self::Look(pending) => (
                Method::GET,
                format!("{REQUESTS}/{}", pending.name),
                String::new(),
            ),
            Self::Confirm(_) => {
                let review =
                    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
                (Method::POST, SELF_REVIEW.to_owned(), review.to_string())
            }
        };
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap_or_default();
        let bearer = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        if let Some(bearer) = bearer {
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        request
    }

    /// What an answer, given at `server_date`, means.
    pub fn understand(self, answer: &Answer, server_date: Timestamp) -> Next {
        match self {
            Self::Create(pending) => created(pending, answer, server_date),
            Self::Inspect(pending) => inspected(pending, answer, server_date),
            Self::Look(pending) => looked(pending, answer, server_date),
            Self::Confirm(credential) => {
                let outcome = match answer.code {
                    StatusCode::CREATED | StatusCode::FORBIDDEN => ConfirmOutcome::Confirmed {
                        server_date: Some(server_date),
                    },
                    _ => ConfirmOutcome::Refused(refusal("create", answer, server_date)),
                };
                Next::Tell(Event::ConfirmAnswered {
                    credential,
                    outcome,
                })
            }
        }
    }

    /// What silence means: the caller waited and gave up.
    pub fn unanswered(self) -> Next {
        let refusal = Refusal {
            class: RefusalClass::Unreachable,
            message: "no answer".to_owned(),
            server_date: None,
        };
        match self {
            Self::Create(pending) | Self::Inspect(pending) => Next::Tell(Event::Submitted {
                name: pending.name,
                outcome: SubmitOutcome::Refused(refusal),
            }),
            Self::Look(pending) => Next::LookAgain(pending),
            Self::Confirm(credential) => Next::Tell(Event::ConfirmAnswered {
                credential,
                outcome: ConfirmOutcome::Refused(refusal),
            }),
        }
    }
}

fn created(pending: PendingRequest, answer: &Answer, at: Timestamp) -> Next {
    let outcome = match answer.code {
        StatusCode::CREATED => SubmitOutcome::Created {
            uid: RequestUid::new(meta::uid(&answer.body)),
            server_date: Some(at),
        },
        StatusCode::CONFLICT => return Next::Then(Call::Inspect(pending)),
        _ => SubmitOutcome::Refused(refusal("create", answer, at)),
    };
    Next::Tell(Event::Submitted {
        name: pending.name,
        outcome,
    })
}

fn inspected(pending: PendingRequest, answer: &Answer, at: Timestamp) -> Next {
    let outcome = if answer.code == StatusCode::OK {
        let csr = Csr(&answer.body);
        let request = VerifiedRequest::from_pem(&csr.request()).ok();
        let chain = Chain::from_pem(&csr.certificate()).ok();
        SubmitOutcome::AlreadyExists(ExistingRequest {
            uid: RequestUid::new(csr.uid()),
            has_same_key: request
                .as_ref()
                .is_some_and(|r| *r.public_key() == pending.public_key),
            has_same_subject: request.is_some_and(|r| *r.subject() == pending.template.subject),
            has_same_signer: csr.signer_name() == pending.signer_name.as_str(),
            is_refused: csr.has_condition(csr::DENIED) || csr.has_condition(csr::FAILED),
            certificate_not_after: chain.map(|chain| chain.leaf().not_after()),
            server_date: Some(at),
        })
    } else {
        SubmitOutcome::Refused(refusal("get", answer, at))
    };
    Next::Tell(Event::Submitted {
        name: pending.name,
        outcome,
    })
}

fn looked(pending: PendingRequest, answer: &Answer, at: Timestamp) -> Next {
    let outcome = match answer.code {
        StatusCode::OK => match verdict(&pending, Csr(&answer.body), at) {
            Some(outcome) => outcome,
            None => return Next::LookAgain(pending),
        },
        StatusCode::NOT_FOUND => AwaitOutcome::Gone,
        StatusCode::UNAUTHORIZED => AwaitOutcome::Refused(refusal("get", answer, at)),
        _ => return Next::LookAgain(pending),
    };
    Next::Tell(Event::Awaited {
        name: pending.name,
        outcome,
    })
}

fn verdict(pending: &PendingRequest, csr: Csr<'_>, at: Timestamp) -> Option<AwaitOutcome> {
    if pending
        .uid
        .as_ref()
        .is_some_and(|uid| uid.as_str() != csr.uid())
    {
        return Some(AwaitOutcome::Gone);
    }
    for condition in csr.conditions() {
        let (reason, message) = (condition.reason, condition.message);
        match condition.kind.as_str() {
            csr::DENIED => return Some(AwaitOutcome::Denied { reason, message }),
            csr::FAILED => return Some(AwaitOutcome::Failed { reason, message }),
            _ => {}
        }
    }
    let certificate = csr.certificate();
    if certificate.is_empty() || !csr.has_condition(csr::APPROVED) {
        return None;
    }
    Some(match Chain::from_pem(&certificate) {
        Ok(chain) => AwaitOutcome::Issued {
            chain,
            server_date: Some(at),
        },
        Err(error) => AwaitOutcome::Unreadable {
            message: error.to_string(),
        },
    })
}

fn refusal(verb: &'static str, answer: &Answer, at: Timestamp) -> Refusal {
    let class = match answer.code {
        StatusCode::UNAUTHORIZED => RefusalClass::Unauthorized,
        StatusCode::FORBIDDEN => RefusalClass::Forbidden {
            verb,
            resource: "certificatesigningrequests",
        },
        StatusCode::TOO_MANY_REQUESTS => RefusalClass::RateLimited { retry_after: None },
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => RefusalClass::Invalid,
        _ => RefusalClass::Other,
    };
    Refusal {
        class,
        message: answer.body["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        server_date: Some(at),
    }
}
