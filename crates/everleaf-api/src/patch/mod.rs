//! What a PATCH body may be: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and
//! strategic merge patch. A [`Patch`] is one of them, read; applied to an
//! object it gives a decoded one, or the error that upstream's handler gives
//! (`apiserver/pkg/endpoints/handlers/patch.go`). Names, versions and storage are the caller's.
//!
//! ```
//! use everleaf_api::patch::{Patch, PatchType};
//! use everleaf_api::types;
//! use serde_json::json;
//!
//! let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"colour": "red"}});
//! let patch = Patch::read(PatchType::Merge, br#"{"data": {"colour": null, "shape": "round"}}"#)?;
//! let patched = patch.apply(&map, &types::CONFIG_MAP, true)?;
//! assert_eq!(patched.object["data"], json!({"shape": "round"}));
//! # Ok::<(), everleaf_api::Status>(())
//! ```

mod directives;
mod document;
pub(crate) mod go_text;
mod json;
mod lists;
mod merge;
mod ordered;
mod reading;
mod shape;
mod strategic;

pub use document::{Patch, PatchType, read_object};
pub use merge::merge;
pub use strategic::strategic_merge;
