//! When the certificates end that `up` made for itself, as metrics.

use everleaf_apiserver::serve::ServingCertificate;
use everleaf_controllers::issuers::SharedIssuer;
use everleaf_observe::Observed;
use everleaf_observe::text::{Kind, Text};
use std::sync::Arc;

/// The certificates in use, whichever they are when somebody asks.
pub(crate) struct Ends {
    /// Signs for nodes.
    pub(crate) issuer: SharedIssuer,
    /// The API server's.
    pub(crate) serving: Arc<ServingCertificate>,
}

impl Observed for Ends {
    fn metrics_text(&self) -> String {
        let mut text = Text::default();
        let mut family = text.family(
            "everleaf_up_certificate_expiry_timestamp_seconds",
            Kind::Gauge,
            "End of a certificate that everleaf up made for itself, Unix time.",
        );
        let ca = self.issuer.current().certificate().not_after();
        for (certificate, end) in [("ca", Some(ca)), ("apiserver", self.serving.ends_at())] {
            if let Some(end) = end {
                family.sample(&[("certificate", certificate)], end.as_second() as f64);
            }
        }
        text.finish()
    }

    fn check_ready(&self) -> Result<(), String> {
        Ok(())
    }
}
