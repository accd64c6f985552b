//! The shape of source files: length, module docs, length of functions, words that must not be
//! committed, and the lint files that keep the pure crates pure.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a Rust file may have.
const FILE_LINES_MAX: usize = 600;
/// Columns of a comment line: what rustfmt allows for code, which it leaves to us in comments.
const COMMENT_COLUMNS_MAX: usize = 100;
/// Lines a function may have, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Crates that read no clock, environment or file; their own `clippy.toml` says so.
const PURE: [&str; 3] = ["everleaf-pki", "everleaf-api", "everleaf-rotation"];
/// Bans every pure crate's `clippy.toml` must contain (a crate's file replaces the root's).
const PURE_BANS: [&str; 4] = [
    "std::time::SystemTime::now",
    "std::time::Instant::now",
    "std::env::var",
    "jiff::Timestamp::now",
];

/// Findings about files.
pub(crate) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(root.join(file)) else {
            continue;
        };
        let name = file.display().to_string();
        findings.extend(forbidden_words(&name, &text));
        if file.extension().is_some_and(|extension| extension == "rs") {
            findings.extend(rust_file(&name, &text));
            findings.extend(debug_text(&name, &text));
            findings.extend(imports(&name, &text));
        }
        findings.extend(wide_comments(&name, &text));
        if file.file_name().is_some_and(|name| name == "Cargo.toml") && name != "Cargo.toml" {
            findings.extend(manifest(&name, &text));
        }
    }
    for name in PURE {
        let path = root.join("crates").join(name).join("clippy.toml");
        match fs::read_to_string(&path) {
            Err(_) => findings.push(format!("crates/{name}: no clippy.toml with the pure bans")),
            Ok(text) => findings.extend(
                PURE_BANS
                    .iter()
                    .filter(|ban| !text.contains(*ban))
                    .map(|ban| format!("crates/{name}/clippy.toml: does not ban {ban}")),
            ),
        }
    }
    fs::metadata(root.join("LICENSE")).context("LICENSE is missing")?;
    Ok(findings)
}

/// Paths of somebody's machine and marks of unfinished work.
fn forbidden_words(name: &str, text: &str) -> Vec<String> {
    // Written apart so that this file does not find itself.
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("TO", "DO"),
        concat!("#[ig", "nore"),
        concat!("<<<<", "<<< "),
    ];
    if name == "Cargo.lock" || name == "LICENSE" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in words {
            if line.contains(word) {
                findings.push(format!("{name}:{}: contains {word:?}", index + 1));
            }
        }
    }
    findings
}

/// Debug text of an error in what users read. (Quoting a string with `{name:?}` is fine.)
fn debug_text(name: &str, text: &str) -> Vec<String> {
    // The simulator's traces are for developers.
    let is_told = name.starts_with("crates/") && !name.starts_with("crates/everleaf-sim/");
    if !is_told
        || ["/tests", "/testing/", "fixture"]
            .iter()
            .any(|part| name.contains(part))
    {
        return Vec::new();
    }
    let marks = [
        "{error:?}",
        "{err:?}",
        "{cause:?}",
        "{why:?}",
        "{other:?}",
        "{source:?}",
        "?error,",
        "?err,",
    ];
    let production = text.lines().take_while(|line| *line != "#[cfg(test)]");
    let mut findings = Vec::new();
    for (index, line) in production.enumerate() {
        for mark in marks.iter().filter(|mark| line.contains(**mark)) {
            let line = index + 1;
            findings.push(format!(
                "{name}:{line}: {mark} prints debug text; say it in words"
            ));
        }
    }
    findings
}

/// Imports are one block, which rustfmt then sorts: ours, other crates and std, by name. So there
/// is one order, and no file has another.
fn imports(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let (mut is_inside, mut is_behind, mut has_gap) = (false, false, false);
    for (index, line) in text.lines().map(str::trim).enumerate() {
        let begins = !is_inside && line.starts_with("use ");
        if begins && is_behind && has_gap {
            let line = index + 1;
            findings.push(format!(
                "{name}:{line}: an empty line between imports; they are one block"
            ));
        }
        if is_inside || begins {
            is_behind = line.ends_with(';');
            is_inside = !is_behind;
            has_gap = false;
        } else {
            has_gap = line.is_empty();
            is_behind &= has_gap;
        }
    }
    findings
}

/// Comment lines that are too long, unless they are one word (a link), code or a table.
fn wide_comments(name: &str, text: &str) -> Vec<String> {
    let mark = match Path::new(name).extension().and_then(|e| e.to_str()) {
        Some("rs" | "go") => "//",
        Some("toml" | "yaml" | "yml" | "sh" | "py") => "#",
        _ => return Vec::new(),
    };
    let (mut findings, mut is_code) = (Vec::new(), false);
    for (index, line) in text.lines().enumerate() {
        if !line.trim_start().starts_with(mark) {
            is_code = false;
            continue;
        }
        let mut words = line.split_whitespace().skip(1);
        let first = words.next().unwrap_or_default();
        is_code ^= first.starts_with("```");
        let is_prose = !is_code && first != "|" && words.next().is_some();
        if is_prose && line.chars().count() > COMMENT_COLUMNS_MAX {
            let line = index + 1;
            findings.push(format!(
                "{name}:{line}: a comment beyond {COMMENT_COLUMNS_MAX} columns"
            ));
        }
    }
    findings
}

fn rust_file(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > FILE_LINES_MAX {
        findings.push(format!(
            "{name}: {} lines; split by noun ({FILE_LINES_MAX})",
            lines.len()
        ));
    }
    let is_test_module = name.ends_with("tests.rs");
    if !is_test_module && !lines.first().is_some_and(|line| line.starts_with("//!")) {
        findings.push(format!("{name}:1: does not open with module docs (//!)"));
    }
    let mut open: Option<(usize, usize)> = None;
    for (index, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if is_function(line.trim_start()) {
            open = Some((index, indent));
        }
        if let Some((start, at)) = open
            && indent == at
            && line.trim_start().starts_with('}')
        {
            let length = index - start + 1;
            if length > FUNCTION_LINES_MAX {
                let line = start + 1;
                findings.push(format!("{name}:{line}: a function of {length} lines"));
            }
            open = None;
        }
    }
    findings
}

fn is_function(line: &str) -> bool {
    let mut words = line
        .split_whitespace()
        .take_while(|word| !word.contains('='));
    let modifier = |word: &str| {
        word == "async" || word == "const" || word == "unsafe" || word.starts_with("pub")
    };
    words.find(|word| !modifier(word)) == Some("fn")
}

/// Every crate takes the workspace's lints and its licence.
fn manifest(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if !text.contains("[lints]\nworkspace = true") {
        findings.push(format!("{name}: does not inherit the workspace's lints"));
    }
    if !text.contains("license.workspace = true") {
        findings.push(format!("{name}: does not inherit the workspace's licence"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_functions_and_missing_docs_are_found() {
        let body = "    1;\n".repeat(FUNCTION_LINES_MAX);
        let text = format!("//! Doc.\npub(crate) async fn long() {{\n{body}}}\nfn short() {{}}\n");
        assert_eq!(
            rust_file("a.rs", &text),
            [format!(
                "a.rs:2: a function of {} lines",
                FUNCTION_LINES_MAX + 2
            )]
        );
        assert_eq!(rust_file("a.rs", "fn f() {}\n").len(), 1);
    }

    #[test]
    fn debug_text_is_found() {
        let text = "//! Doc.\nformat!(\"{error:?}\")\n#[cfg(test)]\nformat!(\"{error:?}\")\n";
        assert_eq!(debug_text("crates/a/src/a.rs", text).len(), 1);
        assert!(debug_text("crates/a/src/tests/a.rs", text).is_empty());
        assert!(debug_text("xtask/src/a.rs", text).is_empty());
    }

    #[test]
    fn imports_in_groups_are_found() {
        let found = |text: &str| imports("a.rs", text).len();
        let one = "//! Doc.\n\nuse a::{\n    b,\n};\nuse c;\n\nmod d;\n\nuse e;\n\npub use f;\n";
        assert_eq!(found(one), 0);
        let two = "use a::{\n    b,\n};\n\nuse c;\n\n    use d;\n";
        assert_eq!(found(two), 2);
    }

    #[test]
    fn wide_comments_are_found() {
        let text = |mark: &str, rest: &str| format!("    {mark} {rest}\n");
        let (wide, fits) = ("a ".repeat(48), "ä ".repeat(46));
        assert_eq!(wide_comments("a.rs", &text("///", &wide)).len(), 1);
        assert_eq!(wide_comments("a.toml", &text("#", &wide)).len(), 1);
        assert!(wide_comments("a.rs", &text("//!", &fits)).is_empty());
        assert!(wide_comments("a.rs", &text("//", &"a".repeat(200))).is_empty());
        let code = format!("/// ```\n{}/// ```\n", text("///", &wide));
        assert!(wide_comments("a.rs", &code).is_empty());
        assert!(wide_comments("a.md", &text("#", &wide)).is_empty());
    }

    #[test]
    fn machine_paths_are_found() {
        let text = format!("see {}x\n", concat!("/ho", "me/"));
        assert_eq!(forbidden_words("a.md", &text).len(), 1);
        assert!(forbidden_words("a.md", "fine\n").is_empty());
    }
}
