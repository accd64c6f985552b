//! `everleaf why`: why a request waits, or a node has no certificate. The rules are the
//! controllers'; this fetches what they judge by, and prints what they find.

pub(super) mod gather;
mod show;

use super::policy;
use crate::args::OutputFormat;
use crate::args::why::WhyArgs;
use crate::failure::{self, UsageError};
use crate::kube_client::{self, Connected, usual_kubeconfig};
use crate::print;
use anyhow::{Result, bail};
use everleaf_api::csr::Csr;
use everleaf_controllers::serving::{Claim, Inventory, NodeFacts, PolicySet};
use everleaf_controllers::why::{
    Diagnosis, Evidence, Known, catalogue_document, diagnose_node, diagnose_request,
};
use everleaf_pki::signer::is_dns1123_subdomain;
use gather::Api;
use std::path::Path;
use std::process::ExitCode;

/// Exit code when it could not look: 1 says that something is wrong.
const NOT_SEEN: u8 = 2;

/// What is asked about.
enum Subject {
    Request(String),
    Node(String),
}

/// Looks, and prints what is found.
pub(crate) fn run(args: &WhyArgs) -> Result<ExitCode> {
    if args.catalogue {
        print::answer(catalogue_document().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    match look(args) {
        Ok(mut diagnosis) => {
            aim(&mut diagnosis, args);
            answer(&diagnosis, args.output)?;
            Ok(
                match (diagnosis.findings.is_empty(), diagnosis.is_certain) {
                    (true, true) => ExitCode::SUCCESS,
                    (true, false) => ExitCode::from(NOT_SEEN),
                    (false, _) => ExitCode::FAILURE,
                },
            )
        }
        Err(error) => {
            failure::report(&error);
            Ok(ExitCode::from(NOT_SEEN))
        }
    }
}

fn look(args: &WhyArgs) -> Result<Diagnosis> {
    let subject = subject(&args.subject)?;
    let policies = policy::policies(args.serving_approval_policy.as_deref())?;
    let kubeconfig = usual_kubeconfig(args.kubeconfig.as_deref())?;
    super::runtime()?.block_on(async {
        let Connected { client, host, .. } =
            kube_client::connect_context(&kubeconfig, args.context.as_deref())?;
        let api = Api::new(client);
        let (policies, policy_source) = match &args.serving_approval_policy {
            Some(path) => (policies, path.display().to_string()),
            None => installed(&api).await,
        };
        let mut evidence = Evidence {
            policies,
            policy_source,
            api_server: Claim::of_host(&host).into_iter().collect(),
            ..Evidence::default()
        };
        match subject {
            Subject::Request(name) => {
                read_request(&api, &name, &mut evidence).await?;
                Ok(diagnose_request(&name, &evidence))
            }
            Subject::Node(name) => {
                api.about_node(&name, &mut evidence).await?;
                evidence.inventory = inventory(&api, &name, &evidence).await;
                Ok(diagnose_node(&name, &evidence))
            }
        }
    })
}

/// Reads what a request is judged by, besides the policies.
///
/// # Errors
/// There is no server, or it does not take this user for somebody who may look.
pub(super) async fn read_request(api: &Api, name: &str, evidence: &mut Evidence) -> Result<()> {
    api.about_request(name, evidence).await?;
    let node = evidence.request.read().map(|object| Csr(object).username());
    let node = node.and_then(|user| user.strip_prefix("system:node:"));
    let node = node.unwrap_or_default().to_owned();
    evidence.inventory = inventory(api, &node, evidence).await;
    Ok(())
}

/// The policies of an installed chart, and where they stand; without one, those that hold then.
pub(super) async fn installed(api: &Api) -> (PolicySet, String) {
    let Known::Read((name, text)) = api.policy().await else {
        return (PolicySet::default(), String::new());
    };
    match PolicySet::from_yaml(&text) {
        Ok(policies) => (policies, format!("ConfigMap {name}")),
        Err(error) => {
            eprintln!("everleaf: warning: the policy of ConfigMap {name} cannot be used: {error}");
            (PolicySet::default(), String::new())
        }
    }
}

/// The inventory that the policy for this node names.
pub(super) async fn inventory(
    api: &Api,
    node: &str,
    evidence: &Evidence,
) -> Option<Result<Inventory, String>> {
    let facts = evidence.node(node).map(NodeFacts::of);
    let policy = evidence.policies.policy_for(node, facts.as_ref())?;
    let map = match policy.inventory.path() {
        Some(path) => api.get(&path).await,
        None => Known::Absent,
    };
    let read = policy::inventory(policy, map.read())?;
    Some(read.map_err(|error| failure::chain(&error)))
}

/// Has the commands ask the same cluster as this one did.
fn aim(diagnosis: &mut Diagnosis, args: &WhyArgs) {
    let findings = diagnosis.findings.iter_mut();
    let commands = findings.flat_map(|one| &mut one.commands);
    aim_commands(
        commands,
        args.kubeconfig.as_deref(),
        args.context.as_deref(),
    );
}

/// Has commands ask by this kubeconfig and context.
pub(super) fn aim_commands<'a>(
    commands: impl Iterator<Item = &'a mut String>,
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) {
    let mut aim = String::new();
    if let Some(path) = kubeconfig {
        let path = word(&path.display().to_string());
        aim.push_str(&format!(" --kubeconfig={path}"));
    }
    if let Some(context) = context {
        aim.push_str(&format!(" --context={}", word(context)));
    }
    for command in commands {
        for program in [
            "kubectl",
            "everleaf why",
            "everleaf token create",
            "everleaf token delete",
            "everleaf token list",
        ] {
            let rest = command.strip_prefix(program);
            // Some are for another's credential.
            if let Some(rest) = rest.filter(|rest| !rest.starts_with(" --kubeconfig ")) {
                *command = format!("{program}{aim}{rest}");
            }
        }
    }
}

/// One word of a shell, whatever it holds.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    match text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn answer(diagnosis: &Diagnosis, output: Option<OutputFormat>) -> Result<()> {
    match output {
        Some(OutputFormat::Json) => print::json(diagnosis),
        Some(OutputFormat::Yaml) => print::yaml(diagnosis),
        Some(OutputFormat::Wide) => show::show(diagnosis, true),
        None => show::show(diagnosis, false),
    }
}

/// `KIND/NAME`, or the two apart, as kubectl takes them.
fn subject(words: &[String]) -> Result<Subject> {
    let joined = words.join("/");
    let (kind, name) = match joined.split_once('/') {
        Some((kind, name)) => (kind.to_ascii_lowercase(), name),
        None => {
            return Err(UsageError(format!(
                "{joined:?} names no kind: say csr/{joined} or node/{joined}"
            ))
            .into());
        }
    };
    let name = name.to_owned();
    match &*kind {
        "csr"
        | "csrs"
        | "certificatesigningrequest"
        | "certificatesigningrequests"
        | "certificatesigningrequests.certificates.k8s.io" => {
            // As the API takes them (kubernetes `apimachinery/pkg/api/validation/path`).
            if matches!(&*name, "" | "." | "..") || name.contains(['/', '%']) {
                bail!("{name:?} is no name of a request");
            }
            Ok(Subject::Request(name))
        }
        "node" | "nodes" | "no" => {
            if !is_dns1123_subdomain(&name) {
                bail!("{name:?} is no name of a node: small letters, digits, dashes and dots");
            }
            Ok(Subject::Node(name))
        }
        other => Err(UsageError(format!(
            "objects of kind '{other}' are not explained: say csr/NAME or node/NAME"
        ))
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_kind_and_a_name() {
        let parse = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            match subject(&words) {
                Ok(Subject::Request(name)) => format!("csr {name}"),
                Ok(Subject::Node(name)) => format!("node {name}"),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(parse("csr/a"), "csr a");
        assert_eq!(parse("csr a"), "csr a");
        assert_eq!(parse("CertificateSigningRequest/a"), "csr a");
        assert_eq!(parse("node/n1.example.com"), "node n1.example.com");
        assert_eq!(parse("no n1"), "node n1");
        assert!(parse("a").contains("say csr/a or node/a"));
        assert!(parse("pod/a").contains("not explained"));
        assert_eq!(parse("csr/node-csr-A_b"), "csr node-csr-A_b");
        for name in [
            "csr/", "csr/a/b", "csr/../x", "csr/..", "csr/%2e", "node/A", "node/a_b",
        ] {
            assert!(parse(name).contains("is no name of a"), "{name}");
        }
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(word("/a/b-c.conf"), "/a/b-c.conf");
        assert_eq!(word("/a b"), "'/a b'");
        assert_eq!(word("a'b;c"), r"'a'\''b;c'");
    }

    /// docs/troubleshoot.md is what the command prints: `everleaf why --catalogue`.
    #[test]
    fn the_documentation_is_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/troubleshoot.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written.trim_end() == catalogue_document().trim_end(),
            "write it anew: cargo run -p everleaf -- why --catalogue > docs/troubleshoot.md"
        );
    }
}
