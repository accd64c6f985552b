//! Method and path → what is asked (`apiserver/pkg/endpoints/request/requestinfo.go`).
//!
//! Routing comes in two steps, because authorization lies between them: [`Target::parse`] reads the
//! path alone, whatever is served; [`ResourcePath::resolve`] finds the descriptor or says 404.

use super::query::Query;
use crate::registry::apis::Apis;
use crate::registry::reviews::Review;
use crate::registry::{Descriptor, subresource_verbs};
use everleaf_api::Status;
use http::Method;
use percent_encoding::percent_decode_str;

/// What a path asks for, served or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Below `/api/<version>/` or `/apis/<group>/<version>/`.
    Resource(ResourcePath),
    /// Everything else: discovery, health, version, metrics.
    Path,
}

/// What a request to a resource does, as authorization names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// Nothing that there is: OPTIONS, say.
    #[default]
    Unknown,
}

impl Verb {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Unknown => "",
        }
    }

    fn new(method: &Method, name: &str, watch: bool) -> Self {
        match *method {
            Method::GET | Method::HEAD if watch => Self::Watch,
            Method::GET | Method::HEAD if name.is_empty() => Self::List,
            Method::GET | Method::HEAD => Self::Get,
            Method::POST => Self::Create,
            Method::PUT => Self::Update,
            Method::PATCH => Self::Patch,
            Method::DELETE if name.is_empty() => Self::DeleteCollection,
            Method::DELETE => Self::Delete,
            _ => Self::Unknown,
        }
    }
}

/// A path to a resource, split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ResourcePath {
    pub(super) verb: Verb,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: String,
    pub(super) resource: String,
    pub(super) name: String,
    pub(super) subresource: String,
    /// The path itself carries a name (a selector may have given `name`).
    pub(super) has_name: bool,
    /// Anything below the subresource: nothing of ours has it.
    pub(super) has_more: bool,
}

/// What serves a resource path.
#[derive(Clone, Copy)]
pub(super) enum Resolved {
    /// A stored resource.
    Stored(&'static Descriptor),
    /// A review.
    Review(&'static Review),
    /// Tokens of a service account: made, never stored.
    Token,
}

/// Why nothing serves a path.
#[derive(Debug, PartialEq)]
pub(super) enum Unserved {
    /// `404 page not found`, as text: the whole group is unknown.
    Page,
    /// A Status.
    Status(Status),
}

impl Target {
    /// Reads method and path. `query` decides between list and watch.
    pub(super) fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let mut parts: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let (group, taken) = match parts.first().map(String::as_str) {
            Some("api") => (String::new(), 1),
            Some("apis") if parts.len() > 1 => (parts[1].clone(), 2),
            _ => return Self::Path,
        };
        if parts.len() < taken + 2 {
            return Self::Path;
        }
        let version = parts[taken].clone();
        parts.drain(..=taken);
        let is_watch_prefix = parts[0] == "watch" && parts.len() > 1;
        if is_watch_prefix {
            parts.remove(0);
        }
        let mut namespace = String::new();
        if parts[0] == "namespaces" && parts.len() > 1 {
            namespace.clone_from(&parts[1]);
            let of_the_namespace = matches!(
                parts.get(2).map(String::as_str),
                Some("status" | "finalize")
            );
            if parts.len() > 2 && !of_the_namespace {
                parts.drain(..2);
            }
        }
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or_default();
        let (resource, name, subresource) = (next(), next(), next());
        // A name makes it a get, whatever the query says.
        let is_watch = is_watch_prefix || (name.is_empty() && query.is_watch());
        let verb = Verb::new(method, &name, is_watch);
        Self::Resource(ResourcePath {
            has_name: !name.is_empty(),
            verb,
            group,
            version,
            namespace,
            name: match verb {
                // Of what deletes no selector counts as a name (`apiserver/pkg/endpoints/request`).
                Verb::List | Verb::Watch if name.is_empty() => query.selected_name(),
                _ => name,
            },
            resource,
            subresource,
            has_more: parts.next().is_some(),
        })
    }
}

impl Target {
    /// A watch: not bounded by the in-flight limits.
    pub(super) fn is_long_running(&self) -> bool {
        matches!(self, Self::Resource(path) if path.verb == Verb::Watch)
    }

    /// Changes something, as far as its limit is concerned: of a path, whatever is no GET
    /// (`apiserver/pkg/server/filters/maxinflight.go`).
    pub(super) fn is_mutating(&self, method: &Method) -> bool {
        match self {
            Self::Resource(path) => !matches!(path.verb, Verb::Get | Verb::List | Verb::Watch),
            Self::Path => method != Method::GET,
        }
    }
}

impl ResourcePath {
    /// Finds what serves this path.
    pub(super) fn resolve(&self, apis: &Apis) -> Result<Resolved, Unserved> {
        if self.is_token() && apis.serves(&self.group, &self.version, &self.resource) {
            return Ok(Resolved::Token);
        }
        let stored = apis.resources().find(|descriptor| {
            descriptor.resource == self.resource
                && (descriptor.r#type.group, descriptor.r#type.version)
                    == (self.group.as_str(), self.version.as_str())
        });
        let review = apis.reviews().find(|review| {
            review.resource == self.resource
                && (review.r#type.group, review.r#type.version)
                    == (self.group.as_str(), self.version.as_str())
        });
        let (resolved, namespaced) = match (stored, review) {
            (Some(descriptor), _) => (Resolved::Stored(descriptor), descriptor.namespaced),
            (None, Some(review)) => (Resolved::Review(review), review.namespaced),
            (None, None) if apis.has_group(&self.group) => {
                return Err(Unserved::Status(Status::no_such_resource()));
            }
            (None, None) => return Err(Unserved::Page),
        };
        let subresource_known = self.subresource.is_empty()
            || matches!(resolved, Resolved::Stored(descriptor)
                if descriptor.subresources.contains(&self.subresource.as_str()));
        // A namespace's own path carries its name as namespace too.
        let namespace_fits =
            namespaced || self.namespace.is_empty() || self.resource == "namespaces";
        let lacks_namespace = namespaced && self.namespace.is_empty() && self.has_name;
        // A review exists for being posted where it belongs.
        let is_review = matches!(resolved, Resolved::Review(_));
        let lost_review = is_review && (self.has_name || (namespaced && self.namespace.is_empty()));
        if self.has_more || !subresource_known || !namespace_fits || lost_review || lacks_namespace
        {
            return Err(Unserved::Status(Status::no_such_resource()));
        }
        Ok(resolved)
    }

    /// `/api/v1/namespaces/NAMESPACE/serviceaccounts/NAME/token`.
    pub(super) fn is_token(&self) -> bool {
        (self.group.as_str(), self.version.as_str()) == ("", "v1")
            && (self.resource.as_str(), self.subresource.as_str()) == ("serviceaccounts", "token")
            && self.has_name
            && !self.namespace.is_empty()
            && !self.has_more
    }

    /// 405 when the method is none of this endpoint's.
    pub(super) fn check_method(&self, resolved: Resolved, method: &Method) -> Result<(), Status> {
        let allowed = match resolved {
            _ if method == Method::HEAD => false,
            Resolved::Review(_) | Resolved::Token => self.verb == Verb::Create,
            Resolved::Stored(_) if !self.subresource.is_empty() => {
                subresource_verbs(&self.subresource).contains(&self.verb.as_str())
            }
            Resolved::Stored(descriptor) => {
                let fits = match self.verb {
                    Verb::Create => !self.has_name,
                    Verb::Update | Verb::Patch | Verb::Get | Verb::Delete => self.has_name,
                    Verb::List | Verb::Watch | Verb::DeleteCollection => true,
                    Verb::Unknown => false,
                };
                // Across all namespaces one can only read.
                let placed = !descriptor.namespaced
                    || !self.namespace.is_empty()
                    || matches!(self.verb, Verb::List | Verb::Watch);
                fits && placed && descriptor.verbs.contains(&self.verb.as_str())
            }
        };
        if allowed {
            return Ok(());
        }
        Err(super::method_not_allowed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: Method, uri: &str) -> Target {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        Target::parse(&method, path, &Query::parse(query).unwrap())
    }

    /// Method, path (`{csrs}` for where requests are), and: verb group/version [namespace] resource
    /// [name] [subresource].
    const PATHS: &[(&str, &str, &str)] = &[
        ("GET", "/", "path"),
        ("GET", "/healthz", "path"),
        ("GET", "/api", "path"),
        ("GET", "/api/v1", "path"),
        ("GET", "/api/v1/", "path"),
        ("GET", "/apis/g/v1", "path"),
        ("GET", "/apis", "path"),
        ("GET", "/apix/v1/secrets", "path"),
        (
            "GET",
            "{csrs}",
            "list certificates.k8s.io/v1 [] certificatesigningrequests [] []",
        ),
        (
            "GET",
            "{csrs}?watch=true",
            "watch certificates.k8s.io/v1 [] certificatesigningrequests [] []",
        ),
        (
            "GET",
            "{csrs}?watch=1&fieldSelector=metadata.name%3Dx",
            "watch certificates.k8s.io/v1 [] certificatesigningrequests [x] []",
        ),
        (
            "GET",
            "{csrs}?fieldSelector=metadata.name!%3Dx",
            "list certificates.k8s.io/v1 [] certificatesigningrequests [] []",
        ),
        (
            "PUT",
            "{csrs}/a%20b%3Ac/approval",
            "update certificates.k8s.io/v1 [] certificatesigningrequests [a b:c] [approval]",
        ),
        (
            "GET",
            "{csrs}/a/approval/more",
            "get certificates.k8s.io/v1 [] certificatesigningrequests [a] [approval] …",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/ns/secrets",
            "deletecollection /v1 [ns] secrets [] []",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/ns/secrets?fieldSelector=metadata.name%3Ds",
            "deletecollection /v1 [ns] secrets [] []",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/ns/secrets/s",
            "delete /v1 [ns] secrets [s] []",
        ),
        (
            "PATCH",
            "/api/v1/namespaces/ns",
            "patch /v1 [ns] namespaces [ns] []",
        ),
        (
            "PUT",
            "/api/v1/namespaces/ns/status",
            "update /v1 [ns] namespaces [ns] [status]",
        ),
        (
            "POST",
            "/api/v1/namespaces",
            "create /v1 [] namespaces [] []",
        ),
        (
            "GET",
            "/api/v1/namespaces/ns/secrets/s?watch=true",
            "get /v1 [ns] secrets [s] []",
        ),
        (
            "GET",
            "/api/v1/watch/namespaces/ns/secrets/s",
            "watch /v1 [ns] secrets [s] []",
        ),
        ("OPTIONS", "/api/v1/secrets", " /v1 [] secrets [] []"),
    ];

    #[test]
    fn paths() {
        for (method, path, expected) in PATHS {
            let path = path.replace(
                "{csrs}",
                "/apis/certificates.k8s.io/v1/certificatesigningrequests",
            );
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let found = match parse(method, &path) {
                Target::Path => "path".to_owned(),
                Target::Resource(found) => format!(
                    "{} {}/{} [{}] {} [{}] [{}]{}",
                    found.verb.as_str(),
                    found.group,
                    found.version,
                    found.namespace,
                    found.resource,
                    found.name,
                    found.subresource,
                    if found.has_more { " …" } else { "" }
                ),
            };
            assert_eq!(found, *expected, "{path}");
        }
    }

    #[test]
    fn resolution() {
        let outcome = |uri: &str| {
            let Target::Resource(path) = parse(Method::GET, uri) else {
                panic!("{uri} is no resource path")
            };
            path.resolve(&Apis::default())
                .map(|_| ())
                .map_err(|error| match error {
                    Unserved::Page => 0,
                    Unserved::Status(status) => status.code,
                })
        };
        assert_eq!(outcome("/api/v1/secrets"), Ok(()));
        assert_eq!(outcome("/api/v1/namespaces/a/secrets/b"), Ok(()));
        assert_eq!(outcome("/api/v1/namespaces/a"), Ok(()));
        let token = "/api/v1/namespaces/a/serviceaccounts/b/token";
        assert_eq!(outcome(token), Ok(()));
        assert_eq!(outcome("/apis/example.com/v1/things"), Err(0));
        assert_eq!(outcome("/api/v1/namespaces/a/finalize"), Ok(()));
        for missing in [
            "/api/v1/things",
            "/api/v2/secrets",
            "/api/v1/namespaces/a/secrets/b/status",
            "/api/v1/namespaces/a/secrets/b/x/y",
            "/api/v1/secrets/b",
            "/api/v1/namespaces/a/serviceaccounts/b/token/c",
            "/api/v1/serviceaccounts/b/token",
            "/api/v1/namespaces/a/secrets/b/token",
            "/apis/authorization.k8s.io/v1/localsubjectaccessreviews",
            "/apis/certificates.k8s.io/v1beta1/certificatesigningrequests",
            "/apis/certificates.k8s.io/v1/namespaces/a/certificatesigningrequests",
            "/apis/certificates.k8s.io/v1/certificatesigningrequests/a/nodeclient",
        ] {
            assert_eq!(outcome(missing), Err(404), "{missing}");
        }
    }
}
