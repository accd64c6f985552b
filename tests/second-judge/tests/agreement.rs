//! What `everleaf_pki::trust` believes, the second judge does not refuse: for chains broken in many ways, each of them signed
//! again so that the two must disagree about what it says.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose stage cannot be set has failed"
)]

use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use everleaf_second_judge::{Case, Dice, NOW, Verdict, corpus, judge, mutate, names_below_limits};
use jiff::Timestamp;
use std::fmt::Write;

/// Broken chains that are judged; all in a few seconds without optimisation.
const ROUNDS: u64 = 6_000;

/// Whether ours believes it, or why not.
fn ours(case: &Case) -> Result<(), String> {
    let (anchors, shown) = (case.anchors(), case.shown());
    let now = Timestamp::from_second(i64::from(case.now)).unwrap();
    let bundle = TrustBundle::from_ders(anchors.iter().map(Vec::as_slice))
        .map_err(|error| error.to_string())?;
    let shown =
        Presented::from_ders(shown.iter().map(Vec::as_slice)).map_err(|error| error.to_string())?;
    let path = bundle
        .judge(&shown, Purpose::ClientAuth, now)
        .map_err(|error| error.to_string())?;
    assert!(path.holds_at(now));
    Ok(())
}

fn second(case: &Case) -> Verdict {
    judge(&case.anchors(), &case.shown(), i64::from(case.now))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn sound_chains_are_believed_by_both() {
    for (number, case) in corpus().iter().enumerate() {
        assert_eq!(case.now, NOW);
        assert_eq!(ours(case), Ok(()), "case {number}");
        assert_eq!(second(case), Verdict::Yes, "case {number}");
        assert_eq!(Case::from_bytes(&case.to_bytes()).as_ref(), Some(case));
    }
}

/// What the two say; a line about it when we believe what the second judge does not.
fn disagreement(case: &Case) -> (Result<(), String>, Verdict, Option<String>) {
    let (ours, second) = (ours(case), second(case));
    let line = match (&ours, &second) {
        (Ok(()), Verdict::No(reason)) => Some(format!("{reason}\n  {}", hex(&case.to_bytes()))),
        _ => None,
    };
    (ours, second, line)
}

#[test]
fn names_below_limits_are_judged_alike() {
    let (mut believed, mut stricter, mut disagreements) = (0, 0, Vec::new());
    for case in names_below_limits() {
        let (ours, second, line) = disagreement(&case);
        believed += u32::from(ours.is_ok());
        stricter += u32::from(ours.is_err() && second == Verdict::Yes);
        disagreements.extend(line);
    }
    println!("{believed} believed, {stricter} refused by us alone");
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    assert!(believed > 100, "{believed}");
}

#[test]
fn what_we_believe_the_second_judge_does_not_refuse() {
    let corpus = corpus();
    let mut disagreements = Vec::new();
    let (mut believed, mut stricter) = (0, 0);
    for seed in 0..ROUNDS {
        let mut dice = Dice::new(seed);
        let mut case = corpus[dice.below(corpus.len())].clone();
        mutate(&mut case, &corpus, &mut dice);
        let (ours, second, line) = disagreement(&case);
        believed += u64::from(ours.is_ok());
        stricter += u32::from(ours.is_err() && second == Verdict::Yes);
        disagreements.extend(line.map(|line| format!("seed {seed}: {line}")));
    }
    println!("{believed} of {ROUNDS} believed, {stricter} refused by us alone");
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    // Else the test would be about refusals alone.
    assert!(believed > ROUNDS / 8, "{believed}");
}
