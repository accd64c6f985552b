//! What would cost too much is refused, and what is just below the limits is not.
//! `examples/costs.rs` measures the same chains.

use everleaf_pki::trust::{Presented, Purpose, Refusal, TrustBundle};
use everleaf_second_judge::NOW;
use everleaf_second_judge::hostile::{Hostile, crowd, quadratic, tree, with_policies};
use jiff::Timestamp;

const ED25519: usize = 2;
const DNS: u8 = 0x82;
const EMAIL: u8 = 0x81;

fn judge(hostile: &Hostile) -> Result<(), Refusal> {
    let now = Timestamp::from_second(i64::from(NOW)).expect("a time");
    let bundle = TrustBundle::from_ders([&hostile.root[..]]).expect("an anchor");
    let shown = Presented::from_ders(hostile.shown.iter().map(Vec::as_slice)).expect("readable");
    bundle.judge(&shown, Purpose::ClientAuth, now).map(drop)
}

#[test]
fn signatures_are_counted() {
    for hostile in [crowd(ED25519), tree(ED25519)] {
        assert!(matches!(
            judge(&hostile),
            Err(Refusal::TooManySignatures(100))
        ));
    }
}

#[test]
fn names_times_limits_times_ways_are_counted() {
    let refused = |hostile: &Hostile| matches!(judge(hostile), Err(Refusal::TooManyComparisons(_)));
    for (tag, base, name) in [(DNS, &b"b"[..], &b"a"[..]), (EMAIL, b"b@a", b"a@a")] {
        assert!(refused(&quadratic(1, usize::MAX, tag, base, name)));
        assert!(refused(&quadratic(30, 500, tag, base, name)));
        assert_eq!(judge(&quadratic(1, 490, tag, base, name)), Ok(()));
        assert_eq!(judge(&quadratic(30, 90, tag, base, name)), Ok(()));
    }
}

#[test]
fn policies_times_depth_are_counted() {
    let refused = |hostile: &Hostile| matches!(judge(hostile), Err(Refusal::TooManyComparisons(_)));
    assert!(refused(&with_policies(75, 3_000, 0)));
    assert!(refused(&with_policies(30, 1_500, 2_500)));
    assert_eq!(judge(&with_policies(10, 50, 100)), Ok(()));
}
