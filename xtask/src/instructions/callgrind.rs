//! What callgrind wrote: which function executed how many instructions itself, and whom it called.
//!
//! The format: valgrind's manual, "Callgrind Format Specification". With `--compress-strings=no`
//! names are in full everywhere, so that there are no numbers to be resolved.

use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// How names of the cryptographic library's functions begin: aws-lc puts its version behind it.
const CRYPTO: &str = "aws_lc_";

/// Instructions of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Of the cryptographic library: what only its functions reach in the program itself. Which of
    /// them run, and how long, depends on the processor and on chance.
    pub(super) crypto: u64,
    /// Of all others.
    pub(super) rest: u64,
}

#[derive(Default)]
struct Function<'a> {
    object: &'a str,
    own: u64,
    calls: BTreeSet<&'a str>,
}

/// Reads a profile of `program`.
///
/// # Errors
/// It is no profile, or it has no function of the cryptographic library: then its names are missing
/// and nothing can be told apart.
pub(super) fn count(profile: &str, program: &str) -> Result<Count> {
    let functions = functions(profile)?;
    let mut open: Vec<&str> = functions
        .keys()
        .copied()
        .filter(|name| name.starts_with(CRYPTO))
        .collect();
    ensure!(
        !open.is_empty(),
        "the profile names no function of the cryptographic library: was {program} stripped?"
    );
    let mut crypto = BTreeSet::new();
    while let Some(name) = open.pop() {
        // What it has of the C library (memory, copies) is no cryptography.
        let Some(function) = functions.get(name).filter(|f| f.object == program) else {
            continue;
        };
        if crypto.insert(name) {
            open.extend(&function.calls);
        }
    }
    let own = |is_crypto: bool| {
        let all = functions.iter();
        all.filter(|(name, _)| crypto.contains(*name) == is_crypto)
            .map(|(_, function)| function.own)
            .sum()
    };
    Ok(Count {
        crypto: own(true),
        rest: own(false),
    })
}

fn functions(profile: &str) -> Result<BTreeMap<&str, Function<'_>>> {
    let mut functions: BTreeMap<&str, Function<'_>> = BTreeMap::new();
    let (mut object, mut current) = ("", "");
    let mut is_inclusive = false;
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("ob=") {
            object = name;
        } else if let Some(name) = line.strip_prefix("fn=") {
            current = name;
            functions.entry(name).or_default().object = object;
        } else if let Some(name) = line.strip_prefix("cfn=") {
            functions.entry(current).or_default().calls.insert(name);
        } else if line.starts_with("calls=") {
            // The line after it is what the called function cost with all that it called.
            is_inclusive = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            if std::mem::take(&mut is_inclusive) {
                continue;
            }
            let cost = line.split_whitespace().nth(1).unwrap_or("0");
            let cost: u64 = cost
                .parse()
                .with_context(|| format!("no count of instructions: {line}"))?;
            functions.entry(current).or_default().own += cost;
        }
    }
    ensure!(!functions.is_empty(), "callgrind wrote no functions");
    Ok(functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "\
# callgrind format
positions: line
events: Ir
summary: 1000

ob=/p/requests
fl=???
fn=handle
0 100
cfn=aws_lc_0_1_verify
calls=1 0
0 890
+3 7
cob=/lib/libc.so.6
cfi=???
cfn=memcpy
calls=2 0
0 5

fn=aws_lc_0_1_verify
0 300
cfn=field_multiply
calls=9 0
0 500
cob=/lib/libc.so.6
cfn=memcpy
calls=1 0
* 90

fn=field_multiply
0 500

ob=/lib/libc.so.6
fn=memcpy
0 95
";

    #[test]
    fn cryptography_is_what_its_functions_reach_in_the_program() {
        let count = count(PROFILE, "/p/requests").unwrap();
        assert_eq!(
            count,
            Count {
                crypto: 800,
                rest: 202
            }
        );
    }

    #[test]
    fn what_names_no_cryptography_is_refused() {
        let stripped = PROFILE.replace("aws_lc_0_1_verify", "0x00001234");
        for (profile, part) in [
            (stripped.as_str(), "stripped"),
            ("", "no functions"),
            ("fn=a\n0 x\n", "no count"),
        ] {
            let error = count(profile, "/p/requests").unwrap_err();
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }
}
