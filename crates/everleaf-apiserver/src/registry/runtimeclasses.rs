//! RuntimeClasses: kubelets list and watch them at start. There are none here.

use everleaf_api::types;

use super::{Descriptor, READ_VERBS};

/// RuntimeClasses.
pub static RUNTIME_CLASSES: Descriptor = Descriptor {
    verbs: READ_VERBS,
    ..Descriptor::cluster(&types::RUNTIME_CLASS, "runtimeclasses", "runtimeclass")
};
