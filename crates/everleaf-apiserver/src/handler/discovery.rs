//! What is served, told to clients: plain and aggregated documents.

use super::openapi::digest;
use super::query::Query;
use super::respond::{Form, Occasion, accept_header, error, error_for, response, to_json};
use super::{Admitted, Body, Server, page_not_found};
use crate::registry::apis::Apis;
use crate::registry::reviews::REVIEWS;
use crate::registry::runtime_config::Kind;
use crate::registry::serviceaccounts::SERVICE_ACCOUNTS;
use crate::registry::{known, subresource_verbs};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_api::Status;
use everleaf_api::discovery::{self, Resource};
use everleaf_api::negotiate::{self, Encoding, Shape};
use everleaf_api::schema::Type;
use everleaf_api::types::{
    API_GROUP, API_GROUP_LIST, API_RESOURCE_LIST, API_VERSIONS, TOKEN_REQUEST,
};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// `Content-Type` of the aggregated form; clients decide by it.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Verbs of every subresource.
/// Paths that `/` names besides the API's own.
const OTHER_PATHS: [&str; 10] = [
    "/healthz",
    "/healthz/ping",
    "/livez",
    "/livez/ping",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/readyz",
    "/version",
];

/// Groups in the order in which clients are to look for a resource (upstream's
/// `APIServicePriority`).
const GROUPS: [&str; 10] = [
    "",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "apiextensions.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
];

/// Everything known, group by group. Made once: the names of subresources are leaked.
static RESOURCES: LazyLock<Vec<Resource>> = LazyLock::new(resources);

/// What of it is served, group by group, in each the preferred version first.
pub(super) fn resources_of(apis: &Apis) -> Vec<Resource> {
    let is_served = |resource: &&Resource| {
        let name = resource.name.split('/').next().unwrap_or_default();
        apis.serves(resource.group, resource.version, name)
    };
    RESOURCES.iter().filter(is_served).cloned().collect()
}

fn resources() -> Vec<Resource> {
    let mut resources = Vec::new();
    for descriptor in known() {
        let main = Resource {
            group: descriptor.r#type.group,
            version: descriptor.r#type.version,
            name: descriptor.resource,
            singular: descriptor.singular,
            namespaced: descriptor.namespaced,
            kind: descriptor.r#type.kind,
            kind_version: None,
            verbs: descriptor.verbs,
            short_names: descriptor.short_names,
            categories: descriptor.categories,
            storage_version_hash: storage_version_hash(descriptor.stored().r#type).leak(),
            returns_deleted: descriptor.returns_deleted,
        };
        let of = |subresource: &&str| Resource {
            name: format!("{}/{subresource}", descriptor.resource).leak(),
            singular: "",
            verbs: subresource_verbs(subresource),
            short_names: &[],
            categories: &[],
            storage_version_hash: "",
            ..main.clone()
        };
        let subresources: Vec<Resource> = descriptor.subresources.iter().map(of).collect();
        let is_account = descriptor.resource == SERVICE_ACCOUNTS.resource;
        let token = is_account.then(|| token_resource(&main));
        resources.push(main);
        resources.extend(subresources);
        resources.extend(token);
    }
    resources.extend(REVIEWS.iter().map(|review| Resource {
        group: review.r#type.group,
        version: review.r#type.version,
        name: review.resource,
        singular: review.singular,
        namespaced: review.namespaced,
        kind: review.r#type.kind,
        kind_version: None,
        verbs: &["create"],
        short_names: &[],
        categories: &[],
        storage_version_hash: "",
        returns_deleted: false,
    }));
    let place = |group: &str| GROUPS.iter().position(|known| *known == group);
    // Stable, so that resources of one version stay as they are; a group without a place comes
    // last.
    resources.sort_by_key(|resource| {
        let place = place(resource.group).unwrap_or(GROUPS.len());
        (place, Kind::of(resource.version))
    });
    resources
}

/// `serviceaccounts/token`: its kind lives in another group.
fn token_resource(accounts: &Resource) -> Resource {
    Resource {
        name: "serviceaccounts/token",
        singular: "",
        kind: TOKEN_REQUEST.kind,
        kind_version: Some((TOKEN_REQUEST.group, TOKEN_REQUEST.version)),
        verbs: &["create"],
        short_names: &[],
        categories: &[],
        storage_version_hash: "",
        ..accounts.clone()
    }
}

/// As upstream computes it (`apiserver/pkg/endpoints/discovery/storageversionhash.go`), for clients
/// that compare servers.
fn storage_version_hash(ty: &Type) -> String {
    const BYTES: usize = 8;
    let name = format!("{}/{}/{}", ty.group, ty.version, ty.kind);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    STANDARD.encode(&digest.as_ref()[..BYTES])
}

impl Server {
    /// The discovery document of a path; None when it is none.
    pub(super) fn discovery(&self, path: &str, admitted: &Admitted) -> Option<Response<Body>> {
        let (headers, query) = (&admitted.headers, &admitted.query);
        let resources = self.catalogue.resources();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (ty, document) = match parts[..] {
            [""] => {
                let paths = json!({ "paths": paths(resources) });
                return Some(untyped(headers, query, &paths));
            }
            ["api"] => return Some(root(headers, query, resources, Some(&self.address))),
            ["apis"] => return Some(root(headers, query, resources, None)),
            ["api", version] => (
                &API_RESOURCE_LIST,
                discovery::resource_list(resources, "", version),
            ),
            ["apis", group] | ["apis", group, _] if !self.catalogue.apis().has_group(group) => {
                return Some(page_not_found());
            }
            ["apis", ""] => return Some(error(&Status::no_such_resource())),
            ["apis", group] => (&API_GROUP, discovery::group(resources, group)),
            ["apis", group, version] => (
                &API_RESOURCE_LIST,
                discovery::resource_list(resources, group, version),
            ),
            _ => return None,
        };
        Some(match document {
            Some(document) => plain(headers, query, ty, &document),
            None => error(&Status::no_such_resource()),
        })
    }
}

fn paths(resources: &[Resource]) -> Vec<String> {
    let mut paths: Vec<String> = OTHER_PATHS.iter().map(|path| (*path).to_owned()).collect();
    paths.extend(["/api", "/apis"].map(str::to_owned));
    for resource in resources {
        if resource.group.is_empty() {
            paths.push(format!("/api/{}", resource.version));
            continue;
        }
        let group = format!("/apis/{}", resource.group);
        paths.extend([format!("{group}/{}", resource.version), group]);
    }
    paths.sort();
    paths.dedup();
    paths
}

fn plain(headers: &HeaderMap, query: &Query, ty: &Type, document: &Value) -> Response<Body> {
    match Form::negotiate(headers, query, Occasion::Discovery) {
        Ok(form) if form.answer.encoding == Encoding::Protobuf => {
            form.plain(StatusCode::OK, ty, document)
        }
        Ok(form) => form.document(StatusCode::OK, to_json(document)),
        Err(status) => error_for(headers, &status),
    }
}

/// A document that is of no type, and so has no protobuf form.
fn untyped(headers: &HeaderMap, query: &Query, document: &Value) -> Response<Body> {
    match Form::negotiate(headers, query, Occasion::Document) {
        Ok(form) => form.document(StatusCode::OK, to_json(document)),
        Err(status) => error_for(headers, &status),
    }
}

/// `/api` (of the server at `address`) and `/apis` (None): the one or the other form, by `Accept`.
fn root(
    headers: &HeaderMap,
    query: &Query,
    resources: &[Resource],
    address: Option<&str>,
) -> Response<Body> {
    let can = |answer: negotiate::Answer| match answer.shape {
        Shape::GroupDiscovery => answer.encoding == Encoding::Json,
        Shape::Object => true,
        Shape::Table { .. } | Shape::PartialObjectMetadata | Shape::PartialObjectMetadataList => {
            false
        }
    };
    let Ok(answer) = negotiate::accept(accept_header(headers).as_deref(), &can) else {
        let status = Status::not_acceptable_listing(&negotiate::MEDIA_TYPES);
        return error_for(headers, &status);
    };
    if answer.shape == Shape::GroupDiscovery {
        let document = discovery::aggregated(resources, address.is_some());
        aggregated(headers, &to_json(&document))
    } else if let Some(address) = address {
        let versions = discovery::api_versions(resources, address);
        plain(headers, query, &API_VERSIONS, &versions)
    } else {
        let groups = discovery::group_list(resources);
        plain(headers, query, &API_GROUP_LIST, &groups)
    }
}

fn aggregated(headers: &HeaderMap, json: &[u8]) -> Response<Body> {
    let tag = format!("\"{}\"", digest(json));
    let known = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let mut response = if known {
        response(StatusCode::NOT_MODIFIED, AGGREGATED, Vec::new())
    } else {
        response(StatusCode::OK, AGGREGATED, json.to_vec())
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}
