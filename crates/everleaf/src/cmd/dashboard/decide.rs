//! Approve and deny, with the rights of the kubeconfig's user: what `kubectl certificate` does.

use super::page::request::MESSAGE_MAX;
use super::route::Verdict;
use crate::calls::{Answer, Calls, message};
use crate::print::harmless_line;
use everleaf_api::csr::{self, APPROVED, Csr, DENIED, FAILED};
use everleaf_controllers::call::segment;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// Others may write beside us so many times.
const TRIES_MAX: usize = 3;

/// A decision that did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undecided {
    pub(super) status: StatusCode,
    /// Why, for people.
    pub(super) why: String,
}

impl Undecided {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { status, why }
    }
}

/// What a person has decided about a request.
pub(super) struct Decision<'a> {
    pub(super) name: &'a str,
    /// Of the request that the person saw: another may have come under its name.
    pub(super) uid: &'a str,
    pub(super) verdict: Verdict,
    /// A sentence for whoever reads the request; may be empty.
    pub(super) message: &'a str,
}

impl Decision<'_> {
    /// Has the API server write it down.
    ///
    /// # Errors
    /// It refuses, or is away, or the request is not the one that was seen.
    pub(super) async fn carry_out(&self, calls: &Calls) -> Result<(), Undecided> {
        let path = format!("{REQUESTS}/{}", segment(self.name));
        let mut tries = 0;
        loop {
            let object = ask(calls, Method::GET, &path, None).await?;
            let decided = self.on(object, calls.now())?;
            tries += 1;
            match ask(
                calls,
                Method::PUT,
                &format!("{path}/approval"),
                Some(decided),
            )
            .await
            {
                Err(error) if error.status == StatusCode::CONFLICT && tries < TRIES_MAX => {}
                other => return other.map(drop),
            }
        }
    }

    /// The request with the decision in it.
    fn on(&self, mut object: Value, now: Timestamp) -> Result<Value, Undecided> {
        let conflict = |why: &str| Undecided::new(StatusCode::CONFLICT, why);
        let seen = Csr(&object);
        if seen.uid() != self.uid {
            return Err(conflict(
                "This is another request than the one you saw: that one is gone, and this has come under its name. Nothing was changed; look at \
                 it first.",
            ));
        }
        if let Some(kind) = [APPROVED, DENIED, FAILED]
            .iter()
            .find(|kind| seen.has_condition(kind))
        {
            let kind = kind.to_lowercase();
            return Err(conflict(&format!(
                "It is {kind} already; nothing was changed."
            )));
        }
        let (kind, reason) = match self.verdict {
            Verdict::Approve => (APPROVED, "DashboardApprove"),
            Verdict::Deny => (DENIED, "DashboardDeny"),
        };
        let given: String = harmless_line(self.message.trim())
            .chars()
            .take(MESSAGE_MAX)
            .collect();
        let message = match given.is_empty() {
            true => format!("{} by a person in everleaf dashboard", self.verdict.done()),
            false => given,
        };
        csr::push_condition(&mut object, kind, reason, &message, Some(now));
        Ok(object)
    }
}

async fn ask(
    calls: &Calls,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, Undecided> {
    let answer = calls.send(method, path, body).await;
    let Answer { status, body } = answer.map_err(|why| {
        let why = format!(
            "The API server cannot be reached: {why}. Nothing may have been changed: look again."
        );
        Undecided::new(StatusCode::BAD_GATEWAY, why)
    })?;
    if !status.is_success() {
        let why = format!("The API server refuses: {}", message(status, &body));
        return Err(Undecided::new(status, why));
    }
    serde_json::from_slice(&body).map_err(|error| {
        let why = format!("The answer of the API server is no JSON: {error}");
        Undecided::new(StatusCode::BAD_GATEWAY, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request() -> Value {
        let mut object = csr::build("a", "", "PEM", "example.com/s", &["client auth"], None);
        object["metadata"]["uid"] = "u1".into();
        object["metadata"]["resourceVersion"] = "7".into();
        object
    }

    fn decision(verdict: Verdict, message: &'static str) -> Decision<'static> {
        Decision {
            name: "a",
            uid: "u1",
            verdict,
            message,
        }
    }

    fn now() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_decision_is_a_condition() {
        let approved = decision(Verdict::Approve, "").on(request(), now()).unwrap();
        let condition = &approved["status"]["conditions"][0];
        assert_eq!(condition["type"], "Approved");
        assert_eq!(condition["reason"], "DashboardApprove");
        assert_eq!(
            condition["message"],
            "approved by a person in everleaf dashboard"
        );
        assert_eq!(condition["lastUpdateTime"], "2030-01-01T00:00:00Z");
        assert_eq!(approved["metadata"]["resourceVersion"], "7");
        let denied = decision(Verdict::Deny, " not\u{202e} mine\n ")
            .on(request(), now())
            .unwrap();
        let condition = &denied["status"]["conditions"][0];
        assert_eq!(condition["type"], "Denied");
        assert_eq!(condition["message"], "not\\u{202e} mine");
    }

    #[test]
    fn what_was_not_seen_is_not_decided() {
        let mut other = request();
        other["metadata"]["uid"] = "u2".into();
        let refused = decision(Verdict::Approve, "").on(other, now()).unwrap_err();
        assert_eq!(refused.status, StatusCode::CONFLICT);
        assert!(refused.why.contains("another request"), "{}", refused.why);
        for kind in ["Approved", "Denied", "Failed"] {
            let mut decided = request();
            decided["status"] = json!({"conditions": [{"type": kind, "status": "True"}]});
            let refused = decision(Verdict::Deny, "").on(decided, now()).unwrap_err();
            let told = format!("It is {} already", kind.to_lowercase());
            assert!(refused.why.contains(&told), "{}", refused.why);
        }
    }
}
