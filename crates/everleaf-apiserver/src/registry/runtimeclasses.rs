//! RuntimeClasses: kubelets list and watch them at start. There are none here.

use super::{Descriptor, READ_VERBS};
use everleaf_api::types;

/// RuntimeClasses.
pub static RUNTIME_CLASSES: Descriptor = Descriptor {
    verbs: READ_VERBS,
    ..Descriptor::cluster(&types::RUNTIME_CLASS, "runtimeclasses", "runtimeclass")
};
