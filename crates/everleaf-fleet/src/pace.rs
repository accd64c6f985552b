//! How much is issued: the certificates of the last hour, for as long as the API server keeps their
//! requests (kubernetes `pkg/controller/certificates/cleaner`).

use everleaf_api::csr::{APPROVED, Csr};
use everleaf_api::meta;
use everleaf_controllers::why::Evidence;
use jiff::SignedDuration;
use serde::Serialize;

/// Length of a step.
const STEP: SignedDuration = SignedDuration::from_mins(5);
/// Steps of an hour.
const STEPS: usize = 12;

/// Certificates that were issued within the last hour, by when their requests were approved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// Of every five minutes, the last ones at the end.
    pub steps: [usize; STEPS],
}

impl Pace {
    /// By what the API told; `None`: requests could not be read.
    pub fn of(evidence: &Evidence) -> Option<Self> {
        let mut steps = [0; STEPS];
        for object in evidence.requests.read()? {
            let csr = Csr(object);
            if !csr.is_issued() {
                continue;
            }
            let conditions = csr.conditions();
            let approved = conditions.iter().find(|one| one.kind == APPROVED);
            let at = approved.and_then(|approved| approved.last_update_time);
            let Some(at) = at.or_else(|| meta::creation_timestamp(object)) else {
                continue;
            };
            // An approver's clock may be a little ahead.
            let age = evidence.now.duration_since(at).max(SignedDuration::ZERO);
            let back = usize::try_from(age.as_secs() / STEP.as_secs()).unwrap_or(STEPS);
            if let Some(step) = STEPS.checked_sub(back + 1) {
                steps[step] += 1;
            }
        }
        Some(Self { steps })
    }

    /// Of the whole hour.
    pub fn total(&self) -> usize {
        self.steps.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_api::csr;
    use everleaf_controllers::why::Known;
    use jiff::Timestamp;
    use serde_json::Value;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn issued(filed: &str, approved: Option<&str>) -> Value {
        let mut object = csr::build("a", "", "PEM", "example.com/s", &["client auth"], None);
        object["metadata"]["creationTimestamp"] = filed.into();
        let approved = approved.map(at);
        csr::push_condition(&mut object, APPROVED, "A", "", approved);
        csr::set_certificate(&mut object, "PEM");
        object
    }

    #[test]
    fn an_hour_is_counted_in_steps_of_five_minutes() {
        let mut pending = issued("2030-01-01T11:59:00Z", None);
        pending["status"] = serde_json::json!({});
        let requests = vec![
            issued("2030-01-01T11:59:00Z", None),
            issued("2030-01-01T12:00:09Z", None),
            issued("2030-01-01T10:00:00Z", Some("2030-01-01T11:54:00Z")),
            issued("2030-01-01T11:00:01Z", None),
            issued("2030-01-01T11:00:00Z", None),
            issued("2020-01-01T00:00:00Z", None),
            pending,
        ];
        let mut evidence = Evidence {
            now: at("2030-01-01T12:00:00Z"),
            requests: Known::Read(requests),
            ..Evidence::default()
        };
        let pace = Pace::of(&evidence).unwrap();
        assert_eq!(pace.steps, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(pace.total(), 4);
        evidence.requests = Known::Hidden("no".to_owned());
        assert_eq!(Pace::of(&evidence), None);
    }
}
