//! The committed state as everyone reads it: immutable objects behind `Arc`, by resource, namespace
//! and name.
use crate::encryption::Seal;
use crate::registry::Descriptor;
use bytes::Bytes;
use everleaf_api::meta;
use everleaf_api::schema::{DecodeError, EncodedJson, Type};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// A stored object at one revision.
#[derive(Debug)]
pub struct Stored {
    /// Plural resource, unique among those served (`secrets`, `certificatesigningrequests`, …).
    pub resource: &'static str,
    /// Namespace or "".
    pub namespace: Box<str>,
    /// Unique in its namespace.
    pub name: Box<str>,
    /// Revision of its last change.
    pub revision: u64,
    /// Revision of its creation.
    pub created: u64,
    /// The account it counts under, see [`Descriptor::tally`].
    pub account: Option<Box<str>>,
    /// `k8s\0` envelope as stored, without resourceVersion.
    pub bytes: Bytes,
    /// By which key the store has it encrypted.
    pub seal: Seal,
    r#type: &'static Type,
    /// None for a [compact](Descriptor::compact) resource, of which there may be a million: so it
    /// takes no room in what these are.
    tree: Option<Box<Value>>,
}

impl Stored {
    /// `object` is what `bytes` decode to; its resourceVersion is set here.
    pub fn new(
        descriptor: &'static Descriptor,
        (namespace, name): (String, String),
        (revision, created): (u64, u64),
        mut object: Value,
        bytes: Bytes,
    ) -> Self {
        let account = descriptor.tally.and_then(|tally| (tally.account)(&object));
        let tree = (!descriptor.compact).then(|| {
            meta::set(&mut object, "resourceVersion", &revision.to_string());
            Box::new(object)
        });
        Self {
            resource: descriptor.resource,
            namespace: namespace.into_boxed_str(),
            name: name.into_boxed_str(),
            revision,
            created,
            account: account.map(String::into_boxed_str),
            bytes,
            seal: Seal::PLAIN,
            r#type: descriptor.r#type,
            tree,
        }
    }

    /// The same, as it is encrypted in the store.
    pub(crate) fn sealed(self, seal: Seal) -> Self {
        Self { seal, ..self }
    }

    /// An object as the store has it: a [compact](Descriptor::compact) one costs no tree, but is
    /// known to be one.
    ///
    /// # Errors
    /// It is no object of this resource.
    pub(crate) fn recovered(
        descriptor: &'static Descriptor,
        place: (String, String),
        revisions: (u64, u64),
        bytes: &Bytes,
    ) -> Result<Self, DecodeError> {
        // What can be told as JSON can be decoded; and the type of the tree of some members is that
        // of the whole.
        let is_sound = || descriptor.r#type.transcode(bytes, "").is_some();
        if descriptor.compact && is_sound() {
            let members = descriptor.tally.map_or(&[][..], |tally| tally.members);
            let object = match members {
                [] => Value::Null,
                some => descriptor.r#type.decode_protobuf_members(bytes, some)?,
            };
            let kept = Bytes::copy_from_slice(bytes);
            return Ok(Self::new(descriptor, place, revisions, object, kept));
        }
        let (object, bytes) = descriptor.decode_stored(bytes)?;
        Ok(Self::new(descriptor, place, revisions, object, bytes))
    }

    /// The same object at another revision: what a delete shows.
    pub(crate) fn at_revision(&self, revision: u64) -> Self {
        let mut tree = self.tree.clone();
        if let Some(tree) = &mut tree {
            meta::set(tree, "resourceVersion", &revision.to_string());
        }
        Self {
            resource: self.resource,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            revision,
            created: self.created,
            account: self.account.clone(),
            bytes: self.bytes.clone(),
            seal: self.seal,
            r#type: self.r#type,
            tree,
        }
    }

    /// JSON-shaped object with its resourceVersion. Of a [compact](Descriptor::compact) resource it
    /// is decoded at each call: keep what you got.
    ///
    /// # Panics
    /// Never: what is stored was decoded once before it became visible.
    pub fn object(&self) -> Cow<'_, Value> {
        if let Some(tree) = &self.tree {
            return Cow::Borrowed(tree);
        }
        let mut object = self.decoded(&[]);
        meta::set(&mut object, "resourceVersion", &self.revision.to_string());
        Cow::Owned(object)
    }

    /// The object for whoever looks at these members (as `spec.signerName`, not the
    /// resourceVersion) alone.
    pub(crate) fn members(&self, only: &[&str]) -> Cow<'_, Value> {
        match &self.tree {
            Some(tree) => Cow::Borrowed(tree),
            None => Cow::Owned(self.decoded(only)),
        }
    }

    /// Its JSON text as an object of this type, which may be another version of its own.
    pub(crate) fn json(&self, r#type: &'static Type) -> EncodedJson {
        let direct = std::ptr::eq(r#type, self.r#type)
            .then(|| r#type.transcode(&self.bytes, &self.revision.to_string()));
        direct
            .flatten()
            .unwrap_or_else(|| r#type.encode(&self.object()))
    }

    /// The same as a protobuf document.
    pub(crate) fn protobuf(&self, r#type: &'static Type) -> Vec<u8> {
        let direct = std::ptr::eq(r#type, self.r#type)
            .then(|| r#type.stamp(&self.bytes, &self.revision.to_string()));
        direct
            .flatten()
            .unwrap_or_else(|| r#type.encode_protobuf(&self.object()))
    }

    /// Adds the same to a protobuf list.
    pub(crate) fn add_to_list(&self, out: &mut Vec<u8>, r#type: &'static Type) {
        let direct = std::ptr::eq(r#type, self.r#type)
            .then(|| r#type.stamp_item(out, &self.bytes, &self.revision.to_string()));
        if direct.flatten().is_none() {
            r#type.encode_item_protobuf(out, &self.object());
        }
    }

    fn decoded(&self, only: &[&str]) -> Value {
        self.r#type
            .decode_protobuf_members(&self.bytes, only)
            .expect("invariant: stored bytes were decoded before they were stored")
    }
}

/// Read access to committed state; what authentication, authorization and admission see.
pub trait Objects: Send + Sync {
    /// One object.
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Stored>>;
    /// All of a resource (of one namespace, when given), by namespace then name.
    fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Stored>>;
    /// Revision of the last change to any object of this resource; 0 when never. Lets readers cache
    /// what they compile.
    fn last_change(&self, resource: &str) -> u64;
    /// Why an object that is in the store cannot be read; None: it can be, or there is none.
    fn unreadable(&self, _resource: &str, _namespace: &str, _name: &str) -> Option<Arc<str>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{by_resource, csr::CERTIFICATE_SIGNING_REQUESTS};
    use serde_json::json;

    fn check(descriptor: &'static Descriptor, object: Value) -> Stored {
        let bytes: Bytes = descriptor.r#type.encode_protobuf(&object).into();
        let decoded = descriptor.r#type.decode_protobuf(&bytes).unwrap();
        let place = (String::new(), "a".to_owned());
        let stored = Stored::new(descriptor, place, (7, 3), decoded.clone(), bytes);
        let mut expected = decoded;
        expected["metadata"]["resourceVersion"] = "7".into();
        assert_eq!(*stored.object(), expected);
        let text = descriptor.r#type.encode(&expected);
        assert_eq!(stored.json(descriptor.r#type), text);
        let document = descriptor.r#type.encode_protobuf(&expected);
        assert_eq!(stored.protobuf(descriptor.r#type), document);
        let (mut direct, mut item) = (Vec::new(), Vec::new());
        stored.add_to_list(&mut direct, descriptor.r#type);
        descriptor.r#type.encode_item_protobuf(&mut item, &expected);
        assert_eq!(direct, item);
        expected["metadata"]["resourceVersion"] = "9".into();
        let gone = stored.at_revision(9);
        assert_eq!(*gone.object(), expected);
        assert_eq!((gone.revision, gone.created), (9, 3));
        stored
    }

    #[test]
    fn what_is_recovered_is_what_was_stored() {
        let csrs = &CERTIFICATE_SIGNING_REQUESTS;
        let spec = json!({"username": "u", "signerName": "k.io/x", "request": "AAAA", "usages": ["client auth"]});
        let denied = json!({"conditions": [{"type": "Denied", "status": "True"}]});
        for (status, account) in [
            (json!({}), Some("u (other signers)")),
            (denied, Some("u (other signers) (spent)")),
            (json!({"certificate": "AAAA"}), None),
        ] {
            let object = json!({"metadata": {"name": "a"}, "spec": spec, "status": status});
            let bytes: Bytes = csrs.r#type.encode_protobuf(&object).into();
            let place = || (String::new(), "a".to_owned());
            let recovered = Stored::recovered(csrs, place(), (7, 3), &bytes).unwrap();
            assert_eq!(recovered.account.as_deref(), account);
            let (whole, _) = csrs.decode_stored(&bytes).unwrap();
            let stored = Stored::new(csrs, place(), (7, 3), whole, bytes.clone());
            assert_eq!(recovered.object(), stored.object());
            assert_eq!(recovered.account, stored.account);
            // Whatever is cut off or changed: what is taken can be read.
            for end in 0..bytes.len() {
                let mut damaged = bytes[..end].to_vec();
                let cut = Stored::recovered(csrs, place(), (7, 3), &damaged.clone().into());
                assert_eq!(
                    cut.is_err(),
                    csrs.decode_stored(&damaged.clone().into()).is_err()
                );
                damaged.extend_from_slice(&bytes[end..]);
                damaged[end] ^= 0x55;
                let damaged = Bytes::from(damaged);
                if let Ok(taken) = Stored::recovered(csrs, place(), (7, 3), &damaged) {
                    drop(taken.object());
                }
            }
        }
    }

    #[test]
    fn an_object_reads_the_same_whether_its_tree_is_kept_or_not() {
        let csr = json!({"metadata": {"name": "a"}, "spec": {"username": "u", "signerName": "k.io/x",
            "request": "AAAA", "usages": ["client auth"]}});
        let stored = check(&CERTIFICATE_SIGNING_REQUESTS, csr);
        assert!(stored.tree.is_none(), "the encoding alone");
        let some = stored.members(&["spec.signerName", "metadata.name"]);
        let members = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": "a"}, "spec": {"signerName": "k.io/x"}});
        for member in ["metadata", "spec"] {
            let found = some[member].as_object().unwrap();
            let told: serde_json::Map<String, Value> = found
                .iter()
                .filter(|(_, value)| !crate::read::is_empty(Some(value)))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            assert_eq!(Value::Object(told), members[member]);
        }
        assert_eq!(stored.account.as_deref(), Some("u (other signers)"));
        let node = json!({"metadata": {"name": "a"}});
        let stored = check(by_resource("nodes").unwrap(), node);
        assert!(stored.tree.is_some() && stored.account.is_none());
    }
}
