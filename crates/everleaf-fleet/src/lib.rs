//! A fleet at one instant: which certificates its nodes have, which of them will renew, and which
//! will lapse, and why.
//!
//! [`Fleet::of`] is a function of [`Facts`]: what the API of a cluster told, what an issuance log
//! holds, what kubelets show. [`Forecast::of`] is a function of a fleet and a horizon. No I/O, and
//! no rule of its own where there is one already: when a certificate renews is
//! [`everleaf_rotation::deadline`], where it stands [`everleaf_rotation::Standing`], what holds a
//! request [`everleaf_controllers::why`], what is refused [`everleaf_api::revocation`].
//!
//! ```text
//! Evidence (API) ─┐
//! Logbook (log)   ├─▶ Facts ─▶ Fleet ─▶ Forecast
//! Probe (kubelet) ┘
//! ```
//!
//! What is not known is said: the API forgets an issued request after an hour, so a node whose
//! certificate neither a request, nor a log, nor its kubelet shows is [`Standing::Unknown`].

mod authority;
mod certificate;
mod facts;
mod fleet;
mod forecast;
mod holding;
mod load;
mod node;
mod outlook;
mod pace;
mod request;
#[cfg(test)]
mod tests;
mod text;
mod trust;

pub use authority::Authority;
pub use certificate::{Certificate, Source};
pub use facts::{Facts, Logbook, Probe};
pub use fleet::{Counts, Fleet, Identity, Revocation};
pub use forecast::{Forecast, Lapse, Unforeseen};
pub use holding::{Holding, Keeper, Kind, Renewal, Standing};
pub use load::Load;
pub use node::{Node, Presence, probe_address};
pub use outlook::{Code, Outlook, Reason, Verdict};
pub use pace::Pace;
pub use request::{EXPLAINED_MAX, Hold, Request, State, to_explain};
