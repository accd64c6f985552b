use super::*;
use crate::clock::SystemClock;
use crate::kubeconfig::Names;
use crate::testing::api::{Api, CLIENT_SIGNER};
use crate::testing::{self, Server, with_file, with_inline, with_token};
use everleaf_api::csr::{Csr, is_rehearsal};
use everleaf_pki::Subject;
use std::path::Path;

async fn played(kubeconfig: &Path) -> Rehearsal {
    let plan = Plan {
        kubeconfig: kubeconfig.to_owned(),
        key: KeyAlgorithm::EcdsaP256,
        patience: Duration::from_millis(300),
    };
    let mut told = Vec::new();
    let done = rehearse(&plan, Arc::new(SystemClock::new()), |step| {
        told.push(step.clone());
    });
    let done = done.await;
    assert_eq!(told, done.steps, "each step is told once");
    done
}

/// The kubeconfig of node `n1` there, which names a file.
fn node_of(api: &Api, server: &Server, root: &Path) -> PathBuf {
    let credential = api.ca.node("n1", 100);
    let pem = root.join("current.pem");
    std::fs::write(&pem, credential.to_pem().as_bytes()).unwrap();
    let path = root.join("kubelet.conf");
    with_file(server.cluster(&api.ca), &pem)
        .write(&path, &Names::BOOTSTRAP)
        .unwrap();
    path
}

fn words(done: &Rehearsal, kind: StepKind) -> Result<String, String> {
    let step = done.steps.iter().find(|step| step.kind == kind);
    step.unwrap_or_else(|| panic!("no {} in {done:?}", kind.as_str()))
        .result
        .clone()
}

#[tokio::test]
async fn a_renewal_is_gone_through_and_nothing_is_written() {
    let temporary = tempfile::tempdir().unwrap();
    let (api, server) = Api::start().await;
    let path = node_of(&api, &server, temporary.path());
    let files = || {
        let names = std::fs::read_dir(temporary.path()).unwrap();
        let files = names.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = files();
    let done = played(&path).await;
    assert!(done.is_good(), "{done:?}");
    assert_eq!(done.node.as_deref(), Some("n1"));
    let kinds: Vec<_> = done.steps.iter().map(|step| step.kind.as_str()).collect();
    let wanted = "credential request submit certificate judge connect rights remove";
    assert_eq!(kinds.join(" "), wanted);
    assert_eq!(files(), before);
    let requests = api.requests();
    let csr = Csr(&requests[0]);
    assert!(requests.len() == 1 && is_rehearsal(csr.name()), "{csr:?}");
    assert_eq!(done.request.as_deref(), Some(csr.name()));
    assert_eq!(requests[0]["spec"]["expirationSeconds"], LIFE_SECONDS);
}

#[tokio::test]
async fn what_keeps_it_from_renewing_is_told() {
    let temporary = tempfile::tempdir().unwrap();
    let (api, server) = Api::start().await;
    let path = node_of(&api, &server, temporary.path());
    api.state.lock().unwrap().approves.remove(CLIENT_SIGNER);
    let done = played(&path).await;
    assert!(!done.is_good());
    let told = words(&done, StepKind::Certificate).unwrap_err();
    let name = api.requests()[0]["metadata"]["name"]
        .as_str()
        .map(str::to_owned);
    assert!(told.contains("nobody approved it"), "{told}");
    assert!(
        told.contains(&format!("why csr/{}", name.unwrap())),
        "{told}"
    );
    assert!(done.steps.iter().all(|step| step.kind != StepKind::Connect));
    words(&done, StepKind::Remove).unwrap_err();
}

#[tokio::test]
async fn only_a_nodes_own_certificate_is_tried() {
    let temporary = tempfile::tempdir().unwrap();
    let (api, server) = Api::start().await;
    let path = temporary.path().join("k");
    let admin = api.ca.credential(
        &everleaf_pki::Template {
            subject: Subject {
                common_name: "admin".to_owned(),
                organizations: Vec::new(),
            },
            ..Default::default()
        },
        Usage::ClientAuth,
        testing::now() - testing::hours(1),
        testing::now() + testing::hours(1),
    );
    let ended = api.ca.node("n1", -1);
    for (kubeconfig, wanted) in [
        (
            with_token(server.cluster(&api.ca), "token"),
            "holds no client certificate",
        ),
        (
            with_inline(server.cluster(&api.ca), &admin),
            "which is no node",
        ),
        (
            with_inline(server.cluster(&api.ca), &ended),
            "has to join again",
        ),
    ] {
        kubeconfig.write(&path, &Names::BOOTSTRAP).unwrap();
        let done = played(&path).await;
        let told = words(&done, StepKind::Credential).unwrap_err();
        assert!(told.contains(wanted) && done.steps.len() == 1, "{told}");
        assert!(!done.is_good() && api.requests().is_empty());
    }
}

#[tokio::test]
async fn a_certificate_that_no_agent_would_install_fails_it() {
    let credential = testing::Ca::new("ca").node("n1", 1);
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let order = Order {
        template: client_template("n1"),
        signer_name: SignerName::new(SignerName::KUBE_APISERVER_CLIENT_KUBELET),
        usages: vec![Usage::ClientAuth],
        expiration_seconds: None,
        key: KeyForm::Configured,
    };
    let name = RequestName::new("r");
    let public = key.public_key().clone();
    let pending = PendingRequest::new(order, name, String::new(), public, testing::now());
    let told = judged(&pending, credential.chain().clone(), key, testing::now()).err();
    let told = told.unwrap();
    assert!(told.contains("issued for another key"), "{told}");
    assert!(!is_rehearsal("node-csr-x"));
}
