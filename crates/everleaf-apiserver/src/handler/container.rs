//! A container, which is a namespace, goes with everything in it.
//!
//! Upstream leaves that to a controller. Here the delete itself does it: the namespace becomes
//! Terminating, so that admission lets nothing new in; what is in it is deleted object by object;
//! then the namespace goes. If the server stops in between, the namespace stays Terminating, and
//! deleting it again goes on. Objects with finalizers are not waited for: the delete is refused
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
use std::sync::Arc;

/// Times the contents are listed again because something was still on its way in.
const SWEEPS_MAX: usize = 10;

impl Server {
    pub(super) async fn delete_container(
        &self,
        descriptor: &'static Descriptor,
        container: &Stored,
        now: Timestamp,
    ) -> Result<(), Status> {
        let name = &container.name;
        self.check_no_finalizers(descriptor, name)?;
        let mut current = self.terminate(descriptor, container, now).await?;
        for _ in 0..SWEEPS_MAX {
            let contents = self.contents(name);
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
            let strategy = descriptor.strategy;
            let outcome = if strategy.is_held(&current.object()) {
                let mut object = current.object().into_owned();
                strategy.mark_emptied(&mut object);
                let encoded = Encoded::new(descriptor, &mut object);
                let expected = Expected::Revision(current.revision);
                let put = self.propose_put(descriptor, encoded, expected, None);
                put.await.map(drop)
            } else {
                self.propose_delete(descriptor, &current).await.map(drop)
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(Refusal::Changed) => match self.cache.get(descriptor.resource, "", name) {
                    Some(changed) => current = changed,
                    None => return Ok(()),
                },
                Err(refusal) => return Err(self.refused(refusal)),
            }
        }
        let text = "objects keep being written to it; it stays Terminating, delete it again";
        Err(Status::conflict(about(descriptor), name, text))
    }

    /// 409 when something in it has finalizers.
    pub(super) fn check_no_finalizers(
        &self,
        container: &Descriptor,
        namespace: &str,
    ) -> Result<(), Status> {
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
