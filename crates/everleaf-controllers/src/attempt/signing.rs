//! What an attempt of a signer's loop does.

use super::{Attempt, Phase, Step, Written, writable};
use crate::builtin::BuiltinSigner;
use crate::core::Core;
use crate::event;
use crate::index::OpenRequest;
use crate::issuance::Entry;
use crate::notice::{About, Notice};
use crate::queue::Outcome;
use crate::record::LeafFacts;
use crate::signer::{self, Failure, Issuance};
use everleaf_api::csr::{self, FAILED};
use everleaf_pki::ApprovedRequest;
use everleaf_time::Now;
use std::time::Duration;

/// Time until a request is tried again that could not be logged.
const LOG_PATIENCE: Duration = Duration::from_secs(15);

impl Attempt {
    pub(super) fn sign(
        &mut self,
        request: &OpenRequest,
        signer: BuiltinSigner,
        core: &Core,
        now: Now,
    ) {
        match signer::decide(request, signer) {
            signer::Action::Leave => self.done(Outcome::Finished),
            signer::Action::Fail(failure) => self.fail(request, failure, now),
            signer::Action::Sign(_) if core.issuer(signer).is_none() => {
                self.done(Outcome::Finished);
            }
            signer::Action::Sign(approved) => {
                self.tell(Notice::Signing {
                    about: About::of(request.csr()),
                    common_name: approved.request().subject().common_name.clone(),
                    duration: everleaf_pki::signer::granted_duration(
                        core.signing_duration(),
                        approved.expiration_seconds(),
                    ),
                });
                self.phase = Phase::Announced(approved);
            }
        }
    }

    pub(super) fn issue(
        &mut self,
        request: &OpenRequest,
        signer: BuiltinSigner,
        approved: &ApprovedRequest,
        core: &Core,
        now: Now,
    ) {
        if let Some(error) = core.log_trouble() {
            return self.wait_for_log(request, error, core, now);
        }
        match core.issue(signer, approved, now) {
            Issuance::Failed(failure) => self.fail(request, failure, now),
            Issuance::Unavailable(error) => {
                let about = About::of(request.csr());
                self.tell(Notice::SignerUnavailable { about, error });
                self.done(Outcome::FAILED);
            }
            Issuance::Issued(mut issued) => {
                for warning in std::mem::take(&mut issued.warnings) {
                    if core.is_first_warning(signer, warning.rule) {
                        let about = About::of(request.csr());
                        self.tell(Notice::Doubtful { about, warning });
                    }
                }
                let mut object = writable(request);
                csr::set_certificate(&mut object, &issued.chain.to_pem());
                let written = Written::Certificate {
                    leaf: LeafFacts::of(issued.chain.leaf()),
                    truncated: issued.truncated,
                };
                if !core.is_logging() {
                    return self.write("status", object, written);
                }
                let entry = Entry::of(request, approved, &issued, now.wall);
                self.steps.push_back(Step::Log(Box::new(entry)));
                self.phase = Phase::Logging { object, written };
            }
        }
    }

    /// Takes in whether the entry that was asked for is durable. If not, nobody gets the
    /// certificate.
    pub fn logged(&mut self, logged: Result<(), String>, core: &Core, now: Now) {
        match (std::mem::replace(&mut self.phase, Phase::Ended), logged) {
            (Phase::Logging { object, written }, Ok(())) => {
                self.write("status", object, written);
            }
            (Phase::Logging { .. }, Err(error)) => {
                if let Some(request) = self.request.clone() {
                    self.wait_for_log(&request, error, core, now);
                }
            }
            // An answer that nobody asked for changes nothing.
            (phase, _) => self.phase = phase,
        }
    }

    /// The issuance log cannot be written: the request waits, and people hear why.
    fn wait_for_log(&mut self, request: &OpenRequest, error: String, core: &Core, now: Now) {
        const REASON: &str = "IssuanceLogUnavailable";
        let csr = request.csr();
        let message =
            format!("approved, and nothing is signed: the issuance log cannot be written: {error}");
        let about = About::of(csr);
        self.tell(Notice::NotLogged { about, error });
        let outcome = Outcome::After(LOG_PATIENCE);
        match core.admit_event(REASON, csr.uid(), now) {
            Some(_) => self.note(event::of(csr, REASON, &message, now), outcome),
            None => self.done(outcome),
        }
    }

    fn fail(&mut self, request: &OpenRequest, failure: Failure, now: Now) {
        let mut object = writable(request);
        let (reason, message) = (failure.reason(), failure.to_string());
        csr::push_condition(&mut object, FAILED, reason, &message, Some(now.wall));
        self.write("status", object, Written::Failure(failure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Task;
    use crate::call::Call;
    use crate::config::Config;
    use crate::fixture::{authority, kubelet_client, now};
    use crate::follower::Delta;
    use crate::issuers::{Issuers, Terms};
    use crate::serving::PolicySet;
    use everleaf_time::Monotonic;
    use http::Method;
    use jiff::SignedDuration;
    use std::sync::Arc;

    const SIGNER: BuiltinSigner = BuiltinSigner::KubeApiserverClientKubelet;

    fn moment() -> Now {
        Now {
            wall: now(),
            monotonic: Monotonic::default(),
        }
    }

    fn core() -> Core {
        let issuer = Arc::new(authority(SignedDuration::from_hours(1000)));
        let config = Config::in_process(issuer);
        let (issuers, _) = Issuers::load(&config.issuers, Terms::of(&config)).unwrap();
        let core = Core::new(&config, issuers, PolicySet::default()).logging();
        let request = kubelet_client("n1").approved().open().object().clone();
        core.take(Delta::Put(request), moment());
        core
    }

    fn begin(core: &Core) -> Attempt {
        core.begin(Task::Sign(SIGNER), "csr-abcde", Monotonic::default())
    }

    fn is_write(call: &Call) -> bool {
        call.method == Method::PUT
    }

    /// The order that counts: signed, logged, and only then written.
    #[test]
    fn nothing_is_written_before_it_is_logged() {
        let core = core();
        let mut attempt = begin(&core);
        let entry = loop {
            match attempt.step(&core, moment()) {
                Step::Log(entry) => break entry,
                Step::Tell(_) => {}
                other => panic!("before the log: {other:?}"),
            }
        };
        assert_eq!(entry.cn, "system:node:n1");
        assert_eq!(entry.csr, "csr-abcde");
        assert_eq!(entry.requester, "system:node:n1");
        assert_eq!(
            entry.usages,
            ["digital signature", "key encipherment", "client auth"]
        );
        assert!(
            !entry.serial.is_empty() && entry.spki_hash().is_some() && !entry.ca_ski.is_empty()
        );
        attempt.logged(Ok(()), &core, moment());
        let Step::Call(call) = attempt.step(&core, moment()) else {
            panic!("the certificate is not written");
        };
        assert!(is_write(&call));
    }

    /// Trouble when it comes and while it lasts: no certificate leaves, it is told once in an
    /// Event, and tried again.
    #[test]
    fn without_the_log_nobody_gets_a_certificate() {
        let core = core();
        let mut events = Vec::new();
        for turn in 0..3 {
            let mut attempt = begin(&core);
            let outcome = loop {
                match attempt.step(&core, moment()) {
                    Step::Log(_) => {
                        assert_eq!(turn, 0, "signed although the log was known to be away");
                        attempt.logged(Err("disk full".to_owned()), &core, moment());
                        core.set_log_trouble(Some("disk full".to_owned()));
                    }
                    Step::Call(call) => {
                        assert!(!is_write(&call), "a certificate left");
                        events.push(call.body.unwrap()["message"].clone());
                        attempt.answer(&Ok("{}".into()), &core, moment());
                    }
                    Step::Done(outcome) => break outcome,
                    Step::Look(_) | Step::Tell(_) => {}
                }
            };
            assert_eq!(outcome, Outcome::After(LOG_PATIENCE));
        }
        let words =
            "approved, and nothing is signed: the issuance log cannot be written: disk full";
        assert_eq!(events, [words]);
        core.set_log_trouble(None);
        let mut attempt = begin(&core);
        let mut is_signed = false;
        while !is_signed {
            is_signed = matches!(attempt.step(&core, moment()), Step::Log(_));
        }
    }
}
