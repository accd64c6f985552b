//! Watch events and their framing, for servers and for clients.

use crate::codec::proto_write;
use crate::fields::quote;
use serde::Deserialize;
use serde_json::Value;

/// Longest line of a watch stream that a client takes in: an object of 3 MiB in JSON, with room to
/// spare.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// ADDED
    Added,
    /// MODIFIED
    Modified,
    /// DELETED
    Deleted,
    /// BOOKMARK
    Bookmark,
    /// ERROR
    Error,
}

impl EventType {
    const ALL: [Self; 5] = [
        Self::Added,
        Self::Modified,
        Self::Deleted,
        Self::Bookmark,
        Self::Error,
    ];

    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
            Self::Error => "ERROR",
        }
    }
}

/// One decoded event.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchEvent {
    /// ERROR ends the watch; its object is a Status.
    pub kind: EventType,
    /// Object or Status.
    pub object: Value,
}

/// Splits a JSON watch stream into events (newline-delimited), keeping partial input; bounded line
/// length.
///
/// ```
/// # use everleaf_api::watch::{EventType, JsonEvents};
/// let mut events = JsonEvents::default();
/// assert!(events.feed(br#"{"type":"ADDED","obj"#)?.is_empty());
/// assert_eq!(events.feed(b"ect\":{}}\n")?[0].kind, EventType::Added);
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Default)]
pub struct JsonEvents {
    /// The line that has not ended yet.
    partial: Vec<u8>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

impl JsonEvents {
    /// Feeds bytes, returns the events they complete.
    ///
    /// # Errors
    /// A sentence on a malformed line, an unknown event type, or a line past [`LINE_BYTES_MAX`].
    /// The stream is of no use after that.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<WatchEvent>, String> {
        let mut events = Vec::new();
        let mut lines = bytes.split(|b| *b == b'\n');
        // What follows the last newline is the start of the next line.
        let tail = lines.next_back().unwrap_or_default();
        for line in lines {
            if self.partial.is_empty() {
                events.extend(parse(line)?);
            } else {
                self.keep(line)?;
                events.extend(parse(&self.partial)?);
                self.partial.clear();
            }
        }
        self.keep(tail)?;
        Ok(events)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.partial.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(format!(
                "a line of the watch is longer than {LINE_BYTES_MAX} bytes"
            ));
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

/// None for an empty line.
fn parse(line: &[u8]) -> Result<Option<WatchEvent>, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!(
            "a line of the watch is longer than {LINE_BYTES_MAX} bytes"
        ));
    }
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let line: Line = serde_json::from_slice(line)
        .map_err(|error| format!("a line of the watch is not an event: {error}"))?;
    let kind = EventType::ALL
        .into_iter()
        .find(|kind| kind.as_str() == line.kind);
    let kind = kind.ok_or_else(|| {
        let name: String = line.kind.chars().take(40).collect();
        format!("the watch sent an event of unknown type {}", quote(&name))
    })?;
    Ok(Some(WatchEvent {
        kind,
        object: line.object,
    }))
}

/// One JSON line `{"type":…,"object":…}\n` from an already encoded object.
pub fn json_frame(kind: EventType, object_json: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(object_json.len() + 40);
    frame.extend_from_slice(b"{\"type\":\"");
    frame.extend_from_slice(kind.as_str().as_bytes());
    frame.extend_from_slice(b"\",\"object\":");
    frame.extend_from_slice(object_json);
    frame.extend_from_slice(b"}\n");
    frame
}

/// One protobuf frame: 4-byte big-endian length, bare WatchEvent whose raw is the enveloped object.
///
/// # Panics
/// Never: an object of 4 GiB cannot be stored.
pub fn protobuf_frame(kind: EventType, object_protobuf: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 4];
    proto_write::bytes(&mut frame, 1, kind.as_str().as_bytes());
    proto_write::nested(&mut frame, 2, |frame| {
        proto_write::bytes(frame, 1, object_protobuf)
    });
    let length = u32::try_from(frame.len() - 4).expect("invariant: an event is below 4 GiB");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stream() -> Vec<u8> {
        let mut stream = json_frame(EventType::Added, br#"{"n":1}"#);
        stream.extend_from_slice(b"\n\r\n");
        stream.extend(json_frame(EventType::Bookmark, br#"{"n":2}"#));
        stream.extend(json_frame(EventType::Error, br#"{"kind":"Status"}"#));
        stream
    }

    /// However the network cuts it.
    #[test]
    fn events_come_out_whatever_the_cuts() {
        let stream = stream();
        for size in 1..=stream.len() {
            let mut reader = JsonEvents::default();
            let mut events = Vec::new();
            for chunk in stream.chunks(size) {
                events.extend(reader.feed(chunk).unwrap());
            }
            assert_eq!(
                events,
                [
                    WatchEvent {
                        kind: EventType::Added,
                        object: json!({"n": 1})
                    },
                    WatchEvent {
                        kind: EventType::Bookmark,
                        object: json!({"n": 2})
                    },
                    WatchEvent {
                        kind: EventType::Error,
                        object: json!({"kind": "Status"})
                    },
                ]
            );
            assert!(reader.partial.is_empty());
        }
    }

    #[test]
    fn bad_lines_end_the_stream_with_a_reason() {
        for (line, reason) in [
            ("{}\n", "not an event"),
            ("nonsense\n", "not an event"),
            (
                "{\"type\":\"EXPLODED\",\"object\":{}}\n",
                "unknown type \"EXPLODED\"",
            ),
        ] {
            let error = JsonEvents::default().feed(line.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let mut reader = JsonEvents::default();
        let chunk = vec![b'a'; 1024 * 1024];
        let fed = (0..=16).map(|_| reader.feed(&chunk)).find(Result::is_err);
        assert!(fed.is_some());
        assert!(reader.partial.len() <= LINE_BYTES_MAX);
        let line = vec![b' '; LINE_BYTES_MAX + 1];
        assert!(
            JsonEvents::default()
                .feed(&[&line[..], b"\n"].concat())
                .is_err()
        );
    }

    #[test]
    fn protobuf_frames_are_length_first() {
        let frame = protobuf_frame(EventType::Deleted, b"k8s\0");
        let expected = b"\0\0\0\x11\x0a\x07DELETED\x12\x06\x0a\x04k8s\0";
        assert_eq!(frame, expected);
    }
}
