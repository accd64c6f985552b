//! "Did you mean …": the known word nearest to an unknown one.

/// The word of `known` nearest to `word`, and how many edits away it is, ignoring case. `None` when
/// nothing is near enough to be a slip.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<(&'a str, usize)> {
    let lower = word.to_lowercase();
    known
        .iter()
        .map(|candidate| (*candidate, distance(&lower, &candidate.to_lowercase())))
        .min_by_key(|(_, distance)| *distance)
        .filter(|(candidate, distance)| *distance <= candidate.len() / 4)
}

/// Levenshtein distance in bytes. Words are short: callers compare key names.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["rotateCertificates", "serverTLSBootstrap", "address"];
        for (word, expected) in [
            ("RotateCertificates", Some(("rotateCertificates", 0))),
            ("rotateCertificate", Some(("rotateCertificates", 1))),
            ("serverTlsBootstrap", Some(("serverTLSBootstrap", 0))),
            ("serverTLSBoostrap", Some(("serverTLSBootstrap", 1))),
            ("adress", Some(("address", 1))),
            ("somethingElseEntirely", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), expected, "{word}");
        }
    }
}
