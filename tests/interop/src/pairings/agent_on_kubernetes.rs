//! `everleaf agent` as the only Everleaf part: real kube-apiserver, real kube-controller-manager.

use super::Pairing;
use crate::stack::{Part, Stack};
use anyhow::{Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Certificate, Kubectl, Sandbox, ensure_that, eventually, same};

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.37",
    ours: "`everleaf agent`",
    test: Test {
        name: "everleaf_agent_on_real_kubernetes",
        long: true,
        run,
    },
};

/// kube-controller-manager backdates by five minutes: of these eight minutes it signs, the agent waits 36 s to 132 s.
const SIGNING_DURATION: &str = "--cluster-signing-duration=3m";
/// Before the certificate ends, so that no bootstrap can stand in for a rotation.
const ROTATION_SECONDS_MAX: u64 = 165;
const NODE: &str = "n1";

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let mut stack = Stack::start(
        sandbox,
        &[
            Part::Etcd,
            Part::KubeApiserver(&[]),
            Part::KubeControllerManager(&[SIGNING_DURATION]),
            Part::EverleafAgent(NODE),
        ],
    )?;
    let admin = stack.admin()?;
    let first = sandbox.point(
        "the agent gets its first client certificate by bootstrap token",
        || {
            let first = stack.agent(NODE)?.certificate()?;
            let requests = requests_of(&admin, "system:bootstrap:intero")?;
            same(
                "conditions of its request",
                requests,
                vec!["Approved,Issued".to_owned()],
            )?;
            same(
                "subject",
                first.subject.as_str(),
                "O = system:nodes, CN = system:node:n1",
            )?;
            Ok(first)
        },
    )?;
    sandbox.point("its kubeconfig is the node's to kube-apiserver", || {
        whoami(&stack.agent(NODE)?.kubectl(), &first)
    })?;
    sandbox.point(
        "its serving request stays Pending until a person approves it, then it is issued",
        || serving(&mut stack, &admin),
    )?;
    let second = sandbox.point(
        "the client certificate is rotated while kube-controller-manager signs for 3 minutes",
        || stack.agent(NODE)?.renewed(&first, ROTATION_SECONDS_MAX),
    )?;
    sandbox.point("the connection uses the new certificate", || {
        let agent = stack.agent(NODE)?;
        whoami(&agent.kubectl(), &second)?;
        eventually("a request by the node itself", 5, || {
            ensure_that!(
                requests_of(&admin, "system:node:n1")?.len() >= 2,
                "no client request of the node itself"
            );
            Ok(())
        })
    })?;
    sandbox.point(
        "it rotates again after kube-apiserver was killed and started again",
        || {
            stack.kill("kube-apiserver")?;
            stack.add(&Part::KubeApiserver(&[]))?;
            stack
                .agent(NODE)?
                .renewed(&second, ROTATION_SECONDS_MAX)
                .map(|_| ())
        },
    )?;
    Ok(Verdict::Passed)
}

/// Conditions, as kubectl prints them, of the requests that a user made.
fn requests_of(admin: &Kubectl<'_>, user: &str) -> Result<Vec<String>> {
    let list = admin.quiet(&["get", "csr", "--no-headers"])?;
    let mut conditions = Vec::new();
    for line in list.lines() {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, requestor, _, condition] = cells[..] else {
            bail!("kubectl get csr: {line:?}");
        };
        if requestor == user {
            conditions.push(condition.to_owned());
        }
    }
    Ok(conditions)
}

fn whoami(kubectl: &Kubectl<'_>, certificate: &Certificate) -> Result<()> {
    let who = kubectl.json(&["auth", "whoami"])?;
    let user = &who["status"]["userInfo"];
    same(
        "user name",
        user["username"].as_str(),
        Some("system:node:n1"),
    )?;
    let credential = &user["extra"]["authentication.kubernetes.io/credential-id"][0];
    same(
        "credential",
        credential.as_str(),
        Some(format!("X509SHA256={}", certificate.sha256).as_str()),
    )
}

fn serving(stack: &mut Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let name = eventually("a serving request", 30, || {
        let list = admin.json(&["get", "csr"])?;
        let items = list["items"].as_array().into_iter().flatten();
        let mut serving =
            items.filter(|csr| csr["spec"]["signerName"] == "kubernetes.io/kubelet-serving");
        match serving.next() {
            Some(csr) => Ok(csr["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()),
            None => bail!("none in the list"),
        }
    })?;
    let file = stack.agent(NODE)?.path("pki/kubelet-server-current.pem");
    ensure_that!(
        !file.exists(),
        "a serving certificate before anybody approved"
    );
    admin.quiet(&["certificate", "approve", &name])?;
    let certificate = eventually("the serving certificate", 30, || {
        Certificate::read(stack.sandbox, &file)
    })?;
    ensure_that!(
        certificate.names.contains("IP Address:127.0.0.1"),
        "its names are {:?}",
        certificate.names
    );
    Ok(())
}
