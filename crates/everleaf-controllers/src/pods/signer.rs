//! The controller: one request after the other, signed, logged, written.

use super::decide::{Action, Made, Older, Refusal, decide, has_ended};
use super::policy::Policy;
use crate::call::{Answer, Call, CallError, parse, segment};
use crate::config::SerialSource;
use crate::follower::Delta;
use crate::issuance::Entry;
use crate::issuers::SharedIssuer;
use crate::queue::Outcome;
use crate::record::LeafFacts;
use crate::upkeep::cache::Cache;
use crate::upkeep::{Kept, Moment, Reply, Rules, Verdict, Watched};
use everleaf_api::meta;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// Path of the group, in the version that is watched and written.
pub(crate) const API: &str = "/apis/certificates.k8s.io/v1";
/// Its path in the version that shows the keys of kubelets before 1.37.
const OLDER_API: &str = "/apis/certificates.k8s.io/v1beta1";
/// What is wrong when a write is forbidden.
const RIGHTS: &str = "it needs update on podcertificaterequests/status, and sign on the signer: see the ClusterRole \
                      everleaf:pod-certificate-signer";
/// Time until a request is tried again that could not be logged.
const LOG_PATIENCE: Duration = Duration::from_secs(15);
/// Reason and message of the condition that says so.
const ISSUED: (&str, &str) = ("Issued", "signed by Everleaf's signer of pod certificates");

/// What is being written.
#[derive(Debug)]
enum Writing {
    Issued { uri: String, leaf: LeafFacts },
    Refused(Refusal),
}

/// See the module documentation.
pub struct PodCertificateSigner {
    policy: Policy,
    issuer: SharedIssuer,
    serials: SerialSource,
    /// Certificates are logged before they are written.
    is_logging: bool,
    /// Those of our signer that have not ended.
    waiting: Cache<Value>,
    /// Signed, and to be written once it is logged.
    signed: Option<(Call, Writing)>,
    writing: Option<Writing>,
    /// What v1beta1 shows of this object: None where it is not served.
    older: Option<(Identity, Option<Value>)>,
    /// It is being read.
    reading: Option<Identity>,
}

/// Key, UID and resource version.
type Identity = [String; 3];

fn identity(key: &str, object: &Value) -> Identity {
    [key, meta::uid(object), meta::resource_version(object)].map(str::to_owned)
}

impl PodCertificateSigner {
    /// Signs by this policy with what `issuer` is at the time.
    pub fn new(
        policy: Policy,
        issuer: SharedIssuer,
        serials: SerialSource,
        is_logging: bool,
    ) -> Self {
        Self {
            policy,
            issuer,
            serials,
            is_logging,
            waiting: Cache::default(),
            signed: None,
            writing: None,
            older: None,
            reading: None,
        }
    }

    fn sign(
        &mut self,
        key: &str,
        object: &Value,
        made: Made,
        moment: Moment,
        uri: &str,
    ) -> Verdict {
        let leaf = made.issued.chain.leaf();
        let time = |at: Timestamp| Value::from(meta::format_time(at));
        let status = json!({
            "conditions": [condition("Issued", ISSUED.0, ISSUED.1, moment)],
            "certificateChain": made.issued.chain.to_pem(),
            "notBefore": time(leaf.not_before()),
            "beginRefreshAt": time(made.begin_refresh_at),
            "notAfter": time(leaf.not_after()),
        });
        let writing = Writing::Issued {
            uri: uri.to_owned(),
            leaf: LeafFacts::of(leaf),
        };
        let call = write(object, status);
        if !self.is_logging {
            self.writing = Some(writing);
            return Verdict::Call(call);
        }
        let entry = Entry::of_pod(key, object, &made.issued, moment.now.wall);
        self.signed = Some((call, writing));
        Verdict::Log(Box::new(entry))
    }
}

/// What came of reading an object as v1beta1.
enum Seen {
    /// There is another one of its name, or none.
    Gone,
    /// The object; None where the version is not served.
    Older(Option<Value>),
}

fn seen_older([_, uid, _]: &Identity, answer: &Answer) -> Result<Seen, CallError> {
    let body = match answer {
        Ok(body) => body,
        Err(error) if error.code() == 404 => return Ok(Seen::Older(None)),
        Err(error) => return Err(error.clone()),
    };
    let mut list: Value = parse(body)?;
    let items = list["items"].as_array_mut().map(std::mem::take);
    let mut items = items.into_iter().flatten();
    let found = items.find(|item| meta::uid(item) == uid);
    Ok(found.map_or(Seen::Gone, |found| Seen::Older(Some(found))))
}

/// Reads an object as v1beta1, with the right that reading all of them needs.
fn read_older(object: &Value) -> Call {
    let path = format!(
        "{OLDER_API}/namespaces/{}/podcertificaterequests?fieldSelector=metadata.name%3D{}",
        segment(meta::namespace(object)),
        segment(meta::name(object))
    );
    Call::new(Method::GET, path, None)
}

/// The write of a status.
fn write(object: &Value, status: Value) -> Call {
    let mut object = object.clone();
    // The items of a list do not say what they are.
    object["apiVersion"] = API.trim_start_matches("/apis/").into();
    object["kind"] = "PodCertificateRequest".into();
    object["status"] = status;
    let path = format!(
        "{API}/namespaces/{}/podcertificaterequests/{}/status",
        segment(meta::namespace(&object)),
        segment(meta::name(&object))
    );
    Call::new(Method::PUT, path, Some(object))
}

fn condition(kind: &str, reason: &str, message: &str, moment: Moment) -> Value {
    json!({
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": meta::format_time(moment.server()),
    })
}

impl Rules for PodCertificateSigner {
    fn title(&self) -> &'static str {
        "pod certificate signer"
    }

    fn queue_name(&self) -> &'static str {
        "pod_certificate_signer"
    }

    fn watches(&self) -> &'static [Watched] {
        &[Watched::PodCertificateRequests]
    }

    fn may_block(&self) -> bool {
        self.issuer.current().signs_elsewhere()
    }

    fn take(&mut self, _: Watched, delta: Delta) -> Vec<String> {
        let signer = self.policy.signer();
        let is_ours = |object: &Value| object["spec"]["signerName"] == signer && !has_ended(object);
        self.waiting
            .take(delta, |object| Some(object).filter(is_ours))
    }

    fn is_synced(&self) -> bool {
        self.waiting.is_synced()
    }

    fn keys(&self) -> Vec<String> {
        self.waiting.iter().map(|(key, _)| key.clone()).collect()
    }

    fn judge(&mut self, key: &str, moment: Moment, told: &mut Vec<Kept>) -> Verdict {
        (self.signed, self.writing, self.reading) = (None, None, None);
        let Some(object) = self.waiting.get(key).cloned() else {
            return Verdict::Done(Outcome::Finished);
        };
        let identity = identity(key, &object);
        let older = self.older.take_if(|(read, _)| *read == identity);
        let older = match &older {
            None => Older::Unread,
            Some((_, None)) => Older::Unserved,
            Some((_, Some(older))) => Older::Read(older),
        };
        let plan = match decide(&object, older, &self.policy) {
            Action::Leave => return Verdict::Done(Outcome::Finished),
            Action::Reread => {
                self.reading = Some(identity);
                return Verdict::Call(read_older(&object));
            }
            Action::Refuse(refusal) => {
                let (kind, reason) = (refusal.condition(), refusal.reason());
                let condition = condition(kind, reason, &refusal.to_string(), moment);
                self.writing = Some(Writing::Refused(refusal));
                return Verdict::Call(write(&object, json!({"conditions": [condition]})));
            }
            Action::Sign(plan) => plan,
        };
        let made = (self.serials)()
            .and_then(|serial| plan.issue(&self.issuer.current(), serial, moment.server()));
        match made {
            Ok(made) => self.sign(key, &object, made, moment, plan.uri()),
            Err(error) => {
                let request = key.to_owned();
                told.push(Kept::PodCertificateFailed { request, error });
                Verdict::Done(Outcome::FAILED)
            }
        }
    }

    fn logged(
        &mut self,
        key: &str,
        logged: Result<(), String>,
        _: Moment,
        told: &mut Vec<Kept>,
    ) -> Verdict {
        let signed = self.signed.take();
        match (signed, logged) {
            (Some((call, writing)), Ok(())) => {
                self.writing = Some(writing);
                Verdict::Call(call)
            }
            (_, Err(error)) => {
                let error =
                    format!("nothing is signed, since the issuance log cannot be written: {error}");
                let request = key.to_owned();
                told.push(Kept::PodCertificateFailed { request, error });
                Verdict::Done(Outcome::After(LOG_PATIENCE))
            }
            (None, Ok(())) => Verdict::Done(Outcome::Finished),
        }
    }

    fn answered(&mut self, key: &str, answer: &Answer, _: Moment, told: &mut Vec<Kept>) -> Reply {
        let writing = self.writing.take();
        let request = key.to_owned();
        if let Some(identity) = self.reading.take() {
            match seen_older(&identity, answer) {
                Ok(Seen::Gone) => return Reply::Done(Outcome::Finished),
                Ok(Seen::Older(older)) => {
                    self.older = Some((identity, older));
                    return Reply::Again;
                }
                Err(error) => {
                    let at_least = error.retry_after();
                    let error = error.advised("it needs list on podcertificaterequests");
                    told.push(Kept::PodCertificateFailed { request, error });
                    return Reply::Done(Outcome::Failed { at_least });
                }
            }
        }
        match answer {
            Ok(_) => {
                // The watch would say so, too, and perhaps after this key was judged again.
                self.waiting.take(Delta::Deleted(request.clone()), Some);
                match writing {
                    Some(Writing::Issued { uri, leaf }) => {
                        told.push(Kept::PodCertificateIssued { request, uri, leaf });
                    }
                    Some(Writing::Refused(refusal)) => {
                        told.push(Kept::PodCertificateRefused { request, refusal });
                    }
                    None => {}
                }
                Reply::Done(Outcome::Finished)
            }
            Err(error) if error.code() == 404 => Reply::Done(Outcome::Finished),
            // It has changed, which the watch will say.
            Err(error) if error.code() == 409 => Reply::Done(Outcome::FAILED),
            Err(error) => {
                let at_least = error.retry_after();
                let error = error.advised(RIGHTS);
                told.push(Kept::PodCertificateFailed { request, error });
                Reply::Done(Outcome::Failed { at_least })
            }
        }
    }
}

impl std::fmt::Debug for PodCertificateSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodCertificateSigner")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
