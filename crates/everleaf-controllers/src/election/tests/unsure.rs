//! What may be written, and what not while the lease is unsure.

use super::*;

/// Until when what may be written may be, by a driver whose clocks agree.
fn permitted(driver: &Driver) -> Option<u64> {
    let permit = driver.machine.permit()?;
    let within = u64::try_from(permit.within.as_millis()).unwrap();
    let sent = u64::try_from(permit.sent.monotonic.since_origin().as_millis()).unwrap();
    assert!(permit.allows(at(sent + within - 1)) && !permit.allows(at(sent + within)));
    Some(sent + within)
}

#[test]
fn nothing_is_written_while_the_lease_is_unsure() {
    let mut driver = Driver::new();
    assert_eq!(permitted(&driver), None, "standing by");
    driver.answer(0, Answer::Lease(lease("", 1, "a")));
    assert_eq!(permitted(&driver), None, "claiming");
    driver.accept(50, 2);
    assert_eq!(permitted(&driver), Some(10_000), "since it was sent");
    driver.wake();
    driver.accept(2_700, 3);
    assert_eq!(permitted(&driver), Some(12_050));
    // Renewed late, by nobody else's fault.
    driver.wake();
    assert_eq!(
        permitted(&driver),
        Some(12_050),
        "while the next is under way"
    );
    driver.answer(4_800, conflict());
    assert_eq!(permitted(&driver), None, "it failed");
    driver.answer(4_900, failed("refused"));
    assert_eq!(permitted(&driver), None, "and is not to be read");
    let now = driver.wake();
    driver.answer(now, conflict());
    driver.answer(now + 10, Answer::Lease(lease("us", 7, "b")));
    assert_eq!(permitted(&driver), None, "ours, and not renewed");
    driver.accept(now + 20, 8);
    assert_eq!(permitted(&driver), Some(now + 10 + 10_000));
    driver.event(now + 30, Event::StopAsked);
    assert_eq!(
        permitted(&driver),
        Some(now + 10 + 10_000),
        "what is in hand"
    );
    driver.event(now + 40, Event::LoopsEnded);
    assert_eq!(permitted(&driver), None, "on its way out");
}
