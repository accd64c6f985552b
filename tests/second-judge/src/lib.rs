//! A second opinion on certificate chains.
//!
//! [`judge()`] answers as `everleaf_pki::trust` should, from another parser (`x509-parser`) and
//! rules written down once more; it is slow and simple, and knows nothing of ours. [`corpus()`]
//! makes sound chains, [`mutate`] breaks them, also so that the signatures still fit. The test of
//! this crate and the fuzz target demand: what we believe, the second judge does not refuse.

#![expect(
    clippy::unwrap_used,
    reason = "made-up chains that cannot be made have failed"
)]

mod case;
mod corpus;
pub mod der;
mod extensions;
pub mod hostile;
mod judge;
mod member;
mod mutation;
mod names;

pub use case::{Case, Form, KEYS, Member, sign};
pub use corpus::{NOW, corpus, names_below_limits};
pub use judge::{Verdict, judge};
pub use mutation::{Dice, mutate};
