//! The commands of Kubernetes' documentation on certificates, as a person types them from the page:
//! in a shell, with the files fed to `kubectl apply -f -`. Of the tools that the pages call besides
//! kubectl, openssl stands for cfssl, and this program for jq.

use anyhow::{Context as _, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, Up, arg, eventually, run};
use everleaf_stage::{ensure_that, same};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_certificate_for_a_user_as_the_documentation_says",
        long: false,
        run: |sandbox| read(sandbox, Release::Present, user),
    },
    Test {
        name: "a_certificate_for_a_user_as_the_documentation_says_by_kubectl_1_20",
        long: false,
        run: |sandbox| read(sandbox, Release::Old, user),
    },
    Test {
        name: "a_certificate_for_a_service_as_the_documentation_says",
        long: false,
        run: |sandbox| read(sandbox, Release::Present, service),
    },
    Test {
        name: "a_certificate_for_a_service_as_the_documentation_says_by_kubectl_1_20",
        long: false,
        run: |sandbox| read(sandbox, Release::Old, service),
    },
    Test {
        name: "kubelets_bootstrap_as_the_documentation_says",
        long: false,
        run: |sandbox| read(sandbox, Release::Present, bootstrap),
    },
    Test {
        name: "kubelets_bootstrap_as_the_documentation_says_by_kubectl_1_20",
        long: false,
        run: |sandbox| read(sandbox, Release::Old, bootstrap),
    },
];

/// Of kubectl.
enum Release {
    Present,
    Old,
}

/// A person's shell: kubectl is in the path, and the kubeconfig is theirs.
struct Shell<'a> {
    sandbox: &'a Sandbox,
    path: String,
    kubeconfig: String,
}

/// A page, on a server of its own.
fn read(
    sandbox: &Sandbox,
    release: Release,
    page: fn(&Shell<'_>) -> Result<()>,
) -> Result<Verdict> {
    let _up = Up::start(sandbox, &["--no-node"])?;
    let kubectl = match release {
        Release::Present => &sandbox.tools.kubectl,
        Release::Old => &sandbox.tools.kubectl_old,
    };
    page(&Shell::new(sandbox, kubectl)?)?;
    Ok(Verdict::Passed)
}

impl<'a> Shell<'a> {
    fn new(sandbox: &'a Sandbox, kubectl: &Path) -> Result<Self> {
        // `config` asks no server, and Debian's build of 1.20 does not survive it.
        let named = sandbox.write(
            "bin/kubectl",
            &format!(
                "#!/bin/sh\n[ \"$1\" = config ] && exec {} \"$@\"\nexec {} \"$@\"\n",
                arg(&sandbox.tools.kubectl),
                arg(kubectl)
            ),
        )?;
        fs::set_permissions(&named, fs::Permissions::from_mode(0o755))?;
        let openssl = named.with_file_name("openssl");
        std::os::unix::fs::symlink(&sandbox.tools.openssl, openssl)?;
        let kubeconfig = sandbox.path("config");
        fs::copy(sandbox.path("data/admin.conf"), &kubeconfig)?;
        let bin = named.parent().context("a file is in a directory")?;
        let shell = Self {
            sandbox,
            path: format!("{}:{}", arg(bin), std::env::var("PATH")?),
            kubeconfig: arg(&kubeconfig).to_owned(),
        };
        // The pages call the cluster as kubeadm does.
        shell.say("sed -i s/everleaf$/kubernetes/ $KUBECONFIG")?;
        Ok(shell)
    }

    /// What the lines print; each must end well.
    fn say(&self, lines: &str) -> Result<String> {
        let mut shell = self.sandbox.command(Path::new("/bin/bash"));
        shell.args(["-e", "-o", "pipefail", "-c", lines]);
        shell
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig);
        run(&mut shell)?.ok()
    }
}

/// "Issue a Certificate for a Kubernetes API Client Using A CertificateSigningRequest".
fn user(shell: &Shell<'_>) -> Result<()> {
    shell.say(
        r#"openssl genrsa -out myuser.key 3072
openssl req -new -key myuser.key -out myuser.csr -subj "/CN=myuser""#,
    )?;
    let said = shell.say(
        r#"REQUEST=$(cat myuser.csr | base64 | tr -d "\n")
cat <<EOF | kubectl apply -f -
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata:
  name: myuser # example
spec:
  # This is an encoded CSR. Change this to the base64-encoded contents of myuser.csr
  request: $REQUEST
  signerName: kubernetes.io/kube-apiserver-client
  expirationSeconds: 86400  # one day
  usages:
  - client auth
EOF"#,
    )?;
    same(
        "apply",
        said.trim(),
        "certificatesigningrequest.certificates.k8s.io/myuser created",
    )?;
    let row = shell.say("kubectl get csr")?;
    ensure_that!(row.contains("Pending"), "{row}");
    shell.say("kubectl certificate approve myuser")?;
    issued(shell, "myuser")?;
    shell.say(
        r#"kubectl get csr/myuser -o yaml
kubectl get csr myuser -o jsonpath='{.status.certificate}'| base64 -d > myuser.crt
kubectl config set-credentials myuser --client-key=myuser.key --client-certificate=myuser.crt --embed-certs=true
kubectl config set-context myuser --cluster=kubernetes --user=myuser
kubectl create role developer --verb=create --verb=get --verb=list --verb=update --verb=delete --resource=secrets
kubectl create rolebinding developer-binding-myuser --role=developer --user=myuser
kubectl config use-context myuser"#,
    )?;
    let may =
        shell.say("kubectl auth can-i create secrets; kubectl auth can-i watch secrets || true")?;
    same(
        "the user's rights",
        may.split_whitespace().collect::<Vec<_>>(),
        vec!["yes", "no"],
    )?;
    shell.say("kubectl get secrets")?;
    shell.say("kubectl config use-context kubernetes-admin@kubernetes")?;
    Ok(())
}

/// "Manage TLS Certificates in a Cluster".
fn service(shell: &Shell<'_>) -> Result<()> {
    let name = "my-svc.my-namespace";
    let said = shell.say(
        r#"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server-key.pem -out server.csr \
  -subj "/CN=my-pod.my-namespace.pod.cluster.local" \
  -addext "subjectAltName=DNS:my-svc.my-namespace.svc.cluster.local,DNS:my-pod.my-namespace.pod.cluster.local,IP:192.0.2.24,IP:10.0.34.2"
cat <<EOF | kubectl apply -f -
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata:
  name: my-svc.my-namespace
spec:
  request: $(cat server.csr | base64 | tr -d '\n')
  signerName: example.com/serving
  usages:
  - digital signature
  - key encipherment
  - server auth
EOF"#,
    )?;
    ensure_that!(said.trim().ends_with(&format!("/{name} created")), "{said}");
    let told = shell.say(&format!("kubectl describe csr {name}"))?;
    for line in [
        "my-svc.my-namespace.svc.cluster.local",
        "192.0.2.24",
        "Pending",
    ] {
        ensure_that!(told.contains(line), "{told}");
    }
    let said = shell.say(&format!("kubectl certificate approve {name}"))?;
    ensure_that!(said.contains(&format!("{name} approved")), "{said}");
    // The signer of the page is the reader, with a CA of theirs.
    shell.say(
        r#"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca-key.pem -out ca.pem -subj "/CN=My Example Signer" -days 10
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 5 -out ca-signed-server.pem"#,
    )?;
    let mut request: serde_json::Value =
        serde_json::from_str(&shell.say(&format!("kubectl get csr {name} -o json"))?)?;
    let signed = fs::read(shell.sandbox.path("ca-signed-server.pem"))?;
    request["status"]["certificate"] = STANDARD.encode(&signed).into();
    shell
        .sandbox
        .write("with-certificate.json", &request.to_string())?;
    shell.say(&format!(
        "cat with-certificate.json | kubectl replace --raw \
         /apis/certificates.k8s.io/v1/certificatesigningrequests/{name}/status -f -"
    ))?;
    let row = shell.say("kubectl get csr")?;
    ensure_that!(row.contains("Approved,Issued"), "{row}");
    shell.say(&format!(
        "kubectl get csr {name} -o jsonpath='{{.status.certificate}}' | base64 --decode > server.crt
kubectl create secret tls server --cert server.crt --key server-key.pem
kubectl create configmap example-serving-ca --from-file ca.crt=ca.pem"
    ))?;
    same(
        "server.crt",
        fs::read(shell.sandbox.path("server.crt"))?,
        signed,
    )
}

/// "TLS bootstrapping": the rights that the page grants, the token, and the kubeconfig; then what
/// its kubelet does.
fn bootstrap(shell: &Shell<'_>) -> Result<()> {
    grant(shell)?;
    shell.say(TOKEN)?;
    shell.say(REQUEST)?;
    issued(shell, "csr-worker-1")
}

fn grant(shell: &Shell<'_>) -> Result<()> {
    let bindings = [
        (
            "create-csrs-for-bootstrapping",
            "system:bootstrappers",
            "system:node-bootstrapper",
        ),
        (
            "auto-approve-csrs-for-group",
            "system:bootstrappers",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        ),
        (
            "auto-approve-renewals-for-nodes",
            "system:nodes",
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        ),
    ];
    for (name, group, role) in bindings {
        let said = shell.say(&format!(
            "cat <<EOF | kubectl apply -f -
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {name}
subjects:
- kind: Group
  name: {group}
  apiGroup: rbac.authorization.k8s.io
roleRef:
  kind: ClusterRole
  name: {role}
  apiGroup: rbac.authorization.k8s.io
EOF"
        ))?;
        ensure_that!(said.contains(&format!("/{name} created")), "{said}");
    }
    Ok(())
}

const TOKEN: &str = r#"cat <<EOF | kubectl apply -f -
apiVersion: v1
kind: Secret
metadata:
  # Name MUST be of form "bootstrap-token-<token id>"
  name: bootstrap-token-07401b
  namespace: kube-system

# Type MUST be 'bootstrap.kubernetes.io/token'
type: bootstrap.kubernetes.io/token
stringData:
  # Human readable description. Optional.
  description: "A bootstrap token of the page."

  # Token ID and secret. Required.
  token-id: 07401b
  token-secret: f395accd246ae52d

  # Allowed usages.
  usage-bootstrap-authentication: "true"
  usage-bootstrap-signing: "true"
EOF
SERVER=$(kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}')
kubectl config view --raw --minify -o jsonpath='{.clusters[0].cluster.certificate-authority-data}' | base64 -d > ca-of-cluster.pem
kubectl config --kubeconfig=bootstrap-kubeconfig set-cluster bootstrap --server="$SERVER" --certificate-authority=ca-of-cluster.pem
kubectl config --kubeconfig=bootstrap-kubeconfig set-credentials kubelet-bootstrap --token=07401b.f395accd246ae52d
kubectl config --kubeconfig=bootstrap-kubeconfig set-context bootstrap --user=kubelet-bootstrap --cluster=bootstrap
kubectl config --kubeconfig=bootstrap-kubeconfig use-context bootstrap"#;

const REQUEST: &str = r#"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout node-key.pem -out node.csr -subj "/O=system:nodes/CN=system:node:worker-1"
cat <<EOF | kubectl --kubeconfig=bootstrap-kubeconfig create -f -
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata:
  name: csr-worker-1
spec:
  request: $(cat node.csr | base64 | tr -d '\n')
  signerName: kubernetes.io/kube-apiserver-client-kubelet
  usages: [digital signature, client auth]
EOF"#;

fn issued(shell: &Shell<'_>, name: &str) -> Result<()> {
    eventually("issued", 10, || {
        let row = shell.say(&format!("kubectl get csr {name} --no-headers"))?;
        ensure_that!(row.contains("Approved,Issued"), "{row}");
        Ok(())
    })
}
