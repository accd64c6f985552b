//! YAML in, without ever quoting it in an error: what we read may hold tokens and keys.

use serde::de::DeserializeOwned;

/// Parses one document; the error says what and where, not the text.
pub(crate) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| in_words(&error))
}

/// Parses every document that is not empty; errors as [`from_str`].
pub(crate) fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| in_words(&error))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { with_snippet: false }
}

fn in_words(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let at = text.find(" at line ").map_or("", |place| &text[place..]);
    // Advice to programmers, not to whoever wrote the file.
    if text.starts_with("budget breached") {
        return format!("it has too many parts, levels or aliases{at}");
    }
    if matches!(error, serde_saphyr::Error::MultipleDocuments { .. }) {
        return format!("it holds several documents (---), where one is expected{at}");
    }
    text.replace(", set DuplicateKeyPolicy in Options if acceptable", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn hostile_documents_are_refused_in_good_order() {
        let flow = "[".repeat(500_000);
        let block: String = (0..2000).map(|depth| " ".repeat(depth) + "a:\n").collect();
        let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n\
                      c: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n\
                      e: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\n\
                      g: [*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*f,*f,*f,*f,*f,*f,*f,*f]\n";
        for text in [flow.as_str(), &block, laughs, "a: *a", "\t- x: {", "\u{0}"] {
            let parsed = from_str::<Value>(text);
            assert!(parsed.is_err(), "{}", &text[..text.len().min(20)]);
        }
        let error = from_str::<Value>(laughs).unwrap_err();
        assert!(
            error.starts_with("it has too many parts, levels or aliases"),
            "{error}"
        );
        let error = from_str::<Value>("a: 1\n---\na: 2\n").unwrap_err();
        assert!(error.starts_with("it holds several documents"), "{error}");
    }
}
