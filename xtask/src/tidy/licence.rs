//! SPDX licence expressions, as far as crates write them: `OR`, `AND`, `WITH`, parentheses, and the
//! old `/`.

/// Licences that may be in the tree: permissive ones only, compatible with Apache-2.0 distribution.
const ALLOWED: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether we may use a crate under this expression; an error when it is not understood.
pub(crate) fn is_allowed(expression: &str) -> Result<bool, String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    let verdict = alternatives(&mut rest)?;
    if let Some(left) = rest.first() {
        return Err(format!("{left:?} is left over"));
    }
    Ok(verdict)
}

fn alternatives(rest: &mut &[&str]) -> Result<bool, String> {
    let mut verdict = all_of(rest)?;
    while take(rest, "OR") {
        verdict |= all_of(rest)?;
    }
    Ok(verdict)
}

fn all_of(rest: &mut &[&str]) -> Result<bool, String> {
    let mut verdict = one(rest)?;
    while take(rest, "AND") {
        verdict &= one(rest)?;
    }
    Ok(verdict)
}

fn one(rest: &mut &[&str]) -> Result<bool, String> {
    if take(rest, "(") {
        let verdict = alternatives(rest)?;
        if !take(rest, ")") {
            return Err("a parenthesis is not closed".into());
        }
        return Ok(verdict);
    }
    let (name, left) = rest.split_first().ok_or("it ends too early")?;
    *rest = left;
    let mut name = (*name).to_owned();
    if take(rest, "WITH") {
        let (exception, left) = rest.split_first().ok_or("it ends after WITH")?;
        *rest = left;
        name = format!("{name} WITH {exception}");
    }
    Ok(ALLOWED.contains(&name.as_str()))
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    match rest.split_first() {
        Some((first, left)) if *first == word => {
            *rest = left;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn expressions_are_judged_as_spdx_says() {
        for (text, expected) in [
            ("MIT", Ok(true)),
            ("GPL-3.0", Ok(false)),
            ("GPL-3.0 OR MIT", Ok(true)),
            ("GPL-3.0/MIT", Ok(true)),
            ("GPL-3.0 AND MIT", Ok(false)),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", Ok(true)),
            ("(MIT OR Apache-2.0) AND OpenSSL", Ok(false)),
            ("Apache-2.0 WITH LLVM-exception", Ok(true)),
            ("MIT WITH LLVM-exception", Ok(false)),
        ] {
            assert_eq!(is_allowed(text), expected, "{text}");
        }
        for text in ["", "MIT OR", "(MIT", "MIT Apache-2.0"] {
            assert!(is_allowed(text).is_err(), "{text:?}");
        }
    }
}
