//! Documents: every relative link leads somewhere, anchors included, and the documents exist.

use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// Documents a stranger looks for.
const REQUIRED: [&str; 5] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
];

/// The page that quotes what the programs log.
const LOG_LINES: &str = "docs/log-lines.md";

/// Findings about documents.
pub(crate) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut findings: Vec<String> = REQUIRED
        .iter()
        .filter(|name| !root.join(name).is_file())
        .map(|name| format!("{name}: missing"))
        .collect();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|e| e == "md"))
    {
        let text = fs::read_to_string(root.join(file))?;
        for (line, target) in links(&text) {
            if let Err(why) = resolve(root, file, &text, &target) {
                findings.push(format!("{}:{line}: link {target}: {why}", file.display()));
            }
        }
    }
    findings.extend(unsaid(root, files)?);
    Ok(findings)
}

/// What [`LOG_LINES`] says the programs log and no source has, so that it is never seen.
fn unsaid(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut sources = String::new();
    for file in files {
        if file.starts_with("crates") && file.extension().is_some_and(|e| e == "rs") {
            sources.push_str(&joined(&fs::read_to_string(root.join(file))?));
        }
    }
    let page = fs::read_to_string(root.join(LOG_LINES))?;
    Ok(quoted(&page)
        .filter(|(_, piece)| !sources.contains(piece))
        .map(|(line, piece)| format!("{LOG_LINES}:{line}: no source says {piece:?}"))
        .collect())
}

/// A source whose texts are not broken into lines.
fn joined(source: &str) -> String {
    let mut lines = source.lines();
    let mut text = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        if text.ends_with('\\') {
            text.pop();
            text.push_str(line.trim_start());
        } else {
            text.push('\n');
            text.push_str(line);
        }
    }
    text
}

/// What the first columns of tables show as code, without what varies (`…`), by line.
fn quoted(page: &str) -> impl Iterator<Item = (usize, &str)> {
    page.lines()
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, line.strip_prefix("| `")?)))
        .filter_map(|(line, rest)| Some((line, rest.split("` |").next()?)))
        .flat_map(|(line, cell)| {
            let codes = cell.split('`').step_by(2);
            codes.flat_map(move |code| code.split('…').map(move |piece| (line, piece)))
        })
        .map(|(line, piece)| (line, piece.trim_matches([' ', ',', ';'])))
        .filter(|(_, piece)| !piece.is_empty())
}

/// `](target)` outside code fences and spans, with the line number.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("` `");
        for part in prose.split("](").skip(1) {
            if let Some(end) = part.find(')') {
                found.push((index + 1, part[..end].to_owned()));
            }
        }
    }
    found
}

fn resolve(root: &Path, file: &Path, text: &str, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    if path.starts_with('/') {
        return Err("is absolute".into());
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let full = root.join(folder).join(path);
    if !path.is_empty() && !full.exists() {
        return Err("no such file".into());
    }
    if anchor.is_empty() {
        return Ok(());
    }
    let other;
    let headings = if path.is_empty() {
        text
    } else {
        other = fs::read_to_string(&full).map_err(|error| error.to_string())?;
        &other
    };
    let known = headings
        .lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| slug(line) == anchor);
    if known {
        Ok(())
    } else {
        Err("no such heading".into())
    }
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code_only() {
        let text = "[a](b.md) `[c](d)` [e](#f)\n```\n[g](h)\n```\n";
        assert_eq!(links(text), [(1, "b.md".into()), (1, "#f".into())]);
    }

    #[test]
    fn quoted_log_lines_are_found_in_sources() {
        let page = "| line | is |\n|---|---|\n| `a … b`, `c` | `d` |\n";
        let found: Vec<_> = quoted(page).collect();
        assert_eq!(found, [(3, "a"), (3, "b"), (3, "c")]);
        assert_eq!(joined("\"one \\\n   two\"\nx"), "\"one two\"\nx");
    }

    #[test]
    fn anchors_are_matched_against_headings() {
        let text = "# Two Words!\n";
        let here = Path::new("x.md");
        assert!(resolve(Path::new("."), here, text, "#two-words").is_ok());
        assert!(resolve(Path::new("."), here, text, "#three").is_err());
        assert!(resolve(Path::new("."), here, text, "no-such-file.md").is_err());
    }
}
