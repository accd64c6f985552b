//! When the certificates end that `up` made for itself, as metrics.

use super::authority::Authority;
use everleaf_observe::Observed;
use everleaf_observe::text::{Kind, Text};
use jiff::Timestamp;

/// What each is, and when it ends.
#[derive(Debug)]
pub(crate) struct Ends(Vec<(&'static str, Timestamp)>);

impl Ends {
    /// Of the certificates in use from now on.
    pub(crate) fn of(authority: &Authority) -> Self {
        Self(vec![
            ("ca", authority.issuer.certificate().not_after()),
            ("apiserver", authority.server.leaf().not_after()),
        ])
    }
}

impl Observed for Ends {
    fn metrics_text(&self) -> String {
        let mut text = Text::default();
        let mut family = text.family(
            "everleaf_up_certificate_expiry_timestamp_seconds",
            Kind::Gauge,
            "End of a certificate that everleaf up made for itself, Unix time.",
        );
        for (certificate, end) in &self.0 {
            family.sample(&[("certificate", *certificate)], end.as_second() as f64);
        }
        text.finish()
    }

    fn check_ready(&self) -> Result<(), String> {
        Ok(())
    }
}
