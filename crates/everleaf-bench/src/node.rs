//! One node: it asks for a certificate, waits for it, and asks again with it.

use crate::frames::{self, Lines, Seen};
use crate::informer::{Informer, Told};
use crate::line::{Call, Line, REQUESTS, lock};
use crate::live::Live;
use crate::plan::{Connections, Plan, Wait};
use crate::record::{Record, Turn};
use crate::requests::{Request, Requests};
use crate::trouble::Trouble;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use everleaf_agent::client::access::{Identity, Presentable};
use everleaf_agent::client::{Failure, FailureClass};
use everleaf_pki::{Chain, Credential, PrivateKey};
use http::Method;
use http_body_util::BodyExt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// Approves, as kubectl does; whoever may do that may patch.
const APPROVAL: &str = r#"{"status":{"conditions":[{"type":"Approved","status":"True","reason":"EverleafBench","message":"This CSR was approved by everleaf bench."}]}}"#;
/// Pause before a watch that ended without a verdict is opened again.
const PAUSE: Duration = Duration::from_millis(500);

/// What the nodes of a load share.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) plan: Plan,
    pub(crate) record: Arc<Mutex<Record>>,
    pub(crate) live: Arc<Live>,
    /// The connections with what the kubeconfig holds: one to be copied, or those to be shared.
    pub(crate) lines: Vec<Line>,
    /// Who approves, if the load itself has it done.
    pub(crate) approver: Option<Line>,
    /// Who watches for all, once it does.
    pub(crate) informer: OnceLock<Arc<Informer>>,
    /// When the clock started.
    pub(crate) start: OnceLock<Instant>,
}

/// A node that has what it needs to begin.
#[derive(Debug)]
pub(crate) struct Node {
    number: usize,
    requests: Requests,
    /// The client certificate that it shows for its first request already.
    identity: Option<Identity>,
}

impl Node {
    pub(crate) fn new(number: usize, requests: Requests) -> Self {
        Self {
            number,
            requests,
            identity: None,
        }
    }

    /// Which one it is.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// The names of all its requests.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let requests = &self.requests;
        let before = requests.before.iter();
        let all = before.chain([&requests.first]).chain(&requests.renewals);
        all.map(|request| request.name.clone())
    }
}

impl Load {
    /// Gets a node the client certificate that it needs; none when it did not get it.
    pub(crate) async fn equip(&self, mut node: Node) -> Option<Node> {
        let Some(request) = node.requests.before.take() else {
            return Some(node);
        };
        let line = self.line(node.number);
        let patience = tokio::time::timeout(self.plan.timeout, async {
            let version = self.create(&line, &request).await?;
            self.wait(&line, &request.name, version, true).await
        });
        let told = patience
            .await
            .unwrap_or(Err(Trouble::NoCertificate(self.plan.timeout)));
        let identity = told.and_then(|told| identity(told, request.key));
        self.live.count(identity.is_ok());
        match identity {
            Ok(identity) => {
                node.identity = Some(identity);
                Some(node)
            }
            Err(trouble) => {
                lock(&self.record).failed(&request.name, &trouble);
                None
            }
        }
    }

    /// All that a node does, from `came` on.
    pub(crate) async fn play(&self, node: Node, came: Instant) {
        let mut line = match node.identity {
            Some(identity) => self.lines[0].fresh_as(identity),
            None => self.line(node.number),
        };
        let mut asked = Some((node.requests.first, Turn::First, came));
        let mut renewals = node.requests.renewals.into_iter();
        while let Some((mut request, turn, began)) = asked {
            let key = request.key.take();
            let told = self.ask(&line, &request, key.is_some(), began).await;
            let next = told.and_then(|(told, took)| {
                let next = key.map(|key| identity(told, Some(key))).transpose()?;
                let mut record = lock(&self.record);
                record.issued(turn, took, self.elapsed());
                Ok(next)
            });
            self.live.count(next.is_ok());
            match next {
                Ok(Some(identity)) => line = self.lines[0].fresh_as(identity),
                // A serving certificate is asked for with the same client certificate again.
                Ok(None) => {}
                Err(trouble) => {
                    lock(&self.record).failed(&request.name, &trouble);
                    return;
                }
            }
            asked = renewals
                .next()
                .map(|request| (request, Turn::Renewal, Instant::now()));
        }
    }

    /// Asks for one certificate and waits for it.
    async fn ask(
        &self,
        line: &Line,
        request: &Request,
        wants_certificate: bool,
        began: Instant,
    ) -> Result<(Option<String>, Duration), Trouble> {
        let mut is_created = false;
        let informed = self
            .informer
            .get()
            .map(|informer| informer.expect(&request.name, wants_certificate));
        let told = tokio::time::timeout(self.plan.timeout, async {
            let version = self.create(line, request).await?;
            is_created = true;
            lock(&self.record).created(began.elapsed());
            self.approve(&request.name).await?;
            match informed {
                Some(informed) => informed.await.unwrap_or(Err(Trouble::Deleted)),
                None => {
                    let name = &request.name;
                    self.wait(line, name, version, wants_certificate).await
                }
            }
        });
        let told = told.await;
        let took = began.elapsed();
        if let (Some(informer), false) = (self.informer.get(), matches!(told, Ok(Ok(_)))) {
            informer.forget(&request.name);
        }
        let patience = self.plan.timeout;
        match told {
            Ok(told) => told.map(|told| (told, took)),
            Err(_) if is_created => Err(Trouble::NoCertificate(patience)),
            Err(_) => Err(Trouble::NoAnswer(patience)),
        }
    }

    /// Makes the object; its version.
    async fn create(&self, line: &Line, request: &Request) -> Result<String, Trouble> {
        let call = Call {
            method: Method::POST,
            path: REQUESTS,
            body: Some(("application/json", request.body.clone())),
        };
        let answer = line.call(&call).await?;
        Ok(Seen::object(&answer)?.version().to_owned())
    }

    async fn approve(&self, name: &str) -> Result<(), Trouble> {
        let Some(approver) = &self.approver else {
            return Ok(());
        };
        let path = format!("{REQUESTS}/{name}/approval");
        let body = Bytes::from_static(APPROVAL.as_bytes());
        let call = Call {
            method: Method::PATCH,
            path: &path,
            body: Some(("application/merge-patch+json", body)),
        };
        match approver.call(&call).await {
            // Somebody else has decided it meanwhile.
            Err(Trouble::Call(Failure {
                class: FailureClass::Invalid | FailureClass::Conflict,
                ..
            })) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Waits by watch or poll; `version` is the one that the create was answered with.
    async fn wait(
        &self,
        line: &Line,
        name: &str,
        version: String,
        wants_certificate: bool,
    ) -> Told {
        if let Wait::Poll { interval } = self.plan.wait {
            let path = format!("{REQUESTS}/{name}");
            loop {
                tokio::time::sleep(interval).await;
                let text = line.call(&Call::get(&path)).await?;
                if let Some(verdict) = Seen::object(&text)?.verdict() {
                    return told(verdict, wants_certificate);
                }
            }
        }
        let seconds = self.plan.timeout.as_secs().max(1);
        let whole = format!(
            "{REQUESTS}?watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds={seconds}"
        );
        let mut path = format!("{whole}&resourceVersion={version}");
        loop {
            let call = Call::get(&path);
            match watched(line, &call, wants_certificate).await {
                Ok(ControlFlow::Break(certificate)) => return Ok(certificate),
                Ok(ControlFlow::Continue(())) => {}
                Err(trouble) if trouble.may_pass() => line.tell(&call, trouble),
                Err(trouble) => return Err(trouble),
            }
            tokio::time::sleep(PAUSE).await;
            // Without a version it begins with what is there.
            path.clone_from(&whole);
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.get().map(Instant::elapsed).unwrap_or_default()
    }

    fn line(&self, number: usize) -> Line {
        match self.plan.connections {
            Connections::Shared(_) => self.lines[number % self.lines.len()].clone(),
            Connections::PerNode => self.lines[0].fresh(),
        }
    }
}

/// One watch, until it brings the verdict, or ends before.
async fn watched(
    line: &Line,
    call: &Call<'_>,
    wants_certificate: bool,
) -> Result<ControlFlow<Option<String>>, Trouble> {
    let mut body = line.open(call).await?.into_body();
    let mut lines = Lines::default();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let flow = lines.feed(&data, |line| match frames::event(line) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(seen)) => match seen.verdict() {
                None => ControlFlow::Continue(()),
                Some(verdict) => ControlFlow::Break(told(verdict, wants_certificate)),
            },
            Err(trouble) => ControlFlow::Break(Err(trouble)),
        })?;
        if let ControlFlow::Break(told) = flow {
            return told.map(ControlFlow::Break);
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn told(verdict: Result<&str, Trouble>, wants_certificate: bool) -> Told {
    verdict.map(|certificate| wants_certificate.then(|| certificate.to_owned()))
}

/// What a node shows once it has its certificate.
fn identity(certificate: Option<String>, key: Option<PrivateKey>) -> Result<Identity, Trouble> {
    let bad = |why: String| Trouble::BadCertificate(why);
    let certificate = certificate.unwrap_or_default();
    let pem = BASE64_STANDARD
        .decode(certificate)
        .map_err(|_| bad("it is not base64".to_owned()))?;
    let chain = Chain::from_pem(&pem).map_err(|error| bad(error.to_string()))?;
    let key = key.ok_or_else(|| bad("its key was not kept".to_owned()))?;
    let credential = Credential::new(chain, key).map_err(|error| bad(error.to_string()))?;
    Presentable::new(&credential)
        .map(Identity::Certificate)
        .map_err(bad)
}
