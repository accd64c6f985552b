//! `serviceaccounts/token`: a token is made and handed out, never stored
//! (`pkg/registry/core/serviceaccount/storage/token.go`, `pkg/apis/authentication/validation`).

use super::create::decode;
use super::respond::{Form, Occasion};
use super::route::ResourcePath;
use super::{Admitted, Body, Server};
use crate::admission::{self, Attributes, Operation};
use crate::authn::{Binding, Claims, Reference};
use crate::objects::Objects;
use crate::read;
use everleaf_api::fields::{FieldError, quote};
use everleaf_api::status::GroupResource;
use everleaf_api::types::TOKEN_REQUEST;
use everleaf_api::{Status, meta};
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Shortest life of a token, in seconds.
const SECONDS_MIN: i64 = 600;
/// Longest lifetime that may be asked for (`pkg/apis/authentication/validation/validation.go`).
const SECONDS_MAX: i64 = 1 << 32;
/// Life of a token for which none is asked.
const SECONDS_DEFAULT: i64 = 3600;

/// What an audit tells of a token that was made.
const ISSUED_ID: &str = "authentication.kubernetes.io/issued-credential-id";

const ACCOUNTS: GroupResource<'static> = GroupResource {
    group: "",
    resource: "serviceaccounts",
};

impl Server {
    pub(super) fn token(
        &self,
        admitted: &Admitted,
        path: &ResourcePath,
        body: &[u8],
    ) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(&admitted.headers, &admitted.query, Occasion::Review)?;
        let mut request = decode(&TOKEN_REQUEST, &admitted.headers, body)?.object;
        if let Some(trail) = &admitted.trail {
            trail.sent(&TOKEN_REQUEST, &request, |_| {});
        }
        check_place(path, &request)?;
        let attributes = Attributes {
            operation: Operation::Create,
            resource: ACCOUNTS.resource,
            group: ACCOUNTS.group,
            subresource: "token",
            namespace: &path.namespace,
            name: &path.name,
            user: &admitted.user,
            old: None,
            request: None,
        };
        let objects = self.cache.as_ref();
        admission::mutate(
            &attributes,
            Some(&mut request),
            objects,
            &admitted.authorizer,
        )?;
        let account = objects
            .get(ACCOUNTS.resource, &path.namespace, &path.name)
            .ok_or_else(|| Status::not_found(ACCOUNTS, &path.name))?;
        let account = account.object();
        self.complete(&mut request, &account, admitted.now)?;
        let errors = validate(&request);
        if !errors.is_empty() {
            let r#type = &TOKEN_REQUEST;
            return Err(Status::invalid(r#type.group, r#type.kind, "", &errors));
        }
        let binding = binding(&request, &path.namespace, objects)?;
        let (answer, id) = self.signed(request, binding, admitted.now)?;
        if let Some(trail) = &admitted.trail {
            trail.annotate(ISSUED_ID, format!("JTI={id}"));
        }
        Ok(form.plain(StatusCode::CREATED, &TOKEN_REQUEST, &answer))
    }

    /// Fills what the request leaves open. It may name the account's uid, so that it means this
    /// account and no later one.
    fn complete(&self, request: &mut Value, account: &Value, now: Timestamp) -> Result<(), Status> {
        let (wanted, uid) = (meta::uid(request), meta::uid(account));
        if !wanted.is_empty() && wanted != uid {
            let about = GroupResource {
                group: TOKEN_REQUEST.group,
                resource: TOKEN_REQUEST.kind,
            };
            let text = format!(
                "the UID in the token request ({wanted}) does not match the UID of the service account ({uid})"
            );
            return Err(Status::conflict(about, meta::name(account), &text));
        }
        meta::set(request, "name", meta::name(account));
        meta::set(request, "namespace", meta::namespace(account));
        meta::set(request, "uid", uid);
        meta::set(request, "creationTimestamp", &meta::format_time(now));
        let spec = &mut request["spec"];
        if read::is_empty(spec.get("audiences")) {
            spec["audiences"] = self.authenticator.audiences().into();
        }
        if spec["expirationSeconds"].is_null() {
            spec["expirationSeconds"] = SECONDS_DEFAULT.into();
        }
        Ok(())
    }

    fn signed(
        &self,
        mut request: Value,
        binding: Option<Binding>,
        now: Timestamp,
    ) -> Result<(Value, String), Status> {
        let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(0);
        let issued_at = now.as_second();
        let claims = Claims {
            audiences: read::texts(&request, "/spec/audiences"),
            issued_at,
            not_before: issued_at,
            expires: issued_at.saturating_add(seconds),
            id: self.new_uid(),
            namespace: meta::namespace(&request).to_owned(),
            account: Reference {
                name: meta::name(&request).to_owned(),
                uid: meta::uid(&request).to_owned(),
            },
            binding,
        };
        let token = self
            .authenticator
            .issue_token(&claims)
            .ok_or_else(Status::no_such_resource)?
            .map_err(|fault| Status::internal(format!("failed to generate token: {fault}")))?;
        let expires = now
            .checked_add(SignedDuration::from_secs(seconds))
            .unwrap_or(Timestamp::MAX);
        request["status"] =
            json!({"token": token, "expirationTimestamp": meta::format_time(expires)});
        Ok((request, claims.id))
    }
}

/// 422 when the body names another account than the path.
fn check_place(path: &ResourcePath, request: &Value) -> Result<(), Status> {
    for (member, here, what) in [
        ("name", &path.name, "name"),
        ("namespace", &path.namespace, "namespace"),
    ] {
        let named = request["metadata"][member].as_str().unwrap_or("");
        if !named.is_empty() && named != here {
            let field = format!("metadata.{member}");
            let detail = format!("must match the service account {what} if specified");
            let error = FieldError::invalid(&field, &quote(named), &detail);
            let r#type = &TOKEN_REQUEST;
            return Err(Status::invalid(
                r#type.group,
                r#type.kind,
                &path.name,
                &[error],
            ));
        }
    }
    Ok(())
}

fn validate(request: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(0);
    let mut refuse = |detail: &str| {
        let path = "spec.expirationSeconds";
        errors.push(FieldError::invalid(path, &seconds.to_string(), detail));
    };
    if seconds < SECONDS_MIN {
        refuse("may not specify a duration less than 10 minutes");
    }
    if seconds > SECONDS_MAX {
        refuse("may not specify a duration larger than 2^32 seconds");
    }
    let attestations = &request["spec"]["attestations"];
    if !read::is_empty(Some(attestations)) {
        let detail = "attestations may only be specified with a webhook bound object reference";
        let value = attestations.to_string();
        errors.push(FieldError::invalid("spec.attestations", &value, detail));
    }
    errors
}

/// The object with which the token ends, as it is now.
fn binding(
    request: &Value,
    namespace: &str,
    objects: &dyn Objects,
) -> Result<Option<Binding>, Status> {
    let Some(wanted) = request
        .pointer("/spec/boundObjectRef")
        .filter(|r| r.is_object())
    else {
        return Ok(None);
    };
    let kind = read::text(wanted, "/kind");
    let version = read::text(wanted, "/apiVersion");
    let (resource, namespace) = match (version, kind) {
        ("v1", "Secret") => ("secrets", namespace),
        ("v1", "Node") => ("nodes", ""),
        ("v1", "Pod") => ("pods", namespace),
        _ => {
            let slash = if version.contains('/') { "" } else { "/" };
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {slash}{version}, Kind={kind}"
            )));
        }
    };
    let about = GroupResource {
        group: "",
        resource,
    };
    let name = read::text(wanted, "/name");
    let stored = objects
        .get(resource, namespace, name)
        .ok_or_else(|| Status::not_found(about, name))?;
    let found = meta::uid(&stored.object()).to_owned();
    let uid = read::text(wanted, "/uid");
    if !uid.is_empty() && uid != found {
        let about = GroupResource {
            group: "",
            resource: kind,
        };
        let text = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(Status::conflict(about, name, &text));
    }
    let reference = Reference {
        name: name.to_owned(),
        uid: found,
    };
    Ok(Some(match resource {
        "nodes" => Binding::Node(reference),
        _ => Binding::Secret(reference),
    }))
}
