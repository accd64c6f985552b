//! The schema as a strategic merge patch asks it: what is the member of that name, and how does its
//! list merge?

use crate::Status;
use crate::fields::quote;
use crate::schema::{Field, Kind, ListPatch, Message};

/// The declared type of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// A message; its members are known.
    Message(&'static Message),
    /// Anything else; only Go's name of its sort matters, for messages.
    Opaque(&'static str),
}

/// A list member: its items and how it merges.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListShape {
    pub(super) item: Shape,
    pub(super) patch: ListPatch,
}

impl ListShape {
    /// The member by which objects are matched; None for scalars and for lists that are replaced.
    pub(super) fn key(&self) -> Option<&'static str> {
        match self.patch {
            ListPatch::By(key) => Some(key),
            ListPatch::Replace | ListPatch::Union => None,
        }
    }
}

impl Shape {
    /// The type of a member that holds an object.
    pub(super) fn member(self, name: &str) -> Result<Self, Status> {
        Ok(match self.field(name)? {
            Member::Field(field) => Self::of(&field.kind),
            Member::TypeMeta => Self::Opaque("string"),
        })
    }

    /// The type of a member that holds a list.
    pub(super) fn list(self, name: &str) -> Result<ListShape, Status> {
        let no_list =
            || Status::bad_request("expected slice or array type, but got: struct".to_owned());
        let Member::Field(field) = self.field(name)? else {
            return Err(no_list());
        };
        let item = match &field.kind {
            Kind::List(item, _) => Self::of(item),
            Kind::ExtraValue => Self::Opaque("string"),
            Kind::Bytes => Self::Opaque("uint8"),
            // Go looks through pointers without asking what they point to.
            kind if field.presence.is_pointer() => Self::of(kind),
            _ => return Err(no_list()),
        };
        Ok(ListShape {
            item,
            patch: field.list_patch,
        })
    }

    /// Go's name for the sort of type.
    pub(super) fn sort(self) -> &'static str {
        match self {
            Self::Message(_) => "struct",
            Self::Opaque(sort) => sort,
        }
    }

    fn of(kind: &Kind) -> Self {
        Self::Opaque(match kind {
            Kind::Message(message) => return Self::Message(message),
            Kind::Bool => "bool",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::String => "string",
            Kind::Time | Kind::MicroTime | Kind::Quantity | Kind::FieldsV1 => "struct",
            Kind::Bytes | Kind::ExtraValue | Kind::List(..) => "slice",
            Kind::Map(_) => "map",
        })
    }

    /// The member of that name, else of that name in other letters, as Go's decoder would find it.
    fn field(self, name: &str) -> Result<Member, Status> {
        let message = match self {
            Self::Message(message) => message,
            Self::Opaque(sort) => {
                return Err(Status::bad_request(format!(
                    "merging an object in json but data type is not struct, instead is: {sort}"
                )));
            }
        };
        if let Some(field) = message.field(name) {
            return Ok(Member::Field(field));
        }
        let mut fields = message.fields.iter();
        if let Some(field) = fields.find(|field| field.json.eq_ignore_ascii_case(name)) {
            return Ok(Member::Field(field));
        }
        // Only a root has these two, and only there does an object have a value for them.
        if matches!(name, "apiVersion" | "kind") && message.field("metadata").is_some() {
            return Ok(Member::TypeMeta);
        }
        Err(Status::bad_request(format!(
            "unable to find api field in struct {} for the json field {}",
            message.name,
            quote(name)
        )))
    }
}

enum Member {
    Field(&'static Field),
    TypeMeta,
}
