//! YAML in, through the whole server: created or refused, never a defect.

#![no_main]

use bytes::Bytes;
use everleaf_apiserver::registry::DESCRIPTORS;
use everleaf_fuzz::{World, split};
use http::Request;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

// Nothing stays: every create is a trial.
static WORLD: LazyLock<World> = LazyLock::new(World::default);

fuzz_target!(|data: &[u8]| {
    let Some((r#type, body)) = split(data) else {
        return;
    };
    let Some(resource) = DESCRIPTORS
        .iter()
        .find(|descriptor| std::ptr::eq(descriptor.r#type, r#type))
    else {
        return;
    };
    let root = match r#type.group {
        "" => "/api".to_owned(),
        group => format!("/apis/{group}"),
    };
    let namespace = match resource.namespaced {
        true => "/namespaces/default",
        false => "",
    };
    let (version, resource) = (r#type.version, resource.resource);
    let request = Request::post(format!("{root}/{version}{namespace}/{resource}?dryRun=All"))
        .header("Content-Type", "application/yaml")
        .header("Accept", "application/yaml")
        .body(Bytes::copy_from_slice(body));
    WORLD.send(request.expect("invariant: a path of ours"));
});
