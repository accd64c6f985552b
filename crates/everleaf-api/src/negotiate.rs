//! Content negotiation: Accept → response form; Content-Type → decoder (spec/api.md 2 and 4.6).
use crate::status::Status;
/// Wire encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// application/json
    Json,
    /// application/yaml
    Yaml,
    /// application/vnd.kubernetes.protobuf
    Protobuf,
}
/// What shape the answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The object or list itself.
    Object,
    /// Table v1 (true) or v1beta1 (false).
    Table {
        /// meta.k8s.io/v1?
        v1: bool,
    },
    /// as=PartialObjectMetadata
    PartialObjectMetadata,
    /// as=PartialObjectMetadataList
    PartialObjectMetadataList,
    /// as=APIGroupDiscoveryList v2
    GroupDiscovery,
}
/// A satisfiable clause of an Accept header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Encoding.
    pub encoding: Encoding,
    /// Shape.
    pub shape: Shape,
}
/// First clause that `offers` can satisfy, by q then order.
pub fn accept(_header: Option<&str>, _can: &dyn Fn(Answer) -> bool) -> Result<Answer, Status> {
    unimplemented!()
}
/// Request Content-Type: missing → JSON; unknown → 415.
pub fn content_type(_header: Option<&str>) -> Result<Encoding, Status> {
    unimplemented!()
}
