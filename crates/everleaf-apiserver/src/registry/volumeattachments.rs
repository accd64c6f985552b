//! VolumeAttachments: kubelets look them up. There are none here.

use super::{Descriptor, READ_VERBS};
use everleaf_api::types;

/// VolumeAttachments.
pub static VOLUME_ATTACHMENTS: Descriptor = Descriptor {
    verbs: READ_VERBS,
    ..Descriptor::cluster(
        &types::VOLUME_ATTACHMENT,
        "volumeattachments",
        "volumeattachment",
    )
};
