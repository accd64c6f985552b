//! What kube-rs' runtime does: watchers, reflectors, waiting, finalizers, Kubernetes Events.

use super::{Scene, refused};
use anyhow::{Context, Result, bail};
use everleaf_stage::{ensure_that, same};
use futures_util::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{DeleteParams, PartialObjectMeta, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::wait::{await_condition, conditions, delete::delete_and_finalize};
use kube::runtime::watcher::{self, Config};
use kube::runtime::{finalizer, reflector, watcher as watch};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

pub(super) fn points(scene: &Scene<'_>) {
    scene.point("watch from a version", watches);
    scene.point("watcher: list, then watch", lists_and_watches);
    scene.point("watcher: streaming list", streams_list);
    scene.point("watcher of metadata", watches_metadata);
    scene.point("reflector", reflects);
    scene.point("await_condition: approved and issued", awaits);
    scene.point("finalizer, delete_and_finalize", finalizes);
    scene.point("recorder of events", records);
}

fn label(name: &str) -> serde_json::Value {
    json!({"metadata": {"labels": {name: "yes"}}})
}

async fn watches(scene: &Scene<'_>) -> Result<()> {
    let now = scene
        .api
        .list(&Default::default())
        .await?
        .metadata
        .resource_version;
    let parameters = WatchParams::default().labels("group=watches").timeout(60);
    let events = scene
        .api
        .watch(&parameters, &now.context("no version")?)
        .await?;
    let mut events = pin!(events);
    scene.create("kr-w", "watches").await?;
    let merge = Patch::Merge(label("seen"));
    scene
        .api
        .patch("kr-w", &PatchParams::default(), &merge)
        .await?;
    scene.api.delete("kr-w", &DeleteParams::default()).await?;
    let mut story = String::new();
    while let Some(event) = events.try_next().await? {
        story.push_str(match event {
            WatchEvent::Added(_) => "added ",
            WatchEvent::Modified(_) => "modified ",
            WatchEvent::Deleted(_) => "deleted ",
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => bail!("{status:?}"),
        });
        if story.ends_with("deleted ") {
            break;
        }
    }
    same("story", story.trim(), "added modified deleted")
}

/// The next event of a watcher, in a few words.
async fn next<K: Resource>(
    events: &mut (impl Stream<Item = watcher::Result<watcher::Event<K>>> + Unpin),
) -> Result<String> {
    let event = events.next().await.context("the stream ended")??;
    Ok(match event {
        watcher::Event::Init => "init".to_owned(),
        watcher::Event::InitApply(object) => format!("init {}", object.name_any()),
        watcher::Event::InitDone => "init done".to_owned(),
        watcher::Event::Apply(object) => format!("apply {}", object.name_any()),
        watcher::Event::Delete(object) => format!("delete {}", object.name_any()),
    })
}

/// Two objects are there; a third comes and goes.
async fn follow(scene: &Scene<'_>, group: &str, config: Config) -> Result<()> {
    let (one, two, three) = (
        format!("{group}-1"),
        format!("{group}-2"),
        format!("{group}-3"),
    );
    for name in [&one, &two] {
        scene.create(name, group).await?;
    }
    let config = config.labels(&format!("group={group}"));
    let mut events = pin!(watch(scene.api.clone(), config));
    same("event", next(&mut events).await?.as_str(), "init")?;
    // A streamed list comes in any order.
    let mut initial = [next(&mut events).await?, next(&mut events).await?];
    initial.sort();
    same(
        "first objects",
        initial,
        [format!("init {one}"), format!("init {two}")],
    )?;
    same("event", next(&mut events).await?.as_str(), "init done")?;
    scene.create(&three, group).await?;
    same("event", next(&mut events).await?, format!("apply {three}"))?;
    let merge = Patch::Merge(label("seen"));
    scene
        .api
        .patch(&one, &PatchParams::default(), &merge)
        .await?;
    same("event", next(&mut events).await?, format!("apply {one}"))?;
    scene.api.delete(&three, &DeleteParams::default()).await?;
    same("event", next(&mut events).await?, format!("delete {three}"))
}

async fn lists_and_watches(scene: &Scene<'_>) -> Result<()> {
    follow(scene, "kr-pages", Config::default().page_size(1)).await?;
    follow(scene, "kr-any", Config::default().any_semantic()).await
}

async fn streams_list(scene: &Scene<'_>) -> Result<()> {
    follow(scene, "kr-stream", Config::default().streaming_lists()).await
}

async fn watches_metadata(scene: &Scene<'_>) -> Result<()> {
    scene.create("kr-meta", "metadata").await?;
    let api: Api<PartialObjectMeta<CertificateSigningRequest>> = Api::all(scene.client.clone());
    for config in [Config::default(), Config::default().streaming_lists()] {
        let mut events = pin!(watch(api.clone(), config.labels("group=metadata")));
        let mut story = Vec::new();
        for _ in 0..3 {
            story.push(next(&mut events).await?);
        }
        same(
            "story",
            story.join(", ").as_str(),
            "init, init kr-meta, init done",
        )?;
    }
    Ok(())
}

async fn reflects(scene: &Scene<'_>) -> Result<()> {
    let (reader, writer) = reflector::store();
    let config = Config::default().labels("group=reflects");
    let events = reflector(writer, watch(scene.api.clone(), config));
    scene.create("kr-mirror", "reflects").await?;
    let key = reflector::ObjectRef::new("kr-mirror");
    let mut events = pin!(events);
    while reader.get(&key).is_none() {
        events.try_next().await?.context("the stream ended")?;
    }
    Ok(())
}

async fn awaits(scene: &Scene<'_>) -> Result<()> {
    scene.create("kr-wait", "awaits").await?;
    let issued = |request: Option<&CertificateSigningRequest>| {
        let status = request.and_then(|request| request.status.as_ref());
        status.is_some_and(|status| status.certificate.is_some())
    };
    let waiting = await_condition(scene.api.clone(), "kr-wait", issued);
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
    let patch = Patch::Merge(approval);
    let parameters = PatchParams::default();
    let approving = scene.api.patch_approval("kr-wait", &parameters, &patch);
    let (seen, approved) = tokio::join!(waiting, approving);
    approved?;
    let certificate = seen?.and_then(|request| request.status?.certificate);
    let certificate = certificate.context("no certificate")?.0;
    ensure_that!(
        certificate.starts_with(b"-----BEGIN CERTIFICATE"),
        "{certificate:?}"
    );
    let gone = conditions::is_deleted("another uid");
    await_condition(scene.api.clone(), "kr-wait", gone).await?;
    Ok(())
}

async fn finalizes(scene: &Scene<'_>) -> Result<()> {
    let name = "kr-final";
    let finalizer_name = "example.com/kube-rs";
    let created = scene.create(name, "finalizes").await?;
    let nothing = |_| async { Ok::<_, Infallible>(Action::await_change()) };
    finalizer(&scene.api, finalizer_name, Arc::new(created), nothing).await?;
    let held = scene.api.get(name).await?;
    same(
        "finalizers",
        held.finalizers(),
        [finalizer_name.to_owned()].as_slice(),
    )?;
    let parameters = DeleteParams::default();
    let deleting = delete_and_finalize(scene.api.clone(), name, &parameters);
    let cleaning = async {
        let dying = |object: Option<&CertificateSigningRequest>| {
            object.is_some_and(|object| object.metadata.deletion_timestamp.is_some())
        };
        let object = await_condition(scene.api.clone(), name, dying).await?;
        let object = Arc::new(object.context("it is gone already")?);
        finalizer(&scene.api, finalizer_name, object, nothing).await?;
        anyhow::Ok(())
    };
    let (deleted, cleaned) = tokio::join!(deleting, cleaning);
    cleaned?;
    deleted?;
    refused(scene.api.get(name).await, "NotFound")
}

/// The first of a kind is created, the next ones are a series.
async fn records(scene: &Scene<'_>) -> Result<()> {
    let about = scene.create("kr-event", "records").await?.object_ref(&());
    let recorder = Recorder::new(scene.client.clone(), Reporter::from("kube-rs"));
    let event = Event {
        type_: EventType::Normal,
        reason: "Seen".to_owned(),
        note: Some("by a test".to_owned()),
        action: "Looking".to_owned(),
        secondary: None,
    };
    for _ in 0..2 {
        recorder.publish(&event, &about).await?;
    }
    Ok(())
}
