//! Server-side printing: `meta.k8s.io` Table (spec/api.md 2).
use serde_json::Value;
/// A column definition.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// string, integer, …
    pub kind: &'static str,
    /// `name` or "".
    pub format: &'static str,
    /// 0 = always shown.
    pub priority: i32,
    /// Description.
    pub doc: &'static str,
}
/// What each row's `object` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeObject {
    /// nothing
    None,
    /// PartialObjectMetadata
    Metadata,
    /// the whole object
    Object,
}
/// Builds a Table. `rows` = (cells, full object).
pub fn table(
    _v1: bool,
    _list_meta: Value,
    _columns: Option<&[Column]>,
    _rows: Vec<(Vec<Value>, &Value)>,
    _include: IncludeObject,
) -> Value {
    unimplemented!()
}
/// PartialObjectMetadata of an object.
pub fn partial_object_metadata(_object: &Value, _v1: bool) -> Value {
    unimplemented!()
}
