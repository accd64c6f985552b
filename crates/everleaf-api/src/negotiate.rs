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
    /// One is, but not here.
    Form,
    /// One is, but not in that shape (`as=`).
    Shape,
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

/// The best clause that `can` satisfies, in Kubernetes' order ([`preferred`]). A missing or empty
/// header takes anything, which is JSON; so do `*/*` and `application/*`, or what else there is in
/// the form that they ask for.
///
/// # Errors
/// Why not; the caller knows what it has instead.
pub fn accept(header: Option<&str>, can: &dyn Fn(Answer) -> bool) -> Result<Answer, Unacceptable> {
    let header = header.filter(|header| !header.trim().is_empty());
    let mut fault = Unacceptable::MediaType;
    for clause in clauses(header.unwrap_or("*/*")) {
        for encoding in clause.encodings() {
            let shape = clause.shape(encoding);
            let answer = shape.map(|shape| Answer { encoding, shape });
            match answer {
                Some(answer) if can(answer) => return Ok(answer),
                Some(answer) => match wrong_form(answer, can) {
                    // Where there is one form of metadata, the other is a mistake.
                    mistake @ (Unacceptable::ListOfOne | Unacceptable::OneOfList) => {
                        return Err(mistake);
                    }
                    other if fault == Unacceptable::MediaType => fault = other,
                    _ => {}
                },
                None => fault = Unacceptable::Shape,
            }
        }
    }
    Err(fault)
}

/// The media ranges of an Accept header, as (type, subtype), in the order in which Kubernetes tries
/// them (`munnerz/goautoneg`): by weight, and what is named before what is not. A weight of 0
/// comes last, and counts.
pub fn preferred(header: &str) -> Vec<(&str, &str)> {
    clauses(header).iter().map(|clause| clause.range).collect()
}

/// True when the clause that is answered asks for JSON that people can read.
pub fn is_pretty(header: &str) -> bool {
    clauses(header).first().is_some_and(|clause| clause.pretty)
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let clauses = header.split(',').take(CLAUSES_MAX);
    let mut sorted: Vec<Clause<'_>> = Vec::new();
    // One by one, as Go sorts few: the order by weight and the one by name may contradict.
    for clause in clauses.filter_map(Clause::parse) {
        let at = sorted.iter().rposition(|before| !clause.is_before(before));
        sorted.insert(at.map_or(0, |at| at + 1), clause);
    }
    sorted
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
        Shape::Object => Unacceptable::Form,
        _ => Unacceptable::Shape,
    }
}

/// One media range with its parameters.
struct Clause<'h> {
    /// Type and subtype.
    range: (&'h str, &'h str),
    quality: f32,
    kind: Option<&'h str>,
    group: &'h str,
    version: &'h str,
    stream: &'h str,
    pretty: bool,
}

impl<'h> Clause<'h> {
    fn parse(text: &'h str) -> Option<Self> {
        let mut parts = text.split(';');
        let range = parts.next().unwrap_or_default().trim_matches(' ');
        let range = match range.split_once('/') {
            None if range == "*" => ("*", "*"),
            None => return None,
            Some((_, subtype)) if subtype.is_empty() || subtype.contains('/') => return None,
            Some((r#type, subtype)) => (r#type.trim_matches(' '), subtype.trim_matches(' ')),
        };
        let mut clause = Clause {
            range,
            quality: 1.0,
            kind: None,
            group: "",
            version: "",
            stream: "",
            pretty: false,
        };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            if value.is_empty() || value.contains('=') {
                continue;
            }
            let text = value.trim_matches(' ');
            match name.trim_matches(' ') {
                "q" => clause.quality = value.parse().unwrap_or(0.0),
                "as" => clause.kind = Some(text),
                "g" => clause.group = text,
                "v" => clause.version = text,
                "stream" => clause.stream = text,
                "pretty" => clause.pretty = text == "1",
                // profile, charset: nothing to decide here.
                _ => {}
            }
        }
        Some(clause)
    }

    fn is_before(&self, other: &Self) -> bool {
        let ((r#type, subtype), others) = (self.range, other.range);
        self.quality > other.quality
            || (r#type != "*" && others.0 == "*")
            || (subtype != "*" && others.1 == "*")
    }

    /// Those that it covers, the first of which is the one that is given, if nothing speaks against
    /// it.
    fn encodings(&self) -> impl Iterator<Item = Encoding> + use<'h> {
        let range = self.range;
        Encoding::ALL.into_iter().filter(move |encoding| {
            matches!(range, ("*" | "application", "*"))
                || encoding.media_type().split_once('/') == Some(range)
        })
    }

    /// None for a shape that nobody here knows.
    fn shape(&self, encoding: Encoding) -> Option<Shape> {
        if !self.stream.is_empty() && (self.stream != "watch" || encoding == Encoding::Yaml) {
            return None;
        }
        let Some(kind) = self.kind else {
            let is_plain = self.group.is_empty() && self.version.is_empty();
            return is_plain.then_some(Shape::Object);
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
            Some("application/json; charset=utf-8"),
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
        // As Kubernetes reads them: no weight is a refusal, what is named goes before what is not.
        check(Some("application/json;q=0"), Encoding::Json, Shape::Object);
        check(
            Some("application/yaml;q=x,application/json;q=0.1"),
            Encoding::Json,
            Shape::Object,
        );
        check(
            Some("application/json,application/yaml;q=7"),
            Encoding::Yaml,
            Shape::Object,
        );
        check(
            Some("*/*;q=0.9,application/yaml;q=0.8"),
            Encoding::Yaml,
            Shape::Object,
        );
        check(Some("*/*,application/yaml"), Encoding::Yaml, Shape::Object);
        check(
            Some("application/json;stream=watch"),
            Encoding::Json,
            Shape::Object,
        );
    }

    #[test]
    fn what_cannot_be_answered_says_why() {
        let check = |header: &str, fault| assert_eq!(accept(Some(header), &serves), Err(fault));
        check("text/html", Unacceptable::MediaType);
        check("APPLICATION/JSON", Unacceptable::MediaType);
        check("json", Unacceptable::MediaType);
        check("application/json;v=v1", Unacceptable::Shape);
        check("application/json;stream=other", Unacceptable::Shape);
        let table = "text/html,application/json;as=Table;v=v2;g=meta.k8s.io";
        check(table, Unacceptable::Shape);
        check("application/vnd.kubernetes.protobuf", Unacceptable::Form);
        let list_form = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        check(list_form, Unacceptable::Shape);
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
