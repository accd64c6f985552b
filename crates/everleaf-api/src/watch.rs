//! Watch events and their framing, for servers and for clients.
use serde_json::Value;
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
/// One decoded event.
#[derive(Debug, Clone)]
pub struct WatchEvent {
    /// Type.
    pub kind: EventType,
    /// Object or Status.
    pub object: Value,
}
/// Splits a JSON watch stream into events (newline-delimited), keeping partial input; bounded line length.
#[derive(Debug, Default)]
pub struct JsonEvents(());
impl JsonEvents {
    /// Feeds bytes, returns complete events; Err on a malformed line or one past the limit.
    pub fn feed(&mut self, _bytes: &[u8]) -> Result<Vec<WatchEvent>, String> {
        unimplemented!()
    }
}
/// One JSON line `{"type":…,"object":…}\n` from an already encoded object.
pub fn json_frame(_kind: EventType, _object_json: &[u8]) -> Vec<u8> {
    unimplemented!()
}
/// One protobuf frame: 4-byte big-endian length, bare WatchEvent whose raw is the enveloped object.
pub fn protobuf_frame(_kind: EventType, _object_protobuf: &[u8]) -> Vec<u8> {
    unimplemented!()
}
