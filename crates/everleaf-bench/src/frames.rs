//! What an answer or a frame of a watch says of a request, read without building its tree: fields
//! that nobody asks for are skipped where they lie.

use crate::trouble::Trouble;
use everleaf_agent::client::{Failure, FailureClass};
use serde::Deserialize;
use std::borrow::Cow;
use std::ops::ControlFlow;

/// Longest line of a watch: more than the largest object that an API server takes.
const LINE_BYTES_MAX: usize = 4 << 20;

/// An object, as far as a waiting node looks at it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Seen<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default, rename = "resourceVersion")]
    version: Cow<'a, str>,
    #[serde(borrow, default, rename = "continue")]
    next: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
struct Status<'a> {
    #[serde(borrow, default)]
    certificate: Cow<'a, str>,
    #[serde(borrow, default)]
    conditions: Vec<Condition<'a>>,
}

#[derive(Debug, Deserialize)]
struct Condition<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    items: Vec<Seen<'a>>,
}

#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: Seen<'a>,
}

/// An event whose object is a Status.
#[derive(Debug, Deserialize)]
struct ErrorEvent<'a> {
    #[serde(borrow)]
    object: Refusal<'a>,
}

#[derive(Debug, Deserialize)]
struct Refusal<'a> {
    #[serde(default)]
    code: u16,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

impl<'a> Seen<'a> {
    /// Reads an object.
    pub(crate) fn object(text: &'a [u8]) -> Result<Self, Trouble> {
        serde_json::from_slice(text).map_err(|_| garbled("the answer is not a signing request"))
    }

    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }

    pub(crate) fn version(&self) -> &str {
        &self.metadata.version
    }

    /// The verdict on it, if there is one: the certificate in base64, or why there will be none.
    pub(crate) fn verdict(&self) -> Option<Result<&str, Trouble>> {
        if !self.status.certificate.is_empty() {
            return Some(Ok(&self.status.certificate));
        }
        self.status.conditions.iter().find_map(|condition| {
            let words = || format!("{}: {}", condition.reason, condition.message);
            match &*condition.kind {
                "Denied" => Some(Err(Trouble::Denied(words()))),
                "Failed" => Some(Err(Trouble::SignerFailed(words()))),
                _ => None,
            }
        })
    }
}

/// Reads a page of a list: what is in it, the list's version, and where the next page begins.
pub(crate) fn page(text: &[u8]) -> Result<(Vec<Seen<'_>>, String, String), Trouble> {
    let list: List<'_> = serde_json::from_slice(text)
        .map_err(|_| garbled("the answer is not a list of signing requests"))?;
    let Metadata { version, next, .. } = list.metadata;
    Ok((list.items, version.into_owned(), next.into_owned()))
}

/// Reads one line of a watch; `None` for one that says nothing of a request.
pub(crate) fn event(line: &[u8]) -> Result<Option<Seen<'_>>, Trouble> {
    match serde_json::from_slice::<Event<'_>>(line) {
        Ok(event) if event.kind == "DELETED" => Err(Trouble::Deleted),
        Ok(event) if event.kind == "BOOKMARK" => Ok(None),
        Ok(event) if event.kind != "ERROR" => Ok(Some(event.object)),
        _ => match serde_json::from_slice::<ErrorEvent<'_>>(line) {
            Ok(event) if event.object.code != 0 => Err(refused(&event.object)),
            _ => Err(garbled("the watch is garbled: a line is no event")),
        },
    }
}

fn refused(refusal: &Refusal<'_>) -> Trouble {
    let failure = Failure::unreachable(format!("the watch: {}", refusal.message));
    Trouble::Call(Failure {
        class: match refusal.code {
            410 => FailureClass::Gone,
            429 => FailureClass::TooManyRequests,
            500.. => FailureClass::ServerError,
            _ => FailureClass::Rejected,
        },
        ..failure
    })
}

fn garbled(what: &str) -> Trouble {
    let failure = Failure::unreachable(what);
    Trouble::Call(Failure {
        class: FailureClass::NotAnApi,
        ..failure
    })
}

/// Cuts what comes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
}

impl Lines {
    /// Takes in a piece, and shows each line that is whole now until `each` breaks.
    pub(crate) fn feed<B>(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(&[u8]) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, Trouble> {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            let flow = if self.begun.is_empty() {
                each(line)
            } else {
                self.begun.extend_from_slice(line);
                let flow = each(&self.begun);
                self.begun.clear();
                flow
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        if self.begun.len() + rest.len() > LINE_BYTES_MAX {
            return Err(garbled("the watch is garbled: a line has no end"));
        }
        self.begun.extend_from_slice(rest);
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUED: &str = r#"{"type":"MODIFIED","object":{"kind":"CertificateSigningRequest","metadata":{"name":"n","uid":"u","resourceVersion":"7","managedFields":[{"manager":"x","fieldsV1":{"f:status":{}}}]},"spec":{"request":"eA==","extra":{"a":["b"]}},"status":{"conditions":[{"type":"Approved","status":"True"}],"certificate":"Q0VSVA=="}}}"#;

    #[test]
    fn a_frame_says_issued_refused_or_nothing() {
        let seen = event(ISSUED.as_bytes()).unwrap().unwrap();
        assert_eq!((seen.name(), seen.version()), ("n", "7"));
        assert!(matches!(seen.verdict(), Some(Ok("Q0VSVA=="))));
        for (status, expected) in [
            (r#"{}"#, None),
            (r#"{"conditions":[{"type":"Approved"}]}"#, None),
            (
                r#"{"conditions":[{"type":"Denied","reason":"R","message":"say \"why\""}]}"#,
                Some(Trouble::Denied("R: say \"why\"".to_owned())),
            ),
            (
                r#"{"conditions":[{"type":"Approved"},{"type":"Failed","reason":"R","message":"m"}]}"#,
                Some(Trouble::SignerFailed("R: m".to_owned())),
            ),
        ] {
            let line = format!(
                r#"{{"type":"ADDED","object":{{"metadata":{{"name":"n"}},"status":{status}}}}}"#
            );
            let seen = event(line.as_bytes()).unwrap().unwrap();
            assert_eq!(seen.verdict().map(Result::unwrap_err), expected);
        }
    }

    #[test]
    fn what_is_no_request_is_told_apart() {
        let bookmark = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#;
        assert!(event(bookmark.as_bytes()).unwrap().is_none());
        let deleted = r#"{"type":"DELETED","object":{"metadata":{"name":"n"}}}"#;
        assert_eq!(event(deleted.as_bytes()).unwrap_err(), Trouble::Deleted);
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}}"#;
        match event(gone.as_bytes()).unwrap_err() {
            Trouble::Call(failure) => {
                assert_eq!(failure.class, FailureClass::Gone);
                assert_eq!(failure.message, "the watch: too old");
            }
            other => panic!("{other:?}"),
        }
        for text in ["", "{}", "null", "<html>", r#"{"type":"ADDED","object":7}"#] {
            assert_eq!(
                event(text.as_bytes()).unwrap_err().kind(),
                "not-an-api",
                "{text}"
            );
        }
    }

    #[test]
    fn a_page_names_the_next_one() {
        let text = r#"{"kind":"CertificateSigningRequestList","metadata":{"resourceVersion":"12","continue":"abc"},"items":[{"metadata":{"name":"a"},"status":{}}]}"#;
        let (items, version, next) = page(text.as_bytes()).unwrap();
        assert_eq!((items[0].name(), &*version, &*next), ("a", "12", "abc"));
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = "one\ntwo\n\nfour\nfi";
        for size in 1..text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                let flow = lines.feed(piece, |line| {
                    seen.push(String::from_utf8(line.to_vec()).unwrap());
                    ControlFlow::<()>::Continue(())
                });
                assert!(flow.unwrap().is_continue());
            }
            assert_eq!(seen, ["one", "two", "", "four"]);
        }
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        let fed = Lines::default().feed(&long, |_| ControlFlow::<()>::Continue(()));
        assert!(fed.is_err());
    }

    #[test]
    fn who_has_seen_enough_sees_no_more() {
        let mut seen = 0;
        let flow = Lines::default().feed(b"a\nb\nc\n", |line| {
            seen += 1;
            if line == b"b" {
                ControlFlow::Break("b")
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(matches!(flow, Ok(ControlFlow::Break("b"))));
        assert_eq!(seen, 2);
    }
}
