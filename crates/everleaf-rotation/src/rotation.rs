//! The rotation machine: one per certificate.

use crate::effect::{CredentialChoice, Effect};
use crate::event::Event;
use crate::notice::Notice;
use crate::standing::Standing;
use crate::time::{Now, Wake};
use everleaf_pki::{Leaf, SignerName, Template, Usage};
use jiff::Timestamp;
use std::time::Duration;

/// How long one `Await` may last; afterwards the same request is awaited again
/// (client-go `certificate_manager.go`, `certificateWaitTimeout`).
pub const AWAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The node toward the API server: its own credential authenticates its renewal.
    Client,
    /// The node's own TLS server: the client certificate authenticates its requests.
    Serving,
}

impl Kind {
    /// `client` or `serving`, as in log fields and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Serving => "serving",
        }
    }
}

/// What one machine keeps renewed.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the certificate is for.
    pub kind: Kind,
    /// Who should sign.
    pub signer_name: SignerName,
    /// Subject and SANs wanted at start; `None` when not known yet. Later changes come as
    /// [`Event::TemplateChanged`].
    pub template: Option<Template>,
    /// Usages to ask for.
    pub usages: Vec<Usage>,
    /// Usages to ask for, once, when the server rejects the others (API servers before 1.25 insist on
    /// key encipherment). Empty for never.
    pub usages_long: Vec<Usage>,
    /// `spec.expirationSeconds`; `None` leaves the lifetime to the signer, as a kubelet does.
    pub expiration_seconds: Option<i32>,
}

/// What the machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// For a verdict on the pending request.
    Awaiting,
    /// After a failure.
    BackingOff,
    /// Writing, confirming or pruning credentials.
    Installing,
    /// Reading the store, making key and request.
    Preparing,
    /// Nothing more can be tried without a person; it goes on trying slowly.
    Stuck,
    /// Creating the request.
    Submitting,
    /// For a deadline, a template, or the client certificate.
    Waiting,
}

impl Phase {
    /// The word: `waiting`, `backing off`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Awaiting => "awaiting",
            Self::BackingOff => "backing off",
            Self::Installing => "installing",
            Self::Preparing => "preparing",
            Self::Stuck => "stuck",
            Self::Submitting => "submitting",
            Self::Waiting => "waiting",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The machine. Deterministic: the same seed and the same calls give the same effects and notices.
#[derive(Debug)]
pub struct Rotation {
    config: Config,
}

impl Rotation {
    /// A machine that has not looked at anything yet. `seed` feeds its jitter. Call
    /// [`handle_timeout`](Self::handle_timeout) once to start it.
    pub fn new(config: Config, _seed: u64) -> Self {
        Self { config }
    }

    /// Takes in what happened, at `now`.
    pub fn handle_event(&mut self, _now: Now, _event: Event) {
        unimplemented!()
    }

    /// Looks at the time. To be called when [`poll_timeout`](Self::poll_timeout) is reached, and at
    /// least every [`NAP_MAX`](crate::NAP_MAX).
    pub fn handle_timeout(&mut self, _now: Now) {
        unimplemented!()
    }

    /// The next thing to carry out, in order. Drain it after each `handle_…` call.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        unimplemented!()
    }

    /// The next thing to tell, in order. Drain it after each `handle_…` call.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        unimplemented!()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next; `None` when only an event helps.
    pub fn poll_timeout(&self) -> Option<Wake> {
        unimplemented!()
    }

    /// What the certificate is for.
    pub fn kind(&self) -> Kind {
        self.config.kind
    }

    /// What the machine is doing.
    pub fn phase(&self) -> Phase {
        unimplemented!()
    }

    /// Standing of the current credential at `now`.
    pub fn standing(&self, _now: Timestamp) -> Standing {
        unimplemented!()
    }

    /// Leaf of the current credential, expired or not.
    pub fn current(&self) -> Option<&Leaf> {
        unimplemented!()
    }

    /// Rotation deadline of the current credential.
    pub fn deadline(&self) -> Option<Timestamp> {
        unimplemented!()
    }

    /// The credential that the embedder's own requests should use now: `Current` if there is one.
    pub fn credential(&self) -> Option<CredentialChoice> {
        unimplemented!()
    }

    /// Whether the last request showed a working API server; `false` before the first one.
    pub fn is_server_healthy(&self) -> bool {
        unimplemented!()
    }
}
