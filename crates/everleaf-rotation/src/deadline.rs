//! The rotation deadline: when a certificate renews.
//!
//! A certificate becomes due at one instant between 70 % and 90 % of its lifetime, counted from
//! `notBefore`. The place inside that window comes from the leaf's own fingerprint: it is stable
//! over restarts and the same in every process that looks at the certificate, uniform over a fleet
//! (no herd after a mass enrolment), and there is no draw to repeat and nothing to store.
//!
//! The window is that of the kubelet (client-go `util/certificate/certificate_manager.go`,
//! `nextRotationDeadline`), which draws a new place on every look.

use everleaf_pki::{Fingerprint, Leaf};
use jiff::{SignedDuration, Timestamp};

/// First instant of the window, in tenths of the lifetime.
const WINDOW_OPENS_TENTHS: u128 = 7;
/// Width of the window, in tenths of the lifetime.
const WINDOW_WIDTH_TENTHS: u128 = 2;

/// The instant at which rotation of `leaf` becomes due: in [70 %, 90 %) of its lifetime.
///
/// Whether that instant has come is the caller's comparison.
pub fn rotation_deadline(leaf: &Leaf) -> Timestamp {
    deadline_at(
        leaf.not_before(),
        leaf.not_after(),
        place(&leaf.fingerprint()),
    )
}

/// A leaf's place in the window, as a numerator over 2^64: the first eight bytes of SHA-256(DER).
fn place(fingerprint: &Fingerprint) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&fingerprint.0[..8]);
    u64::from_be_bytes(first)
}

/// `not_before + lifetime · (0.7 + 0.2 · place / 2^64)`, in whole milliseconds, rounded down.
fn deadline_at(not_before: Timestamp, not_after: Timestamp, place: u64) -> Timestamp {
    let lifetime = not_after.duration_since(not_before);
    let lifetime_ms = u128::try_from(lifetime.as_millis()).unwrap_or(0);
    // At most 2^48 ms (year 9999) times 9 · 2^64: fits in 128 bits.
    let tenths = (WINDOW_OPENS_TENTHS << 64) + WINDOW_WIDTH_TENTHS * u128::from(place);
    let offset_ms = (lifetime_ms * tenths / 10) >> 64;
    let offset = SignedDuration::from_millis(i64::try_from(offset_ms).unwrap_or(i64::MAX));
    let deadline = not_before.saturating_add(offset).unwrap_or(not_before);
    assert!(deadline >= not_before, "a deadline lies after notBefore");
    assert!(deadline < not_after, "a deadline lies before expiry");
    deadline
}
