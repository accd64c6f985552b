//! Watch events and their framing, for servers and for clients.

use crate::codec::{proto_read, proto_write};
use crate::fields::quote;
use crate::schema::Type;
use crate::types;
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

/// Splits a watch stream into events, whether it is in JSON or in protobuf: its first byte tells.
/// In protobuf a frame begins with its length, whose first byte is never one that JSON begins with;
/// and what is read of an object are the members of [`Type::decode_protobuf_unmanaged`].
#[derive(Debug)]
pub struct Events(Reader);

#[derive(Debug)]
enum Reader {
    /// Nothing came so far.
    Either(&'static Type),
    Json(JsonEvents),
    Protobuf {
        r#type: &'static Type,
        /// The frame that has not ended yet.
        partial: Vec<u8>,
    },
}

impl Events {
    /// Of objects of this type; `None`: in JSON, whatever they are.
    pub fn of(r#type: Option<&'static Type>) -> Self {
        Self(r#type.map_or_else(|| Reader::Json(JsonEvents::default()), Reader::Either))
    }

    /// Feeds bytes, returns the events they complete.
    ///
    /// # Errors
    /// As [`JsonEvents::feed`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<WatchEvent>, String> {
        if let (Reader::Either(r#type), Some(first)) = (&self.0, bytes.first()) {
            self.0 = match first {
                // The length of a frame that is not refused, in four bytes.
                0 | 1 => Reader::Protobuf {
                    r#type,
                    partial: Vec::new(),
                },
                _ => Reader::Json(JsonEvents::default()),
            };
        }
        match &mut self.0 {
            Reader::Either(_) => Ok(Vec::new()),
            Reader::Json(events) => events.feed(bytes),
            Reader::Protobuf { r#type, partial } => frames(r#type, partial, bytes),
        }
    }
}

fn frames(ty: &Type, partial: &mut Vec<u8>, bytes: &[u8]) -> Result<Vec<WatchEvent>, String> {
    let mut events = Vec::new();
    if partial.is_empty() {
        let read = read_frames(ty, bytes, &mut events)?;
        partial.extend_from_slice(&bytes[read..]);
    } else {
        partial.extend_from_slice(bytes);
        let read = read_frames(ty, partial, &mut events)?;
        partial.drain(..read);
    }
    Ok(events)
}

/// Adds the events of the frames that are whole; the bytes that these have.
fn read_frames(ty: &Type, bytes: &[u8], events: &mut Vec<WatchEvent>) -> Result<usize, String> {
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*head) as usize;
        if length > LINE_BYTES_MAX {
            return Err(format!(
                "a frame of the watch is longer than {LINE_BYTES_MAX} bytes"
            ));
        }
        let Some((frame, next)) = after.split_at_checked(length) else {
            break;
        };
        events.push(event(ty, frame)?);
        rest = next;
    }
    Ok(bytes.len() - rest.len())
}

fn event(ty: &Type, frame: &[u8]) -> Result<WatchEvent, String> {
    let bad = |reason: String| format!("a frame of the watch is not an event: {reason}");
    let (kind, object) = proto_read::watch_event(frame).map_err(bad)?;
    let kind = known(kind)?;
    let ty = match kind {
        EventType::Error => &types::STATUS,
        _ => ty,
    };
    let object = ty.decode_protobuf_unmanaged(object);
    let object = object.map_err(|error| bad(error.to_string()))?;
    Ok(WatchEvent { kind, object })
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
    Ok(Some(WatchEvent {
        kind: known(&line.kind)?,
        object: line.object,
    }))
}

fn known(name: &str) -> Result<EventType, String> {
    let kind = EventType::ALL
        .into_iter()
        .find(|kind| kind.as_str() == name);
    kind.ok_or_else(|| {
        let name: String = name.chars().take(40).collect();
        format!("the watch sent an event of unknown type {}", quote(&name))
    })
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
    let mut frame = Vec::with_capacity(object_protobuf.len() + 40);
    frame.extend_from_slice(&[0; 4]);
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
    use crate::Status;
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

    /// The same of protobuf, as our own server writes it.
    #[test]
    fn frames_come_out_whatever_the_cuts() {
        let ty = &types::CONFIG_MAP;
        let map = json!({"metadata": {"name": "a", "managedFields": [{"manager": "m"}]}});
        let map = ty.decode_value(map).unwrap().object;
        let mut stream = protobuf_frame(EventType::Added, &ty.encode_protobuf(&map));
        let status = Status::expired("too old");
        stream.extend(protobuf_frame(EventType::Error, &status.to_protobuf()));
        for size in 1..=stream.len() {
            let mut reader = Events::of(Some(ty));
            let mut events = Vec::new();
            for chunk in stream.chunks(size) {
                events.extend(reader.feed(chunk).unwrap());
            }
            assert_eq!(events.len(), 2);
            assert_eq!(events[0].kind, EventType::Added);
            let metadata = events[0].object["metadata"].as_object().unwrap();
            assert_eq!(metadata["name"], "a");
            assert!(!metadata.contains_key("managedFields"), "nobody reads them");
            assert_eq!(Status::from_value(&events[1].object), Some(status.clone()));
            assert!(matches!(reader.0, Reader::Protobuf { partial, .. } if partial.is_empty()));
        }
        let mut reader = Events::of(Some(ty));
        let line = json_frame(EventType::Modified, br#"{"n":1}"#);
        assert_eq!(reader.feed(&line).unwrap()[0].object, json!({"n": 1}));
    }

    #[test]
    fn bad_frames_end_the_stream_with_a_reason() {
        let ty = &types::CONFIG_MAP;
        for (frame, reason) in [
            (&b"\x01\0\0\x01"[..], "longer than 16777216 bytes"),
            (b"\0\0\0\x01\x0a", "not an event"),
            (b"\0\0\0\x04\x0a\x02XX", "unknown type \"XX\""),
            (b"\0\0\0\x07\x0a\x05ADDED", "not an event"),
        ] {
            let error = Events::of(Some(ty)).feed(frame).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn protobuf_frames_are_length_first() {
        let frame = protobuf_frame(EventType::Deleted, b"k8s\0");
        let expected = b"\0\0\0\x11\x0a\x07DELETED\x12\x06\x0a\x04k8s\0";
        assert_eq!(frame, expected);
    }
}
