//! Types of which this server holds no object: real kubelets and tools list and watch them at start
//! and wait for the answer. A list of them is empty, so a table of what every object carries is
//! enough. Whoever makes one of them writable gives it a whole table, and moves it to
//! [`ALL`](super::ALL).

use super::table::*;

const CORE: Package = Package("io.k8s.api.core.v1");
const EXTENSIONS: Package = Package("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1");
const NODE: Package = Package("io.k8s.api.node.v1");
const STORAGE: Package = Package("io.k8s.api.storage.v1");
const RESOURCE: Package = Package("io.k8s.api.resource.v1");

const fn bare(group: &'static str, kind: &'static str, message: &'static Message) -> Type {
    Type { group, version: "v1", kind, message }
}

/// `v1` Pod, metadata alone: the Node authorizer asks on which node it is.
pub static POD: Type = bare("", "Pod", &CORE.message("Pod", "Containers that run together on a node.", &[METADATA]));

/// `v1` Service, metadata alone: kubelets list and watch them.
pub static SERVICE: Type = bare("", "Service", &CORE.message("Service", "A stable address for pods.", &[METADATA]));

/// RuntimeClass.
pub static RUNTIME_CLASS: Type = bare(
    "node.k8s.io",
    "RuntimeClass",
    &NODE.message("RuntimeClass", "A way to run containers that pods may choose.", &[METADATA]),
);

/// CSIDriver.
pub static CSI_DRIVER: Type = bare(
    "storage.k8s.io",
    "CSIDriver",
    &STORAGE.message("CSIDriver", "A volume driver of the cluster.", &[METADATA]),
);

/// VolumeAttachment.
pub static VOLUME_ATTACHMENT: Type = bare(
    "storage.k8s.io",
    "VolumeAttachment",
    &STORAGE.message("VolumeAttachment", "Asks that a volume be attached to a node, or detached.", &[METADATA]),
);

/// ResourceSlice.
pub static RESOURCE_SLICE: Type = bare(
    "resource.k8s.io",
    "ResourceSlice",
    &RESOURCE.message("ResourceSlice", "Devices that a driver offers on a node.", &[METADATA]),
);

/// CustomResourceDefinition.
pub static CUSTOM_RESOURCE_DEFINITION: Type = bare(
    "apiextensions.k8s.io",
    "CustomResourceDefinition",
    &EXTENSIONS.message("CustomResourceDefinition", "A kind that a cluster adds to those of Kubernetes.", &[METADATA]),
);
