//! An agent in a hundred lines: a store in memory, an issuer in process, and a clock that is moved
//! by hand to wherever the machine wants to be woken. It sees ten rotations of a certificate of ten
//! years.
//!
//! `cargo run -p everleaf-rotation --example minimal_agent`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use everleaf_pki::{Chain, Issuer, KeyAlgorithm, KeySource, PrivateKey, SignerName};
use everleaf_pki::{Subject, SystemKeySource, Template, Usage, VerifiedRequest};
use everleaf_rotation::store::memory::MemoryStore;
use everleaf_rotation::{AwaitOutcome, CertStore, CertificateId, Config, ConfirmOutcome};
use everleaf_rotation::{CredentialVersion, Effect, Event, Monotonic, NAP_MAX, Notice, Now};
use everleaf_rotation::{
    PendingRequest, RequestName, RequestUid, Rotation, Sources, SubmitOutcome, Timing,
};
use jiff::{SignedDuration, Timestamp};
use std::error::Error;
use std::time::Duration;

/// Ten years, but for two leap days.
const LIFETIME: SignedDuration = SignedDuration::from_hours(87_600);

/// What carries out the effects of one machine.
struct Agent {
    store: MemoryStore,
    keys: SystemKeySource,
    issuer: Issuer,
    serial: u8,
}

impl Agent {
    /// Carries out `effect` at `now`, and says what came of it.
    fn perform(&mut self, effect: Effect, now: Now) -> Result<Option<Event>, Box<dyn Error>> {
        Ok(Some(match effect {
            Effect::Load => {
                // One credential stands outside the store: a token to begin with.
                let sources = Sources {
                    bootstrap: Some(CredentialVersion(1)),
                    ..Sources::default()
                };
                Event::Loaded(self.store.load(now.wall)?.loaded(sources))
            }
            Effect::AskVersion { .. } => Event::VersionAnswered { minor: Some(38) },
            Effect::Prepare(order) => {
                let key = self.keys.generate()?;
                let pem = order.template.to_request_pem(&key)?;
                let name = RequestName::new(format!("request-{}", self.serial + 1));
                let public_key = key.public_key().clone();
                let pending = PendingRequest::new(order, name, pem, public_key, now.wall);
                self.store.put_pending(&pending, &key)?;
                Event::Prepared(pending)
            }
            // A server would keep the request here until somebody approves it.
            Effect::Submit { pending, .. } => Event::Submitted {
                name: pending.name,
                outcome: SubmitOutcome::Created {
                    uid: RequestUid::new("1"),
                    server_date: Some(now.wall),
                },
            },
            Effect::RecordPending(pending) => {
                self.store.update_pending(&pending)?;
                return Ok(None);
            }
            Effect::Await { pending, .. } => Event::Awaited {
                name: pending.name.clone(),
                outcome: AwaitOutcome::Issued {
                    chain: self.sign(&pending, now.wall)?,
                    server_date: Some(now.wall),
                },
            },
            Effect::Install { chain } => {
                let name = now.wall.to_zoned(jiff::tz::TimeZone::UTC).datetime();
                let leaf = self.store.install(&chain, name)?.leaf().clone();
                Event::Installed { leaf }
            }
            Effect::Confirm { credential } => Event::ConfirmAnswered {
                credential,
                outcome: ConfirmOutcome::Confirmed {
                    server_date: Some(now.wall),
                },
            },
            Effect::Accept => Event::Accepted {
                deleted: self.store.accept()?,
            },
            Effect::DiscardPending => {
                self.store.discard_pending()?;
                Event::Discarded
            }
            Effect::Revert => Event::Reverted {
                leaf: self.store.revert()?.leaf().clone(),
            },
            // Nothing waits, and nobody else uses the certificate.
            Effect::CancelAwait | Effect::Publish { .. } => return Ok(None),
        }))
    }

    /// Signs what was asked for, if the request proves that it holds the key.
    fn sign(&mut self, pending: &PendingRequest, now: Timestamp) -> Result<Chain, Box<dyn Error>> {
        let request = VerifiedRequest::from_pem(pending.request_pem.as_bytes())?;
        self.serial += 1;
        Ok(self.issuer.issue_own(
            &pending.template,
            request.public_key(),
            &pending.usages,
            [self.serial; 16],
            now,
            now + LIFETIME,
        )?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut now = Now {
        wall: "2026-01-01T00:00:00Z".parse()?,
        monotonic: Monotonic::from_origin(Duration::ZERO),
    };
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
    let end = "2200-01-01T00:00:00Z".parse()?;
    let mut agent = Agent {
        store: MemoryStore::new("kubelet-client"),
        keys: SystemKeySource(KeyAlgorithm::EcdsaP256),
        issuer: Issuer::self_signed("example-ca", key, [1; 16], now.wall, end)?,
        serial: 1,
    };
    let config = Config {
        id: CertificateId::kubelet_client(),
        signer_name: SignerName::new(SignerName::KUBE_APISERVER_CLIENT_KUBELET),
        template: Some(Template {
            subject: Subject::node("node-1"),
            ..Template::default()
        }),
        usages: vec![Usage::DigitalSignature, Usage::ClientAuth],
        usages_long: Vec::new(),
        renews: true,
        expiration_seconds: None,
        timing: Timing::default(),
    };
    let mut machine = Rotation::new(config, 42);
    let mut rotations = 0;
    while rotations <= 10 {
        machine.handle_timeout(now);
        loop {
            while let Some(notice) = machine.poll_notice() {
                if let Notice::Installed { leaf, .. } = notice {
                    println!("{}: good until {}", now.wall, leaf.not_after);
                    rotations += 1;
                }
            }
            let Some(effect) = machine.poll_effect() else {
                break;
            };
            if let Some(event) = agent.perform(effect, now)? {
                machine.handle_event(now, event);
            }
        }
        // A real embedder sleeps here, for at most NAP_MAX, and looks at both clocks again.
        let nap = match machine.poll_timeout() {
            Some(wake) => wake.nap(now, Duration::MAX).max(Duration::from_secs(1)),
            None => NAP_MAX,
        };
        now.wall += SignedDuration::try_from(nap)?;
        now.monotonic = now.monotonic + nap;
    }
    Ok(())
}
