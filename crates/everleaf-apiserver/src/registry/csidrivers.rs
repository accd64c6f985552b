//! CSIDrivers: kubelets list and watch them at start. There are none here.

use super::{Descriptor, READ_VERBS};
use everleaf_api::types;

/// CSIDrivers.
pub static CSI_DRIVERS: Descriptor = Descriptor {
    verbs: READ_VERBS,
    ..Descriptor::cluster(&types::CSI_DRIVER, "csidrivers", "csidriver")
};
