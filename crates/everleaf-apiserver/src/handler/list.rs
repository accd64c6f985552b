//! The answer to a list, written piece by piece.
//!
//! Whoever lists may list everything, as often as he likes at once. So an answer in the making is a
//! snapshot, which costs nothing, a place in it, and one frame of text; selectors are asked,
//! objects decoded and written in turns between which others have theirs. What comes before the
//! items (where the next page begins, in protobuf how long they are) is found by a walk of its own.

use super::limits::Slot;
use super::read::Token;
use super::respond::{Form, Indenter, with_body, yaml_of};
use super::select::Selection;
use super::{Body, Call, gzip};
use crate::audit::EVENT_BYTES_MAX;
use crate::objects::Stored;
use crate::registry::Descriptor;
use crate::watch_cache::Walk;
use everleaf_api::meta;
use everleaf_api::negotiate::{Encoding, Shape};
use everleaf_api::schema::{LIST_PROTOBUF_END, Type};
use everleaf_api::table;
use everleaf_api::types::PARTIAL_OBJECT_METADATA;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// Bytes after which a frame is full; one object more may be in it.
const FRAME_BYTES: usize = 16 * 1024;
/// Objects looked at in one turn.
const LOOKED_AT_MAX: usize = 256;
/// Objects on one page: a client that wants more of them goes on with the token, as it must anyway.
const PAGE_OBJECTS_MAX: usize = 10_000;

/// The objects of a list.
#[derive(Clone)]
pub(super) enum Objects {
    /// All that a walk passes and a selection covers.
    Selected(Box<(Walk, Selection)>),
    /// These, from a place on.
    Given(Arc<Vec<Arc<Stored>>>, usize),
}

impl Objects {
    /// The next object, or None at the end; Some(None) for one that is not meant.
    fn next(&mut self) -> Option<Option<Arc<Stored>>> {
        match self {
            Self::Selected(selected) => {
                let (walk, selection) = &mut **selected;
                let object = walk.next()?;
                Some(selection.covers(&object).then_some(object))
            }
            Self::Given(objects, place) => {
                *place += 1;
                objects
                    .get(*place - 1)
                    .map(|object| Some(Arc::clone(object)))
            }
        }
    }
}

/// What an answer is about to do.
enum Stage {
    /// Find the objects of a page.
    Page {
        limit: usize,
        found: Vec<Arc<Stored>>,
    },
    /// Add up how long the items are.
    Measure { objects: Objects, bytes: usize },
    /// Write the items.
    Items,
    /// Nothing more.
    End,
}

/// A list on its way out.
pub(super) struct ListStream {
    stage: Stage,
    objects: Objects,
    revision: u64,
    next_page: String,
    remaining: Option<u64>,
    writer: ListWriter,
    /// Turns, besides the first, that are taken before the answer begins.
    first_turns: usize,
    /// The place among the requests that are served at once.
    slot: Option<Slot>,
}

impl ListStream {
    /// A list of `objects` at `revision`, at most `limit` (0: all).
    pub(super) fn new(
        call: &Call<'_>,
        form: Form,
        objects: Objects,
        revision: u64,
        limit: usize,
    ) -> Self {
        let writer = ListWriter::new(form, call.descriptor, call.now);
        Self {
            stage: match limit {
                0 => writer.first_stage(&objects),
                limit => Stage::Page {
                    limit: limit.min(PAGE_OBJECTS_MAX),
                    found: Vec::new(),
                },
            },
            objects,
            revision,
            next_page: String::new(),
            remaining: None,
            writer,
            first_turns: match gzip::is_taken(call.headers) {
                true => gzip::LENGTH_MIN / FRAME_BYTES,
                false => 0,
            },
            slot: None,
        }
    }

    /// The response with a list; in the audit log, too, if all of what is answered is told there.
    pub(super) fn answer(
        call: &Call<'_>,
        form: Form,
        objects: Objects,
        revision: u64,
        limit: usize,
    ) -> Response<Body> {
        if let Some(trail) = call.trail.filter(|trail| trail.tells_answers()) {
            let mut told = form;
            told.answer.encoding = Encoding::Json;
            told.pretty = false;
            let list = Self::new(call, told, objects.clone(), revision, limit);
            match list
                .text(EVENT_BYTES_MAX)
                .map(|text| serde_json::from_slice(&text))
            {
                Some(Ok(list)) => trail.answered(list),
                _ => trail.answered_too_much(),
            }
        }
        Self::new(call, form, objects, revision, limit).respond()
    }

    /// All of it, if it is no longer than that.
    fn text(mut self, bytes_max: usize) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        while let Some(frame) = self.next_frame() {
            text.extend(frame);
            if text.len() > bytes_max {
                return None;
            }
        }
        Some(text)
    }

    /// The response: with a body of known length, if one turn writes all of it. What takes longer
    /// waits for turns from then on, as whoever lists much must.
    pub(super) fn respond(mut self) -> Response<Body> {
        let content_type = self.writer.form.list_type();
        let mut text = self.next_frame().unwrap_or_default();
        // Whether an answer is long enough to be compressed must be known before it begins.
        for _ in 0..self.first_turns {
            if text.len() >= gzip::LENGTH_MIN {
                break;
            }
            text.extend(self.next_frame().unwrap_or_default());
        }
        let body = match self.stage {
            Stage::End => Body::full(text),
            _ => Body::list(text.into(), self),
        };
        with_body(StatusCode::OK, content_type, body)
    }

    /// Keeps a place as long as the list is under way.
    pub(super) fn hold(&mut self, slot: Option<Slot>) {
        self.slot = slot;
    }

    /// The next piece after one turn's work, empty when there is none yet; None at the end.
    pub(super) fn next_frame(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for _ in 0..LOOKED_AT_MAX {
            if out.len() >= FRAME_BYTES {
                break;
            }
            match std::mem::replace(&mut self.stage, Stage::End) {
                Stage::End if out.is_empty() => return None,
                Stage::End => break,
                Stage::Page { limit, found } => self.find(limit, found),
                Stage::Measure { objects, bytes } => self.measure(&mut out, objects, bytes),
                Stage::Items => self.write(&mut out),
            }
        }
        Some(out)
    }

    fn find(&mut self, limit: usize, mut found: Vec<Arc<Stored>>) {
        match self.objects.next() {
            Some(Some(object)) if found.len() == limit => {
                self.next_page = crate::watch_cache::key_of(&object.namespace, &object.name);
                if let Objects::Selected(selected) = &self.objects
                    && selected.1.is_everything()
                {
                    self.remaining = Some(selected.0.left() as u64 + 1);
                }
            }
            Some(object) => {
                found.extend(object);
                self.stage = Stage::Page { limit, found };
                return;
            }
            None => {}
        }
        self.objects = Objects::Given(Arc::new(found), 0);
        self.stage = self.writer.first_stage(&self.objects);
    }

    fn measure(&mut self, out: &mut Vec<u8>, mut objects: Objects, mut bytes: usize) {
        match objects.next() {
            Some(object) => {
                let mut item = Vec::new();
                if let Some(object) = object {
                    self.writer.item(&mut item, &object);
                }
                bytes += item.len();
                self.stage = Stage::Measure { objects, bytes };
            }
            None => {
                let token = match self.next_page.as_str() {
                    "" => String::new(),
                    next => Token::new(self.revision, next).encode(),
                };
                let list_meta = meta::list_meta(&self.revision.to_string(), &token, self.remaining);
                self.writer.begin(out, &list_meta, bytes);
                self.stage = Stage::Items;
            }
        }
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        match self.objects.next() {
            Some(object) => {
                if let Some(object) = object {
                    self.writer.add(out, &object);
                }
                self.stage = Stage::Items;
            }
            None => self.writer.end(out),
        }
    }
}

impl std::fmt::Debug for ListStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListStream")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// Writes a list in the agreed form.
struct ListWriter {
    form: Form,
    descriptor: &'static Descriptor,
    now: Timestamp,
    /// The name of the list of items, and what comes after them.
    array: &'static str,
    end: Vec<u8>,
    has_items: bool,
    /// What begins the items, if it must wait for the first of them.
    opening: &'static [u8],
    indenter: Option<Indenter>,
}

impl ListWriter {
    fn new(form: Form, descriptor: &'static Descriptor, now: Timestamp) -> Self {
        let is_table = matches!(form.answer.shape, Shape::Table { .. });
        Self {
            form,
            descriptor,
            now,
            array: if is_table { "rows" } else { "items" },
            end: Vec::new(),
            has_items: false,
            opening: b"",
            indenter: (form.pretty && form.answer.encoding == Encoding::Json)
                .then(Indenter::default),
        }
    }

    /// Protobuf says how long something is before it comes; the others have nothing to measure.
    fn first_stage(&self, objects: &Objects) -> Stage {
        let objects = match self.form.answer.encoding {
            Encoding::Protobuf => objects.clone(),
            Encoding::Json | Encoding::Yaml => Objects::Given(Arc::default(), 0),
        };
        Stage::Measure { objects, bytes: 0 }
    }

    fn item_type(&self) -> &'static Type {
        match self.form.answer.shape {
            Shape::PartialObjectMetadataList => &PARTIAL_OBJECT_METADATA,
            _ => self.descriptor.r#type,
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>, list_meta: &Value, items_bytes: usize) {
        let ty = self.item_type();
        let mut text = match self.form.answer.shape {
            _ if self.form.answer.encoding == Encoding::Protobuf => {
                self.end = LIST_PROTOBUF_END.to_vec();
                out.extend(ty.begin_list_protobuf(list_meta, items_bytes));
                return;
            }
            Shape::Table { v1 } => table::encode(v1, list_meta, Some(self.descriptor.columns), []),
            _ => ty.encode_list_json(list_meta, []),
        };
        if self.form.answer.encoding == Encoding::Yaml {
            let (begin, end) = yaml_parts(&text, self.array);
            (text, self.end) = (begin.into_bytes(), end.into_bytes());
        } else {
            // Items come before the last two brackets.
            self.end = text.split_off(text.len() - 2);
            if self.form.answer.shape == Shape::PartialObjectMetadataList {
                // Go prints no list here when there is nothing in it.
                self.opening = b"[";
                text.pop();
            }
        }
        self.text(out, &text);
    }

    /// Adds one item, without what separates it from others.
    fn item(&self, out: &mut Vec<u8>, object: &Stored) {
        match self.form.answer.shape {
            Shape::PartialObjectMetadataList if self.form.answer.encoding == Encoding::Protobuf => {
                PARTIAL_OBJECT_METADATA.encode_item_protobuf(out, &object.object());
            }
            _ if self.form.answer.encoding == Encoding::Protobuf => {
                object.add_to_list(out, self.descriptor.r#type);
            }
            Shape::Table { v1 } => {
                let object = &object.object();
                let (ty, include) = (self.descriptor.r#type, self.form.include);
                let cells = (self.descriptor.cells)(object, self.now);
                out.extend(table::encode_row(ty, &cells, object, v1, include));
            }
            Shape::PartialObjectMetadataList => {
                out.extend(PARTIAL_OBJECT_METADATA.encode_json(&object.object()));
            }
            _ => {
                out.push(b'{');
                out.extend_from_slice(object.json(self.descriptor.r#type).item_body());
            }
        }
    }

    fn add(&mut self, out: &mut Vec<u8>, object: &Stored) {
        match self.form.answer.encoding {
            Encoding::Protobuf => self.item(out, object),
            Encoding::Yaml => {
                let mut item = Vec::new();
                self.item(&mut item, object);
                let item: Value = serde_json::from_slice(&item).unwrap_or_default();
                let text = yaml_of(&json!({ self.array: [item] })).unwrap_or_default();
                // The first one says what they are items of.
                let head = if self.has_items {
                    self.array.len() + 2
                } else {
                    0
                };
                out.extend_from_slice(text.get(head..).unwrap_or_default().as_bytes());
            }
            Encoding::Json => {
                let before = if self.has_items { b"," } else { self.opening };
                self.text(out, before);
                if self.indenter.is_some() {
                    let mut item = Vec::new();
                    self.item(&mut item, object);
                    self.text(out, &item);
                } else {
                    self.item(out, object);
                }
            }
        }
        self.has_items = true;
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let is_null = self.form.answer.shape == Shape::PartialObjectMetadataList;
        if !self.has_items && self.form.answer.encoding == Encoding::Yaml {
            let nothing = if is_null { "null" } else { "[]" };
            out.extend_from_slice(format!("{}: {nothing}\n", self.array).as_bytes());
        }
        let mut end = std::mem::take(&mut self.end);
        if !self.has_items && !self.opening.is_empty() {
            end.splice(..1, *b"null");
        }
        self.text(out, &end);
    }

    fn text(&mut self, out: &mut Vec<u8>, text: &[u8]) {
        match &mut self.indenter {
            Some(indenter) => indenter.push(out, text),
            None => out.extend_from_slice(text),
        }
    }
}

/// What comes before and after the member `array` of a document whose members are sorted.
fn yaml_parts(json: &[u8], array: &str) -> (String, String) {
    let tree: Value = serde_json::from_slice(json).unwrap_or_default();
    let (before, after): (serde_json::Map<_, _>, serde_json::Map<_, _>) = tree
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != array)
        .map(|(name, value)| (name.clone(), value.clone()))
        .partition(|(name, _)| name.as_str() < array);
    let text = |members: serde_json::Map<String, Value>| {
        if members.is_empty() {
            return String::new();
        }
        yaml_of(&Value::Object(members)).unwrap_or_default()
    };
    (text(before), text(after))
}
