//! What requests wait for: a brake, another CA, the issuance log.

use crate::issuance::Standing;
use crate::notice::{About, Notice};
use everleaf_api::duration::span;

/// An approval that waits although a rule allows it.
pub(super) fn log_hold(notice: &Notice) {
    match notice {
        Notice::Held {
            about,
            common_name,
            delay,
            clock_ahead,
        } => {
            let seconds = delay.as_secs();
            let ahead = span(clock_ahead.unsigned_abs());
            line!(
                warn,
                about,
                cn = common_name,
                delay_seconds = seconds,
                clock_ahead_seconds = clock_ahead.as_secs(),
                "{common_name} asks for certificates again and again although its last one \
                     has most of its life left: its clock seems to be at least {ahead} ahead of ours, \
                     or it loses what it gets; approval waits {seconds} s (kubectl certificate \
                     approve {} overrides)",
                about.csr
            );
        }
        Notice::HeldForCa {
            about,
            message,
            is_news: true,
        } => line!(warn, about, "csr {:?} waits: {message}", about.csr),
        Notice::HeldForCa { about, message, .. } => {
            line!(debug, about, "csr {:?} waits: {message}", about.csr);
        }
        _ => {}
    }
}

/// What became of the issuance log.
pub(super) fn log_standing(standing: &Standing) {
    match standing {
        Standing::Open(found) => {
            info!(entries = found.entries, "the issuance log is open");
            if let Some(file) = &found.torn {
                warn!(
                    file,
                    "the end of the issuance log was being written when it was left; what cannot be read of it is in {file}"
                );
            }
        }
        Standing::Unavailable(error) => warn!(
            "nothing is signed, since the issuance log cannot be written: {error}; trying again until it can"
        ),
    }
}
