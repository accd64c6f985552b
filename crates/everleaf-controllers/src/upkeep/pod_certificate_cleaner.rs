//! podcertificaterequest-cleaner-controller: deletes old PodCertificateRequests, however they
//! ended.
//!
//! The rule of kubernetes 1.37 `pkg/controller/certificates/cleaner/pcrcleaner.go`, by the API
//! server's clock, since the stamps are that server's; nothing is deleted while its clock and ours
//! are apart.

use super::cache::Cache;
use super::{Kept, LOOK_INTERVAL, Moment, Reply, Rules, Verdict, Watched};
use crate::call::{Answer, Call, segment};
use crate::cleaner::may_judge_ages;
use crate::follower::Delta;
use crate::pods::API;
use crate::queue::Outcome;
use everleaf_api::meta;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Age at which they go: whatever is to become of one has become of it by then
/// (`cmd/kube-controller-manager/app/certificates.go`).
pub const AGE_MAX: SignedDuration = SignedDuration::from_mins(15);
const RIGHTS: &str = "it needs list, watch and delete on podcertificaterequests: see the ClusterRole \
                      system:controller:podcertificaterequestcleaner";

/// What is known of a request.
#[derive(Debug)]
struct Request {
    namespace: String,
    name: String,
    uid: String,
    created: Option<Timestamp>,
}

impl Request {
    fn read(object: &Value) -> Self {
        Self {
            namespace: meta::namespace(object).to_owned(),
            name: meta::name(object).to_owned(),
            uid: meta::uid(object).to_owned(),
            created: meta::creation_timestamp(object),
        }
    }
}

/// Whether a request that was created then may go at `now`, the API server's time; if not, after
/// how long.
pub fn decide(created: Timestamp, now: Timestamp) -> Result<(), SignedDuration> {
    let age = created.duration_until(now);
    match AGE_MAX.saturating_sub(age) {
        left if left.is_positive() => Err(left),
        _ => Ok(()),
    }
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct PodCertificateCleaner {
    requests: Cache<Request>,
}

impl Rules for PodCertificateCleaner {
    fn title(&self) -> &'static str {
        "PodCertificateRequest cleaner"
    }

    fn queue_name(&self) -> &'static str {
        "podcertificaterequest_cleaner"
    }

    fn watches(&self) -> &'static [Watched] {
        &[Watched::PodCertificateRequests]
    }

    fn take(&mut self, _: Watched, delta: Delta) -> Vec<String> {
        self.requests
            .take(delta, |object| Some(Request::read(&object)))
    }

    fn is_synced(&self) -> bool {
        self.requests.is_synced()
    }

    fn keys(&self) -> Vec<String> {
        self.requests.iter().map(|(key, _)| key.clone()).collect()
    }

    fn judge(&mut self, key: &str, moment: Moment, _: &mut Vec<Kept>) -> Verdict {
        let Some(request) = self.requests.get(key) else {
            return Verdict::Done(Outcome::Finished);
        };
        let Some(created) = request.created else {
            return Verdict::Done(Outcome::Finished);
        };
        let later = |left: SignedDuration| {
            let wait = left.unsigned_abs().min(LOOK_INTERVAL);
            Verdict::Done(Outcome::After(wait))
        };
        if let Err(left) = decide(created, moment.server()) {
            return later(left);
        }
        // Any call tells the server's time, and a follower made some before this.
        if !may_judge_ages(moment.offset, false) {
            return later(AGE_MAX);
        }
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": { "uid": request.uid },
        });
        let path = format!(
            "{API}/namespaces/{}/podcertificaterequests/{}",
            segment(&request.namespace),
            segment(&request.name)
        );
        Verdict::Call(Call::new(Method::DELETE, path, Some(options)))
    }

    fn answered(&mut self, key: &str, answer: &Answer, _: Moment, told: &mut Vec<Kept>) -> Reply {
        let request = key.to_owned();
        match answer {
            Ok(_) => told.push(Kept::PodCertificateCleaned { request }),
            // It is gone, or is another one by now, which the watch will say.
            Err(error) if matches!(error.code(), 404 | 409) => {}
            Err(error) => {
                let at_least = error.retry_after();
                let error = error.advised(RIGHTS);
                told.push(Kept::PodCleaningFailed { request, error });
                return Reply::Done(Outcome::Failed { at_least });
            }
        }
        Reply::Done(Outcome::Finished)
    }
}
