//! Field errors: path, type, value, detail, rendered as Kubernetes renders them.
//!
//! A validator returns a list of these; [`Status::invalid`](crate::Status::invalid) turns the list
//! into one 422.

use std::collections::BTreeSet;
use std::fmt::Display;

/// Most errors that one answer tells: a body of 3 MiB can hold a million faults, and an answer is
/// not to be larger than what it answers. A validator may stop once it has found more.
pub const ERRORS_SHOWN_MAX: usize = 256;
/// Longest value, and longest detail, that one error tells, in bytes; the rest is cut. Two errors
/// about one thing of megabytes are to stay one answer.
const PART_BYTES_MAX: usize = 16 * 1024;

/// The reason of a cause, and what its message begins with
/// (`apimachinery/pkg/util/validation/field/errors.go`).
type Fault = (&'static str, &'static str);
const REQUIRED: Fault = ("FieldValueRequired", "Required value");
const INVALID: Fault = ("FieldValueInvalid", "Invalid value");
const TYPE_INVALID: Fault = ("FieldValueTypeInvalid", "Invalid value");
const NOT_SUPPORTED: Fault = ("FieldValueNotSupported", "Unsupported value");
const DUPLICATE: Fault = ("FieldValueDuplicate", "Duplicate value");
const NOT_FOUND: Fault = ("FieldValueNotFound", "Not found");
const FORBIDDEN: Fault = ("FieldValueForbidden", "Forbidden");
const TOO_LONG: Fault = ("FieldValueTooLong", "Too long");
const TOO_MANY: Fault = ("FieldValueTooMany", "Too many");
const INTERNAL: Fault = ("InternalError", "Internal error");

/// One field error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct FieldError {
    /// Path such as `spec.usages[1]`.
    pub path: String,
    /// Cause reason such as `FieldValueRequired`.
    pub reason: &'static str,
    /// Rendering without the path: `Required value: …`.
    pub message: String,
}

impl FieldError {
    /// `Required value[: detail]`
    pub fn required(path: &str, detail: &str) -> Self {
        Self::new(path, REQUIRED, None, detail)
    }

    /// `Invalid value: VALUE[: detail]`; `value` already rendered Go-style: [`quote`] for strings,
    /// numbers bare.
    pub fn invalid(path: &str, value: &str, detail: &str) -> Self {
        Self::new(path, INVALID, Some(value), detail)
    }

    /// `Invalid value[: detail]` of a value that is better not told.
    pub fn invalid_without_value(path: &str, detail: &str) -> Self {
        Self::new(path, INVALID, None, detail)
    }

    /// `Invalid value: VALUE[: detail]` for a value of the wrong type; `value` already rendered
    /// Go-style.
    pub fn type_invalid(path: &str, value: &str, detail: &str) -> Self {
        Self::new(path, TYPE_INVALID, Some(value), detail)
    }

    /// `Unsupported value: VALUE[: supported values: "a", "b"]`; `value` already rendered Go-style,
    /// `supported` bare.
    pub fn not_supported(path: &str, value: &str, supported: &[&str]) -> Self {
        let quoted: Vec<_> = supported.iter().map(|value| quote(value)).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(path, NOT_SUPPORTED, Some(value), &detail)
    }

    /// `Duplicate value: VALUE`; `value` already rendered Go-style.
    pub fn duplicate(path: &str, value: &str) -> Self {
        Self::new(path, DUPLICATE, Some(value), "")
    }

    /// `Not found: VALUE`; `value` already rendered Go-style.
    pub fn not_found(path: &str, value: &str) -> Self {
        Self::new(path, NOT_FOUND, Some(value), "")
    }

    /// `Forbidden: detail`
    pub fn forbidden(path: &str, detail: &str) -> Self {
        Self::new(path, FORBIDDEN, None, detail)
    }

    /// `Too long: may not be more than MAX bytes`
    pub fn too_long(path: &str, max: usize) -> Self {
        let detail = format!(
            "may not be more than {max} {}",
            if max == 1 { "byte" } else { "bytes" }
        );
        Self::new(path, TOO_LONG, None, &detail)
    }

    /// `Too many: ACTUAL: must have at most MAX items`
    pub fn too_many(path: &str, actual: usize, max: usize) -> Self {
        let detail = format!(
            "must have at most {max} {}",
            if max == 1 { "item" } else { "items" }
        );
        Self::new(path, TOO_MANY, Some(&actual.to_string()), &detail)
    }

    /// `Internal error: detail`: the check itself failed.
    pub fn internal(path: &str, detail: impl Display) -> Self {
        Self::new(path, INTERNAL, None, &detail.to_string())
    }

    fn new(path: &str, (reason, text): Fault, value: Option<&str>, detail: &str) -> Self {
        let mut message = text.to_owned();
        for part in value
            .into_iter()
            .chain(Some(detail).filter(|detail| !detail.is_empty()))
        {
            message.push_str(": ");
            let shown = &part[..part.floor_char_boundary(PART_BYTES_MAX)];
            message.push_str(shown);
            if shown.len() < part.len() {
                message.push('…');
            }
        }
        Self {
            path: path.to_owned(),
            reason,
            message,
        }
    }
}

/// `<path>: <message>`, as it stands in the message of a 422.
impl Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Several errors as one text: alone without brackets, else `[a, b]`, equal texts once.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut seen = BTreeSet::new();
    let mut texts: Vec<String> = Vec::new();
    for error in &errors[..errors.len().min(ERRORS_SHOWN_MAX)] {
        let text = error.to_string();
        if seen.insert(text.clone()) {
            texts.push(text);
        }
    }
    if errors.len() > ERRORS_SHOWN_MAX {
        texts.push("… and more".to_owned());
    }
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// A string as Go's `%q` prints it.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            ' '..='~' => quoted.push(c),
            '\0'..='\x7f' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_printable(c) => quoted.push(c),
            c if u32::from(c) < 0x10000 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Nearly Go's `unicode.IsPrint`: the standard library knows the same tables, but only applies them
/// in `escape_debug`, where a combining mark is spared unless it comes first.
pub fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    !c.is_whitespace() && !format!("a{c}").escape_debug().to_string().contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendering() {
        let check = |error: FieldError, text: &str| assert_eq!(error.to_string(), text);
        check(
            FieldError::required("spec.usages", ""),
            "spec.usages: Required value",
        );
        check(FieldError::required("a", "why"), "a: Required value: why");
        check(
            FieldError::invalid("spec.signerName", &quote("x"), "must hold a slash"),
            "spec.signerName: Invalid value: \"x\": must hold a slash",
        );
        check(
            FieldError::not_supported("spec.usages[0]", &quote("fly"), &["any", "signing"]),
            "spec.usages[0]: Unsupported value: \"fly\": supported values: \"any\", \"signing\"",
        );
        check(
            FieldError::not_supported("a", "1", &[]),
            "a: Unsupported value: 1",
        );
        check(
            FieldError::duplicate("a[1]", &quote("b")),
            "a[1]: Duplicate value: \"b\"",
        );
        check(FieldError::forbidden("a", "no"), "a: Forbidden: no");
        check(
            FieldError::too_long("a", 571),
            "a: Too long: may not be more than 571 bytes",
        );
        check(
            FieldError::too_many("a", 3, 1),
            "a: Too many: 3: must have at most 1 item",
        );
        check(
            FieldError::not_found("a", &quote("b")),
            "a: Not found: \"b\"",
        );
        check(FieldError::internal("a", "oops"), "a: Internal error: oops");
    }

    #[test]
    fn one_stands_alone_and_equal_texts_collapse() {
        let (a, b) = (FieldError::required("a", ""), FieldError::required("b", ""));
        assert_eq!(aggregate(std::slice::from_ref(&a)), "a: Required value");
        assert_eq!(aggregate(&[a.clone(), a.clone()]), "a: Required value");
        assert_eq!(
            aggregate(&[a.clone(), b, a]),
            "[a: Required value, b: Required value]"
        );
    }

    #[test]
    fn a_million_faults_are_told_in_a_few() {
        let path = |index: usize| format!("spec.usages[{index}]");
        let errors: Vec<FieldError> = (0..1_000_000)
            .map(|index| FieldError::duplicate(&path(index), "x"))
            .collect();
        let text = aggregate(&errors);
        assert!(text.contains(&path(ERRORS_SHOWN_MAX - 1)));
        assert!(!text.contains(&path(ERRORS_SHOWN_MAX)));
        assert!(text.ends_with(", … and more]"));
        let status = crate::Status::invalid("g", "K", "n", &errors);
        let json: serde_json::Value = serde_json::from_slice(&status.to_json()).expect("JSON");
        let causes = json["details"]["causes"].as_array().expect("causes");
        assert_eq!(causes.len(), ERRORS_SHOWN_MAX);
    }

    #[test]
    fn an_error_does_not_tell_megabytes() {
        let long = "ä".repeat(1 << 20);
        let error = FieldError::invalid("a", &long, &long);
        assert!(error.message.len() < 2 * PART_BYTES_MAX + 100);
        assert!(error.message.ends_with("ä…"));
        let fits = "x".repeat(PART_BYTES_MAX);
        assert!(FieldError::forbidden("a", &fits).message.ends_with('x'));
    }

    #[test]
    fn quoting_as_go() {
        for (text, quoted) in [
            ("plain", r#""plain""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\n\t\x07\x7f\0", r#""\n\t\a\x7f\x00""#),
            ("ünïcode ☃", "\"ünïcode ☃\""),
            ("e\u{301}", "\"e\u{301}\""),
            ("\u{a0}\u{200b}\u{2028}", r#""\u00a0\u200b\u2028""#),
            ("\u{e0001}", r#""\U000e0001""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }
}
