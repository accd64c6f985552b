//! Content negotiation: Accept → response form; Content-Type → decoder.

use crate::status::Status;

/// Every media type of objects and lists.
pub const MEDIA_TYPES: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// Those of watches.
pub const STREAM_TYPES: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

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
    /// JSON, unless the client prefers another.
    pub encoding: Encoding,
    /// The object itself, unless `as=` asks for another.
    pub shape: Shape,
}

/// Why nothing that a client accepts can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unacceptable {
    /// None of its media types is ours.
    MediaType,
    /// One is, but not here or not in that form (`as=`).
    Form,
    /// It wants one object as a list.
    ListOfOne,
    /// It wants a list as one object.
    OneOfList,
}

/// Most clauses of an Accept header that are looked at.
const CLAUSES_MAX: usize = 64;

impl Encoding {
    const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    /// The media type without parameters.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

impl Answer {
    /// The Content-Type of such an answer. Aggregated discovery echoes its parameters, since
    /// clients tell it from the plain form by nothing else.
    pub fn content_type(self) -> &'static str {
        match self.shape {
            Shape::GroupDiscovery => {
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
            _ => self.encoding.media_type(),
        }
    }
}

/// The best clause that `can` satisfies: by q, then exact types before wildcards, then order. A
/// missing or empty header takes anything, which is JSON; so do `*/*` and `application/*`.
///
/// # Errors
/// Why not; the caller knows what it has instead.
pub fn accept(header: Option<&str>, can: &dyn Fn(Answer) -> bool) -> Result<Answer, Unacceptable> {
    let header = header
        .map(str::trim)
        .filter(|header| !header.is_empty())
        .unwrap_or("*/*");
    let mut clauses: Vec<Clause<'_>> = header
        .split(',')
        .take(CLAUSES_MAX)
        .filter_map(Clause::parse)
        .collect();
    // Stable: equal clauses stay in the order of the header.
    clauses.sort_by_key(|clause| (std::cmp::Reverse(clause.quality), clause.wildcards));
    let mut fault = Unacceptable::MediaType;
    for clause in clauses.iter().filter(|clause| clause.quality > 0) {
        let Some(encoding) = clause.encoding else {
            continue;
        };
        let answer = clause.shape().map(|shape| Answer { encoding, shape });
        match answer {
            Some(answer) if can(answer) => return Ok(answer),
            Some(answer) if fault == Unacceptable::MediaType => fault = wrong_form(answer, can),
            Some(_) => {}
            None => fault = Unacceptable::Form,
        }
    }
    Err(fault)
}

/// Tells a form that is the other of the two forms of metadata from one that does not exist here.
fn wrong_form(answer: Answer, can: &dyn Fn(Answer) -> bool) -> Unacceptable {
    let has = |shape| can(Answer { shape, ..answer });
    match answer.shape {
        Shape::PartialObjectMetadataList if has(Shape::PartialObjectMetadata) => {
            Unacceptable::ListOfOne
        }
        Shape::PartialObjectMetadata if has(Shape::PartialObjectMetadataList) => {
            Unacceptable::OneOfList
        }
        _ => Unacceptable::Form,
    }
}

/// One media range with its parameters.
struct Clause<'h> {
    /// None for a type that is not ours.
    encoding: Option<Encoding>,
    /// 0 to 1000.
    quality: u32,
    /// 0 for an exact type, 1 for `application/*`, 2 for `*/*`.
    wildcards: u8,
    kind: Option<&'h str>,
    group: &'h str,
    version: &'h str,
}

impl<'h> Clause<'h> {
    fn parse(text: &'h str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().filter(|media_type| !media_type.is_empty())?;
        let (encoding, wildcards) = match media_type {
            "*/*" => (Some(Encoding::Json), 2),
            "application/*" => (Some(Encoding::Json), 1),
            exact => (encoding_of(exact), 0),
        };
        let mut clause = Clause {
            encoding,
            quality: 1000,
            wildcards,
            kind: None,
            group: "",
            version: "",
        };
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match name.trim() {
                "q" => clause.quality = quality(value),
                "as" => clause.kind = Some(value).filter(|kind| !kind.is_empty()),
                "g" => clause.group = value,
                "v" => clause.version = value,
                // profile, stream, pretty, charset: nothing to decide here.
                _ => {}
            }
        }
        Some(clause)
    }

    /// None for a shape that nobody here knows.
    fn shape(&self) -> Option<Shape> {
        let Some(kind) = self.kind else {
            return Some(Shape::Object);
        };
        match (kind, self.group, self.version) {
            ("Table", "meta.k8s.io", "v1") => Some(Shape::Table { v1: true }),
            ("Table", "meta.k8s.io", "v1beta1") => Some(Shape::Table { v1: false }),
            ("PartialObjectMetadata", "meta.k8s.io", "v1") => Some(Shape::PartialObjectMetadata),
            ("PartialObjectMetadataList", "meta.k8s.io", "v1") => {
                Some(Shape::PartialObjectMetadataList)
            }
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Some(Shape::GroupDiscovery),
            _ => None,
        }
    }
}

fn encoding_of(media_type: &str) -> Option<Encoding> {
    Encoding::ALL
        .into_iter()
        .find(|encoding| encoding.media_type().eq_ignore_ascii_case(media_type))
}

/// `0.8` → 800; what cannot be read counts as 1, as if it were not there.
fn quality(text: &str) -> u32 {
    match text.parse::<f32>() {
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0).round() as u32,
        _ => 1000,
    }
}

/// The decoder for a request body: missing → JSON; parameters are ignored.
///
/// # Errors
/// 415 for a media type that is not ours.
pub fn content_type(header: Option<&str>) -> Result<Encoding, Status> {
    let media_type = media_type(header);
    if media_type.is_empty() {
        return Ok(Encoding::Json);
    }
    encoding_of(media_type).ok_or_else(Status::unsupported_media_type)
}

/// A Content-Type without its parameters; "" when missing.
pub fn media_type(header: Option<&str>) -> &str {
    header
        .and_then(|header| header.split(';').next())
        .unwrap_or_default()
        .trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

    fn json(shape: Shape) -> Answer {
        Answer {
            encoding: Encoding::Json,
            shape,
        }
    }

    /// Serves JSON and YAML objects and tables, no protobuf.
    fn serves(answer: Answer) -> bool {
        match answer.shape {
            Shape::Object => answer.encoding != Encoding::Protobuf,
            Shape::Table { .. } => answer.encoding == Encoding::Json,
            _ => false,
        }
    }

    #[test]
    fn clauses_are_answered() {
        let check = |header: Option<&str>, encoding: Encoding, shape: Shape| {
            assert_eq!(
                accept(header, &serves),
                Ok(Answer { encoding, shape }),
                "{header:?}"
            );
        };
        check(None, Encoding::Json, Shape::Object);
        check(Some(""), Encoding::Json, Shape::Object);
        check(Some("*/*"), Encoding::Json, Shape::Object);
        check(Some("application/*"), Encoding::Json, Shape::Object);
        check(Some("application/json"), Encoding::Json, Shape::Object);
        check(
            Some("Application/JSON; charset=utf-8"),
            Encoding::Json,
            Shape::Object,
        );
        check(Some("application/yaml"), Encoding::Yaml, Shape::Object);
        check(
            Some("text/html, application/yaml;q=0.1"),
            Encoding::Yaml,
            Shape::Object,
        );
        check(Some(TABLE), Encoding::Json, Shape::Table { v1: true });
        let old = "application/json;g=meta.k8s.io;v=v1beta1;as=Table, application/json";
        check(Some(old), Encoding::Json, Shape::Table { v1: false });
        let protobuf = "application/vnd.kubernetes.protobuf,application/json";
        check(Some(protobuf), Encoding::Json, Shape::Object);
        check(
            Some("application/vnd.kubernetes.protobuf, */*"),
            Encoding::Json,
            Shape::Object,
        );
        let unknown = "application/json;as=Cards;v=v1;g=meta.k8s.io,application/json";
        check(Some(unknown), Encoding::Json, Shape::Object);
        check(
            Some("application/json;q=0.5,application/yaml"),
            Encoding::Yaml,
            Shape::Object,
        );
        check(
            Some("application/json;q=0,application/yaml;q=0.1"),
            Encoding::Yaml,
            Shape::Object,
        );
        check(Some("*/*,application/yaml"), Encoding::Yaml, Shape::Object);
        check(
            Some("application/json;stream=watch"),
            Encoding::Json,
            Shape::Object,
        );
        check(
            Some("application/json;as=;v=v1"),
            Encoding::Json,
            Shape::Object,
        );
    }

    #[test]
    fn what_cannot_be_answered_says_why() {
        let check = |header: &str, fault| assert_eq!(accept(Some(header), &serves), Err(fault));
        check("text/html", Unacceptable::MediaType);
        check("application/json;q=0", Unacceptable::MediaType);
        let table = "text/html,application/json;as=Table;v=v2;g=meta.k8s.io";
        check(table, Unacceptable::Form);
        check("application/vnd.kubernetes.protobuf", Unacceptable::Form);
        let list_form = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        check(list_form, Unacceptable::Form);
        let one = |answer: Answer| answer.shape == Shape::PartialObjectMetadata;
        let list = |answer: Answer| answer.shape == Shape::PartialObjectMetadataList;
        assert_eq!(accept(Some(list_form), &one), Err(Unacceptable::ListOfOne));
        let one_form = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        assert_eq!(accept(Some(one_form), &list), Err(Unacceptable::OneOfList));
    }

    #[test]
    fn discovery_is_echoed() {
        let header = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let aggregated = accept(Some(header), &|_| true).unwrap();
        assert_eq!(aggregated, json(Shape::GroupDiscovery));
        assert_eq!(
            aggregated.content_type(),
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        );
        let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(accept(Some(old), &|_| true), Ok(json(Shape::Object)));
    }

    #[test]
    fn bodies_are_json_unless_they_say_so() {
        assert_eq!(content_type(None), Ok(Encoding::Json));
        assert_eq!(content_type(Some("")), Ok(Encoding::Json));
        assert_eq!(
            content_type(Some("application/json; charset=UTF-8")),
            Ok(Encoding::Json)
        );
        assert_eq!(content_type(Some("application/yaml")), Ok(Encoding::Yaml));
        let protobuf = Some("application/vnd.kubernetes.protobuf");
        assert_eq!(content_type(protobuf), Ok(Encoding::Protobuf));
        assert_eq!(content_type(Some("text/plain")).unwrap_err().code, 415);
    }
}
