//! The other kinds: what kubectl makes without a file, prints and describes.

use super::scene::{Release, Scene};
use anyhow::Result;
use everleaf_stage::{arg, ensure_that, same};
use serde_json::json;

pub(super) fn points(scene: &Scene<'_>) {
    scene.point(
        "create, get, describe, delete: namespaces, configmaps",
        plain,
    );
    scene.point("create, get, describe: secrets of each type", secrets);
    scene.point(
        "create, get, describe, set subject: roles and bindings",
        roles,
    );
    scene.point("create, get, describe: serviceaccounts", account);
    if scene.release >= Release::V1_34 {
        scene.point("create token", token);
    }
    scene.point("get, describe, label, taint, cordon, drain: nodes", nodes);
    scene.point(
        "get: leases, events, pods, services and what else is listed",
        lists,
    );
    scene.point("delete namespace: what is in it goes too", delete_namespace);
}

/// Makes the namespace that the other points use.
fn plain(scene: &Scene<'_>) -> Result<()> {
    scene.says("create namespace shop", "namespace/shop created")?;
    scene.shows("get ns shop --no-headers", "Active")?;
    scene.shows(
        "describe ns shop",
        "kubernetes.io/metadata.name=shop|Active",
    )?;
    let create = "create configmap menu --from-literal=soup=1 --from-literal=tea=2 -n shop";
    scene.says(create, "configmap/menu created")?;
    let row = scene.quiet("get cm menu -n shop --no-headers")?;
    let cells: Vec<&str> = row.split_whitespace().take(2).collect();
    same("name and number of keys", cells, vec!["menu", "2"])?;
    scene.shows("describe cm menu -n shop", "soup:|tea:")?;
    scene.shows("get ns,cm -A -o name", "namespace/shop|configmap/menu")?;
    scene.refused("get cm nobody -n shop", "configmaps \"nobody\" not found")?;
    scene.refused(
        "create configmap x -n nowhere",
        "namespaces \"nowhere\" not found",
    )?;
    scene
        .shows("delete cm menu -n shop", "configmap \"menu\" deleted")
        .map(drop)
}

fn secrets(scene: &Scene<'_>) -> Result<()> {
    scene.says(
        "create secret generic key --from-literal=a=b -n shop",
        "secret/key created",
    )?;
    scene.says("get secret key -n shop -o jsonpath={.data.a}", "Yg==")?;
    scene.shows("describe secret key -n shop", "Opaque|a:  1 bytes")?;
    let login = "--docker-server=x.example.com --docker-username=u --docker-password=p";
    scene.quiet(&format!(
        "create secret docker-registry pull {login} -n shop"
    ))?;
    let (certificate, key) = (
        scene.sandbox.path("tls.crt"),
        scene.sandbox.path("jane.key"),
    );
    let (certificate, key) = (arg(&certificate), arg(&key));
    let sign = format!("req -x509 -new -key {key} -subj /CN=jane -out {certificate}");
    let sign: Vec<&str> = sign.split(' ').collect();
    scene.sandbox.openssl(&sign)?.ok()?;
    scene.quiet(&format!(
        "create secret tls pair --cert={certificate} --key={key} -n shop"
    ))?;
    let kinds = "NAME|TYPE|DATA|AGE|Opaque|kubernetes.io/tls|kubernetes.io/dockerconfigjson";
    let table = scene.shows("get secrets -n shop", kinds)?;
    same("lines", table.lines().count(), 4)
}

fn roles(scene: &Scene<'_>) -> Result<()> {
    let group = "rbac.authorization.k8s.io";
    let role = "create role baker --verb=get,list --resource=secrets -n shop";
    scene.says(role, &format!("role.{group}/baker created"))?;
    let binding = "create rolebinding bakers --role=baker --user=jane -n shop";
    scene.says(binding, &format!("rolebinding.{group}/bakers created"))?;
    let can = scene.can_i("get secrets -n shop --as=jane")?;
    ensure_that!(can, "the binding does not count");
    scene.quiet("get secrets -n shop --as=jane")?;
    let urls = "--non-resource-url=/secret-door";
    scene.quiet(&format!(
        "create clusterrole reader --verb=get --resource=nodes {urls}"
    ))?;
    scene.quiet("create clusterrole sum --aggregation-rule=sum=yes")?;
    scene.quiet("create clusterrolebinding readers --clusterrole=reader --group=readers")?;
    scene.shows("describe clusterrole reader", "nodes|[/secret-door]|[get]")?;
    let described = "ClusterRole|reader|Group|readers";
    scene.shows("describe clusterrolebinding readers", described)?;
    scene.shows("get roles,rolebindings -n shop", "baker|Role/baker")?;
    let wide = "get clusterrolebinding readers -o wide";
    scene.shows(wide, "ClusterRole/reader|readers")?;
    scene.shows("get clusterrole cluster-admin", "NAME|CREATED AT")?;
    let said = format!("clusterrolebinding.{group}/readers subjects updated");
    scene.says("set subject clusterrolebinding readers --user=joe", &said)?;
    let subjects = "get clusterrolebinding readers -o jsonpath={.subjects[*].name}";
    scene.says(subjects, "readers joe")?;
    scene.quiet("delete clusterrole reader sum")?;
    scene.quiet("delete clusterrolebinding readers").map(drop)
}

fn account(scene: &Scene<'_>) -> Result<()> {
    scene.says(
        "create serviceaccount robot -n shop",
        "serviceaccount/robot created",
    )?;
    scene.shows("get sa robot -n shop", "NAME|AGE|robot")?;
    scene.shows(
        "describe sa robot -n shop",
        "Name:|robot|Image pull secrets:",
    )?;
    scene.quiet("delete sa robot -n shop").map(drop)
}

fn token(scene: &Scene<'_>) -> Result<()> {
    scene.quiet("create serviceaccount speaker -n shop")?;
    let token = scene.quiet("create token speaker -n shop --duration=1h")?;
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token},
    });
    let file = scene.file("token-review", &review)?;
    let user = "jsonpath={.status.user.username}";
    let line = format!("create -f {file} -o {user}");
    scene.says(&line, "system:serviceaccount:shop:speaker")
}

fn nodes(scene: &Scene<'_>) -> Result<()> {
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/worker": ""}},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}],
            "nodeInfo": {
                "kubeletVersion": "v1.37.2", "osImage": "Paper", "kernelVersion": "1.0",
                "containerRuntimeVersion": "x://1", "architecture": "amd64", "bootID": "b",
                "kubeProxyVersion": "", "machineID": "m", "operatingSystem": "linux", "systemUUID": "u",
            },
        },
    });
    scene.create_all("n1", vec![node])?;
    let columns = "NAME|STATUS|ROLES|AGE|VERSION|n1|Ready|worker|v1.37.2";
    scene.shows("get nodes", columns)?;
    scene.shows("get no -o wide", "INTERNAL-IP|192.0.2.7|Paper|x://1")?;
    scene.shows(
        "describe node n1",
        "Name:|n1|worker|192.0.2.7|Taints:|Lease:",
    )?;
    scene.says("label node n1 zone=a", "node/n1 labeled")?;
    scene.says("taint node n1 wet=paint:NoSchedule", "node/n1 tainted")?;
    let paint = "get node n1 -o jsonpath={.spec.taints[?(@.key==\"wet\")].value}";
    scene.says(paint, "paint")?;
    scene.says("taint node n1 wet-", "node/n1 untainted")?;
    scene.says(paint, "")?;
    scene.says("cordon n1", "node/n1 cordoned")?;
    scene.shows("get node n1", "Ready,SchedulingDisabled")?;
    scene.says("uncordon n1", "node/n1 uncordoned")?;
    scene
        .run("drain n1 --ignore-daemonsets --timeout=10s")?
        .ok()?;
    scene.says("delete node n1", "node \"n1\" deleted")
}

fn lists(scene: &Scene<'_>) -> Result<()> {
    let kinds = "leases events pods services nodes csinodes csidrivers runtimeclasses \
                 volumeattachments podcertificaterequests";
    for kind in kinds.split(' ') {
        // That a list is empty is told on stderr.
        scene.run(&format!("get {kind} -A"))?.ok()?;
    }
    Ok(())
}

fn delete_namespace(scene: &Scene<'_>) -> Result<()> {
    scene.quiet("create cm left -n shop")?;
    scene.says("delete ns shop --timeout=40s", "namespace \"shop\" deleted")?;
    let left = scene
        .run("get cm,secrets,roles,rolebindings -n shop -o name")?
        .ok()?;
    same("what is left", left.as_str(), "")
}
