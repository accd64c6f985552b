//! Server-side printing: `meta.k8s.io` Table, and PartialObjectMetadata, which its rows carry.
//!
//! Two ways to the same text: [`table`] builds a tree; [`encode_row`] and [`encode`] work on bytes,
//! so that a row rendered once serves every list and watch.

use crate::codec::json_write;
use crate::meta;
use crate::schema::Type;
use crate::types::PARTIAL_OBJECT_METADATA;
use serde_json::{Map, Value, json};

/// A column definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Header, as `SignerName`; kubectl prints it in capitals.
    pub name: &'static str,
    /// string, integer, …
    pub kind: &'static str,
    /// `name` or "".
    pub format: &'static str,
    /// 0 = always shown.
    pub priority: i32,
    /// Goes into the Table's columnDefinitions.
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

impl IncludeObject {
    /// The value of the query parameter `includeObject`; absent is Metadata.
    ///
    /// # Errors
    /// What is wrong, for a 400.
    pub fn parse(value: Option<&str>) -> Result<Self, String> {
        match value {
            None | Some("" | "Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(format!(
                "unrecognized includeObject value: {} (use Metadata, Object or None)",
                crate::fields::quote(other)
            )),
        }
    }
}

/// Builds a Table. `rows` = (cells, full object). `columns` is None in every event of a watch but
/// the first.
pub fn table(
    v1: bool,
    list_meta: Value,
    columns: Option<&[Column]>,
    rows: Vec<(Vec<Value>, &Value)>,
    include: IncludeObject,
) -> Value {
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|(cells, object)| {
            let object = match include {
                IncludeObject::None => Value::Null,
                IncludeObject::Metadata => partial_object_metadata(object, v1),
                IncludeObject::Object => object.clone(),
            };
            json!({"cells": cells, "object": object})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": api_version(v1),
        "metadata": list_meta,
        "columnDefinitions": columns.map(column_definitions),
        "rows": rows,
    })
}

fn api_version(v1: bool) -> &'static str {
    if v1 {
        "meta.k8s.io/v1"
    } else {
        "meta.k8s.io/v1beta1"
    }
}

fn column_definitions(columns: &[Column]) -> Value {
    let definition = |column: &Column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.doc,
            "priority": column.priority,
        })
    };
    columns.iter().map(definition).collect()
}

/// One row as JSON text.
pub fn encode_row(
    ty: &Type,
    cells: &[Value],
    object: &Value,
    v1: bool,
    include: IncludeObject,
) -> Vec<u8> {
    let mut row = b"{\"cells\":[".to_vec();
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            row.push(b',');
        }
        json_write::any(&mut row, cell);
    }
    row.extend_from_slice(b"],\"object\":");
    match include {
        IncludeObject::None => row.extend_from_slice(b"null"),
        IncludeObject::Metadata => row.extend(encode_partial_object_metadata(object, v1)),
        IncludeObject::Object => row.extend(ty.encode_json(object)),
    }
    row.push(b'}');
    row
}

/// A whole Table as JSON text, from rows of [`encode_row`].
pub fn encode<'r>(
    v1: bool,
    list_meta: &Value,
    columns: Option<&[Column]>,
    rows: impl IntoIterator<Item = &'r [u8]>,
) -> Vec<u8> {
    let mut text = Vec::with_capacity(4096);
    text.extend_from_slice(b"{\"kind\":\"Table\",\"apiVersion\":");
    json_write::string(&mut text, api_version(v1));
    text.extend_from_slice(b",\"metadata\":");
    json_write::any(&mut text, list_meta);
    text.extend_from_slice(b",\"columnDefinitions\":");
    json_write::any(&mut text, &columns.map_or(Value::Null, column_definitions));
    text.extend_from_slice(b",\"rows\":[");
    for (index, row) in rows.into_iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(row);
    }
    text.extend_from_slice(b"]}");
    text
}

/// PartialObjectMetadata of an object.
pub fn partial_object_metadata(object: &Value, v1: bool) -> Value {
    let metadata = object
        .get("metadata")
        .filter(|metadata| metadata.is_object());
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": api_version(v1),
        "metadata": metadata.cloned().unwrap_or_else(|| Value::Object(Map::new())),
    })
}

/// PartialObjectMetadata of an object, as JSON text.
pub fn encode_partial_object_metadata(object: &Value, v1: bool) -> Vec<u8> {
    let ty = Type {
        version: if v1 { "v1" } else { "v1beta1" },
        ..PARTIAL_OBJECT_METADATA
    };
    ty.encode_json(object)
}

/// The Age cell: human duration since creation, `<unknown>` when there is no creation time.
pub fn age(object: &Value, now: jiff::Timestamp) -> Value {
    match meta::creation_timestamp(object) {
        Some(created) => crate::duration::human(now.duration_since(created).as_secs()).into(),
        None => "<unknown>".into(),
    }
}
