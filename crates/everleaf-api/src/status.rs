//! `metav1.Status`: every error of the API, with upstream's codes, reasons and words.

use crate::fields::{ERRORS_SHOWN_MAX, FieldError, aggregate, quote};
use crate::negotiate::MEDIA_TYPES;
use crate::schema::DecodeError;
use crate::types;
use serde_json::{Map, Value, json};

/// The `message` of a 404 for what no object stands behind.
const NO_SUCH_RESOURCE: &str = "the server could not find the requested resource";

/// The outcome of a request: a failure, or the Success of a delete. Build with the constructors.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
#[must_use]
pub struct Status {
    /// HTTP code.
    pub code: u16,
    /// Machine-readable reason, e.g. `NotFound`; empty for none.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// `details` (None = member absent).
    pub details: Option<Value>,
    /// Seconds for the Retry-After header.
    pub retry_after_seconds: Option<u32>,
    /// `metadata.continue`: the token with which an expired list may go on at the latest state.
    pub continue_token: Option<String>,
}

/// What an error is about: resource (plural) and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupResource<'a> {
    /// "" for the core group.
    pub group: &'a str,
    /// Plural resource.
    pub resource: &'a str,
}

/// `certificatesigningrequests.certificates.k8s.io`; a core resource stands alone.
impl std::fmt::Display for GroupResource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.resource)?;
        if self.group.is_empty() {
            Ok(())
        } else {
            write!(f, ".{}", self.group)
        }
    }
}

impl GroupResource<'_> {
    fn details(self, name: &str) -> Value {
        details(name, self.group, self.resource)
    }
}

/// `details` without its empty members.
fn details(name: &str, group: &str, kind: &str) -> Value {
    let members = [("name", name), ("group", group), ("kind", kind)];
    let set = members.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(
        set.map(|(key, value)| (key.to_owned(), value.into()))
            .collect(),
    )
}

/// A request that authorization refused, for [`Status::denied`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial<'a> {
    /// Who asked.
    pub user: &'a str,
    /// As RBAC names it: `list` for a GET of many.
    pub verb: &'a str,
    /// What for.
    pub target: DeniedTarget<'a>,
    /// The authorizer's reason; may be empty.
    pub reason: &'a str,
}

/// What a refused request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeniedTarget<'a> {
    /// A URL path.
    Path(&'a str),
    /// A resource.
    Resource {
        /// Group and plural.
        about: GroupResource<'a>,
        /// Subresource; may be empty.
        subresource: &'a str,
        /// Namespace; empty for cluster scope.
        namespace: &'a str,
        /// Name; may be empty.
        name: &'a str,
    },
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            retry_after_seconds: None,
            continue_token: None,
        }
    }

    fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// Sets Retry-After and `details.retryAfterSeconds`.
    fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        let details = self
            .details
            .get_or_insert_with(|| Value::Object(Map::new()));
        details["retryAfterSeconds"] = seconds.into();
        self
    }

    /// An error without reason and details, as upstream answers when a plain Go error reaches the
    /// top.
    pub fn bare(code: u16, message: impl Into<String>) -> Self {
        Self::new(code, "", message)
    }

    /// 200 of a delete that removed the object.
    pub fn deleted(about: GroupResource<'_>, name: &str, uid: &str) -> Self {
        let mut details = about.details(name);
        if !uid.is_empty() {
            details["uid"] = uid.into();
        }
        Self::new(200, "", "").with_details(details)
    }

    /// 400
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 `R "name" is forbidden: text`; empty name: `R is forbidden: text`.
    pub fn forbidden(about: GroupResource<'_>, name: &str, text: &str) -> Self {
        let message = if name.is_empty() {
            format!("{about} is forbidden: {text}")
        } else {
            format!("{about} {} is forbidden: {text}", quote(name))
        };
        Self::new(403, "Forbidden", message).with_details(about.details(name))
    }

    /// 403 for a path: `forbidden: text`.
    pub fn forbidden_path(text: &str) -> Self {
        Self::new(403, "Forbidden", format!("forbidden: {text}")).with_details(json!({}))
    }

    /// 403 in the words of authorization (`User "eve" cannot update resource …`), which old tools
    /// search for; `& < >` are HTML-escaped in it, the authorizer's reason follows as it is.
    pub fn denied(denial: Denial<'_>) -> Self {
        let Denial {
            user,
            verb,
            target,
            reason,
        } = denial;
        let user = quote(user);
        let what = match target {
            DeniedTarget::Path(path) => format!("User {user} cannot {verb} path {}", quote(path)),
            DeniedTarget::Resource {
                about,
                subresource,
                namespace,
                ..
            } => {
                let resource = if subresource.is_empty() {
                    quote(about.resource)
                } else {
                    quote(&format!("{}/{subresource}", about.resource))
                };
                let place = if namespace.is_empty() {
                    "at the cluster scope".to_owned()
                } else {
                    format!("in the namespace {}", quote(namespace))
                };
                let group = quote(about.group);
                format!(
                    "User {user} cannot {verb} resource {resource} in API group {group} {place}"
                )
            }
        };
        let mut text = what
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        if !reason.is_empty() {
            text = format!("{text}: {reason}");
        }
        match target {
            DeniedTarget::Path(_) => Self::forbidden_path(&text),
            DeniedTarget::Resource { about, name, .. } => Self::forbidden(about, name, &text),
        }
    }

    /// 404 for an object.
    pub fn not_found(about: GroupResource<'_>, name: &str) -> Self {
        let message = format!("{about} {} not found", quote(name));
        Self::new(404, "NotFound", message).with_details(about.details(name))
    }

    /// 404 `the server could not find the requested resource`.
    pub fn no_such_resource() -> Self {
        Self::new(404, "NotFound", NO_SUCH_RESOURCE).with_details(json!({}))
    }

    /// 405; an empty text gets upstream's general one.
    pub fn method_not_allowed(text: &str) -> Self {
        let general = "the server does not allow this method on the requested resource";
        let message = if text.is_empty() { general } else { text };
        Self::new(405, "MethodNotAllowed", message).with_details(json!({}))
    }

    /// 406 for media types that are none of those that this address has.
    pub fn not_acceptable(media_types: &[&str]) -> Self {
        let types = media_types.join(", ");
        let message = format!("406: Not Acceptable\n\nAvailable representations: {types}");
        Self::new(406, "NotAcceptable", message).with_details(json!({}))
    }

    /// 406 with its reason.
    pub fn not_acceptable_because(text: &str) -> Self {
        Self::new(406, "NotAcceptable", text)
    }

    /// 406 for a shape (`as=`) that this address does not have; lists the media types it has.
    pub fn not_acceptable_listing(media_types: &[&str]) -> Self {
        let types = media_types.join(", ");
        let message = format!("only the following media types are accepted: {types}");
        Self::new(406, "NotAcceptable", message)
    }

    /// 409 AlreadyExists
    pub fn already_exists(about: GroupResource<'_>, name: &str) -> Self {
        let message = format!("{about} {} already exists", quote(name));
        Self::new(409, "AlreadyExists", message).with_details(about.details(name))
    }

    /// 409 AlreadyExists after every attempt to complete a generateName met an existing object.
    pub fn generate_name_conflict(about: GroupResource<'_>, name: &str) -> Self {
        let text = "the server was not able to generate a unique name for the object";
        let message = format!("{about} {} already exists, {text}", quote(name));
        Self::new(409, "AlreadyExists", message)
            .with_details(about.details(name))
            .with_retry_after(1)
    }

    /// 409 Conflict: `Operation cannot be fulfilled on R "name": text`.
    pub fn conflict(about: GroupResource<'_>, name: &str, text: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {about} {}: {text}",
            quote(name)
        );
        Self::new(409, "Conflict", message).with_details(about.details(name))
    }

    /// 409 Conflict of an apply, with one cause for each field that another manager owns: its path,
    /// and the manager in words.
    pub fn apply_conflict(message: String, causes: Vec<(String, String)>) -> Self {
        let causes: Vec<_> = causes
            .into_iter()
            .map(|(path, text)| {
                json!({"reason": "FieldManagerConflict", "message": text, "field": path})
            })
            .collect();
        Self::new(409, "Conflict", message).with_details(json!({ "causes": causes }))
    }

    /// 410 Expired
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 410 Expired for a list whose state is gone, with a token that goes on at the latest one.
    pub fn expired_list(message: impl Into<String>, continue_token: impl Into<String>) -> Self {
        Self {
            continue_token: Some(continue_token.into()),
            ..Self::expired(message)
        }
    }

    /// 413
    pub fn too_large(limit_bytes: usize) -> Self {
        Self::too_large_for(&format!("limit is {limit_bytes}"))
    }

    /// 413 for another reason than the length of the body.
    pub fn too_large_for(text: &str) -> Self {
        let message = format!("Request entity too large: {text}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 415 for a body in a media type that is not ours.
    pub fn unsupported_media_type() -> Self {
        Self::unsupported_media_type_listing(&MEDIA_TYPES)
    }

    /// 415 that lists what this request takes (patch types).
    pub fn unsupported_media_type_listing(media_types: &[&str]) -> Self {
        let types = media_types.join(", ");
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {types}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 415 for a patch of a kind that nobody knows.
    pub fn unsupported_patch_type() -> Self {
        let message = "415: Unsupported Media Type";
        Self::new(415, "UnsupportedMediaType", message).with_details(json!({}))
    }

    /// 422 `Kind.group "name" is invalid: …` with one cause per error, at most
    /// [`ERRORS_SHOWN_MAX`]; equal texts are told once in the message.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let about = GroupResource {
            group,
            resource: kind,
        };
        let mut message = format!("{about} {} is invalid", quote(name));
        if !errors.is_empty() {
            message = format!("{message}: {}", aggregate(errors));
        }
        let causes: Vec<_> = errors
            .iter()
            .take(ERRORS_SHOWN_MAX)
            .map(|e| json!({"reason": e.reason, "message": e.message, "field": e.path}))
            .collect();
        let mut details = about.details(name);
        if !causes.is_empty() {
            details["causes"] = causes.into();
        }
        Self::new(422, "Invalid", message).with_details(details)
    }

    /// 422 for a patch that is well-formed but cannot be applied; upstream does not say why.
    pub fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message).with_details(json!({}))
    }

    /// 429 with Retry-After.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(429, "TooManyRequests", message).with_retry_after(retry_after_seconds)
    }

    /// 500
    pub fn internal(message: impl Into<String>) -> Self {
        let cause = message.into();
        let message = format!("Internal error occurred: {cause}");
        Self::new(500, "InternalError", message)
            .with_details(json!({"causes": [{"message": cause}]}))
    }

    /// 503
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 504
    pub fn timeout(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {}", message.into()))
            .with_details(json!({}))
            .with_retry_after(retry_after_seconds)
    }

    /// 504 for a resource version that has not happened yet.
    pub fn too_large_resource_version(wanted: u64, current: u64) -> Self {
        let what = "Too large resource version";
        let mut status = Self::timeout(format!("{what}: {wanted}, current: {current}"), 1);
        let cause = json!([{"reason": "ResourceVersionTooLarge", "message": what}]);
        if let Some(details) = &mut status.details {
            details["causes"] = cause;
        }
        status
    }

    /// False for the answer of a delete.
    pub fn is_failure(&self) -> bool {
        self.code >= 400
    }

    /// JSON-shaped `Status` object (kind Status, apiVersion v1).
    pub fn to_value(&self) -> Value {
        let failure = self.is_failure();
        let mut value = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": if failure { "Failure" } else { "Success" },
        });
        if let Some(token) = &self.continue_token {
            value["metadata"]["continue"] = token.as_str().into();
        }
        for (member, text) in [("message", self.message.as_str()), ("reason", self.reason)] {
            if !text.is_empty() {
                value[member] = text.into();
            }
        }
        if let Some(details) = &self.details {
            value["details"] = details.clone();
        }
        // Upstream leaves the code out of the answer to a delete.
        if failure {
            value["code"] = self.code.into();
        }
        value
    }

    /// The body of the answer, as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        types::STATUS.encode_json(&self.to_value())
    }

    /// The body of the answer, as protobuf.
    pub fn to_protobuf(&self) -> Vec<u8> {
        types::STATUS.encode_protobuf(&self.to_value())
    }

    /// Reads a Status answer of a server (clients); None when it is not one.
    pub fn from_json(body: &[u8]) -> Option<Self> {
        Self::from_value(&serde_json::from_slice(body).ok()?)
    }

    /// Reads a Status answer in either encoding; None when it is not one.
    pub fn from_body(body: &[u8]) -> Option<Self> {
        match types::STATUS.decode_protobuf(body) {
            Ok(status) => Self::from_value(&status),
            Err(DecodeError::NotProtobuf) => Self::from_json(body),
            Err(_) => None,
        }
    }

    /// Same for an object in hand, such as the object of a watch's ERROR event.
    pub fn from_value(value: &Value) -> Option<Self> {
        if value["kind"] != "Status" {
            return None;
        }
        let text = |member: &Value| member.as_str().unwrap_or_default().to_owned();
        let success = value["status"] == "Success";
        let code = value["code"]
            .as_u64()
            .and_then(|code| u16::try_from(code).ok());
        Some(Self {
            code: code.unwrap_or(if success { 200 } else { 500 }),
            reason: known_reason(value["reason"].as_str().unwrap_or_default()),
            message: text(&value["message"]),
            details: value
                .get("details")
                .filter(|details| details.is_object())
                .cloned(),
            retry_after_seconds: value["details"]["retryAfterSeconds"]
                .as_u64()
                .and_then(|seconds| u32::try_from(seconds).ok()),
            continue_token: Some(text(&value["metadata"]["continue"])).filter(|t| !t.is_empty()),
        })
    }
}

/// The reason as a constant; one that we do not know is as good as none.
fn known_reason(reason: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        "BadRequest",
        "Unauthorized",
        "Forbidden",
        "NotFound",
        "MethodNotAllowed",
        "NotAcceptable",
        "AlreadyExists",
        "Conflict",
        "Gone",
        "Expired",
        "RequestEntityTooLarge",
        "UnsupportedMediaType",
        "Invalid",
        "TooManyRequests",
        "InternalError",
        "ServerTimeout",
        "ServiceUnavailable",
        "Timeout",
        "StoreReadError",
    ];
    KNOWN
        .iter()
        .find(|known| **known == reason)
        .copied()
        .unwrap_or("")
}
