//! What an `Api` does with signing requests.

use super::{Scene, refused};
use anyhow::{Context, Result};
use everleaf_stage::{ensure_that, same};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Discovery, Resource, ResourceExt};
use serde_json::{Value, json};

pub(super) fn points(scene: &Scene<'_>) {
    scene.point("discovery, plain and aggregated", discovers);
    scene.point("create, dry run, refusals", creates);
    scene.point("get, get_opt, get_metadata", gets);
    scene.point("list: pages, labels, fields, metadata", lists);
    scene.point("patch: merge, strategic, json", patches);
    scene.point(
        "patch_status, patch_approval, get_approval",
        patches_subresources,
    );
    scene.point("patch: server-side apply", applies);
    scene.point("replace, replace_status, conflict", replaces);
    scene.point("objects without types", dynamic);
    scene.point("reviews, secrets, config maps, leases", others);
}

/// These leave nothing behind.
pub(super) fn last_points(scene: &Scene<'_>) {
    scene.point("delete, preconditions", deletes);
    scene.point("delete_collection", deletes_collection);
}

async fn discovers(scene: &Scene<'_>) -> Result<()> {
    let plain = Discovery::new(scene.client.clone()).run().await?;
    let aggregated = Discovery::new(scene.client.clone())
        .run_aggregated()
        .await?;
    for discovery in [plain, aggregated] {
        let group = discovery.get("certificates.k8s.io").context("no group")?;
        let (resource, capabilities) = group
            .recommended_kind("CertificateSigningRequest")
            .context("no kind")?;
        same(
            "plural",
            resource.plural.as_str(),
            "certificatesigningrequests",
        )?;
        ensure_that!(capabilities.supports_operation("watch"), "{capabilities:?}");
        let mut subresources: Vec<&str> = capabilities
            .subresources
            .iter()
            .map(|(subresource, _)| subresource.plural.as_str())
            .collect();
        subresources.sort_unstable();
        same("subresources", subresources, vec!["approval", "status"])?;
    }
    let version = scene.client.apiserver_version().await?;
    same("major version", version.major.as_str(), "1")
}

async fn creates(scene: &Scene<'_>) -> Result<()> {
    let created = scene.create("kr-1", "creates").await?;
    ensure_that!(created.uid().is_some(), "no uid: {created:?}");
    same("username", created.spec.username.as_deref(), Some("admin"))?;
    let parameters = PostParams {
        dry_run: true,
        ..Default::default()
    };
    let dry = scene.request("kr-dry", "creates")?;
    scene.api.create(&parameters, &dry).await?;
    refused(scene.api.get("kr-dry").await, "NotFound")?;
    refused(scene.create("kr-1", "creates").await, "AlreadyExists")?;
    let mut request = scene.request("kr-bad", "creates")?;
    request.spec.usages = None;
    refused(
        scene.api.create(&PostParams::default(), &request).await,
        "Invalid",
    )?;
    request.spec.usages = scene.request("", "")?.spec.usages;
    request.metadata.name = None;
    request.metadata.generate_name = Some("kr-".to_owned());
    let generated = scene.api.create(&PostParams::default(), &request).await?;
    same(
        "length of the generated name",
        generated.name_any().len(),
        8,
    )
}

async fn gets(scene: &Scene<'_>) -> Result<()> {
    let created = scene.create("kr-get", "gets").await?;
    same("uid", scene.api.get("kr-get").await?.uid(), created.uid())?;
    ensure_that!(
        scene.api.get_opt("nobody").await?.is_none(),
        "somebody is there"
    );
    let metadata = scene.api.get_metadata("kr-get").await?;
    let kind = metadata.types.as_ref().map(|types| types.kind.as_str());
    same("kind", kind, Some("PartialObjectMetadata"))?;
    same("uid", metadata.uid(), created.uid())
}

async fn lists(scene: &Scene<'_>) -> Result<()> {
    for name in ["kr-l1", "kr-l2", "kr-l3", "kr-l4", "kr-l5"] {
        scene.create(name, "lists").await?;
    }
    let mine = ListParams::default().labels("group=lists");
    let (mut parameters, mut names) = (mine.clone().limit(2), Vec::new());
    loop {
        let page = scene.api.list(&parameters).await?;
        ensure_that!(page.items.len() <= 2, "a page of {}", page.items.len());
        names.extend(page.items.iter().map(ResourceExt::name_any));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => break,
        }
    }
    same(
        "names",
        names.join(" ").as_str(),
        "kr-l1 kr-l2 kr-l3 kr-l4 kr-l5",
    )?;
    let one = mine.clone().fields("metadata.name=kr-l3");
    same("by field", scene.api.list(&one).await?.items.len(), 1)?;
    let at_any = mine.clone().match_any();
    same(
        "from the cache",
        scene.api.list(&at_any).await?.items.len(),
        5,
    )?;
    let metadata = scene.api.list_metadata(&mine).await?;
    same("metadata", metadata.items.len(), 5)?;
    let unknown = ListParams::default().fields("spec.username=admin");
    refused(scene.api.list(&unknown).await, "BadRequest")
}

async fn patches(scene: &Scene<'_>) -> Result<()> {
    scene.create("kr-patch", "patches").await?;
    let parameters = PatchParams::default();
    let label = |name: &str| json!({"metadata": {"labels": {name: "yes"}}});
    let (merge, strategic) = (
        Patch::Merge(label("merge")),
        Patch::Strategic(label("strategic")),
    );
    scene.api.patch("kr-patch", &parameters, &merge).await?;
    scene.api.patch("kr-patch", &parameters, &strategic).await?;
    let operations = json!([
        {"op": "test", "path": "/metadata/labels/merge", "value": "yes"},
        {"op": "add", "path": "/metadata/labels/json", "value": "yes"},
    ]);
    let json = Patch::Json::<Value>(serde_json::from_value(operations)?);
    let patched = scene.api.patch("kr-patch", &parameters, &json).await?;
    let labels: Vec<&str> = patched.labels().keys().map(String::as_str).collect();
    same(
        "labels",
        labels,
        vec!["client", "group", "json", "merge", "strategic"],
    )?;
    let fails = json!([{"op": "test", "path": "/metadata/labels/merge", "value": "no"}]);
    let fails = Patch::Json::<Value>(serde_json::from_value(fails)?);
    refused(
        scene.api.patch("kr-patch", &parameters, &fails).await,
        "Invalid",
    )?;
    let annotated = Patch::Merge(json!({"metadata": {"annotations": {"note": "yes"}}}));
    let metadata = scene
        .api
        .patch_metadata("kr-patch", &parameters, &annotated)
        .await?;
    same("note", metadata.annotations()["note"].as_str(), "yes")
}

fn conditions(request: &CertificateSigningRequest) -> Vec<String> {
    let status = request.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .map(|condition| condition.type_.clone())
        .collect()
}

async fn patches_subresources(scene: &Scene<'_>) -> Result<()> {
    scene.create("kr-sub", "subresources").await?;
    let parameters = PatchParams::default();
    let noted = json!({"status": {"conditions": [{"type": "Noted", "status": "True"}]}});
    let answer = scene
        .api
        .patch_status("kr-sub", &parameters, &Patch::Merge(&noted))
        .await?;
    same(
        "after patch_status",
        conditions(&answer),
        vec!["Noted".to_owned()],
    )?;
    let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
    let patch = Patch::Strategic(&approved);
    let by_status = scene.api.patch_status("kr-sub", &parameters, &patch);
    refused(by_status.await, "Invalid")?;
    scene
        .api
        .patch_approval("kr-sub", &parameters, &patch)
        .await?;
    let stored = scene.api.get_approval("kr-sub").await?;
    same(
        "after patch_approval",
        conditions(&stored),
        vec!["Approved".to_owned()],
    )
}

async fn applies(scene: &Scene<'_>) -> Result<()> {
    let request = scene.request("kr-applied", "applies")?;
    let first = PatchParams::apply("first");
    let applied = scene
        .api
        .patch("kr-applied", &first, &Patch::Apply(&request))
        .await?;
    let owner = applied
        .managed_fields()
        .first()
        .and_then(|entry| entry.manager.clone());
    same("owner", owner.as_deref(), Some("first"))?;
    let other = scene.request("kr-applied", "others")?;
    let second = PatchParams::apply("second");
    let other = Patch::Apply(&other);
    let conflict = scene.api.patch("kr-applied", &second, &other);
    refused(conflict.await, "Conflict")?;
    let forced = scene
        .api
        .patch("kr-applied", &second.force(), &other)
        .await?;
    same("label", forced.labels()["group"].as_str(), "others")
}

async fn replaces(scene: &Scene<'_>) -> Result<()> {
    let mut request = scene.create("kr-replace", "replaces").await?;
    let stale = request.clone();
    request
        .annotations_mut()
        .insert("note".to_owned(), "new".to_owned());
    let parameters = PostParams::default();
    let replaced = scene
        .api
        .replace("kr-replace", &parameters, &request)
        .await?;
    same("note", replaced.annotations()["note"].as_str(), "new")?;
    let mut late = stale;
    late.annotations_mut()
        .insert("note".to_owned(), "late".to_owned());
    refused(
        scene.api.replace("kr-replace", &parameters, &late).await,
        "Conflict",
    )?;
    let mut denied = replaced;
    let condition = json!({"conditions": [{"type": "Denied", "status": "True", "reason": "Test"}]});
    denied.status = serde_json::from_value(condition)?;
    let answer: CertificateSigningRequest = scene
        .api
        .replace_subresource("approval", "kr-replace", &parameters, &denied)
        .await?;
    same("conditions", conditions(&answer), vec!["Denied".to_owned()])?;
    let mut failed = answer;
    let status = failed.status.get_or_insert_default();
    let more = json!({"type": "Failed", "status": "True"});
    status
        .conditions
        .get_or_insert_default()
        .push(serde_json::from_value(more)?);
    let answer = scene
        .api
        .replace_status("kr-replace", &parameters, &failed)
        .await?;
    same(
        "conditions",
        conditions(&answer).join(" ").as_str(),
        "Denied Failed",
    )
}

async fn dynamic(scene: &Scene<'_>) -> Result<()> {
    let (resource, _) = kube::discovery::pinned_kind(
        &scene.client,
        &kube::api::GroupVersionKind::gvk("certificates.k8s.io", "v1", "CertificateSigningRequest"),
    )
    .await?;
    let api: Api<DynamicObject> = Api::all_with(scene.client.clone(), &resource);
    let typed = serde_json::to_value(scene.request("kr-dynamic", "dynamic")?)?;
    let untyped: DynamicObject = serde_json::from_value(typed)?;
    let created = api.create(&PostParams::default(), &untyped).await?;
    same(
        "username",
        created.data["spec"]["username"].as_str(),
        Some("admin"),
    )?;
    same(
        "listed",
        api.list(&ListParams::default().labels("group=dynamic"))
            .await?
            .items
            .len(),
        1,
    )
}

async fn others(scene: &Scene<'_>) -> Result<()> {
    let parameters = PostParams::default();
    let reviews: Api<SelfSubjectAccessReview> = Api::all(scene.client.clone());
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"resource": "nodes", "verb": "get"}},
    });
    let review = reviews
        .create(&parameters, &serde_json::from_value(review)?)
        .await?;
    same(
        "allowed",
        review.status.map(|status| status.allowed),
        Some(true),
    )?;
    let whoami: Api<SelfSubjectReview> = Api::all(scene.client.clone());
    let who = whoami
        .create(&parameters, &SelfSubjectReview::default())
        .await?;
    let user = who.status.and_then(|status| status.user_info);
    same(
        "who am I",
        user.and_then(|user| user.username).as_deref(),
        Some("admin"),
    )?;
    let secrets: Api<Secret> = Api::namespaced(scene.client.clone(), "default");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kr"}, "stringData": {"a": "b"}});
    let secret = secrets
        .create(&parameters, &serde_json::from_value(secret)?)
        .await?;
    let data = secret.data.unwrap_or_default();
    same(
        "secret",
        data.get("a").map(|bytes| bytes.0.as_slice()),
        Some(b"b".as_slice()),
    )?;
    let maps: Api<ConfigMap> = Api::namespaced(scene.client.clone(), "default");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kr"}, "data": {"a": "b"}});
    maps.create(&parameters, &serde_json::from_value(map)?)
        .await?;
    let patch = Patch::Merge(json!({"data": {"c": "d"}}));
    let map = maps.patch("kr", &PatchParams::default(), &patch).await?;
    same("entries", map.data.map(|data| data.len()), Some(2))?;
    let leases: Api<Lease> = Api::namespaced(scene.client.clone(), "default");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "kr"},
        "spec": {"holderIdentity": "kr", "renewTime": "2026-01-02T03:04:05.678901Z"},
    });
    let lease = leases
        .create(&parameters, &serde_json::from_value(lease)?)
        .await?;
    let renewed = lease.spec.and_then(|spec| spec.renew_time);
    let renewed = renewed.map(|time| time.0.to_string());
    same(
        "renewTime",
        renewed.as_deref(),
        Some("2026-01-02T03:04:05.678901Z"),
    )
}

async fn deletes(scene: &Scene<'_>) -> Result<()> {
    let created = scene.create("kr-delete", "deletes").await?;
    let other = Preconditions {
        uid: Some("other".to_owned()),
        resource_version: None,
    };
    let refusing = DeleteParams::background().preconditions(other);
    refused(scene.api.delete("kr-delete", &refusing).await, "Conflict")?;
    let this = Preconditions {
        uid: created.uid(),
        resource_version: created.resource_version(),
    };
    let parameters = DeleteParams::background().preconditions(this);
    let answer = scene.api.delete("kr-delete", &parameters).await?;
    let status = answer.right().context("it answers with the object")?;
    ensure_that!(status.is_success(), "{status:?}");
    refused(
        scene
            .api
            .delete("kr-delete", &DeleteParams::default())
            .await,
        "NotFound",
    )
}

async fn deletes_collection(scene: &Scene<'_>) -> Result<()> {
    let mine = ListParams::default().labels("client=kube-rs");
    let before = scene.api.list(&mine).await?.items.len();
    ensure_that!(before > 10, "only {before} are left");
    scene
        .api
        .delete_collection(&DeleteParams::default(), &mine)
        .await?;
    same("left", scene.api.list(&mine).await?.items.len(), 0)?;
    same(
        "kind",
        CertificateSigningRequest::kind(&()).as_ref(),
        "CertificateSigningRequest",
    )
}
