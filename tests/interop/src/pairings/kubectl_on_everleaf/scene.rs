//! A kubectl, a server and what the groups of verbs have in common.

use crate::pairings::server::{CLIENT, CLIENT_USAGES};
use anyhow::{Context, Result};
use everleaf_stage::{Answer, Kubectl, Process, Sandbox};
use everleaf_stage::{arg, ensure_that, eventually, object, same};
use serde_json::{Value, json};
use std::fs;

/// The releases, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Release {
    /// Debian's.
    V1_20,
    /// Of the old set of peers.
    V1_21,
    /// Of the older set of peers.
    V1_34,
    /// Of the present peers.
    V1_37,
}

/// A check of one claim.
pub(super) type Check = fn(&Scene<'_>) -> Result<()>;

/// One kubectl as a member of `system:masters`.
///
/// Commands are lines as a person types them behind `kubectl`: words, or text with spaces in single
/// quotes.
pub(super) struct Scene<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) release: Release,
    kubectl: Kubectl<'a>,
    /// PKCS#10 of `/O=staff/CN=jane`, in every signing request of the scene.
    request: Vec<u8>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        sandbox: &'a Sandbox,
        kubectl: Kubectl<'a>,
        release: Release,
    ) -> Result<Self> {
        everleaf_stage::signing_request(sandbox, "jane", "/O=staff/CN=jane", CLIENT, &[])?;
        let request = fs::read(sandbox.path("jane.csr")).context("openssl wrote no request")?;
        Ok(Self {
            sandbox,
            release,
            kubectl,
            request,
        })
    }

    /// A claim; the scene goes on when it does not hold.
    pub(super) fn point(&self, claim: &str, check: Check) {
        // The table says why, and the test is red.
        let _ = self.sandbox.point(claim, || check(self));
    }

    /// A signing request of a group, which is a label.
    pub(super) fn request(&self, name: &str, group: &str) -> Value {
        let mut request = object(name, &self.request, CLIENT, CLIENT_USAGES);
        request["metadata"]["labels"] = json!({"group": group});
        request
    }

    /// An object as a file for `-f`; its path.
    pub(super) fn file(&self, name: &str, object: &Value) -> Result<String> {
        let path = format!("{name}.json");
        Ok(arg(&self.sandbox.write(&path, &object.to_string())?).to_owned())
    }

    /// Creates signing requests, in one call.
    pub(super) fn create(&self, group: &str, names: &[&str]) -> Result<()> {
        let requests = names.iter().map(|name| self.request(name, group));
        self.create_all(group, requests.collect())
    }

    /// Creates objects, in one call.
    pub(super) fn create_all(&self, name: &str, items: Vec<Value>) -> Result<()> {
        let number = items.len();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let file = self.file(&format!("{name}-list"), &list)?;
        let said = self.quiet(&format!("create -f {file}"))?;
        same("lines of create", said.lines().count(), number)
    }

    /// Runs it, whatever it says.
    pub(super) fn run(&self, line: &str) -> Result<Answer> {
        self.kubectl.run(&borrowed(&words(line)))
    }

    /// Runs it with a file as its standard input; what it answers.
    pub(super) fn fed(&self, line: &str, file: &str) -> Result<String> {
        let answer = self.kubectl.fed(&borrowed(&words(line)), file.as_ref())?;
        answer.ok()
    }

    /// Runs it with an editor; what it answers.
    pub(super) fn edited(&self, editor: &str, line: &str) -> Result<String> {
        let kubectl = self.kubectl.with("KUBE_EDITOR", editor);
        let answer = kubectl.run(&borrowed(&words(line)))?;
        // One release tells on stderr that nothing was changed, another on stdout.
        let told = answer.stderr.clone();
        Ok(format!("{}{told}", answer.ok()?).trim().to_owned())
    }

    /// Runs it; what it answers, if it warns of nothing.
    pub(super) fn quiet(&self, line: &str) -> Result<String> {
        self.kubectl.quiet(&borrowed(&words(line)))
    }

    /// Its answer as JSON.
    pub(super) fn json(&self, line: &str) -> Result<Value> {
        self.kubectl.json(&borrowed(&words(line)))
    }

    /// `kubectl auth can-i …`
    pub(super) fn can_i(&self, question: &str) -> Result<bool> {
        self.kubectl.can_i(&borrowed(&words(question)))
    }

    /// Starts it in the background.
    pub(super) fn start(&self, line: &str) -> Result<Process> {
        let words = words(line);
        let name = words.first().map_or("kubectl", String::as_str);
        let process = self.kubectl.start(name, &borrowed(&words))?;
        Ok(process)
    }

    /// What kubectl answers, word for word.
    pub(super) fn says(&self, line: &str, text: &str) -> Result<()> {
        let said = self.quiet(line)?;
        ensure_that!(said == text, "kubectl {line}: {said:?}, not {text:?}");
        Ok(())
    }

    /// Each of these texts, divided by bars, is in the answer; returns it.
    pub(super) fn shows(&self, line: &str, texts: &str) -> Result<String> {
        let said = self.quiet(line)?;
        for text in texts.split('|') {
            ensure_that!(
                said.contains(text),
                "kubectl {line}: no {text:?} in\n{said}"
            );
        }
        Ok(said)
    }

    /// kubectl fails with 1 and says this.
    pub(super) fn refused(&self, line: &str, text: &str) -> Result<()> {
        let said = self.run(line)?.failed_with(1)?;
        ensure_that!(
            said.contains(text),
            "kubectl {line}: no {text:?} in {said:?}"
        );
        Ok(())
    }

    /// The text of a jsonpath in a signing request.
    pub(super) fn field(&self, name: &str, path: &str) -> Result<String> {
        self.quiet(&format!("get csr {name} -o 'jsonpath={path}'"))
    }

    /// Waits until the last cell of a request's row is this.
    pub(super) fn decided(&self, name: &str, condition: &str) -> Result<()> {
        eventually(condition, 10, || {
            let row = self.quiet(&format!("get csr {name} --no-headers"))?;
            let seen = row.split_whitespace().next_back().unwrap_or_default();
            same("condition", seen, condition)
        })
    }

    /// Starts it in the background and waits until the server has answered its watch.
    pub(super) fn watch(&self, line: &str) -> Result<Process> {
        let mut process = self.start(&format!("{line} -v=6"))?;
        eventually(line, 15, || {
            let log = process.stderr();
            ensure_that!(process.is_running(), "it ended: {log}");
            ensure_that!(log.contains("watch=true"), "it does not watch: {log}");
            Ok(())
        })?;
        Ok(process)
    }
}

/// kubectl's name of a signing request.
pub(super) fn full(name: &str) -> String {
    format!("certificatesigningrequest.certificates.k8s.io/{name}")
}

/// A line as words; single quotes keep what is between them together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in line.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => word.push(other),
        }
    }
    words.push(word);
    words
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
