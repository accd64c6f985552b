//! What this crate's tests share: a committed state in memory, identities, and a small certificate
//! authority.

use crate::{
    objects::{Objects, Stored},
    registry::gates::Gates,
    user::User,
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// Committed state as a map.
#[derive(Default)]
pub(crate) struct Shelf {
    objects: Mutex<BTreeMap<(String, String, String), Arc<Stored>>>,
    changes: Mutex<BTreeMap<String, u64>>,
    revision: AtomicU64,
    /// How often something was read; proves caches.
    pub(crate) reads: AtomicU64,
}

impl Shelf {
    /// A state holding what every server installs.
    pub(crate) fn installed() -> Self {
        let shelf = Self::default();
        let published = crate::authn::Published {
            client_ca_pem: "ca".to_owned(),
            ..Default::default()
        };
        for installation in crate::bootstrap::missing(&shelf, &published, &Gates::default()) {
            shelf.put(installation.resource, installation.object);
        }
        shelf
    }

    /// Creates or replaces.
    pub(crate) fn put(&self, resource: &'static str, object: Value) {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        let namespace = crate::read::text(&object, "/metadata/namespace").to_owned();
        let name = crate::read::text(&object, "/metadata/name").to_owned();
        let descriptor = crate::registry::by_resource(resource).expect("a resource");
        let place = (namespace.clone(), name.clone());
        let stored = Stored::new(
            descriptor,
            place,
            (revision, revision),
            object,
            Bytes::new(),
        );
        let key = (resource.to_owned(), namespace, name);
        self.objects
            .lock()
            .expect("not poisoned")
            .insert(key, Arc::new(stored));
        self.changes
            .lock()
            .expect("not poisoned")
            .insert(resource.to_owned(), revision);
    }

    /// Removes.
    pub(crate) fn remove(&self, resource: &str, namespace: &str, name: &str) {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.lock().expect("not poisoned").remove(&key);
        self.changes
            .lock()
            .expect("not poisoned")
            .insert(resource.to_owned(), revision);
    }
}

impl Objects for Shelf {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Stored>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects
            .lock()
            .expect("not poisoned")
            .get(&key)
            .cloned()
    }
    fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Stored>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.objects
            .lock()
            .expect("not poisoned")
            .values()
            .filter(|stored| stored.resource == resource)
            .filter(|stored| namespace.is_none_or(|wanted| *stored.namespace == *wanted))
            .cloned()
            .collect()
    }
    fn last_change(&self, resource: &str) -> u64 {
        self.changes
            .lock()
            .expect("not poisoned")
            .get(resource)
            .copied()
            .unwrap_or(0)
    }
}

/// An authenticated user with these groups (and `system:authenticated`).
pub(crate) fn user(name: &str, groups: &[&str]) -> User {
    let mut groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
    groups.push("system:authenticated".to_owned());
    User {
        name: name.to_owned(),
        groups,
        ..User::default()
    }
}

/// The identity of node `name`.
pub(crate) fn node(name: &str) -> User {
    user(&format!("system:node:{name}"), &["system:nodes"])
}

/// A cluster-admin.
pub(crate) fn admin() -> User {
    user("kubernetes-admin", &["system:masters"])
}

/// A ClusterRole with these rules.
pub(crate) fn cluster_role(name: &str, rules: Value) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

/// A ClusterRoleBinding of a ClusterRole to these subjects.
pub(crate) fn cluster_role_binding(name: &str, role: &str, subjects: Value) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": subjects})
}

/// PEM of a request with this common name and these organizations, signed with a fixed key.
pub(crate) fn request_pem(common_name: &str, organizations: &[&str]) -> String {
    let key = everleaf_pki::PrivateKey::from_ed25519_seed(&[7; 32]).expect("a seed makes a key");
    let template = everleaf_pki::Template {
        subject: everleaf_pki::Subject {
            common_name: common_name.to_owned(),
            organizations: organizations.iter().map(|&o| o.to_owned()).collect(),
        },
        ..everleaf_pki::Template::default()
    };
    template.to_request_pem(&key).expect("a request")
}

/// PEM of a self-signed certificate.
pub(crate) fn certificate_pem() -> String {
    let key = everleaf_pki::PrivateKey::from_ed25519_seed(&[8; 32]).expect("a seed makes a key");
    let time = |seconds| jiff::Timestamp::from_second(seconds).expect("a time");
    everleaf_pki::Issuer::self_signed("test", key, [1; 16], time(0), time(2_000_000_000))
        .expect("a certificate")
        .certificate_pem()
}

/// A CSR object as a client sends it.
pub(crate) fn csr(signer: &str, request_pem: &str) -> Value {
    let usages = ["digital signature", "client auth"];
    everleaf_api::csr::build("csr1", "", request_pem, signer, &usages, None)
}

/// An authority, and a certificate of version 1 that it signed for `jane` of `dev`, good from
/// 2026-11-24 to 2109: what `openssl x509 -req` makes without an extension file. No library here
/// makes one.
pub(crate) const VERSION_1_CA_PEM: &str = "\
-----BEGIN CERTIFICATE-----
MIIBhjCCAS2gAwIBAgIUOzszOe6VcggORfYz2yzOZwtPO2gwCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNb2xkLWZhc2hpb25lZDAgFw0yNjExMjQwODIyNDNaGA8yMTI2
MTAzMTA4MjI0M1owGDEWMBQGA1UEAwwNb2xkLWZhc2hpb25lZDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABI5thB7mm4xzjVqKbFC0T7vV01SYyslSBWjDPa0JnrdD
I4ExN8UjoJnRRP9DdEVmb6pCS1yB0iQoaQLfUpGwVkCjUzBRMB0GA1UdDgQWBBSg
gPUx+WQvyST8LGm2QkCxAxtWVDAfBgNVHSMEGDAWgBSggPUx+WQvyST8LGm2QkCx
AxtWVDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIEfzr0ICvMGP
1AHK3qLRYj/JxXBmMWYLL9bHsi9cCyBiAiA10U5pIlveqyWyFPfknRMEpqa8h+By
4gMf38khOyNARQ==
-----END CERTIFICATE-----
";
/// See [`VERSION_1_CA_PEM`].
pub(crate) const VERSION_1_PEM: &str = "\
-----BEGIN CERTIFICATE-----
MIIBHzCBxQIBAjAKBggqhkjOPQQDAjAYMRYwFAYDVQQDDA1vbGQtZmFzaGlvbmVk
MCAXDTI2MTEyNDA4MjI0NFoYDzIxMDkwMTEzMDgyMjQ0WjAdMQwwCgYDVQQKDANk
ZXYxDTALBgNVBAMMBGphbmUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQelv+q
2d+MNwuffoj/gDesAk0sfHfChp8s8b/hdGdMQesfk3AizXuNP116/04RdOr1Rcok
P/jMkTbm8cT+NIS4MAoGCCqGSM49BAMCA0kAMEYCIQC+ySD0ib1YeMYTnxOJ1DdT
DZAxa3fa/2RWB5vD3Unm1wIhAM5qe8JQorp/Wt2Nsaq/KDWJqtOz+3VhubEdT3Ot
wzbT
-----END CERTIFICATE-----
";
/// The key of [`VERSION_1_PEM`]; of tests only.
pub(crate) const VERSION_1_KEY_PEM: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpbjUja/3/e0akH9y
af4rIKNTifArgHlUquDcQCuJxOihRANCAAQelv+q2d+MNwuffoj/gDesAk0sfHfC
hp8s8b/hdGdMQesfk3AizXuNP116/04RdOr1RcokP/jMkTbm8cT+NIS4
-----END PRIVATE KEY-----
";
