//! Label selectors (set-based) and field selectors, parsed from query text.

use crate::fields::quote;
use crate::meta;
use serde_json::{Map, Value};
use std::fmt;

/// Longest selector that is read, in bytes.
const SELECTOR_BYTES_MAX: usize = 64 * 1024;

/// A parsed label selector: every term must hold. The default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    terms: Vec<LabelTerm>,
}

/// One term of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelTerm {
    /// The label's key.
    pub key: String,
    /// What must be true of it.
    pub test: LabelTest,
}

/// What a term asks of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelTest {
    /// `k=v`, `k==v`, `k in (a,b)`: present with one of the values.
    In(Vec<String>),
    /// `k!=v`, `k notin (a,b)`: absent, or present with another value.
    NotIn(Vec<String>),
    /// `k`
    Exists,
    /// `!k`
    DoesNotExist,
    /// `k>7`: present, a whole number, and greater.
    GreaterThan(i64),
    /// `k<7`: present, a whole number, and less.
    LessThan(i64),
}

impl LabelSelector {
    /// Parses `a=b,c in (d,e),!f`; empty text selects everything.
    ///
    /// # Errors
    /// What is wrong, for a 400.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser {
            text,
            tokens: tokens.into_iter().peekable(),
        };
        let mut terms = Vec::new();
        while parser.tokens.peek().is_some() {
            if !terms.is_empty() {
                parser.expect(&Token::Comma)?;
            }
            terms.push(parser.term()?);
        }
        Ok(Self { terms })
    }

    /// True when it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The terms.
    pub fn terms(&self) -> &[LabelTerm] {
        &self.terms
    }

    /// Matches an object's labels.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.is_empty() || self.matches_labels(meta::labels(object))
    }

    /// Matches a set of labels.
    pub fn matches_labels(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.terms.iter().all(|term| {
            let value = labels
                .and_then(|labels| labels.get(&term.key))
                .and_then(Value::as_str);
            term.test.holds(value)
        })
    }
}

impl LabelTest {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Self::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::GreaterThan(limit) => number().is_some_and(|number| number > *limit),
            Self::LessThan(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

// === The grammar of label selectors (k8s.io/apimachinery/pkg/labels) ===

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Comma,
    Open,
    Close,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Word(word) => word,
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::Not => "!",
            Self::Equals => "=",
            Self::NotEquals => "!=",
            Self::Greater => ">",
            Self::Less => "<",
        })
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    if text.len() > SELECTOR_BYTES_MAX {
        return Err(format!(
            "the selector is longer than {SELECTOR_BYTES_MAX} bytes"
        ));
    }
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let signs = [
            ("==", Token::Equals),
            ("!=", Token::NotEquals),
            ("=", Token::Equals),
            ("!", Token::Not),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
            (">", Token::Greater),
            ("<", Token::Less),
        ];
        let sign = signs.into_iter().find(|(sign, _)| rest.starts_with(sign));
        let length = match sign {
            Some((sign, token)) => {
                tokens.push(token);
                sign.len()
            }
            None => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || "=!,()<>".contains(c))
                    .unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser<'t, I: Iterator<Item = Token>> {
    text: &'t str,
    tokens: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = Token>> Parser<'_, I> {
    fn fail<T>(&self, reason: &str) -> Result<T, String> {
        Err(format!(
            "unable to parse the label selector {}: {reason}",
            quote(self.text)
        ))
    }

    fn expect(&mut self, wanted: &Token) -> Result<(), String> {
        match self.tokens.next() {
            Some(found) if found == *wanted => Ok(()),
            Some(found) => self.fail(&format!("found '{found}', expected: '{wanted}'")),
            None => self.fail(&format!("it ends where '{wanted}' is expected")),
        }
    }

    fn term(&mut self) -> Result<LabelTerm, String> {
        let negated = self.tokens.next_if_eq(&Token::Not).is_some();
        let key = match self.tokens.next() {
            Some(Token::Word(key)) => key,
            _ => return self.fail("expected a label key"),
        };
        if let Err(reason) = check_key(&key) {
            return self.fail(&reason);
        }
        if negated {
            return Ok(LabelTerm {
                key,
                test: LabelTest::DoesNotExist,
            });
        }
        let test = match self.tokens.peek() {
            None | Some(Token::Comma) => LabelTest::Exists,
            Some(_) => self.comparison()?,
        };
        Ok(LabelTerm { key, test })
    }

    fn comparison(&mut self) -> Result<LabelTest, String> {
        match self.tokens.next() {
            Some(Token::Equals) => Ok(LabelTest::In(vec![self.value()?])),
            Some(Token::NotEquals) => Ok(LabelTest::NotIn(vec![self.value()?])),
            Some(Token::Word(word)) if word == "in" => Ok(LabelTest::In(self.values()?)),
            Some(Token::Word(word)) if word == "notin" => Ok(LabelTest::NotIn(self.values()?)),
            Some(Token::Greater) => Ok(LabelTest::GreaterThan(self.number()?)),
            Some(Token::Less) => Ok(LabelTest::LessThan(self.number()?)),
            _ => self.fail("expected one of = == != in notin > <, a comma or the end"),
        }
    }

    /// One value; missing is the empty one.
    fn value(&mut self) -> Result<String, String> {
        let value = match self.tokens.next_if(|token| matches!(token, Token::Word(_))) {
            Some(Token::Word(value)) => value,
            _ => String::new(),
        };
        if let Err(reason) = check_value(&value) {
            return self.fail(&reason);
        }
        Ok(value)
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        self.expect(&Token::Open)?;
        let mut values = vec![self.value()?];
        while self.tokens.next_if_eq(&Token::Comma).is_some() {
            values.push(self.value()?);
        }
        self.expect(&Token::Close)?;
        Ok(values)
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.value()?;
        match value.parse() {
            Ok(number) => Ok(number),
            Err(_) => self.fail(&format!("{} is not a whole number", quote(&value))),
        }
    }
}

/// A qualified name: an optional DNS prefix and `/`, then up to 63 of `[A-Za-z0-9_.-]`,
/// alphanumeric at both ends.
fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if name.is_empty() || !is_label_text(name) {
        return Err(format!(
            "{} is not a label key: its name takes up to 63 letters, digits, '-', '_' and '.', and begins and ends with a letter or digit",
            quote(key)
        ));
    }
    let is_dns_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if prefix.is_some_and(|prefix| prefix.len() > 253 || !prefix.split('.').all(is_dns_label)) {
        return Err(format!(
            "{} is not a label key: its prefix must be a DNS name",
            quote(key)
        ));
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_label_text(value) {
        return Ok(());
    }
    Err(format!(
        "{} is not a label value: up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
        quote(value)
    ))
}

fn is_label_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= 63
        && ends.into_iter().flatten().all(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

// === Field selectors ===

/// A parsed field selector: (field, negated, value) terms, all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// In the order of the text; none selects everything.
    pub terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// Parses `a=b,c!=d`; `\,` `\=` and `\\` stand for themselves in values, empty terms are
    /// skipped.
    ///
    /// # Errors
    /// What is wrong, for a 400.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(format!(
                "the selector is longer than {SELECTOR_BYTES_MAX} bytes"
            ));
        }
        let mut terms = Vec::new();
        for term in split_terms(text).filter(|term| !term.is_empty()) {
            let bad = |reason: &str| {
                Err(format!(
                    "invalid field selector {}: {reason} in {}",
                    quote(text),
                    quote(term)
                ))
            };
            let Some(at) = term.find(['=', '!']) else {
                return bad("no =, == or !=");
            };
            let (field, rest) = term.split_at(at);
            let (negated, value) = match (rest.strip_prefix("!="), rest.strip_prefix("==")) {
                (Some(value), _) => (true, value),
                (None, Some(value)) => (false, value),
                (None, None) => match rest.strip_prefix('=') {
                    Some(value) => (false, value),
                    None => return bad("no =, == or !="),
                },
            };
            match unescape(value) {
                Some(value) => terms.push((field.to_owned(), negated, value)),
                None => return bad("bad use of \\ or an unescaped = or ,"),
            }
        }
        Ok(Self { terms })
    }

    /// True when it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value required of `field` by an equality term.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|(name, negated, _)| name == field && !negated)
            .map(|(_, _, value)| value.as_str())
    }

    /// True when every term holds for the values that `field_value` gives.
    pub fn matches(&self, mut field_value: impl FnMut(&str) -> String) -> bool {
        self.terms
            .iter()
            .all(|(field, negated, value)| (field_value(field) == *value) != *negated)
    }
}

/// Splits at commas that no backslash precedes.
fn split_terms(text: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c: char| {
        let splits = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    })
}

/// None for a lone backslash and for a bare `=` or `,`.
fn unescape(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            '=' | ',' => return None,
            c => plain.push(c),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Value {
        json!({"metadata": {"labels": {"tier": "web", "example.com/zone": "b1", "size": "7", "empty": ""}}})
    }

    #[test]
    fn label_selectors_select() {
        let check = |text: &str, selects: bool| {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.matches(&object()), selects, "{text}");
        };
        check("", true);
        check("  ", true);
        check("tier=web", true);
        check("tier == web", true);
        check("tier=db", false);
        check("tier!=db", true);
        check("tier!=web", false);
        check("none!=x", true);
        check("none=", false);
        check("empty=", true);
        check("empty", true);
        check("!empty", false);
        check("!none", true);
        check("! none", true);
        check("tier in (db, web)", true);
        check("tier in (db)", false);
        check("tier notin (db,web)", false);
        check("none notin (db,web)", true);
        check("empty in ()", true);
        check("empty in (a,)", true);
        check("example.com/zone=b1,size>6,size<8", true);
        check("size>7", false);
        check("tier>1", false);
        check("none<1", false);
        check("in in (in)", false);
        check("tier,!none,size notin (8)", true);
        assert!(!LabelSelector::parse("a").unwrap().matches(&json!({})));
        assert!(
            LabelSelector::parse("!a")
                .unwrap()
                .matches(&json!({"metadata": {"labels": 7}}))
        );
    }

    #[test]
    fn bad_label_selectors_are_refused() {
        let long = "a".repeat(64);
        for text in [
            ",",
            "a,",
            "a,,b",
            "=b",
            "a in",
            "a in b",
            "a in (b",
            "a in (b c)",
            "a b",
            "!a=b",
            "a=b=c",
            "a>x",
            "-a",
            "a-",
            "a/b/c",
            "/a",
            "a/",
            "A_B./c",
            "a=-b",
            "a=ü",
            "ü=a",
            &long,
            "a)",
            "(a)",
            "a=(b)",
        ] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
        assert!(LabelSelector::parse(&"a,".repeat(40_000)).is_err());
    }

    #[test]
    fn field_selectors_parse() {
        let check = |text: &str, terms: &[(&str, bool, &str)]| {
            let parsed = FieldSelector::parse(text).unwrap();
            let terms: Vec<_> = terms
                .iter()
                .map(|(f, n, v)| ((*f).to_owned(), *n, (*v).to_owned()))
                .collect();
            assert_eq!(parsed.terms, terms, "{text}");
        };
        check("", &[]);
        check("metadata.name=a", &[("metadata.name", false, "a")]);
        check("a==b,c!=d,", &[("a", false, "b"), ("c", true, "d")]);
        check("a=", &[("a", false, "")]);
        check(r"a=b\,c\=\\", &[("a", false, r"b,c=\")]);
        check(
            "spec.signerName=kubernetes.io/x",
            &[("spec.signerName", false, "kubernetes.io/x")],
        );
        for bad in ["a", "a!b", r"a=b\", r"a=\x", "a=b=c"] {
            assert!(FieldSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn field_selectors_select() {
        let selector = FieldSelector::parse("a=1,b!=2,a!=3").unwrap();
        let holds = |a: &str, b: &str| {
            selector.matches(|field| {
                if field == "a" {
                    a.to_owned()
                } else {
                    b.to_owned()
                }
            })
        };
        assert!(holds("1", "1"));
        assert!(!holds("1", "2"));
        assert!(!holds("3", "1"));
        assert_eq!(selector.required("a"), Some("1"));
        assert_eq!(selector.required("b"), None);
    }
}
