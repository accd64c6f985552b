//! Reads what a diagnosis judges by. Every piece may be missing, or hidden from this user: that is
//! noted, not an error. Only the server itself, and this user's credential, have to be there.

use crate::calls::{Answer, Calls, message};
use anyhow::{Result, anyhow};
use everleaf_api::csr::Csr;
use everleaf_api::meta;
use everleaf_api::revocation::{NAME, NAMESPACE, Revocations};
use everleaf_apiserver::handler::Limits;
use everleaf_controllers::call::segment;
use everleaf_controllers::why::{Evidence, Known, Question, questions, requests_in_question};
use everleaf_fleet::to_explain;
use futures_util::future::{join, join_all};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Objects per page.
const PAGE: usize = 500;
/// Roles that let nodes have certificates begin so.
const ROLE_PREFIX: &str = "system:certificates.k8s.io:certificatesigningrequests:";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// The API server, as this user sees it.
pub(in crate::cmd) struct Api {
    calls: Calls,
}

impl Api {
    pub(in crate::cmd) fn new(client: kube::Client) -> Self {
        Self {
            calls: Calls::new(client),
        }
    }

    /// Reads what is needed to judge this request.
    pub(in crate::cmd) async fn about_request(
        &self,
        name: &str,
        evidence: &mut Evidence,
    ) -> Result<()> {
        evidence.request = self.first(&format!("{REQUESTS}/{}", segment(name))).await?;
        self.read_clocks(evidence);
        let signer = evidence.request.read().map(|object| {
            let csr = Csr(object);
            (csr.signer_name().to_owned(), csr.username().to_owned())
        });
        let (signer, username) = signer.unwrap_or_default();
        let node = username.strip_prefix("system:node:").unwrap_or_default();
        self.cluster(evidence, Some(&signer), &[name, node, "kube-system"])
            .await;
        if username.starts_with("system:bootstrap:") {
            evidence.tokens = self.tokens().await;
        }
        self.answers(evidence).await;
        Ok(())
    }

    /// Reads what is needed to judge this node.
    pub(super) async fn about_node(&self, name: &str, evidence: &mut Evidence) -> Result<()> {
        evidence.node = self.first(&format!("/api/v1/nodes/{name}")).await?;
        self.read_clocks(evidence);
        self.cluster(evidence, None, &[name]).await;
        let lease =
            format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
        (evidence.node_lease, evidence.tokens) = join(self.get(&lease), self.tokens()).await;
        if evidence.is_everleaf() {
            evidence.open_max = Some(Limits::default().unsigned_requests_per_node_max);
        } else if evidence.node.read().is_some() {
            evidence.kubelet = self.kubelet(name).await;
        }
        let judged = requests_in_question(name, evidence).into_iter();
        for object in judged.cloned().collect::<Vec<_>>() {
            let asked = questions(evidence, &object);
            self.ask(evidence, &object, asked).await;
        }
        Ok(())
    }

    /// Reads what is needed to judge all nodes.
    pub(in crate::cmd) async fn about_fleet(&self, evidence: &mut Evidence) -> Result<()> {
        self.first("/version").await?;
        self.read_clocks(evidence);
        evidence.request = Known::Absent;
        evidence.node = Known::Absent;
        self.cluster(evidence, None, &[]).await;
        self.explain(evidence).await;
        Ok(())
    }

    /// Asks what has to be known to say what holds requests, as far as it is not known yet.
    pub(in crate::cmd) async fn explain(&self, evidence: &mut Evidence) {
        let explained: Vec<Value> = to_explain(evidence).into_iter().cloned().collect();
        for object in explained {
            let asked = questions(evidence, &object);
            self.ask(evidence, &object, asked).await;
        }
    }

    /// What belongs to every diagnosis. Requests for `signer`; `None`: all, for one may be filed
    /// under a name that no signer has.
    pub(in crate::cmd) async fn cluster(
        &self,
        evidence: &mut Evidence,
        signer: Option<&str>,
        subjects: &[&str],
    ) {
        evidence.tokens = Known::Absent;
        evidence.node_lease = Known::Absent;
        evidence.kubelet = Known::Absent;
        let version = async { self.get("/version").await };
        let lists = join_all(
            [
                "/api/v1/nodes",
                "/api/v1/services",
                "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            ]
            .map(|path| self.list(path, "")),
        );
        let endpoints = async {
            self.get("/api/v1/namespaces/default/endpoints/kubernetes")
                .await
        };
        let authorities = async {
            self.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")
                .await
        };
        evidence.revocations = self.revocations().await;
        let selector = signer.map_or(String::new(), |signer| {
            format!("&fieldSelector=spec.signerName%3D{}", selected(signer))
        });
        let requests = self.list(REQUESTS, &selector);
        let ((version, lists), (endpoints, authorities)) =
            join(join(version, lists), join(endpoints, authorities)).await;
        let ((requests, events), (pods, roles)) = join(
            join(requests, self.events(subjects)),
            join(self.pods(), self.roles()),
        )
        .await;
        let mut lists = lists.into_iter();
        let mut next = || lists.next().unwrap_or_default();
        evidence.nodes = next();
        evidence.services = next();
        evidence.leases = next();
        evidence.bindings = next();
        evidence.version = text_at(version, "/gitVersion");
        evidence.endpoints = endpoints.map(|object| vec![object]);
        evidence.client_ca = text_at(authorities, "/data/client-ca-file");
        evidence.requests = requests;
        evidence.events = events;
        evidence.pods = pods;
        evidence.roles = roles;
    }

    async fn answers(&self, evidence: &mut Evidence) {
        if let Some(object) = evidence.request.read().cloned() {
            let asked = questions(evidence, &object);
            self.ask(evidence, &object, asked).await;
        }
    }

    async fn ask(&self, evidence: &mut Evidence, object: &Value, asked: Vec<Question>) {
        let asked: Vec<Question> = asked
            .into_iter()
            .filter(|question| !evidence.answers.contains_key(question))
            .collect();
        let answers = asked.iter().map(|question| async {
            let body = question.body(object);
            self.allows(body).await
        });
        let answers = join_all(answers).await;
        evidence.answers.extend(asked.into_iter().zip(answers));
    }

    /// What authorization says to a SubjectAccessReview.
    pub(in crate::cmd) async fn allows(&self, review: Value) -> Known<bool> {
        const PATH: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer = self.send(Method::POST, PATH, Some(review)).await;
        known(answer).map(|review| review["status"]["allowed"] == true)
    }

    /// The first answer decides whether there is a server that takes this user for somebody.
    async fn first(&self, path: &str) -> Result<Known<Value>> {
        let answer = self.send(Method::GET, path, None).await;
        match answer {
            Err(error) => Err(anyhow!("cannot reach the API server: {error}")),
            Ok(Answer { status, body }) if status == StatusCode::UNAUTHORIZED => Err(anyhow!(
                "the API server does not take this kubeconfig's credential: {}; see `everleaf certs` about it",
                message(status, &body)
            )),
            Ok(Answer { status, body }) if status == StatusCode::FORBIDDEN => Err(anyhow!(
                "this kubeconfig's user may not look: {}; take one that may read certificatesigningrequests and nodes",
                message(status, &body)
            )),
            Ok(answer) => Ok(known(Ok(answer))),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the command has one instant, and this is where it is read"
    )]
    pub(in crate::cmd) fn read_clocks(&self, evidence: &mut Evidence) {
        let local = Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::MIN);
        evidence.local = local;
        evidence.now = self.calls.server_time().unwrap_or(local);
    }

    pub(in crate::cmd) async fn get(&self, path: &str) -> Known<Value> {
        known(self.send(Method::GET, path, None).await)
    }

    /// All pages of a list. `more` is what else the query says.
    pub(in crate::cmd) async fn list(&self, path: &str, more: &str) -> Known<Vec<Value>> {
        let mut objects = Vec::new();
        let mut token = String::new();
        loop {
            let path = format!("{path}?limit={PAGE}{more}{token}");
            let mut page = match self.get(&path).await {
                Known::Read(page) => page,
                Known::Absent => return Known::Absent,
                Known::Hidden(why) => return Known::Hidden(why),
            };
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                objects.extend(items);
            }
            match page["metadata"]["continue"].as_str() {
                None | Some("") => return Known::Read(objects),
                Some(next) => token = format!("&continue={}", segment(next)),
            }
        }
    }

    async fn events(&self, subjects: &[&str]) -> Known<Vec<Value>> {
        let named = subjects.iter().filter(|name| !name.is_empty());
        let lists = named.map(|name| {
            let selector = format!("&fieldSelector=involvedObject.name%3D{}", selected(name));
            async move { self.list("/api/v1/events", &selector).await }
        });
        let of_log = "&fieldSelector=reason%3DIssuanceLogUnavailable";
        let (mut lists, of_log) = join(join_all(lists), self.list("/api/v1/events", of_log)).await;
        lists.push(of_log);
        merged(lists)
    }

    /// Pods of kube-controller-manager, and Everleaf's.
    async fn pods(&self) -> Known<Vec<Value>> {
        let managers = "&labelSelector=component%3Dkube-controller-manager";
        let ours = "&labelSelector=app.kubernetes.io%2Fname%3Deverleaf";
        let (managers, ours) = join(
            self.list("/api/v1/namespaces/kube-system/pods", managers),
            self.list("/api/v1/pods", ours),
        )
        .await;
        merged(vec![managers, ours])
    }

    /// The policy file of an installed chart, and the ConfigMap that holds it.
    pub(super) async fn policy(&self) -> Known<(String, String)> {
        let ours = "&labelSelector=app.kubernetes.io%2Fname%3Deverleaf";
        let maps = match self.list("/api/v1/configmaps", ours).await {
            Known::Read(maps) => maps,
            Known::Absent => return Known::Absent,
            Known::Hidden(why) => return Known::Hidden(why),
        };
        let held = maps.iter().find_map(|map| {
            let text = map["data"]["policy.yaml"].as_str()?;
            Some((meta::key(map), text.to_owned()))
        });
        held.map_or(Known::Absent, Known::Read)
    }

    async fn roles(&self) -> Known<Vec<String>> {
        let names = ["nodeclient", "selfnodeclient"].map(|end| format!("{ROLE_PREFIX}{end}"));
        let mut there = Vec::new();
        for name in names {
            let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}");
            match self.get(&path).await {
                Known::Read(_) => there.push(name),
                Known::Absent => {}
                Known::Hidden(why) => return Known::Hidden(why),
            }
        }
        Known::Read(there)
    }

    async fn revocations(&self) -> Known<Revocations> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{NAME}");
        let map = self.get(&path).await;
        map.map(|map| Revocations::of_config_map(&map))
    }

    /// Ids and ends of the bootstrap tokens; what is secret of them is dropped here.
    async fn tokens(&self) -> Known<BTreeMap<String, Option<Timestamp>>> {
        let selector = "&fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken";
        let secrets = self
            .list("/api/v1/namespaces/kube-system/secrets", selector)
            .await;
        secrets.map(|secrets| Evidence::tokens_of(&secrets))
    }

    /// What the API server meets when it asks the kubelet.
    async fn kubelet(&self, node: &str) -> Known<(u16, String)> {
        let path = format!("/api/v1/nodes/{node}/proxy/healthz");
        match self.send(Method::GET, &path, None).await {
            Err(why) => Known::Hidden(why),
            Ok(Answer { status, body }) if status == StatusCode::FORBIDDEN => {
                Known::Hidden(message(status, &body))
            }
            Ok(Answer { status, body }) => Known::Read((status.as_u16(), message(status, &body))),
        }
    }

    pub(in crate::cmd) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, String> {
        self.calls.send(method, path, body).await
    }
}

/// A value in a field selector in a query (kubernetes `apimachinery/pkg/fields`, `EscapeValue`).
fn selected(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    segment(&escaped)
}

/// What an answer amounts to.
pub(in crate::cmd) fn known(answer: Result<Answer, String>) -> Known<Value> {
    match answer {
        Err(why) => Known::Hidden(why),
        Ok(Answer { status, .. }) if status == StatusCode::NOT_FOUND => Known::Absent,
        Ok(Answer { status, body }) if status.is_success() => match serde_json::from_slice(&body) {
            Ok(value) => Known::Read(value),
            Err(error) => Known::Hidden(format!("the answer is no JSON: {error}")),
        },
        Ok(Answer { status, body }) => Known::Hidden(message(status, &body)),
    }
}

fn text_at(object: Known<Value>, pointer: &str) -> Known<String> {
    match object {
        Known::Read(object) => match object.pointer(pointer).and_then(Value::as_str) {
            Some(text) => Known::Read(text.to_owned()),
            None => Known::Absent,
        },
        Known::Absent => Known::Absent,
        Known::Hidden(why) => Known::Hidden(why),
    }
}

/// Several lists as one; what is in two of them counts once.
fn merged(lists: Vec<Known<Vec<Value>>>) -> Known<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    let mut seen = BTreeSet::new();
    for list in lists {
        match list {
            Known::Read(objects) => {
                for object in objects {
                    let uid = meta::uid(&object).to_owned();
                    if uid.is_empty() || seen.insert(uid) {
                        all.push(object);
                    }
                }
            }
            Known::Absent => {}
            Known::Hidden(why) => return Known::Hidden(why),
        }
    }
    Known::Read(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selected_value_is_one_value() {
        assert_eq!(selected("node-csr-a"), "node-csr-a");
        assert_eq!(selected("a=b,c\\"), "a%5C%3Db%5C%2Cc%5C%5C");
    }
}
