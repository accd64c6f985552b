//! A container, which is a namespace, goes with everything in it.
//!
//! Upstream leaves that to a controller. Here the delete itself does it: the namespace becomes
//! Terminating, so that admission lets nothing new in; what is in it is deleted object by object;
//! then the namespace goes. If that is interrupted, the namespace stays Terminating, and within a
//! minute the server goes on. Objects with finalizers are not waited for: the delete is refused
//! before it begins. A namespace that has finalizers of its own goes this way with the last of
//! them. One that somebody else has to finish (`spec.finalizers`) stays Terminating and empty until
//! they say so at its endpoint `finalize`.

use super::delete::mark_deleted;
use super::retention::REMOVALS_AT_ONCE_MAX;
use super::write::Encoded;
use super::{Server, about};
use crate::objects::{Objects, Stored};
use crate::registry::{DESCRIPTORS, Descriptor};
use crate::writer::{Expected, Refusal};
use everleaf_api::{Status, meta};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// Times the contents are listed again because something was still on its way in.
const SWEEPS_MAX: usize = 10;

/// How the deletion of a container ended.
pub(super) enum Emptied {
    /// It is gone.
    Gone,
    /// It is empty, and waits for somebody to say that they are done, too.
    Held(Arc<Stored>),
    /// Somebody else wrote it meanwhile.
    Overtaken,
}

impl Server {
    /// Deletes what is in a container, then the container. Its last write is what `last` makes of
    /// it, or what it is; until then it keeps what it has, so that whoever is interrupted can begin
    /// again.
    pub(super) async fn delete_container(
        &self,
        descriptor: &'static Descriptor,
        (container, last): (&Stored, Option<&Value>),
        now: Timestamp,
    ) -> Result<Emptied, Status> {
        let name = &container.name;
        let uid = meta::uid(&container.object()).to_owned();
        self.check_no_finalizers(descriptor, name)?;
        let mut current = self.terminate(descriptor, container, now).await?;
        for _ in 0..SWEEPS_MAX {
            let contents = self.contents(name);
            // Asked after its contents: what is in another one of this name is not meant.
            let present = self.cache.get(descriptor.resource, "", name);
            let Some(present) = present.filter(|there| meta::uid(&there.object()) == uid) else {
                return Ok(Emptied::Gone);
            };
            for some in contents.chunks(REMOVALS_AT_ONCE_MAX) {
                let removals = some
                    .iter()
                    .map(|(descriptor, object)| self.propose_delete(descriptor, object));
                for outcome in self.remove_together(removals).await {
                    match outcome {
                        // Changed or gone: the next sweep sees it as it is now.
                        Ok(_) | Err(Refusal::Changed | Refusal::Exists) => {}
                        Err(refusal) => return Err(self.refused(refusal)),
                    }
                }
            }
            if !contents.is_empty() {
                continue;
            }
            if last.is_none() {
                current = present;
            }
            match self.end_container(descriptor, &current, last).await {
                Ok(ended) => return Ok(ended),
                Err(Refusal::Changed | Refusal::Exists) if last.is_some() => {
                    return Ok(Emptied::Overtaken);
                }
                Err(Refusal::Changed | Refusal::Exists) => {}
                Err(refusal) => return Err(self.refused(refusal)),
            }
        }
        let text = "objects keep being written to it; it stays Terminating, delete it again";
        Err(Status::conflict(about(descriptor), name, text))
    }

    /// The last write to a container in which nothing is left.
    async fn end_container(
        &self,
        descriptor: &'static Descriptor,
        current: &Stored,
        last: Option<&Value>,
    ) -> Result<Emptied, Refusal> {
        let strategy = descriptor.strategy;
        let mut object = last
            .cloned()
            .unwrap_or_else(|| current.object().into_owned());
        if !strategy.is_held(&object) {
            self.propose_delete(descriptor, current).await?;
            return Ok(Emptied::Gone);
        }
        strategy.mark_emptied(&mut object);
        let encoded = Encoded::new(descriptor, &mut object);
        let expected = Expected::Revision(current.revision);
        let held = self
            .propose_put(descriptor, encoded, expected, None)
            .await?;
        Ok(Emptied::Held(held))
    }

    /// Goes on with containers whose deletion was interrupted, or whose contents had finalizers. To
    /// be called once a minute.
    pub(super) async fn finish_containers(&self, now: Timestamp) {
        for descriptor in DESCRIPTORS.iter().filter(|one| one.is_container) {
            for container in self.cache.list(descriptor.resource, None) {
                let is_left = {
                    let object = container.object();
                    meta::deletion_timestamp(&object).is_some()
                        && meta::finalizers(&object).next().is_none()
                        && !descriptor.strategy.is_held(&object)
                };
                if is_left {
                    // Refused while something in it has finalizers: the next minute is another one.
                    let _ = self
                        .delete_container(descriptor, (&container, None), now)
                        .await;
                }
            }
        }
    }

    /// 409 when something in it has finalizers, or cannot be read.
    pub(super) fn check_no_finalizers(
        &self,
        container: &Descriptor,
        namespace: &str,
    ) -> Result<(), Status> {
        if let Some((resource, key)) = self.cache.unreadable_in_namespace(namespace) {
            let text = format!("{resource} {key:?} in it cannot be read: read it to learn why");
            return Err(Status::conflict(about(container), namespace, &text));
        }
        let held = self
            .contents(namespace)
            .into_iter()
            .find(|(_, object)| meta::finalizers(&object.object()).next().is_some());
        match held {
            None => Ok(()),
            Some((descriptor, object)) => {
                let text = format!(
                    "{} {:?} in it has finalizers; remove them first",
                    descriptor.resource, object.name
                );
                Err(Status::conflict(about(container), namespace, &text))
            }
        }
    }

    async fn terminate(
        &self,
        descriptor: &'static Descriptor,
        container: &Stored,
        now: Timestamp,
    ) -> Result<Arc<Stored>, Status> {
        let mut object = container.object().into_owned();
        if meta::deletion_timestamp(&object).is_none() {
            mark_deleted(&mut object, &meta::format_time(now));
        }
        descriptor.strategy.mark_deleted(&mut object);
        let expected = Expected::Revision(container.revision);
        let encoded = Encoded::new(descriptor, &mut object);
        self.propose_put(descriptor, encoded, expected, None)
            .await
            .map_err(|refusal| self.refused(refusal))
    }

    fn contents(&self, namespace: &str) -> Vec<(&'static Descriptor, Arc<Stored>)> {
        DESCRIPTORS
            .iter()
            .filter(|descriptor| descriptor.namespaced)
            .flat_map(|descriptor| {
                let objects = self.cache.list(descriptor.resource, Some(namespace));
                objects.into_iter().map(|object| (*descriptor, object))
            })
            .collect()
    }
}
