//! A real kube-controller-manager with `everleaf apiserver` as its whole API server: the
//! controllers of certificates, and those that live beside them, find all they ask for, as one
//! service account each and as one user.
//!
//! Its cleaner looks once an hour and is left out here.

use super::Pairing;
use super::requests::{CLIENT, Filed, SERVING, client_usages, file, serving_usages};
use crate::stack::{Kubernetes, Part, Stack};
use anyhow::{Context, Result, bail};
use base64::Engine;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, Sandbox, arg, ensure_that, eventually, same};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-controller-manager 1.37",
    ours: "`everleaf apiserver`",
    test: Test {
        name: "real_kube_controller_manager_on_everleaf_apiserver",
        long: true,
        run: |sandbox| run(sandbox, Kubernetes::V1_37),
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "kube-controller-manager 1.21.5",
    ours: "`everleaf apiserver`",
    test: Test {
        name: "old_real_kube_controller_manager_on_everleaf_apiserver",
        long: true,
        run: |sandbox| run(sandbox, Kubernetes::V1_21),
    },
};

/// Longest that a controller may take here: two cores, and other stacks beside it.
const SECONDS_MAX: u64 = 20;
/// The lease duration, the longest wait between two looks, and some for a busy machine.
const TAKEOVER_SECONDS_MAX: u64 = 15 + 5 + 10;
/// The service accounts of its controllers.
const ACCOUNTS: [&str; 4] = [
    "bootstrap-signer",
    "certificate-controller",
    "root-ca-cert-publisher",
    "token-cleaner",
];
/// Error and warning lines that are about kube-controller-manager's own flags; the last two are of
/// 1.21.
const OWN_ERRORS: [&str; 3] = [
    "The manifest file is empty, ignoring.",
    "without providing a --service-account-private-key-file",
    "\" is disabled",
];

fn run(sandbox: &Sandbox, release: Kubernetes) -> Result<Verdict> {
    let parts = [
        Part::EverleafApiserver(&[]),
        Part::KubeControllerManager(&[]),
    ];
    let mut stack = Stack::of(release, sandbox, &parts)?;
    let admin = stack.admin()?;
    sandbox.point("elects itself: a Lease, and an Event that says so", || {
        leads(&admin, "", SECONDS_MAX).map(drop)
    })?;
    certificates(&stack, &admin)?;
    neighbours(&stack, &admin)?;
    sandbox.point(
        "acts as a service account of its own for each controller",
        || accounts(&admin),
    )?;
    sandbox.point("found nothing to complain about", || {
        same("complaints", complaints(&mut stack)?, Vec::new())
    })?;
    sandbox.point(
        "goes on after everleaf apiserver was killed and started again",
        || {
            stack.kill("apiserver")?;
            stack.add(&Part::EverleafApiserver(&[]))?;
            issued(&stack, &admin, "after-crash")
        },
    )?;
    sandbox.point(
        "killed and started again, it leads when its old lease has run out",
        || {
            let old = holder(&lease(&admin)?);
            stack.kill("kube-controller-manager")?;
            stack.add(&Part::KubeControllerManager(&[]))?;
            leads(&admin, &old, TAKEOVER_SECONDS_MAX)?;
            issued(&stack, &admin, "after-restart")
        },
    )?;
    sandbox.point(
        "works under its one user, too, without service accounts",
        || {
            let old = holder(&lease(&admin)?);
            // It ends by the signal, without a code.
            let _ = stack.stop("kube-controller-manager");
            for account in ACCOUNTS {
                admin.quiet(&["-n", "kube-system", "delete", "serviceaccount", account])?;
            }
            let flags = ["--use-service-account-credentials=false"];
            stack.add(&Part::KubeControllerManager(&flags))?;
            leads(&admin, &old, TAKEOVER_SECONDS_MAX)?;
            issued(&stack, &admin, "by-one-user")?;
            publishes(&admin, "second-team")?;
            same("complaints", complaints(&mut stack)?, Vec::new())
        },
    )?;
    Ok(Verdict::Passed)
}

/// csrapproving and csrsigning.
fn certificates(stack: &Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let sandbox = stack.sandbox;
    let node = sandbox.point("approves and signs a bootstrap request", || {
        let by = Kubectl::new(sandbox, stack.bootstrap_kubeconfig()?);
        let request = file_client(stack, &by, "first", "n1")?;
        request.issued(admin, SECONDS_MAX)?;
        let authority = stack.authority()?;
        let (certificate, key) = (request.certificate(), request.key());
        let node = authority.holder("n1", &certificate, &key, stack.port()?)?;
        let node = Kubectl::new(sandbox, node);
        let user = "jsonpath={.status.userInfo.username}";
        let me = node.quiet(&["auth", "whoami", "-o", user])?;
        same("who the certificate is", me.as_str(), "system:node:n1")?;
        Ok(node)
    })?;
    sandbox.point("approves and signs the node's own renewal", || {
        let request = file_client(stack, &node, "renewal", "n1")?;
        request.issued(admin, SECONDS_MAX).map(drop)
    })?;
    sandbox.point("signs a serving request once a person approved it", || {
        let subject = "/O=system:nodes/CN=system:node:n1";
        let names = (subject, "DNS:n1,IP:127.0.0.1");
        let request = file(
            sandbox,
            &node,
            "serving",
            names,
            (SERVING, serving_usages(stack.release)),
        )?;
        std::thread::sleep(std::time::Duration::from_secs(2));
        same("its state meanwhile", request.state(admin)?, Vec::new())?;
        admin.quiet(&["certificate", "approve", "serving"])?;
        request.issued(admin, SECONDS_MAX).map(drop)
    })?;
    sandbox.point(
        "fails an approved request that breaks its signer's rules",
        || {
            let names = ("/O=system:nodes/CN=system:node:n1", "");
            let request = file(
                sandbox,
                &node,
                "nameless",
                names,
                (SERVING, serving_usages(stack.release)),
            )?;
            admin.quiet(&["certificate", "approve", "nameless"])?;
            eventually("the condition Failed", SECONDS_MAX, || {
                let state = request.state(admin)?;
                let fails = state
                    .iter()
                    .any(|one| one.starts_with("Failed/SignerValidationFailure"));
                ensure_that!(fails, "its state is {state:?}");
                Ok(())
            })
        },
    )
}

/// root-ca-cert-publisher, bootstrapsigner and tokencleaner.
fn neighbours(stack: &Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let sandbox = stack.sandbox;
    sandbox.point(
        "publishes the CA in each namespace, and puts it back",
        || {
            publishes(admin, "team")?;
            admin.quiet(&["-n", "team", "delete", "configmap", "kube-root-ca.crt"])?;
            published(admin, "team")
        },
    )?;
    sandbox.point(
        "signs cluster-info for the bootstrap token, and again when it changes",
        || {
            let first = signed(sandbox, admin, "one", "")?;
            let second = signed(sandbox, admin, "two", &first)?;
            ensure_that!(first != second, "the same signature: {first}");
            Ok(())
        },
    )?;
    sandbox.point("deletes a bootstrap token that has expired", || {
        let end = Timestamp::from_second(wall().as_second() + 3)?;
        let token = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"namespace": "kube-system", "name": "bootstrap-token-expire"},
            "stringData": {"token-id": "expire", "token-secret": "0123456789abcdef",
                "expiration": end.to_string(), "usage-bootstrap-authentication": "true"},
        });
        let path = sandbox.write("expiring.json", &token.to_string())?;
        admin.quiet(&["create", "--validate=false", "-f", arg(&path)])?;
        let get = [
            "-n",
            "kube-system",
            "get",
            "secret",
            "bootstrap-token-expire",
        ];
        same("there at first", admin.run(&get)?.code, Some(0))?;
        eventually("it is gone", SECONDS_MAX, || {
            let answer = admin.run(&get)?;
            ensure_that!(answer.stderr.contains("NotFound"), "{answer:?}");
            Ok(())
        })
    })
}

/// The clock that only tests may read.
#[expect(clippy::disallowed_methods, reason = "a token ends by the real time")]
fn wall() -> Timestamp {
    Timestamp::now()
}

/// The holder of the lease, once it is another one than `old`, with the Event about it.
fn leads(admin: &Kubectl<'_>, old: &str, seconds_max: u64) -> Result<String> {
    let holder = eventually("a new leader", seconds_max, || {
        let holder = holder(&lease(admin)?);
        ensure_that!(
            !holder.is_empty() && holder != old,
            "the holder is {holder:?}"
        );
        Ok(holder)
    })?;
    let wanted = format!("{holder} became leader");
    let selector = "reason=LeaderElection,source=kube-controller-manager";
    eventually("the Event", SECONDS_MAX, || {
        let list = admin.json(&[
            "-n",
            "kube-system",
            "get",
            "events",
            "--field-selector",
            selector,
        ])?;
        let events = list["items"].as_array().context("no list of events")?;
        ensure_that!(
            events.iter().any(|event| event["message"] == wanted),
            "{list}"
        );
        Ok(())
    })?;
    Ok(holder)
}

fn lease(admin: &Kubectl<'_>) -> Result<Value> {
    let get = [
        "-n",
        "kube-system",
        "get",
        "lease",
        "kube-controller-manager",
    ];
    admin.json(&get)
}

fn holder(lease: &Value) -> String {
    let holder = lease["spec"]["holderIdentity"].as_str();
    holder.unwrap_or_default().to_owned()
}

/// A node's client request, as a kubelet of the stack's release makes it.
fn file_client<'a>(
    stack: &Stack<'a>,
    by: &Kubectl<'_>,
    name: &str,
    node: &str,
) -> Result<Filed<'a>> {
    let subject = format!("/O=system:nodes/CN=system:node:{node}");
    let asked = (CLIENT, client_usages(stack.release));
    file(stack.sandbox, by, name, (&subject, ""), asked)
}

/// A bootstrap request, approved and signed.
fn issued(stack: &Stack<'_>, admin: &Kubectl<'_>, name: &str) -> Result<()> {
    let by = Kubectl::new(stack.sandbox, stack.bootstrap_kubeconfig()?);
    let request = file_client(stack, &by, name, name)?;
    // Its clients wait a while before they try a server again that went away.
    request.issued(admin, 2 * SECONDS_MAX).map(drop)
}

fn publishes(admin: &Kubectl<'_>, namespace: &str) -> Result<()> {
    admin.quiet(&["create", "namespace", namespace])?;
    published(admin, namespace)
}

fn published(admin: &Kubectl<'_>, namespace: &str) -> Result<()> {
    eventually("kube-root-ca.crt", SECONDS_MAX, || {
        let map = admin.json(&["-n", namespace, "get", "configmap", "kube-root-ca.crt"])?;
        let pem = map["data"]["ca.crt"].as_str().unwrap_or_default();
        ensure_that!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{map}");
        Ok(())
    })
}

/// Writes cluster-info; its signature for the stack's token, once it is another one than `old`.
fn signed(sandbox: &Sandbox, admin: &Kubectl<'_>, kubeconfig: &str, old: &str) -> Result<String> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"kubeconfig": kubeconfig},
        "metadata": {"namespace": "kube-public", "name": "cluster-info"},
    });
    let path = sandbox.write("cluster-info.json", &map.to_string())?;
    let verb = if old.is_empty() { "create" } else { "replace" };
    admin.quiet(&[verb, "--validate=false", "-f", arg(&path)])?;
    let key = "jws-kubeconfig-intero";
    eventually("its signature", SECONDS_MAX, || {
        let map = admin.json(&["-n", "kube-public", "get", "configmap", "cluster-info"])?;
        let Some(jws) = map["data"][key].as_str().filter(|jws| *jws != old) else {
            bail!("no new {key} in {map}");
        };
        let (header, signature) = jws.split_once("..").context("no detached JWS")?;
        let wanted = hmac(sandbox, header, kubeconfig)?;
        same("signature", signature, wanted.as_str())?;
        Ok(jws.to_owned())
    })
}

/// HMAC-SHA256 of `header.payload` with the stack's token, as JWS writes it; by openssl.
fn hmac(sandbox: &Sandbox, header: &str, payload: &str) -> Result<String> {
    let base64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let text = format!("{header}.{}", base64.encode(payload));
    let path = sandbox.write("signed.txt", &text)?;
    let args = [
        "dgst",
        "-sha256",
        "-hmac",
        "0123456789abcdef",
        "-r",
        arg(&path),
    ];
    let line = sandbox.openssl(&args)?.ok()?;
    let hex = line.split_whitespace().next().unwrap_or_default();
    let bytes: Result<Vec<u8>, _> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16))
        .collect();
    Ok(base64.encode(bytes?))
}

/// Its service accounts, and that nothing works as one without a token.
fn accounts(admin: &Kubectl<'_>) -> Result<()> {
    for account in ACCOUNTS {
        admin.quiet(&["-n", "kube-system", "get", "serviceaccount", account])?;
    }
    let metrics = admin.quiet(&["get", "--raw", "/metrics"])?;
    let created = metrics.lines().find(|line| {
        line.starts_with("apiserver_request_total{")
            && line.contains(r#"resource="serviceaccounts""#)
            && line.contains(r#"subresource="token""#)
            && line.contains(r#"code="201""#)
    });
    let count = created.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    ensure_that!(
        count.is_some_and(|count| count >= 4.0),
        "tokens made: {count:?}"
    );
    Ok(())
}

/// What it says is wrong or odd: its error and warning lines.
fn complaints(stack: &mut Stack<'_>) -> Result<Vec<String>> {
    let log = stack.part("kube-controller-manager")?.stderr();
    let is_complaint = |line: &&str| {
        let mut letters = line.chars();
        matches!(letters.next(), Some('E' | 'W' | 'F'))
            && letters.next().is_some_and(|letter| letter.is_ascii_digit())
            && !OWN_ERRORS.iter().any(|own| line.contains(own))
    };
    Ok(log
        .lines()
        .filter(is_complaint)
        .map(str::to_owned)
        .collect())
}
