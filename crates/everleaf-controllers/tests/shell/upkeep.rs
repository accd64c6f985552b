//! The controllers of bootstrap tokens and the root CA, by the real shell.

use super::*;
use everleaf_api::meta;
use everleaf_controllers::BuiltinSigner;
use everleaf_controllers::upkeep::{Kept, RootCaSource};

/// A server that has these, by the text in the call that lists them; each list answers the watch,
/// too, which then ends at once.
fn serve(server: &Server, lists: Vec<(&'static str, Vec<Value>)>) {
    for (text, items) in lists {
        server.fault(text, usize::MAX, move || Answer {
            code: 200,
            headers: Vec::new(),
            body: json!({"metadata": {"resourceVersion": "1"}, "items": items}),
        });
    }
    server.fault("GET /api/v1", usize::MAX, || {
        let names = ["secrets", "configmaps", "namespaces"].map(|name| json!({"name": name}));
        Answer {
            code: 200,
            headers: Vec::new(),
            body: json!({"resources": names}),
        }
    });
}

/// Runs these loops only, and nothing that needs the rights of others.
fn start(server: &Server, loops: &[Loop], change: impl FnOnce(&mut Config)) -> World {
    World::start_with(server, |config| {
        config.loops = BTreeSet::from_iter(loops.iter().copied());
        change(config);
    })
}

/// On time, once, as long as nothing else is asked for; and nothing needs signing requests.
#[tokio::test(start_paused = true)]
async fn a_token_is_deleted_when_its_time_has_come() {
    let server = Server::default();
    let end = meta::format_time(start_of_time() + SignedDuration::from_secs(100));
    let end = support::base64(&end);
    let secret = json!({
        "metadata": {"name": "bootstrap-token-abc123", "namespace": "kube-system", "uid": "u", "resourceVersion": "1"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {"expiration": end},
    });
    let list = "secrets?limit=500&fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken";
    serve(&server, vec![(list, vec![secret])]);
    // Its time is asked for before the token is deleted.
    for path in ["/version", "secrets/bootstrap-token-abc123"] {
        server.fault(path, usize::MAX, || Answer {
            code: 200,
            headers: vec![],
            body: json!({}),
        });
    }
    let world = start(&server, &[Loop::TokenCleaner], |_| {});
    world.pass(99).await;
    let delete = "DELETE /api/v1/namespaces/kube-system/secrets/bootstrap-token-abc123";
    assert_eq!(server.count(delete), 0);
    world.pass(2).await;
    assert_eq!(server.count(delete), 1);
    assert_eq!(server.count(support::CSRS), 0);
    let notices = world.notices.lock().unwrap().clone();
    let is_start = |one: &Notice| {
        let title = "token cleaner";
        *one == Notice::Kept(Kept::Starting { title })
    };
    assert!(notices.iter().any(is_start), "{notices:?}");
    assert!(world.metric("workqueue_adds_total{name=\"token_cleaner\"} 1"));
    world.stop().await;
}

/// A namespace gets the CA of the file; a changed file is published within a minute, by what the
/// server said was stored.
#[tokio::test(start_paused = true)]
async fn a_changed_root_ca_is_published() {
    let server = Server::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.crt");
    let certificate = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        made.pem()
    };
    let map = |text: &str| {
        json!({
            "metadata": {
                "name": "kube-root-ca.crt", "namespace": "n1", "resourceVersion": "1",
                "annotations": {"kubernetes.io/description": "text"},
            },
            "data": {"ca.crt": text},
        })
    };
    let one = certificate();
    std::fs::write(&path, &one).unwrap();
    let namespace = json!({"metadata": {"name": "n1"}, "status": {"phase": "Active"}});
    let selected = "configmaps?limit=500&fieldSelector=metadata.name%3Dkube-root-ca.crt";
    let lists = vec![
        ("namespaces?limit", vec![namespace]),
        (selected, vec![map(&one)]),
    ];
    serve(&server, lists);
    server.fault("namespaces/n1/configmaps", usize::MAX, || Answer {
        code: 200,
        headers: vec![],
        body: json!({}),
    });
    let world = start(&server, &[Loop::RootCaPublisher], |config| {
        config.root_ca = Some(RootCaSource::File(path.clone()));
    });
    world.pass(30).await;
    let update = "PUT /api/v1/namespaces/n1/configmaps/kube-root-ca.crt";
    assert_eq!(server.count(update), 0);
    std::fs::write(&path, certificate()).unwrap();
    world.pass(61).await;
    assert_eq!(server.count(update), 1);
    let notices = world.notices.lock().unwrap().clone();
    let is_loaded = |one: &Notice| matches!(one, Notice::Kept(Kept::RootCaLoaded { .. }));
    assert!(notices.iter().any(is_loaded), "{notices:?}");
    world.stop().await;
}

/// On a server that has them in the older version: the API server's CA, and that of a signer, each
/// in a bundle of its own.
#[tokio::test(start_paused = true)]
async fn trust_bundles_are_published_in_the_version_that_there_is() {
    let server = Server::default();
    let bundles = "/apis/certificates.k8s.io/v1beta1/clustertrustbundles";
    let list = "/v1beta1/clustertrustbundles?limit=500";
    serve(&server, vec![(list, Vec::new())]);
    for (path, plural) in [
        (
            "GET /apis/certificates.k8s.io/v1beta1",
            "clustertrustbundles",
        ),
        (
            "GET /apis/certificates.k8s.io/v1",
            "certificatesigningrequests",
        ),
    ] {
        server.fault(path, usize::MAX, move || Answer {
            code: 200,
            headers: vec![],
            body: json!({"resources": [{"name": plural}]}),
        });
    }
    server.fault("POST /apis/certificates.k8s.io", usize::MAX, || Answer {
        code: 403,
        headers: vec![],
        body: json!({"kind": "Status", "code": 403, "message": "not permitted"}),
    });
    let world = start(&server, &[Loop::TrustBundlePublisher], |config| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::default();
        let pem = params.self_signed(&key).unwrap().pem();
        config.root_ca = Some(RootCaSource::Memory(pem));
        config.published_signers = BTreeSet::from([BuiltinSigner::KubeletServing]);
    });
    world.pass(1).await;
    let tried = server.count(&format!("POST {bundles}"));
    assert!(tried >= 2, "{:?}", server.work());
    let notices = world.notices.lock().unwrap().clone();
    for signer in [
        "kubernetes.io/kube-apiserver-serving",
        "kubernetes.io/kubelet-serving",
    ] {
        let is_about = |one: &Notice| {
            matches!(one, Notice::Kept(Kept::TrustBundleFailed { signer: of, error })
                if of == signer && error.contains("attest"))
        };
        assert!(notices.iter().any(is_about), "{notices:?}");
    }
    world.stop().await;
}

/// Without a CA there is nothing to publish, and that shows at start.
#[tokio::test(start_paused = true)]
async fn a_publisher_needs_a_ca() {
    let server = Server::default();
    let world = start(&server, &[Loop::RootCaPublisher], |_| {});
    let error = world.running.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("needs --root-ca-file"), "{error}");
}
