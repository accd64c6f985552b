//! Differences that are known, each with its reason.

use crate::difference::Difference;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One file of entries.
#[derive(Debug)]
pub struct Ledger {
    entries: Vec<Entry>,
}

/// What is known.
#[derive(Debug)]
pub struct Entry {
    /// Why it is so: something a user would accept, or what is missing.
    pub reason: String,
    /// `scenario/request path` with `*` for any text.
    patterns: Vec<Pattern>,
    /// How many differences it explained.
    pub hits: usize,
}

#[derive(Debug)]
struct Pattern {
    text: String,
    /// Text that must appear in one of the two values, if any.
    value: Option<String>,
    hits: usize,
}

impl Ledger {
    /// Reads one file: a list of `{reason, where: [scenario/request path]}`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let document: Value = serde_saphyr::from_str(&text)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let entries = document.as_array().cloned().unwrap_or_default();
        let entries = entries.iter().map(|entry| {
            let reason = entry["reason"].as_str().unwrap_or_default().to_owned();
            if reason.is_empty() {
                bail!("{}: an entry without a reason: {entry}", path.display());
            }
            let patterns = crate::scenario::one_or_many(&entry["where"]);
            let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::read(text)).collect();
            if patterns.is_empty() {
                bail!("{}: says nowhere: {reason}", path.display());
            }
            Ok(Entry {
                reason,
                patterns,
                hits: 0,
            })
        });
        Ok(Self {
            entries: entries.collect::<Result<_>>()?,
        })
    }

    /// True when an entry explains this difference; counts it there.
    pub fn explains(&mut self, difference: &Difference) -> bool {
        let place = format!(
            "{}/{} {}",
            difference.scenario, difference.request, difference.at
        );
        for entry in &mut self.entries {
            for pattern in &mut entry.patterns {
                if pattern.matches(&place, difference) {
                    pattern.hits += 1;
                    entry.hits += 1;
                    return true;
                }
            }
        }
        false
    }

    /// Patterns that explained nothing, with their reason.
    pub fn idle(&self) -> Vec<String> {
        let idle = |entry: &Entry| -> Vec<String> {
            let idle = entry.patterns.iter().filter(|pattern| pattern.hits == 0);
            idle.map(|pattern| format!("{} ({})", pattern.text, entry.reason))
                .collect()
        };
        self.entries.iter().flat_map(idle).collect()
    }

    /// Entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many differences were explained.
    pub fn hits(&self) -> usize {
        self.entries.iter().map(|entry| entry.hits).sum()
    }

    /// Reasons with their counts.
    pub fn reasons(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for entry in &self.entries {
            *reasons.entry(entry.reason.as_str()).or_default() += entry.hits;
        }
        reasons
    }
}

impl Pattern {
    /// `scenario/request path` or `scenario/request path ~ text of one of the values`.
    fn read(text: &str) -> Self {
        let (place, value) = match text.split_once(" ~ ") {
            Some((place, value)) => (place, Some(value.to_owned())),
            None => (text, None),
        };
        Self {
            text: place.to_owned(),
            value,
            hits: 0,
        }
    }

    fn matches(&self, place: &str, difference: &Difference) -> bool {
        let has = |value: &Option<Value>, text: &str| {
            value
                .as_ref()
                .is_some_and(|value| value.to_string().contains(text))
        };
        glob(self.text.as_bytes(), place.as_bytes())
            && self
                .value
                .as_ref()
                .is_none_or(|text| has(&difference.theirs, text) || has(&difference.ours, text))
    }
}

/// `*` stands for any text; everything else for itself.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        Some((first, rest)) => text.first() == Some(first) && glob(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        let check = |pattern: &str, text: &str| glob(pattern.as_bytes(), text.as_bytes());
        assert!(check("a/* body*.uid", "a/get body.items[x].uid"));
        assert!(check("*", ""));
        assert!(!check("a/* body.uid", "a/get body.items[x].uid"));
        assert!(!check("a", "ab"));
    }
}
