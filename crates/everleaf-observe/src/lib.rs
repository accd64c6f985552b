//! What a process tells about itself, to whoever runs it.
//!
//! [`text`] writes the Prometheus text format; [`serve_apart`] answers `/metrics`, `/healthz`,
//! `/livez` and `/readyz` for whatever is [`Observed`], [`serve_tls_apart`] over TLS. Which metrics
//! there are, and what ready means, is decided by who is observed.
//!
//! ```
//! use everleaf_observe::text::{Kind, Text};
//!
//! let mut text = Text::default();
//! text.family("requests_total", Kind::Counter, "Requests answered.")
//!     .count(&[("code", "200")], 7);
//! assert!(text.finish().ends_with("\nrequests_total{code=\"200\"} 7\n"));
//! ```

mod listener;
pub mod text;

pub use listener::{Admits, Door, Listening, Observed, serve_apart, serve_plain, serve_tls_apart};
