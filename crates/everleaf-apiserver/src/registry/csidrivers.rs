//! CSIDrivers: kubelets list and watch them at start. There are none here.

use everleaf_api::types;

use super::{Descriptor, READ_VERBS};

/// CSIDrivers.
pub static CSI_DRIVERS: Descriptor = Descriptor {
    verbs: READ_VERBS,
    ..Descriptor::cluster(&types::CSI_DRIVER, "csidrivers", "csidriver")
};
