//! One installation of the chart, whose rights are taken away one at a time.

mod bundles;

use super::super::requests::{self, Filed, SERVING, client_usages, serving_usages};
use super::super::serving_policy::make_node;
use super::right::{Right, granted};
use crate::stack::{NAMESPACE, Stack};
use anyhow::{Context, Result, bail};
use bundles::APISERVER_SERVING;
use everleaf_stage::{Kubectl, arg, ensure_that, eventually, free_port, http_get, same};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Longest that anything may take here: two cores, and other stacks beside it.
const SECONDS_MAX: u64 = 20;
const USER: &str = "system:serviceaccount:everleaf-system:everleaf";
const APISERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// See the module documentation.
pub(super) struct Trial<'a> {
    stack: Stack<'a>,
    admin: Kubectl<'a>,
    bootstrapper: Kubectl<'a>,
    kubeconfig: PathBuf,
    args: Vec<String>,
    /// Where it answers `/readyz` and `/metrics`.
    pub(super) metrics: String,
    is_running: bool,
    /// For names that are new.
    number: usize,
}

/// Whether what was asked for has happened.
type Probe<'p> = Box<dyn Fn(&Trial<'_>) -> Result<bool> + 'p>;

impl<'a> Trial<'a> {
    pub(super) fn new(stack: Stack<'a>) -> Result<Self> {
        let admin = stack.admin()?;
        let bootstrapper = Kubectl::new(stack.sandbox, stack.bootstrap_kubeconfig()?);
        Ok(Self {
            admin,
            bootstrapper,
            kubeconfig: PathBuf::new(),
            args: Vec::new(),
            metrics: format!("127.0.0.1:{}", free_port()?),
            is_running: false,
            number: 0,
            stack,
        })
    }

    /// Applies the chart and starts what its pod would.
    pub(super) fn install(&mut self, values: &[&str]) -> Result<()> {
        let args = self.stack.install(&self.admin, values)?;
        self.kubeconfig = self.stack.service_account(&self.admin)?;
        let own = format!("--metrics-bind-address={}", self.metrics);
        let args = args.into_iter().map(|arg| {
            let is_address = arg.starts_with("--metrics-bind-address=");
            if is_address { own.clone() } else { arg }
        });
        self.args = args.collect();
        if self.runs("csrsigning") {
            // The chart has none, and one of its alerts is about it.
            let log = self.stack.sandbox.path("issuance-log");
            self.args.push(format!("--issuance-log={}", log.display()));
        }
        self.start(&[])
    }

    /// Deletes what the chart made.
    pub(super) fn uninstall(&mut self, values: &[&str]) -> Result<()> {
        self.stop();
        let manifest = self.stack.render(values)?;
        let manifest = self.stack.sandbox.write("uninstall.yaml", &manifest)?;
        self.admin
            .quiet(&["delete", "--wait=false", "-f", arg(&manifest)])
            .map(drop)
    }

    fn runs(&self, controller: &str) -> bool {
        let list = self.args.iter();
        let mut list = list.filter_map(|arg| arg.strip_prefix("--controllers="));
        list.any(|list| list.split(',').any(|one| one == controller))
    }

    /// Starts it with these flags in place of its own; one that ends with `=` only takes its own
    /// away.
    fn start(&mut self, instead: &[&str]) -> Result<()> {
        let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
        let replaced: Vec<String> = instead.iter().map(|flag| name(flag)).collect();
        let kept = self
            .args
            .iter()
            .filter(|arg| !replaced.contains(&name(arg)));
        let mut args: Vec<String> = kept.cloned().collect();
        let given = instead.iter().filter(|flag| !flag.ends_with('='));
        args.extend(given.map(|flag| (*flag).to_owned()));
        let kubeconfig = self.kubeconfig.clone();
        self.stack.as_pod(&kubeconfig, &args)?;
        self.is_running = true;
        Ok(())
    }

    /// Ends it; it gives its Lease up.
    pub(super) fn stop(&mut self) {
        if std::mem::take(&mut self.is_running) {
            let _ = self.stack.stop("pod");
        }
    }

    fn log(&mut self) -> Result<String> {
        Ok(self.stack.part("pod")?.stderr())
    }

    fn is_ready(&self) -> Result<bool> {
        Ok(http_get(&self.metrics, "/readyz").is_ok_and(|answer| !answer.contains("standing by")))
    }

    fn wait_ready(&self) -> Result<()> {
        eventually("/readyz", SECONDS_MAX, || {
            ensure_that!(self.is_ready()?, "it is not ready, or stands by");
            Ok(())
        })
    }

    fn next(&mut self, what: &str) -> String {
        self.number += 1;
        format!("{what}{}", self.number)
    }

    // === the whole job ===

    /// Does everything that it is there for, and meets no refusal.
    pub(super) fn works(&mut self) -> Result<()> {
        self.wait_ready()?;
        let mut tasks = vec![("serving", self.serving()?)];
        for (controller, task) in [
            (
                "csrsigning",
                Self::client as fn(&mut Self) -> Result<Probe<'static>>,
            ),
            ("csrsigning", Self::by_hand),
            ("csrsigning", Self::odd),
            ("bootstrapsigner", Self::sign_token),
            ("tokencleaner", Self::expire_token),
            ("root-ca-cert-publisher", Self::namespace),
        ] {
            if self.runs(controller) {
                tasks.push((controller, task(self)?));
            }
        }
        let rules = [("denied", self.hostile()?)];
        for (what, probe) in tasks.iter().chain(&rules) {
            eventually(what, SECONDS_MAX, || {
                ensure_that!(probe(self)?, "it did not happen");
                Ok(())
            })?;
        }
        let log = self.log()?;
        let refused = log.lines().find(|line| line.contains("orbidden"));
        ensure_that!(refused.is_none(), "{refused:?}");
        Ok(())
    }

    // === what it does, and how one sees that it was done ===

    fn kubectl_node(&self, node: &str) -> Result<Kubectl<'a>> {
        let subject = format!("/O=system:nodes/CN=system:node:{node}");
        self.stack.user(node, &subject)
    }

    /// A serving request of a new node: approved, with an Event.
    fn serving(&mut self) -> Result<Probe<'static>> {
        let request = self.file_serving(true)?;
        let is_signed = self.runs("csrsigning");
        Ok(Box::new(move |trial| {
            let state = Filed::of(trial.stack.sandbox, &request).state(&trial.admin)?;
            let wanted = 1 + usize::from(is_signed);
            Ok(state.len() == wanted && trial.has_event(&request)?)
        }))
    }

    fn has_event(&self, request: &str) -> Result<bool> {
        let list = self.admin.json(&["-n", "default", "get", "events"])?;
        let mut events = list["items"].as_array().into_iter().flatten();
        Ok(events.any(|event| event["involvedObject"]["name"] == request))
    }

    fn file_serving(&mut self, has_own_address: bool) -> Result<String> {
        let node = self.next("n");
        let address = format!("10.1.{}.{}", self.number / 250, self.number % 250 + 1);
        make_node(&self.stack, &self.admin, &node, &[&address])?;
        let names = match has_own_address {
            true => format!("DNS:{node},IP:{address}"),
            false => "IP:10.96.0.1".to_owned(),
        };
        let request = format!("{node}-serving");
        let subject = format!("/O=system:nodes/CN=system:node:{node}");
        let kind = (SERVING, serving_usages(self.stack.release));
        let by = self.kubectl_node(&node)?;
        requests::file(self.stack.sandbox, &by, &request, (&subject, &names), kind)?;
        Ok(request)
    }

    /// One that is to be denied.
    fn hostile(&mut self) -> Result<Probe<'static>> {
        let request = self.file_serving(false)?;
        Ok(Box::new(move |trial| {
            let state = Filed::of(trial.stack.sandbox, &request).state(&trial.admin)?;
            Ok(state.iter().any(|one| one.starts_with("Denied/")))
        }))
    }

    fn file_client(&mut self) -> Result<String> {
        let node = self.next("client");
        let subject = format!("/O=system:nodes/CN=system:node:{node}");
        let kind = (requests::CLIENT, client_usages(self.stack.release));
        requests::file(
            self.stack.sandbox,
            &self.bootstrapper,
            &node,
            (&subject, ""),
            kind,
        )?;
        Ok(node)
    }

    /// A node's bootstrap request: approved and signed.
    fn client(&mut self) -> Result<Probe<'static>> {
        let request = self.file_client()?;
        Ok(issued(request))
    }

    /// A request that a person approves: signed.
    fn by_hand(&mut self) -> Result<Probe<'static>> {
        self.approved_by_hand(APISERVER_CLIENT)
    }

    fn approved_by_hand(&mut self, signer: &str) -> Result<Probe<'static>> {
        let name = self.next("person");
        let usages: &[&str] = &["client auth"];
        let sandbox = self.stack.sandbox;
        let path = everleaf_stage::signing_request(sandbox, &name, "/CN=somebody", signer, usages)?;
        if signer == LEGACY {
            let text = std::fs::read_to_string(&path)?;
            let old = text.replace("certificates.k8s.io/v1\"", "certificates.k8s.io/v1beta1\"");
            std::fs::write(&path, old)?;
        }
        // Of an old version kubectl says that it is old.
        let create = ["create", "--validate=false", "-f", arg(&path)];
        self.admin.run(&create)?.ok()?;
        self.admin.quiet(&["certificate", "approve", &name])?;
        Ok(issued(name))
    }

    /// A request that a person approves and that its signer's rules forbid: failed.
    fn odd(&mut self) -> Result<Probe<'static>> {
        let name = self.next("odd");
        let kind = (APISERVER_CLIENT, &["server auth", "client auth"][..]);
        let sandbox = self.stack.sandbox;
        let request = requests::file(sandbox, &self.admin, &name, ("/CN=odd", ""), kind)?;
        self.admin
            .quiet(&["certificate", "approve", &request.name])?;
        Ok(Box::new(move |trial| {
            let state = Filed::of(trial.stack.sandbox, &name).state(&trial.admin)?;
            Ok(state.iter().any(|one| one.starts_with("Failed/")))
        }))
    }

    /// A bootstrap token; the id.
    fn token(&mut self, further: &[(&str, &str)]) -> Result<String> {
        let id = self.next("t");
        let id = format!("{id:0<6}");
        let mut data = json!({ "token-id": id, "token-secret": "0123456789abcdef" });
        for (name, value) in further {
            data[*name] = json!(value);
        }
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": { "namespace": "kube-system", "name": format!("bootstrap-token-{id}") },
            "stringData": data,
        });
        self.create(&secret)?;
        Ok(id)
    }

    fn create(&self, object: &Value) -> Result<()> {
        let file = self
            .stack
            .sandbox
            .write("object.json", &object.to_string())?;
        let create = ["create", "--validate=false", "-f", arg(&file)];
        self.admin.quiet(&create).map(drop)
    }

    /// A token for which cluster-info gets a signature.
    fn sign_token(&mut self) -> Result<Probe<'static>> {
        let get = ["-n", "kube-public", "get", "configmap", "cluster-info"];
        if self.admin.run(&get)?.code != Some(0) {
            let data = json!({ "kubeconfig": "apiVersion: v1" });
            let metadata = json!({ "namespace": "kube-public", "name": "cluster-info" });
            self.create(&json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data,
            }))?;
        }
        let id = self.token(&[("usage-bootstrap-signing", "true")])?;
        Ok(Box::new(move |trial| {
            let map = trial.admin.json(&get)?;
            Ok(map["data"][format!("jws-kubeconfig-{id}")].is_string())
        }))
    }

    /// A token that has expired: deleted.
    fn expire_token(&mut self) -> Result<Probe<'static>> {
        let id = self.token(&[("expiration", "2020-01-01T00:00:00Z")])?;
        Ok(Box::new(move |trial| {
            let name = format!("bootstrap-token-{id}");
            let get = ["-n", "kube-system", "get", "secret", &name];
            Ok(trial.admin.run(&get)?.code != Some(0))
        }))
    }

    /// A namespace, which gets the root CA.
    fn namespace(&mut self) -> Result<Probe<'static>> {
        let name = self.next("namespace");
        self.admin.quiet(&["create", "namespace", &name])?;
        Ok(publishes(name, true))
    }

    /// The root CA of a namespace is overwritten: mended.
    fn forged(&mut self) -> Result<Probe<'static>> {
        let patch = r#"{"data":{"ca.crt":"forged"}}"#;
        let map = ["-n", "default", "patch", "configmap", "kube-root-ca.crt"];
        self.admin.quiet(&[&map[..], &["-p", patch]].concat())?;
        Ok(publishes("default".to_owned(), true))
    }

    /// Something old to clean up.
    fn old_request(&mut self) -> Result<()> {
        let name = self.next("old");
        let subject = ("/O=system:nodes/CN=system:node:old", "DNS:old");
        let kind = (SERVING, serving_usages(self.stack.release));
        requests::file(self.stack.sandbox, &self.admin, &name, subject, kind)?;
        let mut object = self.admin.json(&["get", "csr", &name])?;
        object["status"] = json!({ "conditions": [{
            "type": "Denied", "status": "True", "reason": "Test", "lastUpdateTime": "2020-01-01T00:00:00Z",
        }] });
        let file = self.stack.sandbox.write("old.json", &object.to_string())?;
        let path =
            format!("/apis/certificates.k8s.io/v1/certificatesigningrequests/{name}/approval");
        self.admin
            .quiet(&["replace", "--raw", &path, "-f", arg(&file)])
            .map(drop)
    }

    // === rights, taken away ===

    /// The roles that the chart made.
    fn roles(&self) -> Result<Vec<Value>> {
        let of_chart = "app.kubernetes.io/instance=everleaf";
        let list = self
            .admin
            .json(&["get", "clusterroles,roles", "-A", "-l", of_chart])?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Every right that they grant.
    pub(super) fn rights(&self) -> Result<Vec<Right>> {
        let roles = self.roles()?;
        ensure_that!(roles.len() > 1, "the chart made {} roles", roles.len());
        Ok(roles.iter().flat_map(granted).collect())
    }

    /// Takes a right away, has `check` see that it is missed, and gives it back.
    pub(super) fn without(
        &mut self,
        right: &Right,
        check: fn(&mut Self, &Right) -> Result<Option<Probe<'static>>>,
    ) -> Result<()> {
        let roles = self.roles()?;
        let role = roles.into_iter().find(|role| granted(role).contains(right));
        let role = role.context("no role grants it")?;
        let rest = granted(&role).into_iter().filter(|one| one != right);
        let mut poorer = role.clone();
        poorer["rules"] = rest.map(|one| one.rule()).collect();
        if right.is("create", "leases") || right.is("delete", "certificatesigningrequests") {
            self.prepare(right)?;
        }
        self.replace(&poorer)?;
        self.wait_for(right, false)?;
        let missed = check(self, right);
        self.replace(&role)?;
        self.wait_for(right, true)?;
        if let Some(probe) = missed? {
            eventually("with the right again", SECONDS_MAX, || {
                ensure_that!(probe(self)?, "it still does not happen");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// What has to be there before it starts.
    fn prepare(&mut self, right: &Right) -> Result<()> {
        if right.resource == "leases" {
            let delete = ["-n", &right.namespace, "delete", "leases", "--all"];
            return self.admin.quiet(&delete).map(drop);
        }
        self.old_request()
    }

    fn replace(&self, role: &Value) -> Result<()> {
        let mut role = role.clone();
        let metadata = role["metadata"].as_object_mut().context("no metadata")?;
        metadata.remove("resourceVersion");
        let file = self.stack.sandbox.write("role.json", &role.to_string())?;
        self.admin.quiet(&["replace", "-f", arg(&file)]).map(drop)
    }

    /// Until the server judges so.
    fn wait_for(&self, right: &Right, allowed: bool) -> Result<()> {
        let (resource, sub) = right
            .resource
            .split_once('/')
            .unwrap_or((&right.resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": USER,
                "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{NAMESPACE}"), "system:authenticated"],
                "resourceAttributes": {
                    "namespace": right.namespace, "verb": right.verb, "group": right.group,
                    "resource": resource, "subresource": sub, "name": right.name,
                },
            },
        });
        let file = self
            .stack
            .sandbox
            .write("review.json", &review.to_string())?;
        eventually("the server knows it", SECONDS_MAX, || {
            let create = ["create", "--validate=false", "-f", arg(&file)];
            let answer = self.admin.json(&create)?;
            let is_allowed = answer["status"]["allowed"].as_bool().unwrap_or(false);
            same("allowed", is_allowed, allowed)
        })
    }

    /// A process that runs fails at what needs the right, and does it when it has it again.
    pub(super) fn misses_while_running(&mut self, right: &Right) -> Result<Option<Probe<'static>>> {
        let before = self.log()?.len();
        let task = self.task_of(right)?;
        let probe = task(self)?;
        self.log_says(right, before)?;
        ensure_that!(!probe(self)?, "it happens without it");
        // An Event that was refused is not tried again.
        let is_event = right.resource == "events";
        Ok((!is_event).then_some(probe))
    }

    fn task_of(&self, right: &Right) -> Result<fn(&mut Self) -> Result<Probe<'static>>> {
        let is_client = right.name == requests::CLIENT;
        Ok(match (&*right.verb, &*right.resource) {
            ("approve" | "sign", "signers") if is_client => Self::client,
            ("approve" | "sign", "signers") if right.name == SERVING => Self::serving,
            ("sign", "signers") if right.name == APISERVER_CLIENT => Self::by_hand,
            ("sign", "signers") if right.name == LEGACY => |trial| trial.approved_by_hand(LEGACY),
            ("create", "events") | ("update", "certificatesigningrequests/approval") => {
                Self::serving
            }
            ("create", "subjectaccessreviews")
            | ("update", "certificatesigningrequests/status") => Self::client,
            ("create", "configmaps") => Self::namespace,
            ("update", "configmaps") if right.name == "cluster-info" => Self::sign_token,
            ("update", "configmaps") => Self::forged,
            ("delete", "secrets") => Self::expire_token,
            ("attest", "signers") if right.name == SERVING => |trial| trial.lost_bundle(SERVING),
            ("attest", "signers") | ("create", "clustertrustbundles") => {
                |trial| trial.lost_bundle(APISERVER_SERVING)
            }
            ("update", "clustertrustbundles") => Self::forged_bundle,
            ("delete", "clustertrustbundles") => Self::second_bundle,
            _ => bail!("nothing is known that needs it"),
        })
    }

    fn log_says(&mut self, right: &Right, from: usize) -> Result<()> {
        let refusal = right.refusal();
        eventually("the log names the right", SECONDS_MAX, || {
            let log = self.log()?;
            let log = log.get(from..).unwrap_or_default();
            ensure_that!(log.contains(&refusal), "no {refusal:?} in {log}");
            Ok(())
        })
    }

    /// A process that starts fails at what needs the right.
    pub(super) fn misses_from_the_start(
        &mut self,
        right: &Right,
    ) -> Result<Option<Probe<'static>>> {
        let outcome = if right.is("get", "certificatesigningrequests") {
            self.misses_get()
        } else {
            self.misses_at_start(right)
        };
        self.stop();
        outcome.map(|()| None)
    }

    fn misses_at_start(&mut self, right: &Right) -> Result<()> {
        self.start(&[])?;
        self.log_says(right, 0)?;
        let blocks = matches!(&*right.verb, "list" | "watch") || right.resource == "leases";
        ensure_that!(!blocks || !self.is_ready()?, "it is ready all the same");
        Ok(())
    }

    /// A request that changes while it is worked on is read again. So that it does: each call waits
    /// two seconds for its turn, and requests change all the time.
    fn misses_get(&mut self) -> Result<()> {
        // Discovery, list and watch of requests, Nodes, Services and Endpoints.
        let calls = ["--kube-api-burst=12", "--kube-api-qps=0.5"];
        let serving = "--controllers=kubelet-serving-approver";
        // Nothing is signed then whose CA could be published.
        let unsigned = "--publish-signer-trust-bundles=";
        self.start(&[&[serving, unsigned][..], &calls].concat())?;
        self.wait_ready()?;
        let right = Right {
            namespace: String::new(),
            group: String::new(),
            resource: "certificatesigningrequests".to_owned(),
            name: String::new(),
            verb: "get".to_owned(),
        };
        let refusal = right.refusal();
        let mut name = String::new();
        let mut round = 0;
        eventually("the log names the right", 3 * SECONDS_MAX, || {
            // What is approved already is not worked on any more.
            let sandbox = self.stack.sandbox;
            if name.is_empty() || !Filed::of(sandbox, &name).state(&self.admin)?.is_empty() {
                name = self.file_serving(true)?;
            }
            round += 1;
            let label = format!("changed=x{round}");
            self.admin
                .quiet(&["label", "--overwrite", "csr", &name, &label])?;
            let log = self.log()?;
            ensure_that!(log.contains(&refusal), "no {refusal:?} in {log}");
            Ok(())
        })
    }
}

fn issued(request: String) -> Probe<'static> {
    Box::new(move |trial| {
        let state = Filed::of(trial.stack.sandbox, &request).state(&trial.admin)?;
        Ok(state.iter().any(|one| one == "issued"))
    })
}

fn publishes(namespace: String, wanted: bool) -> Probe<'static> {
    Box::new(move |trial| {
        let get = [
            "-n",
            &namespace,
            "get",
            "configmap",
            "kube-root-ca.crt",
            "-o",
            "json",
        ];
        let answer = trial.admin.run(&get)?;
        Ok(answer.stdout.contains("BEGIN CERTIFICATE") == wanted)
    })
}
