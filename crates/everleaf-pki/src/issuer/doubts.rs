//! What an operator should hear about a CA before it ends, and the end of what it cuts short.

use super::{Issuer, Warning};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

impl Issuer {
    /// What is doubtful about this CA for leaves of at most `duration`, by the clock `now`.
    pub fn doubts(&self, duration: Duration, now: Timestamp) -> Vec<Warning> {
        let body = self.certificate.body();
        let mut doubts = Vec::new();
        let mut doubt = |rule, text: String| doubts.push(Warning { rule, text });
        if body.subject_key_id.is_none() {
            doubt(
                "ca_without_key_identifier",
                "the CA certificate has no subject key identifier, so its leaves cannot name their issuer by key".into(),
            );
        }
        if !body.basic_constraints_critical {
            doubt(
                "ca_constraints_not_critical",
                "the basic constraints of the CA certificate are not critical (RFC 5280 4.2.1.9)"
                    .into(),
            );
        }
        if body.key_usage.is_none() {
            doubt(
                "ca_without_key_usage",
                "the CA certificate has no key usage (RFC 5280 4.2.1.3 wants keyCertSign)".into(),
            );
        }
        let left = now.duration_until(self.limit);
        if left
            < SignedDuration::try_from(duration.saturating_mul(2)).unwrap_or(SignedDuration::MAX)
        {
            doubt(
                "ca_ends_soon",
                format!(
                    "the CA, or one above it, ends at {}, before two lifetimes of {} h have passed: certificates are cut short as it comes near",
                    self.limit,
                    duration.as_secs() / 3600
                ),
            );
        }
        doubts
    }
}

/// The end of a certificate that would end with its CA at `limit`: earlier by a share of `random`
/// of 5 % of what is left, and of 30 days at most. Within the last 30 days it is `limit` itself,
/// since every second counts then.
pub fn spread_end(limit: Timestamp, now: Timestamp, random: u64) -> Timestamp {
    const MONTH_S: i64 = 30 * 24 * 3600;
    let left_s = limit.as_second().saturating_sub(now.as_second());
    if left_s <= MONTH_S {
        return limit;
    }
    let window_s = (left_s / 20).min(MONTH_S);
    let earlier_s = (i128::from(random) * i128::from(window_s)) >> 64;
    let earlier = SignedDuration::from_secs(i64::try_from(earlier_s).unwrap_or(0));
    limit.checked_sub(earlier).unwrap_or(limit)
}
