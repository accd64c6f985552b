//! What `everleaf_pki::trust` believes, the second judge does not refuse: for chains broken in many
//! ways, each of them signed again so that the two must disagree about what it says.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose stage cannot be set has failed"
)]

use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use everleaf_second_judge::{Case, Dice, NOW, Verdict, corpus, judge, mutate, names_below_limits};
use jiff::Timestamp;
use std::fmt::Write;

/// Broken chains that are judged; all in a few seconds without optimisation.
const ROUNDS: u64 = 8_000;

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

/// What once was believed against the second judge, or made something panic: the fuzz target's
/// inputs, and mutations that Go was asked about.
#[test]
fn what_once_went_wrong_goes_right() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let case = Case::from_bytes(&std::fs::read(&path).unwrap()).unwrap();
        // All of them are refused by Go.
        assert_eq!(believed(&case), Ok(false), "{}", path.display());
        assert!(second(&case) != Verdict::Yes, "{}", path.display());
        seen += 1;
    }
    assert!(seen > 0, "no regressions in {directory}");
}

/// Whether we believe it; as an error when the second judge does not.
fn believed(case: &Case) -> Result<bool, String> {
    if ours(case).is_err() {
        return Ok(false);
    }
    match second(case) {
        Verdict::No(reason) => Err(format!("{reason}\n  {}", hex(&case.to_bytes()))),
        Verdict::Yes | Verdict::Abstains(_) => Ok(true),
    }
}

#[test]
fn names_below_limits_are_judged_alike() {
    let verdicts: Result<Vec<bool>, String> =
        names_below_limits().map(|case| believed(&case)).collect();
    let count = verdicts.unwrap().iter().filter(|&&verdict| verdict).count();
    assert!(count > 100, "{count}");
}

#[test]
fn what_we_believe_the_second_judge_does_not_refuse() {
    let corpus = corpus();
    let mut disagreements = Vec::new();
    let mut count = 0;
    for seed in 0..ROUNDS {
        let mut dice = Dice::new(seed);
        let mut case = corpus[dice.below(corpus.len())].clone();
        mutate(&mut case, &corpus, &mut dice);
        match believed(&case) {
            Ok(verdict) => count += u64::from(verdict),
            Err(reason) => disagreements.push(format!("seed {seed}: {reason}")),
        }
    }
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    // Else the test would be about refusals alone.
    assert!(count > ROUNDS / 8, "{count} of {ROUNDS}");
}
