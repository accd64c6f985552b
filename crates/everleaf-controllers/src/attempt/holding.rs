//! Approvals that wait although a rule allows them.

use super::Attempt;
use crate::core::Core;
use crate::event;
use crate::index::OpenRequest;
use crate::notice::{About, Notice};
use crate::queue::Outcome;
use crate::serving::NODE_PREFIX;
use everleaf_api::duration::span;
use everleaf_time::Now;
use jiff::SignedDuration;
use serde_json::json;
use std::collections::VecDeque;
use std::time::Duration;

/// Time until a renewal is looked at again that the CA's end makes useless: a new CA may be there.
const CA_PATIENCE: Duration = Duration::from_secs(60);

impl Attempt {
    /// The loop breaker delays an approval. People hear of it on the request and on the Node.
    pub(super) fn hold(&mut self, request: &OpenRequest, delay: Duration, core: &Core, now: Now) {
        const REASON: &str = "RotationLoopSuspected";
        let clock_ahead = core.clock_ahead(request, now);
        core.begin_hold(request, delay, now);
        let common_name = common_name(request);
        let csr = request.csr();
        self.tell(Notice::Held {
            about: About::of(csr),
            common_name: common_name.clone(),
            delay,
            clock_ahead,
        });
        let outcome = Outcome::After(delay);
        let Some(count) = core.admit_event(REASON, &common_name, now) else {
            return self.done(outcome);
        };
        let message = format!(
            "{common_name} asks for certificates again and again although its last one has most of its life left: its \
             clock seems to be at least {} ahead of the signer's, or it loses what it gets; approval waits {} s (kubectl \
             certificate approve {} overrides)",
            span(clock_ahead.unsigned_abs()),
            delay.as_secs(),
            csr.name()
        );
        let mut events = VecDeque::from([event::of(csr, REASON, &message, now)]);
        if let Some(node) = common_name.strip_prefix(NODE_PREFIX)
            && core.has_node(node) != Some(false)
        {
            // As kubelets file theirs: under the Node's name in place of its UID.
            let node = json!({ "apiVersion": "v1", "kind": "Node", "name": node, "uid": node });
            events.push_back(event::about(node, REASON, &message, count, now));
        }
        self.note_all(events, outcome);
    }

    /// Whether a renewal waits for another CA, since it would gain nothing worth the trouble.
    pub(super) fn holds_for_ca(&mut self, request: &OpenRequest, core: &Core, now: Now) -> bool {
        const REASON: &str = "RenewalHeldForCA";
        let Some((ca_end, gain)) = core.gains_little(request, now) else {
            return false;
        };
        let csr = request.csr();
        let common_name = common_name(request);
        let is_news = core.admit_event(REASON, &common_name, now).is_some();
        let message = format!(
            "{common_name} would gain {} by renewing, since the CA ends at {ca_end}: not approved until the CA is renewed \
             (kubectl certificate approve {} overrides)",
            span(gain.max(SignedDuration::ZERO).unsigned_abs()),
            csr.name()
        );
        self.tell(Notice::HeldForCa {
            about: About::of(csr),
            message: message.clone(),
            is_news,
        });
        let outcome = Outcome::After(CA_PATIENCE);
        match is_news {
            true => self.note(event::of(csr, REASON, &message, now), outcome),
            false => self.done(outcome),
        }
        true
    }
}

fn common_name(request: &OpenRequest) -> String {
    let request = request.request();
    let name = request.map(|request| request.subject().common_name.clone());
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::attempt::{Attempt, Step, Task};
    use crate::builtin::BuiltinSigner;
    use crate::config::Config;
    use crate::core::Core;
    use crate::fixture::{authority, kubelet_client, now};
    use crate::follower::Delta;
    use crate::issuers::{Issuers, Terms};
    use crate::queue::Outcome;
    use crate::serving::PolicySet;
    use crate::signer::{self, Issuance};
    use everleaf_api::csr;
    use everleaf_time::{Monotonic, Now};
    use jiff::SignedDuration;
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::time::Duration;

    fn at(after: SignedDuration) -> Now {
        Now {
            wall: now() + after,
            monotonic: Monotonic::from_origin(after.unsigned_abs()),
        }
    }

    fn core(ca_ends_in: SignedDuration, signing_duration: Duration) -> Core {
        let mut config = Config::in_process(Arc::new(authority(ca_ends_in)));
        config.signing_duration = signing_duration;
        config.early_renewals = 0;
        let (issuers, _) = Issuers::load(&config.issuers, Terms::of(&config)).unwrap();
        Core::new(&config, issuers, PolicySet::default())
    }

    /// The node has a certificate of the core's CA, from now on.
    fn give(core: &Core) {
        let request = kubelet_client("n1").approved().open();
        let mut object = request.object().clone();
        let by = BuiltinSigner::KubeApiserverClientKubelet;
        let signer::Action::Sign(approved) = signer::decide(&request, by) else {
            panic!("not approved");
        };
        let Issuance::Issued(issued) = core.issue(by, &approved, at(SignedDuration::ZERO)) else {
            panic!("not issued");
        };
        csr::set_certificate(&mut object, &issued.chain.to_pem());
        object["metadata"]["name"] = json!("csr-before");
        core.take(Delta::Put(object), at(SignedDuration::ZERO));
    }

    /// A renewal is tried; what is written or noted, and how it ends.
    fn renew(core: &Core, now: Now) -> (Vec<Value>, Outcome) {
        core.take(
            Delta::Put(kubelet_client("n1").open().object().clone()),
            now,
        );
        let mut attempt: Attempt = core.begin(Task::Approve, "csr-abcde", now.monotonic);
        let mut calls = Vec::new();
        loop {
            match attempt.step(core, now) {
                Step::Done(outcome) => return (calls, outcome),
                Step::Call(call) => {
                    if !call.path.contains("subjectaccessreviews") {
                        calls.push(call.body.unwrap_or_default());
                    }
                    let answer = json!({"status": {"allowed": true}}).to_string();
                    attempt.answer(&Ok(answer.into()), core, now);
                }
                Step::Log(_) | Step::Look(_) | Step::Tell(_) => {}
            }
        }
    }

    const HOUR: SignedDuration = SignedDuration::from_hours(1);
    const YEAR: Duration = Duration::from_secs(8760 * 3600);

    /// Request and Node hear of a loop, with how far the node's clock is ahead.
    #[test]
    fn a_loop_is_told_on_the_request_and_on_the_node() {
        let core = core(HOUR * 24 * 3650, YEAR);
        give(&core);
        let (events, outcome) = renew(&core, at(HOUR / 60));
        assert_eq!(outcome, Outcome::After(Duration::from_secs(60)));
        let kinds: Vec<_> = events
            .iter()
            .map(|event| &event["involvedObject"]["kind"])
            .collect();
        assert_eq!(kinds, ["CertificateSigningRequest", "Node"]);
        assert_eq!(events[1]["involvedObject"]["name"], "n1");
        for event in &events {
            assert_eq!(event["reason"], "RotationLoopSuspected");
            assert_eq!(event["type"], "Warning");
            let message = event["message"].as_str().unwrap();
            assert!(message.contains("at least 255d ahead"), "{message}");
        }
        let (again, _) = renew(&core, at(HOUR / 40));
        assert_eq!(
            again,
            Vec::<Value>::new(),
            "an Event each time would be a storm"
        );
    }

    /// C6 of the rules about clocks: near the CA's end a renewal has to gain ten minutes.
    #[test]
    fn near_the_end_of_its_ca_a_renewal_has_to_gain_something() {
        let core = core(HOUR * 20, YEAR);
        let (first, outcome) = renew(&core, at(SignedDuration::ZERO));
        assert_eq!(
            outcome,
            Outcome::Finished,
            "who has none gets one: {first:?}"
        );
        give(&core);
        let (events, outcome) = renew(&core, at(HOUR * 17));
        assert_eq!(outcome, Outcome::After(super::CA_PATIENCE));
        assert_eq!(events[0]["reason"], "RenewalHeldForCA");
        let message = events[0]["message"].as_str().unwrap();
        assert!(
            message.contains("would gain 0s") && message.contains("the CA ends at"),
            "{message}"
        );
    }

    /// What is short by itself is renewed as ever, also when the CA is near its end.
    #[test]
    fn short_certificates_are_renewed_near_the_end_of_their_ca() {
        let core = core(HOUR * 20, Duration::from_secs(600));
        give(&core);
        let (_, outcome) = renew(&core, at(HOUR / 60 * 8));
        assert_eq!(outcome, Outcome::Finished);
    }
}
