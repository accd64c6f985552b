//! What kubectl asks about the server and about itself.

use super::scene::{Release, Scene};
use anyhow::{Context, Result};
use everleaf_stage::{ensure_that, eventually, http_get, same};
use serde_json::json;

pub(super) fn points(scene: &Scene<'_>) {
    scene.point("api-resources, api-versions, version, get --raw", server);
    scene.point("cluster-info", cluster_info);
    scene.point("proxy", proxy);
    scene.point("auth can-i, can-i --list", can_i);
    scene.point("auth reconcile", reconcile);
    if scene.release >= Release::V1_34 {
        scene.point("auth whoami", whoami);
        scene.point("completion of names", complete);
    }
    scene.point("--as, --as-group", impersonates);
    scene.point("logs, rollout, top: refused in words", unserved);
}

fn server(scene: &Scene<'_>) -> Result<()> {
    scene.shows(
        "api-resources --api-group=certificates.k8s.io --no-headers -o wide",
        "certificatesigningrequests|csr|certificates.k8s.io/v1|false|CertificateSigningRequest|\
         create|delete|deletecollection|get|list|patch|update|watch",
    )?;
    scene.shows(
        "api-resources --verbs=deletecollection,watch --namespaced=false -o name",
        "certificatesigningrequests.certificates.k8s.io|nodes|clusterroles.rbac.authorization.k8s.io",
    )?;
    let versions = scene.quiet("api-versions")?;
    for version in "v1 certificates.k8s.io/v1 coordination.k8s.io/v1".split(' ') {
        let found = versions.lines().any(|line| line == version);
        ensure_that!(found, "no {version} in {versions}");
    }
    // Newer ones warn of the difference between their version and the server's.
    let version = scene.run("version -o json")?.ok()?;
    let version: serde_json::Value = serde_json::from_str(&version)?;
    let major = version["serverVersion"]["major"].as_str();
    same("major version", major, Some("1"))?;
    for (path, text) in [
        ("/api", r#""APIVersions""#),
        ("/apis", r#""certificates.k8s.io/v1""#),
        ("/apis/certificates.k8s.io", r#""preferredVersion""#),
        ("/apis/certificates.k8s.io/v1", "requests/approval"),
        ("/version", r#""gitVersion""#),
        ("/readyz?verbose", "check passed"),
        ("/livez", "ok"),
        ("/metrics", "# TYPE"),
    ] {
        scene.shows(&format!("get --raw {path}"), text)?;
    }
    scene.refused("get --raw /apis/nobody.example.com/v1", "NotFound")
}

fn cluster_info(scene: &Scene<'_>) -> Result<()> {
    let texts = "is running at|https://127.0.0.1:";
    scene.shows("cluster-info", texts).map(drop)
}

/// The API through a local port without credentials.
fn proxy(scene: &Scene<'_>) -> Result<()> {
    let process = scene.start("proxy --port=0")?;
    let address = eventually("the proxy's port", 20, || {
        let said = process.stdout();
        let address = said.split("Starting to serve on ").nth(1);
        Ok(address.context("it says no address yet")?.trim().to_owned())
    })?;
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests?limit=1";
    let answer = http_get(&address, path)?;
    ensure_that!(answer.contains("CertificateSigningRequestList"), "{answer}");
    Ok(())
}

fn can_i(scene: &Scene<'_>) -> Result<()> {
    let node = "--as=system:node:x --as-group=system:nodes";
    for (allowed, question) in [
        (true, "create csr".to_owned()),
        (true, "* *".to_owned()),
        (true, "update csr --subresource=approval".to_owned()),
        (
            true,
            "approve signers.certificates.k8s.io/example.com/x".to_owned(),
        ),
        (true, "get /metrics".to_owned()),
        (false, "create csr --as=jane".to_owned()),
        (false, "get /metrics --as=jane".to_owned()),
        (true, "get /healthz --as=jane".to_owned()),
        (true, format!("get csr {node}")),
        (false, format!("get secrets -A {node}")),
    ] {
        let said = scene.can_i(&question)?;
        ensure_that!(said == allowed, "can-i {question}: {said}");
    }
    let no = scene.run("auth can-i -q create csr --as=jane")?;
    same("exit code of a no", no.code, Some(1))?;
    scene.shows(
        "auth can-i --list --as=jane --as-group=system:authenticated",
        "selfsubjectaccessreviews.authorization.k8s.io|[create]|[/healthz]",
    )?;
    scene.shows("auth can-i --list", "*.*").map(drop)
}

/// Rules are added to a role and never taken away.
fn reconcile(scene: &Scene<'_>) -> Result<()> {
    for verb in ["get", "list"] {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "reconciled"},
            "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": [verb]}],
        });
        let file = scene.file("reconciled", &role)?;
        // The findings about single rules go to stderr.
        let answer = scene.run(&format!("auth reconcile -f {file}"))?.ok()?;
        let said = "clusterrole.rbac.authorization.k8s.io/reconciled reconciled";
        same("answer", answer.lines().next(), Some(said))?;
    }
    let verbs = "get clusterrole reconciled -o jsonpath={.rules[*].verbs[*]}";
    scene.says(verbs, "get list")
}

fn whoami(scene: &Scene<'_>) -> Result<()> {
    let texts = "Username|admin|system:masters|system:authenticated";
    scene.shows("auth whoami", texts)?;
    let jane = scene.json("auth whoami --as=jane --as-group=staff --as-uid=7")?;
    let user = &jane["status"]["userInfo"];
    same("name", user["username"].as_str(), Some("jane"))?;
    same("uid", user["uid"].as_str(), Some("7"))?;
    let groups = json!(["staff", "system:authenticated"]);
    same("groups", &user["groups"], &groups)
}

/// What the shell asks when a person presses Tab.
fn complete(scene: &Scene<'_>) -> Result<()> {
    scene.create("complete", &["tab-one", "tab-two"])?;
    let answer = scene.run("__complete get csr tab-")?.ok()?;
    ensure_that!(answer.contains("tab-one\ntab-two\n"), "{answer}");
    Ok(())
}

fn impersonates(scene: &Scene<'_>) -> Result<()> {
    scene.refused(
        "get csr --as=jane",
        "Error from server (Forbidden): certificatesigningrequests.certificates.k8s.io is forbidden: User \"jane\" cannot list \
         resource \"certificatesigningrequests\" in API group \"certificates.k8s.io\" at the cluster scope",
    )?;
    scene.quiet("get ns --as=jane --as-group=system:masters")?;
    let account = "--as=system:serviceaccount:kube-system:certificate-controller";
    scene.run(&format!("get csr {account}"))?.ok()?;
    scene.refused(&format!("get secrets -A {account}"), "Forbidden")
}

fn unserved(scene: &Scene<'_>) -> Result<()> {
    for line in [
        "logs nobody",
        "exec nobody -- true",
        "rollout status deployment/nobody",
        "top node",
        "scale --replicas=1 deployment/nobody",
    ] {
        let said = scene.run(line)?.failed_with(1)?;
        let told = said.to_lowercase().contains("error");
        ensure_that!(told, "kubectl {line}: {said}");
    }
    Ok(())
}
