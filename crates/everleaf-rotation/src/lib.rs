//! When to rotate a certificate, and how to persist it.
//!
//! This crate owns the rotation machine (one per certificate), the rotation deadline, the standing
//! of a leaf, back-off, the record of a pending request, and the cert dir in the layout of the
//! kubelet. It refuses to know about runtimes, sockets, clocks, the environment and Kubernetes
//! objects; it touches a disk in [`store::dir`] only. The same code runs in an agent and in a
//! simulator.
//!
//! The rule "when does a certificate renew" is [`deadline::rotation_deadline`]; everything else
//! here is about doing it without ever losing a usable credential.
//!
//! ```text
//!            Event, now                       Effect                     CertStore
//!  embedder ────────────▶ rotation::Rotation ─────────▶ embedder's perform ─────────▶ disk
//!     ▲                        │ Notice                      │
//!     └────────────────────────┴─────────────────────────────┘ answers come back as events
//! ```
//!
//! # A minimal agent
//!
#![doc = "```"]
#![doc = include_str!("../examples/minimal_agent.rs")]
#![doc = "```"]

pub mod backoff;
pub mod certificate;
pub mod deadline;
pub mod effect;
pub mod event;
pub mod notice;
pub mod overdue;
pub mod rotation;
pub mod standing;
pub mod startup;
pub mod store;
pub mod time;

pub use certificate::{CertificateId, RenewedBy};
pub use deadline::{Timing, TimingError, Window, deadline_of, rotation_deadline};
pub use effect::{CredentialChoice, Effect, KeyForm, Order};
pub use event::{
    AwaitOutcome, ConfirmOutcome, CredentialVersion, Event, ExistingRequest, Loaded, Refusal,
    RefusalClass, Sources, SubmitOutcome,
};
pub use notice::{Notice, Severity};
pub use overdue::{Overdue, overdue};
pub use rotation::{Config, Phase, Rotation};
pub use standing::Standing;
pub use store::{CertStore, Finding, Opened, PendingRequest, RequestName, RequestUid, StoreError};
pub use time::{Monotonic, NAP_MAX, Now, Wake};
